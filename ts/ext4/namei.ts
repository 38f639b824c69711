// Names come and go: each operation looks up all it needs, then changes everything in one step. Directories are
// locked
// for the length of an operation, so that what was looked up still holds. Names are raw bytes, never "." or "..".

import * as F from '../../assembly/format/ext4.ts';
import { Ext4Error } from '../errno.ts';
import { type Flow, lock, step } from '../flow.ts';
import { findEntry } from './dir.ts';
import type { Place } from './dirblock.ts';
import { DIR_CREDITS, findRoom, initDir, insertEntry, removeEntry } from './dirwrite.ts';
import { hasBit } from './features.ts';
import type { IndexPath } from './htree.ts';
import { allocInode, freeInode, NEW_INODE_CREDITS } from './ialloc.ts';
import type { Inode } from './inode.ts';
import { appendBlock } from './mapwrite.ts';
import { addOrphan } from './orphanwrite.ts';
import type { Time } from './stat.ts';
import { putChanged } from './time.ts';
import type { Ext4Volume } from './volume.ts';
import { inheritAcl } from './xattrwrite.ts';

/** Links that an inode can have; a directory of subdirectories without end says 1 then. */
export const LINK_MAX = 65000;
const CREATE_CREDITS = Math.min(64, DIR_CREDITS + NEW_INODE_CREDITS + 4);
const UNLINK_CREDITS = 12;

/** What is to be made. `mode` has the type bits. */
export interface NewNode {
  mode: number;
  /** Target of a symlink. */
  target?: Uint8Array;
  /** Device number, of a character or block device. */
  rdev?: number;
}

/** With the place of its entry: what findRoom() said, and a look-up in the same step. */
export interface PlacedNode extends NewNode {
  room: number;
  path?: IndexPath;
}

/** Makes an inode with a name; its number. EEXIST, ENOSPC, EMLINK, ENOENT when the directory was removed. */
export function* createNode(
  vol: Ext4Volume,
  parent: number,
  name: Uint8Array,
  node: NewNode,
): Flow<number> {
  yield* lock(parent);
  const dir = yield* step(liveDir, vol, parent);
  if ((yield* findEntry(dir, name)).ino !== 0) throw new Ext4Error('EEXIST');
  refuseKeyless(dir);
  const room = yield* findRoom(dir, name);
  return yield* step(createStep, dir, name, { ...node, room });
}

/** The directory of a number, still there. Whether it may change is asked after the look-up. ENOTDIR, ENOENT. */
export function liveDir(vol: Ext4Volume, ino: number): Inode {
  const dir = vol.inodes.get(ino);
  dir.at();
  if (!dir.isDir) throw new Ext4Error('ENOTDIR');
  if (dir.links === 0) throw new Ext4Error('ENOENT');
  return dir;
}

/** ENOKEY where a new name would have to be encrypted. Without the key names can only go, as in the kernel. */
export function refuseKeyless(dir: Inode): void {
  if (dir.has(F.EXT4_ENCRYPT_FL)) throw new Ext4Error('ENOKEY');
}

/** One step: makes the inode and its entry, both to be in `dir`, which does not have the name. */
export function createStep(dir: Inode, name: Uint8Array, node: PlacedNode): number {
  const { vol } = dir;
  const isDir = (node.mode & F.S_IFMT) === F.S_IFDIR;
  const time = vol.clock.now();
  checkRoom(dir);
  vol.journal!.start(CREATE_CREDITS);
  if (isDir) addSubdir(dir);
  const child = allocInode(vol, dir, node.mode, { links: isDir ? 2 : 1, time });
  inheritAcl(dir, child);
  if (isDir) initDir(child, dir.ino);
  else if (node.target !== undefined) writeTarget(child, node.target);
  else if (node.rdev !== undefined) writeDevice(child, node.rdev);
  insertEntry(dir, name, child.ino, entryType(child), node.room, node.path);
  touch(dir, true, time);
  vol.journal!.stop();
  return child.ino;
}

/** EPERM where names may not come. */
export function checkRoom(dir: Inode): void {
  dir.at();
  if (dir.has(F.EXT4_IMMUTABLE_FL)) throw new Ext4Error('EPERM');
}

/** EXT4_FT_* of an inode. */
export function entryType(inode: Inode): number {
  return TYPES[Math.floor(inode.type / 4096)] ?? F.EXT4_FT_UNKNOWN;
}

/** By S_IFMT >> 12: fifo 1, character device 2, directory 4, block device 6, file 8, symlink 10, socket 12. */
const TYPES = [
  F.EXT4_FT_UNKNOWN,
  F.EXT4_FT_FIFO,
  F.EXT4_FT_CHRDEV,
  F.EXT4_FT_UNKNOWN,
  F.EXT4_FT_DIR,
  F.EXT4_FT_UNKNOWN,
  F.EXT4_FT_BLKDEV,
  F.EXT4_FT_UNKNOWN,
  F.EXT4_FT_REG_FILE,
  F.EXT4_FT_UNKNOWN,
  F.EXT4_FT_SYMLINK,
  F.EXT4_FT_UNKNOWN,
  F.EXT4_FT_SOCK,
] as number[];

/** Changes ctime, and mtime too, to now. Needs a handle. */
export function touch(inode: Inode, modified: boolean, time: Time = inode.vol.clock.now()): void {
  putChanged(inode.vol, inode.edit(), time, modified);
}

/** One more subdirectory: its ".." is a link. EMLINK without dir_nlink. */
export function addSubdir(dir: Inode): void {
  const { links } = dir;
  if (links === 1) return;
  if (links < LINK_MAX) return dir.setLinks(links + 1);
  if (!hasBit(dir.vol.sb.roCompat, F.RO_COMPAT_DIR_NLINK)) throw new Ext4Error('EMLINK');
  dir.setLinks(1);
}

export function dropSubdir(dir: Inode): void {
  if (dir.links > 2) dir.setLinks(dir.links - 1);
}

function writeTarget(link: Inode, target: Uint8Array): void {
  const { vol } = link;
  if (target.length + 1 > vol.sb.blockSize) throw new Ext4Error('ENAMETOOLONG');
  if (target.length < F.I_BLOCK_SIZE) {
    link.setFlags(link.flags & ~F.EXT4_EXTENTS_FL);
    const ptr = link.edit() + F.I_BLOCK;
    vol.cache.kernels.exports.zero(ptr, F.I_BLOCK_SIZE);
    vol.u8.set(target, ptr);
  } else {
    const buffer = vol.journal!.create(appendBlock(link, 0));
    vol.u8.set(target, buffer.ptr);
  }
  link.setSize(target.length);
}

/** The old form for 8 and 8 bits, the new one for the rest. */
function writeDevice(inode: Inode, rdev: number): void {
  const ptr = inode.edit() + F.I_BLOCK;
  const major = Math.floor(rdev / 256) % 4096;
  const minor = (rdev % 256) + Math.floor(rdev / 2 ** 20) * 256;
  const old = major < 256 && minor < 256;
  inode.vol.dv.setUint32(ptr, old ? major * 256 + minor : 0, true);
  inode.vol.dv.setUint32(ptr + 4, old ? 0 : rdev, true);
}

/** One more name for an inode. EPERM for a directory, EMLINK, EEXIST. */
export function* linkNode(
  vol: Ext4Volume,
  ino: number,
  parent: number,
  name: Uint8Array,
): Flow<void> {
  yield* lock(parent, ino);
  const dir = yield* step(liveDir, vol, parent);
  if ((yield* findEntry(dir, name)).ino !== 0) throw new Ext4Error('EEXIST');
  refuseKeyless(dir);
  const inode = yield* step(linkable, vol, ino);
  const room = yield* findRoom(dir, name);
  yield* step(linkStep, dir, inode, { name, room });
}

function linkable(vol: Ext4Volume, ino: number): Inode {
  const inode = vol.inodes.get(ino);
  inode.at();
  if (inode.isDir || inode.has(F.EXT4_IMMUTABLE_FL | F.EXT4_APPEND_FL))
    throw new Ext4Error('EPERM');
  if (inode.links >= LINK_MAX) throw new Ext4Error('EMLINK');
  if (inode.links === 0) throw new Ext4Error('ENOENT');
  return inode;
}

function linkStep(dir: Inode, inode: Inode, at: { name: Uint8Array; room: number }): void {
  const { journal } = dir.vol;
  inode.at();
  checkRoom(dir);
  journal!.start(Math.min(64, DIR_CREDITS + 3));
  inode.setLinks(inode.links + 1);
  touch(inode, false);
  insertEntry(dir, at.name, inode.ino, entryType(inode), at.room);
  touch(dir, true);
  journal!.stop();
}

/** Removes a name; the number of its inode when it has no other and is to be removed (removeInode).
 *  ENOENT, EISDIR, EPERM. */
export function* unlinkName(vol: Ext4Volume, parent: number, name: Uint8Array): Flow<number> {
  yield* lock(parent);
  const dir = yield* step(liveDir, vol, parent);
  const place = yield* findEntry(dir, name);
  if (place.ino === 0) throw new Ext4Error('ENOENT');
  return yield* step(unlinkStep, dir, name, place);
}

/** EPERM where flags forbid that a name goes. */
export function checkRemovable(dir: Inode, inode: Inode): void {
  dir.at();
  if (dir.has(F.EXT4_IMMUTABLE_FL | F.EXT4_APPEND_FL)) throw new Ext4Error('EPERM');
  if (inode.has(F.EXT4_IMMUTABLE_FL | F.EXT4_APPEND_FL)) throw new Ext4Error('EPERM');
}

/** One step: what unlinkName() does, the place being known. */
export function unlinkStep(dir: Inode, name: Uint8Array, place: Place): number {
  const { vol } = dir;
  const time = vol.clock.now();
  const inode = vol.inodes.get(place.ino);
  inode.at();
  checkRemovable(dir, inode);
  if (inode.isDir) throw new Ext4Error('EISDIR');
  vol.journal!.start(UNLINK_CREDITS);
  removeEntry(dir, place.lblk, place.stored ?? name);
  touch(dir, true, time);
  const rest = dropLink(inode, time);
  vol.journal!.stop();
  return rest;
}

/** One name less. An inode without any goes at once when it is empty; else it is an orphan, and its
 *  number comes back. */
export function dropLink(inode: Inode, time: Time = inode.vol.clock.now()): number {
  const { vol } = inode;
  inode.setLinks(Math.max(0, inode.links - 1));
  touch(inode, false, time);
  if (inode.links > 0) return 0;
  if (inode.users === 0 && isBare(inode)) {
    freeInode(vol, inode, time);
    return 0;
  }
  addOrphan(inode);
  return inode.ino;
}

/** No blocks, no data that waits for some, no xattrs outside: nothing to free but the inode. */
function isBare(inode: Inode): boolean {
  if (inode.vol.dirtyInodes.has(inode)) return false;
  const blocks = inode.u32(F.I_BLOCKS_LO) + inode.u16(F.I_BLOCKS_HIGH);
  const outside = inode.u32(F.I_FILE_ACL_LO) + inode.u16(F.I_FILE_ACL_HIGH);
  const eaInodes = hasBit(inode.vol.sb.incompat, F.INCOMPAT_EA_INODE);
  return blocks === 0 && outside === 0 && !(eaInodes && inode.extraSize > 0);
}
