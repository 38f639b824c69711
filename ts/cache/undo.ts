// The undo list of the running step: pre-images of byte ranges in linear memory, and calls that put back what is not
// bytes. Rolled back newest first. There is one: steps never nest while one of them writes.

import { assert } from '../assert.ts';
import type { Cache } from './cache.ts';

type Call = (a: unknown, b: unknown) => void;

export class Undo {
  readonly #cache: Cache;
  readonly #base: number;
  readonly #bytes: number;
  #used = 0;
  /** Saved ranges: address, length, and where the pre-image lies; or -1 and an index into #calls. The lists keep their
   *  room from step to step, so how much of them counts stands beside. */
  readonly #ranges: number[] = [];
  #rangesUsed = 0;
  /** What to call, with what. */
  readonly #calls: unknown[] = [];
  #callsUsed = 0;

  /** Takes `blocks` units of the cache for pre-images, for good. */
  constructor(cache: Cache, blocks: number) {
    this.#cache = cache;
    this.#base = cache.arena.ptr(cache.allocUnits(blocks));
    this.#bytes = blocks * cache.blockSize;
  }

  get empty(): boolean {
    return this.#rangesUsed === 0;
  }

  /** Saves [ptr, ptr + len) as it is now. */
  save(ptr: number, len: number): void {
    assert(this.#used + len <= this.#bytes, 'a step saves at most its share of pre-images');
    const at = this.#base + this.#used;
    this.#cache.kernels.exports.copy(at, ptr, len);
    this.#used += (len + 7) & ~7;
    this.#note(ptr, len, at);
  }

  /** Calls `fn(a, b)` if the step is undone. */
  call<A, B>(fn: (a: A, b: B) => void, a: A, b: B): void {
    const calls = this.#calls;
    const at = this.#callsUsed;
    this.#note(-1, at, 0);
    calls[at] = fn;
    calls[at + 1] = a;
    calls[at + 2] = b;
    this.#callsUsed = at + 3;
  }

  #note(ptr: number, len: number, at: number): void {
    const ranges = this.#ranges;
    const used = this.#rangesUsed;
    ranges[used] = ptr;
    ranges[used + 1] = len;
    ranges[used + 2] = at;
    this.#rangesUsed = used + 3;
  }

  /** Puts everything back, newest first. */
  rollBack(): void {
    const { exports } = this.#cache.kernels;
    const ranges = this.#ranges;
    for (let i = this.#rangesUsed - 3; i >= 0; i -= 3) {
      if (ranges[i] >= 0) exports.copy(ranges[i], ranges[i + 2], ranges[i + 1]);
      else {
        const at = ranges[i + 1];
        (this.#calls[at] as Call)(this.#calls[at + 1], this.#calls[at + 2]);
      }
    }
    this.forget();
  }

  /** The step is done: nothing is put back any more. */
  forget(): void {
    this.#used = 0;
    this.#rangesUsed = 0;
    this.#callsUsed = 0;
  }
}
