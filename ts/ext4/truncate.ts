// Truncating. Up: the old end's block is zeroed behind it, then the size is published. Down: the new end's block is
// zeroed behind it, the inode becomes an orphan with its new size, what is cached behind it is dropped, and blocks go
// step by step; a crash on the way finishes at the next mount. The caller has the inode's turn.

import { Ext4Error } from '../errno.ts';
import { type Flow, freeze, step } from '../flow.ts';
import { dropData } from './delayed.ts';
import { MAX_LBLK } from './extentwrite.ts';
import type { Inode } from './inode.ts';
import { removeBlocksStep } from './mapwrite.ts';
import { touch } from './namei.ts';
import { addOrphan, ORPHAN_CREDITS, removeOrphan } from './orphanwrite.ts';
import { truncateInline } from './path/inline.ts';
import { publishSize } from './size.ts';
import type { Ext4Volume } from './volume.ts';
import { zeroEof, zeroPartial } from './zerorange.ts';

/** Publishes a larger size, in memory and, when nothing has to be written before, on disk. */
export function* growSize(inode: Inode, size: number): Flow<void> {
  yield* step(publishSize, inode, size);
}

/** Makes a regular file `size` bytes long. The same size frees what was allocated behind it. */
export function* truncateFile(vol: Ext4Volume, ino: number, size: number): Flow<void> {
  const inode = yield* step(inodeOf, vol, ino);
  if (inode.path === 'inline' && (yield* truncateInline(inode, size))) return;
  if (size > inode.size) {
    yield* zeroEof(inode, size);
    return yield* growSize(inode, size);
  }
  if (inode.daxLeases > 0) throw new Ext4Error('EBUSY', 'its blocks are on view');
  yield* freeze(ino);
  const off = size % vol.sb.blockSize;
  if (off > 0 && size < inode.size) yield* zeroPartial(inode, size, vol.sb.blockSize - off);
  yield* step(shrinkStep, inode, size);
  const first = Math.ceil(size / vol.sb.blockSize);
  while (yield* step(removeBlocksStep, inode, first)) {}
  yield* step(offList, inode);
}

function inodeOf(vol: Ext4Volume, ino: number): Inode {
  const inode = vol.inodes.get(ino);
  inode.at();
  return inode;
}

function shrinkStep(inode: Inode, size: number): void {
  const { vol } = inode;
  const { blockSize } = vol.sb;
  inode.at();
  vol.journal!.start(ORPHAN_CREDITS + 4);
  addOrphan(inode);
  touch(inode, true);
  const diskSize = Math.min(size, inode.diskSize);
  inode.setSize(size);
  if (diskSize !== size) inode.setDiskSize(diskSize);
  inode.dataTid = vol.journal!.tid;
  vol.journal!.stop();
  inode.touched = Date.now();
  inode.holdGoal = 0;
  if (inode.growPending && diskSize === size) dropPending(inode);
  dropData(inode, Math.ceil(size / blockSize), MAX_LBLK);
  const clean = inode.folios.dirty.size === 0 && inode.size === inode.diskSize;
  if (clean) vol.dirtyInodes.delete(inode);
}

/** The end for which the size waited is cut off, or was zeroed anew. */
function dropPending(inode: Inode): void {
  inode.growPending = false;
  inode.vol.trace.emit('disksize.pending', { ino: inode.ino, pending: false });
}

function offList(inode: Inode): void {
  inode.at();
  if (inode.links === 0) return;
  inode.vol.journal!.start(ORPHAN_CREDITS);
  removeOrphan(inode);
  inode.vol.journal!.stop();
}
