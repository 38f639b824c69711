// Changing what stat shows, and the flags of chattr. Every caller is root.

import * as F from '../../assembly/format/ext4.ts';
import { Ext4Error } from '../errno.ts';
import { type Flow, lock, step, writeBack, writeBackFile } from '../flow.ts';
import { choosePath } from './datapath.ts';
import { removeValue } from './eainodeflow.ts';
import { hasBit } from './features.ts';
import type { Inode } from './inode.ts';
import { touch } from './namei.ts';
import { isEmpty } from './rename.ts';
import type { Time } from './stat.ts';
import { putTime } from './time.ts';
import type { Ext4Volume } from './volume.ts';
import { xattrCredits } from './xattrput.ts';
import { accessAcl, syncAcl } from './xattrwrite.ts';

export interface Attributes {
  /** Permission bits, 0o7777. */
  mode?: number;
  /** Owners: undefined stays as it is, and is a change of owner all the same. */
  uid?: number;
  gid?: number;
  atime?: Time;
  mtime?: Time;
}

/** Flags that a caller may change. */
const MODIFIABLE =
  F.EXT4_SECRM_FL |
  F.EXT4_UNRM_FL |
  F.EXT4_SYNC_FL |
  F.EXT4_IMMUTABLE_FL |
  F.EXT4_APPEND_FL |
  F.EXT4_NODUMP_FL |
  F.EXT4_NOATIME_FL |
  F.EXT4_JOURNAL_DATA_FL |
  F.EXT4_NOTAIL_FL |
  F.EXT4_DIRSYNC_FL |
  F.EXT4_TOPDIR_FL |
  F.EXT4_DAX_FL |
  F.EXT4_PROJINHERIT_FL |
  F.EXT4_CASEFOLD_FL;

/** Of those the ones that say nothing of a file. */
const DIRECTORY_ONLY =
  F.EXT4_DIRSYNC_FL | F.EXT4_TOPDIR_FL | F.EXT4_CASEFOLD_FL | F.EXT4_PROJINHERIT_FL;

/** Changes attributes. EPERM on an immutable or append-only inode. */
export function* setAttributes(vol: Ext4Volume, ino: number, a: Attributes): Flow<void> {
  yield* lock(ino);
  const inode = yield* step(changeable, vol, ino);
  const unnamed = yield* step(setStep, inode, a);
  if (unnamed !== 0) yield* removeValue(vol, unnamed);
}

function changeable(vol: Ext4Volume, ino: number): Inode {
  const inode = vol.inodes.get(ino);
  inode.at();
  if (inode.has(F.EXT4_IMMUTABLE_FL | F.EXT4_APPEND_FL)) throw new Ext4Error('EPERM');
  return inode;
}

/** The inode of the old ACL when that is unnamed now; 0 else. */
function setStep(inode: Inode, a: Attributes): number {
  const { vol } = inode;
  inode.at();
  const acl = a.mode === undefined ? null : accessAcl(inode);
  vol.journal!.start(acl === null ? 2 : xattrCredits(vol));
  const owner = 'uid' in a || 'gid' in a;
  if (a.uid !== undefined) putId(inode, F.I_UID, F.I_UID_HIGH, a.uid);
  if (a.gid !== undefined) putId(inode, F.I_GID, F.I_GID_HIGH, a.gid);
  if (owner && !inode.isDir) inode.setMode(withoutSetId(inode.mode));
  if (a.mode !== undefined) inode.setMode(inode.type + (a.mode & 0o7777));
  const unnamed = acl === null ? 0 : syncAcl(inode, acl);
  const ptr = inode.edit();
  if (a.atime !== undefined) putTime(vol, ptr, F.I_ATIME, F.I_ATIME_EXTRA, a.atime);
  if (a.mtime !== undefined) putTime(vol, ptr, F.I_MTIME, F.I_MTIME_EXTRA, a.mtime);
  touch(inode, false);
  vol.journal!.stop();
  inode.touched = 0;
  return unnamed;
}

function putId(inode: Inode, lo: number, hi: number, id: number): void {
  inode.put16(lo, id % 65536);
  inode.put16(hi, Math.floor(id / 65536));
}

/** A new owner does not inherit the old one's powers: set-uid goes, set-gid where the group may execute. */
function withoutSetId(mode: number): number {
  const gid = (mode & 0o2010) === 0o2010 ? 0o2000 : 0;
  return mode & ~0o4000 & ~gid;
}

/** Changes the flags that callers may change; the others stay. EOPNOTSUPP for one that cannot be set here; names fold
 *  in directories only, from when they are empty: ENOTDIR, ENOTEMPTY. */
export function* setFlags(vol: Ext4Volume, ino: number, flags: number): Flow<void> {
  yield* lock(ino);
  const dir = yield* step(changesFolding, vol, ino, flags);
  if (dir !== null && !(yield* isEmpty(dir))) throw new Ext4Error('ENOTEMPTY');
  const inode = yield* step(flagStep, vol, ino, flags);
  if (inode.reopen && inode.users === 0) yield* leaveMemory(inode);
}

/** An inode whose flags name another path leaves memory, and comes back on that path. Journalled blocks are home first:
 *  no copy of the log may overwrite what is written past it. */
export function* leaveMemory(inode: Inode): Flow<void> {
  yield* writeBackFile(inode.ino);
  yield* writeBack();
  yield* step(forgetStep, inode);
}

function forgetStep(inode: Inode): void {
  const { vol } = inode;
  if (inode.users > 0 || vol.dirtyInodes.has(inode) || vol.orphans.has(inode.ino)) return;
  vol.inodes.forget(inode.ino);
}

/** The directory whose names fold from now on, or no more; null for other changes. */
function changesFolding(vol: Ext4Volume, ino: number, flags: number): Inode | null {
  const inode = vol.inodes.get(ino);
  inode.at();
  if (!hasBit(flags ^ inode.flags, F.EXT4_CASEFOLD_FL)) return null;
  if (!hasBit(vol.sb.incompat, F.INCOMPAT_CASEFOLD)) {
    throw new Ext4Error('EOPNOTSUPP', 'the file system has no casefold');
  }
  if (!inode.isDir) throw new Ext4Error('ENOTDIR');
  return inode;
}

function flagStep(vol: Ext4Volume, ino: number, flags: number): Inode {
  const inode = vol.inodes.get(ino);
  inode.at();
  const changed = flags ^ inode.flags;
  const misplaced = !inode.isDir && (flags & DIRECTORY_ONLY) !== 0;
  if ((changed & ~MODIFIABLE) !== 0 || misplaced) throw new Ext4Error('EOPNOTSUPP', 'flags');
  // What stays immutable keeps its other flags too.
  const stays = (flags & inode.flags & F.EXT4_IMMUTABLE_FL) !== 0;
  if (stays && changed !== 0) throw new Ext4Error('EPERM');
  vol.journal!.start(2);
  inode.setFlags((inode.flags & ~MODIFIABLE) | (flags & MODIFIABLE));
  touch(inode, false);
  vol.journal!.stop();
  if (inode.isDir) {
    inode.names = null;
    inode.nameCame();
  }
  inode.reopen = inode.isFile && choosePath(inode) !== inode.path;
  return inode;
}
