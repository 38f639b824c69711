// Extent trees, shrinking: blocks of a range go from its end backwards; one step takes what lies in one leaf, or as
// much of it as one handle may free. An extent that goes on behind the range is split first, in a step of its own.
// Nodes that become empty go with their last entry, and parents' keys follow. With bigalloc a cluster is freed with the
// last block that the file has mapped in it.

import { MAP_HOLE } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/ext4.ts';
import { corrupt } from '../errno.ts';
import { checkData, lookupExtent } from './extent.ts';
import { splitStep } from './extentchange.ts';
import {
  type Extent,
  editEntry,
  editNode,
  entriesOf,
  entryPtr,
  extentAt,
  findPath,
  keyAt,
  type Level,
  MAX_LBLK,
  nodePtr,
  putExtent,
  ROOT_MAX,
  setKeys,
} from './extentwrite.ts';
import type { Inode, MapMemo } from './inode.ts';
import { Budget, REMOVE_CREDITS } from './mapspace.ts';

/** Logical blocks [from, to). */
interface Range {
  from: number;
  to: number;
}

/** What becomes of a leaf. */
interface Cut {
  /** Entries [first, end) go. */
  first: number;
  end: number;
  /** Entry `first` - 1 when it is shortened. */
  short: Extent | null;
  /** Entry `end` when its head goes: what is left of it. */
  rest: Extent | null;
  /** False when the budget ended first. */
  done: boolean;
}

/** One step: frees the blocks of [from, to), last ones first. True while more may be left. ENOSPC when an extent cannot
 *  be split. */
export function punchExtents(inode: Inode, from: number, to: number): boolean {
  const range = { from, to: Math.min(to, MAX_LBLK) };
  const path = findPath(inode, range.to - 1);
  const k = path.length - 1;
  const leaf = path[k];
  const budget = new Budget(inode);
  const cut = planLeaf(inode, leaf, range, budget);
  if (cut === null) {
    splitStep(inode, range.to);
    return true;
  }
  const top = emptied(inode, path, cut);
  const nothing = cut.first === leaf.at + 1 && cut.short === null && cut.rest === null;
  if (nothing && (top > k || k === 0)) return false;
  const more = !cut.done || (cut.first === 0 && hasBefore(inode, path, from));
  for (let i = Math.max(1, top); i <= k; i++) budget.nodes.push(path[i].buffer!.pblk);
  budget.prefetch();
  inode.vol.journal!.start(REMOVE_CREDITS);
  budget.spend();
  if (top > k) cutLeaf(inode, path, cut);
  else if (top > 0) dropEntry(inode, path, top - 1);
  else emptyRoot(inode);
  inode.vol.journal!.stop();
  return more;
}

/** Whether extents before the leaf may reach into the range. */
function hasBefore(inode: Inode, path: Level[], from: number): boolean {
  if (path.length === 1) return false;
  const parent = path[path.length - 2];
  const key = keyAt(inode, nodePtr(inode, parent), parent.at);
  return key > from && path.slice(0, -1).some(({ at }) => at > 0);
}

/** Goes through the leaf's extents from the end of the range back: what goes is added to the budget. Null when an
 *  extent has to be split first: blocks on both sides of what goes stay. */
function planLeaf(inode: Inode, leaf: Level, range: Range, budget: Budget): Cut | null {
  const node = nodePtr(inode, leaf);
  const cut: Cut = { first: leaf.at + 1, end: leaf.at + 1, short: null, rest: null, done: true };
  for (; cut.first > 0; cut.first--) {
    const e = extentAt(inode, node, cut.first - 1);
    const end = e.lblk + e.len;
    if (end <= range.from) break;
    checkExtent(inode, e);
    const to = Math.min(end, range.to);
    const want = to - Math.max(e.lblk, range.from);
    const got = budget.take(e.pblk + to - want - e.lblk, want);
    cut.done = got === want;
    const start = to - got;
    if (to < end && start > e.lblk) return null;
    if (got > 0) freePiece(inode, e, { from: start, to }, range.to, budget);
    if (start > e.lblk) {
      if (got > 0) cut.short = { ...e, len: start - e.lblk };
      break;
    }
    if (to === end) continue;
    cut.end--;
    cut.rest = { ...e, lblk: to, pblk: e.pblk + to - e.lblk, len: end - to };
  }
  return cut;
}

function checkExtent(inode: Inode, e: Extent): void {
  checkData(inode, e.pblk, e.len);
  const { clusterBlocks } = inode.vol.sb;
  if (e.pblk % clusterBlocks === e.lblk % clusterBlocks) return;
  const reason = `block ${e.lblk} at ${e.pblk} crosses clusters`;
  throw corrupt('extent', reason, { ino: inode.ino, field: 'ee_start' });
}

/** Adds the clusters of a piece of an extent, except those in which other blocks stay for now: the ones before the
 *  piece, which go after it if at all, and those behind `end`, the end of all that goes. */
function freePiece(inode: Inode, e: Extent, piece: Range, end: number, budget: Budget): void {
  const { clusterBlocks, blocks } = inode.vol.sb;
  let from = piece.from - (piece.from % clusterBlocks);
  let to = Math.ceil(piece.to / clusterBlocks) * clusterBlocks;
  const used = blockIn(inode, Math.max(piece.to, Math.min(end, to)), to) >= 0;
  if (blockIn(inode, from, piece.from) >= 0) from += clusterBlocks;
  if (used) to -= clusterBlocks;
  if (from >= to) return;
  const shift = e.pblk - e.lblk;
  const stop = Math.min(to + shift, blocks);
  budget.add(from + shift, stop - from - shift);
  if (clusterBlocks > 1) budget.keepPromises(from, to);
}

/** Where [from, to) would lie on the device going by its first block that is mapped; -1 when none is. */
export function blockIn(inode: Inode, from: number, to: number): number {
  const map: MapMemo = { lblk: 0, len: 0, pblk: 0, kind: 0 };
  const end = Math.min(to, MAX_LBLK);
  for (let at = from; at < end; at += map.len) {
    lookupExtent(inode, at, map);
    if (map.kind !== MAP_HOLE) return map.pblk - (at - from);
  }
  return -1;
}

/** The highest node of the path that becomes empty with its leaf: only the one above it stays. 0 for the root, one more
 *  than the leaf's place when that stays. */
function emptied(inode: Inode, path: Level[], cut: Cut): number {
  let top = path.length - 1;
  const entries = entriesOf(inode, nodePtr(inode, path[top]));
  if (cut.first > 0 || cut.end < entries) return top + 1;
  while (top > 0 && entriesOf(inode, nodePtr(inode, path[top - 1])) === 1) top--;
  return top;
}

function cutLeaf(inode: Inode, path: Level[], { first, end, short, rest }: Cut): void {
  const k = path.length - 1;
  const leaf = path[k];
  if (short !== null) putExtent(inode, editEntry(inode, leaf, first - 1), short);
  if (rest !== null) putExtent(inode, editEntry(inode, leaf, end), rest);
  if (end > first) closeSlots(inode, leaf, first, end);
  if (first === 0) setKeys(inode, path, k, keyAt(inode, nodePtr(inode, leaf), 0));
}

/** Takes entries [first, end) out of a node; others stay. */
function closeSlots(inode: Inode, level: Level, first: number, end: number): void {
  const { dv, cache } = inode.vol;
  const node = editNode(inode, level);
  const entries = entriesOf(inode, node);
  const bytes = (entries - end) * F.EXT4_EXT_ENTRY_SIZE;
  cache.kernels.exports.copy(entryPtr(node, first), entryPtr(node, end), bytes);
  dv.setUint16(node + F.EH_ENTRIES, entries - (end - first), true);
}

/** Takes the entry that the path goes through out of index node `k`; others stay. */
function dropEntry(inode: Inode, path: Level[], k: number): void {
  const { at } = path[k];
  closeSlots(inode, path[k], at, at + 1);
  if (at === 0) setKeys(inode, path, k, keyAt(inode, nodePtr(inode, path[k]), 0));
}

/** Nothing is mapped any more: an empty leaf in the inode. */
function emptyRoot(inode: Inode): void {
  const { dv } = inode.vol;
  const root = inode.edit() + F.I_BLOCK;
  dv.setUint16(root + F.EH_ENTRIES, 0, true);
  dv.setUint16(root + F.EH_DEPTH, 0, true);
  dv.setUint16(root + F.EH_MAX, ROOT_MAX, true);
  inode.vol.cache.kernels.exports.zero(root + F.EH_SIZE, F.I_BLOCK_SIZE - F.EH_SIZE);
}
