// Removing what has no name left: blocks, xattrs, then the inode. A flow of steps; the orphan list remembers it until
// the last one. At a read-write mount the orphans of a crash go the same way, or lose what lies behind their size.

import * as F from '../../assembly/format/ext4.ts';
import { type Flow, freeze, step } from '../flow.ts';
import { releaseDelayed } from './delayed.ts';
import { MAX_LBLK } from './extentwrite.ts';
import type { Inode } from './inode.ts';
import { removeBlocksStep } from './mapwrite.ts';
import { readOrphans } from './orphan.ts';
import {
  emptyOrphanBlock,
  freeOrphanStep,
  ORPHAN_CREDITS,
  orphanOf,
  removeOrphan,
} from './orphanwrite.ts';
import type { Ext4Volume } from './volume.ts';
import { dropXattrs } from './xattrdrop.ts';

/** Removes an orphan without links and all that it has. */
export function* removeInode(vol: Ext4Volume, ino: number): Flow<void> {
  const inode = yield* step(orphanOf, vol, ino);
  yield* freeze(ino);
  yield* step(forgetData, inode);
  if (yield* step(hasBlocks, inode)) while (yield* step(removeBlocksStep, inode, 0)) {}
  yield* dropXattrs(inode);
  yield* step(freeOrphanStep, inode);
}

/** What was not written back yet need not be. */
function forgetData(inode: Inode): void {
  inode.folios.dropAll();
  releaseDelayed(inode, 0, MAX_LBLK);
  inode.growPending = false;
  inode.vol.dirtyInodes.delete(inode);
}

/** Fast symlinks, devices and inline data have no map. */
function hasBlocks(inode: Inode): boolean {
  inode.at();
  if (inode.path === 'inline') return false;
  if (inode.isFile || inode.isDir) return true;
  return inode.isLink && inode.size >= F.I_BLOCK_SIZE;
}

/** Works off the orphans that a crash left; returns how many. */
export function* recoverOrphans(vol: Ext4Volume): Flow<number> {
  const { slots, stray } = yield* readOrphans(vol);
  for (const [ino, slot] of slots) vol.orphans.set(ino, slot);
  for (const ino of slots.keys()) yield* recoverOne(vol, ino);
  const blocks = stray && vol.orphanFile !== null ? vol.orphanFile.blocks.length : 0;
  for (let i = 0; i < blocks; i++) yield* step(emptyOrphanBlock, vol, i);
  return slots.size;
}

function* recoverOne(vol: Ext4Volume, ino: number): Flow<void> {
  const inode = yield* step(orphanOf, vol, ino);
  if ((yield* step(linksOf, inode)) === 0) return yield* removeInode(vol, ino);
  if (yield* step(hasBlocks, inode)) {
    const end = Math.ceil(inode.size / vol.sb.blockSize);
    while (yield* step(removeBlocksStep, inode, end)) {}
  }
  yield* step(offList, inode);
}

function linksOf(inode: Inode): number {
  return inode.links;
}

/** What has no name stays on the list: its last close removes it. */
function offList(inode: Inode): void {
  inode.at();
  if (inode.links === 0) return;
  inode.vol.journal!.start(ORPHAN_CREDITS);
  removeOrphan(inode);
  inode.vol.journal!.stop();
}
