// Extents change their state: written or unwritten. One that changes in part is split; what then fits its neighbours in
// the leaf is merged with them. Needs an open handle; a step that fails is undone whole, so nothing here looks ahead
// for space: who wants to know first asks splitNeeds().

import * as F from '../../assembly/format/ext4.ts';
import { corrupt } from '../errno.ts';
import {
  closeSlot,
  type Extent,
  editEntry,
  editNode,
  entriesOf,
  extentAt,
  findPath,
  foldRoot,
  insertApart,
  insertOne,
  joins,
  type Level,
  nodePtr,
  putExtent,
  UNWRITTEN_MAX_LEN,
} from './extentwrite.ts';
import type { Inode } from './inode.ts';
import { MAP_CREDITS, mappingChanged } from './mapspace.ts';

/** Changed blocks of one convertBlocks() at most: an extent is split in three, which splits each node once. */
export const CONVERT_CREDITS = MAP_CREDITS + 2;
/** Extents that one call changes. */
const MAX_EXTENTS = 64;

/** What becomes of an extent: the middle changes its state; of what is before and behind it, 0 blocks may be left. */
interface Change {
  left: Extent;
  middle: Extent;
  right: Extent;
}

/** Makes mapped blocks from `lblk` on written or unwritten; returns how many, 1 to `count`, are so now: the caller
 *  goes on from there in a further step. Needs a handle with CONVERT_CREDITS. ENOSPC when a node has to be split;
 *  EUCLEAN for a hole. */
export function convertBlocks(inode: Inode, lblk: number, count: number, written: boolean): number {
  const first = findPath(inode, lblk).at(-1) as Level;
  let done = 0;
  for (let i = 0; done < count && i < MAX_EXTENTS; i++) {
    const leaf = findPath(inode, lblk + done).at(-1) as Level;
    if (leaf.buffer !== first.buffer) break;
    const e = extentOver(inode, leaf, lblk + done);
    if (e.unwritten !== written) {
      done += Math.min(count - done, e.lblk + e.len - lblk - done);
      continue;
    }
    const change = changeOf(e, lblk + done, count - done);
    done += change.middle.len;
    if (apply(inode, leaf, change)) break;
  }
  foldRoot(inode);
  mappingChanged(inode);
  return done;
}

/** The extent of a leaf over a block. EUCLEAN for a hole. */
function extentOver(inode: Inode, leaf: Level, lblk: number): Extent {
  const e = leaf.at < 0 ? null : extentAt(inode, nodePtr(inode, leaf), leaf.at);
  if (e !== null && lblk < e.lblk + e.len) return e;
  throw corrupt('extent tree', `block ${lblk} is a hole`, { ino: inode.ino });
}

function changeOf(e: Extent, lblk: number, count: number): Change {
  const before = lblk - e.lblk;
  const most = e.unwritten ? F.EXT_INIT_MAX_LEN : UNWRITTEN_MAX_LEN;
  const len = Math.min(count, e.len - before, most);
  return {
    left: { ...e, len: before },
    middle: { lblk, pblk: e.pblk + before, len, unwritten: !e.unwritten },
    right: { ...e, lblk: lblk + len, pblk: e.pblk + before + len, len: e.len - before - len },
  };
}

/** Puts the parts in the place of the whole, which is where the path to `leaf` leads. True when an entry was added. */
function apply(inode: Inode, leaf: Level, { left, middle, right }: Change): boolean {
  if (left.len > 0) {
    putExtent(inode, editEntry(inode, leaf, leaf.at), left);
    insertOne(inode, middle);
  } else if (right.len > 0 && joinsBefore(inode, leaf, middle)) {
    growBefore(inode, leaf, middle.len);
    putExtent(inode, editEntry(inode, leaf, leaf.at), right);
    return false;
  } else putExtent(inode, editEntry(inode, leaf, leaf.at), middle);
  if (right.len > 0) insertOne(inode, right);
  else if (left.len === 0) mergeAround(inode, leaf);
  return left.len + right.len > 0;
}

function joinsBefore(inode: Inode, leaf: Level, e: Extent): boolean {
  return leaf.at > 0 && joins(extentAt(inode, nodePtr(inode, leaf), leaf.at - 1), e);
}

/** The extent before the leaf's place gets longer. */
function growBefore(inode: Inode, leaf: Level, blocks: number): void {
  const before = extentAt(inode, nodePtr(inode, leaf), leaf.at - 1);
  putExtent(inode, editEntry(inode, leaf, leaf.at - 1), { ...before, len: before.len + blocks });
}

/** Merges the extent at the leaf's place with the one behind it and the one before it, where they fit. */
function mergeAround(inode: Inode, leaf: Level): void {
  mergeNext(inode, leaf, leaf.at);
  mergeNext(inode, leaf, leaf.at - 1);
}

/** Makes one of the leaf's extents `at` and `at` + 1 when that can be. */
export function mergeNext(inode: Inode, leaf: Level, at: number): void {
  const old = nodePtr(inode, leaf);
  if (at < 0 || at + 1 >= entriesOf(inode, old)) return;
  const a = extentAt(inode, old, at);
  const b = extentAt(inode, old, at + 1);
  if (!joins(a, b)) return;
  const node = editNode(inode, leaf);
  closeSlot(inode, node, at + 1);
  putExtent(inode, editEntry(inode, leaf, at), { ...a, len: a.len + b.len });
}

/** One step with a handle of its own: splits the extent over `lblk` in front of it, if one begins before. ENOSPC. */
export function splitStep(inode: Inode, lblk: number): void {
  inode.at();
  inode.vol.journal!.start(MAP_CREDITS);
  splitAt(inode, lblk);
  inode.vol.journal!.stop();
}

/** One step, before [from, to) is punched: an extent that goes on at both sides is split, so that what comes needs no
 *  space. ENOSPC. */
export function prepareHole(inode: Inode, from: number, to: number): void {
  if (!inode.has(F.EXT4_EXTENTS_FL)) return;
  const leaf = findPath(inode, from).at(-1) as Level;
  if (leaf.at < 0) return;
  const e = extentAt(inode, nodePtr(inode, leaf), leaf.at);
  if (e.lblk < from && e.lblk + e.len > to) splitStep(inode, to);
}

function splitAt(inode: Inode, lblk: number): void {
  const leaf = findPath(inode, lblk).at(-1) as Level;
  if (leaf.at < 0) return;
  const e = extentAt(inode, nodePtr(inode, leaf), leaf.at);
  const len = lblk - e.lblk;
  if (len === 0 || len >= e.len) return;
  putExtent(inode, editEntry(inode, leaf, leaf.at), { ...e, len });
  insertApart(inode, { ...e, lblk, pblk: e.pblk + len, len: e.len - len });
  mappingChanged(inode);
}

/** Whether convertBlocks() of these blocks would have to allocate a node, as a leaf has no room for the parts. Throws
 *  Missing; EUCLEAN for a hole at either end. */
export function splitNeeds(inode: Inode, lblk: number, count: number, written = true): boolean {
  const end = lblk + count;
  const a = findPath(inode, lblk).at(-1) as Level;
  const b = findPath(inode, end - 1).at(-1) as Level;
  const first = extentOver(inode, a, lblk);
  const last = extentOver(inode, b, end - 1);
  if (first.lblk === last.lblk) return added(inode, a, lblk, count, written) > roomIn(inode, a);
  const inFirst = added(inode, a, lblk, first.lblk + first.len - lblk, written);
  const inLast = added(inode, b, last.lblk, end - last.lblk, written);
  if (a.buffer === b.buffer) return inFirst + inLast > roomIn(inode, a);
  return inFirst > roomIn(inode, a) || inLast > roomIn(inode, b);
}

function roomIn(inode: Inode, leaf: Level): number {
  const node = nodePtr(inode, leaf);
  return inode.vol.dv.getUint16(node + F.EH_MAX, true) - entriesOf(inode, node);
}

/** Entries that changing a part of the extent at the leaf's place adds. */
function added(inode: Inode, leaf: Level, lblk: number, count: number, written: boolean): number {
  const node = nodePtr(inode, leaf);
  const e = extentAt(inode, node, leaf.at);
  if (e.unwritten !== written) return 0;
  const { left, middle, right } = changeOf(e, lblk, count);
  if (left.len > 0 && right.len > 0) return 2;
  if (left.len > 0) {
    const next = leaf.at + 1;
    return next < entriesOf(inode, node) && joins(middle, extentAt(inode, node, next)) ? 0 : 1;
  }
  return right.len === 0 || joinsBefore(inode, leaf, middle) ? 0 : 1;
}
