// Where a file has data and where it has holes, and its list of extents: the mappings, reported. Unwritten
// extents count as holes unless the cache holds newer data for them. Sources: lseek(2), kernel documentation on
// FIEMAP.

import {
  IOMAP_DELALLOC,
  IOMAP_F_MERGED,
  IOMAP_HOLE,
  IOMAP_INLINE,
  IOMAP_REPORT,
  IOMAP_UNWRITTEN,
  type Iomap,
  type IomapFile,
  type IomapOps,
  mappings,
} from './iter.ts';
import { dirtyRun } from './writeback.ts';

export const FIEMAP_EXTENT_LAST = 0x1;
export const FIEMAP_EXTENT_UNKNOWN = 0x2;
export const FIEMAP_EXTENT_DELALLOC = 0x4;
export const FIEMAP_EXTENT_NOT_ALIGNED = 0x100;
export const FIEMAP_EXTENT_DATA_INLINE = 0x200;
export const FIEMAP_EXTENT_UNWRITTEN = 0x800;
export const FIEMAP_EXTENT_MERGED = 0x1000;

/** One extent as FIEMAP gives it, bytes. */
export interface FiemapExtent {
  pos: number;
  dpos: number;
  len: number;
  flags: number;
}

/** How many mappings one step looks at. */
const STEP_MAPPINGS = 512;

/** Looks from `pos` on for the first position below `end` that has data (or none, for `hole`). One step's worth:
 *  `found` false means go on at `pos`, or that nothing is there when pos === end. Throws Missing. */
export function seekIn<F extends IomapFile>(
  file: F,
  ops: IomapOps<F>,
  pos: number,
  end: number,
  hole: boolean,
): { pos: number; found: boolean } {
  let left = STEP_MAPPINGS;
  for (const map of mappings(file, ops, pos, end - pos, IOMAP_REPORT)) {
    const at = map.type === IOMAP_UNWRITTEN ? seekUnwritten(file, map, hole) : seekPlain(map, hole);
    if (at >= 0) return { pos: at, found: true };
    if (--left === 0) return { pos: map.pos + map.len, found: false };
  }
  return { pos: end, found: false };
}

function seekPlain(map: Iomap, hole: boolean): number {
  return (map.type === IOMAP_HOLE) === hole ? map.pos : -1;
}

/** In an unwritten mapping only blocks that are dirty in the cache are data. -1 when there is none of what is
 *  sought. */
function seekUnwritten(file: IomapFile, map: Iomap, hole: boolean): number {
  const { cache } = file.folios;
  const { blockSize } = cache;
  const end = Math.ceil((map.pos + map.len) / blockSize);
  const first = Math.floor(map.pos / blockSize);
  for (let at = first; at < end; ) {
    const next = file.folios.next(at, end);
    const folio = next < end ? file.folios.find(next) : undefined;
    const run = folio === undefined ? null : dirtyRun(cache, folio, next - folio.lblk);
    const from = folio === undefined || run === null ? null : folio.lblk + run.from;
    if (hole && from !== at) return Math.max(map.pos, at * blockSize);
    if (!hole && from !== null) return from < end ? Math.max(map.pos, from * blockSize) : -1;
    if (folio === undefined) break;
    at = hole && run !== null ? folio.lblk + run.to : folio.lblk + folio.n;
  }
  return -1;
}

/** The extents of [pos, end), one step's worth of them, and where to go on (`end` when done). Throws Missing. */
export function fiemap<F extends IomapFile>(
  file: F,
  ops: IomapOps<F>,
  pos: number,
  end: number,
): { extents: FiemapExtent[]; next: number } {
  const extents: FiemapExtent[] = [];
  for (const map of mappings(file, ops, pos, end - pos, IOMAP_REPORT)) {
    if (map.type !== IOMAP_HOLE) {
      const flags = flagsOf(map.type) | (map.flags & IOMAP_F_MERGED ? FIEMAP_EXTENT_MERGED : 0);
      extents.push({ pos: map.pos, dpos: map.dpos, len: map.len, flags });
    }
    if (extents.length === STEP_MAPPINGS) return { extents, next: map.pos + map.len };
  }
  return { extents, next: end };
}

function flagsOf(type: number): number {
  if (type === IOMAP_UNWRITTEN) return FIEMAP_EXTENT_UNWRITTEN;
  if (type === IOMAP_DELALLOC) return FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_UNKNOWN;
  if (type === IOMAP_INLINE) return FIEMAP_EXTENT_DATA_INLINE | FIEMAP_EXTENT_NOT_ALIGNED;
  return 0;
}
