// The little of an EventEmitter that handles and watchers need, without Node's module. Listeners run in the order they
// were added; what one throws stops the others, as in Node.

type Listener = (...args: unknown[]) => void;

export class Emitter {
  readonly #listeners = new Map<string, { listener: Listener; once: boolean }[]>();

  on(event: string, listener: Listener): this {
    return this.#add(event, listener, false);
  }

  once(event: string, listener: Listener): this {
    return this.#add(event, listener, true);
  }

  addListener(event: string, listener: Listener): this {
    return this.#add(event, listener, false);
  }

  off(event: string, listener: Listener): this {
    const list = this.#listeners.get(event) ?? [];
    const at = list.findLastIndex((one) => one.listener === listener);
    if (at >= 0) this.#listeners.set(event, list.toSpliced(at, 1));
    return this;
  }

  removeListener(event: string, listener: Listener): this {
    return this.off(event, listener);
  }

  removeAllListeners(event?: string): this {
    if (event === undefined) this.#listeners.clear();
    else this.#listeners.delete(event);
    return this;
  }

  listenerCount(event: string): number {
    return this.#listeners.get(event)?.length ?? 0;
  }

  emit(event: string, ...args: unknown[]): boolean {
    const list = this.#listeners.get(event) ?? [];
    for (const { listener, once } of list) {
      if (once) this.off(event, listener);
      listener.apply(this, args);
    }
    return list.length > 0;
  }

  #add(event: string, listener: Listener, once: boolean): this {
    this.#listeners.set(event, [...(this.#listeners.get(event) ?? []), { listener, once }]);
    return this;
  }
}
