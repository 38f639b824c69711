// Entries inside directory blocks, and new blocks at a directory's end. Everything here needs an open handle; nothing
// knows where in the directory a name belongs.

import * as F from '../../assembly/format/ext4.ts';
import type { Buffer } from '../cache/buffer.ts';
import { corrupt, Ext4Error } from '../errno.ts';
import { dirBlocks, findOffset, KIND_DIR, putName, recLen } from './dirblock.ts';
import { hasBit } from './features.ts';
import type { Inode } from './inode.ts';
import { appendBlock } from './mapwrite.ts';

/** An entry's bytes without slack. */
export function entrySize(nameLen: number): number {
  return (F.DE_HEADER + nameLen + 3) & ~3;
}

/** A new empty block at a directory's end. */
export function appendLeaf(dir: Inode): Buffer {
  const lblk = dirBlocks(dir);
  const buffer = newDirBlock(dir, lblk);
  emptyEntry(dir, buffer.ptr, leafBytes(dir));
  return buffer;
}

/** A new block at a directory's end, zeroed but for the place of its checksum. */
export function newDirBlock(dir: Inode, lblk: number): Buffer {
  const { vol } = dir;
  const { sb } = vol;
  if ((lblk + 1) * sb.blockSize >= 2 ** 32 && !hasBit(sb.incompat, F.INCOMPAT_LARGEDIR)) {
    throw new Ext4Error('ENOSPC', 'the directory is full');
  }
  const buffer = vol.journal!.create(appendBlock(dir, lblk));
  buffer.kind = KIND_DIR;
  buffer.owner = dir.ino;
  buffer.seed = dir.seed;
  buffer.hint = 0;
  dir.setSize((lblk + 1) * sb.blockSize);
  if (vol.sums.on) tailEntry(dir, buffer.ptr);
  return buffer;
}

function tailEntry(dir: Inode, ptr: number): void {
  const { dv, sb } = dir.vol;
  const at = ptr + sb.blockSize - F.DE_TAIL_SIZE;
  dv.setUint32(at, 0, true);
  dv.setUint16(at + F.DE_REC_LEN, F.DE_TAIL_SIZE, true);
  dv.setUint16(at + F.DE_NAME_LEN, F.EXT4_FT_DIR_CSUM * 256, true);
}

/** Bytes of a leaf that entries may use. */
export function leafBytes(dir: Inode): number {
  return dir.vol.sb.blockSize - (dir.vol.sums.on ? F.DE_TAIL_SIZE : 0);
}

export function emptyEntry(dir: Inode, ptr: number, len: number): void {
  dir.vol.dv.setUint32(ptr + F.DE_INODE, 0, true);
  putRecLen(dir, ptr, len);
  dir.vol.dv.setUint16(ptr + F.DE_NAME_LEN, 0, true);
}

/** The field holds 16 bits: in blocks of 64 KiB and more the low two carry on. */
export function putRecLen(dir: Inode, ptr: number, len: number): void {
  const { dv, sb } = dir.vol;
  let raw = len;
  if (sb.blockSize >= 65536) raw = len === 65536 ? 65535 : (len & 65532) | ((len >>> 16) & 3);
  dv.setUint16(ptr + F.DE_REC_LEN, raw, true);
}

/** Writes an entry of `len` bytes at `ptr`. */
export function putEntry(
  dir: Inode,
  ptr: number,
  len: number,
  name: Uint8Array,
  ino: number,
  type: number,
): void {
  const { dv, u8, sb } = dir.vol;
  dv.setUint32(ptr + F.DE_INODE, ino, true);
  putRecLen(dir, ptr, len);
  dv.setUint8(ptr + F.DE_NAME_LEN, name.length);
  dv.setUint8(ptr + F.DE_FILE_TYPE, hasBit(sb.incompat, F.INCOMPAT_FILETYPE) ? type : 0);
  putName(u8, ptr + F.DE_NAME, name);
}

/** Gives the entry at `ptr` another inode; its name stays as it is, which where names fold may differ in case. */
export function retarget(dir: Inode, ptr: number, ino: number, type: number): void {
  const { dv, sb } = dir.vol;
  dv.setUint32(ptr + F.DE_INODE, ino, true);
  if (hasBit(sb.incompat, F.INCOMPAT_FILETYPE)) dv.setUint8(ptr + F.DE_FILE_TYPE, type);
}

/** The offset of an entry in [ptr, ptr + len) that has `need` bytes to spare, or -1. */
export function roomIn(dir: Inode, ptr: number, len: number, need: number): number {
  const { dv } = dir.vol;
  for (let off = 0; off < len; ) {
    const size = recLen(dir, ptr + off);
    const live = dv.getUint32(ptr + off, true) !== 0;
    const isTail = !live && dv.getUint8(ptr + off + F.DE_FILE_TYPE) === F.EXT4_FT_DIR_CSUM;
    const used = live ? entrySize(dv.getUint8(ptr + off + F.DE_NAME_LEN)) : 0;
    if (!isTail && size - used >= need) return off;
    off += size;
  }
  return -1;
}

/** Adds an entry to a block if it has room. */
export function insertIn(
  dir: Inode,
  buffer: Buffer,
  name: Uint8Array,
  ino: number,
  type: number,
): boolean {
  const { dv } = dir.vol;
  const need = entrySize(name.length);
  const off = roomOf(dir, buffer, need);
  if (off < 0) return false;
  const at = buffer.ptr + off;
  const size = recLen(dir, at);
  const live = dv.getUint32(at, true) !== 0;
  const used = live ? entrySize(dv.getUint8(at + F.DE_NAME_LEN)) : 0;
  placeIn(dir, dir.vol.journal!.write(buffer, off, used + need), size, name, ino, type);
  buffer.hint = off + used;
  buffer.hintAge = dir.vol.journal!.undone;
  return true;
}

/** As roomIn(), for a whole block: the newest entry has the slack of the one that it split, as long as
 *  there is some. */
function roomOf(dir: Inode, buffer: Buffer, need: number): number {
  const { hint, ptr } = buffer;
  const { vol } = dir;
  if (hint > 0 && buffer.hintAge === vol.journal!.undone) {
    const used = entrySize(vol.dv.getUint8(ptr + hint + F.DE_NAME_LEN));
    const live = vol.dv.getUint32(ptr + hint, true) !== 0;
    if (live && recLen(dir, ptr + hint) - used >= need) return hint;
  }
  return roomIn(dir, ptr, vol.sb.blockSize, need);
}

/** Puts an entry into the room at `ptr`, an entry of `size` bytes that may be live: its slack then. */
export function placeIn(
  dir: Inode,
  ptr: number,
  size: number,
  name: Uint8Array,
  ino: number,
  type: number,
): void {
  const { dv } = dir.vol;
  const live = dv.getUint32(ptr, true) !== 0;
  const used = live ? entrySize(dv.getUint8(ptr + F.DE_NAME_LEN)) : 0;
  if (live) putRecLen(dir, ptr, used);
  putEntry(dir, ptr + used, size - used, name, ino, type);
}

/** Frees an entry of `size` bytes: it lies `gap` bytes behind the entry at `ptr`, or (gap < 0) is the
 *  one at `ptr`. */
export function dropEntry(dir: Inode, ptr: number, gap: number, size: number): void {
  if (gap < 0) dir.vol.dv.setUint32(ptr + F.DE_INODE, 0, true);
  else putRecLen(dir, ptr, gap + size);
}

/** The entry of a name in checked bytes, and the one before it (-1 for none). EUCLEAN when it is not there. */
export function findWithPrev(
  dir: Inode,
  ptr: number,
  len: number,
  name: Uint8Array,
): { prev: number; off: number; size: number } {
  const off = findOffset(dir, ptr, len, name);
  if (off < 0) throw corrupt('directory', 'a name is gone', { ino: dir.ino });
  let prev = -1;
  for (let at = 0; at < off; at += recLen(dir, ptr + at)) prev = at;
  return { prev, off, size: recLen(dir, ptr + off) };
}
