// Laying xattrs out: entries from the front, values from the back, each padded to four bytes. The same form in an
// inode
// and in a block; only where the offsets count from differs. Hashes after the kernel documentation.

import * as F from '../../assembly/format/ext4.ts';
import type { Inode } from './inode.ts';
import type { Ext4Volume } from './volume.ts';
import { inodeXattrs } from './xattr.ts';

/** An xattr with its value at hand, or in an inode of its own. */
export interface PackedXattr {
  index: number;
  name: Uint8Array;
  value: Uint8Array;
  /** Inode of the value, 0 when it is packed here; the size then. */
  inum: number;
  size: number;
  hash: number;
}

export function entryBytes(nameLen: number): number {
  return F.E_NAME + Math.ceil(nameLen / 4) * 4;
}

export function valueBytes(x: PackedXattr): number {
  return x.inum === 0 ? Math.ceil(x.value.length / 4) * 4 : 0;
}

/** Bytes that a list takes, its terminator included. */
export function packedBytes(list: PackedXattr[]): number {
  return list.reduce((sum, x) => sum + entryBytes(x.name.length) + valueBytes(x), 4);
}

/** Writes a list into [first, end), zeroing the rest; values' offsets count from `base`. It must fit. */
export function packXattrs(
  vol: Ext4Volume,
  list: PackedXattr[],
  first: number,
  base: number,
  end: number,
): void {
  const { dv, u8 } = vol;
  vol.cache.kernels.exports.zero(first, end - first);
  let at = first;
  let value = end;
  for (const x of list) {
    value -= valueBytes(x);
    dv.setUint8(at + F.E_NAME_LEN, x.name.length);
    dv.setUint8(at + F.E_NAME_INDEX, x.index);
    const placed = x.inum === 0 && x.value.length > 0;
    dv.setUint16(at + F.E_VALUE_OFFS, placed ? value - base : 0, true);
    dv.setUint32(at + F.E_VALUE_INUM, x.inum, true);
    dv.setUint32(at + F.E_VALUE_SIZE, x.inum === 0 ? x.value.length : x.size, true);
    dv.setUint32(at + F.E_HASH, x.hash, true);
    u8.set(x.name, at + F.E_NAME);
    if (placed) u8.set(x.value, value);
    at += entryBytes(x.name.length);
  }
}

/** The hash of an entry: its name's bytes, then its value's words (or the hash word of a value inode). */
export function entryHash(name: Uint8Array, words: Uint8Array): number {
  let hash = 0;
  for (const byte of name) hash = ((hash << 5) ^ (hash >>> 27) ^ byte) >>> 0;
  const padded = new Uint8Array(Math.ceil(words.length / 4) * 4);
  padded.set(words);
  const dv = new DataView(padded.buffer);
  for (let at = 0; at < padded.length; at += 4) {
    hash = ((hash << 16) ^ (hash >>> 16) ^ dv.getUint32(at, true)) >>> 0;
  }
  return hash;
}

/** The room for xattrs in an inode's record at `ptr`: where its entries begin and end; null when there is none. */
export function inodeRoom(inode: Inode, ptr: number): { first: number; end: number } | null {
  const { sb } = inode.vol;
  if (sb.inodeSize === F.EXT4_GOOD_OLD_INODE_SIZE || inode.extraSize === 0) return null;
  const first = ptr + F.EXT4_GOOD_OLD_INODE_SIZE + inode.extraSize + F.IH_SIZE;
  const end = ptr + sb.inodeSize;
  return first + F.E_NAME + 4 <= end ? { first, end } : null;
}

/** The xattrs that lie in the inode, with copies of their values. Throws Missing; EUCLEAN. */
export function unpackInode(inode: Inode): PackedXattr[] {
  return inodeXattrs(inode).map((e) => ({
    index: e.index,
    name: e.name,
    value:
      e.valuePtr === 0 ? new Uint8Array(0) : inode.vol.u8.slice(e.valuePtr, e.valuePtr + e.size),
    inum: e.inum,
    size: e.size,
    hash: e.hash,
  }));
}

/** Writes the list of xattrs that lie in the inode. It must fit. Needs a handle. */
export function packInode(inode: Inode, list: PackedXattr[]): void {
  const ptr = inode.edit();
  const room = inodeRoom(inode, ptr);
  if (room === null) return;
  const magic = list.length > 0 ? F.EXT4_XATTR_MAGIC : 0;
  inode.vol.dv.setUint32(room.first - F.IH_SIZE, magic, true);
  packXattrs(inode.vol, list, room.first, room.first, room.end);
}
