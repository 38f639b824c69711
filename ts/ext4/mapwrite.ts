// Changing where an inode's blocks lie, whichever map it has: one metadata block more, or the end removed.

import * as F from '../../assembly/format/ext4.ts';
import { corrupt } from '../errno.ts';
import { allocBlocks } from './balloc.ts';
import { blockIn, removeExtents } from './extentremove.ts';
import { extentGoal, insertExtent } from './extentwrite.ts';
import { appendIndirect, removeIndirect } from './indirectwrite.ts';
import type { Inode } from './inode.ts';
import { addBlocks } from './mapspace.ts';
import { isFastLink } from './stat.ts';

export { insertExtent } from './extentwrite.ts';
export { addBlocks, isMetadata, MAP_CREDITS, REMOVE_CREDITS } from './mapspace.ts';

/** Of each further appendBlock() to the same inode in the same step: the nodes have room then. */
export const MAP_MORE_CREDITS = 3;

/** Allocates one metadata block, near its neighbours, and maps it at `lblk`, until now a hole; it is
 *  counted. Returns it;
 *  journal.create() is the caller's. Needs a handle. ENOSPC; EFBIG; EUCLEAN. */
export function appendBlock(inode: Inode, lblk: number): number {
  if (!inode.has(F.EXT4_EXTENTS_FL)) return appendIndirect(inode, lblk);
  const pblk = blockFor(inode, lblk);
  insertExtent(inode, lblk, pblk, 1, false);
  return pblk;
}

/** A block of a cluster that the inode has at this place already, or of a new one. */
function blockFor(inode: Inode, lblk: number): number {
  const { vol } = inode;
  const { clusterBlocks } = vol.sb;
  const into = lblk % clusterBlocks;
  const start = lblk - into;
  const mapped = clusterBlocks === 1 ? -1 : blockIn(inode, start, start + clusterBlocks);
  if (mapped % clusterBlocks > 0) {
    throw corrupt('extent', `block ${start} at ${mapped} crosses clusters`, { ino: inode.ino });
  }
  if (mapped >= 0) return mapped + into;
  const { pblk, count } = allocBlocks(vol, extentGoal(inode, lblk), 1);
  addBlocks(inode, count);
  return pblk + into;
}

/** One step with a handle of its own: frees the blocks at and behind `from`, last ones first, as many
 *  as one handle may,
 *  and the nodes that become empty. True while more may be left. EUCLEAN, EBADMSG. */
export function removeBlocksStep(inode: Inode, from: number): boolean {
  inode.at();
  if (!hasMap(inode)) return false;
  return inode.has(F.EXT4_EXTENTS_FL) ? removeExtents(inode, from) : removeIndirect(inode, from);
}

/** False where the place of the map holds something else: a short target, a device number, the file itself. */
function hasMap(inode: Inode): boolean {
  if (inode.path === 'inline') return false;
  if (inode.isFile || inode.isDir) return true;
  if (!inode.isLink) return false;
  return inode.has(F.EXT4_EXTENTS_FL) || !isFastLink(inode);
}
