// Where an xattr lies: in the inode when it fits there, else in the block; where the feature allows it a value that
// fits in neither has an inode of its own, and only its entry lies here. What changes needs an open handle with
// xattrCredits().

import { Ext4Error } from '../errno.ts';
import { STEP_BUFFERS } from '../jbd2/journal.ts';
import {
  addValueRef,
  blocksOfValue,
  dropValue,
  findValue,
  hasEaInodes,
  makeValue,
  useValue,
  VALUE_BLOCKS,
  valueInode,
} from './eainode.ts';
import type { Inode } from './inode.ts';
import { addBlocks } from './mapspace.ts';
import { orphanOf } from './orphanwrite.ts';
import type { Ext4Volume } from './volume.ts';
import { hashOfValue } from './xattr.ts';
import {
  blockIsShared,
  findBlock,
  fitsBlock,
  joinBlock,
  packBlock,
  unpackBlock,
  XATTR_BLOCK_CREDITS,
} from './xattrblock.ts';
import {
  entryHash,
  inodeRoom,
  type PackedXattr,
  packedBytes,
  packInode,
  unpackInode,
  valueBytes,
} from './xattrpack.ts';

const XATTR_CREDITS = 2 + XATTR_BLOCK_CREDITS;
/** Blocks of inode tables in which one step counts references. */
const MAX_TABLES = 24;
/** Bytes of the block kept for entries, at most, where values may go elsewhere: an eighth of it. */
const MAX_RESERVE = 1024;
const NO_BYTES = new Uint8Array(0);

/** Changed blocks of setting or removing an xattr. */
export function xattrCredits(vol: Ext4Volume): number {
  return hasEaInodes(vol) ? STEP_BUFFERS : XATTR_CREDITS;
}

/** An xattr with its value, unless that has an inode of its own. Throws Missing; EUCLEAN. */
export function findPacked(inode: Inode, index: number, name: Uint8Array): PackedXattr | undefined {
  const is = (x: PackedXattr) => isNamed(x, index, name);
  return unpackInode(inode).find(is) ?? unpackBlock(inode).find(is);
}

function isNamed(x: PackedXattr, index: number, name: Uint8Array): boolean {
  if (x.index !== index || x.name.length !== name.length) return false;
  return x.name.every((byte, i) => byte === name[i]);
}

/** An xattr to be. */
export interface NewXattr {
  index: number;
  name: Uint8Array;
  /** Null: it goes. */
  value: Uint8Array | null;
  /** An inode that has the value, an orphan until now; 0 for none. */
  built?: number;
}

/** Gives an xattr a value, or takes it away. The number of the inode of the old value when nothing names that any
 *  more: removeValue() is the caller's then; else 0. ENOSPC. */
export function putXattr(inode: Inode, x: NewXattr): number {
  const { vol } = inode;
  const was = { inside: unpackInode(inode), outside: unpackBlock(inode) };
  const others = (y: PackedXattr) => !isNamed(y, x.index, x.name);
  const is = { inside: was.inside.filter(others), outside: was.outside.filter(others) };
  const old = [...was.inside, ...was.outside].find((y) => !others(y));
  const kept = [...is.outside];
  const far = x.value === null ? null : add(inode, is, { ...x, value: x.value });
  const shared = was.outside.length > 0 && blockIsShared(inode);
  const moved = differ(is.outside, was.outside);
  const joined =
    moved && mayJoin(vol, is.outside, was.outside) ? findBlock(inode, is.outside) : null;
  // What a block names counts once, however many inodes share the block.
  const counted = joined !== null && far !== null && is.outside.includes(far.entry);
  if (far !== null && !counted) useValue(far.holder, far.value);
  if (differ(is.inside, was.inside)) packInode(inode, is.inside);
  if (joined !== null) joinBlock(inode, joined);
  else if (moved) {
    if (shared) nameAgain(vol, kept);
    packBlock(inode, is.outside);
  }
  if (old !== undefined && old.inum !== 0) addBlocks(inode, -blocksOfValue(vol, old.size));
  const gone = shared ? [] : joined === null ? [old] : was.outside;
  return dropAll(inode, old !== undefined && was.inside.includes(old) ? [old, ...gone] : gone);
}

/** One reference less to what these name; the number of the one that was its inode's last, or 0: of several all but
 *  one are named elsewhere. */
function dropAll(inode: Inode, list: (PackedXattr | undefined)[]): number {
  let unnamed = 0;
  for (const x of new Set(list)) {
    if (x !== undefined && x.inum !== 0) unnamed = dropValue(inode, x.inum) || unnamed;
  }
  return unnamed;
}

function differ(a: PackedXattr[], b: PackedXattr[]): boolean {
  return a.length !== b.length || !a.every((x, i) => x === b[i]);
}

/** Whether a list may share a block with others: what the block before named is let go of in the same step. */
function mayJoin(vol: Ext4Volume, list: PackedXattr[], before: PackedXattr[]): boolean {
  return list.length > 0 && tablesOf(holdersOf(vol, before)) <= MAX_TABLES;
}

function holdersOf(vol: Ext4Volume, list: PackedXattr[]): Inode[] {
  return list.filter((x) => x.inum !== 0).map((x) => valueInode(vol, x.inum));
}

function tablesOf(holders: Inode[]): number {
  return new Set(holders.map((holder) => holder.pblk)).size;
}

/** A block of its own names what the shared one goes on naming. */
function nameAgain(vol: Ext4Volume, kept: PackedXattr[]): void {
  const holders = holdersOf(vol, kept);
  if (tablesOf(holders) > MAX_TABLES) {
    throw new Ext4Error('ENOSPC', 'too many values in inodes of their own');
  }
  for (const holder of holders) addValueRef(holder);
}

interface Lists {
  inside: PackedXattr[];
  outside: PackedXattr[];
}

/** A value in an inode of its own. */
interface Far {
  entry: PackedXattr;
  holder: Inode;
  value: Uint8Array;
}

/** Puts an xattr into the list that has room for it. Where its value lies when that is in an inode of its own, which
 *  is not counted yet. ENOSPC. */
function add(inode: Inode, lists: Lists, x: NewXattr & { value: Uint8Array }): Far | null {
  const { vol } = inode;
  const { index, name, value } = x;
  const size = value.length;
  const near = { index, name, value, inum: 0, size, hash: entryHash(name, value) };
  if (place(inode, lists, near)) return null;
  const word = new Uint8Array(4);
  new DataView(word.buffer).setUint32(0, hashOfValue(vol, value), true);
  const entry = { index, name, value: NO_BYTES, inum: -1, size, hash: entryHash(name, word) };
  const may = hasEaInodes(vol) && size > 0;
  if (!may || !place(inode, lists, entry)) throw new Ext4Error('ENOSPC', 'no room for the xattr');
  const holder = holderFor(inode, value, x.built ?? 0);
  entry.inum = holder.ino;
  addBlocks(inode, blocksOfValue(vol, size));
  return { entry, holder, value };
}

function holderFor(inode: Inode, value: Uint8Array, built: number): Inode {
  const { vol } = inode;
  if (built !== 0) return orphanOf(vol, built);
  const known = findValue(vol, value);
  if (known !== null) return known;
  if (value.length <= VALUE_BLOCKS * vol.sb.blockSize) return makeValue(inode, value);
  throw new Ext4Error('ENOSPC', 'a value too large for one step');
}

function place(inode: Inode, { inside, outside }: Lists, x: PackedXattr): boolean {
  if (fitsInode(inode, [...inside, x])) inside.push(x);
  else if (fitsBlock(inode, [...outside, x]) && leavesRoom(inode, [...outside, x], x)) {
    outside.push(x);
  } else return false;
  return true;
}

function fitsInode(inode: Inode, list: PackedXattr[]): boolean {
  const room = inodeRoom(inode, inode.at());
  return room !== null && packedBytes(list) <= room.end - room.first;
}

/** Values that may go elsewhere do not fill the block: as the kernel has it, its head is for entries. */
function leavesRoom(inode: Inode, list: PackedXattr[], x: PackedXattr): boolean {
  if (!hasEaInodes(inode.vol) || valueBytes(x) === 0) return true;
  const { blockSize } = inode.vol.sb;
  const values = list.reduce((sum, y) => sum + valueBytes(y), 0);
  return blockSize - values >= Math.min(blockSize / 8, MAX_RESERVE);
}
