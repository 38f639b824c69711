// Directories: their blocks, checked whole at each load, the linear look-up, and reading them in order. Names are
// raw bytes. A directory never has more blocks than its file system: hostile extent trees end there.

import { ABI_NAME, ABI_RESULT, ABI_RESULT_SIZE } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/ext4.ts';
import type { Buffer } from '../cache/buffer.ts';
import { badChecksum, corrupt } from '../errno.ts';
import { type Flow, step } from '../flow.ts';
import { foldedKey } from './casefold.ts';
import type { FastOverlay } from './fastcommit.ts';
import { hasBit } from './features.ts';
import { lookupHtree } from './htree.ts';
import { inlineAreas } from './inline.ts';
import type { Inode } from './inode.ts';
import { blockOf, mapBlocks } from './iomap.ts';
import { nokeyBytes, nokeyName } from './nokey.ts';
import type { Ext4Volume } from './volume.ts';

/** A buffer checked as a directory block of inode `owner`. */
export const KIND_DIR = 4;
/** Blocks that one step of a scan touches. */
const STEP_BLOCKS = 16;

export interface DirEntry {
  name: Uint8Array;
  ino: number;
  /** EXT4_FT_*; 0 when the file system does not keep types. */
  type: number;
}

/** Where a scan goes on: a directory block, and the byte in it. */
export interface DirCursor {
  ino: number;
  lblk: number;
}

/** The inode number that a name has in a directory, or 0. EUCLEAN, EBADMSG. */
export function* lookupName(dir: Inode, shown: Uint8Array): Flow<number> {
  const name = dir.has(F.EXT4_ENCRYPT_FL) ? (nokeyBytes(shown) ?? shown) : shown;
  const over = dir.vol.fast?.nameIn(dir.ino, name);
  if (over !== undefined) return over;
  const fast = yield* step(lookupStep, dir, name);
  if (fast >= 0) return fast;
  const key = dir.has(F.EXT4_CASEFOLD_FL) ? foldedKey(name) : null;
  for (let lblk = 0; ; ) {
    const found = yield* step(scanFor, { dir, name, key }, lblk);
    if (found.ino !== 0 || found.next < 0) return found.ino;
    lblk = found.next;
  }
}

/** What one step can say: the inode number, 0 for not there, -1 for "scan it". */
export function lookupStep(dir: Inode, name: Uint8Array): number {
  dir.at();
  if (dir.vol.fast?.isNewDir(dir.ino)) return 0;
  if (dir.path === 'inline') return inlineLookup(dir, name);
  if (dir.has(F.EXT4_CASEFOLD_FL)) return -1;
  const indexed = dir.has(F.EXT4_INDEX_FL) && hasBit(dir.vol.sb.compat, F.COMPAT_DIR_INDEX);
  if (indexed && dir.size > dir.vol.sb.blockSize) return lookupHtree(dir, name);
  return dirBlocks(dir) <= 1 ? scanFor({ dir, name, key: null }, 0).ino : -1;
}

interface Search {
  dir: Inode;
  name: Uint8Array;
  /** Folded form to compare instead of the name; null for exact names. */
  key: string | null;
}

/** Looks through some blocks from `lblk` on. `next` is -1 at the end. */
function scanFor(s: Search, lblk: number): { ino: number; next: number } {
  const { dir } = s;
  dir.at();
  if (dir.path === 'inline') return { ino: inlineFolded(s), next: -1 };
  const end = dirBlocks(dir);
  let at = lblk;
  for (let left = STEP_BLOCKS; left > 0 && at < end; left--) {
    const buffer = dirBlock(dir, at);
    if (buffer === null) {
      at = skipHole(dir, at);
      continue;
    }
    const ino = findIn(s, buffer.ptr, dir.vol.sb.blockSize);
    if (ino !== 0) return { ino, next: -1 };
    at++;
  }
  return { ino: 0, next: at < end ? at : -1 };
}

function findIn(s: Search, ptr: number, len: number): number {
  if (s.key === null) return findName(s.dir, ptr, len, s.name);
  for (const entry of entriesIn(s.dir, ptr, len)) {
    if (foldedKey(entry.name) === s.key) return entry.ino;
  }
  return 0;
}

/** The inode number of an exact name in checked entries at `ptr`, or 0. */
export function findName(dir: Inode, ptr: number, len: number, name: Uint8Array): number {
  const { kernels } = dir.vol.cache;
  kernels.u8.set(name, ABI_NAME);
  const off = kernels.exports.dirFind(ptr, len, ABI_NAME, name.length);
  return off < 0 ? 0 : dir.vol.dv.getUint32(ptr + off + F.DE_INODE, true);
}

function inlineLookup(dir: Inode, name: Uint8Array): number {
  const key = dir.has(F.EXT4_CASEFOLD_FL) ? foldedKey(name) : null;
  return inlineFolded({ dir, name, key });
}

function inlineFolded(s: Search): number {
  for (const area of dirAreas(s.dir)) {
    const ino = findIn(s, area.ptr, area.len);
    if (ino !== 0) return ino;
  }
  return 0;
}

/** The entry areas of an inline directory, checked: behind the parent's number, and the xattr's value. */
function dirAreas(dir: Inode): { ptr: number; len: number }[] {
  const [head, ...rest] = inlineAreas(dir);
  const areas = [{ ptr: head.ptr + 4, len: head.len - 4 }, ...rest].filter((a) => a.len > 0);
  for (const { ptr, len } of areas) checkEntries(dir, ptr, len, dir.pblk);
  return areas;
}

/** Blocks of a directory, bounded by the blocks of the file system. */
export function dirBlocks(dir: Inode): number {
  return Math.min(Math.ceil(dir.size / dir.vol.sb.blockSize), dir.vol.sb.blocks);
}

function skipHole(dir: Inode, lblk: number): number {
  const map = mapBlocks(dir, lblk);
  return map.lblk + map.len;
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
  return buffer;
}

function checkEntries(dir: Inode, ptr: number, len: number, block: number): void {
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
function recLen(dir: Inode, ptr: number): number {
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

/** The next entries of a directory in disk order, without "." and ".."; `cursor` moves on. Empty at the end. */
export function* readEntries(dir: Inode, cursor: DirCursor): Flow<DirEntry[]> {
  for (;;) {
    const batch = yield* step(readBatch, dir, cursor.lblk);
    if (dir.vol.fast !== null) amendBatch(dir, dir.vol.fast, cursor.lblk, batch);
    cursor.lblk = batch.next;
    if (batch.entries.length > 0 || batch.next < 0) return batch.entries;
  }
}

/** Takes away what fast commits unlinked; what they added comes with the last batch. */
function amendBatch(
  dir: Inode,
  fast: FastOverlay,
  lblk: number,
  batch: { entries: DirEntry[]; next: number },
): void {
  batch.entries = batch.entries.filter((e) => fast.nameIn(dir.ino, e.name) === undefined);
  if (batch.next >= 0 || lblk < 0) return;
  for (const { name, ino } of fast.added(dir.ino)) batch.entries.push({ name, ino, type: 0 });
}

function readBatch(dir: Inode, lblk: number): { entries: DirEntry[]; next: number } {
  if (lblk < 0 || dir.vol.fast?.isNewDir(dir.ino)) return { entries: [], next: -1 };
  dir.at();
  if (dir.path === 'inline') {
    const entries = dirAreas(dir).flatMap(({ ptr, len }) => entriesIn(dir, ptr, len));
    return { entries, next: -1 };
  }
  const end = dirBlocks(dir);
  const entries: DirEntry[] = [];
  let at = lblk;
  for (let left = STEP_BLOCKS; left > 0 && at < end; left--) {
    const buffer = dirBlock(dir, at);
    if (buffer === null) at = skipHole(dir, at);
    else {
      entries.push(...entriesIn(dir, buffer.ptr, dir.vol.sb.blockSize));
      at++;
    }
  }
  return { entries, next: at < end ? at : -1 };
}

/** The live entries in checked bytes at `ptr`. The names are copies. */
function entriesIn(dir: Inode, ptr: number, len: number): DirEntry[] {
  const { kernels } = dir.vol.cache;
  const copy = kernels.u8.slice(ptr, ptr + len);
  const max = ABI_RESULT_SIZE / 4;
  const found: DirEntry[] = [];
  for (let from = 0; from < len; ) {
    const n = kernels.exports.dirScan(ptr, len, from, ABI_RESULT, max);
    for (let i = 0; i < n; i++) {
      const off = kernels.dv.getUint32(ABI_RESULT + 4 * i, true);
      const entry = decode(dir, copy, off);
      if (entry !== null) found.push(entry);
      from = off + 1;
    }
    if (n < max) break;
    from = from - 1 + recLen(dir, ptr + from - 1);
  }
  if (!dir.has(F.EXT4_ENCRYPT_FL)) return found;
  return found.map((entry) => ({ ...entry, name: nokeyName(dir, entry.name) }));
}

function decode(dir: Inode, bytes: Uint8Array, off: number): DirEntry | null {
  const { sb } = dir.vol;
  const nameLen = bytes[off + F.DE_NAME_LEN];
  const name = bytes.subarray(off + F.DE_NAME, off + F.DE_NAME + nameLen);
  if (isDots(name)) return null;
  const coded = dir.has(F.EXT4_ENCRYPT_FL);
  if (nameLen === 0 || (!coded && name.includes(0x2f))) {
    throw corrupt('directory entry', 'no valid name', { ino: dir.ino, field: 'name' });
  }
  const ino = bytes[off] + bytes[off + 1] * 256 + bytes[off + 2] * 65536 + bytes[off + 3] * 2 ** 24;
  const typed = hasBit(sb.incompat, F.INCOMPAT_FILETYPE);
  return { name, ino, type: typed ? bytes[off + F.DE_FILE_TYPE] & 7 : 0 };
}

function isDots(name: Uint8Array): boolean {
  if (name.length === 1) return name[0] === 0x2e;
  return name.length === 2 && name[0] === 0x2e && name[1] === 0x2e;
}
