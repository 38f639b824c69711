// Changing where an inode's blocks lie, whichever map it has: one metadata block more, a run of data, a range removed.

import * as F from '../../assembly/format/ext4.ts';
import { assert } from '../assert.ts';
import { corrupt } from '../errno.ts';
import { type AllocOptions, allocBlocks } from './balloc.ts';
import { blockIn, punchExtents } from './extentremove.ts';
import { extentGoal, insertExtent, UNWRITTEN_MAX_LEN } from './extentwrite.ts';
import { punchIndirect } from './indirectpunch.ts';
import { allocPointers, insertPointers } from './indirectwrite.ts';
import type { Inode } from './inode.ts';
import { addBlocks, type Run } from './mapspace.ts';
import { isFastLink } from './stat.ts';

export { insertExtent } from './extentwrite.ts';
export { addBlocks, isMetadata, MAP_CREDITS, REMOVE_CREDITS } from './mapspace.ts';

/** Changed blocks of one insertRun(): of extents as MAP_CREDITS; of pointers up to six new pointer blocks, each with a
 *  bitmap and a descriptor, two old ones and the inode. */
export const RUN_CREDITS = 26;
/** Blocks that one insertRun() maps at most in a block map. */
export const MAX_RUN = 512;
/** More than any file has. */
const MAX_BLOCKS = 2 ** 32;
/** Of each further appendBlock() to the same inode in the same step: the nodes have room then. */
export const MAP_MORE_CREDITS = 3;

/** Allocates one metadata block, near its neighbours, and maps it at `lblk`, until now a hole; it is counted.
 *  Returns it; journal.create() is the caller's. Needs a handle. ENOSPC; EFBIG; EUCLEAN. */
export function appendBlock(inode: Inode, lblk: number): number {
  return allocRun(inode, lblk, 1, false).pblk;
}

/** Allocates 1 to `want` blocks in a row, near their neighbours, and maps them at `lblk`; they are counted. All of
 *  [lblk, lblk + want) must be a hole. With bigalloc, blocks in a cluster that the file has are mapped without a
 *  new one. A block map holds written blocks only. Needs a handle with MAP_CREDITS. ENOSPC; EFBIG; EUCLEAN. */
export function allocRun(
  inode: Inode,
  lblk: number,
  want: number,
  unwritten: boolean,
  o: AllocOptions = {},
): Run {
  if (!inode.has(F.EXT4_EXTENTS_FL)) {
    assert(!unwritten, 'a block map cannot say unwritten');
    return allocPointers(inode, lblk, want, o);
  }
  const most = unwritten ? UNWRITTEN_MAX_LEN : F.EXT_INIT_MAX_LEN;
  const run = placeRun(inode, lblk, Math.min(want, most), o);
  insertExtent(inode, lblk, run.pblk, run.count, unwritten);
  return run;
}

/** Blocks of a cluster that the inode has at this place already, or new ones. */
function placeRun(inode: Inode, lblk: number, want: number, o: AllocOptions): Run {
  const { clusterBlocks } = inode.vol.sb;
  const into = lblk % clusterBlocks;
  let most = want;
  if (clusterBlocks > 1) {
    const mapped = ownedCluster(inode, lblk);
    if (mapped >= 0) {
      return { pblk: mapped + into, count: Math.min(want, clusterBlocks - into) };
    }
    // A cluster that the file has ends the run: it is the place of what lies in it.
    const end = lblk + want;
    const last = end - (end % clusterBlocks);
    if (last > lblk && last < end && ownedCluster(inode, last) >= 0) most = last - lblk;
  }
  const found = allocBlocks(inode.vol, extentGoal(inode, lblk), most + into, 1, o);
  addBlocks(inode, found.count);
  return { pblk: found.pblk + into, count: Math.min(most, found.count - into) };
}

/** The physical cluster that the file has at the cluster of `lblk`, its first block; -1 when none of it is mapped. */
function ownedCluster(inode: Inode, lblk: number): number {
  const { clusterBlocks } = inode.vol.sb;
  const start = lblk - (lblk % clusterBlocks);
  const mapped = blockIn(inode, start, start + clusterBlocks);
  if (mapped % clusterBlocks > 0) {
    throw corrupt('extent', `block ${start} at ${mapped} crosses clusters`, { ino: inode.ino });
  }
  return mapped;
}

/** Maps [lblk, lblk + count), until now a hole, to blocks from `pblk` on, which were allocated and counted before.
 *  A block map holds written blocks only. Needs a handle with RUN_CREDITS, `count` at most MAX_RUN. ENOSPC; EFBIG;
 *  EUCLEAN. */
export function insertRun(
  inode: Inode,
  lblk: number,
  pblk: number,
  count: number,
  unwritten: boolean,
): void {
  if (inode.has(F.EXT4_EXTENTS_FL)) return insertExtent(inode, lblk, pblk, count, unwritten);
  assert(!unwritten && count <= MAX_RUN, 'a block map holds written blocks, not too many at once');
  insertPointers(inode, lblk, pblk, count);
}

/** One step with a handle of its own: frees the blocks at and behind `from`, last ones first, as many as one handle
 *  may, and the nodes that become empty. True while more may be left. EUCLEAN, EBADMSG. */
export function removeBlocksStep(inode: Inode, from: number): boolean {
  return punchBlocksStep(inode, from, MAX_BLOCKS);
}

/** As removeBlocksStep(), of blocks [from, to) only. ENOSPC when an extent cannot be split. */
export function punchBlocksStep(inode: Inode, from: number, to: number): boolean {
  inode.at();
  if (from >= to || !hasMap(inode)) return false;
  return inode.has(F.EXT4_EXTENTS_FL)
    ? punchExtents(inode, from, to)
    : punchIndirect(inode, from, to);
}

/** False where the place of the map holds something else: a short target, a device number, the file itself. */
function hasMap(inode: Inode): boolean {
  if (inode.path === 'inline') return false;
  if (inode.isFile || inode.isDir) return true;
  if (!inode.isLink) return false;
  return inode.has(F.EXT4_EXTENTS_FL) || !isFastLink(inode);
}
