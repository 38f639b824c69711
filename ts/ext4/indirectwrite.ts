// Block maps, changing: pointers are set with the pointer blocks that lead to them, and removed from the end, with
// the
// pointer blocks that become empty. A removal is planned whole before anything is changed.

import * as F from '../../assembly/format/ext4.ts';
import type { Buffer } from '../cache/buffer.ts';
import { corrupt, Ext4Error } from '../errno.ts';
import { allocBlocks } from './balloc.ts';
import { locate, pointer, pointers } from './indirect.ts';
import type { Inode } from './inode.ts';
import {
  addBlocks,
  Budget,
  homeGoal,
  MAX_NODES,
  mappingChanged,
  newNode,
  REMOVE_CREDITS,
} from './mapspace.ts';
import { needBlocks } from './needblocks.ts';

/** A buffer that holds block pointers. */
export const KIND_INDIRECT = 9;

/** A place for a pointer: in a block, or (null) in the inode's record. */
interface Slot {
  buffer: Buffer | null;
  off: number;
}

function slotPtr(inode: Inode, { buffer, off }: Slot): number {
  return (buffer === null ? inode.at() : buffer.ptr) + off;
}

function putPointer(inode: Inode, { buffer, off }: Slot, pblk: number): void {
  if (buffer === null) return inode.put32(off, pblk);
  buffer.kind = KIND_INDIRECT;
  inode.vol.dv.setUint32(inode.vol.journal!.write(buffer, off, 4), pblk, true);
}

/** Allocates a block and maps it at `lblk`, until now a hole, with the pointer blocks that it takes; all of them are
 *  counted. Returns it. Needs a handle. ENOSPC; EFBIG past the last block; EUCLEAN. */
export function appendIndirect(inode: Inode, lblk: number): number {
  if (inode.vol.sb.clusterBlocks > 1) {
    throw corrupt('inode', 'a block map with bigalloc', { ino: inode.ino, field: 'i_flags' });
  }
  const place = locate(inode, lblk);
  const slot: Slot = { buffer: null, off: F.I_BLOCK + 4 * place.root };
  let { span, rest } = place;
  for (let level = place.levels; level > 0; level--) {
    span /= pointers(inode);
    const buffer = descend(inode, slot);
    slot.buffer = buffer;
    slot.off = 4 * Math.floor(rest / span);
    rest %= span;
  }
  if (pointer(inode, slotPtr(inode, slot)) !== 0) {
    throw corrupt('block map', `block ${lblk} is mapped already`, { ino: inode.ino });
  }
  const { pblk } = allocBlocks(inode.vol, goalAt(inode, slot), 1);
  checkLow(pblk);
  putPointer(inode, slot, pblk);
  addBlocks(inode, 1);
  mappingChanged(inode);
  return pblk;
}

/** The pointer block that a slot leads to; made when there is none. */
function descend(inode: Inode, slot: Slot): Buffer {
  const pblk = pointer(inode, slotPtr(inode, slot));
  if (pblk !== 0) return inode.vol.cache.get(pblk);
  const node = newNode(inode, goalAt(inode, slot), KIND_INDIRECT);
  checkLow(node.pblk);
  putPointer(inode, slot, node.pblk);
  return node;
}

/** Pointers have 32 bits. */
function checkLow(pblk: number): void {
  if (pblk >= 2 ** 32) throw new Ext4Error('ENOSPC', 'no free block below 2^32');
}

/** Behind the block that the pointer before leads to, or behind the pointers themselves. */
function goalAt(inode: Inode, slot: Slot): number {
  const first = slot.buffer === null ? F.I_BLOCK : 0;
  if (slot.off > first) {
    const before = pointer(inode, slotPtr(inode, slot) - 4);
    if (before !== 0) return before + 1;
  }
  return slot.buffer === null ? homeGoal(inode) : slot.buffer.pblk + 1;
}

/** What a removal changes in nodes that stay, and in the inode. */
interface Plan {
  inode: Inode;
  budget: Budget;
  /** Pointers [index, end of the block) become 0. */
  cuts: { buffer: Buffer; index: number }[];
  /** Pointers in the inode that become 0. */
  roots: number[];
  /** The budget ended first. */
  more: boolean;
}

/** One step: frees blocks at and behind `from`, last ones first. True while more is left. */
export function removeIndirect(inode: Inode, from: number): boolean {
  const { dv, journal, cache, sb } = inode.vol;
  const budget = new Budget(inode);
  const plan: Plan = { inode, budget, cuts: [], roots: [], more: false };
  planRoots(plan, from);
  if (plan.roots.length === 0 && plan.cuts.length === 0) return false;
  budget.prefetch();
  journal!.start(REMOVE_CREDITS);
  budget.spend();
  for (const { buffer, index } of plan.cuts) {
    buffer.kind = KIND_INDIRECT;
    const len = sb.blockSize - 4 * index;
    cache.kernels.exports.zero(journal!.write(buffer, 4 * index, len), len);
  }
  for (const root of plan.roots) dv.setUint32(inode.edit() + F.I_BLOCK + 4 * root, 0, true);
  journal!.stop();
  return plan.more;
}

function planRoots(plan: Plan, from: number): void {
  const { inode } = plan;
  const root = (index: number) => inode.at() + F.I_BLOCK + 4 * index;
  const per = pointers(inode);
  const starts = [
    F.EXT4_NDIR_BLOCKS,
    F.EXT4_NDIR_BLOCKS + per,
    F.EXT4_NDIR_BLOCKS + per + per ** 2,
  ];
  for (let levels = 3; levels > 0 && !plan.more; levels--) {
    const index = F.EXT4_NDIR_BLOCKS + levels - 1;
    const sub = from - starts[levels - 1];
    if (sub >= per ** levels) return;
    const pblk = pointer(inode, root(index));
    if (pblk !== 0 && shrink(plan, pblk, levels, Math.max(0, sub))) plan.roots.push(index);
  }
  for (let index = F.EXT4_NDIR_BLOCKS - 1; index >= from && !plan.more; index--) {
    const pblk = pointer(inode, root(index));
    if (pblk !== 0 && planBlock(plan, pblk)) plan.roots.push(index);
  }
}

/** Plans to free a block; false when the budget is spent. */
function planBlock(plan: Plan, pblk: number): boolean {
  if (plan.budget.take(pblk, 1) === 0) plan.more = true;
  else plan.budget.add(pblk, 1);
  return !plan.more;
}

/** Plans what goes under a pointer block; true when all of it and the block itself do. */
function shrink(plan: Plan, pblk: number, levels: number, from: number): boolean {
  const { inode } = plan;
  if (++plan.budget.seen > MAX_NODES) {
    plan.more = true;
    return false;
  }
  const buffer = inode.vol.cache.get(pblk);
  const span = pointers(inode) ** (levels - 1);
  const first = Math.floor(from / span);
  if (levels > 1) nameChildren(inode, buffer, first);
  let cleared = pointers(inode);
  let stays = false;
  for (let i = cleared - 1; i >= first && !plan.more; i--) {
    const child = pointer(inode, buffer.ptr + 4 * i);
    if (child === 0) continue;
    const sub = i === first ? from % span : 0;
    const gone = levels === 1 ? planBlock(plan, child) : shrink(plan, child, levels - 1, sub);
    if (gone) cleared = i;
    else stays = true;
  }
  stays ||= plan.more || !emptyBefore(inode, buffer, first);
  if (!stays && plan.budget.takeNode(pblk)) return true;
  if (!stays) plan.more = true;
  if (cleared < pointers(inode)) plan.cuts.push({ buffer, index: cleared });
  return false;
}

/** Asks for the pointer blocks that the step will come to, all at once. Throws Missing. */
function nameChildren(inode: Inode, buffer: Buffer, first: number): void {
  const { vol } = inode;
  if (vol.cache.fill !== null) return;
  const wanted: number[] = [];
  for (let i = pointers(inode) - 1; i >= first && wanted.length < MAX_NODES; i--) {
    const child = pointer(inode, buffer.ptr + 4 * i);
    if (child !== 0) wanted.push(child);
  }
  needBlocks(vol, wanted);
}

function emptyBefore(inode: Inode, { ptr }: Buffer, index: number): boolean {
  return inode.vol.cache.kernels.exports.isZero(ptr, 4 * index) !== 0;
}
