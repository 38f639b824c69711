// Where a journal lies and how its blocks reach memory. A JournalSource is all that jbd2 knows of the file system:
// no inode, only a map from journal blocks to device bytes. LogWindow reads runs of journal blocks into a lent
// piece of linear memory; a pointer from it holds until the next load. jblk counts blocks from the journal's start.

import { assert } from '../assert.ts';
import type { BlockDevice, ReadRange } from '../block/device.ts';
import { corrupt } from '../errno.ts';
import type { Flow } from '../flow.ts';
import { readDevice } from '../flow.ts';
import type { Kernels } from '../wasm.ts';

/** A journal as the mount hands it down. */
export interface JournalSource {
  /** Holds the journal's blocks. */
  readonly device: BlockDevice;
  /** Bytes; the journal's block size must be the file system's. */
  readonly blockSize: number;
  /** Journal blocks that `locate` answers for: [0, length). */
  readonly length: number;
  /** The journal block of the superblock: 0 in a journal inode, 1 or 2 (1 KiB blocks) on a journal device. */
  readonly superBlock: number;
  /** Device byte position of a journal block, or -1 where the map has a hole. Asked for jblk in [0, length) only. */
  locate(jblk: number): number;
  /** The file system's device and its size in blocks: no home block is at or beyond `blocks`. */
  readonly home: { readonly device: BlockDevice; readonly blocks: number };
  readonly kernels: Kernels;
  /** At least max(64 KiB, blockSize), lent for as long as the flow runs. */
  readonly window: { readonly ptr: number; readonly bytes: number };
}

const READ_AHEAD = 65536;

/** Reads journal blocks through the window, a run of neighbours at a time. */
export class LogWindow {
  readonly source: JournalSource;
  readonly #blocks: number;
  #from = 0;
  #end = 0;

  constructor(source: JournalSource) {
    this.source = source;
    this.#blocks = Math.floor(source.window.bytes / source.blockSize);
    assert(this.#blocks >= 1, 'the journal window is smaller than a block');
  }

  /** Blocks one load can hold. */
  get capacity(): number {
    return this.#blocks;
  }

  /** Forgets what is loaded: others have written into the window. */
  drop(): void {
    this.#end = this.#from = 0;
  }

  /**
   * The address of journal block `jblk`, loading up to `ahead` blocks with it. EUCLEAN when the map does not
   * give it a place on the device.
   */
  *load(jblk: number, ahead = this.#readAhead()): Flow<number> {
    if (jblk < this.#from || jblk >= this.#end) {
      const count = this.#run(jblk, Math.min(Math.max(ahead, 1), this.#blocks));
      this.drop(); // a read that fails leaves the window undefined
      yield* readDevice(this.source.device, [this.range(jblk, count, 0)]);
      this.#from = jblk;
      this.#end = jblk + count;
    }
    return this.source.window.ptr + (jblk - this.#from) * this.source.blockSize;
  }

  /** A read of `count` journal blocks from `jblk` on to the window's slot `slot`; they must be one run. */
  range(jblk: number, count: number, slot: number): ReadRange {
    return { into: this.bytes(slot, count), dpos: place(this.source, jblk) };
  }

  /** The window's bytes of `count` blocks from `slot` on. */
  bytes(slot: number, count: number): Uint8Array {
    const { kernels, window, blockSize } = this.source;
    const ptr = window.ptr + slot * blockSize;
    return kernels.u8.subarray(ptr, ptr + count * blockSize);
  }

  #readAhead(): number {
    return Math.ceil(READ_AHEAD / this.source.blockSize);
  }

  #run(jblk: number, most: number): number {
    const { source } = this;
    const dpos = place(source, jblk);
    const end = Math.min(jblk + most, source.length);
    let count = 1;
    while (jblk + count < end && isNext(source, jblk + count, dpos + count * source.blockSize)) {
      count++;
    }
    return count;
  }
}

function isNext(source: JournalSource, jblk: number, dpos: number): boolean {
  return source.locate(jblk) === dpos && dpos + source.blockSize <= source.device.size;
}

/** Device byte position of a journal block, checked: EUCLEAN for a hole, or a place that is not on the device. */
export function place(source: JournalSource, jblk: number): number {
  const where = { field: 'map', block: jblk };
  if (!(jblk >= 0 && jblk < source.length)) throw corrupt('journal', 'block out of range', where);
  const dpos = source.locate(jblk);
  if (!(dpos >= 0)) throw corrupt('journal', 'hole in the map', where);
  if (dpos % source.device.blockSize !== 0 || dpos + source.blockSize > source.device.size) {
    throw corrupt('journal', 'mapped outside the device', where);
  }
  return dpos;
}
