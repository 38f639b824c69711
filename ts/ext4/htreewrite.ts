// Growing hashed directories: a full leaf is split in two by hash, a full index block likewise, and when all of them
// are full the tree gets a level. Everything happens in one handle.

import { ABI_SEED } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/ext4.ts';
import type { Buffer } from '../cache/buffer.ts';
import { Ext4Error } from '../errno.ts';
import { dirBlock, dirBlocks, folds, recLen } from './dirblock.ts';
import { hasBit } from './features.ts';
import {
  hashAt,
  hashKind,
  type IndexPath,
  indexNode,
  type Level,
  type Node,
  pathTo,
} from './htree.ts';
import type { Inode } from './inode.ts';
import {
  appendLeaf,
  emptyEntry,
  entrySize,
  insertIn,
  leafBytes,
  newDirBlock,
  putRecLen,
} from './leafwrite.ts';

/** Adds a name to the leaf of its hash, which `found` leads to when it is known. False when the index cannot be used.
 *  Needs a handle. ENOSPC at the last level. */
export function insertIndexed(
  dir: Inode,
  name: Uint8Array,
  ino: number,
  type: number,
  found?: IndexPath,
): boolean {
  const path = found ?? pathTo(dir, name);
  if (path === null) return false;
  const leaf = leafAt(dir, path.leaf);
  if (leaf === null) return false;
  if (insertIn(dir, leaf, name, ino, type)) return true;
  const levels = makeIndexRoom(dir, path.levels, path.hash);
  const half = splitLeaf(dir, leaf, levels, path.hash);
  if (insertIn(dir, half, name, ino, type)) return true;
  throw new Ext4Error('ENOSPC', 'a leaf of names with one hash is full');
}

function leafAt(dir: Inode, lblk: number): Buffer | null {
  return lblk > 0 && lblk < dirBlocks(dir) ? dirBlock(dir, lblk) : null;
}

/** Makes the only block of a directory the root of an index over one leaf that has its entries. False when the block
 *  does not begin with "." and "..". Needs a handle. */
export function makeIndexed(dir: Inode): boolean {
  const { vol } = dir;
  const { sb, dv } = vol;
  const root = dirBlock(dir, 0);
  if (root === null || recLen(dir, root.ptr) !== 12) return false;
  const first = 12 + recLen(dir, root.ptr + 12);
  if (first > leafBytes(dir) || dv.getUint8(root.ptr + 12 + F.DE_NAME_LEN) !== 2) return false;
  const leaf = appendLeaf(dir);
  const ptr = vol.journal!.write(root, 0, sb.blockSize);
  root.hint = 0;
  const { exports } = vol.cache.kernels;
  if (first < leafBytes(dir)) exports.copy(leaf.ptr, ptr + first, leafBytes(dir) - first);
  stretchLast(dir, leaf.ptr, leafBytes(dir) - first);
  exports.zero(ptr + F.DX_ROOT_INFO, sb.blockSize - F.DX_ROOT_INFO);
  putRecLen(dir, ptr + 12, sb.blockSize - 12);
  dv.setUint8(ptr + F.DX_ROOT_HASH_VERSION, sb.u8(F.S_DEF_HASH_VERSION));
  dv.setUint8(ptr + F.DX_ROOT_INFO_LENGTH, 8);
  putLimit(dir, ptr + F.DX_ROOT_ENTRIES, room(dir, F.DX_ROOT_ENTRIES), 1);
  dv.setUint32(ptr + F.DX_ROOT_ENTRIES + F.DX_BLOCK, dirBlocks(dir) - 1, true);
  dir.setFlags(dir.flags | F.EXT4_INDEX_FL);
  return true;
}

/** Makes the last of the entries in [ptr, ptr + len) reach to the end of the leaf. */
function stretchLast(dir: Inode, ptr: number, len: number): void {
  let last = -1;
  for (let off = 0; off < len; off += recLen(dir, ptr + off)) last = off;
  if (last < 0) emptyEntry(dir, ptr, leafBytes(dir));
  else putRecLen(dir, ptr + last, leafBytes(dir) - last);
}

/** Index entries that fit behind byte `off` of a block. */
function room(dir: Inode, off: number): number {
  const tail = dir.vol.sums.on ? F.DX_TAIL_SIZE : 0;
  return Math.floor((dir.vol.sb.blockSize - off - tail) / F.DX_ENTRY_SIZE);
}

function putLimit(dir: Inode, ptr: number, limit: number, count: number): void {
  dir.vol.dv.setUint16(ptr + F.DX_LIMIT, limit, true);
  dir.vol.dv.setUint16(ptr + F.DX_COUNT, count, true);
}

function entriesAt(level: number): number {
  return level === 0 ? F.DX_ROOT_ENTRIES : F.DX_NODE_ENTRIES;
}

function nodeAt(dir: Inode, levels: Level[], level: number): Node {
  const node = indexNode(dir, levels[level].lblk, level);
  if (node === null) throw new Ext4Error('EUCLEAN', { record: 'directory index', ino: dir.ino });
  return node;
}

/** Sees to it that the lowest index block on the path has room for one more entry; returns the path as it is then. */
function makeIndexRoom(dir: Inode, levels: Level[], hash: number): Level[] {
  let path = levels;
  for (;;) {
    const bottom = path.length - 1;
    if (hasRoom(dir, path, bottom)) return path;
    let level = bottom;
    while (level > 0 && !hasRoom(dir, path, level - 1)) level--;
    if (level === 0) path = growRoot(dir, path);
    else path = splitIndex(dir, path, level, hash);
  }
}

function hasRoom(dir: Inode, levels: Level[], level: number): boolean {
  return nodeAt(dir, levels, level).count < room(dir, entriesAt(level));
}

/** Moves the root's entries one level down. ENOSPC when the tree may not be deeper. */
function growRoot(dir: Inode, levels: Level[]): Level[] {
  const { vol } = dir;
  const most = hasBit(vol.sb.incompat, F.INCOMPAT_LARGEDIR) ? 3 : 2;
  if (levels.length >= most) throw new Ext4Error('ENOSPC', 'the directory index is full');
  const { count } = nodeAt(dir, levels, 0);
  const lblk = dirBlocks(dir);
  const child = newIndexBlock(dir, lblk);
  const root = dirBlock(dir, 0) as Buffer;
  const ptr = vol.journal!.write(root, 0, vol.sb.blockSize);
  const bytes = count * F.DX_ENTRY_SIZE;
  vol.cache.kernels.exports.copy(child.ptr + F.DX_NODE_ENTRIES, ptr + F.DX_ROOT_ENTRIES, bytes);
  putLimit(dir, child.ptr + F.DX_NODE_ENTRIES, room(dir, F.DX_NODE_ENTRIES), count);
  putLimit(dir, ptr + F.DX_ROOT_ENTRIES, room(dir, F.DX_ROOT_ENTRIES), 1);
  vol.dv.setUint32(ptr + F.DX_ROOT_ENTRIES + F.DX_BLOCK, lblk, true);
  vol.dv.setUint8(ptr + F.DX_ROOT_INDIRECT_LEVELS, levels.length);
  return [{ lblk: 0, entry: 0 }, { lblk, entry: levels[0].entry }, ...levels.slice(1)];
}

function newIndexBlock(dir: Inode, lblk: number): Buffer {
  const buffer = newDirBlock(dir, lblk);
  dir.vol.cache.kernels.exports.zero(buffer.ptr, dir.vol.sb.blockSize);
  putRecLen(dir, buffer.ptr, dir.vol.sb.blockSize);
  return buffer;
}

/** Splits the full index block at `level`, whose parent has room. */
function splitIndex(dir: Inode, levels: Level[], level: number, hash: number): Level[] {
  const { vol } = dir;
  const { dv } = vol;
  const lblk = dirBlocks(dir);
  const fresh = newIndexBlock(dir, lblk);
  const old = dirBlock(dir, levels[level].lblk) as Buffer;
  const from = vol.journal!.write(old, 0, vol.sb.blockSize) + F.DX_NODE_ENTRIES;
  const count = dv.getUint16(from + F.DX_COUNT, true);
  const stay = Math.floor(count / 2);
  const split = dv.getUint32(from + stay * F.DX_ENTRY_SIZE + F.DX_HASH, true);
  const to = fresh.ptr + F.DX_NODE_ENTRIES;
  const bytes = (count - stay) * F.DX_ENTRY_SIZE;
  vol.cache.kernels.exports.copy(to, from + stay * F.DX_ENTRY_SIZE, bytes);
  putLimit(dir, to, room(dir, F.DX_NODE_ENTRIES), count - stay);
  dv.setUint16(from + F.DX_COUNT, stay, true);
  insertIndex(dir, levels, level - 1, split, lblk);
  if (hash < split) return levels;
  const path = levels.map((l) => ({ ...l }));
  path[level - 1].entry++;
  path[level] = { lblk, entry: path[level].entry - stay };
  return path;
}

/** Adds (hash, block) behind the entry that the path takes at `level`. */
function insertIndex(
  dir: Inode,
  levels: Level[],
  level: number,
  hash: number,
  block: number,
): void {
  const { vol } = dir;
  const buffer = dirBlock(dir, levels[level].lblk) as Buffer;
  const base = vol.journal!.write(buffer, 0, vol.sb.blockSize) + entriesAt(level);
  const count = vol.dv.getUint16(base + F.DX_COUNT, true);
  const at = base + (levels[level].entry + 1) * F.DX_ENTRY_SIZE;
  const end = base + count * F.DX_ENTRY_SIZE;
  vol.cache.kernels.exports.copy(at + F.DX_ENTRY_SIZE, at, end - at);
  vol.dv.setUint32(at + F.DX_HASH, hash, true);
  vol.dv.setUint32(at + F.DX_BLOCK, block, true);
  vol.dv.setUint16(base + F.DX_COUNT, count + 1, true);
}

/** Bytes of a record of dirHashes: an entry's size (u16), its offset (u16), its hash (u32). */
const RECORD = 8;
const RECORD_HASH = 4;

/** Splits the full leaf at the end of a path, whose index block has room; returns the half where `hash` belongs. */
function splitLeaf(dir: Inode, old: Buffer, levels: Level[], hash: number): Buffer {
  const { cache, dv, journal, sb } = dir.vol;
  const { exports } = cache.kernels;
  const lblk = dirBlocks(dir);
  const fresh = appendLeaf(dir);
  const ptr = journal!.write(old, 0, sb.blockSize);
  old.hint = 0;
  const scratch = cache.allocUnits(2); // given back below: nothing in between throws
  const copy = cache.arena.ptr(scratch);
  const records = copy + sb.blockSize;
  exports.copy(copy, ptr, sb.blockSize);
  const count = sortEntries(dir, copy, records);
  const stay = splitAt(dir, records, count);
  const rest = records + stay * RECORD;
  const split = dv.getUint32(rest + RECORD_HASH, true);
  const goesOn = dv.getUint32(rest - RECORD + RECORD_HASH, true) === split;
  exports.dirPack(fresh.ptr, copy, rest, count - stay, leafBytes(dir));
  exports.dirPack(ptr, copy, records, stay, leafBytes(dir));
  cache.arena.free(scratch, 2);
  insertIndex(dir, levels, levels.length - 1, goesOn ? split + 1 : split, lblk);
  return hash >= split ? fresh : old;
}

/** Records of the live entries of a leaf to `out`, by hash; how many. */
function sortEntries(dir: Inode, ptr: number, out: number): number {
  const { dv, sb, cache } = dir.vol;
  const { exports } = cache.kernels;
  const version = dv.getUint8((dirBlock(dir, 0) as Buffer).ptr + F.DX_ROOT_HASH_VERSION);
  const kind = hashKind(dir, version);
  const count = folds(dir)
    ? foldedHashes(dir, version, ptr, out)
    : exports.dirHashes(ptr, sb.blockSize, kind, ABI_SEED, out);
  exports.sort64(out, count);
  return count;
}

/** As the kernel dirHashes, where names fold. */
function foldedHashes(dir: Inode, version: number, ptr: number, out: number): number {
  const { dv } = dir.vol;
  let to = out;
  for (let off = 0; off < leafBytes(dir); off += recLen(dir, ptr + off)) {
    if (dv.getUint32(ptr + off, true) === 0) continue;
    const len = dv.getUint8(ptr + off + F.DE_NAME_LEN);
    dv.setUint16(to, entrySize(len), true);
    dv.setUint16(to + 2, off, true);
    dv.setUint32(to + RECORD_HASH, hashAt(dir, version, ptr + off + F.DE_NAME, len), true);
    to += RECORD;
  }
  return (to - out) / RECORD;
}

/** How many entries stay: the upper half, by bytes, goes. */
function splitAt(dir: Inode, records: number, count: number): number {
  const { dv } = dir.vol;
  const half = leafBytes(dir) / 2;
  let size = 0;
  let stay = count;
  for (; stay > 1; stay--) {
    const last = dv.getUint16(records + (stay - 1) * RECORD, true);
    if (size + last / 2 > half) break;
    size += last;
  }
  return Math.min(stay, count - 1);
}
