// Delayed blocks: data that lies in the cache and has a promise of space, but no block yet. They are state, not a cache
// of the disk: kept for each inode apart from what was looked up, and never evicted. Counts of promises are in
// clusters; with bigalloc a block in a cluster that the file has, or was promised, costs nothing.

import * as F from '../../assembly/format/ext4.ts';
import { blockIn } from './extentremove.ts';
import { sumFree } from './groupwrite.ts';
import type { Inode } from './inode.ts';
import { spaceForData } from './reserve.ts';
import type { Ext4Volume } from './volume.ts';

/** Runs of blocks, sorted, half-open, never touching. */
export class Runs {
  /** from, end, from, end … */
  readonly #at: number[] = [];
  count = 0;

  get empty(): boolean {
    return this.#at.length === 0;
  }

  /** Runs, and the block behind the last. */
  get shape(): { runs: number; end: number } {
    return { runs: this.#at.length / 2, end: this.#at.at(-1) ?? 0 };
  }

  /** Index of the first run that ends behind `lblk`. */
  #after(lblk: number): number {
    const at = this.#at;
    if (at.length === 0 || at[at.length - 1] <= lblk) return at.length;
    let low = -1;
    let high = at.length / 2;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (at[2 * middle + 1] > lblk) high = middle;
      else low = middle;
    }
    return 2 * high;
  }

  has(lblk: number): boolean {
    const i = this.#after(lblk);
    return i < this.#at.length && this.#at[i] <= lblk;
  }

  /** How many blocks from `lblk` on are as it is, in or out, and which. */
  span(lblk: number, inside: boolean): number {
    const i = this.#after(lblk);
    if (inside) return this.#at[i + 1] - lblk;
    return i < this.#at.length ? this.#at[i] - lblk : Number.POSITIVE_INFINITY;
  }

  /** The first run at or behind `lblk`, cut to begin there; null when there is none. */
  next(lblk: number): { from: number; to: number } | null {
    const i = this.#after(lblk);
    if (i === this.#at.length) return null;
    return { from: Math.max(lblk, this.#at[i]), to: this.#at[i + 1] };
  }

  add(from: number, to: number): void {
    this.remove(from, to);
    const at = this.#at;
    const i = this.#after(from);
    this.count += to - from;
    const left = i > 0 && at[i - 1] === from;
    const right = i < at.length && at[i] === to;
    if (left && right) at.splice(i - 1, 2);
    else if (left) at[i - 1] = to;
    else if (right) at[i] = from;
    else at.splice(i, 0, from, to);
  }

  /** Takes [from, to) out; returns the runs that were in it. */
  remove(from: number, to: number): { from: number; to: number }[] {
    const at = this.#at;
    const gone: { from: number; to: number }[] = [];
    let i = this.#after(from);
    while (i < at.length && at[i] < to) {
      const a = at[i];
      const b = at[i + 1];
      const run = { from: Math.max(a, from), to: Math.min(b, to) };
      gone.push(run);
      this.count -= run.to - run.from;
      const rest = [a < run.from ? [a, run.from] : [], b > run.to ? [run.to, b] : []].flat();
      at.splice(i, 2, ...rest);
      i += a < run.from ? 2 : 0;
    }
    return gone;
  }
}

/** What an inode has that is delayed. */
export class Delayed {
  readonly runs = new Runs();
  /** Clusters promised. */
  clusters = 0;
  /** Pointer blocks promised beside them, to a file with a block map. */
  nodes = 0;
  /** With bigalloc: which ones. */
  readonly promised = new Set<number>();
}

/** Whether any of [from, to) is delayed. */
export function delayedIn(inode: Inode, from: number, to: number): boolean {
  const run = inode.delayed?.runs.next(from);
  return run != null && run.from < to;
}

/** Promises space for up to `count` blocks from `lblk` on, holes that are not delayed; returns how many got it.
 *  Throws Missing. */
export function reserveBlocks(inode: Inode, lblk: number, count: number): number {
  const { vol } = inode;
  sumFree(vol);
  inode.delayed ??= new Delayed();
  const got = vol.sb.clusterBlocks === 1 ? plain(inode, count) : clustered(inode, lblk, count);
  if (got > 0) inode.delayed.runs.add(lblk, lblk + got);
  promiseNodes(inode);
  return got;
}

function plain(inode: Inode, count: number): number {
  const more = inode.has(F.EXT4_EXTENTS_FL)
    ? 0
    : nodesFor(inode, { blocks: count, runs: 1, end: 0 });
  const got = Math.max(0, Math.min(count, spaceForData(inode.vol) - more));
  promise(inode, got);
  return got;
}

/** Pointer blocks that so many delayed blocks, in so many runs, take at most; no more than a map up to `end` has. */
function nodesFor(
  { vol }: Inode,
  { blocks, runs, end }: { blocks: number; runs: number; end: number },
): number {
  const per = vol.sb.blockSize / 4;
  const scattered = 5 * runs + Math.ceil(blocks / per) + Math.ceil(blocks / per ** 2);
  if (end === 0) return scattered;
  if (end <= F.EXT4_NDIR_BLOCKS) return 0;
  return Math.min(scattered, Math.ceil(end / per) + Math.ceil(end / per ** 2) + 4);
}

/** What delayed blocks need in pointer blocks is kept free, so that writeback never finds no room. */
function promiseNodes(inode: Inode): void {
  const { delayed, vol } = inode;
  if (delayed === null || inode.has(F.EXT4_EXTENTS_FL)) return;
  const { runs } = delayed;
  const nodes = runs.empty ? 0 : nodesFor(inode, { blocks: runs.count, ...runs.shape });
  vol.reservedNodes += nodes - delayed.nodes;
  delayed.nodes = nodes;
}

function promise(inode: Inode, clusters: number): void {
  inode.vol.reserved += clusters;
  inode.delayed!.clusters += clusters;
}

function clustered(inode: Inode, lblk: number, count: number): number {
  const { clusterBlocks } = inode.vol.sb;
  const delayed = inode.delayed!;
  const space = spaceForData(inode.vol);
  const fresh: number[] = [];
  let end = lblk;
  while (end < lblk + count) {
    const cluster = Math.floor(end / clusterBlocks);
    const start = cluster * clusterBlocks;
    const owned =
      delayed.promised.has(cluster) || blockIn(inode, start, start + clusterBlocks) >= 0;
    if (!owned && fresh.length >= space) break;
    if (!owned) fresh.push(cluster);
    end = Math.min(lblk + count, start + clusterBlocks);
  }
  for (const cluster of fresh) delayed.promised.add(cluster);
  promise(inode, fresh.length);
  return end - lblk;
}

/** Takes blocks out of what is delayed: they were allocated, or their data is gone. Promises are given back. */
export function releaseDelayed(
  inode: Inode,
  from: number,
  to: number,
): { from: number; to: number }[] {
  const { delayed } = inode;
  if (delayed === null) return [];
  const gone = delayed.runs.remove(from, to);
  let clusters = 0;
  if (inode.vol.sb.clusterBlocks === 1) for (const run of gone) clusters += run.to - run.from;
  else for (const run of gone) clusters += dropPromises(inode, run.from, run.to);
  promise(inode, -clusters);
  promiseNodes(inode);
  if (delayed.runs.empty) inode.delayed = null;
  return gone;
}

/** Of the clusters of [from, to), those where nothing is delayed any more. */
function dropPromises(inode: Inode, from: number, to: number): number {
  const { clusterBlocks } = inode.vol.sb;
  const { promised, runs } = inode.delayed!;
  let count = 0;
  for (let cluster = Math.floor(from / clusterBlocks); cluster * clusterBlocks < to; cluster++) {
    const start = cluster * clusterBlocks;
    const run = runs.next(start);
    if (run !== null && run.from < start + clusterBlocks) continue;
    if (promised.delete(cluster)) count++;
  }
  return count;
}

/** As releaseDelayed() of blocks that get a place within a handle: undone with it. */
export function claimDelayed(inode: Inode, from: number, to: number): void {
  const { delayed, vol } = inode;
  if (delayed === null) return;
  const before = { delayed, clusters: delayed.clusters, promised: [...delayed.promised] };
  const gone = releaseDelayed(inode, from, to);
  if (gone.length > 0) vol.journal!.onUndo(unclaim, inode, { ...before, gone });
}

interface Claim {
  delayed: Delayed;
  clusters: number;
  promised: number[];
  gone: { from: number; to: number }[];
}

function unclaim(inode: Inode, { delayed, clusters, promised, gone }: Claim): void {
  inode.vol.reserved += clusters - delayed.clusters;
  delayed.clusters = clusters;
  for (const cluster of promised) delayed.promised.add(cluster);
  for (const run of gone) delayed.runs.add(run.from, run.to);
  inode.delayed = delayed;
  promiseNodes(inode);
}

/** Forgets what the cache has of blocks [from, to) of a file, dirty or not, and gives back what was promised for them.
 *  Within a step; nothing of it is undone. */
export function dropData(inode: Inode, from: number, to: number): void {
  inode.folios.cut(from, to);
  releaseDelayed(inode, from, to);
}

/** Promises of all inodes together: for checks. */
export function promisedIn(vol: Ext4Volume): number {
  let sum = 0;
  for (const inode of vol.dirtyInodes) sum += inode.delayed?.clusters ?? 0;
  return sum;
}
