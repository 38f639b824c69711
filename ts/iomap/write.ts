// Buffered writes: bytes are copied into folios, one mapping after another; only edge blocks that hold older data of
// the file are fetched first. New data is dirty, and nothing else happens: space was promised by the mapping (a
// reservation), blocks are found at writeback. Folios hold whole blocks, all of them up to date.

import type { Cache } from '../cache/cache.ts';
import type { Folio } from '../cache/folio.ts';
import { missing } from '../cache/missing.ts';
import { Ext4Error } from '../errno.ts';
import { type FillFolios, MAX_FOLIO } from './buffered.ts';
import {
  clip,
  IOMAP_MAPPED,
  IOMAP_NOSPACE,
  IOMAP_WRITE,
  type Iomap,
  type IomapFile,
  type IomapOps,
  newIomap,
} from './iter.ts';

/** One write: `len` bytes of `from`, from byte `at` on, to [pos, pos + len). */
export interface WriteRequest<F extends IomapFile> {
  file: F;
  from: Uint8Array;
  at: number;
  pos: number;
  len: number;
  fill: FillFolios | null;
  /** Blocks of a new folio at most. */
  maxFolio: number;
}

/** Blocks that may be dirty at once, or kept by some that are: half of the cache. */
export function dirtyLimit({ arena }: Cache): number {
  return Math.floor(arena.units / 2);
}

/** Mappings do not nest: steps do not. */
const map = newIomap();

/** Copies the request into the cache; returns how many bytes, less than asked when space or memory ended. Throws
 *  Missing (an edge, a mapping, memory); ENOSPC when there is room for nothing. */
export function bufferedWrite<F extends IomapFile>(
  cache: Cache,
  ops: IomapOps<F>,
  r: WriteRequest<F>,
): number {
  const end = r.pos + r.len;
  needEdges(cache, ops, r);
  let pos = r.pos;
  while (pos < end) {
    ops.begin(r.file, pos, end - pos, IOMAP_WRITE, map);
    if (map.type === IOMAP_NOSPACE) break;
    clip(map, pos, end);
    const n = writeMapping(cache, r, map);
    ops.end?.(r.file, pos, n, IOMAP_WRITE, map);
    pos += n;
    if (n < map.len) break;
  }
  if (pos > r.pos || r.len === 0) return pos - r.pos;
  if (map.type === IOMAP_NOSPACE) throw new Ext4Error('ENOSPC');
  throw missing.wait('writeback');
}

/** True when one folio that is up to date holds all of [pos, pos + len), and all its blocks there are dirty already:
 *  then copying is all there is to do. */
export function dirtyFolioAt(
  cache: Cache,
  file: IomapFile,
  pos: number,
  len: number,
): Folio | null {
  const { blockSize } = cache;
  const folio = file.folios.find(Math.floor(pos / blockSize));
  if (folio === undefined || !folio.dirty || !folio.uptodate) return null;
  const off = pos - folio.lblk * blockSize;
  if (off + len > folio.n * blockSize) return null;
  const first = folio.unit + Math.floor(off / blockSize);
  const end = folio.unit + Math.ceil((off + len) / blockSize);
  const { exports } = cache.kernels;
  return exports.bitmapNextClear(cache.arena.dirty, first, end) >>> 0 === end ? folio : null;
}

/** Blocks that the request covers in part and that hold older data must be up to date. */
function needEdges<F extends IomapFile>(cache: Cache, ops: IomapOps<F>, r: WriteRequest<F>): void {
  const { blockSize } = cache;
  const end = r.pos + r.len;
  const first = Math.floor(r.pos / blockSize);
  const last = Math.floor(end / blockSize);
  if (r.pos % blockSize !== 0) needBlock(cache, ops, r, first);
  else if (last === first && end < r.file.size) needBlock(cache, ops, r, first);
  if (last !== first && end % blockSize !== 0 && end < r.file.size) needBlock(cache, ops, r, last);
}

/** The folio of a block whose data counts comes in, and stays for this turn. */
function needBlock<F extends IomapFile>(
  cache: Cache,
  ops: IomapOps<F>,
  { file, fill }: { file: F; fill: FillFolios | null },
  lblk: number,
): void {
  const { blockSize } = cache;
  if (lblk * blockSize >= file.size && file.folios.find(lblk) === undefined) return;
  for (;;) {
    const folio = file.folios.find(lblk);
    if (folio?.uptodate) {
      if (folio.turn !== cache.turn) cache.hold(folio);
      return;
    }
    if (folio === undefined) {
      ops.begin(file, lblk * blockSize, blockSize, 0, map);
      if (map.type !== IOMAP_MAPPED) return;
    }
    const range = { file: file.folios, lblk, count: 1, ahead: 0 };
    if (fill === null || folio !== undefined) throw missing.folio(range);
    fill.folios(range);
  }
}

/** Copies what lies in a mapping; less than all of it when memory ended. */
function writeMapping<F extends IomapFile>(cache: Cache, r: WriteRequest<F>, m: Iomap): number {
  const { blockSize } = cache;
  const { folios } = r.file;
  const end = m.pos + m.len;
  let { pos } = m;
  while (pos < end) {
    const lblk = Math.floor(pos / blockSize);
    const folio = folios.find(lblk) ?? newFolio(cache, r, pos, end);
    if (folio === null || (!folio.dirty && crowds(cache, folio))) break;
    if (!folio.uptodate) throw missing.folio({ file: folios, lblk, count: 1, ahead: 0 });
    const off = pos - folio.lblk * blockSize;
    const n = Math.min(folio.n * blockSize - off, end - pos);
    const at = r.at + pos - r.pos;
    const whole = at === 0 && n === r.from.length;
    const bytes = whole ? r.from : r.from.subarray(at, at + n);
    cache.copyBytes(cache.kernels.u8, folio.ptr + off, bytes);
    const first = Math.floor(off / blockSize);
    folio.referenced = true;
    cache.markDirty(folio, first, Math.ceil((off + n) / blockSize) - first);
    pos += n;
  }
  return pos - m.pos;
}

/** Whether too much of the cache could not be dropped if this folio were dirty too. One alone always may. */
function crowds(cache: Cache, folio: Folio): boolean {
  return cache.dirtyUnits > 0 && cache.dirtyUnits + folio.n > dirtyLimit(cache);
}

/** A folio for [pos, end), or the start of it, zeroed where the write does not reach; null when memory has ended. */
function newFolio<F extends IomapFile>(
  cache: Cache,
  { file, maxFolio }: WriteRequest<F>,
  pos: number,
  end: number,
): Folio | null {
  const { blockSize } = cache;
  const lblk = Math.floor(pos / blockSize);
  const most = Math.min(maxFolio, MAX_FOLIO / blockSize || 1, dirtyLimit(cache) - cache.dirtyUnits);
  if (most < 1) return null;
  const stop = Math.min(Math.ceil(end / blockSize), lblk + most);
  const folio = file.folios.tryCreate(lblk, file.folios.next(lblk + 1, stop) - lblk);
  if (folio === null) return null;
  const { exports } = cache.kernels;
  const from = pos - lblk * blockSize;
  const bytes = folio.n * blockSize;
  const to = Math.min(end - lblk * blockSize, bytes);
  if (from > 0) exports.zero(folio.ptr, from);
  if (to < bytes) exports.zero(folio.ptr + to, bytes - to);
  cache.markUptodate(folio, 0, folio.n);
  return folio;
}

/** What zeroing did: changed cached bytes; zeroed a block that is written on disk, where older bytes may be. */
export interface Zeroed {
  didZero: boolean;
  zeroWritten: boolean;
}

const NOTHING: Zeroed = { didZero: false, zeroWritten: false };

/** Zeroes [pos, pos + len) within one block, in the cache. Holes are zero already, and so are unwritten blocks without
 *  dirty data. A clean block that is zero there stays clean. Throws Missing; EUCLEAN, EBADMSG. */
export function zeroInBlock<F extends IomapFile>(
  cache: Cache,
  ops: IomapOps<F>,
  file: F,
  pos: number,
  len: number,
  flags: number,
): Zeroed {
  const { blockSize, kernels } = cache;
  const lblk = Math.floor(pos / blockSize);
  ops.begin(file, pos, len, flags, map);
  const written = map.type === IOMAP_MAPPED;
  if (written) needBlock(cache, ops, { file, fill: cache.fill }, lblk);
  const folio = file.folios.find(lblk);
  if (folio === undefined) return NOTHING;
  const at = lblk - folio.lblk;
  const dirty = cache.isDirty(folio, at);
  if (!written && !dirty) return NOTHING;
  const ptr = folio.ptr + pos - folio.lblk * blockSize;
  if (kernels.exports.isZero(ptr, len) !== 0)
    return { didZero: false, zeroWritten: written && dirty };
  kernels.exports.zero(ptr, len);
  cache.markDirty(folio, at, 1);
  return { didZero: true, zeroWritten: written };
}
