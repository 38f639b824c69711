// Renaming: within a directory or across, over what was there, or in exchange. One step changes all of it. A
// directory
// never moves below itself; the tree's own turn keeps two such moves apart.

import * as F from '../../assembly/format/ext4.ts';
import { Ext4Error } from '../errno.ts';
import { type Flow, lock, step } from '../flow.ts';
import { findEntry, parentStep, readEntries } from './dir.ts';
import type { Place } from './dirblock.ts';
import {
  DIR_CREDITS,
  findRoom,
  insertEntry,
  removeEntry,
  setEntry,
  setParent,
} from './dirwrite.ts';
import type { Inode } from './inode.ts';
import {
  addSubdir,
  checkRemovable,
  checkRoom,
  dropLink,
  dropSubdir,
  entryType,
  liveDir,
  refuseKeyless,
  touch,
} from './namei.ts';
import { addOrphan } from './orphanwrite.ts';
import type { Ext4Volume } from './volume.ts';

/** Directories between the root and a place at most. */
const MAX_DEPTH = 65536;
const RENAME_CREDITS = Math.min(64, DIR_CREDITS + 14);

export interface RenameOptions {
  noReplace?: boolean;
  exchange?: boolean;
}

/** Where a name is or is to be. */
export interface NameAt {
  parent: number;
  name: Uint8Array;
}

interface Renaming {
  vol: Ext4Volume;
  from: Inode;
  to: Inode;
  oldName: Uint8Array;
  newName: Uint8Array;
  source: Place;
  target: Place;
  room: number;
}

/** Renames; the number of an inode that lost its last name and is to be removed, or 0. */
export function* renameName(
  vol: Ext4Volume,
  old: NameAt,
  next: NameAt,
  o: RenameOptions,
): Flow<number> {
  yield* lock(0, old.parent, next.parent);
  const from = yield* step(liveDir, vol, old.parent);
  const to = yield* step(liveDir, vol, next.parent);
  const source = yield* findEntry(from, old.name);
  if (source.ino === 0) throw new Ext4Error('ENOENT');
  const target = yield* findEntry(to, next.name);
  if (target.ino !== 0 && o.noReplace) throw new Ext4Error('EEXIST');
  if (target.ino === 0 && o.exchange) throw new Ext4Error('ENOENT');
  if (yield* isAbove(vol, source.ino, to)) throw new Ext4Error('EINVAL');
  if (target.ino !== 0 && (yield* isAbove(vol, target.ino, from))) {
    throw new Ext4Error(o.exchange ? 'EINVAL' : 'ENOTEMPTY');
  }
  if (source.ino === target.ino) return 0;
  refuseKeyless(from);
  refuseKeyless(to);
  const sides = { vol, from, to, oldName: old.name, newName: next.name, source, target };
  yield* step(checkFlags, sides);
  if (o.exchange) return yield* step(exchangeStep, { ...sides, room: -1 });
  if (target.ino !== 0) yield* checkTarget(vol, source.ino, target.ino);
  const room = target.ino === 0 ? yield* findRoom(to, next.name) : -1;
  return yield* step(renameStep, { ...sides, room });
}

/** EPERM where flags forbid that a name goes or comes. */
function checkFlags({ vol, from, to, source, target }: Omit<Renaming, 'room'>): void {
  checkRemovable(from, inodeOf(vol, source.ino));
  if (target.ino === 0) checkRoom(to);
  else checkRemovable(to, inodeOf(vol, target.ino));
}

/** Whether inode `ino` is a directory on the way from the root to `dir`, or `dir` itself. */
function* isAbove(vol: Ext4Volume, ino: number, dir: Inode): Flow<boolean> {
  if (!(yield* step(isDirectory, vol, ino))) return false;
  let at = dir.ino;
  for (let depth = 0; at !== F.EXT4_ROOT_INO; depth++) {
    if (at === ino) return true;
    if (depth > MAX_DEPTH) throw new Ext4Error('ELOOP');
    at = yield* step(parentStep, yield* step(inodeOf, vol, at));
  }
  return ino === F.EXT4_ROOT_INO;
}

function inodeOf(vol: Ext4Volume, ino: number): Inode {
  const inode = vol.inodes.get(ino);
  inode.at();
  return inode;
}

function isDirectory(vol: Ext4Volume, ino: number): boolean {
  return inodeOf(vol, ino).isDir;
}

/** What may be replaced: a directory by a directory, when it is empty; anything else by anything else. */
function* checkTarget(vol: Ext4Volume, source: number, target: number): Flow<void> {
  const isDir = yield* step(isDirectory, vol, source);
  const over = yield* step(inodeOf, vol, target);
  if (isDir && !over.isDir) throw new Ext4Error('ENOTDIR');
  if (!isDir && over.isDir) throw new Ext4Error('EISDIR');
  if (isDir && !(yield* isEmpty(over))) throw new Ext4Error('ENOTEMPTY');
}

/** Whether a directory has no names but "." and "..". */
export function* isEmpty(dir: Inode): Flow<boolean> {
  return (yield* readEntries(dir, { ino: dir.ino, lblk: 0 })).length === 0;
}

function renameStep(r: Renaming): number {
  const { vol, from, to, oldName, newName, source, target } = r;
  const inode = inodeOf(vol, source.ino);
  const over = target.ino === 0 ? null : inodeOf(vol, target.ino);
  vol.journal!.start(RENAME_CREDITS);
  const moves = inode.isDir && from !== to;
  if (moves && over === null) addSubdir(to);
  removeEntry(from, source.lblk, oldName);
  if (over !== null) setEntry(to, target.lblk, newName, inode.ino, entryType(inode));
  else insertEntry(to, newName, inode.ino, entryType(inode), r.room);
  if (moves) setParent(inode, to.ino);
  if (moves || (over?.isDir && from === to)) dropSubdir(from);
  touch(inode, false);
  touch(from, true);
  if (to !== from) touch(to, true);
  const rest = over === null ? 0 : dropTarget(over);
  vol.journal!.stop();
  return rest;
}

/** What was replaced loses its name; a directory all its links. */
export function dropTarget(over: Inode): number {
  if (!over.isDir) return dropLink(over);
  over.setLinks(0);
  touch(over, false);
  addOrphan(over);
  return over.ino;
}

function exchangeStep(r: Renaming): number {
  const { vol, from, to, source, target } = r;
  const a = inodeOf(vol, source.ino);
  const b = inodeOf(vol, target.ino);
  vol.journal!.start(RENAME_CREDITS);
  setEntry(from, source.lblk, r.oldName, b.ino, entryType(b));
  setEntry(to, target.lblk, r.newName, a.ino, entryType(a));
  if (from !== to) {
    if (a.isDir) setParent(a, to.ino);
    if (b.isDir) setParent(b, from.ino);
    if (a.isDir && !b.isDir) shift(from, to);
    if (b.isDir && !a.isDir) shift(to, from);
  }
  for (const inode of [a, b]) touch(inode, false);
  for (const dir of new Set([from, to])) touch(dir, true);
  vol.journal!.stop();
  return 0;
}

/** A subdirectory goes from one directory to another. */
function shift(from: Inode, to: Inode): void {
  dropSubdir(from);
  addSubdir(to);
}

/** Removes an empty directory; its number, to be removed. ENOTDIR, ENOTEMPTY, ENOENT, EBUSY for the root. */
export function* removeDir(vol: Ext4Volume, parent: number, name: Uint8Array): Flow<number> {
  yield* lock(0, parent);
  const dir = yield* step(liveDir, vol, parent);
  const place = yield* findEntry(dir, name);
  if (place.ino === 0) throw new Ext4Error('ENOENT');
  yield* lock(place.ino);
  const child = yield* step(inodeOf, vol, place.ino);
  yield* step(checkRemovable, dir, child);
  if (!child.isDir) throw new Ext4Error('ENOTDIR');
  if (!(yield* isEmpty(child))) throw new Ext4Error('ENOTEMPTY');
  return yield* step(rmdirStep, dir, name, { place, child });
}

function rmdirStep(dir: Inode, name: Uint8Array, o: { place: Place; child: Inode }): number {
  const { vol } = dir;
  o.child.at();
  vol.journal!.start(14);
  removeEntry(dir, o.place.lblk, o.place.stored ?? name);
  dropSubdir(dir);
  touch(dir, true);
  const rest = dropTarget(o.child);
  o.child.setSize(0);
  vol.journal!.stop();
  return rest;
}
