// What a command reads from and writes to. Text goes out as UTF-8; a name that is not UTF-8 travels through strings
// as lone surrogates (names.ts) and comes out as the bytes it was. Writes are gathered and are done in order; every
// long loop calls `breathe`, so that an interrupt is seen. Tests make their own Io in memory.

import { write } from 'node:fs';
import { Interrupted } from './errors.ts';
import { encodeName } from './names.ts';

/** Where bytes end up: the write is done when the promise settles. */
export interface Target {
  readonly isTTY: boolean;
  readonly columns: number;
  write(bytes: Uint8Array): Promise<void>;
}

const GATHER = 32 << 10;

/** A target with a buffer in front, for many small texts and some large blocks. */
export class Sink {
  readonly #target: Target;
  #texts: string[] = [];
  #held = 0;

  constructor(target: Target) {
    this.#target = target;
  }

  get isTTY(): boolean {
    return this.#target.isTTY;
  }

  get columns(): number {
    return this.#target.columns;
  }

  /** Settles at once unless the buffer is full. */
  async text(text: string): Promise<void> {
    this.#texts.push(text);
    this.#held += text.length;
    if (this.#held >= GATHER) await this.flush();
  }

  line(text: string): Promise<void> {
    return this.text(`${text}\n`);
  }

  /** The bytes may change again once this has settled. */
  async bytes(bytes: Uint8Array): Promise<void> {
    await this.flush();
    await this.#target.write(bytes);
  }

  async flush(): Promise<void> {
    if (this.#held === 0) return;
    const text = this.#texts.join('');
    this.#texts = [];
    this.#held = 0;
    await this.#target.write(encodeName(text));
  }
}

export class Io {
  readonly out: Sink;
  readonly err: Sink;
  readonly env: Record<string, string | undefined>;
  readonly signal: AbortSignal;
  readonly #input: AsyncIterable<Uint8Array> | undefined;
  /** Colour and escapes on standard output. */
  readonly colour: boolean;
  #rested = performance.now();

  constructor(
    out: Target,
    err: Target,
    env: Record<string, string | undefined>,
    signal: AbortSignal,
    input?: AsyncIterable<Uint8Array>,
  ) {
    this.#input = input;
    this.out = new Sink(out);
    this.err = new Sink(err);
    this.env = env;
    this.signal = signal;
    this.colour = out.isTTY && !env.NO_COLOR && env.TERM !== 'dumb';
  }

  /** Standard input, which nothing touches until it is asked for. An interrupt ends it. */
  get input(): AsyncIterable<Uint8Array> {
    return interruptible(this.#input ?? process.stdin, this.signal);
  }

  /** Lets signals and timers in, at most every 20 ms. Throws Interrupted after SIGINT. */
  async breathe(): Promise<void> {
    const now = performance.now();
    if (now - this.#rested > 20) {
      await new Promise((resolve) => setImmediate(resolve));
      this.#rested = performance.now();
    }
    if (this.signal.aborted) throw new Interrupted();
  }
}

/** The same bytes; Interrupted as soon as the signal fires, also while none come. */
async function* interruptible(
  from: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const all = from[Symbol.asyncIterator]();
  const interrupted = new Promise<never>((_, reject) => {
    const stop = () => reject(new Interrupted());
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
  interrupted.catch(() => undefined); // it is looked at only while something is waited for
  for (;;) {
    const { done, value } = await Promise.race([all.next(), interrupted]);
    if (done) return;
    yield value;
  }
}

/** Standard output or error of this process, by descriptor: no stream is set up, a pipe never blocks the loop. */
export class FdTarget implements Target {
  readonly isTTY: boolean;
  readonly columns: number;
  readonly #fd: number;

  constructor(fd: number, isTTY: boolean, columns: number) {
    this.#fd = fd;
    this.isTTY = isTTY;
    this.columns = columns;
  }

  async write(bytes: Uint8Array): Promise<void> {
    let done = 0;
    while (done < bytes.length) {
      const count = await this.#some(bytes, done);
      done += count;
      // A pipe that another process made non-blocking is full.
      if (count === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  #some(bytes: Uint8Array, from: number): Promise<number> {
    return new Promise((resolve, reject) => {
      write(this.#fd, bytes, from, bytes.length - from, null, (error, count) => {
        if (!error) resolve(count);
        else if (error.code === 'EAGAIN') resolve(0);
        else reject(error);
      });
    });
  }
}
