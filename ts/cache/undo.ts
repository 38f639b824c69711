// The undo list of the running step: pre-images of byte ranges in linear memory, and calls that put back what is not
// bytes. Rolled back newest first. There is one: steps never nest while one of them writes.

import { assert } from '../assert.ts';
import type { Cache } from './cache.ts';

type Call = (a: never, b: never) => void;

export class Undo {
  readonly #cache: Cache;
  readonly #base: number;
  readonly #bytes: number;
  #used = 0;
  /** Saved ranges: address, length, and where the pre-image lies; or -1 and an index into #calls. */
  readonly #ranges: number[] = [];
  readonly #calls: { fn: Call; a: unknown; b: unknown }[] = [];

  /** Takes `blocks` units of the cache for pre-images, for good. */
  constructor(cache: Cache, blocks: number) {
    this.#cache = cache;
    this.#base = cache.arena.ptr(cache.allocUnits(blocks));
    this.#bytes = blocks * cache.blockSize;
  }

  get empty(): boolean {
    return this.#ranges.length === 0;
  }

  /** Saves [ptr, ptr + len) as it is now. */
  save(ptr: number, len: number): void {
    assert(this.#used + len <= this.#bytes, 'a step saves at most its share of pre-images');
    const at = this.#base + this.#used;
    this.#cache.kernels.exports.copy(at, ptr, len);
    this.#used += (len + 7) & ~7;
    this.#ranges.push(ptr, len, at);
  }

  /** Calls `fn(a, b)` if the step is undone. */
  call<A, B>(fn: (a: A, b: B) => void, a: A, b: B): void {
    this.#ranges.push(-1, this.#calls.length, 0);
    this.#calls.push({ fn: fn as Call, a, b });
  }

  /** Puts everything back, newest first. */
  rollBack(): void {
    const { exports } = this.#cache.kernels;
    const ranges = this.#ranges;
    for (let i = ranges.length - 3; i >= 0; i -= 3) {
      if (ranges[i] >= 0) exports.copy(ranges[i], ranges[i + 2], ranges[i + 1]);
      else {
        const { fn, a, b } = this.#calls[ranges[i + 1]];
        fn(a as never, b as never);
      }
    }
    this.forget();
  }

  /** The step is done: nothing is put back any more. */
  forget(): void {
    this.#used = 0;
    this.#ranges.length = 0;
    this.#calls.length = 0;
  }
}
