// Directories inside their inode: entries behind the parent's number in place of the block map, more of them as the
// value of system.data. When there is no room the directory gets a block.

import * as F from '../../assembly/format/ext4.ts';
import { choosePath } from './datapath.ts';
import { findOffset, recLen } from './dirblock.ts';
import { hasBit } from './features.ts';
import { emptyMap } from './ialloc.ts';
import { inlineAreas } from './inline.ts';
import type { Inode } from './inode.ts';
import {
  dropEntry,
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
import { packInode, unpackInode } from './xattrpack.ts';

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
  const block = toBlock(dir);
  insertIn(dir, block, name, ino, type);
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

/** Takes the inline data out of an inode: an empty map, no system.data. Needs a handle. */
export function dropInline(inode: Inode): void {
  const { vol } = inode;
  const isData = (x: { index: number; name: Uint8Array }) =>
    x.index === F.EXT4_XATTR_INDEX_SYSTEM && String.fromCharCode(...x.name) === 'data';
  packInode(
    inode,
    unpackInode(inode).filter((x) => !isData(x)),
  );
  const extents = hasBit(vol.sb.incompat, F.INCOMPAT_EXTENTS) ? F.EXT4_EXTENTS_FL : 0;
  inode.setFlags((inode.flags & ~F.EXT4_INLINE_DATA_FL) | extents);
  emptyMap(vol, inode.edit());
  inode.setSize(0);
  inode.memo.len = 0;
  inode.path = choosePath(inode);
}
