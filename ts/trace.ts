// Trace points, switched on by name. A point costs one property load while nobody listens. Listeners are user
// code and never run inside a step: events are queued and delivered by the driver when the step has ended.

export type TraceListener = (name: string, event: Record<string, unknown>) => void;

export class Trace {
  /** False while nobody listens: test it before building an event. */
  on = false;
  readonly #listeners = new Map<string, Set<TraceListener>>();
  #queue: { name: string; event: Record<string, unknown> }[] = [];

  /** Listens to one point, or to all with '*'. Returns a function that stops it. */
  listen(name: string, fn: TraceListener): () => void {
    const set = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, set.add(fn));
    this.on = true;
    return () => {
      set.delete(fn);
      if (set.size === 0) this.#listeners.delete(name);
      this.on = this.#listeners.size > 0;
    };
  }

  emit(name: string, event: Record<string, unknown>): void {
    if (this.#listeners.has(name) || this.#listeners.has('*')) this.#queue.push({ name, event });
  }

  /** Delivers what was queued; called by the driver outside any step. */
  deliver(): void {
    if (this.#queue.length === 0) return;
    const queue = this.#queue;
    this.#queue = [];
    for (const { name, event } of queue) {
      for (const fn of this.#listeners.get(name) ?? []) fn(name, event);
      for (const fn of this.#listeners.get('*') ?? []) fn(name, event);
    }
  }
}
