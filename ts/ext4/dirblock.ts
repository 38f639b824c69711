// The blocks of a directory: found, checked whole at each load, and summed when a commit takes them. A directory
// never has more blocks than its file system: hostile extent trees end there.

import { ABI_NAME } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/ext4.ts';
import type { Buffer } from '../cache/buffer.ts';
import { badChecksum, corrupt } from '../errno.ts';
import { foldName, foldsTo } from './casefold.ts';
import type { IndexPath } from './htree.ts';
import type { Inode } from './inode.ts';
import { blockOf } from './iomap.ts';
import type { Ext4Volume } from './volume.ts';

/** A buffer checked as a directory block of inode `owner`. */
export const KIND_DIR = 4;
/** Where a name is: its inode number, 0 for nowhere, and the directory block; -1 in an inline directory. */
export interface Place {
  ino: number;
  lblk: number;
  /** Where it is not: the leaf that it would go to, for an insertion in the same step. */
  path?: IndexPath;
  /** In an encrypted directory: the name as it is there. */
  stored?: Uint8Array;
}

export const NOWHERE: Place = { ino: 0, lblk: -1 };

/** Whether a directory takes names that differ only in case for one. Encrypted names cannot be told. */
export function folds(dir: Inode): boolean {
  return dir.has(F.EXT4_CASEFOLD_FL) && !dir.has(F.EXT4_ENCRYPT_FL);
}

/** The inode number of a name in checked entries at `ptr`, or 0. */
export function findName(dir: Inode, ptr: number, len: number, name: Uint8Array): number {
  const off = findOffset(dir, ptr, len, name);
  return off < 0 ? 0 : dir.vol.dv.getUint32(ptr + off + F.DE_INODE, true);
}

/** Where a name's entry lies in checked entries at `ptr`, or -1: the very name, or where names fold one that is the
 *  same folded. */
export function findOffset(dir: Inode, ptr: number, len: number, name: Uint8Array): number {
  const { kernels } = dir.vol.cache;
  if (folds(dir)) return findFolded(dir, ptr, len, foldName(name));
  putName(kernels.u8, ABI_NAME, name);
  return kernels.exports.dirFind(ptr, len, ABI_NAME, name.length);
}

function findFolded(dir: Inode, ptr: number, len: number, form: Uint8Array): number {
  const { dv, u8 } = dir.vol;
  for (let off = 0; off < len; off += recLen(dir, ptr + off)) {
    if (dv.getUint32(ptr + off + F.DE_INODE, true) === 0) continue;
    const nameLen = dv.getUint8(ptr + off + F.DE_NAME_LEN);
    if (foldsTo(u8, ptr + off + F.DE_NAME, nameLen, form)) return off;
  }
  return -1;
}

/** Copies a name to `at`: most are short, and a loop takes a fraction of what a call of set() does. */
export function putName(u8: Uint8Array, at: number, name: Uint8Array): void {
  if (name.length > 32) u8.set(name, at);
  else for (let i = 0; i < name.length; i++) u8[at + i] = name[i];
}

/** Blocks of a directory, bounded by the blocks of the file system. */
export function dirBlocks(dir: Inode): number {
  return Math.min(Math.ceil(dir.size / dir.vol.sb.blockSize), dir.vol.sb.blocks);
}

/** A block of a directory, checked; null in a hole. Throws Missing; EUCLEAN, EBADMSG. */
export function dirBlock(dir: Inode, lblk: number): Buffer | null {
  const pblk = blockOf(dir, lblk);
  if (pblk === 0) return null;
  const buffer = dir.vol.cache.get(pblk);
  if (buffer.kind === KIND_DIR && buffer.owner === dir.ino) return buffer;
  checkEntries(dir, buffer.ptr, dir.vol.sb.blockSize, pblk);
  if (dir.vol.sums.on) checkDirSum(dir, buffer);
  buffer.kind = KIND_DIR;
  buffer.owner = dir.ino;
  buffer.seed = dir.seed;
  buffer.hint = 0;
  return buffer;
}

/** EUCLEAN unless [ptr, ptr + len) holds whole, sound entries. */
export function checkEntries(dir: Inode, ptr: number, len: number, block: number): void {
  const { exports } = dir.vol.cache.kernels;
  const fault = exports.dirCheck(ptr, len, dir.vol.sb.inodes);
  if (fault !== 0) throw corrupt('directory', `fault ${-fault}`, { ino: dir.ino, block });
}

/** Where the index entries of a block begin, or 0 when it is a leaf. */
export function indexOffset(dir: Inode, ptr: number): number {
  const { dv, sb } = dir.vol;
  const first = recLen(dir, ptr);
  if (first === sb.blockSize && dv.getUint32(ptr, true) === 0) return F.DX_NODE_ENTRIES;
  if (first !== 12 || recLen(dir, ptr + 12) !== sb.blockSize - 12) return 0;
  const zero = dv.getUint32(ptr + F.DX_ROOT_INFO, true);
  const info = dv.getUint8(ptr + F.DX_ROOT_INFO_LENGTH);
  return zero === 0 && info === 8 ? F.DX_ROOT_ENTRIES : 0;
}

/** The length of an entry; a block of 64 KiB does not fit its field. */
export function recLen(dir: Inode, ptr: number): number {
  const raw = dir.vol.dv.getUint16(ptr + F.DE_REC_LEN, true);
  const { blockSize } = dir.vol.sb;
  if (blockSize < 65536) return raw;
  if (raw === 65535 || raw === 0) return blockSize;
  return (raw & 65532) + (raw & 3) * 65536;
}

function checkDirSum(dir: Inode, buffer: Buffer): void {
  const { dv, sums, sb } = dir.vol;
  const where = { ino: dir.ino, block: buffer.pblk };
  const index = dir.has(F.EXT4_INDEX_FL) ? indexOffset(dir, buffer.ptr) : 0;
  if (index !== 0) return checkIndexSum(dir, buffer, index);
  const tail = buffer.ptr + sb.blockSize - F.DE_TAIL_SIZE;
  const isTail =
    dv.getUint32(tail, true) === 0 &&
    dv.getUint16(tail + F.DE_REC_LEN, true) === F.DE_TAIL_SIZE &&
    dv.getUint16(tail + F.DE_NAME_LEN, true) === F.EXT4_FT_DIR_CSUM * 256;
  if (!isTail) throw badChecksum('directory', { ...where, field: 'no checksum' });
  const sum = sums.run(dir.seed, buffer.ptr, sb.blockSize - F.DE_TAIL_SIZE);
  if (sum !== dv.getUint32(tail + F.DE_TAIL_CHECKSUM, true)) throw badChecksum('directory', where);
}

/** Writes the checksum of a directory block; its seed and kind are set. */
export function sealDirBlock(vol: Ext4Volume, { ptr, seed, owner }: Buffer): void {
  const { dv, sums, sb } = vol;
  const dir = vol.inodes.get(owner);
  const index = dir.has(F.EXT4_INDEX_FL) ? indexOffset(dir, ptr) : 0;
  if (index === 0) {
    const sum = sums.run(seed, ptr, sb.blockSize - F.DE_TAIL_SIZE);
    const tail = ptr + sb.blockSize - F.DE_TAIL_SIZE;
    dv.setUint32(tail + F.DE_TAIL_CHECKSUM, sum, true);
    return;
  }
  const limit = dv.getUint16(ptr + index + F.DX_LIMIT, true);
  const tail = ptr + index + limit * F.DX_ENTRY_SIZE;
  dv.setUint32(tail + F.DX_TAIL_CHECKSUM, indexSum(vol, ptr, seed, index), true);
}

/** crc32c of an index block: its used entries, then the tail without the sum itself. */
function indexSum(vol: Ext4Volume, ptr: number, seed: number, index: number): number {
  const { dv, sums } = vol;
  const limit = dv.getUint16(ptr + index + F.DX_LIMIT, true);
  const count = dv.getUint16(ptr + index + F.DX_COUNT, true);
  const tail = ptr + index + limit * F.DX_ENTRY_SIZE;
  const crc = sums.run(seed, ptr, index + count * F.DX_ENTRY_SIZE);
  return sums.zeros(sums.run(crc, tail, F.DX_TAIL_CHECKSUM), 4);
}

function checkIndexSum(dir: Inode, buffer: Buffer, index: number): void {
  const { dv, sb } = dir.vol;
  const where = { ino: dir.ino, block: buffer.pblk };
  const limit = dv.getUint16(buffer.ptr + index + F.DX_LIMIT, true);
  const count = dv.getUint16(buffer.ptr + index + F.DX_COUNT, true);
  const tail = index + limit * F.DX_ENTRY_SIZE;
  if (count > limit || tail + F.DX_TAIL_SIZE > sb.blockSize) {
    throw corrupt('directory index', `${count} of ${limit} entries`, where);
  }
  const crc = indexSum(dir.vol, buffer.ptr, dir.seed, index);
  const stored = dv.getUint32(buffer.ptr + tail + F.DX_TAIL_CHECKSUM, true);
  if (crc !== stored) throw badChecksum('directory index', where);
}
