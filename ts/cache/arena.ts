// A buddy allocator over the block-sized units of linear memory that folios and buffers live in. A unit is one
// file-system block; a range is `n` units from `unit` on, any n: the unused tail of a power of two goes back at
// once. Two bits a unit, uptodate and dirty, lie in linear memory beside it, so that the kernels can scan them.

import { ABI_HEAP } from '../../assembly/abi.ts';
import { assert } from '../assert.ts';
import type { Kernels } from '../wasm.ts';

const NONE = -1;
const ALIGN = 4096;

export class Arena {
  readonly kernels: Kernels;
  /** Bytes of one unit: the file system's block size. */
  readonly unitBytes: number;
  readonly units: number;
  /** Address of unit 0, page aligned. */
  readonly base: number;
  /** Addresses of the two state bitmaps, one bit a unit. */
  readonly uptodate: number;
  readonly dirty: number;
  freeUnits = 0;
  readonly #heads: Int32Array;
  readonly #next: Int32Array;
  readonly #prev: Int32Array;
  /** Order of the free range that starts at a unit, or -1. */
  readonly #order: Int8Array;

  /** Takes all of the memory above ABI_HEAP, at most `bytes` of it. */
  constructor(kernels: Kernels, unitBytes: number, bytes: number) {
    this.kernels = kernels;
    this.unitBytes = unitBytes;
    const bitmapBytes = Math.ceil(Math.floor(bytes / unitBytes) / 512) * 64;
    this.uptodate = ABI_HEAP;
    this.dirty = ABI_HEAP + bitmapBytes;
    this.base = Math.ceil((ABI_HEAP + 2 * bitmapBytes) / ALIGN) * ALIGN;
    this.units = Math.floor((bytes - this.base) / unitBytes);
    assert(this.units > 0, 'the arena has room');
    kernels.exports.zero(ABI_HEAP, 2 * bitmapBytes);
    this.#heads = new Int32Array(32).fill(NONE);
    this.#next = new Int32Array(this.units);
    this.#prev = new Int32Array(this.units);
    this.#order = new Int8Array(this.units).fill(NONE);
    this.free(0, this.units);
  }

  ptr(unit: number): number {
    return this.base + unit * this.unitBytes;
  }

  /** The first of `n` free contiguous units, or -1 when there is no such range. */
  alloc(n: number): number {
    const want = 32 - Math.clz32(n - 1);
    let order = want;
    while (order < 32 && this.#heads[order] === NONE) order++;
    if (order >= 32) return NONE;
    const unit = this.#heads[order];
    this.#unlink(unit, order);
    for (let o = order - 1; o >= want; o--) this.#link(unit + 2 ** o, o);
    this.freeUnits -= 2 ** want;
    if (n < 2 ** want) this.free(unit + n, 2 ** want - n);
    return unit;
  }

  /** Gives `n` units back and forgets their state bits. */
  free(unit: number, n: number): void {
    const { exports } = this.kernels;
    exports.bitmapClear(this.uptodate, unit, n);
    exports.bitmapClear(this.dirty, unit, n);
    this.freeUnits += n;
    let at = unit;
    for (let left = n; left > 0; ) {
      const fit = 31 - Math.clz32(left);
      const aligned = at === 0 ? fit : 31 - Math.clz32(at & -at);
      const order = Math.min(fit, aligned);
      this.#merge(at, order);
      at += 2 ** order;
      left -= 2 ** order;
    }
  }

  #merge(from: number, from2: number): void {
    let unit = from;
    let order = from2;
    for (;;) {
      const buddy = unit ^ (1 << order);
      if (buddy + 2 ** order > this.units || this.#order[buddy] !== order) break;
      this.#unlink(buddy, order);
      unit = Math.min(unit, buddy);
      order++;
    }
    this.#link(unit, order);
  }

  #link(unit: number, order: number): void {
    const head = this.#heads[order];
    this.#next[unit] = head;
    this.#prev[unit] = NONE;
    if (head !== NONE) this.#prev[head] = unit;
    this.#heads[order] = unit;
    this.#order[unit] = order;
  }

  #unlink(unit: number, order: number): void {
    const next = this.#next[unit];
    const prev = this.#prev[unit];
    if (prev === NONE) this.#heads[order] = next;
    else this.#next[prev] = next;
    if (next !== NONE) this.#prev[next] = prev;
    this.#order[unit] = NONE;
  }
}
