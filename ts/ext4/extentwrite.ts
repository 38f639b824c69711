// Extent trees, growing: an extent is merged with its neighbours or inserted, full nodes are split, a full root moves
// down a level. Needs an open handle; a step that fails is undone whole, so nothing here looks ahead for space.

import * as F from '../../assembly/format/ext4.ts';
import type { Buffer } from '../cache/buffer.ts';
import { corrupt, Ext4Error } from '../errno.ts';
import { freeBlocks } from './balloc.ts';
import { checkNode, KIND_EXTENT, loadNode } from './extent.ts';
import type { Inode } from './inode.ts';
import { addBlocks, homeGoal, mappingChanged, newNode } from './mapspace.ts';

/** The longest unwritten extent; a written one has EXT_INIT_MAX_LEN. */
export const UNWRITTEN_MAX_LEN = 32767;
/** Entries in the inode. */
export const ROOT_MAX = 4;
/** Full nodes are split; one with less room was not made by a file system. */
const MIN_SPLIT = 4;
/** Logical blocks end here. */
export const MAX_LBLK = 2 ** 32 - 1;

export interface Extent {
  lblk: number;
  pblk: number;
  len: number;
  unwritten: boolean;
}

/** A node on the way down: the root has no buffer. `at` is the entry taken; in a leaf, the last one that begins at or
 *  before the block looked for, or -1. */
export interface Level {
  buffer: Buffer | null;
  at: number;
}

// ---- nodes and entries

/** Address of a node, until something is changed. */
export function nodePtr(inode: Inode, level: Level): number {
  return level.buffer === null ? inode.at() + F.I_BLOCK : level.buffer.ptr;
}

/** Address of a node for changes anywhere in it. */
export function editNode(inode: Inode, { buffer }: Level): number {
  if (buffer === null) return inode.edit() + F.I_BLOCK;
  return inode.vol.journal!.write(buffer, 0, inode.vol.sb.blockSize);
}

/** Address of one entry for changes. */
export function editEntry(inode: Inode, { buffer }: Level, index: number): number {
  const off = F.EH_SIZE + index * F.EXT4_EXT_ENTRY_SIZE;
  if (buffer === null) return inode.edit() + F.I_BLOCK + off;
  return inode.vol.journal!.write(buffer, off, F.EXT4_EXT_ENTRY_SIZE);
}

/** Address of entry number `index` of a node. */
export function entryPtr(node: number, index: number): number {
  return node + F.EH_SIZE + index * F.EXT4_EXT_ENTRY_SIZE;
}

/** First logical block of an entry, of either kind. */
export function keyAt(inode: Inode, node: number, index: number): number {
  return inode.vol.dv.getUint32(entryPtr(node, index), true);
}

export function entriesOf(inode: Inode, node: number): number {
  return inode.vol.dv.getUint16(node + F.EH_ENTRIES, true);
}

/** The extent number `index` of a leaf. */
export function extentAt(inode: Inode, node: number, index: number): Extent {
  const { dv } = inode.vol;
  const ptr = entryPtr(node, index);
  const raw = dv.getUint16(ptr + F.EE_LEN, true);
  const unwritten = raw > F.EXT_INIT_MAX_LEN;
  const high = dv.getUint16(ptr + F.EE_START_HI, true);
  return {
    lblk: dv.getUint32(ptr + F.EE_BLOCK, true),
    pblk: high * 2 ** 32 + dv.getUint32(ptr + F.EE_START_LO, true),
    len: unwritten ? raw - F.EXT_INIT_MAX_LEN : raw,
    unwritten,
  };
}

/** The block that index entry number `index` leads to. */
export function childAt(inode: Inode, node: number, index: number): number {
  const { dv } = inode.vol;
  const ptr = entryPtr(node, index);
  const high = dv.getUint16(ptr + F.EI_LEAF_HI, true);
  return high * 2 ** 32 + dv.getUint32(ptr + F.EI_LEAF_LO, true);
}

/** Writes an extent at an address. */
export function putExtent(inode: Inode, ptr: number, e: Extent): void {
  const { dv } = inode.vol;
  dv.setUint32(ptr + F.EE_BLOCK, e.lblk, true);
  dv.setUint16(ptr + F.EE_LEN, e.unwritten ? e.len + F.EXT_INIT_MAX_LEN : e.len, true);
  dv.setUint16(ptr + F.EE_START_HI, Math.floor(e.pblk / 2 ** 32), true);
  dv.setUint32(ptr + F.EE_START_LO, e.pblk % 2 ** 32, true);
}

function putIndex(inode: Inode, ptr: number, lblk: number, pblk: number): void {
  const { dv } = inode.vol;
  dv.setUint32(ptr + F.EI_BLOCK, lblk, true);
  dv.setUint32(ptr + F.EI_LEAF_LO, pblk % 2 ** 32, true);
  dv.setUint16(ptr + F.EI_LEAF_HI, Math.floor(pblk / 2 ** 32), true);
  dv.setUint16(ptr + F.EI_UNUSED, 0, true);
}

// ---- the way down

/** The nodes from the root to the leaf where `lblk` is or would be, each checked. Throws Missing;
 *  EUCLEAN, EBADMSG. */
export function findPath(inode: Inode, lblk: number): Level[] {
  const { dv } = inode.vol;
  const path: Level[] = [{ buffer: null, at: -1 }];
  let node = inode.at() + F.I_BLOCK;
  let depth = dv.getUint16(node + F.EH_DEPTH, true);
  checkNode(inode, node, F.I_BLOCK_SIZE, depth, 0, MAX_LBLK, inode.pblk);
  let end = MAX_LBLK;
  for (;;) {
    const level = path[path.length - 1];
    level.at = lastUpTo(inode, node, lblk);
    if (depth === 0) return path;
    level.at = Math.max(0, level.at);
    const first = keyAt(inode, node, level.at);
    if (level.at + 1 < entriesOf(inode, node)) end = keyAt(inode, node, level.at + 1);
    depth--;
    const buffer = loadNode(inode, childAt(inode, node, level.at), depth, first, end);
    node = buffer.ptr;
    path.push({ buffer, at: -1 });
  }
}

/** The last entry that begins at or before `lblk`, or -1. */
function lastUpTo(inode: Inode, node: number, lblk: number): number {
  let low = -1;
  let high = entriesOf(inode, node);
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (keyAt(inode, node, middle) <= lblk) low = middle;
    else high = middle;
  }
  return low;
}

/** The first logical block of what follows the leaf's entry number `at` anywhere in the tree; MAX_LBLK for nothing. */
export function keyAfter(inode: Inode, path: Level[]): number {
  for (let k = path.length - 1; k >= 0; k--) {
    const node = nodePtr(inode, path[k]);
    if (path[k].at + 1 < entriesOf(inode, node)) return keyAt(inode, node, path[k].at + 1);
  }
  return MAX_LBLK;
}

// ---- inserting

/** Maps [lblk, lblk + count), until now a hole, to blocks from `pblk` on. The nodes that this takes are
 *  counted to the
 *  inode, the mapped blocks are not. Needs a handle. ENOSPC; EFBIG past the last block; EUCLEAN when
 *  some of it is mapped. */
export function insertExtent(
  inode: Inode,
  lblk: number,
  pblk: number,
  count: number,
  unwritten: boolean,
): void {
  if (lblk + count > MAX_LBLK) throw new Ext4Error('EFBIG', `block ${lblk + count}`);
  const most = unwritten ? UNWRITTEN_MAX_LEN : F.EXT_INIT_MAX_LEN;
  for (let done = 0; done < count; ) {
    const len = Math.min(most, count - done);
    insertOne(inode, { lblk: lblk + done, pblk: pblk + done, len, unwritten });
    done += len;
  }
  foldRoot(inode);
  mappingChanged(inode);
}

/** insertExtent() of one extent, which has at most the length that one may have; mappingChanged() is the caller's. */
export function insertOne(inode: Inode, e: Extent): void {
  const path = findPath(inode, e.lblk);
  const leaf = path[path.length - 1];
  const node = nodePtr(inode, leaf);
  const left = leaf.at >= 0 ? extentAt(inode, node, leaf.at) : null;
  const overlaps = left !== null && left.lblk + left.len > e.lblk;
  if (overlaps || keyAfter(inode, path) < e.lblk + e.len) {
    throw corrupt('extent tree', `block ${e.lblk} is mapped already`, { ino: inode.ino });
  }
  const inLeaf = leaf.at + 1 < entriesOf(inode, node);
  const right = inLeaf ? extentAt(inode, node, leaf.at + 1) : null;
  if (left !== null && joins(left, e)) return mergeLeft(inode, leaf, left, e, right);
  if (right !== null && joins(e, right)) return mergeRight(inode, path, e, right);
  insertApart(inode, e);
}

/** An entry of its own for an extent, whatever its neighbours are. */
export function insertApart(inode: Inode, e: Extent): void {
  let path = findPath(inode, e.lblk);
  while (!hasRoom(inode, path)) {
    grow(inode);
    path = findPath(inode, e.lblk);
  }
  const k = path.length - 1;
  const ptr = openSlot(inode, path, k, path[k].at + 1, e.lblk);
  putExtent(inode, ptr, e);
}

/** Whether two extents can be one. */
export function joins(a: Extent, b: Extent): boolean {
  const most = a.unwritten ? UNWRITTEN_MAX_LEN : F.EXT_INIT_MAX_LEN;
  return (
    a.unwritten === b.unwritten &&
    a.lblk + a.len === b.lblk &&
    a.pblk + a.len === b.pblk &&
    a.len + b.len <= most
  );
}

function mergeLeft(inode: Inode, leaf: Level, left: Extent, e: Extent, right: Extent | null): void {
  const merged = { ...left, len: left.len + e.len };
  if (right === null || !joins(merged, right)) {
    return putExtent(inode, editEntry(inode, leaf, leaf.at), merged);
  }
  merged.len += right.len;
  const node = editNode(inode, leaf);
  putExtent(inode, entryPtr(node, leaf.at), merged);
  closeSlot(inode, node, leaf.at + 1);
}

function mergeRight(inode: Inode, path: Level[], e: Extent, right: Extent): void {
  const k = path.length - 1;
  const at = path[k].at + 1;
  putExtent(inode, editEntry(inode, path[k], at), { ...e, len: e.len + right.len });
  if (at === 0) setKeys(inode, path, k, e.lblk);
}

/** The first key of node `k` of the path is now `lblk`: its parents say so too. */
export function setKeys(inode: Inode, path: Level[], k: number, lblk: number): void {
  for (let i = k - 1; i >= 0; i--) {
    const { at } = path[i];
    inode.vol.dv.setUint32(editEntry(inode, path[i], at) + F.EI_BLOCK, lblk, true);
    if (at > 0) return;
  }
}

/** Takes entry number `at` out of a node that is open for changes. */
export function closeSlot(inode: Inode, node: number, at: number): void {
  const { dv, cache } = inode.vol;
  const entries = entriesOf(inode, node);
  const bytes = (entries - at - 1) * F.EXT4_EXT_ENTRY_SIZE;
  cache.kernels.exports.copy(entryPtr(node, at), entryPtr(node, at + 1), bytes);
  dv.setUint16(node + F.EH_ENTRIES, entries - 1, true);
}

/** True when a node on the path can take one entry more, so that those below it can be split. */
function hasRoom(inode: Inode, path: Level[]): boolean {
  const { dv } = inode.vol;
  return path.some((level) => {
    const node = nodePtr(inode, level);
    return entriesOf(inode, node) < dv.getUint16(node + F.EH_MAX, true);
  });
}

/** Makes room for an entry with key `lblk` at place `pos` of node `k` and returns its address; parents
 *  follow. Some node
 *  at or above `k` has room. */
function openSlot(inode: Inode, path: Level[], k: number, pos: number, lblk: number): number {
  const { dv, cache } = inode.vol;
  const old = nodePtr(inode, path[k]);
  const entries = entriesOf(inode, old);
  if (entries === dv.getUint16(old + F.EH_MAX, true)) return split(inode, path, k, pos, lblk);
  const node = editNode(inode, path[k]);
  const ptr = entryPtr(node, pos);
  const bytes = (entries - pos) * F.EXT4_EXT_ENTRY_SIZE;
  cache.kernels.exports.copy(ptr + F.EXT4_EXT_ENTRY_SIZE, ptr, bytes);
  dv.setUint16(node + F.EH_ENTRIES, entries + 1, true);
  dv.setUint32(ptr, lblk, true);
  if (pos === 0) setKeys(inode, path, k, lblk);
  return ptr;
}

/** Splits the full node `k`, in the middle, or for what comes last in the file behind all it has. */
function split(inode: Inode, path: Level[], k: number, pos: number, lblk: number): number {
  const { dv, cache } = inode.vol;
  const { exports } = cache.kernels;
  const from = path[k].buffer as Buffer;
  const entries = entriesOf(inode, from.ptr);
  if (entries < MIN_SPLIT)
    throw corrupt('extent header', `${entries}`, {
      ino: inode.ino,
      block: from.pblk,
      field: 'eh_max',
    });
  const last = pos === entries && keyAfter(inode, path.slice(0, k)) === MAX_LBLK;
  const keep = last ? entries : Math.ceil(entries / 2);
  const right = newNode(inode, from.pblk + 1, KIND_EXTENT);
  const left = editNode(inode, path[k]);
  exports.copy(right.ptr, left, F.EH_SIZE);
  dv.setUint16(right.ptr + F.EH_MAX, nodeMax(inode), true);
  exports.copy(
    entryPtr(right.ptr, 0),
    entryPtr(left, keep),
    (entries - keep) * F.EXT4_EXT_ENTRY_SIZE,
  );
  dv.setUint16(right.ptr + F.EH_ENTRIES, entries - keep, true);
  dv.setUint16(left + F.EH_ENTRIES, keep, true);
  const inLeft = !last && pos <= keep;
  const first = last ? lblk : keyAt(inode, right.ptr, 0);
  const parent = path[k - 1];
  const slot = inLeft ? openSlot(inode, path, k, pos, lblk) : 0;
  const index = openSlot(inode, path, k - 1, parent.at + 1, first);
  putIndex(inode, index, first, right.pblk);
  if (inLeft) return slot;
  const alone: Level[] = [{ buffer: right, at: -1 }];
  return openSlot(inode, alone, 0, pos - keep, lblk);
}

/** Entries that a node in a block has room for; the checksum comes behind them. */
function nodeMax(inode: Inode): number {
  return Math.floor((inode.vol.sb.blockSize - F.EH_SIZE) / F.EXT4_EXT_ENTRY_SIZE);
}

/** The root's entries move to a block of their own, one level down. */
function grow(inode: Inode): void {
  const { dv, cache } = inode.vol;
  const { exports } = cache.kernels;
  const old = inode.at() + F.I_BLOCK;
  const depth = dv.getUint16(old + F.EH_DEPTH, true);
  if (depth === F.EXT4_EXT_MAX_DEPTH) throw new Ext4Error('EFBIG', 'the extent tree is full');
  const goal = depth === 0 ? extentAt(inode, old, 0).pblk : childAt(inode, old, 0) + 1;
  const { ptr, pblk } = newNode(inode, goal, KIND_EXTENT);
  const root = inode.edit() + F.I_BLOCK;
  exports.copy(ptr, root, F.I_BLOCK_SIZE);
  dv.setUint16(ptr + F.EH_MAX, nodeMax(inode), true);
  const entries = entriesOf(inode, root);
  const used = entries * F.EXT4_EXT_ENTRY_SIZE;
  exports.zero(ptr + F.EH_SIZE + used, F.I_BLOCK_SIZE - F.EH_SIZE - used);
  const first = keyAt(inode, root, 0);
  exports.zero(root + F.EH_SIZE, F.I_BLOCK_SIZE - F.EH_SIZE);
  dv.setUint16(root + F.EH_ENTRIES, 1, true);
  dv.setUint16(root + F.EH_MAX, ROOT_MAX, true);
  dv.setUint16(root + F.EH_DEPTH, depth + 1, true);
  putIndex(inode, entryPtr(root, 0), first, pblk);
}

/** Takes a tree's only leaf back into the inode when its extents fit there; the leaf's block is freed. */
export function foldRoot(inode: Inode): void {
  const { vol } = inode;
  const root = inode.at() + F.I_BLOCK;
  if (vol.dv.getUint16(root + F.EH_DEPTH, true) !== 1 || entriesOf(inode, root) !== 1) return;
  const leaf = loadNode(inode, childAt(inode, root, 0), 0, keyAt(inode, root, 0), MAX_LBLK);
  const entries = entriesOf(inode, leaf.ptr);
  if (entries > ROOT_MAX) return;
  const to = inode.edit() + F.I_BLOCK;
  const { exports } = vol.cache.kernels;
  const used = F.EH_SIZE + entries * F.EXT4_EXT_ENTRY_SIZE;
  exports.copy(to, leaf.ptr, used);
  exports.zero(to + used, F.I_BLOCK_SIZE - used);
  vol.dv.setUint16(to + F.EH_MAX, ROOT_MAX, true);
  freeBlocks(vol, leaf.pblk, 1, true);
  addBlocks(inode, -vol.sb.clusterBlocks);
}

/** Where to look for a free block for `lblk`: behind what is mapped before it. */
export function extentGoal(inode: Inode, lblk: number): number {
  const path = findPath(inode, lblk);
  const leaf = path[path.length - 1];
  if (leaf.at >= 0) {
    const before = extentAt(inode, nodePtr(inode, leaf), leaf.at);
    return before.pblk + (lblk - before.lblk);
  }
  return leaf.buffer === null ? homeGoal(inode) : leaf.buffer.pblk + 1;
}
