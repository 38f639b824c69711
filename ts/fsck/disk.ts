// Blocks of the image in a linear memory of the check's own, so that kernels can sum them. A ring of slots: a pointer
// holds for as many further blocks as there are slots less one, 64 at least; who descends copies what it needs
// after. Also the scan window, through which inode tables stream in large reads.

import { ABI_HEAP } from '../../assembly/abi.ts';
import type { BlockDevice, ReadRange } from '../block/device.ts';
import { type Flow, readDevice, writeDevice } from '../flow.ts';
import { createKernels, createMemory, type Kernels } from '../wasm.ts';

/** Bytes of the scan window at least. */
const WINDOW = 1 << 20;
const LEAST_SLOTS = 64;
/** Ranges of one device call at most. */
const BATCH = 64;

/** Bytes of memory that a check needs at least. */
export function leastMemory(blockSize: number): number {
  return ABI_HEAP + Math.max(WINDOW, blockSize) + LEAST_SLOTS * blockSize;
}

export class Disk {
  device: BlockDevice;
  readonly kernels: Kernels;
  readonly blockSize: number;
  readonly u8: Uint8Array;
  readonly dv: DataView;
  /** Address and size of the scan window. */
  readonly window = ABI_HEAP;
  readonly windowBytes: number;
  readonly #first: number;
  readonly #slots: number;
  readonly #held: Float64Array;
  readonly #where = new Map<number, number>();
  #next = 0;
  /** What is to be done before the first write, once. */
  beforeWrite: (() => Flow<void>) | null = null;
  /** Blocks written. */
  writes = 0;

  constructor(device: BlockDevice, blockSize: number, bytes: number) {
    this.device = device;
    this.blockSize = blockSize;
    this.kernels = createKernels(createMemory(Math.max(bytes, leastMemory(blockSize)), false));
    this.u8 = this.kernels.u8;
    this.dv = this.kernels.dv;
    const half = Math.floor((this.u8.length - ABI_HEAP) / 4 / blockSize) * blockSize;
    this.windowBytes = Math.max(Math.min(half, 4 * WINDOW), WINDOW, blockSize);
    this.#first = this.window + this.windowBytes;
    this.#slots = Math.floor((this.u8.length - this.#first) / blockSize);
    this.#held = new Float64Array(this.#slots).fill(-1);
  }

  /** Blocks that may be prefetched at once so that none pushes another out. */
  get room(): number {
    return Math.min(512, this.#slots >>> 1);
  }

  /** Whether a block lies on the device whole. */
  has(pblk: number): boolean {
    return pblk >= 0 && (pblk + 1) * this.blockSize <= this.device.size;
  }

  /** Address of a block when it is in memory, or -1. */
  find(pblk: number): number {
    const slot = this.#where.get(pblk);
    return slot === undefined ? -1 : this.#first + slot * this.blockSize;
  }

  /** Address of a block's bytes; zeroes behind the end of the device. */
  *get(pblk: number): Flow<number> {
    const ptr = this.find(pblk);
    if (ptr >= 0) return ptr;
    const slot = this.#take(pblk);
    const at = this.#first + slot * this.blockSize;
    if (this.has(pblk)) yield* readDevice(this.device, [this.#range(at, pblk, 1)]);
    else this.kernels.exports.zero(at, this.blockSize);
    return at;
  }

  /** Brings blocks into memory, neighbours in one read; at most `room` of them. */
  *prefetch(pblks: number[]): Flow<void> {
    const missing = pblks.filter((pblk) => this.has(pblk) && !this.#where.has(pblk));
    missing.sort((a, b) => a - b);
    let ranges: ReadRange[] = [];
    for (let i = 0; i < missing.length; ) {
      let count = 1;
      let slot = this.#take(missing[i]);
      const first = slot;
      while (missing[i + count] === missing[i] + count && this.#next === slot + 1) {
        slot = this.#take(missing[i + count]);
        count++;
      }
      ranges.push(this.#range(this.#first + first * this.blockSize, missing[i], count));
      i += count;
      while (missing[i] === missing[i - 1]) i++;
      if (ranges.length < BATCH && i < missing.length) continue;
      yield* readDevice(this.device, ranges);
      ranges = [];
    }
  }

  /** Reads `count` blocks from `pblk` on into the scan window; what is not on the device reads as zeroes. */
  *scan(pblk: number, count: number): Flow<number> {
    const whole = Math.max(0, Math.floor(this.device.size / this.blockSize) - pblk);
    const there = Math.min(count, whole);
    if (there > 0) yield* readDevice(this.device, [this.#range(this.window, pblk, there)]);
    if (there < count) {
      const at = this.window + there * this.blockSize;
      this.kernels.exports.zero(at, (count - there) * this.blockSize);
    }
    return this.window;
  }

  /** Writes the block whose bytes lie at `ptr`; a copy of it in memory follows. */
  *write(pblk: number, ptr: number): Flow<void> {
    const first = this.beforeWrite;
    this.beforeWrite = null;
    if (first === null) return yield* this.writeNow(pblk, ptr);
    // What comes first may push this very block out of its slot.
    const bytes = this.u8.slice(ptr, ptr + this.blockSize);
    yield* first();
    const at = this.fresh(pblk);
    this.u8.set(bytes, at);
    yield* this.writeNow(pblk, at);
  }

  /** The same without what comes before the first write. */
  *writeNow(pblk: number, ptr: number): Flow<void> {
    if (!this.has(pblk)) return;
    const copy = this.find(pblk);
    if (copy >= 0 && copy !== ptr) this.kernels.exports.copy(copy, ptr, this.blockSize);
    this.writes++;
    yield* writeDevice(
      this.device,
      this.u8.subarray(ptr, ptr + this.blockSize),
      pblk * this.blockSize,
    );
  }

  /** A block of zeroes that stands for `pblk` in memory, to be filled and written. */
  fresh(pblk: number): number {
    const old = this.find(pblk);
    const at = old >= 0 ? old : this.#first + this.#take(pblk) * this.blockSize;
    this.kernels.exports.zero(at, this.blockSize);
    return at;
  }

  /** Forgets all blocks: the device changed below. */
  drop(): void {
    this.#where.clear();
    this.#held.fill(-1);
  }

  #take(pblk: number): number {
    const slot = this.#next;
    this.#next = slot + 1 === this.#slots ? 0 : slot + 1;
    if (this.#held[slot] >= 0) this.#where.delete(this.#held[slot]);
    this.#held[slot] = pblk;
    this.#where.set(pblk, slot);
    return slot;
  }

  #range(ptr: number, pblk: number, count: number): ReadRange {
    const into = this.u8.subarray(ptr, ptr + count * this.blockSize);
    return { into, dpos: pblk * this.blockSize };
  }
}
