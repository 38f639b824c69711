// Extended attributes: in the inode behind its extra fields, in one block that inodes may share, or with their
// value in an inode of its own. Entries are decoded whole and checked before any is used.

import * as F from '../../assembly/format/ext4.ts';
import type { Buffer } from '../cache/buffer.ts';
import { badChecksum, corrupt, Ext4Error } from '../errno.ts';
import { type Flow, step } from '../flow.ts';
import { aclToWire } from './acl.ts';
import { hasBit } from './features.ts';
import type { Inode } from './inode.ts';
import { blockOf } from './iomap.ts';
import type { Ext4Volume } from './volume.ts';

/** A buffer checked as a block of xattrs. */
export const KIND_XATTR = 5;
/** Bytes of the largest value. */
const MAX_VALUE = 2 ** 24;
/** Blocks of a value read in one step. */
const STEP_BLOCKS = 16;

export interface XattrEntry {
  index: number;
  name: Uint8Array;
  size: number;
  /** Address of the value, valid until the step ends; 0 when it is empty or lies in inode `inum`. */
  valuePtr: number;
  inum: number;
  hash: number;
}

const PREFIXES: Record<number, string> = {
  [F.EXT4_XATTR_INDEX_USER]: 'user.',
  [F.EXT4_XATTR_INDEX_POSIX_ACL_ACCESS]: 'system.posix_acl_access',
  [F.EXT4_XATTR_INDEX_POSIX_ACL_DEFAULT]: 'system.posix_acl_default',
  [F.EXT4_XATTR_INDEX_TRUSTED]: 'trusted.',
  [F.EXT4_XATTR_INDEX_SECURITY]: 'security.',
};

/** All entries of an inode, those in the inode first. Throws Missing; EUCLEAN, EBADMSG. */
export function readXattrs(inode: Inode): XattrEntry[] {
  return [...inodeXattrs(inode), ...blockXattrs(inode)];
}

/** One entry by index and name, or null. */
export function findXattr(inode: Inode, index: number, name: Uint8Array): XattrEntry | null {
  const matches = (e: XattrEntry) => e.index === index && equal(e.name, name);
  return inodeXattrs(inode).find(matches) ?? blockXattrs(inode).find(matches) ?? null;
}

/** The full names of an inode's xattrs, such as "user.x"; those of no user's concern are left out. */
export function listXattrs(inode: Inode): Uint8Array[] {
  return readXattrs(inode).flatMap((entry) => {
    const prefix = PREFIXES[entry.index];
    return prefix === undefined ? [] : [concat(new TextEncoder().encode(prefix), entry.name)];
  });
}

/** The value of an xattr by its full name; ACLs in the form of system.posix_acl_*. ENODATA; EOPNOTSUPP for an
 *  unknown prefix. */
export function* getXattr(inode: Inode, fullName: Uint8Array): Flow<Uint8Array> {
  const { index, name } = splitName(fullName);
  const found = yield* step(copyValue, inode, index, name);
  if (found === null) throw new Ext4Error('ENODATA');
  const value = found.inum === 0 ? found.value : yield* readValueInode(inode, found);
  return isAcl(index) ? aclToWire(value, inode.ino) : value;
}

function isAcl(index: number): boolean {
  return (
    index === F.EXT4_XATTR_INDEX_POSIX_ACL_ACCESS || index === F.EXT4_XATTR_INDEX_POSIX_ACL_DEFAULT
  );
}

/** Bytes of a full name, its prefix included. */
export const XATTR_NAME_MAX = 255;

/** Index and rest of a full name. ERANGE for a long one, EINVAL for "user." alone, EOPNOTSUPP for a prefix that ext4
 *  has not. */
export function splitName(fullName: Uint8Array): { index: number; name: Uint8Array } {
  if (fullName.length > XATTR_NAME_MAX) throw new Ext4Error('ERANGE');
  const text = new TextDecoder('latin1').decode(fullName);
  for (const [index, prefix] of Object.entries(PREFIXES)) {
    const whole = isAcl(Number(index));
    if (whole ? text !== prefix : !text.startsWith(prefix)) continue;
    const name = fullName.subarray(prefix.length);
    if (!whole && name.length === 0) throw new Ext4Error('EINVAL', 'an xattr needs a name');
    return { index: Number(index), name };
  }
  throw new Ext4Error('EOPNOTSUPP', `xattr ${JSON.stringify(text)}`);
}

interface Found {
  value: Uint8Array;
  inum: number;
  size: number;
}

function copyValue(inode: Inode, index: number, name: Uint8Array): Found | null {
  const entry = findXattr(inode, index, name);
  if (entry === null) return null;
  const { valuePtr, inum, size } = entry;
  const value = inum === 0 ? inode.vol.u8.slice(valuePtr, valuePtr + size) : new Uint8Array(0);
  return { value, inum, size };
}

/** Reads a value out of its inode and holds it against the hash kept there. */
function* readValueInode(owner: Inode, found: Found): Flow<Uint8Array> {
  const { vol } = owner;
  const value = new Uint8Array(found.size);
  const holder = yield* step(valueInode, owner, found);
  for (let pos = 0; pos < found.size; ) {
    pos = yield* step(copyValueBlocks, holder, value, pos);
  }
  yield* step(checkHash, owner, holder, value);
  vol.trace.emit('xattr.inode', { ino: holder.ino, size: found.size });
  return value;
}

function valueInode(owner: Inode, { inum, size }: Found): Inode {
  const holder = owner.vol.inodes.get(inum);
  holder.at();
  if (!holder.has(F.EXT4_EA_INODE_FL) || holder.size !== size) {
    throw corrupt('xattr value inode', `not a value of ${size} bytes`, { ino: inum });
  }
  return holder;
}

function copyValueBlocks(holder: Inode, value: Uint8Array, pos: number): number {
  const { cache, sb, u8 } = holder.vol;
  let at = pos;
  for (let left = STEP_BLOCKS; left > 0 && at < value.length; left--) {
    const pblk = blockOf(holder, at / sb.blockSize);
    if (pblk === 0) throw corrupt('xattr value inode', 'has a hole', { ino: holder.ino });
    const n = Math.min(sb.blockSize, value.length - at);
    const { ptr } = cache.get(pblk);
    value.set(u8.subarray(ptr, ptr + n), at);
    at += n;
  }
  return at;
}

/** The hash of a value is kept as its inode's atime; Lustre kept the owner's number as mtime instead. */
function checkHash(owner: Inode, holder: Inode, value: Uint8Array): void {
  if (holder.u32(F.I_ATIME) === hashOfValue(owner.vol, value)) return;
  const lustre =
    holder.u32(F.I_MTIME) === owner.ino && holder.generation === owner.u32(F.I_GENERATION);
  if (!lustre) throw corrupt('xattr value inode', 'wrong hash', { ino: holder.ino });
}

/** The hash of a value that has an inode of its own. */
export function hashOfValue({ sums }: Ext4Volume, value: Uint8Array): number {
  let crc = sums.seed;
  for (let at = 0; at < value.length; at += 1024)
    crc = sums.ofBytes(crc, value.subarray(at, at + 1024));
  return crc;
}

/** The entries that lie in the inode. Throws Missing; EUCLEAN. */
export function inodeXattrs(inode: Inode): XattrEntry[] {
  const ptr = inode.at();
  const { sb, dv } = inode.vol;
  const start = F.EXT4_GOOD_OLD_INODE_SIZE + inode.extraSize;
  const room = sb.inodeSize - start;
  if (sb.inodeSize === F.EXT4_GOOD_OLD_INODE_SIZE || room < F.IH_SIZE + 4) return [];
  if (inode.extraSize === 0 || dv.getUint32(ptr + start, true) !== F.EXT4_XATTR_MAGIC) return [];
  const first = ptr + start + F.IH_SIZE;
  return decode(inode, first, first, ptr + sb.inodeSize, inode.pblk);
}

/** The entries of the inode's xattr block. Throws Missing; EUCLEAN, EBADMSG. */
export function blockXattrs(inode: Inode): XattrEntry[] {
  const pblk = xattrBlock(inode);
  if (pblk === 0) return [];
  const { cache, sb } = inode.vol;
  const buffer = cache.get(pblk);
  if (buffer.kind !== KIND_XATTR) checkBlock(inode, buffer);
  return decode(inode, buffer.ptr + F.H_SIZE, buffer.ptr, buffer.ptr + sb.blockSize, pblk);
}

/** The block of an inode's xattrs, or 0. */
export function xattrBlock(inode: Inode): number {
  const high = hasBit(inode.vol.sb.incompat, F.INCOMPAT_64BIT) ? inode.u16(F.I_FILE_ACL_HIGH) : 0;
  return high * 2 ** 32 + inode.u32(F.I_FILE_ACL_LO);
}

function checkBlock(inode: Inode, buffer: Buffer): void {
  const { dv, sums, sb } = inode.vol;
  const where = { ino: inode.ino, block: buffer.pblk };
  const magic = dv.getUint32(buffer.ptr + F.H_MAGIC, true);
  const blocks = dv.getUint32(buffer.ptr + F.H_BLOCKS, true);
  if (magic !== F.EXT4_XATTR_MAGIC || blocks !== 1) {
    throw corrupt('xattr block', `magic ${magic.toString(16)}, ${blocks} blocks`, where);
  }
  if (sums.on) {
    const seed = sums.u64(sums.seed, buffer.pblk);
    const sum = sums.around(seed, buffer.ptr, sb.blockSize, F.H_CHECKSUM, 4);
    if (sum !== dv.getUint32(buffer.ptr + F.H_CHECKSUM, true))
      throw badChecksum('xattr block', where);
  }
  buffer.kind = KIND_XATTR;
}

/** Entries from `first` on; values are counted from `base` and end before `end`. */
function decode(
  inode: Inode,
  first: number,
  base: number,
  end: number,
  block: number,
): XattrEntry[] {
  const { dv, u8 } = inode.vol;
  const where = { ino: inode.ino, block };
  const entries: XattrEntry[] = [];
  let at = first;
  for (;;) {
    if (at + 4 > end) throw corrupt('xattr', 'entries run past the end', where);
    if (dv.getUint32(at, true) === 0) break;
    const nameLen = u8[at + F.E_NAME_LEN];
    const next = at + F.E_NAME + Math.ceil(nameLen / 4) * 4;
    if (next + 4 > end) throw corrupt('xattr', 'an entry runs past the end', where);
    entries.push(decodeEntry(inode, at, base, nameLen));
    at = next;
  }
  for (const e of entries) {
    if (e.name.includes(0)) throw corrupt('xattr', 'a name holds a NUL', where);
    const outside = e.valuePtr !== 0 && (e.valuePtr < at + 4 || e.valuePtr + e.size > end);
    if (outside || e.size > MAX_VALUE) throw corrupt('xattr', 'a value lies outside', where);
  }
  return entries;
}

function decodeEntry(inode: Inode, at: number, base: number, nameLen: number): XattrEntry {
  const { dv, u8, sb } = inode.vol;
  const size = dv.getUint32(at + F.E_VALUE_SIZE, true);
  const byInode = hasBit(sb.incompat, F.INCOMPAT_EA_INODE);
  const inum = byInode ? dv.getUint32(at + F.E_VALUE_INUM, true) : 0;
  const offs = dv.getUint16(at + F.E_VALUE_OFFS, true);
  return {
    index: u8[at + F.E_NAME_INDEX],
    name: u8.slice(at + F.E_NAME, at + F.E_NAME + nameLen),
    size,
    valuePtr: inum === 0 && size > 0 ? base + offs : 0,
    inum,
    hash: dv.getUint32(at + F.E_HASH, true),
  };
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array {
  const whole = new Uint8Array(a.length + b.length);
  whole.set(a);
  whole.set(b, a.length);
  return whole;
}
