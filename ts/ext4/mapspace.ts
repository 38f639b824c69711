// What changes of extent trees and of block maps have in common: the blocks that an inode owns are counted, nodes are
// allocated and freed, and a removal has a budget that one handle keeps to. Counts are in blocks, whole clusters.

import * as F from '../../assembly/format/ext4.ts';
import type { Buffer } from '../cache/buffer.ts';
import { corrupt, Ext4Error } from '../errno.ts';
import { allocBlocks, freeBlocks } from './balloc.ts';
import { hasBit } from './features.ts';
import { descriptorBlock, readGroup } from './group.ts';
import type { Inode } from './inode.ts';
import { needBlocks } from './needblocks.ts';
import type { Ext4Volume } from './volume.ts';

/** Groups in which one step of a removal frees blocks; two credits each. */
const MAX_GROUPS = 16;
/** Pieces that one step frees: each costs the undo list some bytes. */
const MAX_PIECES = 256;
/** Blocks that one step revokes: they take room in the log like changed ones. */
const MAX_REVOKES = 256;
/** Nodes of a map that one step reads or frees. */
export const MAX_NODES = 16;
/** Nodes on one way from the root down that a removal changes, or frees beyond its groups. */
const PATH_NODES = F.EXT4_EXT_MAX_DEPTH;

/** Changed blocks of appendBlock() at most: six allocations, five nodes and the five that they were split from, the
 *  block itself, the inode. */
export const MAP_CREDITS = 24;
/** Changed blocks of one step of a removal: groups, nodes and their groups, the inode, a revoke block or two. */
export const REMOVE_CREDITS = 2 * MAX_GROUPS + 3 * PATH_NODES + 3;

/** Whether the blocks of an inode are metadata: journalled, and revoked when they are freed. */
export function isMetadata(inode: Inode): boolean {
  return !inode.isFile || inode.has(F.EXT4_EA_INODE_FL) || inode.path === 'journalled';
}

/** Sectors of 512 bytes that the inode says it owns. EUCLEAN when no file system has so many. */
export function sectorsOf(inode: Inode): number {
  const { sb } = inode.vol;
  const low = inode.u32(F.I_BLOCKS_LO);
  if (!hasBit(sb.roCompat, F.RO_COMPAT_HUGE_FILE)) return low;
  const value = low + inode.u16(F.I_BLOCKS_HIGH) * 2 ** 32;
  const sectors = inode.has(F.EXT4_HUGE_FILE_FL) ? value * (sb.blockSize / 512) : value;
  if (Number.isSafeInteger(sectors)) return sectors;
  throw corrupt('inode', `${sectors}`, { ino: inode.ino, field: 'i_blocks' });
}

/** Adds blocks to what the inode owns. Counts that do not fit 48 bits of sectors are kept in blocks,
 *  with a flag. Needs
 *  a handle. EFBIG past 2^32 sectors without the feature; EUCLEAN below 0. */
export function addBlocks(inode: Inode, blocks: number): void {
  if (blocks === 0) return;
  const { sb } = inode.vol;
  const unit = sb.blockSize / 512;
  const sectors = sectorsOf(inode) + blocks * unit;
  if (sectors < 0) {
    const reason = `${sectors - blocks * unit} sectors, ${-blocks * unit} freed`;
    throw corrupt('inode', reason, { ino: inode.ino, field: 'i_blocks' });
  }
  if (sectors >= 2 ** 32 && !hasBit(sb.roCompat, F.RO_COMPAT_HUGE_FILE)) {
    throw new Ext4Error('EFBIG', 'more than 2^32 sectors without huge_file');
  }
  const huge = sectors >= 2 ** 48;
  const value = huge ? sectors / unit : sectors;
  inode.put32(F.I_BLOCKS_LO, value % 2 ** 32);
  inode.put16(F.I_BLOCKS_HIGH, Math.floor(value / 2 ** 32));
  if (huge === inode.has(F.EXT4_HUGE_FILE_FL)) return;
  inode.setFlags(huge ? inode.flags | F.EXT4_HUGE_FILE_FL : inode.flags & ~F.EXT4_HUGE_FILE_FL);
}

/** Where the blocks of an inode go when nothing else says: into its own group. */
export function homeGoal(inode: Inode): number {
  const { sb } = inode.vol;
  return sb.groupStart(Math.floor((inode.ino - 1) / sb.inodesPerGroup));
}

/** A zeroed block for the map of an inode, counted; space was kept for such. Needs a handle, three credits. ENOSPC. */
export function newNode(inode: Inode, goal: number, kind: number): Buffer {
  const { vol } = inode;
  const { pblk, count } = allocBlocks(vol, goal, 1, 1, { reserved: true });
  const buffer = vol.journal!.create(pblk);
  buffer.kind = kind;
  buffer.owner = inode.ino;
  buffer.seed = inode.seed;
  addBlocks(inode, count);
  return buffer;
}

/** The mapping of an inode changed, or is about to: what was looked up last is forgotten, also when the step is undone.
 *  Its data is durable with this transaction. */
export function mappingChanged(inode: Inode): void {
  inode.memo.len = 0;
  inode.dataTid = inode.vol.journal!.tid;
  inode.vol.journal!.onUndo(forgetMemo, inode, undefined);
}

function forgetMemo(inode: Inode): void {
  inode.memo.len = 0;
}

/** A run of physical blocks; with bigalloc, of whole clusters. */
export interface Run {
  pblk: number;
  count: number;
}

/** What one step of a removal may still free, and what it will. Filled from the end of a file backwards, before
 *  anything is changed. */
export class Budget {
  readonly runs: Run[] = [];
  /** Blocks of the map itself that go. */
  readonly nodes: number[] = [];
  readonly groups = new Set<number>();
  /** Nodes looked at. */
  seen = 0;
  readonly #inode: Inode;
  readonly #metadata: boolean;
  /** Clusters to be promised to delayed blocks. */
  readonly #promises: number[] = [];
  #revokes = 0;

  constructor(inode: Inode) {
    this.#inode = inode;
    this.#metadata = isMetadata(inode);
  }

  /** How many of the blocks [pblk, pblk + count) fit in, counted from the last one. */
  take(pblk: number, count: number): number {
    const { sb } = this.#inode.vol;
    if (this.runs.length >= MAX_PIECES) return 0;
    const most = this.#metadata ? Math.min(count, MAX_REVOKES - this.#revokes) : count;
    let got = 0;
    while (got < most) {
      const group = groupOf(this.#inode.vol, pblk + count - got - 1);
      if (!this.groups.has(group) && this.groups.size >= MAX_GROUPS) break;
      this.groups.add(group);
      got = Math.min(most, pblk + count - Math.max(pblk, sb.groupStart(group)));
    }
    if (this.#metadata) this.#revokes += Math.max(got, sb.clusterBlocks);
    return Math.max(0, got);
  }

  /** Puts a block of the map on the list when it fits in. */
  takeNode(pblk: number): boolean {
    const group = groupOf(this.#inode.vol, pblk);
    if (!this.groups.has(group) && this.groups.size >= MAX_GROUPS) return false;
    this.groups.add(group);
    this.nodes.push(pblk);
    return true;
  }

  /** Puts blocks that go on the list, in front of those on it when they touch. */
  add(pblk: number, count: number): void {
    const last = this.runs.at(-1);
    if (last !== undefined && last.pblk === pblk + count) {
      last.pblk = pblk;
      last.count += count;
    } else this.runs.push({ pblk, count });
  }

  /** Of clusters that go, those in which blocks are delayed are promised to them again. */
  keepPromises(from: number, to: number): void {
    const { delayed, vol } = this.#inode;
    if (delayed === null) return;
    const { clusterBlocks } = vol.sb;
    for (let at = from; at < to; at += clusterBlocks) {
      const run = delayed.runs.next(at);
      if (run === null) return;
      if (run.from < at + clusterBlocks) this.#promises.push(Math.floor(at / clusterBlocks));
      else at = run.from - (run.from % clusterBlocks) - clusterBlocks;
    }
  }

  /** Frees what is on the list, within a handle; the inode owns so much less. */
  spend(): void {
    const { vol } = this.#inode;
    const { clusterBlocks } = vol.sb;
    let clusters = this.nodes.length;
    for (const { pblk, count } of this.runs) {
      freeBlocks(vol, pblk, count, this.#metadata);
      clusters += Math.ceil(count / clusterBlocks);
    }
    for (const pblk of this.nodes) freeBlocks(vol, pblk, 1, true);
    addBlocks(this.#inode, -clusters * clusterBlocks);
    for (const cluster of this.#promises) promiseCluster(this.#inode, cluster);
    mappingChanged(this.#inode);
  }

  /** Names every bitmap that spend() will need, so that a device that waits is asked once. Throws Missing. */
  prefetch(): void {
    const { vol } = this.#inode;
    if (vol.cache.fill !== null) return;
    for (const pblk of this.nodes) this.groups.add(groupOf(vol, pblk));
    const perBlock = vol.sb.blockSize / vol.sb.descSize;
    const groups = [...this.groups];
    needBlocks(
      vol,
      groups.map((group) => descriptorBlock(vol, Math.floor(group / perBlock))),
    );
    needBlocks(
      vol,
      groups.map((group) => readGroup(vol, group).blockBitmap),
    );
  }
}

/** Promises a cluster to the delayed blocks in it, which had the file's own until now. Undone with the step. */
function promiseCluster(inode: Inode, cluster: number): void {
  const { delayed, vol } = inode;
  if (delayed === null || delayed.promised.has(cluster)) return;
  delayed.promised.add(cluster);
  delayed.clusters++;
  vol.reserved++;
  vol.journal!.onUndo(takePromiseBack, inode, cluster);
}

function takePromiseBack(inode: Inode, cluster: number): void {
  const delayed = inode.delayed!;
  if (!delayed.promised.delete(cluster)) return;
  delayed.clusters--;
  inode.vol.reserved--;
}

function groupOf(vol: Ext4Volume, pblk: number): number {
  return Math.floor((pblk - vol.sb.firstDataBlock) / vol.sb.blocksPerGroup);
}
