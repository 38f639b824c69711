// Looking a name up in a directory, and reading directories in order. Names are raw bytes; encrypted ones are shown
// coded, folded ones compared folded.

import { ABI_RESULT, ABI_RESULT_SIZE } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/ext4.ts';
import { corrupt, Ext4Error } from '../errno.ts';
import { type Flow, step } from '../flow.ts';
import { isText } from './casefold.ts';
import {
  checkEntries,
  dirBlock,
  dirBlocks,
  findName,
  folds,
  NOWHERE,
  type Place,
  recLen,
} from './dirblock.ts';
import type { FastOverlay } from './fastcommit.ts';
import { hasBit } from './features.ts';
import { lookupHtree } from './htree.ts';
import { inlineAreas } from './inline.ts';
import type { Inode } from './inode.ts';
import { mapBlocks } from './iomap.ts';
import { NOKEY_CUT, nokeyBytes, nokeyName } from './nokey.ts';

/** Blocks that one step of a scan touches. */
const STEP_BLOCKS = 16;
const DOTDOT = new Uint8Array([0x2e, 0x2e]);

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
  return (yield* findEntry(dir, shown)).ino;
}

/** Where a name is in a directory. EUCLEAN, EBADMSG. */
export function* findEntry(dir: Inode, shown: Uint8Array): Flow<Place> {
  if (dir.has(F.EXT4_ENCRYPT_FL)) return yield* findEncrypted(dir, nokeyBytes(shown) ?? shown);
  if (isStrict(dir) && !isText(shown)) throw new Ext4Error('EINVAL', 'the name is not UTF-8');
  return yield* findStored(dir, shown);
}

/** With the bytes that the entry has for its name. */
function* findEncrypted(dir: Inode, name: Uint8Array): Flow<Place> {
  const place = yield* findStored(dir, name);
  const key = searchKey(dir, name);
  if (place.ino === 0) return place;
  const stored = key === null ? name : yield* step(cutName, dir, place.lblk, key);
  return { ...place, stored };
}

/** The bytes of a name that is shown cut, from the block that has it. */
function cutName(dir: Inode, lblk: number, key: string): Uint8Array {
  const block = lblk < 0 ? null : dirBlock(dir, lblk);
  const areas = block === null ? dirAreas(dir) : [{ ptr: block.ptr, len: dir.vol.sb.blockSize }];
  for (const { ptr, len } of areas) {
    for (const { name } of rawEntries(dir, ptr, len)) {
      if (String.fromCharCode(...nokeyName(dir, name)) === key) return name;
    }
  }
  throw corrupt('directory', 'a name is gone', { ino: dir.ino });
}

function* findStored(dir: Inode, name: Uint8Array): Flow<Place> {
  const over = dir.vol.fast?.nameIn(dir.ino, name);
  if (over !== undefined) return { ino: over, lblk: -1 };
  const fast = yield* step(lookupStep, dir, name);
  if (fast !== null) return fast;
  const key = searchKey(dir, name);
  for (let lblk = 0; ; ) {
    const found = yield* step(scanFor, { dir, name, key }, lblk);
    if (found.ino !== 0 || found.next < 0) return found;
    lblk = found.next;
  }
}

/** Whether the directory folds names and refuses what is no text. */
function isStrict(dir: Inode): boolean {
  return folds(dir) && hasBit(dir.vol.sb.u16(F.S_ENCODING_FLAGS), F.EXT4_ENC_STRICT_MODE_FL);
}

/** The coded form of an encrypted name that was cut: it is compared with those of the entries. */
function searchKey(dir: Inode, name: Uint8Array): string | null {
  return dir.has(F.EXT4_ENCRYPT_FL) && isCutName(name) ? String.fromCharCode(...name) : null;
}

function isCutName(shown: Uint8Array): boolean {
  return shown.length === NOKEY_CUT && nokeyBytes(shown) === null;
}

/** What one step can say: where the name is, or null for "scan it". */
export function lookupStep(dir: Inode, name: Uint8Array): Place | null {
  dir.at();
  if (dir.vol.fast?.isNewDir(dir.ino)) return NOWHERE;
  if (dir.path === 'inline') return { ino: inlineLookup(dir, name), lblk: -1 };
  if (dir.has(F.EXT4_ENCRYPT_FL) && isCutName(name)) return null;
  const indexed = dir.has(F.EXT4_INDEX_FL) && hasBit(dir.vol.sb.compat, F.COMPAT_DIR_INDEX);
  if (indexed && dir.size > dir.vol.sb.blockSize) return lookupHtree(dir, name);
  return dirBlocks(dir) <= 1 ? scanFor({ dir, name, key: null }, 0) : null;
}

/** The inode number that ".." has: in the inode of an inline directory, in the first block of any other (an index does
 *  not lead there). Throws Missing; EUCLEAN when there is none. */
export function parentStep(dir: Inode): number {
  const ptr = dir.at();
  const first = dir.path === 'inline' ? null : dirBlock(dir, 0);
  let ino = 0;
  if (dir.path === 'inline') ino = dir.vol.dv.getUint32(ptr + F.I_BLOCK, true);
  else if (first !== null) ino = findName(dir, first.ptr, dir.vol.sb.blockSize, DOTDOT);
  if (ino === 0) throw corrupt('directory', 'no ".."', { ino: dir.ino });
  return ino;
}

interface Search {
  dir: Inode;
  name: Uint8Array;
  /** What to compare with the coded forms of the entries; null for names that are there whole. */
  key: string | null;
}

/** Looks through some blocks from `lblk` on. `next` is -1 at the end. */
function scanFor(s: Search, lblk: number): Place & { next: number } {
  const { dir } = s;
  dir.at();
  if (dir.path === 'inline') return { ino: inlineFolded(s), lblk: -1, next: -1 };
  const end = dirBlocks(dir);
  let at = lblk;
  for (let left = STEP_BLOCKS; left > 0 && at < end; left--) {
    const buffer = dirBlock(dir, at);
    if (buffer === null) {
      at = skipHole(dir, at);
      continue;
    }
    const ino = findIn(s, buffer.ptr, dir.vol.sb.blockSize);
    if (ino !== 0) return { ino, lblk: at, next: -1 };
    at++;
  }
  return { ino: 0, lblk: -1, next: at < end ? at : -1 };
}

function findIn(s: Search, ptr: number, len: number): number {
  if (s.key === null) return findName(s.dir, ptr, len, s.name);
  for (const entry of entriesIn(s.dir, ptr, len)) {
    if (String.fromCharCode(...entry.name) === s.key) return entry.ino;
  }
  return 0;
}

function inlineLookup(dir: Inode, name: Uint8Array): number {
  const key = searchKey(dir, name);
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

function skipHole(dir: Inode, lblk: number): number {
  const map = mapBlocks(dir, lblk);
  return map.lblk + map.len;
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

/** The live entries in checked bytes at `ptr`, encrypted names as they are shown. The names are copies. */
function entriesIn(dir: Inode, ptr: number, len: number): DirEntry[] {
  const found = rawEntries(dir, ptr, len);
  if (!dir.has(F.EXT4_ENCRYPT_FL)) return found;
  return found.map((entry) => ({ ...entry, name: nokeyName(dir, entry.name) }));
}

function rawEntries(dir: Inode, ptr: number, len: number): DirEntry[] {
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
  return found;
}

function decode(dir: Inode, bytes: Uint8Array, off: number): DirEntry | null {
  const { sb } = dir.vol;
  const nameLen = bytes[off + F.DE_NAME_LEN];
  const name = bytes.subarray(off + F.DE_NAME, off + F.DE_NAME + nameLen);
  if (isDots(name)) return null;
  const coded = dir.has(F.EXT4_ENCRYPT_FL);
  if (nameLen === 0 || (!coded && (name.includes(0x2f) || name.includes(0)))) {
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
