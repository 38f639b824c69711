// Hashed directories: from the hash of a name through the index blocks to the leaf that holds it, and on to the
// next leaves while hashes collide. An index that breaks a rule is not used: the directory is scanned instead.

import { ABI_NAME, ABI_RESULT, ABI_SEED } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/ext4.ts';
import { foldName } from './casefold.ts';
import {
  dirBlock,
  dirBlocks,
  findName,
  folds,
  indexOffset,
  NOWHERE,
  type Place,
  putName,
} from './dirblock.ts';
import { hasBit } from './features.ts';
import type { Inode } from './inode.ts';

/** A hash version that the kernel refuses. */
const UNKNOWN = 255;
/** Leaves followed for one hash at most. */
const MAX_COLLISIONS = 1024;

/** A place in the index: the entries of one block, and the one taken. */
export interface Level {
  lblk: number;
  entry: number;
}

/** Looks a name up by its hash: where it is, or null when the index is of no use. Throws Missing; EUCLEAN, EBADMSG of
 *  the blocks on the way. */
export function lookupHtree(dir: Inode, name: Uint8Array): Place | null {
  const path = pathTo(dir, name);
  return path === null ? null : searchLeaves(dir, name, path);
}

/** The way to a leaf of the index. Valid until the step ends or the directory changes. */
export interface IndexPath {
  hash: number;
  levels: Level[];
  /** Where the path ends: a directory block, not checked. */
  leaf: number;
}

/** The way to the leaf where a name is or would go, and its hash; null when the index is of no use.
 *  Throws Missing. */
export function pathTo(dir: Inode, name: Uint8Array): IndexPath | null {
  const top = indexNode(dir, 0, 0);
  if (top === null) return null;
  const root = top.ptr - F.DX_ROOT_ENTRIES;
  const { dv, sb } = dir.vol;
  const levels = dv.getUint8(root + F.DX_ROOT_INDIRECT_LEVELS);
  const most = hasBit(sb.incompat, F.INCOMPAT_LARGEDIR) ? 3 : 2;
  const flags = dv.getUint8(root + F.DX_ROOT_UNUSED_FLAGS);
  const hash = hashOf(dir, dv.getUint8(root + F.DX_ROOT_HASH_VERSION), name);
  return levels >= most || flags % 2 === 1 || hash < 0 ? null : descend(dir, top, hash, levels);
}

/** The hash of a name, or -1 for a version that is not known. */
export function hashOf(dir: Inode, version: number, name: Uint8Array): number {
  putName(dir.vol.u8, ABI_NAME, name);
  return hashAt(dir, version, ABI_NAME, name.length);
}

/** As hashOf(), of a name of `len` bytes at `ptr`. */
export function hashAt(dir: Inode, version: number, ptr: number, len: number): number {
  if (!folds(dir)) return hashBytes(dir, version, ptr, len);
  const form = foldName(dir.vol.u8.slice(ptr, ptr + len));
  dir.vol.u8.set(form, ABI_NAME);
  return hashBytes(dir, version, ABI_NAME, form.length);
}

function hashBytes(dir: Inode, version: number, ptr: number, len: number): number {
  const { vol } = dir;
  const { exports } = vol.cache.kernels;
  const error = exports.dirHash(hashKind(dir, version), ptr, len, ABI_SEED, ABI_RESULT);
  return error < 0 ? -1 : vol.dv.getUint32(ABI_RESULT, true);
}

/** The kernel's number of a hash version. */
export function hashKind({ vol }: Inode, version: number): number {
  if (version > F.DX_HASH_TEA) return version > F.DX_HASH_TEA_UNSIGNED ? UNKNOWN : version;
  return vol.unsignedHash ? version + 3 : version;
}

/** The way from the root's entries to a leaf: one level an index block. Null when a block breaks a rule. */
function descend(dir: Inode, top: Node, hash: number, below: number): IndexPath | null {
  const levels: Level[] = [{ lblk: 0, entry: search(dir, top, hash) }];
  let leaf = childOf(dir, top, levels[0].entry);
  for (let level = 1; level <= below; level++) {
    const node = indexNode(dir, leaf, level);
    if (node === null || isAbove(levels, leaf)) return null;
    levels.push({ lblk: leaf, entry: search(dir, node, hash) });
    leaf = childOf(dir, node, levels[level].entry);
  }
  return { hash, levels, leaf };
}

function isAbove(levels: Level[], lblk: number): boolean {
  return levels.some((l) => l.lblk === lblk);
}

export interface Node {
  ptr: number;
  count: number;
}

/** The entries of an index block, checked; null when it breaks a rule. Throws Missing. */
export function indexNode(dir: Inode, lblk: number, level: number): Node | null {
  if (lblk >= dirBlocks(dir)) return null;
  const buffer = dirBlock(dir, lblk);
  if (buffer === null) return null;
  const off = indexOffset(dir, buffer.ptr);
  if (off !== (level === 0 ? F.DX_ROOT_ENTRIES : F.DX_NODE_ENTRIES)) return null;
  const { dv, sb } = dir.vol;
  const ptr = buffer.ptr + off;
  const limit = dv.getUint16(ptr + F.DX_LIMIT, true);
  const count = dv.getUint16(ptr + F.DX_COUNT, true);
  const tail = dir.vol.sums.on ? F.DX_TAIL_SIZE : 0;
  const room = Math.floor((sb.blockSize - off - tail) / F.DX_ENTRY_SIZE);
  return limit === room && count >= 1 && count <= limit ? { ptr, count } : null;
}

/** The last entry whose hash is not above `hash`; entry 0 stands for everything below entry 1. */
function search(dir: Inode, node: Node, hash: number): number {
  const { dv } = dir.vol;
  let low = 1;
  let high = node.count;
  while (low < high) {
    const mid = Math.floor((low + high) / 2);
    if (dv.getUint32(node.ptr + mid * F.DX_ENTRY_SIZE + F.DX_HASH, true) > hash) high = mid;
    else low = mid + 1;
  }
  return low - 1;
}

export function childOf(dir: Inode, node: Node, entry: number): number {
  const raw = dir.vol.dv.getUint32(node.ptr + entry * F.DX_ENTRY_SIZE + F.DX_BLOCK, true);
  return raw % 2 ** 28;
}

function searchLeaves(dir: Inode, name: Uint8Array, way: IndexPath): Place | null {
  const path = way.levels;
  for (let i = 0; i < MAX_COLLISIONS; i++) {
    const last = path[path.length - 1];
    const node = indexNode(dir, last.lblk, path.length - 1);
    if (node === null) return null;
    const leaf = childOf(dir, node, last.entry);
    const buffer = leaf > 0 && leaf < dirBlocks(dir) ? dirBlock(dir, leaf) : null;
    if (buffer === null) return null;
    const ino = findName(dir, buffer.ptr, dir.vol.sb.blockSize, name);
    if (ino !== 0) return { ino, lblk: leaf };
    const more = nextLeaf(dir, way.hash, path);
    if (more === null) return null;
    if (!more) return i === 0 ? { ino: 0, lblk: -1, path: way } : NOWHERE;
  }
  return null;
}

/** Moves the path to the next leaf if names of the same hash go on there, else leaves it. Null when a block breaks a
 *  rule. */
function nextLeaf(dir: Inode, hash: number, path: Level[]): boolean | null {
  let level = path.length - 1;
  for (; ; level--) {
    if (level < 0) return false;
    const node = indexNode(dir, path[level].lblk, level);
    if (node === null) return null;
    const entry = path[level].entry + 1;
    if (entry >= node.count) continue;
    const next = dir.vol.dv.getUint32(node.ptr + entry * F.DX_ENTRY_SIZE, true);
    if (next !== hash + 1) return false; // the low bit says that the hash before goes on here
    path[level].entry = entry;
    break;
  }
  for (; level + 1 < path.length; level++) {
    const node = indexNode(dir, path[level].lblk, level);
    if (node === null) return null;
    path[level + 1] = { lblk: childOf(dir, node, path[level].entry), entry: 0 };
  }
  return true;
}
