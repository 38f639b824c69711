// The inode allocator: directories under the root spread over the groups, everything else stays near its parent; and
// the making and unmaking of inode records.

import * as F from '../../assembly/format/ext4.ts';
import { assert } from '../assert.ts';
import type { Buffer } from '../cache/buffer.ts';
import { corrupt, Ext4Error } from '../errno.ts';
import { hasBit } from './features.ts';
import { type Group, readGroup } from './group.ts';
import { addCount, addFree, blockBitmap, editGroup, inodeBitmap, sumFree } from './groupwrite.ts';
import type { Inode } from './inode.ts';
import type { Time } from './stat.ts';
import { putBorn } from './time.ts';
import type { Ext4Volume } from './volume.ts';

/** Changed blocks of making an inode: two bitmaps, descriptor, table block. */
export const NEW_INODE_CREDITS = 4;
export const FREE_INODE_CREDITS = 3;

const INHERITED =
  F.EXT4_SECRM_FL |
  F.EXT4_UNRM_FL |
  F.EXT4_COMPR_FL |
  F.EXT4_SYNC_FL |
  F.EXT4_NODUMP_FL |
  F.EXT4_NOATIME_FL |
  F.EXT4_JOURNAL_DATA_FL |
  F.EXT4_NOTAIL_FL |
  F.EXT4_DIRSYNC_FL |
  F.EXT4_PROJINHERIT_FL |
  F.EXT4_CASEFOLD_FL |
  F.EXT4_DAX_FL;

/** A new inode: its bit, its record, in memory. `mode` has the type. Needs a handle. ENOSPC. */
export function allocInode(
  vol: Ext4Volume,
  parent: Inode,
  mode: number,
  { links = 0, time = vol.clock.now() }: { links?: number; time?: Time } = {},
): Inode {
  const isDir = (mode & F.S_IFMT) === F.S_IFDIR;
  if (sumFree(vol).inodes === 0) throw new Ext4Error('ENOSPC', 'no free inodes');
  const first = firstGroup(vol, parent, isDir);
  for (let i = 0; i < vol.sb.groups; i++) {
    const group = readGroup(vol, (first + i) % vol.sb.groups);
    if (group.freeInodes === 0) continue;
    const ino = takeIn(vol, group, isDir);
    if (ino === 0) continue;
    if (!isDir) parent.hint = group.number + 1;
    const inode = vol.inodes.blank(ino);
    return makeRecord(parent, inode, tableBlock(inode, group), { mode, links, time });
  }
  throw new Ext4Error('ENOSPC', 'no free inodes');
}

/** Where to look first: files where the last one of their directory went; directories of the root in turn. */
function firstGroup(vol: Ext4Volume, parent: Inode, isDir: boolean): number {
  const { sb } = vol;
  const home = Math.floor((parent.ino - 1) / sb.inodesPerGroup);
  const top = parent.ino === F.EXT4_ROOT_INO || parent.has(F.EXT4_TOPDIR_FL);
  if (!isDir) return parent.hint > 0 ? parent.hint - 1 : home;
  if (!top) return home;
  const free = sumFree(vol);
  for (let i = 0; i < sb.groups; i++) {
    const number = (vol.spread + i) % sb.groups;
    const group = readGroup(vol, number);
    const roomy = group.freeInodes >= free.inodes / sb.groups;
    if (!roomy || group.freeClusters < free.clusters / sb.groups) continue;
    vol.spread = number + 1;
    return number;
  }
  return home;
}

function takeIn(vol: Ext4Volume, group: Group, isDir: boolean): number {
  const { sb, cache } = vol;
  const { exports } = cache.kernels;
  const bitmap = inodeBitmap(vol, group);
  const from = group.number === 0 ? sb.firstIno - 1 : 0;
  const bit = exports.bitmapNextClear(bitmap.ptr, from, sb.inodesPerGroup) >>> 0;
  if (bit >= sb.inodesPerGroup) return 0;
  useInode(vol, group, bitmap, bit, isDir);
  return group.number * sb.inodesPerGroup + bit + 1;
}

/** Marks an inode used that is free: bit number `bit` of its group. Needs a handle. */
export function useInode(
  vol: Ext4Volume,
  group: Group,
  bitmap: Buffer,
  bit: number,
  isDir: boolean,
): void {
  const { sb, dv } = vol;
  const { exports } = vol.cache.kernels;
  if (hasBit(group.flags, F.EXT4_BG_BLOCK_UNINIT)) blockBitmap(vol, group);
  const byte = Math.floor(bit / 8);
  exports.bitmapSet(vol.journal!.write(bitmap, byte, 1) - byte, bit, 1);
  const ptr = editGroup(vol, group.number);
  addCount(vol, ptr, F.BG_FREE_INODES_COUNT_LO, F.BG_FREE_INODES_COUNT_HI, -1);
  if (isDir) addCount(vol, ptr, F.BG_USED_DIRS_COUNT_LO, F.BG_USED_DIRS_COUNT_HI, 1);
  const unused = sb.inodesPerGroup - bit - 1;
  if ((vol.sums.on || sb.gdtCsum) && group.itableUnused > unused) {
    dv.setUint16(ptr + F.BG_ITABLE_UNUSED_LO, unused % 65536, true);
    if (sb.descSize >= F.EXT4_MIN_DESC_SIZE_64BIT) {
      dv.setUint16(ptr + F.BG_ITABLE_UNUSED_HI, Math.floor(unused / 65536), true);
    }
  }
  addFree(vol, 0, -1);
}

/** The block of the table that a new inode lies in. It is not read when no other inode in it is in use: a fresh
 *  one holds nothing then. */
function tableBlock(inode: Inode, group: Group): Buffer {
  const { cache, sb, journal } = inode.vol;
  if (cache.has(inode.pblk)) return cache.get(inode.pblk);
  const bit = (inode.ino - 1) % sb.inodesPerGroup;
  const first = bit - Math.floor(inode.off / sb.inodeSize);
  const end = Math.min(first + sb.blockSize / sb.inodeSize, sb.inodesPerGroup);
  const { ptr } = cache.get(group.inodeBitmap);
  const alone = cache.kernels.exports.bitmapCount(ptr, first, end) === 1;
  return alone ? journal!.create(inode.pblk) : cache.get(inode.pblk);
}

function makeRecord(
  parent: Inode,
  inode: Inode,
  buffer: Buffer,
  { mode: wanted, links, time }: { mode: number; links: number; time: Time },
): Inode {
  const { vol } = parent;
  const { sb, dv, inodes } = vol;
  const { ino } = inode;
  const setgid = (parent.mode & 0o2000) !== 0;
  const isDir = (wanted & F.S_IFMT) === F.S_IFDIR;
  const mode = isDir && setgid ? wanted | 0o2000 : wanted;
  const gid = setgid ? parent.u16(F.I_GID_HIGH) * 65536 + parent.u16(F.I_GID) : vol.options.gid;
  const { uid } = vol.options;
  const projid = projectOf(vol, parent);
  const ptr = vol.journal!.write(buffer, inode.off, sb.inodeSize);
  vol.cache.kernels.exports.zero(ptr, sb.inodeSize);
  dv.setUint16(ptr + F.I_MODE, mode, true);
  dv.setUint16(ptr + F.I_UID, uid % 65536, true);
  dv.setUint16(ptr + F.I_UID_HIGH, Math.floor(uid / 65536), true);
  dv.setUint16(ptr + F.I_GID, gid % 65536, true);
  dv.setUint16(ptr + F.I_GID_HIGH, Math.floor(gid / 65536), true);
  dv.setUint32(ptr + F.I_GENERATION, Math.floor(vol.clock.random() * 2 ** 32), true);
  dv.setUint32(ptr + F.I_FLAGS, flagsFor(vol, parent, mode), true);
  if (sb.inodeSize > F.EXT4_GOOD_OLD_INODE_SIZE) extraFields(vol, ptr, projid);
  dv.setUint16(ptr + F.I_LINKS_COUNT, links, true);
  putBorn(vol, ptr, time);
  emptyMap(vol, ptr);
  inode.adoptRecord(buffer);
  inodes.adopt(inode);
  vol.journal!.onUndo(unmake, vol, ino);
  return inode;
}

/** Undo of a creation: the inode leaves memory. */
function unmake(vol: Ext4Volume, ino: number): void {
  vol.inodes.forget(ino);
}

function projectOf(vol: Ext4Volume, parent: Inode): number {
  const inherits =
    hasBit(vol.sb.roCompat, F.RO_COMPAT_PROJECT) && parent.has(F.EXT4_PROJINHERIT_FL);
  return inherits && parent.hasExtra(F.I_PROJID, 4) ? parent.u32(F.I_PROJID) : 0;
}

function extraFields(vol: Ext4Volume, ptr: number, projid: number): void {
  const { sb, dv } = vol;
  const want = hasBit(sb.roCompat, F.RO_COMPAT_EXTRA_ISIZE) ? sb.u16(F.S_WANT_EXTRA_ISIZE) : 0;
  const room = sb.inodeSize - F.EXT4_GOOD_OLD_INODE_SIZE;
  const extra = Math.min(want >= 28 && want % 4 === 0 ? want : 32, room);
  dv.setUint16(ptr + F.I_EXTRA_ISIZE, extra, true);
  if (F.EXT4_GOOD_OLD_INODE_SIZE + extra >= F.I_PROJID + 4) {
    dv.setUint32(ptr + F.I_PROJID, projid, true);
  }
}

function flagsFor(vol: Ext4Volume, parent: Inode, mode: number): number {
  const type = mode & F.S_IFMT;
  let flags = parent.flags & INHERITED;
  if (type === F.S_IFREG)
    flags &= ~F.EXT4_DIRSYNC_FL & ~F.EXT4_PROJINHERIT_FL & ~F.EXT4_CASEFOLD_FL;
  else if (type !== F.S_IFDIR) flags &= F.EXT4_NODUMP_FL | F.EXT4_NOATIME_FL;
  const maps = type === F.S_IFREG || type === F.S_IFDIR || type === F.S_IFLNK;
  if (maps && hasBit(vol.sb.incompat, F.INCOMPAT_EXTENTS)) flags |= F.EXT4_EXTENTS_FL;
  return flags >>> 0;
}

/** The root of an empty extent tree in a record that says it has one. */
export function emptyMap(vol: Ext4Volume, ptr: number): void {
  const { dv } = vol;
  vol.cache.kernels.exports.zero(ptr + F.I_BLOCK, F.I_BLOCK_SIZE);
  if (!hasBit(dv.getUint32(ptr + F.I_FLAGS, true), F.EXT4_EXTENTS_FL)) return;
  dv.setUint16(ptr + F.I_BLOCK + F.EH_MAGIC, F.EXT4_EXT_MAGIC, true);
  dv.setUint16(ptr + F.I_BLOCK + F.EH_MAX, 4, true);
}

/** Frees an inode whose links, blocks and xattrs are gone: its bit, its time of death. Needs a handle. */
export function freeInode(vol: Ext4Volume, inode: Inode, time: Time = vol.clock.now()): void {
  const { sb, cache } = vol;
  assert(inode.links === 0, 'only what has no name is freed');
  inode.put32(F.I_DTIME, time.sec % 2 ** 32);
  const number = Math.floor((inode.ino - 1) / sb.inodesPerGroup);
  const bit = (inode.ino - 1) % sb.inodesPerGroup;
  const group = readGroup(vol, number);
  const bitmap = inodeBitmap(vol, group);
  const { exports } = cache.kernels;
  if (exports.bitmapNextSet(bitmap.ptr, bit, bit + 1) >>> 0 !== bit) {
    throw corrupt('inode bitmap', `inode ${inode.ino} is free already`, { ino: inode.ino });
  }
  const byte = Math.floor(bit / 8);
  exports.bitmapClear(vol.journal!.write(bitmap, byte, 1) - byte, bit, 1);
  const ptr = editGroup(vol, number);
  addCount(vol, ptr, F.BG_FREE_INODES_COUNT_LO, F.BG_FREE_INODES_COUNT_HI, 1);
  if (inode.isDir) addCount(vol, ptr, F.BG_USED_DIRS_COUNT_LO, F.BG_USED_DIRS_COUNT_HI, -1);
  addFree(vol, 0, 1);
  vol.journal!.after(leaveMemory, vol, inode.ino);
}

function leaveMemory(vol: Ext4Volume, ino: number): void {
  vol.inodes.forget(ino);
}
