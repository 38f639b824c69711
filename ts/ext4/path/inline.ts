// Inline data, written: a small file's bytes lie in its inode, 60 in place of the map and the rest as the value of the
// xattr system.data. What does not fit moves to a block: its data is on the device before the map says so.

import * as F from '../../../assembly/format/ext4.ts';
import { attemptWrite, type Flow, step } from '../../flow.ts';
import type { Zeroed } from '../../iomap/write.ts';
import { claimHeld, holdBlocks, unhold } from '../balloc.ts';
import { choosePath } from '../datapath.ts';
import { hasBit } from '../features.ts';
import { INLINE_NAME, inlineAreas, readInline } from '../inline.ts';
import { dropInline, inlineData, isInlineData } from '../inlinedir.ts';
import type { Inode } from '../inode.ts';
import { addBlocks, homeGoal } from '../mapspace.ts';
import { insertRun, RUN_CREDITS } from '../mapwrite.ts';
import { touch } from '../namei.ts';
import { entryBytes, inodeRoom, packedBytes, packInode, unpackInode } from '../xattrpack.ts';

/** Bytes that this inode can hold inline, beside the xattrs that it has. Throws Missing. */
export function inlineCapacity(inode: Inode): number {
  const room = inodeRoom(inode, inode.at());
  if (room === null) return F.I_BLOCK_SIZE;
  const others = packedBytes(unpackInode(inode).filter((x) => !isInlineData(x)));
  const left = room.end - room.first - others - entryBytes(INLINE_NAME.length);
  return F.I_BLOCK_SIZE + Math.max(0, left - (left % 4));
}

/** Whether an empty file may begin inline. */
export function mayBeInline(inode: Inode): boolean {
  return inode.mayInline && inode.size === 0 && inode.folios.dirty.size === 0;
}

/** One step: the whole file becomes `bytes`, inline; false, and nothing is changed, when that has no room. */
function store(inode: Inode, bytes: Uint8Array): boolean {
  const { vol } = inode;
  inode.at();
  if (bytes.length > inlineCapacity(inode)) return false;
  vol.journal!.start(2);
  const data = inlineData(bytes.subarray(F.I_BLOCK_SIZE));
  const others = unpackInode(inode).filter((x) => !isInlineData(x));
  inode.edit();
  if (inode.path !== 'inline') {
    inode.setFlags((inode.flags & ~F.EXT4_EXTENTS_FL) | F.EXT4_INLINE_DATA_FL);
    inode.path = 'inline';
  }
  packInode(inode, [data, ...others]);
  const ptr = inode.edit() + F.I_BLOCK;
  vol.cache.kernels.exports.zero(ptr, F.I_BLOCK_SIZE);
  vol.u8.set(bytes.subarray(0, F.I_BLOCK_SIZE), ptr);
  inode.setSize(bytes.length);
  touch(inode, true);
  vol.journal!.stop();
  return true;
}

/** The file's bytes, in `size` bytes. Throws Missing. */
function contents(inode: Inode, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  if (inode.path === 'inline') readInline(inode, bytes, 0, 0, Math.min(size, inode.size));
  return bytes;
}

/** One step: writes inline if the result fits; else false. */
export function writeInline(inode: Inode, from: Uint8Array, pos: number): boolean {
  inode.at();
  const end = Math.max(inode.size, pos + from.length);
  if (end > inlineCapacity(inode)) return false;
  const bytes = contents(inode, end);
  bytes.set(from, pos);
  return store(inode, bytes);
}

/** Sets the size while the file is and stays inline; else it is converted first, and false says go on. */
export function* truncateInline(inode: Inode, size: number): Flow<boolean> {
  if (yield* step(resizeStep, inode, size)) return true;
  yield* convertInline(inode);
  return false;
}

function resizeStep(inode: Inode, size: number): boolean {
  inode.at();
  return size <= inlineCapacity(inode) && store(inode, contents(inode, size));
}

/** Zeroes bytes that lie inline, in a handle of its own. */
export function zeroInline(inode: Inode, pos: number, len: number): Zeroed {
  const { vol } = inode;
  const end = Math.min(pos + len, inode.size);
  if (pos >= end) return { didZero: false, zeroWritten: false };
  vol.journal!.start(1);
  inode.edit();
  let start = 0;
  for (const area of inlineAreas(inode)) {
    const from = Math.max(pos, start);
    const to = Math.min(end, start + area.len);
    if (from < to) vol.cache.kernels.exports.zero(area.ptr + from - start, to - from);
    start += area.len;
  }
  inode.dataTid = vol.journal!.tid;
  vol.journal!.stop();
  return { didZero: true, zeroWritten: false };
}

/** Moves inline data to a block of its own; nothing for a file that has none. ENOSPC, EIO: it stays as it was. */
export function* convertInline(inode: Inode): Flow<void> {
  if (inode.path !== 'inline') return;
  const { vol } = inode;
  if (inode.size === 0) return yield* step(dropStep, inode);
  const held = yield* step(holdStep, inode);
  const bytes = yield* step(contents, inode, vol.sb.blockSize);
  const failed = yield* attemptWrite(vol.device, [bytes], held.pblk * vol.sb.blockSize);
  if (failed === undefined) yield* step(moveStep, inode, held.pblk);
  yield* step(unholdStep, inode, held.pblk, failed === undefined);
  if (failed !== undefined) throw failed;
}

function dropStep(inode: Inode): void {
  inode.at();
  inode.vol.journal!.start(2);
  drop(inode);
  inode.vol.journal!.stop();
}

function drop(inode: Inode): void {
  const { size } = inode;
  dropInline(inode);
  inode.setSize(size);
  inode.mayInline = false;
  inode.path = choosePath(inode);
}

function holdStep(inode: Inode): { pblk: number } {
  inode.vol.dataWritten = true;
  return holdBlocks(inode.vol, homeGoal(inode), 1);
}

function moveStep(inode: Inode, pblk: number): void {
  const { vol } = inode;
  inode.at();
  vol.journal!.start(RUN_CREDITS);
  drop(inode);
  claimHeld(vol, pblk, 1);
  addBlocks(inode, vol.sb.clusterBlocks);
  insertRun(inode, 0, pblk, 1, false);
  inode.dataTid = vol.journal!.tid;
  vol.journal!.stop();
}

function unholdStep(inode: Inode, pblk: number, claimed: boolean): void {
  unhold(inode.vol, pblk, 1, claimed);
}

/** Whether files of a file system may be inline. */
export function inlineFiles(inode: Inode): boolean {
  return hasBit(inode.vol.sb.incompat, F.INCOMPAT_INLINE_DATA) && inode.isFile;
}
