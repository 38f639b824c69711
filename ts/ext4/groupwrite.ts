// Changing a group: its descriptor, its two bitmaps. Bitmaps of groups that were never used are made on first sight;
// their checksums follow when a commit takes them.

import * as F from '../../assembly/format/ext4.ts';
import type { Buffer } from '../cache/buffer.ts';
import { badChecksum } from '../errno.ts';
import { type Flow, step } from '../flow.ts';
import { hasBit } from './features.ts';
import { descriptorBlock, type Group, readGroup } from './group.ts';
import type { Ext4Volume } from './volume.ts';
import { checkSystemBits, metaRuns } from './zones.ts';

export const KIND_BLOCK_BITMAP = 6;
export const KIND_INODE_BITMAP = 7;

/** Address of a group's descriptor for changes, until the step ends; needs a handle. Totals are summed before the first
 *  change of any: what is counted twice stays wrong. */
export function editGroup(vol: Ext4Volume, group: number): number {
  const { sb } = vol;
  sumFree(vol);
  const perBlock = sb.blockSize / sb.descSize;
  const buffer = vol.cache.get(descriptorBlock(vol, Math.floor(group / perBlock)));
  const off = (group % perBlock) * sb.descSize;
  const ptr = vol.journal!.write(buffer, off, sb.descSize);
  if (!vol.dirtyGroups.has(group)) {
    vol.dirtyGroups.set(group, { buffer, off, seal: (g) => sealBitmaps(vol, g) });
    vol.journal!.onUndo(forgetDirty, vol, group);
  }
  return ptr;
}

/** Undo: the transaction does not hold the descriptor, so its buffer may go. */
function forgetDirty(vol: Ext4Volume, group: number): void {
  vol.dirtyGroups.delete(group);
}

/** Adds to a count of a descriptor at `ptr` that is split in two halves of 16 bits. */
export function addCount(
  vol: Ext4Volume,
  ptr: number,
  lo: number,
  hi: number,
  delta: number,
): void {
  const { dv, sb } = vol;
  const wide = sb.descSize >= F.EXT4_MIN_DESC_SIZE_64BIT;
  const old = dv.getUint16(ptr + lo, true) + (wide ? dv.getUint16(ptr + hi, true) * 65536 : 0);
  const value = old + delta;
  dv.setUint16(ptr + lo, value % 65536, true);
  if (wide) dv.setUint16(ptr + hi, Math.floor(value / 65536), true);
}

/** Groups may be lazily initialised. */
function lazy(vol: Ext4Volume): boolean {
  return vol.sums.on || vol.sb.gdtCsum;
}

/** The block bitmap of a group, checked; made in place when the group was never used. Needs a handle then. */
export function blockBitmap(vol: Ext4Volume, group: Group): Buffer {
  if (lazy(vol) && hasBit(group.flags, F.EXT4_BG_BLOCK_UNINIT)) return initBlockBitmap(vol, group);
  const buffer = vol.cache.get(group.blockBitmap);
  if (buffer.kind === KIND_BLOCK_BITMAP) return buffer;
  const bytes = vol.sb.blocksPerGroup / vol.sb.clusterBlocks / 8;
  checkBitmap(vol, group, buffer, bytes, F.BG_BLOCK_BITMAP_CSUM_LO, F.BG_BLOCK_BITMAP_CSUM_HI);
  checkSystemBits(vol, buffer.ptr, vol.sb.groupStart(group.number), buffer.pblk);
  buffer.kind = KIND_BLOCK_BITMAP;
  return buffer;
}

/** The inode bitmap of a group; as blockBitmap(). */
export function inodeBitmap(vol: Ext4Volume, group: Group): Buffer {
  if (lazy(vol) && hasBit(group.flags, F.EXT4_BG_INODE_UNINIT)) return initInodeBitmap(vol, group);
  const buffer = vol.cache.get(group.inodeBitmap);
  if (buffer.kind === KIND_INODE_BITMAP) return buffer;
  const bytes = vol.sb.inodesPerGroup / 8;
  checkBitmap(vol, group, buffer, bytes, F.BG_INODE_BITMAP_CSUM_LO, F.BG_INODE_BITMAP_CSUM_HI);
  buffer.kind = KIND_INODE_BITMAP;
  return buffer;
}

function checkBitmap(
  vol: Ext4Volume,
  group: Group,
  buffer: Buffer,
  bytes: number,
  lo: number,
  hi: number,
): void {
  if (!vol.sums.on) return;
  const { sb, dv } = vol;
  const perBlock = sb.blockSize / sb.descSize;
  const desc = vol.cache.get(descriptorBlock(vol, Math.floor(group.number / perBlock)));
  const ptr = desc.ptr + (group.number % perBlock) * sb.descSize;
  const sum = vol.sums.run(vol.sums.seed, buffer.ptr, bytes);
  const wide = sb.descSize >= F.EXT4_MIN_DESC_SIZE_64BIT;
  const low = dv.getUint16(ptr + lo, true) === sum % 65536;
  const high = !wide || dv.getUint16(ptr + hi, true) === Math.floor(sum / 65536);
  if (!low || !high)
    throw badChecksum('bitmap', { block: buffer.pblk, field: `group ${group.number}` });
}

function initBlockBitmap(vol: Ext4Volume, group: Group): Buffer {
  const { sb, cache } = vol;
  const { exports } = cache.kernels;
  const buffer = vol.journal!.create(group.blockBitmap);
  const first = sb.groupStart(group.number);
  const clusters = sb.blocksPerGroup / sb.clusterBlocks;
  const inGroup = Math.min(sb.blocksPerGroup, sb.blocks - first);
  for (const [pblk, count] of metaRuns(vol, group)) {
    const from = Math.max(pblk, first) - first;
    const to = Math.min(pblk + count - first, inGroup);
    if (from >= to) continue;
    const bit = Math.floor(from / sb.clusterBlocks);
    exports.bitmapSet(buffer.ptr, bit, Math.ceil(to / sb.clusterBlocks) - bit);
  }
  const used = Math.ceil(inGroup / sb.clusterBlocks);
  exports.bitmapSet(buffer.ptr, used, clusters - used);
  exports.bitmapSet(buffer.ptr, clusters, sb.blockSize * 8 - clusters);
  buffer.kind = KIND_BLOCK_BITMAP;
  clearFlag(vol, group, F.EXT4_BG_BLOCK_UNINIT);
  return buffer;
}

function initInodeBitmap(vol: Ext4Volume, group: Group): Buffer {
  const { sb, cache } = vol;
  const buffer = vol.journal!.create(group.inodeBitmap);
  const { exports } = cache.kernels;
  exports.bitmapSet(buffer.ptr, sb.inodesPerGroup, sb.blockSize * 8 - sb.inodesPerGroup);
  buffer.kind = KIND_INODE_BITMAP;
  clearFlag(vol, group, F.EXT4_BG_INODE_UNINIT);
  return buffer;
}

function clearFlag(vol: Ext4Volume, group: Group, flag: number): void {
  const ptr = editGroup(vol, group.number);
  group.flags &= ~flag;
  vol.dv.setUint16(ptr + F.BG_FLAGS, group.flags, true);
}

/** Stores the checksums of the bitmaps that the transaction changed; the descriptor is part of it already. */
function sealBitmaps(vol: Ext4Volume, number: number): void {
  if (!vol.sums.on) return;
  const { sb, dv, cache } = vol;
  const { buffer, off } = vol.dirtyGroups.get(number)!;
  const group = readGroup(vol, number);
  const ptr = buffer.ptr + off;
  const wide = sb.descSize >= F.EXT4_MIN_DESC_SIZE_64BIT;
  const store = (pblk: number, bytes: number, lo: number, hi: number) => {
    const bitmap = cache.buffers.get(pblk);
    if (bitmap === undefined || bitmap.tx === null) return;
    const sum = vol.sums.run(vol.sums.seed, bitmap.ptr, bytes);
    dv.setUint16(ptr + lo, sum % 65536, true);
    if (wide) dv.setUint16(ptr + hi, Math.floor(sum / 65536), true);
  };
  const blockBytes = sb.blocksPerGroup / sb.clusterBlocks / 8;
  store(group.blockBitmap, blockBytes, F.BG_BLOCK_BITMAP_CSUM_LO, F.BG_BLOCK_BITMAP_CSUM_HI);
  const inodeBytes = sb.inodesPerGroup / 8;
  store(group.inodeBitmap, inodeBytes, F.BG_INODE_BITMAP_CSUM_LO, F.BG_INODE_BITMAP_CSUM_HI);
}

/** Counts free clusters and inodes once, over all groups. Throws Missing. */
export function sumFree(vol: Ext4Volume): { clusters: number; inodes: number } {
  if (vol.free !== null) return vol.free;
  const free = { clusters: 0, inodes: 0 };
  for (let group = 0; group < vol.sb.groups; group++) {
    const { freeClusters, freeInodes } = readGroup(vol, group);
    free.clusters += freeClusters;
    free.inodes += freeInodes;
  }
  vol.free = free;
  return free;
}

/** As sumFree(), a part of the groups a step: before anything is changed. */
export function* countFree(vol: Ext4Volume): Flow<void> {
  const sum = { clusters: 0, inodes: 0 };
  for (let group = 0; group < vol.sb.groups; ) group = yield* step(addGroups, vol, group, sum);
  vol.free ??= sum;
}

const STEP_GROUPS = 512;

function addGroups(vol: Ext4Volume, from: number, sum: Free): number {
  const to = Math.min(from + STEP_GROUPS, vol.sb.groups);
  const add = { clusters: 0, inodes: 0 };
  for (let group = from; group < to; group++) {
    const { freeClusters, freeInodes } = readGroup(vol, group);
    add.clusters += freeClusters;
    add.inodes += freeInodes;
  }
  sum.clusters += add.clusters;
  sum.inodes += add.inodes;
  return to;
}

/** Adds to a total, undone with the step. */
export function addFree(vol: Ext4Volume, clusters: number, inodes: number): void {
  const free = sumFree(vol);
  if (clusters !== 0) vol.journal!.onUndo(backClusters, free, clusters);
  if (inodes !== 0) vol.journal!.onUndo(backInodes, free, inodes);
  free.clusters += clusters;
  free.inodes += inodes;
}

type Free = { clusters: number; inodes: number };

function backClusters(free: Free, added: number): void {
  free.clusters -= added;
}

function backInodes(free: Free, added: number): void {
  free.inodes -= added;
}
