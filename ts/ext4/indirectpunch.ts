// Block maps, shrinking: blocks go from the end of a range backwards, with the pointer blocks that become empty. What
// one step frees is planned whole before anything is changed, within the budget of one handle.

import * as F from '../../assembly/format/ext4.ts';
import type { Buffer } from '../cache/buffer.ts';
import { maxIndirectBlocks, pointer, pointers } from './indirect.ts';
import { KIND_INDIRECT } from './indirectwrite.ts';
import type { Inode } from './inode.ts';
import { Budget, MAX_NODES, REMOVE_CREDITS } from './mapspace.ts';
import { needBlocks } from './needblocks.ts';

/** What a removal changes in nodes that stay, and in the inode. */
interface Plan {
  inode: Inode;
  budget: Budget;
  /** Pointers [index, end) become 0. */
  cuts: { buffer: Buffer; index: number; end: number }[];
  /** Pointers in the inode that become 0. */
  roots: number[];
  /** The budget ended first. */
  more: boolean;
}

/** Blocks under a pointer block, counted from its first one: [from, to). */
interface Range {
  from: number;
  to: number;
}

/** One step: frees blocks of [from, to), last ones first. True while more is left. */
export function punchIndirect(inode: Inode, from: number, to: number): boolean {
  const { dv, journal, cache } = inode.vol;
  const budget = new Budget(inode);
  const plan: Plan = { inode, budget, cuts: [], roots: [], more: false };
  const end = Math.min(to, maxIndirectBlocks(inode.vol.sb.blockSize));
  planRoots(plan, from, end);
  if (plan.roots.length === 0 && plan.cuts.length === 0) return false;
  budget.prefetch();
  journal!.start(REMOVE_CREDITS);
  budget.spend();
  for (const { buffer, index, end } of plan.cuts) {
    buffer.kind = KIND_INDIRECT;
    const len = 4 * (end - index);
    cache.kernels.exports.zero(journal!.write(buffer, 4 * index, len), len);
  }
  for (const root of plan.roots) dv.setUint32(inode.edit() + F.I_BLOCK + 4 * root, 0, true);
  journal!.stop();
  return plan.more;
}

function planRoots(plan: Plan, from: number, to: number): void {
  const { inode } = plan;
  const root = (index: number) => inode.at() + F.I_BLOCK + 4 * index;
  const per = pointers(inode);
  const direct = F.EXT4_NDIR_BLOCKS;
  const starts = [direct, direct + per, direct + per + per ** 2];
  for (let levels = 3; levels > 0 && !plan.more; levels--) {
    const index = direct + levels - 1;
    const start = starts[levels - 1];
    const range = { from: Math.max(0, from - start), to: Math.min(per ** levels, to - start) };
    if (range.from >= range.to) continue;
    const pblk = pointer(inode, root(index));
    if (pblk !== 0 && shrink(plan, pblk, levels, range)) plan.roots.push(index);
  }
  for (let index = Math.min(direct, to) - 1; index >= from && !plan.more; index--) {
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
function shrink(plan: Plan, pblk: number, levels: number, { from, to }: Range): boolean {
  const { inode } = plan;
  if (++plan.budget.seen > MAX_NODES) {
    plan.more = true;
    return false;
  }
  const buffer = inode.vol.cache.get(pblk);
  const span = pointers(inode) ** (levels - 1);
  const first = Math.floor(from / span);
  const last = Math.ceil(to / span) - 1;
  if (levels > 1) nameChildren(inode, buffer, first, last);
  // Of those in the range that are not 0 only the first and the last one can stay: what goes is one run.
  let cleared = 0;
  let end = 0;
  for (let i = last; i >= first && !plan.more; i--) {
    const child = pointer(inode, buffer.ptr + 4 * i);
    if (child === 0) continue;
    const range = { from: Math.max(0, from - i * span), to: Math.min(span, to - i * span) };
    const gone = levels === 1 ? planBlock(plan, child) : shrink(plan, child, levels - 1, range);
    if (!gone) continue;
    cleared = i;
    if (end === 0) end = i + 1;
  }
  const stays = plan.more || !emptyBut(inode, buffer, cleared, end);
  if (!stays && plan.budget.takeNode(pblk)) return true;
  if (!stays) plan.more = true;
  if (end > 0) plan.cuts.push({ buffer, index: cleared, end });
  return false;
}

/** Asks for the pointer blocks that the step will come to, all at once. Throws Missing. */
function nameChildren(inode: Inode, buffer: Buffer, first: number, last: number): void {
  const { vol } = inode;
  if (vol.cache.fill !== null) return;
  const wanted: number[] = [];
  for (let i = last; i >= first && wanted.length < MAX_NODES; i--) {
    const child = pointer(inode, buffer.ptr + 4 * i);
    if (child !== 0) wanted.push(child);
  }
  needBlocks(vol, wanted);
}

/** Whether a pointer block has nothing but zeros outside [index, end). */
function emptyBut(inode: Inode, { ptr }: Buffer, index: number, end: number): boolean {
  const { exports } = inode.vol.cache.kernels;
  const rest = inode.vol.sb.blockSize - 4 * end;
  return exports.isZero(ptr, 4 * index) !== 0 && exports.isZero(ptr + 4 * end, rest) !== 0;
}
