// The block allocator: runs of free clusters near a goal. What a transaction frees is not given out again before
// it is
// durable: such a group has a bitmap of its own for searching, in which those bits are still set.

import * as F from '../../assembly/format/ext4.ts';
import { assert } from '../assert.ts';
import type { Buffer } from '../cache/buffer.ts';
import { missing } from '../cache/missing.ts';
import { corrupt, Ext4Error } from '../errno.ts';
import { hasBit } from './features.ts';
import { type Group, readGroup } from './group.ts';
import { addCount, addFree, blockBitmap, editGroup, sumFree } from './groupwrite.ts';
import { spaceForData } from './reserve.ts';
import type { Ext4Volume } from './volume.ts';
import { refuseSystem } from './zones.ts';

/** Changed blocks of one allocation: a bitmap and a descriptor. */
export const ALLOC_CREDITS = 2;

/** Bits freed in a group by transactions that are not durable. */
export interface PendingFrees {
  /** Arena unit and address of the bitmap to search. */
  unit: number;
  ptr: number;
  runs: { bit: number; count: number; tid: number }[];
}

/** A contiguous run of 1 to `want` free blocks (whole clusters), the nearer to `goal` the better; at least `min` when
 *  that can be had. Needs a handle. ENOSPC; throws Missing, also for a commit that would free some. */
export function allocBlocks(
  vol: Ext4Volume,
  goal: number,
  want: number,
  min = 1,
  o: AllocOptions = {},
): Blocks {
  const { sb } = vol;
  const free = sumFree(vol).clusters;
  const space = o.reserved ? free : spaceForData(vol);
  if (space <= 0) throw noSpace(vol);
  const clusters = Math.min(Math.ceil(want / sb.clusterBlocks), space);
  return search(vol, goal, clusters, min, mark);
}

export interface Blocks {
  pblk: number;
  count: number;
}

export interface AllocOptions {
  /** What was promised, or is needed so that promises can be kept: all that is free may be used. */
  reserved?: boolean;
}

type Mark = (vol: Ext4Volume, group: Group, bit: number, count: number) => void;

function search(vol: Ext4Volume, goal: number, clusters: number, min: number, take: Mark): Blocks {
  const { sb } = vol;
  const at = goal > sb.firstDataBlock && goal < sb.blocks ? goal : sb.firstDataBlock;
  const first = Math.floor((at - sb.firstDataBlock) / sb.blocksPerGroup);
  const bit = Math.floor(((at - sb.firstDataBlock) % sb.blocksPerGroup) / sb.clusterBlocks);
  const least = Math.ceil(min / sb.clusterBlocks);
  for (const need of clusters === least ? [least] : [clusters, least]) {
    for (let i = 0; i < sb.groups; i++) {
      const number = (first + i) % sb.groups;
      const group = readGroup(vol, number);
      if (group.freeClusters < need) continue;
      const found = takeIn(vol, group, { from: i === 0 ? bit : 0, need, want: clusters }, take);
      if (found !== null) return found;
    }
  }
  throw noSpace(vol);
}

/** ENOSPC, unless a commit makes freed blocks usable: then that comes first. */
function noSpace(vol: Ext4Volume): unknown {
  if (vol.journal!.held) return new Ext4Error('ENOSPC');
  const freed = [...vol.pending.values()].some(({ runs }) => runs.some((run) => run.tid !== HELD));
  return freed ? missing.wait('commit') : new Ext4Error('ENOSPC');
}

function takeIn(
  vol: Ext4Volume,
  group: Group,
  { from, need, want }: { from: number; need: number; want: number },
  take: Mark,
): Blocks | null {
  const { sb, cache } = vol;
  const { exports } = cache.kernels;
  const bitmap = searchable(vol, group);
  const search = vol.pending.get(group.number)?.ptr ?? bitmap.ptr;
  const bits = sb.blocksPerGroup / sb.clusterBlocks;
  let bit = exports.bitmapFindClear(search, from, bits, need);
  if (bit < 0 && from > 0) bit = exports.bitmapFindClear(search, 0, bits, need);
  if (bit < 0) return null;
  const end = exports.bitmapNextSet(search, bit, Math.min(bits, bit + want)) >>> 0;
  take(vol, group, bit, end - bit);
  const pblk = sb.groupStart(group.number) + bit * sb.clusterBlocks;
  return { pblk, count: (end - bit) * sb.clusterBlocks };
}

/** The bitmap of a group; the first sight of one that was never used makes it, in a handle of its own if none is
 *  open. */
function searchable(vol: Ext4Volume, group: Group): Buffer {
  const journal = vol.journal!;
  if (journal.open || !hasBit(group.flags, F.EXT4_BG_BLOCK_UNINIT)) return blockBitmap(vol, group);
  journal.start(2);
  const bitmap = blockBitmap(vol, group);
  journal.stop();
  return bitmap;
}

/** Sets bits in the bitmap, and in the one to search; counts follow. */
function mark(vol: Ext4Volume, group: Group, bit: number, count: number): void {
  const { exports } = vol.cache.kernels;
  const bitmap = blockBitmap(vol, group);
  const byte = Math.floor(bit / 8);
  const len = Math.floor((bit + count - 1) / 8) - byte + 1;
  const ptr = vol.journal!.write(bitmap, byte, len) - byte;
  exports.bitmapSet(ptr, bit, count);
  const pending = vol.pending.get(group.number);
  if (pending !== undefined) {
    vol.journal!.undoLog.save(pending.ptr + byte, len);
    exports.bitmapSet(pending.ptr, bit, count);
  }
  countFree(vol, group.number, -count);
}

function countFree(vol: Ext4Volume, group: number, clusters: number): void {
  const ptr = editGroup(vol, group);
  addCount(vol, ptr, F.BG_FREE_BLOCKS_COUNT_LO, F.BG_FREE_BLOCKS_COUNT_HI, clusters);
  addFree(vol, clusters, 0);
}

/** Frees whole clusters. `metadata`: the blocks are revoked. Needs a handle with two credits a group.
 *  EUCLEAN when one
 *  is free already or belongs to the file system itself. */
export function freeBlocks(vol: Ext4Volume, pblk: number, count: number, metadata: boolean): void {
  const { sb } = vol;
  for (let at = pblk; at < pblk + count; ) {
    const group = Math.floor((at - sb.firstDataBlock) / sb.blocksPerGroup);
    const end = Math.min(pblk + count, sb.groupStart(group + 1));
    freeIn(vol, readGroup(vol, group), at, end);
    at = end;
  }
  if (metadata) for (let at = pblk; at < pblk + count; at++) vol.journal!.forget(at);
}

function freeIn(vol: Ext4Volume, group: Group, from: number, to: number): void {
  const { sb } = vol;
  const { exports } = vol.cache.kernels;
  const start = sb.groupStart(group.number);
  const bit = Math.floor((from - start) / sb.clusterBlocks);
  const count = Math.ceil((to - start) / sb.clusterBlocks) - bit;
  const bitmap = blockBitmap(vol, group);
  if (exports.bitmapNextClear(bitmap.ptr, bit, bit + count) >>> 0 !== bit + count) {
    throw corrupt('block bitmap', `block ${from} is free already`, { block: from });
  }
  refuseSystem(vol, from, to);
  keepBusy(vol, group.number, bit, count);
  const byte = Math.floor(bit / 8);
  const len = Math.floor((bit + count - 1) / 8) - byte + 1;
  const ptr = vol.journal!.write(blockBitmap(vol, group), byte, len) - byte;
  exports.bitmapClear(ptr, bit, count);
  countFree(vol, group.number, count);
}

// ---- blocks held for data that is written before it is mapped

/** Transaction id of a run that is held, not freed. */
const HELD = -1;

/** As allocBlocks() for promised data, but only in memory: nobody else gets these blocks until they are claimed
 *  or let go. Needs no handle; nothing is undone. ENOSPC; throws Missing. */
export function holdBlocks(vol: Ext4Volume, goal: number, want: number): Blocks {
  return search(vol, goal, Math.ceil(want / vol.sb.clusterBlocks), 1, hold);
}

function hold(vol: Ext4Volume, group: Group, bit: number, count: number): void {
  const pending = pendingOf(vol, group.number);
  vol.cache.kernels.exports.bitmapSet(pending.ptr, bit, count);
  pending.runs.push({ bit, count, tid: HELD });
}

/** Holds a run that was found free; false when some of it is not any more. Throws Missing. */
export function holdRun(vol: Ext4Volume, pblk: number, count: number): boolean {
  const { number, bit, clusters } = placeOf(vol, pblk, count);
  const { exports } = vol.cache.kernels;
  const { ptr } = pendingOf(vol, number);
  if (exports.bitmapNextSet(ptr, bit, bit + clusters) >>> 0 !== bit + clusters) return false;
  hold(vol, readGroup(vol, number), bit, clusters);
  return true;
}

/** The runs of a group that may be given out, in blocks; none of one that was never used. Throws Missing. */
export function freeRuns(vol: Ext4Volume, group: Group): Blocks[] {
  const { sb, cache } = vol;
  if (group.freeClusters === 0 || hasBit(group.flags, F.EXT4_BG_BLOCK_UNINIT)) return [];
  const { exports } = cache.kernels;
  const ptr = vol.pending.get(group.number)?.ptr ?? blockBitmap(vol, group).ptr;
  const inGroup = Math.min(sb.blocksPerGroup, sb.blocks - sb.groupStart(group.number));
  const bits = Math.floor(inGroup / sb.clusterBlocks);
  const runs: Blocks[] = [];
  for (let at = 0; at < bits; ) {
    const from = exports.bitmapNextClear(ptr, at, bits) >>> 0;
    if (from === bits) break;
    at = exports.bitmapNextSet(ptr, from, bits) >>> 0;
    const pblk = sb.groupStart(group.number) + from * sb.clusterBlocks;
    runs.push({ pblk, count: (at - from) * sb.clusterBlocks });
  }
  return runs;
}

/** Held blocks become allocated, within a handle. They may be fewer than were held. */
export function claimHeld(vol: Ext4Volume, pblk: number, count: number): void {
  const { number, bit, clusters } = placeOf(vol, pblk, count);
  mark(vol, readGroup(vol, number), bit, clusters);
}

/** Held blocks are held no longer: they were claimed, or are free again. Outside of any handle. */
export function unhold(vol: Ext4Volume, pblk: number, count: number, claimed: boolean): void {
  const { number, bit, clusters } = placeOf(vol, pblk, count);
  const pending = vol.pending.get(number);
  assert(pending !== undefined, 'what is held is remembered');
  pending.runs = pending.runs.filter(
    (run) => run.tid !== HELD || run.bit !== bit || run.count !== clusters,
  );
  if (pending.runs.length === 0) dropPending(vol, number, pending);
  else if (!claimed) vol.cache.kernels.exports.bitmapClear(pending.ptr, bit, clusters);
}

function placeOf(
  { sb }: Ext4Volume,
  pblk: number,
  count: number,
): { number: number; bit: number; clusters: number } {
  const number = Math.floor((pblk - sb.firstDataBlock) / sb.blocksPerGroup);
  const bit = Math.floor((pblk - sb.groupStart(number)) / sb.clusterBlocks);
  return { number, bit, clusters: Math.ceil(count / sb.clusterBlocks) };
}

/** The bitmap to search of a group, made from the one on disk. */
function pendingOf(vol: Ext4Volume, group: number): PendingFrees {
  const { cache } = vol;
  const known = vol.pending.get(group);
  if (known !== undefined) return known;
  const bitmap = blockBitmap(vol, readGroup(vol, group));
  const unit = cache.allocUnits(1);
  const pending: PendingFrees = { unit, ptr: cache.arena.ptr(unit), runs: [] };
  cache.kernels.exports.copy(pending.ptr, bitmap.ptr, cache.blockSize);
  vol.pending.set(group, pending);
  return pending;
}

/** Remembers bits that are free on disk but not to be given out; before they are cleared. */
function keepBusy(vol: Ext4Volume, group: number, bit: number, count: number): void {
  const journal = vol.journal!;
  const pending = pendingOf(vol, group);
  const tid = journal.tid;
  if (!pending.runs.some((run) => run.tid === tid))
    journal.whenDurable(releaseFrees, { vol, group, tid });
  pending.runs.push({ bit, count, tid });
  journal.onUndo(undoFree, vol, group);
}

/** Undo of keepBusy: the run goes; the bits in the bitmap to search were set before and stay. */
function undoFree(vol: Ext4Volume, group: number): void {
  const pending = vol.pending.get(group)!;
  pending.runs.pop();
  if (pending.runs.length === 0) dropPending(vol, group, pending);
}

function dropPending(vol: Ext4Volume, group: number, pending: PendingFrees): void {
  vol.pending.delete(group);
  vol.cache.arena.free(pending.unit, 1);
}

/** The transaction is durable: what it freed may be given out. */
function releaseFrees({ vol, group, tid }: { vol: Ext4Volume; group: number; tid: number }): void {
  const pending = vol.pending.get(group);
  if (pending === undefined) return;
  pending.runs = pending.runs.filter((run) => run.tid !== tid);
  if (pending.runs.length === 0) return dropPending(vol, group, pending);
  rebuild(vol, group, pending);
}

function rebuild(vol: Ext4Volume, group: number, pending: PendingFrees): void {
  const { exports } = vol.cache.kernels;
  const bitmap = vol.cache.buffers.get(readGroup(vol, group).blockBitmap)!;
  exports.copy(pending.ptr, bitmap.ptr, vol.cache.blockSize);
  for (const { bit, count } of pending.runs) exports.bitmapSet(pending.ptr, bit, count);
}
