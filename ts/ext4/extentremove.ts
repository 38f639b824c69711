// Extent trees, shrinking from the end: one step takes the last leaf, or as much of it as one handle may free. Nodes
// that become empty go with it, so keys never change: only last entries vanish. With bigalloc a cluster is freed with
// the first of its blocks: what lies behind in the same cluster went before.

import { MAP_HOLE } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/ext4.ts';
import { corrupt } from '../errno.ts';
import { checkData, lookupExtent } from './extent.ts';
import {
  type Extent,
  editEntry,
  editNode,
  entriesOf,
  extentAt,
  findPath,
  type Level,
  MAX_LBLK,
  nodePtr,
  putExtent,
  ROOT_MAX,
} from './extentwrite.ts';
import type { Inode, MapMemo } from './inode.ts';
import { Budget, REMOVE_CREDITS } from './mapspace.ts';

/** What becomes of the last leaf. */
interface Cut {
  /** Extents that stay. */
  keep: number;
  /** The last of them when it is shortened. */
  short: Extent | null;
  /** False when the budget ended first. */
  done: boolean;
}

/** One step: frees blocks at and behind `from`, last ones first. True while more may be left. */
export function removeExtents(inode: Inode, from: number): boolean {
  const path = findPath(inode, MAX_LBLK);
  const k = path.length - 1;
  const entries = entriesOf(inode, nodePtr(inode, path[k]));
  if (k === 0 && entries === 0) return false;
  const budget = new Budget(inode);
  const cut = planLeaf(inode, path[k], from, budget);
  const top = cut.keep === 0 ? emptied(inode, path) : k + 1;
  if (cut.keep === entries && cut.short === null && top > k) return false;
  for (let i = Math.max(1, top); i <= k; i++) budget.nodes.push(path[i].buffer!.pblk);
  budget.prefetch();
  const { journal } = inode.vol;
  journal!.start(REMOVE_CREDITS);
  budget.spend();
  if (top > k) cutLeaf(inode, path[k], cut);
  else if (top > 0) dropLast(inode, path[top - 1]);
  else emptyRoot(inode);
  journal!.stop();
  return top > k ? !cut.done : top > 0;
}

/** Goes through the leaf's extents from the last one back: what goes is added to the budget. */
function planLeaf(inode: Inode, leaf: Level, from: number, budget: Budget): Cut {
  const node = nodePtr(inode, leaf);
  let keep = entriesOf(inode, node);
  while (keep > 0) {
    const e = extentAt(inode, node, keep - 1);
    if (e.lblk + e.len <= from) break;
    checkExtent(inode, e);
    const want = e.lblk + e.len - Math.max(e.lblk, from);
    const got = budget.take(e.pblk + e.len - want, want);
    if (got > 0) freeTail(inode, e, got, budget);
    const short = got > 0 && got < e.len ? { ...e, len: e.len - got } : null;
    if (got < want || got < e.len) return { keep, short, done: got === want };
    keep--;
  }
  return { keep, short: null, done: true };
}

function checkExtent(inode: Inode, e: Extent): void {
  checkData(inode, e);
  const { clusterBlocks } = inode.vol.sb;
  if (e.pblk % clusterBlocks === e.lblk % clusterBlocks) return;
  const reason = `block ${e.lblk} at ${e.pblk} crosses clusters`;
  throw corrupt('extent', reason, { ino: inode.ino, field: 'ee_start' });
}

/** Adds the clusters of the last `count` blocks of an extent, except one that blocks before them use. */
function freeTail(inode: Inode, e: Extent, count: number, budget: Budget): void {
  const { clusterBlocks, blocks } = inode.vol.sb;
  const start = e.lblk + e.len - count;
  const into = start % clusterBlocks;
  let from = start - into;
  if (into > 0 && blockIn(inode, from, start) >= 0) from += clusterBlocks;
  const to = Math.ceil((e.lblk + e.len) / clusterBlocks) * clusterBlocks;
  const shift = e.pblk - e.lblk;
  const end = Math.min(to + shift, blocks);
  if (from + shift < end) budget.add(from + shift, end - from - shift);
}

/** Where [from, to) would lie on the device going by its first block that is mapped; -1 when none is. */
export function blockIn(inode: Inode, from: number, to: number): number {
  const map: MapMemo = { lblk: 0, len: 0, pblk: 0, kind: 0 };
  for (let at = from; at < to; at += map.len) {
    lookupExtent(inode, at, map);
    if (map.kind !== MAP_HOLE) return map.pblk - (at - from);
  }
  return -1;
}

/** The highest node of the path that becomes empty with its leaf: only the one above it stays. 0 for the root. */
function emptied(inode: Inode, path: Level[]): number {
  let top = path.length - 1;
  while (top > 0 && entriesOf(inode, nodePtr(inode, path[top - 1])) === 1) top--;
  return top;
}

function cutLeaf(inode: Inode, leaf: Level, { keep, short }: Cut): void {
  const node = editNode(inode, leaf);
  inode.vol.dv.setUint16(node + F.EH_ENTRIES, keep, true);
  if (short !== null) putExtent(inode, editEntry(inode, leaf, keep - 1), short);
}

/** Takes the last entry out of an index node; others stay. */
function dropLast(inode: Inode, level: Level): void {
  const node = editNode(inode, level);
  inode.vol.dv.setUint16(node + F.EH_ENTRIES, entriesOf(inode, node) - 1, true);
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
