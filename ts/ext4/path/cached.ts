// The cached paths, iomap and bufferhead: data goes into folios and is found a place at writeback. They differ in how
// they map: iomap as much as the lookup knows, in folios up to 1 MiB; bufferhead block by block, as it always did.

import {
  IOMAP_DELALLOC,
  IOMAP_F_NEW,
  IOMAP_HOLE,
  IOMAP_NOSPACE,
  IOMAP_UNWRITTEN,
  IOMAP_WRITE,
  IOMAP_ZERO,
  type Iomap,
  type IomapOps,
} from '../../iomap/iter.ts';
import { bufferedWrite, dirtyFolioAt, type Zeroed, zeroInBlock } from '../../iomap/write.ts';
import { releaseDelayed, reserveBlocks } from '../delayed.ts';
import type { Inode } from '../inode.ts';
import { ext4Iomap } from '../iomap.ts';
import { allocRun, MAP_CREDITS } from '../mapwrite.ts';
import { touchForWrite } from '../size.ts';

/** Blocks of a folio that the bufferhead path makes. */
const BUFFERHEAD_FOLIO = 1;

/** Mapping for writes: a hole gets a promise of space (delayed), or with nodelalloc unwritten blocks at once. */
export const iomapOps: IomapOps<Inode> = {
  begin(inode: Inode, pos: number, len: number, flags: number, out: Iomap): void {
    ext4Iomap.begin(inode, pos, len, flags, out);
    if ((flags & IOMAP_WRITE) !== 0 && out.type === IOMAP_HOLE) fillHole(inode, pos, len, out);
  },

  /** What was promised for this write and not used is given back. */
  end(inode: Inode, pos: number, done: number, flags: number, map: Iomap): void {
    if ((flags & IOMAP_WRITE) === 0 || (map.flags & IOMAP_F_NEW) === 0 || done === map.len) return;
    if (map.type !== IOMAP_DELALLOC) return;
    const { blockSize } = inode.vol.sb;
    const end = Math.ceil((map.pos + map.len) / blockSize);
    releaseDelayed(inode, Math.ceil((pos + done) / blockSize), end);
  },
};

/** The same, one block at a time. */
export const bufferheadOps: IomapOps<Inode> = {
  begin(inode: Inode, pos: number, len: number, flags: number, out: Iomap): void {
    const { blockSize } = inode.vol.sb;
    const start = pos - (pos % blockSize);
    iomapOps.begin(inode, pos, Math.min(len, start + blockSize - pos), flags, out);
    if (out.type === IOMAP_NOSPACE) return;
    const skip = start - out.pos;
    out.pos = start;
    out.dpos += skip;
    out.len = blockSize;
  },
  end: iomapOps.end,
};

function fillHole(inode: Inode, pos: number, len: number, out: Iomap): void {
  const { blockSize } = inode.vol.sb;
  const first = Math.floor(pos / blockSize);
  const hole = (out.pos + out.len) / blockSize - first;
  const want = Math.min(Math.ceil((pos + len) / blockSize) - first, hole);
  const direct = !inode.vol.options.delalloc && inode.path === 'iomap';
  const got = direct ? allocate(inode, first, want) : reserveBlocks(inode, first, want);
  out.type = got === 0 ? IOMAP_NOSPACE : direct ? IOMAP_UNWRITTEN : IOMAP_DELALLOC;
  out.flags |= IOMAP_F_NEW;
  out.pos = first * blockSize;
  out.len = got * blockSize;
}

/** Unwritten blocks in a handle of its own, closed before any folio is touched. */
function allocate(inode: Inode, lblk: number, want: number): number {
  const { vol } = inode;
  vol.journal!.start(MAP_CREDITS);
  const { count } = allocRun(inode, lblk, Math.min(want, 32767), true);
  vol.journal!.stop();
  return count;
}

function opsOf(inode: Inode): IomapOps<Inode> {
  return inode.path === 'iomap' ? iomapOps : bufferheadOps;
}

/** One step: copies into the cache; returns how many bytes. Throws Missing; ENOSPC, EIO, EUCLEAN. */
export function writeCached(
  inode: Inode,
  from: Uint8Array,
  at: number,
  pos: number,
  len: number,
): number {
  const { vol } = inode;
  inode.at();
  vol.dirtyInodes.add(inode);
  touchForWrite(inode);
  const maxFolio = inode.path === 'iomap' ? 1 << 20 : BUFFERHEAD_FOLIO;
  const request = { file: inode, from, at, pos, len, fill: vol.cache.fill, maxFolio };
  const n = bufferedWrite(vol.cache, opsOf(inode), request);
  if (pos + n > inode.size) inode.size = pos + n;
  return n;
}

/** True when the bytes could be copied over dirty ones, which is all there was to do. */
export function overwriteDirty(
  inode: Inode,
  from: Uint8Array,
  at: number,
  pos: number,
  len: number,
): boolean {
  const { cache } = inode.vol;
  const folio = dirtyFolioAt(cache, inode, pos, len);
  if (folio === null || Date.now() - inode.touched >= 4) return false;
  const whole = at === 0 && len === from.length;
  const bytes = whole ? from : from.subarray(at, at + len);
  cache.copyBytes(cache.kernels.u8, folio.ptr + pos - folio.lblk * cache.blockSize, bytes);
  return true;
}

/** Zeroes bytes of one block, in the cache. Throws Missing; EIO, EUCLEAN. */
export function zeroCached(inode: Inode, pos: number, len: number): Zeroed {
  inode.vol.dirtyInodes.add(inode);
  return zeroInBlock(inode.vol.cache, opsOf(inode), inode, pos, len, IOMAP_ZERO);
}
