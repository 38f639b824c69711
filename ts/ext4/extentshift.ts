// Extents move within a file, for ranges that are taken out or put in: to the left from the front, to the right
// from the end, one leaf a step, so that each step leaves a sound tree. Where it stands is a logical block, the
// cursor.

import * as F from '../../assembly/format/ext4.ts';
import { corrupt, Ext4Error } from '../errno.ts';
import { mergeNext, splitStep } from './extentchange.ts';
import {
  type Extent,
  editNode,
  entriesOf,
  entryPtr,
  extentAt,
  findPath,
  keyAfter,
  keyAt,
  type Level,
  MAX_LBLK,
  nodePtr,
  setKeys,
} from './extentwrite.ts';
import type { Inode } from './inode.ts';
import { mappingChanged } from './mapspace.ts';

/** Extents at and behind `from` move by `delta` blocks: below 0 into the hole before `from`, else to the right. */
export interface Shift {
  from: number;
  delta: number;
}

/** Changed blocks of a step that moves a leaf: the nodes of one path, and the inode. */
const SHIFT_CREDITS = F.EXT4_EXT_MAX_DEPTH + 2;
/** No cursor: all are moved. */
const DONE = -1;

/** One step, which may open a handle: gets ready to move extents to the right. One over `from` is split. EFBIG when the
 *  last one would move past the last block; ENOSPC. */
export function prepareShift(inode: Inode, { from, delta }: Shift): void {
  const leaf = findPath(inode, MAX_LBLK).at(-1) as Level;
  const node = nodePtr(inode, leaf);
  if (leaf.at >= 0 && endOf(extentAt(inode, node, leaf.at)) + delta > MAX_LBLK) {
    throw new Ext4Error('EFBIG', 'blocks move past the last one');
  }
  if (crosses(inode, from)) splitStep(inode, from);
}

/** The cursor to begin with. */
export function startShift({ from, delta }: Shift): number {
  return delta < 0 ? from : MAX_LBLK;
}

/** One step with a handle of its own: moves some extents; returns the cursor to go on with, or -1 when all are
 *  moved. An extent over `from` is split first when it goes to the right. ENOSPC then; EFBIG past the last block;
 *  EUCLEAN. */
export function shiftStep(inode: Inode, shift: Shift, cursor: number): number {
  if (shift.delta < 0) return shiftLeft(inode, shift.delta, cursor);
  if (cursor !== MAX_LBLK || !crosses(inode, shift.from)) return shiftRight(inode, shift, cursor);
  splitStep(inode, shift.from);
  return cursor;
}

/** Whether an extent begins before a block and goes on behind it. */
function crosses(inode: Inode, lblk: number): boolean {
  const leaf = findPath(inode, lblk).at(-1) as Level;
  if (leaf.at < 0) return false;
  const e = extentAt(inode, nodePtr(inode, leaf), leaf.at);
  return e.lblk < lblk && e.lblk + e.len > lblk;
}

function shiftLeft(inode: Inode, delta: number, cursor: number): number {
  const path = findPath(inode, cursor);
  const k = path.length - 1;
  const leaf = path[k];
  const node = nodePtr(inode, leaf);
  const entries = entriesOf(inode, node);
  const begins = leaf.at >= 0 && keyAt(inode, node, leaf.at) === cursor;
  const first = begins ? leaf.at : leaf.at + 1;
  const next = keyAfter(inode, path.slice(0, k));
  const after = next === MAX_LBLK ? DONE : next;
  if (first === entries) return after;
  const room = first === 0 ? 0 : endOf(extentAt(inode, node, first - 1));
  if (keyAt(inode, node, first) + delta < room) throw noRoom(inode, cursor);
  inode.vol.journal!.start(SHIFT_CREDITS);
  moveEntries(inode, path, { first, end: entries, delta });
  mergeNext(inode, leaf, first - 1);
  inode.vol.journal!.stop();
  return after;
}

function shiftRight(inode: Inode, { from, delta }: Shift, cursor: number): number {
  const path = findPath(inode, cursor - 1);
  const k = path.length - 1;
  const leaf = path[k];
  const node = nodePtr(inode, leaf);
  let first = leaf.at + 1;
  while (first > 0 && keyAt(inode, node, first - 1) >= from) first--;
  const rest = first === 0 ? before(inode, path, from) : DONE;
  if (first > leaf.at) return rest;
  if (endOf(extentAt(inode, node, leaf.at)) + delta > MAX_LBLK) {
    throw new Ext4Error('EFBIG', 'blocks move past the last one');
  }
  inode.vol.journal!.start(SHIFT_CREDITS);
  moveEntries(inode, path, { first, end: leaf.at + 1, delta });
  inode.vol.journal!.stop();
  return rest;
}

/** The cursor with which the leaf before is found, when it may have extents at or behind `from`. */
function before(inode: Inode, path: Level[], from: number): number {
  if (!path.slice(0, -1).some(({ at }) => at > 0)) return DONE;
  const parent = path[path.length - 2];
  const key = keyAt(inode, nodePtr(inode, parent), parent.at);
  return key > from ? key : DONE;
}

function endOf(e: Extent): number {
  return e.lblk + e.len;
}

function noRoom(inode: Inode, lblk: number): unknown {
  return corrupt('extent tree', `block ${lblk} has no hole before it`, { ino: inode.ino });
}

interface Move {
  first: number;
  end: number;
  delta: number;
}

/** Entries [first, end) of the leaf get other logical blocks; keys of the nodes above follow. */
function moveEntries(inode: Inode, path: Level[], { first, end, delta }: Move): void {
  const { dv } = inode.vol;
  const k = path.length - 1;
  const node = editNode(inode, path[k]);
  for (let i = first; i < end; i++) {
    const lblk = keyAt(inode, node, i) + delta;
    dv.setUint32(entryPtr(node, i) + F.EE_BLOCK, lblk, true);
  }
  if (first === 0) setKeys(inode, path, k, keyAt(inode, node, 0));
  mappingChanged(inode);
}
