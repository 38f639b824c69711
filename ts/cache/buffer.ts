// A metadata block in the cache. `kind` and `owner` say as what, and for whom, its contents were checked since
// they were loaded: a block read as a directory is checked again when something reads it as an extent node.

import type { Cache } from './cache.ts';
import { Slot } from './slot.ts';

export const UNCHECKED = 0;

/** A block's contents as a commit takes or took them: the buffer's own memory, or memory of its own since the buffer
 *  moved on. The mechanism that makes them (jbd2) alone changes them. */
export interface LogBlock {
  readonly pblk: number;
  unit: number;
  ptr: number;
  /** The living buffer while it shares the memory; null once it has moved forward or was forgotten. */
  buffer: Buffer | null;
}

export class Buffer extends Slot {
  readonly cache: Cache;
  readonly pblk: number;
  /** A number of the caller's for the record it was checked as; UNCHECKED after each load. */
  kind = UNCHECKED;
  owner = 0;
  /** Checksum seed of the owner, for records that are summed when a commit takes them. */
  seed = 0;
  /** A byte of the caller's own, worth a first look; it holds while the journal has undone as often as
   *  `hintAge` says. */
  hint = 0;
  hintAge = 0;
  /** The running transaction that changed it, or null. */
  tx: object | null = null;
  /** The committed contents that are not home yet, while they share this memory. */
  log: LogBlock | null = null;
  /** True while a device call reads its memory: its bytes must not change. */
  busy = false;
  /** True in the undo log's eyes when all of it is saved for the running step. */
  savedBy = 0;

  constructor(cache: Cache, pblk: number, unit: number, ptr: number) {
    super(unit, 1, ptr);
    this.cache = cache;
    this.pblk = pblk;
  }

  override forget(): void {
    this.uptodate = false;
    if (this.cache.buffers.get(this.pblk) === this) this.cache.buffers.delete(this.pblk);
  }
}
