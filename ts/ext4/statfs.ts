// What statfs(2) shows: blocks without overhead, free counts summed over the groups. Sums are made once asked for.

import * as F from '../../assembly/format/ext4.ts';
import { type Flow, step } from '../flow.ts';
import { hasBit } from './features.ts';
import { readGroup } from './group.ts';
import { keptClusters } from './reserve.ts';
import type { Ext4Volume } from './volume.ts';

export interface StatfsRecord {
  type: number;
  bsize: number;
  blocks: number;
  bfree: number;
  bavail: number;
  files: number;
  ffree: number;
}

/** Groups summed in one step. */
const STEP_GROUPS = 512;

/** EUCLEAN, EBADMSG when a group descriptor is broken. */
export function* statfs(vol: Ext4Volume): Flow<StatfsRecord> {
  const { sb } = vol;
  const sum: Sum = { clusters: 0, inodes: 0, overhead: 0 };
  for (let group = 0; group < sb.groups; ) group = yield* step(sumGroups, vol, group, sum);
  const bfree = Math.max(0, sum.clusters - vol.reserved) * sb.clusterBlocks;
  const stored = sb.u32(F.S_OVERHEAD_CLUSTERS);
  const overhead =
    stored !== 0 ? stored * sb.clusterBlocks : sum.overhead + (yield* step(journalBlocks, vol));
  const kept = sb.reservedBlocks + keptClusters(vol) * sb.clusterBlocks;
  return {
    type: F.EXT4_SUPER_MAGIC,
    bsize: sb.blockSize,
    blocks: Math.max(0, sb.blocks - overhead),
    bfree,
    bavail: Math.max(0, bfree - kept),
    files: sb.inodes,
    ffree: sum.inodes,
  };
}

interface Sum {
  clusters: number;
  inodes: number;
  overhead: number;
}

function sumGroups(vol: Ext4Volume, from: number, sum: Sum): number {
  const { sb } = vol;
  const to = Math.min(from + STEP_GROUPS, sb.groups);
  const add: Sum = { clusters: 0, inodes: 0, overhead: from === 0 ? sb.firstDataBlock : 0 };
  const table = Math.ceil((sb.inodesPerGroup * sb.inodeSize) / sb.blockSize);
  for (let group = from; group < to; group++) {
    const { freeClusters, freeInodes } = readGroup(vol, group);
    add.clusters += freeClusters;
    add.inodes += freeInodes;
    add.overhead += table + 2 + superBlocks(vol, group);
  }
  sum.clusters += add.clusters;
  sum.inodes += add.inodes;
  sum.overhead += add.overhead;
  return to;
}

/** Blocks that the superblock, the descriptors and their reserve take at a group's start. */
function superBlocks(vol: Ext4Volume, group: number): number {
  const { sb } = vol;
  const perBlock = sb.blockSize / sb.descSize;
  const all = Math.ceil(sb.groups / perBlock);
  const first = hasBit(sb.incompat, F.INCOMPAT_META_BG) ? sb.u32(F.S_FIRST_META_BG) : all;
  let count = 0;
  if (sb.groupHasSuper(group)) count = 1 + Math.min(first, all) + sb.u16(F.S_RESERVED_GDT_BLOCKS);
  const index = Math.floor(group / perBlock);
  if (index >= first) {
    const place = group % perBlock;
    if (place === 0 || place === 1 || place === perBlock - 1) count++;
  }
  return count;
}

/** Blocks of an internal journal: overhead as well. */
function journalBlocks(vol: Ext4Volume): number {
  const { sb } = vol;
  if (!sb.hasJournal || sb.journalIno === 0) return 0;
  return Math.floor(vol.inodes.get(sb.journalIno).size / sb.blockSize);
}
