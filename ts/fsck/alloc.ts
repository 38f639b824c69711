// Room for repairs: clusters and inodes that pass 1 found free. What is given out counts as used from then on; the
// bitmaps on disk follow in pass 5.

import * as F from '../../assembly/format/ext4.ts';
import type { Flow } from '../flow.ts';
import type { Record } from './record.ts';
import type { Volume } from './volume.ts';

/** The first block of a free cluster, from the group of `ino` on; -1 when there is none. */
export function allocCluster(vol: Volume, ino: number): number {
  const { sb } = vol;
  const total = vol.cluster(sb.blocks - 1) + 1;
  const group = Math.min(vol.inodeGroup(Math.max(1, ino)), sb.groups - 1);
  const goal = Math.max(vol.cluster(sb.groupStart(group)), vol.allocFrom);
  let found = vol.used.nextClear(goal, total);
  if (found >= total) found = vol.used.nextClear(0, goal);
  if (found >= total || (found >= goal && found < goal) || vol.used.has(found)) return -1;
  vol.used.add(found);
  vol.allocFrom = found + 1;
  return sb.firstDataBlock + found * sb.clusterBlocks;
}

/** Blocks for `count` logical blocks in a row; null when there are not as many. */
export function allocBlocks(vol: Volume, ino: number, count: number): number[] | null {
  const blocks: number[] = [];
  while (blocks.length < count) {
    const first = allocCluster(vol, ino);
    if (first < 0) return null;
    for (let i = 0; i < vol.sb.clusterBlocks && blocks.length < count; i++) blocks.push(first + i);
  }
  return blocks;
}

/** A free inode, its record emptied; null when there is none. Tables that are not initialised are left alone. */
export function* allocInode(vol: Volume): Flow<Record | null> {
  const { sb } = vol;
  for (let group = 0; group < sb.groups; group++) {
    const used = vol.usedInodes(group);
    const grown = vol.groupSums && used < sb.inodesPerGroup && used > 0 ? 1 : 0;
    const from = Math.max(sb.firstIno, group * sb.inodesPerGroup + 1);
    const end = group * sb.inodesPerGroup + 1 + used + grown;
    const ino = vol.inUse.nextClear(from, end);
    if (ino >= end) continue;
    const inside = (ino - 1) % sb.inodesPerGroup;
    if (inside >= used) {
      const unused = sb.inodesPerGroup - inside - 1;
      vol.putGroupU16(group, F.BG_ITABLE_UNUSED_LO, F.BG_ITABLE_UNUSED_HI, unused);
    }
    const record = yield* vol.inode(ino);
    if (record === null) continue;
    vol.inUse.add(ino);
    record.clear();
    return record;
  }
  return null;
}
