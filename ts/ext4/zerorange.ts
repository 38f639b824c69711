// Zeroing part of a block, through whichever path the inode has: dax, journalled, iomap, bufferhead, in this order, and
// inline data where it lies. Told is what was changed, and whether older bytes may be on the disk: only then must the
// zeroes reach it before the size does. After the kernel series "ext4: implement partial block zero range path".

import { assert } from '../assert.ts';
import { Ext4Error } from '../errno.ts';
import { type Flow, step } from '../flow.ts';
import type { Zeroed } from '../iomap/write.ts';
import type { Inode } from './inode.ts';
import { zeroCached } from './path/cached.ts';
import { zeroDax } from './path/dax.ts';
import { zeroInline } from './path/inline.ts';
import { zeroJournalled } from './path/journalled.ts';

/** Zeroes [pos, pos + len) of one block; a length that is negative or leaves the block is cut to the block's end.
 *  One step, without an open handle. EINVAL within one; EIO after a shutdown; EROFS once the journal has aborted. */
export function zeroWithinBlock(inode: Inode, pos: number, len: number): Zeroed {
  const { vol } = inode;
  const left = vol.sb.blockSize - (pos % vol.sb.blockSize);
  const n = len < 0 || len > left ? left : len;
  if (inode.path !== 'journalled' && vol.journal!.open)
    throw new Ext4Error('EINVAL', 'a handle is open');
  if (vol.down) throw new Ext4Error('EIO', 'the file system was shut down');
  if (vol.journal!.aborted !== null) throw new Ext4Error('EROFS', 'the journal has aborted');
  inode.at();
  // As in the kernel, but for inodes that go: whoever zeroes has the inode to itself.
  const mine = vol.turns === null || vol.turns.has(inode.ino) || inode.links === 0;
  assert(mine, "the inode's turn is held");
  const zeroed = zeroBy(inode, pos, n);
  vol.trace.emit('zero', { ino: inode.ino, path: inode.path, pos, len: n, ...zeroed });
  return zeroed;
}

function zeroBy(inode: Inode, pos: number, len: number): Zeroed {
  if (inode.path === 'inline') return zeroInline(inode, pos, len);
  if (inode.path === 'dax') return zeroDax(inode, pos, len);
  if (inode.path === 'journalled') return zeroJournalled(inode, pos, len);
  return zeroCached(inode, pos, len);
}

/** As a flow of one step. */
export function* zeroPartial(inode: Inode, pos: number, len: number): Flow<Zeroed> {
  return yield* step(zeroWithinBlock, inode, pos, len);
}

/** The parts of [pos, pos + len) that cover a block in part are zeroed. */
export function* zeroEdges(inode: Inode, pos: number, len: number): Flow<void> {
  const { blockSize } = inode.vol.sb;
  const end = pos + len;
  const head = pos % blockSize;
  const tail = end % blockSize;
  if (Math.floor(pos / blockSize) === Math.floor(end / blockSize)) {
    if (len > 0) yield* zeroPartial(inode, pos, len);
    return;
  }
  if (head > 0) yield* zeroPartial(inode, pos, blockSize - head);
  if (tail > 0) yield* zeroPartial(inode, end - tail, tail);
}

/** Before the size grows to `end`: what lies behind the old one in its block becomes zero. If it may be on disk, the
 *  size there waits for it. */
export function* zeroEof(inode: Inode, end: number): Flow<void> {
  yield* step(zeroEofStep, inode, end);
}

function zeroEofStep(inode: Inode, end: number): void {
  const { blockSize } = inode.vol.sb;
  const { size } = inode;
  if (size % blockSize === 0 || end <= size) return;
  const len = Math.min(end - size, blockSize - (size % blockSize));
  const { zeroWritten } = zeroWithinBlock(inode, size, len);
  const cached = inode.path === 'iomap' || inode.path === 'bufferhead';
  const counts = Math.floor(size / blockSize) === Math.floor(inode.diskSize / blockSize);
  if (!zeroWritten || !cached || !counts || inode.growPending) return;
  inode.growPending = true;
  inode.vol.trace.emit('disksize.pending', { ino: inode.ino, pending: true });
}
