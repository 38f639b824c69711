// The block of xattrs that an inode may have: written afresh when it is alone on it, shared with others that say the
// same, given up when it is empty. Everything here needs an open handle.

import * as F from '../../assembly/format/ext4.ts';
import type { Buffer } from '../cache/buffer.ts';
import { allocBlocks, freeBlocks } from './balloc.ts';
import { hasBit } from './features.ts';
import type { Inode } from './inode.ts';
import { addSectors } from './sectors.ts';
import { blockXattrs, KIND_XATTR, xattrBlock } from './xattr.ts';
import { type PackedXattr, packedBytes, packXattrs } from './xattrpack.ts';

/** Changed blocks: old block, new block, bitmaps and descriptors of both. */
export const XATTR_BLOCK_CREDITS = 6;
/** Inodes that share a block at most. */
const MAX_SHARED = 1024;

/** The xattrs in the block, with copies of their values. Throws Missing; EUCLEAN, EBADMSG. */
export function unpackBlock(inode: Inode): PackedXattr[] {
  return blockXattrs(inode).map((e) => ({
    index: e.index,
    name: e.name,
    value:
      e.valuePtr === 0 ? new Uint8Array(0) : inode.vol.u8.slice(e.valuePtr, e.valuePtr + e.size),
    inum: e.inum,
    size: e.size,
    hash: e.hash,
  }));
}

/** Whether a list fits into a block. */
export function fitsBlock(inode: Inode, list: PackedXattr[]): boolean {
  return F.H_SIZE + packedBytes(list) <= inode.vol.sb.blockSize;
}

/** Whether other inodes have the block too, which is there. */
export function blockIsShared(inode: Inode): boolean {
  return refsOf(inode, inode.vol.cache.get(xattrBlock(inode))) > 1;
}

/** Another block that says the same and may be shared by one more, or null. What it names in inodes counts once for
 *  all who share it. */
export function findBlock(inode: Inode, list: PackedXattr[]): Buffer | null {
  list.sort(inOrder);
  return findShared(inode, list, blockHash(list), xattrBlock(inode));
}

/** Lets the inode share a block that findBlock() found. */
export function joinBlock(inode: Inode, shared: Buffer): void {
  addRefs(inode, shared, 1);
  setBlock(inode, xattrBlock(inode), shared.pblk);
}

/** Gives the inode a block of its own with this list, or none when it is empty. ENOSPC. */
export function packBlock(inode: Inode, list: PackedXattr[]): void {
  const { vol } = inode;
  const old = xattrBlock(inode);
  if (list.length === 0) {
    if (old !== 0) setBlock(inode, old, 0);
    return;
  }
  list.sort(inOrder);
  const hash = blockHash(list);
  const alone = old !== 0 && refsOf(inode, vol.cache.get(old)) === 1;
  const buffer = alone ? vol.cache.get(old) : newBlock(inode);
  const ptr = vol.journal!.write(buffer, 0, vol.sb.blockSize);
  writeHeader(inode, ptr, hash);
  packXattrs(vol, list, ptr + F.H_SIZE, ptr, ptr + vol.sb.blockSize);
  vol.xattrBlocks.set(hash, buffer.pblk);
  if (!alone) setBlock(inode, old, buffer.pblk);
}

/** Entries lie by index, then length of name, then name. */
function inOrder(a: PackedXattr, b: PackedXattr): number {
  if (a.index !== b.index) return a.index - b.index;
  if (a.name.length !== b.name.length) return a.name.length - b.name.length;
  for (let i = 0; i < a.name.length; i++) if (a.name[i] !== b.name[i]) return a.name[i] - b.name[i];
  return 0;
}

/** Zero when an entry has no hash: such blocks are not shared. */
function blockHash(list: PackedXattr[]): number {
  let hash = 0;
  for (const { hash: entry } of list) {
    if (entry === 0) return 0;
    hash = ((hash << 16) ^ (hash >>> 16) ^ entry) >>> 0;
  }
  return hash;
}

/** A block that says the same and may be shared by one more. */
function findShared(inode: Inode, list: PackedXattr[], hash: number, old: number): Buffer | null {
  const { vol } = inode;
  const pblk = vol.xattrBlocks.get(hash) ?? 0;
  if (hash === 0 || pblk === 0 || pblk === old || !vol.cache.has(pblk)) return null;
  const buffer = vol.cache.get(pblk);
  if (buffer.kind !== KIND_XATTR || refsOf(inode, buffer) >= MAX_SHARED) return null;
  const bytes = new Uint8Array(vol.sb.blockSize - F.H_SIZE);
  bytes.set(vol.u8.subarray(buffer.ptr + F.H_SIZE, buffer.ptr + vol.sb.blockSize));
  return sameList(bytes, list) ? buffer : null;
}

/** Whether entries that follow a header are exactly this list. */
function sameList(bytes: Uint8Array, list: PackedXattr[]): boolean {
  const dv = new DataView(bytes.buffer);
  let at = 0;
  for (const x of list) {
    const value = dv.getUint16(at + F.E_VALUE_OFFS, true) - F.H_SIZE;
    const same =
      bytes[at] === x.name.length &&
      bytes[at + F.E_NAME_INDEX] === x.index &&
      dv.getUint32(at + F.E_VALUE_INUM, true) === x.inum &&
      dv.getUint32(at + F.E_VALUE_SIZE, true) === x.size &&
      x.name.every((byte, i) => bytes[at + F.E_NAME + i] === byte) &&
      x.value.every((byte, i) => bytes[value + i] === byte);
    if (!same) return false;
    at += F.E_NAME + Math.ceil(x.name.length / 4) * 4;
  }
  return dv.getUint32(at, true) === 0;
}

function newBlock(inode: Inode): Buffer {
  const { vol } = inode;
  const goal = vol.sb.groupStart(Math.floor((inode.ino - 1) / vol.sb.inodesPerGroup));
  const { pblk } = allocBlocks(vol, goal, vol.sb.clusterBlocks, vol.sb.clusterBlocks);
  const buffer = vol.journal!.create(pblk);
  buffer.kind = KIND_XATTR;
  return buffer;
}

function writeHeader(inode: Inode, ptr: number, hash: number): void {
  const { dv } = inode.vol;
  inode.vol.cache.kernels.exports.zero(ptr, F.H_SIZE);
  dv.setUint32(ptr + F.H_MAGIC, F.EXT4_XATTR_MAGIC, true);
  dv.setUint32(ptr + F.H_REFCOUNT, 1, true);
  dv.setUint32(ptr + F.H_BLOCKS, 1, true);
  dv.setUint32(ptr + F.H_HASH, hash, true);
}

function refsOf(inode: Inode, buffer: Buffer): number {
  return inode.vol.dv.getUint32(buffer.ptr + F.H_REFCOUNT, true);
}

function addRefs(inode: Inode, buffer: Buffer, delta: number): void {
  const refs = refsOf(inode, buffer) + delta;
  const ptr = inode.vol.journal!.write(buffer, F.H_REFCOUNT, 4);
  inode.vol.dv.setUint32(ptr, refs, true);
}

/** Points the inode at another block, and lets go of the old one. */
function setBlock(inode: Inode, old: number, pblk: number): void {
  const { vol } = inode;
  inode.put32(F.I_FILE_ACL_LO, pblk % 2 ** 32);
  if (hasBit(vol.sb.incompat, F.INCOMPAT_64BIT)) {
    inode.put16(F.I_FILE_ACL_HIGH, Math.floor(pblk / 2 ** 32));
  }
  const sectors = (vol.sb.blockSize / 512) * vol.sb.clusterBlocks;
  if (old === 0) addSectors(inode, sectors);
  if (pblk === 0) addSectors(inode, -sectors);
  if (old === 0) return;
  const buffer = vol.cache.get(old);
  if (refsOf(inode, buffer) > 1) addRefs(inode, buffer, -1);
  else freeBlocks(vol, old, vol.sb.clusterBlocks, true);
}
