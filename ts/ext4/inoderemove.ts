// Removing what has no name left: blocks, xattrs, then the inode. A flow of steps; the orphan list remembers it until
// the last one. At a read-write mount the orphans of a crash go the same way, or lose what lies behind their size.

import * as F from '../../assembly/format/ext4.ts';
import type { Buffer } from '../cache/buffer.ts';
import { type Flow, freeze, step } from '../flow.ts';
import { releaseDelayed } from './delayed.ts';
import { MAX_LBLK } from './extentwrite.ts';
import { FREE_INODE_CREDITS, freeInode } from './ialloc.ts';
import type { Inode } from './inode.ts';
import { blockOf } from './iomap.ts';
import { removeBlocksStep } from './mapwrite.ts';
import { KIND_ORPHANS, readOrphans } from './orphan.ts';
import { ORPHAN_CREDITS, removeOrphan } from './orphanwrite.ts';
import type { Ext4Volume } from './volume.ts';
import { dropXattrs } from './xattrwrite.ts';

/** Removes an orphan without links and all that it has. */
export function* removeInode(vol: Ext4Volume, ino: number): Flow<void> {
  const inode = yield* step(orphanOf, vol, ino);
  yield* freeze(ino);
  yield* step(forgetData, inode);
  if (yield* step(hasBlocks, inode)) while (yield* step(removeBlocksStep, inode, 0)) {}
  yield* dropXattrs(inode);
  yield* step(lastStep, inode);
}

/** An inode of the list of orphans, in memory. Throws Missing. */
export function orphanOf(vol: Ext4Volume, ino: number): Inode {
  const inode = vol.inodes.known(ino) ?? vol.inodes.raw(ino);
  inode.at();
  vol.inodes.adopt(inode);
  return inode;
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

function lastStep(inode: Inode): void {
  const { vol } = inode;
  inode.at();
  vol.journal!.start(FREE_INODE_CREDITS + ORPHAN_CREDITS + 2);
  removeOrphan(inode);
  freeInode(vol, inode);
  vol.journal!.stop();
}

/** Works off the orphans that a crash left; returns how many. */
export function* recoverOrphans(vol: Ext4Volume): Flow<number> {
  const inos = yield* readOrphans(vol);
  const inChain = yield* chainLength(vol);
  for (const ino of inos.slice(0, inChain)) vol.orphans.add(ino);
  for (const ino of inos) yield* recoverOne(vol, ino);
  if (inos.length > inChain) yield* emptyOrphanFile(vol);
  return inos.length;
}

function* chainLength(vol: Ext4Volume): Flow<number> {
  let count = 0;
  for (let ino = vol.sb.lastOrphan; ino !== 0; count++) ino = yield* step(dtimeOf, vol, ino);
  return count;
}

function dtimeOf(vol: Ext4Volume, ino: number): number {
  return vol.inodes.raw(ino).u32(F.I_DTIME);
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

/** Takes all numbers out of the orphan file, and the flag that says there are some. */
function* emptyOrphanFile(vol: Ext4Volume): Flow<void> {
  const blocks = yield* step(orphanBlocks, vol);
  for (let lblk = 0; lblk < blocks; lblk++) yield* step(emptyBlock, vol, lblk);
}

function orphanBlocks(vol: Ext4Volume): number {
  return Math.floor(vol.inodes.raw(vol.sb.orphanFileIno).size / vol.sb.blockSize);
}

function emptyBlock(vol: Ext4Volume, lblk: number): void {
  const { sb } = vol;
  const file = vol.inodes.raw(sb.orphanFileIno);
  const buffer: Buffer = vol.cache.get(blockOf(file, lblk));
  vol.journal!.start(2);
  const ptr = vol.journal!.write(buffer, 0, sb.blockSize);
  vol.cache.kernels.exports.zero(ptr, sb.blockSize - F.OB_TAIL_SIZE);
  buffer.kind = KIND_ORPHANS;
  buffer.seed = file.seed;
  vol.journal!.stop();
}
