// Changing directories: entries go where there is room, in a leaf that their hash names or in any block of an
// unindexed one; removed entries leave their room to the one before. Names are raw bytes, not there yet.

import * as F from '../../assembly/format/ext4.ts';
import type { Buffer } from '../cache/buffer.ts';
import { corrupt, Ext4Error } from '../errno.ts';
import { type Flow, step } from '../flow.ts';
import { dirBlock, dirBlocks } from './dirblock.ts';
import { hasBit } from './features.ts';
import type { IndexPath } from './htree.ts';
import { insertIndexed, makeIndexed } from './htreewrite.ts';
import { initInline, insertInline, removeInline, setInline } from './inlinedir.ts';
import type { Inode } from './inode.ts';
import {
  appendLeaf,
  dropEntry,
  entrySize,
  findWithPrev,
  insertIn,
  leafBytes,
  newDirBlock,
  putEntry,
  retarget,
  roomIn,
} from './leafwrite.ts';
import { MAP_CREDITS } from './mapwrite.ts';

/** Changed blocks of an insertion at most: leaves, index blocks, their allocation. */
export const DIR_CREDITS = 8 + 4 * MAP_CREDITS;
/** Blocks looked through in one step for room. */
const STEP_BLOCKS = 16;
/** "The insertion finds its own place." */
const ANYWHERE = -1;

/** Looks for room for a name in an unindexed directory of several blocks: the block to give to insertEntry(). */
export function* findRoom(dir: Inode, name: Uint8Array): Flow<number> {
  const many = yield* step(isLongList, dir);
  for (let lblk = many ? dir.room : ANYWHERE; lblk >= 0 && lblk < dirBlocks(dir); ) {
    const found = yield* step(roomFrom, dir, lblk, entrySize(name.length));
    if (found.room >= 0) return found.room;
    lblk = found.next;
  }
  return many ? dirBlocks(dir) : ANYWHERE;
}

/** An unindexed directory of several blocks: findRoom() looks for room in it. */
export function isLongList(dir: Inode): boolean {
  dir.at();
  return dir.path !== 'inline' && !isIndexed(dir) && dirBlocks(dir) > 1;
}

/** The directory says that it has an index; one of a single block has none. */
export function isIndexed(dir: Inode): boolean {
  return dir.has(F.EXT4_INDEX_FL) && hasBit(dir.vol.sb.compat, F.COMPAT_DIR_INDEX);
}

function roomFrom(dir: Inode, lblk: number, need: number): { room: number; next: number } {
  const end = Math.min(lblk + STEP_BLOCKS, dirBlocks(dir));
  for (let at = lblk; at < end; at++) {
    const buffer = dirBlock(dir, at);
    if (buffer !== null && roomIn(dir, buffer.ptr, dir.vol.sb.blockSize, need) >= 0) {
      return { room: at, next: at };
    }
  }
  return { room: -1, next: end };
}

/** Adds a name; `room` is what findRoom() said, `path` what a look-up in the same step did. Needs a
 *  handle with DIR_CREDITS. ENOSPC. */
export function insertEntry(
  dir: Inode,
  name: Uint8Array,
  ino: number,
  type: number,
  room = ANYWHERE,
  path?: IndexPath,
): void {
  dir.edit();
  dir.nameCame();
  if (dir.path === 'inline') insertInline(dir, name, ino, type);
  else if (isIndexed(dir) && dir.size > dir.vol.sb.blockSize) {
    if (!insertIndexed(dir, name, ino, type, path)) unindex(dir, name, ino, type);
  } else insertLinear(dir, name, ino, type, room);
}

/** An index that breaks a rule is given up: the directory is a list again, as the kernel makes it. */
function unindex(dir: Inode, name: Uint8Array, ino: number, type: number): void {
  dir.setFlags(dir.flags & ~F.EXT4_INDEX_FL);
  insertLinear(dir, name, ino, type, dirBlocks(dir));
}

function insertLinear(dir: Inode, name: Uint8Array, ino: number, type: number, room: number): void {
  const { sb } = dir.vol;
  const blocks = dirBlocks(dir);
  const lblk = room >= 0 ? room : 0;
  const buffer = lblk < blocks ? dirBlock(dir, lblk) : null;
  if (buffer !== null && insertIn(dir, buffer, name, ino, type)) {
    dir.room = lblk;
    return;
  }
  const index = blocks === 1 && hasBit(sb.compat, F.COMPAT_DIR_INDEX);
  if (index && makeIndexed(dir) && insertIndexed(dir, name, ino, type)) return;
  const fresh = appendLeaf(dir);
  dir.room = blocks;
  if (!insertIn(dir, fresh, name, ino, type)) throw new Ext4Error('ENOSPC', 'a directory entry');
}

/** Removes a name from the block that a look-up found it in. Needs a handle. EUCLEAN when it is not there. */
export function removeEntry(dir: Inode, lblk: number, name: Uint8Array): void {
  dir.edit();
  if (dir.path === 'inline') return removeInline(dir, name);
  const buffer = mustHave(dir, lblk);
  const { prev, off, size } = findWithPrev(dir, buffer.ptr, dir.vol.sb.blockSize, name);
  const from = prev < 0 ? off : prev;
  const ptr = dir.vol.journal!.write(buffer, from, off + size - from);
  dropEntry(dir, ptr, prev < 0 ? -1 : off - prev, size);
  if (buffer.hint === off) buffer.hint = from;
  if (lblk < dir.room) dir.room = lblk;
}

/** Gives a name another inode. Needs a handle. */
export function setEntry(
  dir: Inode,
  lblk: number,
  name: Uint8Array,
  ino: number,
  type: number,
): void {
  dir.edit();
  dir.nameCame();
  if (dir.path === 'inline') return setInline(dir, name, ino, type);
  const buffer = mustHave(dir, lblk);
  const { off } = findWithPrev(dir, buffer.ptr, dir.vol.sb.blockSize, name);
  retarget(dir, dir.vol.journal!.write(buffer, off, F.DE_HEADER), ino, type);
}

function mustHave(dir: Inode, lblk: number): Buffer {
  const buffer = dirBlock(dir, lblk);
  if (buffer === null) throw corrupt('directory', 'a hole where a name was', { ino: dir.ino });
  return buffer;
}

const DOT = new Uint8Array([0x2e]);
const DOTDOT = new Uint8Array([0x2e, 0x2e]);

/** Makes a new directory's first block, with "." and ".."; or makes it inline. Needs a handle. */
export function initDir(dir: Inode, parent: number): void {
  if (initInline(dir, parent)) return;
  const { ptr } = newDirBlock(dir, 0);
  putEntry(dir, ptr, 12, DOT, dir.ino, F.EXT4_FT_DIR);
  putEntry(dir, ptr + 12, leafBytes(dir) - 12, DOTDOT, parent, F.EXT4_FT_DIR);
}

/** Says who the parent is: "..". Needs a handle. */
export function setParent(dir: Inode, parent: number): void {
  if (dir.path === 'inline') {
    dir.vol.dv.setUint32(dir.edit() + F.I_BLOCK, parent, true);
    return;
  }
  setEntry(dir, 0, DOTDOT, parent, F.EXT4_FT_DIR);
}
