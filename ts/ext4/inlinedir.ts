// Directories inside their inode: entries behind the parent's number in place of the block map, more of them as the
// value of system.data. When there is no room the directory gets a block.

import * as F from '../../assembly/format/ext4.ts';
import { choosePath } from './datapath.ts';
import { findOffset, recLen } from './dirblock.ts';
import { hasBit } from './features.ts';
import { emptyMap } from './ialloc.ts';
import { INLINE_NAME, inlineAreas } from './inline.ts';
import type { Inode } from './inode.ts';
import {
  dropEntry,
  emptyEntry,
  entrySize,
  findWithPrev,
  insertIn,
  leafBytes,
  newDirBlock,
  placeIn,
  putEntry,
  retarget,
  roomIn,
} from './leafwrite.ts';
import { inodeRoom, type PackedXattr, packedBytes, packInode, unpackInode } from './xattrpack.ts';

/** So few bytes more are not worth it: the kernel does not take them either. */
const MIN_GROWTH = 12;

/** The entry areas, for changes: the inode's record is saved whole. Needs a handle. */
function areas(dir: Inode): { ptr: number; len: number }[] {
  dir.edit();
  const [head, ...rest] = inlineAreas(dir);
  return [{ ptr: head.ptr + 4, len: head.len - 4 }, ...rest].filter((a) => a.len > 0);
}

/** Adds a name; the directory gets a block when it does not fit. Needs a handle with DIR_CREDITS. */
export function insertInline(dir: Inode, name: Uint8Array, ino: number, type: number): void {
  for (const { ptr, len } of areas(dir)) {
    const off = roomIn(dir, ptr, len, entrySize(name.length));
    if (off < 0) continue;
    placeIn(dir, ptr + off, recLen(dir, ptr + off), name, ino, type);
    return;
  }
  const fresh = grow(dir, entrySize(name.length));
  if (fresh !== null) placeIn(dir, fresh.ptr, fresh.len, name, ino, type);
  else insertIn(dir, toBlock(dir), name, ino, type);
}

/** Makes a new directory inline, with an empty system.data. False, and nothing is changed, without the feature or room
 *  for that in the inode. Needs a handle. */
export function initInline(dir: Inode, parent: number): boolean {
  const { vol } = dir;
  const room = inodeRoom(dir, dir.at());
  if (!hasBit(vol.sb.incompat, F.INCOMPAT_INLINE_DATA) || room === null) return false;
  const list = [...unpackInode(dir), inlineData(new Uint8Array(0))];
  if (packedBytes(list) > room.end - room.first) return false;
  dir.setFlags((dir.flags & ~F.EXT4_EXTENTS_FL) | F.EXT4_INLINE_DATA_FL);
  dir.path = 'inline';
  packInode(dir, list);
  const ptr = dir.edit() + F.I_BLOCK;
  vol.cache.kernels.exports.zero(ptr, F.I_BLOCK_SIZE);
  vol.dv.setUint32(ptr, parent, true);
  emptyEntry(dir, ptr + 4, F.I_BLOCK_SIZE - 4);
  dir.setSize(F.I_BLOCK_SIZE);
  return true;
}

/** Gives system.data, empty until now, all the room that the inode has left, as one free entry; null when `need` bytes
 *  do not fit there. */
function grow(dir: Inode, need: number): { ptr: number; len: number } | null {
  const room = inodeRoom(dir, dir.at());
  const list = unpackInode(dir);
  const data = list.find(isInlineData);
  if (room === null || data === undefined || data.value.length > 0) return null;
  const left = room.end - room.first - packedBytes(list);
  const len = left - (left % 4);
  if (len <= MIN_GROWTH || len < need) return null;
  packInode(
    dir,
    list.map((x) => (x === data ? inlineData(new Uint8Array(len)) : x)),
  );
  dir.setSize(F.I_BLOCK_SIZE + len);
  const fresh = areas(dir)[1];
  emptyEntry(dir, fresh.ptr, len);
  return fresh;
}

export function removeInline(dir: Inode, name: Uint8Array): void {
  const { area, prev, off, size } = find(dir, name);
  dropEntry(dir, area + (prev < 0 ? off : prev), prev < 0 ? -1 : off - prev, size);
}

export function setInline(dir: Inode, name: Uint8Array, ino: number, type: number): void {
  const { area, off } = find(dir, name);
  retarget(dir, area + off, ino, type);
}

function find(
  dir: Inode,
  name: Uint8Array,
): { area: number; prev: number; off: number; size: number } {
  const all = areas(dir);
  const area = all.find((a) => findOffset(dir, a.ptr, a.len, name) >= 0) ?? all[0];
  return { area: area.ptr, ...findWithPrev(dir, area.ptr, area.len, name) };
}

const DOT = new Uint8Array([0x2e]);
const DOTDOT = new Uint8Array([0x2e, 0x2e]);

/** Moves the entries into a first block of their own; returns it. */
function toBlock(dir: Inode): ReturnType<typeof newDirBlock> {
  const { vol } = dir;
  const parent = vol.dv.getUint32(dir.at() + F.I_BLOCK, true);
  const entries: { name: Uint8Array; ino: number; type: number }[] = [];
  for (const { ptr, len } of areas(dir)) {
    for (let off = 0; off < len; off += recLen(dir, ptr + off)) {
      const ino = vol.dv.getUint32(ptr + off, true);
      if (ino === 0) continue;
      const at = ptr + off + F.DE_NAME;
      const name = vol.u8.slice(at, at + vol.dv.getUint8(ptr + off + F.DE_NAME_LEN));
      entries.push({ name, ino, type: vol.dv.getUint8(ptr + off + F.DE_FILE_TYPE) });
    }
  }
  dropInline(dir);
  const block = newDirBlock(dir, 0);
  putEntry(dir, block.ptr, 12, DOT, dir.ino, F.EXT4_FT_DIR);
  putEntry(dir, block.ptr + 12, leafBytes(dir) - 12, DOTDOT, parent, F.EXT4_FT_DIR);
  for (const { name, ino, type } of entries) insertIn(dir, block, name, ino, type);
  return block;
}

/** system.data, which holds what does not fit in place of the block map. */
export function inlineData(value: Uint8Array): PackedXattr {
  const index = F.EXT4_XATTR_INDEX_SYSTEM;
  return { index, name: INLINE_NAME, value, inum: 0, size: value.length, hash: 0 };
}

export function isInlineData(x: PackedXattr): boolean {
  return x.index === F.EXT4_XATTR_INDEX_SYSTEM && String.fromCharCode(...x.name) === 'data';
}

/** Takes the inline data out of an inode: an empty map, no system.data. Needs a handle. */
export function dropInline(inode: Inode): void {
  const { vol } = inode;
  packInode(
    inode,
    unpackInode(inode).filter((x) => !isInlineData(x)),
  );
  const extents = hasBit(vol.sb.incompat, F.INCOMPAT_EXTENTS) ? F.EXT4_EXTENTS_FL : 0;
  inode.setFlags((inode.flags & ~F.EXT4_INLINE_DATA_FL) | extents);
  emptyMap(vol, inode.edit());
  inode.setSize(0);
  inode.memo.len = 0;
  inode.path = choosePath(inode);
}
