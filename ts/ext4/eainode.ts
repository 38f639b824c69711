// Values of xattrs in inodes of their own, which no directory names: a regular file with EA_INODE, its bytes
// journalled as metadata. Its atime is the hash of the value, its ctime and version count the entries that name it;
// equal values share one. While it is being written or freed it is an orphan, a journalled file without EA_INODE: the
// kernel gives up an orphan that has the flag. Changes need an open handle.

import * as F from '../../assembly/format/ext4.ts';
import { corrupt } from '../errno.ts';
import { allocBlocks } from './balloc.ts';
import { hasBit } from './features.ts';
import { allocInode } from './ialloc.ts';
import type { Inode } from './inode.ts';
import { blockOf } from './iomap.ts';
import { addBlocks, homeGoal } from './mapspace.ts';
import { insertRun } from './mapwrite.ts';
import { needBlocks } from './needblocks.ts';
import { addOrphan, removeOrphan } from './orphanwrite.ts';
import { putTime } from './time.ts';
import type { Ext4Volume } from './volume.ts';
import { hashOfValue } from './xattr.ts';

/** Bytes of the largest value. */
export const MAX_VALUE = 65536;
/** Blocks of a value that is written in the step that names it, in one run. */
export const VALUE_BLOCKS = 12;
/** Values whose inodes are remembered. */
const MAX_KNOWN = 1024;

/** Whether values may have inodes of their own. */
export function hasEaInodes(vol: Ext4Volume): boolean {
  return hasBit(vol.sb.incompat, F.INCOMPAT_EA_INODE);
}

/** Blocks that a value counts for in the i_blocks of each inode that names it. */
export function blocksOfValue(vol: Ext4Volume, size: number): number {
  const { blockSize, clusterBlocks } = vol.sb;
  return Math.ceil(size / (blockSize * clusterBlocks)) * clusterBlocks;
}

/** The inode of a value. Throws Missing; EUCLEAN when it is none. */
export function valueInode(vol: Ext4Volume, inum: number): Inode {
  const holder = vol.inodes.get(inum);
  holder.at();
  if (holder.has(F.EXT4_EA_INODE_FL)) return holder;
  throw corrupt('xattr value inode', 'not one', { ino: inum });
}

/** The whole value in an inode, read in one step. Throws Missing; EUCLEAN. */
export function wholeValue(holder: Inode, size: number): Uint8Array {
  const { vol } = holder;
  const { blockSize } = vol.sb;
  holder.at();
  if (holder.size !== size || size > MAX_VALUE) {
    throw corrupt('xattr value inode', `not a value of ${size} bytes`, { ino: holder.ino });
  }
  const blocks: number[] = [];
  for (let at = 0; at < size; at += blockSize) blocks.push(blockOf(holder, at / blockSize));
  if (blocks.includes(0)) throw corrupt('xattr value inode', 'has a hole', { ino: holder.ino });
  needBlocks(vol, blocks);
  const value = new Uint8Array(size);
  for (const [i, pblk] of blocks.entries()) {
    const { ptr } = vol.cache.get(pblk);
    const at = i * blockSize;
    value.set(vol.u8.subarray(ptr, ptr + Math.min(blockSize, size - at)), at);
  }
  return value;
}

/** An inode that holds this value already, or null. Throws Missing. */
export function findValue(vol: Ext4Volume, value: Uint8Array): Inode | null {
  const hash = hashOfValue(vol, value);
  const inum = vol.valueInodes.get(hash) ?? 0;
  if (inum === 0) return null;
  const holder = vol.inodes.known(inum) ?? vol.inodes.raw(inum);
  holder.at();
  const alive = holder.has(F.EXT4_EA_INODE_FL) && holder.links > 0 && refsOf(holder) > 0;
  if (!alive || holder.size !== value.length || holder.u32(F.I_ATIME) !== hash) return null;
  vol.inodes.adopt(holder);
  const held = wholeValue(holder, value.length);
  return held.every((byte, i) => byte === value[i]) ? holder : null;
}

/** An inode for a value, without a name or bytes. ENOSPC. */
export function newHolder(owner: Inode): Inode {
  const { vol } = owner;
  const holder = allocInode(vol, owner, F.S_IFREG + 0o600);
  const extents = hasBit(vol.sb.incompat, F.INCOMPAT_EXTENTS) ? F.EXT4_EXTENTS_FL : 0;
  holder.setFlags(extents | F.EXT4_JOURNAL_DATA_FL);
  for (const field of OWNERS) holder.put16(field, owner.u16(field));
  holder.path = 'journalled';
  return holder;
}

const OWNERS = [F.I_UID, F.I_UID_HIGH, F.I_GID, F.I_GID_HIGH] as number[];

/** Writes a value of at most VALUE_BLOCKS blocks into a new inode, in one run. ENOSPC. */
export function makeValue(owner: Inode, value: Uint8Array): Inode {
  const { vol } = owner;
  const holder = newHolder(owner);
  const blocks = Math.ceil(value.length / vol.sb.blockSize);
  const { pblk, count } = allocBlocks(vol, homeGoal(holder), blocks, blocks);
  addBlocks(holder, count);
  insertRun(holder, 0, pblk, blocks, false);
  putValue(holder, value, 0, { pblk, count: blocks });
  return holder;
}

/** Fills blocks of an inode, just allocated, with the value from `lblk` on. */
export function putValue(
  holder: Inode,
  value: Uint8Array,
  lblk: number,
  { pblk, count }: { pblk: number; count: number },
): void {
  const { vol } = holder;
  const { blockSize } = vol.sb;
  for (let i = 0; i < count; i++) {
    const at = (lblk + i) * blockSize;
    const buffer = vol.journal!.create(pblk + i);
    vol.u8.set(value.subarray(at, at + blockSize), buffer.ptr);
  }
  holder.setSize(Math.min(value.length, (lblk + count) * blockSize));
}

/** One entry more names the inode of a value. */
export function addValueRef(holder: Inode): void {
  putRefs(holder, refsOf(holder) + 1);
}

/** As addValueRef(); an orphan becomes the inode of the value. */
export function useValue(holder: Inode, value: Uint8Array): void {
  const { vol } = holder;
  if (holder.has(F.EXT4_EA_INODE_FL)) return addValueRef(holder);
  const hash = hashOfValue(vol, value);
  removeOrphan(holder);
  holder.setFlags((holder.flags & ~F.EXT4_JOURNAL_DATA_FL) | F.EXT4_EA_INODE_FL);
  holder.setLinks(1);
  putTime(vol, holder.edit(), F.I_ATIME, F.I_ATIME_EXTRA, { sec: hash, nsec: 0 });
  putTime(vol, holder.edit(), F.I_CTIME, F.I_CTIME_EXTRA, { sec: 0, nsec: 0 });
  holder.put32(F.I_ATIME, hash);
  putRefs(holder, 1);
  vol.journal!.after(remember, holder, hash);
}

/** Known from now on to those who set the same value; not if the step is undone. */
function remember({ vol, ino }: Inode, hash: number): void {
  if (vol.valueInodes.size >= MAX_KNOWN) vol.valueInodes.clear();
  vol.valueInodes.set(hash, ino);
}

/** One entry of `owner` less names the inode of a value. Its number when that was the last: it is an orphan then, for
 *  removeValue(). 0 else. */
export function dropValue(owner: Inode, inum: number): number {
  const holder = valueInode(owner.vol, inum);
  const refs = isLustre(owner, holder) ? 1 : refsOf(holder);
  if (refs > 1) {
    putRefs(holder, refs - 1);
    return 0;
  }
  putRefs(holder, 0);
  holder.setLinks(0);
  holder.setFlags((holder.flags & ~F.EXT4_EA_INODE_FL) | F.EXT4_JOURNAL_DATA_FL);
  holder.path = 'journalled';
  addOrphan(holder);
  return inum;
}

/** Lustre kept the owner's number where others count. */
export function isLustre(owner: Inode, holder: Inode): boolean {
  return holder.u32(F.I_MTIME) === owner.ino && holder.generation === owner.u32(F.I_GENERATION);
}

function refsOf(holder: Inode): number {
  return holder.u32(F.I_CTIME) * 2 ** 32 + holder.u32(F.I_VERSION);
}

function putRefs(holder: Inode, refs: number): void {
  holder.put32(F.I_CTIME, Math.floor(refs / 2 ** 32));
  holder.put32(F.I_VERSION, refs % 2 ** 32);
}
