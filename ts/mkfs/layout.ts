// Where the bitmaps and inode tables of all groups lie: in their own group, or with flex_bg together in the first
// group of each flex group, all block bitmaps, then all inode bitmaps, then all tables. Superblocks and descriptors
// are marked first. ENOSPC-like refusals are EINVAL: nothing has been written.

import { FLEX_BG } from './features.ts';
import { descriptors, hasSuper } from './geometry.ts';
import { type Geometry, groupEnd, groupStart } from './plan.ts';
import { Runs } from './runs.ts';
import { refuse } from './settle.ts';

export interface Layout {
  readonly used: Runs;
  /** First block of each group's own record. */
  readonly blockBitmap: Float64Array;
  readonly inodeBitmap: Float64Array;
  readonly inodeTable: Float64Array;
}

/** Block bitmap, inode bitmap and table of every group placed; what they take and the descriptors take is marked. */
export function layOut(g: Geometry): Layout {
  const used = new Runs();
  const layout: Layout = {
    used,
    blockBitmap: new Float64Array(g.groups),
    inodeBitmap: new Float64Array(g.groups),
    inodeTable: new Float64Array(g.groups),
  };
  for (let group = 0; group < g.groups; group++) markFront(g, used, group);
  if (g.features.has(FLEX_BG)) {
    const together = g.packed ? g.groups : g.flexSize;
    for (let group = 0; group < g.groups; group += together) {
      placeFlex(g, layout, group, Math.min(together, g.groups - group));
    }
  } else for (let group = 0; group < g.groups; group++) placeGroup(g, layout, group);
  return { ...layout, used: used.rounded(g.clusterBlocks) };
}

/** First block of the descriptors that a group holds: behind its superblock, if it has one. */
export function descriptorsAt(g: Geometry, group: number): number {
  const start = groupStart(g, group);
  // With bigalloc and blocks of 1 KiB the boot block is block 0 of group 0.
  const boot = group === 0 && g.blockSize === 1024 && g.firstDataBlock === 0 ? 1 : 0;
  return start + boot + (hasSuper(g, group) ? 1 : 0);
}

function markFront(g: Geometry, used: Runs, group: number): void {
  const start = groupStart(g, group);
  const { count } = descriptors(g, group);
  const first = hasSuper(g, group) || count > 0 ? start : -1;
  const end = descriptorsAt(g, group) + count;
  if (first >= 0 && end > first) used.mark(first, end - first);
}

/** One group on its own: bitmap, bitmap, table. On a RAID the table first, and the bitmaps on a disk of their own. */
function placeGroup(g: Geometry, layout: Layout, group: number): void {
  const { used } = layout;
  const [start, end] = [groupStart(g, group), groupEnd(g, group)];
  const table = () => {
    layout.inodeTable[group] = take(used, start, start, g.tableBlocks, end);
  };
  if (g.stride > 0) table();
  const goal = g.stride > 0 ? strided(g, layout, group) : start;
  layout.blockBitmap[group] = take(used, goal, start, 1, end);
  layout.inodeBitmap[group] = take(used, goal, start, 1, end);
  if (g.stride === 0) table();
}

/** Where the bitmaps of a group are looked for: behind its table, every group some blocks further. */
function strided(g: Geometry, layout: Layout, group: number): number {
  const behind = layout.inodeTable[group] + g.tableBlocks;
  return behind + ((g.stride * group) % Math.max(1, groupEnd(g, group) - behind));
}

/** The groups [group, group + count) together. */
function placeFlex(g: Geometry, layout: Layout, group: number, count: number): void {
  const { used, blockBitmap, inodeBitmap, inodeTable } = layout;
  const start = groupStart(g, group);
  // A flex group of one keeps the distances of a whole one, unless all is packed.
  const apart = count === 1 && !g.packed ? g.flexSize : count;
  const end = g.blocks;
  let at = start;
  for (let i = 0; i < count; i++) {
    at = take(used, at, start, 1, end);
    blockBitmap[group + i] = at++;
  }
  at = blockBitmap[group] + apart;
  for (let i = 0; i < count; i++) {
    at = take(used, at, start, 1, end);
    inodeBitmap[group + i] = at++;
  }
  at = inodeBitmap[group] + apart;
  for (let i = 0; i < count; i++) {
    at = take(used, at, start, g.tableBlocks, end);
    inodeTable[group + i] = at;
    at += g.tableBlocks;
  }
}

/** `count` blocks in a row from `goal` on, else from `from` on, else anywhere from the front. */
function take(used: Runs, goal: number, from: number, count: number, end: number): number {
  let at = used.place(goal, count, end);
  if (at < 0 && from < goal) at = used.place(from, count, end);
  if (at < 0) throw refuse('there is no room for the inode tables');
  used.mark(at, count);
  return at;
}
