// Setting and removing xattrs, and ACLs, which keep the mode in step. A value that needs an inode of its own is written
// in the step that names it, or before that when it is large or finds no room in one piece; the old one's inode goes
// afterwards.

import * as F from '../../assembly/format/ext4.ts';
import { Ext4Error } from '../errno.ts';
import { attempt, type Flow, lock, step } from '../flow.ts';
import {
  type AclEntry,
  aclFromWire,
  aclToDisk,
  diskAcl,
  isValidAcl,
  maskedAcl,
  modeOf,
  withMode,
} from './acl.ts';
import {
  findValue,
  hasEaInodes,
  MAX_VALUE,
  VALUE_BLOCKS,
  valueInode,
  wholeValue,
} from './eainode.ts';
import { buildValue, removeValue } from './eainodeflow.ts';
import type { Inode } from './inode.ts';
import { touch } from './namei.ts';
import type { Ext4Volume } from './volume.ts';
import { inodeXattrs, splitName, XATTR_NAME_MAX, xattrBlock } from './xattr.ts';
import { findPacked, putXattr, xattrCredits } from './xattrput.ts';

const ACCESS = F.EXT4_XATTR_INDEX_POSIX_ACL_ACCESS;
const DEFAULT = F.EXT4_XATTR_INDEX_POSIX_ACL_DEFAULT;
const NO_NAME = new Uint8Array(0);

export interface XattrOptions {
  create?: boolean;
  replace?: boolean;
}

/** What is to be done to one xattr. */
interface Setting extends XattrOptions {
  index: number;
  name: Uint8Array;
  /** Null: it goes. */
  value: Uint8Array | null;
  /** Permission bits that come with it. */
  mode?: number;
  /** Taking away what is not there is no error. */
  quiet?: boolean;
  /** An ACL that breaks a rule. */
  invalid?: boolean;
}

/** What the kernel refuses before it looks for the file: ERANGE for a long name, E2BIG for a large value. */
export function checkXattrSizes(fullName: Uint8Array, value: Uint8Array | null): void {
  if (fullName.length > XATTR_NAME_MAX) throw new Ext4Error('ERANGE');
  if (value === null || value.length <= MAX_VALUE) return;
  throw new Ext4Error('E2BIG', 'an xattr has at most 64 KiB');
}

/** Sets an xattr by its full name. EEXIST, ENODATA, ENOSPC, ERANGE, E2BIG, EOPNOTSUPP, EPERM. */
export function* setXattr(
  vol: Ext4Volume,
  ino: number,
  fullName: Uint8Array,
  value: Uint8Array,
  o: XattrOptions,
): Flow<void> {
  checkXattrSizes(fullName, value);
  const { index, name } = splitName(fullName);
  yield* lock(ino);
  yield* change(vol, ino, isAcl(index) ? aclSetting(index, value) : { index, name, value, ...o });
}

/** Removes an xattr. ENODATA, but not of an ACL. */
export function* removeXattr(vol: Ext4Volume, ino: number, fullName: Uint8Array): Flow<void> {
  const { index, name } = splitName(fullName);
  yield* lock(ino);
  yield* change(vol, ino, { index, name, value: null, quiet: isAcl(index) });
}

function isAcl(index: number): boolean {
  return index === ACCESS || index === DEFAULT;
}

/** All or nothing; the caller has the turn. */
function* change(vol: Ext4Volume, ino: number, s: Setting): Flow<void> {
  let built = (yield* step(isLarge, vol, ino, s)) ? yield* build(vol, ino, s) : 0;
  let r = yield* attempt(setStep, vol, ino, { ...s, built });
  if (built === 0 && isFull(r) && hasEaInodes(vol) && s.value !== null) {
    built = yield* build(vol, ino, s);
    r = yield* attempt(setStep, vol, ino, { ...s, built });
  }
  if (built !== 0 && vol.orphans.has(built)) yield* removeValue(vol, built);
  if (r instanceof Ext4Error) throw r;
  if (r !== 0) yield* removeValue(vol, r);
}

function isFull(r: Ext4Error | number): boolean {
  return r instanceof Ext4Error && r.code === 'ENOSPC';
}

function* build(vol: Ext4Volume, ino: number, { value }: Setting): Flow<number> {
  const inode = yield* step(changeableInode, vol, ino);
  return value === null || value.length === 0 ? 0 : yield* buildValue(inode, value);
}

/** Whether the value has to be written before the step that names it. Errors of the change come first. */
function isLarge(vol: Ext4Volume, ino: number, s: Setting): boolean {
  check(vol, ino, s);
  const { value } = s;
  const large = value !== null && value.length > VALUE_BLOCKS * vol.sb.blockSize;
  return large && hasEaInodes(vol) && findValue(vol, value) === null;
}

function changeableInode(vol: Ext4Volume, ino: number): Inode {
  const inode = vol.inodes.get(ino);
  inode.at();
  if (inode.has(F.EXT4_IMMUTABLE_FL | F.EXT4_APPEND_FL)) throw new Ext4Error('EPERM');
  return inode;
}

/** The inode, when its xattr may be so changed. EPERM, EOPNOTSUPP, EACCES, EEXIST, ENODATA. */
function check(vol: Ext4Volume, ino: number, s: Setting): Inode {
  const inode = changeableInode(vol, ino);
  const user = s.index === F.EXT4_XATTR_INDEX_USER;
  if (user && !inode.isFile && !inode.isDir) throw new Ext4Error('EPERM');
  if (isAcl(s.index) && inode.isLink) throw new Ext4Error('EOPNOTSUPP');
  if (s.index === DEFAULT && !inode.isDir && s.value !== null) throw new Ext4Error('EACCES');
  if (s.invalid) throw new Ext4Error('EINVAL', 'not a valid ACL');
  const there = findPacked(inode, s.index, s.name) !== undefined;
  if (there && s.create) throw new Ext4Error('EEXIST');
  if (!there && (s.replace || (s.value === null && !s.quiet))) throw new Ext4Error('ENODATA');
  return inode;
}

function setStep(vol: Ext4Volume, ino: number, s: Setting & { built: number }): number {
  const inode = check(vol, ino, s);
  vol.journal!.start(xattrCredits(vol));
  if (s.mode !== undefined) inode.setMode((inode.mode & ~0o777) | s.mode);
  const unnamed = putXattr(inode, s);
  touch(inode, false);
  vol.journal!.stop();
  return unnamed;
}

// ---- ACLs

/** An access ACL that says no more than the mode becomes the mode. */
function aclSetting(index: number, wire: Uint8Array): Setting {
  const acl = aclFromWire(wire);
  if (acl.length > 0 && !isValidAcl(acl)) {
    return { index, name: NO_NAME, value: NO_NAME, invalid: true };
  }
  const { mode, plain } = modeOf(acl);
  const value = acl.length === 0 || (index === ACCESS && plain) ? null : aclToDisk(acl);
  const s = { index, name: NO_NAME, value, quiet: true };
  return index === ACCESS && acl.length > 0 ? { ...s, mode } : s;
}

function aclOf(inode: Inode, index: number): AclEntry[] | null {
  if (xattrBlock(inode) === 0 && inodeXattrs(inode).length === 0) return null;
  const x = findPacked(inode, index, NO_NAME);
  if (x === undefined) return null;
  const far = x.inum !== 0;
  const value = far ? wholeValue(valueInode(inode.vol, x.inum), x.size) : x.value;
  return diskAcl(value, inode.ino);
}

/** Gives a new inode what its directory's default ACL says; else the umask applies. Needs a handle. ENOSPC. */
export function inheritAcl(parent: Inode, child: Inode): void {
  if (child.isLink) return;
  const acl = aclOf(parent, DEFAULT);
  if (acl === null) {
    const mode = child.mode & ~child.vol.options.umask;
    if (mode !== child.mode) child.setMode(mode);
    return;
  }
  if (child.isDir) putXattr(child, { index: DEFAULT, name: NO_NAME, value: aclToDisk(acl) });
  const own = maskedAcl(acl, child.mode);
  const { mode, plain } = modeOf(own);
  child.setMode((child.mode & ~0o777) | mode);
  if (!plain) putXattr(child, { index: ACCESS, name: NO_NAME, value: aclToDisk(own) });
}

/** The access ACL, to be kept in step with the mode; null when there is none. Throws Missing; EUCLEAN. */
export function accessAcl(inode: Inode): AclEntry[] | null {
  return aclOf(inode, ACCESS);
}

/** The access ACL says what the mode says now. Needs a handle with xattrCredits(). What putXattr() gives back. */
export function syncAcl(inode: Inode, acl: AclEntry[]): number {
  const value = aclToDisk(withMode(acl, inode.mode));
  return putXattr(inode, { index: ACCESS, name: NO_NAME, value });
}
