// A metadata block in the cache. `kind` and `owner` say as what, and for whom, its contents were checked since
// they were loaded: a block read as a directory is checked again when something reads it as an extent node.

import type { Cache } from './cache.ts';
import { Slot } from './slot.ts';

export const UNCHECKED = 0;

export class Buffer extends Slot {
  readonly cache: Cache;
  readonly pblk: number;
  /** A number of the caller's for the record it was checked as; UNCHECKED after each load. */
  kind = UNCHECKED;
  owner = 0;

  constructor(cache: Cache, pblk: number, unit: number, ptr: number) {
    super(unit, 1, ptr);
    this.cache = cache;
    this.pblk = pblk;
  }

  override forget(): void {
    this.uptodate = false;
    this.cache.buffers.delete(this.pblk);
  }
}
