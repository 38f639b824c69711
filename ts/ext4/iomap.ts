// The operations that iomap calls up: where do these bytes of a file live? One answer covers as much as the
// lookup knows; the last answer of each inode is kept, since sequential access asks for it again.

import { MAP_HOLE, MAP_UNWRITTEN } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/ext4.ts';
import {
  IOMAP_DELALLOC,
  IOMAP_F_MERGED,
  IOMAP_HOLE,
  IOMAP_INLINE,
  IOMAP_MAPPED,
  IOMAP_UNWRITTEN,
  type Iomap,
  type IomapOps,
} from '../iomap/iter.ts';
import { lookupExtent } from './extent.ts';
import { lookupIndirect, maxIndirectBlocks } from './indirect.ts';
import type { Inode, MapMemo } from './inode.ts';

/** No file has a block of this number or above: a size that says so ends in a hole. */
const MAX_LBLK = 2 ** 32 - 1;

/** The mapping at a logical block, from the memo or looked up. Throws Missing; EUCLEAN, EBADMSG. */
export function mapBlocks(inode: Inode, lblk: number): MapMemo {
  const { memo } = inode;
  if (lblk >= memo.lblk && lblk < memo.lblk + memo.len) return memo;
  inode.vol.mappingCalls++;
  memo.len = 0;
  if (inode.has(F.EXT4_EXTENTS_FL)) lookupExtent(inode, lblk, memo);
  else lookupIndirect(inode, lblk, memo);
  inode.vol.fast?.amend(inode.ino, lblk, memo);
  return memo;
}

/** The physical block at a logical one, or 0 for a hole. */
export function blockOf(inode: Inode, lblk: number): number {
  const map = mapBlocks(inode, lblk);
  return map.kind === MAP_HOLE ? 0 : map.pblk + (lblk - map.lblk);
}

export const ext4Iomap: IomapOps<Inode> = {
  begin(inode: Inode, pos: number, _len: number, _flags: number, out: Iomap): void {
    const { blockSize } = inode.vol.sb;
    inode.vol.mappings++;
    if (inode.path === 'inline') return inline(inode, pos, out);
    const lblk = Math.floor(pos / blockSize);
    if (lblk >= MAX_LBLK) return beyond(pos, out);
    out.flags = inode.has(F.EXT4_EXTENTS_FL) ? 0 : IOMAP_F_MERGED;
    if (out.flags !== 0 && lblk >= maxIndirectBlocks(blockSize)) return beyond(pos, out);
    const map = mapBlocks(inode, lblk);
    out.type =
      map.kind === MAP_HOLE
        ? IOMAP_HOLE
        : map.kind === MAP_UNWRITTEN
          ? IOMAP_UNWRITTEN
          : IOMAP_MAPPED;
    out.pos = map.lblk * blockSize;
    out.len = map.len * blockSize;
    out.dpos = map.pblk * blockSize;
    if (inode.delayed !== null && map.kind === MAP_HOLE) delay(inode, lblk, out);
  },
};

/** A hole where blocks are delayed is none; it ends where they begin. */
function delay(inode: Inode, lblk: number, out: Iomap): void {
  const { blockSize } = inode.vol.sb;
  const { runs } = inode.delayed!;
  const inside = runs.has(lblk);
  const end = Math.min((out.pos + out.len) / blockSize, lblk + runs.span(lblk, inside));
  if (inside) out.type = IOMAP_DELALLOC;
  out.pos = lblk * blockSize;
  out.len = (end - lblk) * blockSize;
}

function beyond(pos: number, out: Iomap): void {
  out.flags = 0;
  out.type = IOMAP_HOLE;
  out.pos = pos;
  out.len = Number.MAX_SAFE_INTEGER - pos;
}

function inline(inode: Inode, pos: number, out: Iomap): void {
  const { sb } = inode.vol;
  out.type = pos < inode.size ? IOMAP_INLINE : IOMAP_HOLE;
  out.flags = 0;
  out.pos = pos < inode.size ? 0 : inode.size;
  out.len = pos < inode.size ? inode.size : Number.MAX_SAFE_INTEGER - inode.size;
  out.dpos = inode.pblk * sb.blockSize + inode.off + F.I_BLOCK;
}
