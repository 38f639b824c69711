// What stat(2) and readlink(2) show of an inode.

import * as F from '../../assembly/format/ext4.ts';
import { corrupt } from '../errno.ts';
import { hasBit } from './features.ts';
import { readInline } from './inline.ts';
import type { Inode } from './inode.ts';
import { blockOf } from './iomap.ts';
import { nokeyTarget } from './nokey.ts';

export interface Time {
  /** Seconds since 1970, negative before. */
  sec: number;
  nsec: number;
}

export interface StatRecord {
  dev: number;
  ino: number;
  mode: number;
  nlink: number;
  uid: number;
  gid: number;
  rdev: number;
  size: number;
  blksize: number;
  /** Units of 512 bytes. */
  blocks: number;
  atime: Time;
  mtime: Time;
  ctime: Time;
  birthtime: Time;
}

/** Throws Missing; EUCLEAN, EBADMSG. */
export function statInode(inode: Inode): StatRecord {
  inode.at();
  return {
    dev: inode.vol.dev,
    ino: inode.ino,
    mode: inode.mode,
    nlink: inode.u16(F.I_LINKS_COUNT),
    uid: inode.u16(F.I_UID_HIGH) * 65536 + inode.u16(F.I_UID),
    gid: inode.u16(F.I_GID_HIGH) * 65536 + inode.u16(F.I_GID),
    rdev: isDevice(inode) ? deviceNumber(inode) : 0,
    size: shownSize(inode),
    blksize: inode.vol.sb.blockSize,
    blocks: blocksOf(inode),
    atime: timeOf(inode, F.I_ATIME, F.I_ATIME_EXTRA),
    mtime: timeOf(inode, F.I_MTIME, F.I_MTIME_EXTRA),
    ctime: timeOf(inode, F.I_CTIME, F.I_CTIME_EXTRA),
    birthtime: inode.hasExtra(F.I_CRTIME, 4)
      ? timeOf(inode, F.I_CRTIME, F.I_CRTIME_EXTRA)
      : { sec: 0, nsec: 0 },
  };
}

/** An encrypted symlink is as long as what readlink shows for it. */
function shownSize(inode: Inode): number {
  return inode.isLink && inode.has(F.EXT4_ENCRYPT_FL) ? readLink(inode).length : inode.size;
}

/** Two bits of the extra field carry the epoch on, past 2038; the others are nanoseconds. */
function timeOf(inode: Inode, field: number, extraField: number): Time {
  const low = inode.vol.dv.getInt32(inode.at() + field, true);
  if (!inode.hasExtra(extraField, 4)) return { sec: low, nsec: 0 };
  const extra = inode.u32(extraField);
  return { sec: low + (extra % 4) * 2 ** 32, nsec: Math.floor(extra / 4) };
}

function blocksOf(inode: Inode): number {
  const { sb } = inode.vol;
  const low = inode.u32(F.I_BLOCKS_LO);
  let blocks = low;
  if (hasBit(sb.roCompat, F.RO_COMPAT_HUGE_FILE)) {
    blocks += inode.u16(F.I_BLOCKS_HIGH) * 2 ** 32;
    if (inode.has(F.EXT4_HUGE_FILE_FL)) blocks *= sb.blockSize / 512;
  }
  if (inode.path === 'inline' && inode.isFile) blocks += Math.ceil(inode.size / 512);
  const promised = (inode.delayed?.clusters ?? 0) * sb.clusterBlocks;
  return blocks + promised * (sb.blockSize / 512);
}

function isDevice(inode: Inode): boolean {
  return inode.type === F.S_IFCHR || inode.type === F.S_IFBLK;
}

/** As glibc's dev_t for numbers below 2^32: the old form is 8 and 8 bits, the new one 12 and 20. */
function deviceNumber(inode: Inode): number {
  const old = inode.u32(F.I_BLOCK);
  return old !== 0 ? old % 65536 : inode.u32(F.I_BLOCK + 4);
}

/** The target of a symlink; of an encrypted one, what stands for it. Throws Missing; EUCLEAN, EBADMSG. */
export function readLink(inode: Inode): Uint8Array {
  const raw = rawLink(inode);
  if (!inode.has(F.EXT4_ENCRYPT_FL)) return untilNul(raw);
  const shown = nokeyTarget(raw);
  if (shown === null) throw corrupt('symlink', 'no encrypted target', { ino: inode.ino });
  return shown;
}

function rawLink(inode: Inode): Uint8Array {
  const ptr = inode.at();
  const { vol, size } = inode;
  const bad = (reason: string) => corrupt('symlink', reason, { ino: inode.ino, field: 'i_size' });
  const most = inode.has(F.EXT4_ENCRYPT_FL) ? vol.sb.blockSize : vol.sb.blockSize - 1;
  if (size === 0 || size > most) throw bad(`${size} bytes`);
  if (inode.path === 'inline') {
    const target = new Uint8Array(size);
    readInline(inode, target, 0, 0, size);
    return target;
  }
  if (isFastLink(inode)) {
    if (size >= F.I_BLOCK_SIZE) throw bad(`${size} bytes in the inode`);
    return vol.u8.slice(ptr + F.I_BLOCK, ptr + F.I_BLOCK + size);
  }
  const pblk = blockOf(inode, 0);
  if (pblk === 0) throw bad('has no block');
  const at = vol.cache.get(pblk).ptr;
  return vol.u8.slice(at, at + size);
}

/** A target short enough lies where the block map would be. */
export function isFastLink(inode: Inode): boolean {
  const { sb } = inode.vol;
  if (hasBit(sb.incompat, F.INCOMPAT_EA_INODE)) return inode.size < F.I_BLOCK_SIZE;
  const hasXattrBlock = inode.u32(F.I_FILE_ACL_LO) !== 0 || inode.u16(F.I_FILE_ACL_HIGH) !== 0;
  const xattrs = hasXattrBlock ? (sb.blockSize / 512) * sb.clusterBlocks : 0;
  return blocksOf(inode) - xattrs === 0;
}

function untilNul(bytes: Uint8Array): Uint8Array {
  const end = bytes.indexOf(0);
  return end < 0 ? bytes : bytes.subarray(0, end);
}
