// Reads past the cache: a large piece of a file that the cache could not hold goes straight from the device to the
// caller's memory. One copy instead of two, and what is cached stays. Only where nothing of the range is cached.

import type { ReadRange } from '../block/device.ts';
import type { Cache } from '../cache/cache.ts';
import { IOMAP_MAPPED, type IomapFile, type IomapOps, mappings } from './iter.ts';

/** Bytes that a request must still lack, so that a device call for them alone pays. */
export const MIN_DIRECT = 1 << 18;

/** How many bytes from `pos`, a block's start, to read past the cache, none beyond `end`; 0 when they
 *  belong in it. */
export function directLength(cache: Cache, file: IomapFile, pos: number, end: number): number {
  const { blockSize, arena } = cache;
  if (end - pos < MIN_DIRECT || file.size <= arena.units * blockSize) return 0;
  if (pos % blockSize !== 0) return 0;
  const stop = file.folios.next(pos / blockSize, Math.floor(end / blockSize)) * blockSize;
  return stop - pos >= MIN_DIRECT ? stop - pos : 0;
}

/** What to read into `into` for the whole blocks of a file from `pos` on; holes are zeroed here. Throws Missing. */
export function planDirect<F extends IomapFile>(
  file: F,
  ops: IomapOps<F>,
  pos: number,
  into: Uint8Array,
): ReadRange[] {
  const reads: ReadRange[] = [];
  for (const map of mappings(file, ops, pos, into.length, 0)) {
    const at = map.pos - pos;
    const part = into.subarray(at, at + map.len);
    if (map.type === IOMAP_MAPPED) reads.push({ into: part, dpos: map.dpos });
    else part.fill(0);
  }
  return reads;
}
