// Setting and removing xattrs. A value goes into the inode when it fits there, else into the block; ACLs keep the
// mode in
// step. Values in inodes of their own are let go of here, not made: what fits nowhere is ENOSPC.

import * as F from '../../assembly/format/ext4.ts';
import { corrupt, Ext4Error } from '../errno.ts';
import { type Flow, lock, step } from '../flow.ts';
import {
  type AclEntry,
  aclFromWire,
  aclToDisk,
  diskAcl,
  maskedAcl,
  modeOf,
  withMode,
} from './acl.ts';
import type { Inode } from './inode.ts';
import { touch } from './namei.ts';
import type { Ext4Volume } from './volume.ts';
import { inodeXattrs, splitName, xattrBlock } from './xattr.ts';
import { fitsBlock, packBlock, unpackBlock, XATTR_BLOCK_CREDITS } from './xattrblock.ts';
import {
  entryHash,
  inodeRoom,
  type PackedXattr,
  packedBytes,
  packInode,
  unpackInode,
} from './xattrpack.ts';

/** Changed blocks of setting or removing one. */
export const XATTR_CREDITS = 2 + XATTR_BLOCK_CREDITS;
const MAX_VALUE = 65536;
const ACCESS = F.EXT4_XATTR_INDEX_POSIX_ACL_ACCESS;
const DEFAULT = F.EXT4_XATTR_INDEX_POSIX_ACL_DEFAULT;
const NO_NAME = new Uint8Array(0);

export interface XattrOptions {
  create?: boolean;
  replace?: boolean;
}

/** Sets an xattr by its full name. EEXIST, ENODATA, ENOSPC, ERANGE, EOPNOTSUPP, EPERM. */
export function* setXattr(
  vol: Ext4Volume,
  ino: number,
  fullName: Uint8Array,
  value: Uint8Array,
  o: XattrOptions,
): Flow<void> {
  const { index, name } = splitName(fullName);
  if (name.length > 255) throw new Ext4Error('ERANGE');
  if (value.length > MAX_VALUE) throw new Ext4Error('ERANGE', 'an xattr has at most 64 KiB');
  yield* lock(ino);
  if (index === ACCESS || index === DEFAULT) {
    return yield* step(setAclStep, vol, ino, { index, acl: aclFromWire(value) });
  }
  yield* step(setStep, vol, ino, { index, name, value, ...o });
}

/** Removes an xattr. ENODATA. */
export function* removeXattr(vol: Ext4Volume, ino: number, fullName: Uint8Array): Flow<void> {
  const { index, name } = splitName(fullName);
  yield* lock(ino);
  yield* step(removeStep, vol, ino, { index, name });
}

function changeable(vol: Ext4Volume, ino: number, index: number): Inode {
  const inode = vol.inodes.get(ino);
  inode.at();
  if (inode.has(F.EXT4_IMMUTABLE_FL | F.EXT4_APPEND_FL)) throw new Ext4Error('EPERM');
  const user = index === F.EXT4_XATTR_INDEX_USER;
  if (user && !inode.isFile && !inode.isDir) throw new Ext4Error('EPERM');
  if ((index === ACCESS || index === DEFAULT) && inode.isLink) throw new Ext4Error('EOPNOTSUPP');
  if (index === DEFAULT && !inode.isDir) throw new Ext4Error('EACCES');
  return inode;
}

interface Setting extends XattrOptions {
  index: number;
  name: Uint8Array;
  value: Uint8Array;
}

function setStep(vol: Ext4Volume, ino: number, s: Setting): void {
  const inode = changeable(vol, ino, s.index);
  const there = find(inode, s.index, s.name);
  if (there && s.create) throw new Ext4Error('EEXIST');
  if (!there && s.replace) throw new Ext4Error('ENODATA');
  vol.journal!.start(XATTR_CREDITS);
  put(inode, s.index, s.name, s.value);
  touch(inode, false);
  vol.journal!.stop();
}

function removeStep(vol: Ext4Volume, ino: number, s: { index: number; name: Uint8Array }): void {
  const inode = changeable(vol, ino, s.index);
  if (!find(inode, s.index, s.name)) throw new Ext4Error('ENODATA');
  vol.journal!.start(XATTR_CREDITS);
  put(inode, s.index, s.name, null);
  touch(inode, false);
  vol.journal!.stop();
}

function find(inode: Inode, index: number, name: Uint8Array): PackedXattr | undefined {
  const is = (x: PackedXattr) => isNamed(x, index, name);
  return unpackInode(inode).find(is) ?? unpackBlock(inode).find(is);
}

function isNamed(x: PackedXattr, index: number, name: Uint8Array): boolean {
  if (x.index !== index || x.name.length !== name.length) return false;
  return x.name.every((byte, i) => byte === name[i]);
}

/** Gives an xattr a value, or (null) takes it away. Needs a handle. ENOSPC. */
function put(inode: Inode, index: number, name: Uint8Array, value: Uint8Array | null): void {
  const inside = unpackInode(inode);
  const outside = unpackBlock(inode);
  const others = (x: PackedXattr) => !isNamed(x, index, name);
  const a = inside.filter(others);
  const b = outside.filter(others);
  const old = [...inside, ...outside].find((x) => !others(x));
  if (old !== undefined && old.inum !== 0) throw new Ext4Error('EOPNOTSUPP', 'a value in an inode');
  if (value !== null) {
    const hash = entryHash(name, value);
    const x = { index, name, value, inum: 0, size: value.length, hash };
    if (fitsInode(inode, [...a, x])) a.push(x);
    else if (fitsBlock(inode, [...b, x])) b.push(x);
    else throw new Ext4Error('ENOSPC', 'no room for the xattr');
  }
  if (a.length !== inside.length || !a.every((x, i) => x === inside[i])) packInode(inode, a);
  if (b.length !== outside.length || !b.every((x, i) => x === outside[i])) packBlock(inode, b);
}

function fitsInode(inode: Inode, list: PackedXattr[]): boolean {
  const room = inodeRoom(inode, inode.at());
  return room !== null && packedBytes(list) <= room.end - room.first;
}

// ---- ACLs

/** Sets an ACL. An access ACL that says no more than the mode becomes the mode. */
function setAclStep(vol: Ext4Volume, ino: number, s: { index: number; acl: AclEntry[] }): void {
  const inode = changeable(vol, ino, s.index);
  vol.journal!.start(XATTR_CREDITS);
  storeAcl(inode, s.index, s.acl);
  touch(inode, false);
  vol.journal!.stop();
}

function storeAcl(inode: Inode, index: number, acl: AclEntry[]): void {
  if (index === ACCESS) {
    const { mode, plain } = modeOf(acl);
    inode.setMode((inode.mode & ~0o777) | mode);
    put(inode, index, NO_NAME, plain ? null : aclToDisk(acl));
  } else put(inode, index, NO_NAME, acl.length === 0 ? null : aclToDisk(acl));
}

function aclOf(inode: Inode, index: number): AclEntry[] | null {
  if (xattrBlock(inode) === 0 && inodeXattrs(inode).length === 0) return null;
  const x = find(inode, index, NO_NAME);
  return x === undefined ? null : diskAcl(x.value, inode.ino);
}

/** Gives a new inode what its directory's default ACL says; else the umask applies. Needs a handle. */
export function inheritAcl(parent: Inode, child: Inode): void {
  if (child.isLink) return;
  const acl = aclOf(parent, DEFAULT);
  if (acl === null) {
    const mode = child.mode & ~child.vol.options.umask;
    if (mode !== child.mode) child.setMode(mode);
    return;
  }
  if (child.isDir) put(child, DEFAULT, NO_NAME, aclToDisk(acl));
  storeAcl(child, ACCESS, maskedAcl(acl, child.mode));
}

/** The access ACL, to be kept in step with the mode; null when there is none. Throws Missing; EUCLEAN. */
export function accessAcl(inode: Inode): AclEntry[] | null {
  return aclOf(inode, ACCESS);
}

/** The access ACL says what the mode says now. Needs a handle with XATTR_CREDITS. */
export function syncAcl(inode: Inode, acl: AclEntry[]): void {
  put(inode, ACCESS, NO_NAME, aclToDisk(withMode(acl, inode.mode)));
}

// ---- the end of an inode

/** Lets go of all xattrs of an inode that is being removed: its block, and the inodes of its values. */
export function* dropXattrs(inode: Inode): Flow<void> {
  const inums = yield* step(dropStep, inode);
  for (const inum of inums) yield* step(dropValue, inode.vol, inum);
}

function dropStep(inode: Inode): number[] {
  inode.at();
  const inside = unpackInode(inode);
  const outside = unpackBlock(inode);
  const inums = [...inside, ...outside].filter((x) => x.inum !== 0).map((x) => x.inum);
  if (outside.length === 0 && inums.length === 0) return [];
  inode.vol.journal!.start(XATTR_CREDITS);
  if (outside.length > 0) packBlock(inode, []);
  if (inums.length > 0 && inside.length > 0) packInode(inode, []);
  inode.vol.journal!.stop();
  return inums;
}

/** One reference less to a value; the count lies in ctime and version. */
function dropValue(vol: Ext4Volume, inum: number): void {
  const holder = vol.inodes.get(inum);
  holder.at();
  if (!holder.has(F.EXT4_EA_INODE_FL)) throw corrupt('xattr value inode', 'not one', { ino: inum });
  vol.journal!.start(2);
  const refs = holder.u32(F.I_CTIME) * 2 ** 32 + holder.u32(F.I_VERSION);
  holder.put32(F.I_VERSION, Math.max(0, refs - 1) % 2 ** 32);
  vol.journal!.stop();
}
