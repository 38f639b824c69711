// Buffered reads: bytes are copied out of folios; folios that are not there are asked for in one go, with
// readahead that doubles while access is sequential. Holes and unwritten extents are zeroed without I/O.

import type { ReadRange } from '../block/device.ts';
import type { Cache } from '../cache/cache.ts';
import type { FileFolios, Folio } from '../cache/folio.ts';
import { type FolioRange, missing } from '../cache/missing.ts';
import { directLength } from './direct.ts';
import { IOMAP_MAPPED, type IomapFile, type IomapOps, mappings } from './iter.ts';

/** Bytes of the largest folio, and of the largest readahead. */
export const MAX_FOLIO = 1 << 20;
/** Bytes of the smallest folio, if blocks are not larger. */
export const MIN_FOLIO = 4096;

/** Where sequential access would go on, in blocks: one an open file. */
export interface Readahead {
  next: number;
  window: number;
}

export function newReadahead(): Readahead {
  return { next: 0, window: 0 };
}

/** Brings folios in on the spot; null on an asynchronous device, where they are named in the Missing signal. */
export interface FillFolios {
  folios(range: FolioRange): void;
  /** Reads whole blocks from `pos` on to the caller's memory, past the cache. */
  direct(file: FileFolios, pos: number, into: Uint8Array): void;
}

/** One read: [pos, pos + len), which the caller has clipped to the file, into `into` from byte `at` on. */
export interface ReadRequest {
  file: IomapFile;
  into: Uint8Array;
  at: number;
  pos: number;
  len: number;
  ahead: Readahead;
  fill: FillFolios | null;
}

/** Copies [pos, pos + len) when one folio that is up to date holds all of it; else false, and nothing was done. */
export function copyCached(
  cache: Cache,
  folios: FileFolios,
  into: Uint8Array,
  at: number,
  pos: number,
  len: number,
): boolean {
  const { blockSize } = cache;
  const folio = folios.find(Math.floor(pos / blockSize));
  if (folio === undefined || !folio.uptodate) return false;
  const off = pos - folio.lblk * blockSize;
  if (off + len > folio.n * blockSize) return false;
  copyOut(cache, folio, off, len, into, at);
  return true;
}

/** Copies the whole request. Throws Missing, with all that is not there named at once. */
export function bufferedRead(cache: Cache, r: ReadRequest): void {
  if (r.fill === null) needAll(cache, r);
  const { blockSize } = cache;
  const { file } = r;
  let { at, pos } = r;
  const end = r.pos + r.len;
  while (pos < end) {
    const lblk = Math.floor(pos / blockSize);
    const folio = file.folios.find(lblk);
    if (folio === undefined || !folio.uptodate) {
      const fill = r.fill as FillFolios;
      const past = folio === undefined ? directLength(cache, file, pos, end) : 0;
      if (past > 0) fill.direct(file.folios, pos, r.into.subarray(at, at + past));
      else fill.folios(askFor(cache, r, lblk, end));
      at += past;
      pos += past;
      continue;
    }
    const off = pos - folio.lblk * blockSize;
    const n = Math.min(folio.n * blockSize - off, end - pos);
    copyOut(cache, folio, off, n, r.into, at);
    at += n;
    pos += n;
  }
}

/** Copies [off, off + n) of an up to date folio. */
export function copyOut(
  cache: Cache,
  folio: Folio,
  off: number,
  n: number,
  into: Uint8Array,
  at: number,
): void {
  folio.referenced = true;
  cache.copyBytes(into, at, cache.view(folio.ptr + off, n));
}

/** Asks before touching: throws Missing when any block of the request is not there. */
function needAll(cache: Cache, r: ReadRequest): void {
  const { blockSize } = cache;
  const end = r.pos + r.len;
  const last = Math.ceil(end / blockSize);
  let any = false;
  for (let lblk = Math.floor(r.pos / blockSize); lblk < last; ) {
    const folio = r.file.folios.find(lblk);
    if (folio?.uptodate) {
      if (folio.turn !== cache.turn) cache.hold(folio);
      lblk = folio.lblk + folio.n;
      continue;
    }
    const range = askFor(cache, r, lblk, end);
    missing.folio(range);
    lblk += range.count;
    any = true;
  }
  if (any) throw missing;
}

/** The range to fetch from `lblk` on: up to `end` or the next folio that is up to date, and readahead
 *  beyond `end`. */
function askFor(cache: Cache, r: ReadRequest, lblk: number, end: number): FolioRange {
  const { blockSize } = cache;
  const { file, ahead } = r;
  const maxBlocks = Math.max(1, MAX_FOLIO / blockSize);
  const last = Math.min(Math.ceil(end / blockSize), lblk + maxBlocks);
  let stop = lblk + 1;
  while (stop < last && !file.folios.find(stop)?.uptodate) stop++;
  const count = stop - lblk;
  const window = lblk === ahead.next ? Math.min(2 * ahead.window, maxBlocks) : 0;
  ahead.window = Math.max(count, window, Math.max(1, MIN_FOLIO / blockSize));
  ahead.next = Math.max(stop, lblk + ahead.window);
  return { file: file.folios, lblk, count, ahead: Math.max(0, ahead.next - stop) };
}

/** Makes the folios that a range lacks and says what to read into them; holes are zeroed here. The folios come
 *  back pinned once, for the device call. Throws Missing, before anything is made. */
export function planFolios<F extends IomapFile>(
  cache: Cache,
  file: F,
  ops: IomapOps<F>,
  range: FolioRange,
): { folios: Folio[]; reads: ReadRange[] } {
  const { blockSize } = cache;
  const unit = Math.max(1, MIN_FOLIO / blockSize);
  const fileEnd = Math.ceil(Math.ceil(file.size / blockSize) / unit) * unit;
  const from = Math.floor(range.lblk / unit) * unit;
  const to = Math.min(Math.ceil((range.lblk + range.count + range.ahead) / unit) * unit, fileEnd);
  const plan = { folios: [] as Folio[], reads: [] as ReadRange[] };
  if (from >= to) return plan;
  const most = range.whole ? to - from : Math.max(1, MAX_FOLIO / blockSize);
  const maps = collect(file, ops, from * blockSize, (to - from) * blockSize);
  for (const gap of gaps(file, from, to)) {
    for (let at = gap.from; at < gap.to; ) {
      const n = Math.min(gap.to - at, most);
      // Where memory ends, what there is of it is read; the rest is asked for again.
      const folio =
        plan.folios.length > 0 ? file.folios.tryCreate(at, n) : file.folios.create(at, n);
      if (folio === null) return plan;
      folio.pins++;
      plan.folios.push(folio);
      planFolio(cache, folio, maps, plan.reads);
      at += folio.n;
    }
  }
  return plan;
}

interface Piece {
  pos: number;
  end: number;
  /** Device position, or -1 for zeroes. */
  dpos: number;
}

function collect<F extends IomapFile>(
  file: F,
  ops: IomapOps<F>,
  pos: number,
  len: number,
): Piece[] {
  const maps: Piece[] = [];
  for (const map of mappings(file, ops, pos, len, 0)) {
    const dpos = map.type === IOMAP_MAPPED ? map.dpos : -1;
    maps.push({ pos: map.pos, end: map.pos + map.len, dpos });
  }
  return maps;
}

/** The block ranges of [from, to) that no folio holds. */
function gaps(file: IomapFile, from: number, to: number): { from: number; to: number }[] {
  const found: { from: number; to: number }[] = [];
  for (let at = from; at < to; ) {
    const next = file.folios.next(at, to);
    if (next > at) found.push({ from: at, to: next });
    const folio = next < to ? file.folios.find(next) : undefined;
    at = folio === undefined ? to : folio.lblk + folio.n;
  }
  return found;
}

function planFolio(cache: Cache, folio: Folio, maps: Piece[], reads: ReadRange[]): void {
  const start = folio.lblk * cache.blockSize;
  const stop = start + folio.n * cache.blockSize;
  for (const map of maps) {
    const pos = Math.max(map.pos, start);
    const end = Math.min(map.end, stop);
    if (pos >= end) continue;
    const ptr = folio.ptr + (pos - start);
    if (map.dpos < 0) cache.kernels.exports.zero(ptr, end - pos);
    else {
      const into = cache.kernels.u8.subarray(ptr, ptr + (end - pos));
      reads.push({ into, dpos: map.dpos + (pos - map.pos) });
    }
  }
}
