// Inode tables that are not where their descriptor says, where no copy of it helps. They lie in a pattern: behind the
// table of the group before, or as far into the group as in other groups. What is found there is judged by its records.
// A table that is nowhere gets a new, empty place, and its inodes are lost.

import * as F from '../../assembly/format/ext4.ts';
import { type Flow, writeDevice } from '../flow.ts';
import { groupSum } from './groups.ts';
import { Record } from './record.ts';
import type { Volume } from './volume.ts';

/** Places looked at for one table. */
const MAX_PLACES = 64;

/** With repair: looks for tables whose descriptor cannot be right, and enters where they are. */
export function* findTables(vol: Volume): Flow<void> {
  const suspects = suspectGroups(vol);
  for (const group of suspects) {
    let [best, most] = [0, -1];
    for (const pblk of placesOf(vol, group, suspects)) {
      const score = yield* scoreOf(vol, group, pblk);
      if (score > most) [best, most] = [pblk, score];
    }
    if (best === 0 || best === vol.inodeTable(group)) continue;
    const text = `group ${group}: the inode table is not where the descriptor says, but at ${best}`;
    if (!vol.report.report('inode-table-found', { group, block: best }, text)) continue;
    vol.putGroupU32(group, F.BG_INODE_TABLE_LO, F.BG_INODE_TABLE_HI, best);
  }
}

/** Groups whose table lies outside, on the front metadata or on another table, or whose descriptor has a wrong sum. */
function suspectGroups(vol: Volume): Set<number> {
  const { sb } = vol;
  const found = new Set<number>();
  const sorted: { group: number; table: number }[] = [];
  for (let group = 0; group < sb.groups; group++) {
    const table = vol.inodeTable(group);
    const at = group * sb.descSize + F.BG_CHECKSUM;
    const summed = !vol.groupSums || vol.descView.getUint16(at, true) === groupSum(vol, group);
    if (!summed || !isInside(vol, table)) found.add(group);
    sorted.push({ group, table });
  }
  sorted.sort((a, b) => a.table - b.table);
  for (let i = 1; i < sorted.length; i++) {
    if (sorted[i - 1].table + vol.tableBlocks <= sorted[i].table) continue;
    found.add(sorted[i - 1].group).add(sorted[i].group);
  }
  return found;
}

/** Whether a table may be there: in the file system, and on no superblock. */
function isInside(vol: Volume, table: number): boolean {
  const { sb } = vol;
  if (table <= vol.superBlock || table + vol.tableBlocks > sb.blocks) return false;
  const from = vol.groupOf(table);
  for (let group = from; group <= vol.groupOf(table + vol.tableBlocks - 1); group++) {
    const start = sb.groupStart(group);
    if (sb.groupHasSuper(group) && start >= table && start < table + vol.tableBlocks) return false;
  }
  return table > sb.groupStart(from) || !sb.groupHasSuper(from);
}

/** Where the table of a group may be: where it says, then by the pattern of the groups that can be believed. */
function placesOf(vol: Volume, group: number, suspects: Set<number>): number[] {
  const { sb } = vol;
  const places = new Set<number>([vol.inodeTable(group)]);
  const taken: number[] = [];
  for (let other = 0; other < sb.groups; other++) {
    if (suspects.has(other)) continue;
    const table = vol.inodeTable(other);
    taken.push(table);
    const near = Math.abs(other - group) < 16;
    if (near) places.add(table + (group - other) * vol.tableBlocks);
    if (places.size < MAX_PLACES) places.add(sb.groupStart(group) + table - sb.groupStart(other));
  }
  const free = (pblk: number) =>
    taken.every((table) => Math.abs(table - pblk) >= vol.tableBlocks) && isInside(vol, pblk);
  return [...places].slice(0, MAX_PLACES).filter(free);
}

/** How many records at a place are inodes of this group; 0 for zeroes, -1 when there is something else. */
function* scoreOf(vol: Volume, group: number, pblk: number): Flow<number> {
  const { disk, sb } = vol;
  const perChunk = Math.floor(disk.windowBytes / sb.blockSize);
  const perBlock = sb.blockSize / sb.inodeSize;
  const record = new Record(vol, 0, 0);
  let good = 0;
  let bad = 0;
  for (let from = 0; from < vol.tableBlocks; from += perChunk) {
    const count = Math.min(perChunk, vol.tableBlocks - from);
    yield* disk.scan(pblk + from, count);
    const inodes = Math.min(count * perBlock, sb.inodesPerGroup - from * perBlock);
    for (let i = 0; i < inodes; i++) {
      record.ptr = disk.window + i * sb.inodeSize;
      record.ino = group * sb.inodesPerGroup + from * perBlock + i + 1;
      if (disk.kernels.exports.isZero(record.ptr, sb.inodeSize) === 1) continue;
      if (isInode(vol, record)) good++;
      else bad++;
    }
  }
  return bad > good / 4 ? -1 : good;
}

/** With checksums a record says whose it is; without them a file of a type that exists will do. */
function isInode(vol: Volume, record: Record): boolean {
  if (vol.sums.on) return record.isSummed();
  const type = record.type;
  if (record.mode === 0) return record.ino < vol.sb.firstIno || record.u32(F.I_DTIME) !== 0;
  const known = [F.S_IFREG, F.S_IFDIR, F.S_IFLNK, F.S_IFCHR, F.S_IFBLK, F.S_IFIFO, F.S_IFSOCK];
  return known.includes(type) && record.u32(F.I_CTIME) !== 0;
}

/** After pass 1: an empty table for each group that has none any more. The next round sees it. */
export function* moveTables(vol: Volume): Flow<void> {
  for (const group of vol.lostTables) {
    const pblk = findRoom(vol, group);
    if (pblk < 0) {
      vol.fatal = `group ${group}: there is no room for a new inode table`;
      return;
    }
    const text = `group ${group} gets an empty inode table at block ${pblk}: its inodes are lost`;
    if (!vol.report.report('inode-table-lost', { group, block: pblk }, text)) continue;
    yield* zeroTable(vol, pblk);
    vol.putGroupU32(group, F.BG_INODE_TABLE_LO, F.BG_INODE_TABLE_HI, pblk);
    vol.restart = true;
  }
}

/** Free blocks in a row for a table, in whole clusters: from its group on, or within it without flex_bg; or -1. */
function findRoom(vol: Volume, group: number): number {
  const { sb } = vol;
  const per = sb.clusterBlocks;
  const want = Math.ceil(vol.tableBlocks / per);
  const start = vol.cluster(sb.groupStart(group));
  const flex = vol.incompat(F.INCOMPAT_FLEX_BG);
  const last = sb.groupStart(group) + vol.groupBlocks(group) - 1;
  const end = vol.cluster(flex ? sb.blocks - 1 : last) + 1;
  const ranges = flex ? [start, end, 0, start] : [start, end];
  for (let i = 0; i < ranges.length; i += 2) {
    let at = vol.used.nextClear(ranges[i], ranges[i + 1]);
    while (at + want <= ranges[i + 1]) {
      if (!vol.used.any(at, want)) {
        vol.used.addRange(at, want);
        return sb.firstDataBlock + at * per;
      }
      at = vol.used.nextClear(at + 1, ranges[i + 1]);
    }
  }
  return -1;
}

function* zeroTable(vol: Volume, pblk: number): Flow<void> {
  const { disk } = vol;
  // Through write(), so that the image is marked unclean before.
  yield* disk.write(pblk, disk.fresh(pblk));
  disk.drop();
  const most = Math.floor(disk.windowBytes / disk.blockSize);
  for (let i = 1; i < vol.tableBlocks; i += most) {
    const bytes = Math.min(most, vol.tableBlocks - i) * disk.blockSize;
    disk.kernels.exports.zero(disk.window, bytes);
    const from = disk.u8.subarray(disk.window, disk.window + bytes);
    yield* writeDevice(disk.device, from, (pblk + i) * disk.blockSize);
  }
}
