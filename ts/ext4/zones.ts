// The blocks that belong to the file system itself: superblocks, descriptors and their reserve, bitmaps, inode tables,
// the journal. No file owns one; what says so is corrupt. Read from all descriptors when a bitmap is first needed.

import * as F from '../../assembly/format/ext4.ts';
import { corrupt } from '../errno.ts';
import { hasBit } from './features.ts';
import { descriptorBlock, type Group, readGroup } from './group.ts';
import { needBlocks } from './needblocks.ts';
import type { Ext4Volume } from './volume.ts';

/** Sorted runs that do not touch: first block, end. */
type Zones = number[];

const known = new WeakMap<Ext4Volume, Zones>();

/** Throws Missing. */
function zonesOf(vol: Ext4Volume): Zones {
  let zones = known.get(vol);
  if (zones === undefined) {
    needBlocks(vol, descriptorBlocks(vol));
    zones = joined([...groupRuns(vol), ...journalRuns(vol)]);
    known.set(vol, zones);
  }
  return zones;
}

function* descriptorBlocks(vol: Ext4Volume): Generator<number> {
  const perBlock = vol.sb.blockSize / vol.sb.descSize;
  for (let i = 0; i * perBlock < vol.sb.groups; i++) yield descriptorBlock(vol, i);
}

type Run = readonly [from: number, count: number];

function* groupRuns(vol: Ext4Volume): Generator<Run> {
  yield [0, vol.sb.firstDataBlock + 1];
  for (let number = 0; number < vol.sb.groups; number++)
    yield* metaRuns(vol, readGroup(vol, number));
}

/** What belongs to a group: superblock and descriptors, bitmaps, inode table; with flex_bg they lie anywhere. */
export function metaRuns(vol: Ext4Volume, group: Group): Run[] {
  const { sb } = vol;
  const table = Math.ceil((sb.inodesPerGroup * sb.inodeSize) / sb.blockSize);
  const first = sb.groupStart(group.number);
  return [
    [first, superRun(vol, group.number)],
    [group.blockBitmap, 1],
    [group.inodeBitmap, 1],
    [group.inodeTable, table],
  ];
}

/** Blocks at the start of a group that the superblock's copy, descriptors and their reserve take. */
function superRun(vol: Ext4Volume, group: number): number {
  const { sb } = vol;
  const perBlock = sb.blockSize / sb.descSize;
  const blocks = Math.ceil(sb.groups / perBlock);
  const meta = hasBit(sb.incompat, F.INCOMPAT_META_BG);
  const old = meta ? Math.min(sb.u32(F.S_FIRST_META_BG), blocks) : blocks;
  const index = Math.floor(group / perBlock);
  const hasSuper = sb.groupHasSuper(group);
  if (!meta || index < sb.u32(F.S_FIRST_META_BG)) {
    return hasSuper ? 1 + old + sb.u16(F.S_RESERVED_GDT_BLOCKS) : 0;
  }
  const place = group % perBlock;
  const copy = place === 0 || place === 1 || place === perBlock - 1 ? 1 : 0;
  return (hasSuper ? 1 : 0) + copy;
}

/** The blocks of a journal inode, neighbours together. */
function* journalRuns(vol: Ext4Volume): Generator<Run> {
  const source = vol.journal?.area?.source;
  if (source === undefined || source.device !== source.home.device) return;
  let from = -1;
  let count = 0;
  for (let jblk = 0; jblk < source.length; jblk++) {
    const pblk = source.locate(jblk) / source.blockSize;
    if (pblk >= 0 && pblk === from + count) {
      count++;
      continue;
    }
    if (count > 0) yield [from, count];
    from = pblk;
    count = pblk < 0 ? 0 : 1;
  }
  if (count > 0) yield [from, count];
}

function joined(runs: Run[]): Zones {
  const zones: Zones = [];
  for (const [from, count] of runs.sort((a, b) => a[0] - b[0])) {
    if (count === 0) continue;
    if (zones.length > 0 && from <= zones[zones.length - 1]) {
      zones[zones.length - 1] = Math.max(zones[zones.length - 1], from + count);
    } else zones.push(from, from + count);
  }
  return zones;
}

/** The first zone that ends behind `pblk`: an index of its first block. */
function zoneAfter(zones: Zones, pblk: number): number {
  let low = -1;
  let high = zones.length / 2;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (zones[2 * middle + 1] > pblk) high = middle;
    else low = middle;
  }
  return 2 * high;
}

/** EUCLEAN when some of [from, to) belongs to the file system. Throws Missing. */
export function refuseSystem(vol: Ext4Volume, from: number, to: number): void {
  const zones = zonesOf(vol);
  const i = zoneAfter(zones, from);
  if (i === zones.length || zones[i] >= to) return;
  const block = Math.max(from, zones[i]);
  throw corrupt('block', `${block} belongs to the file system`, { block });
}

/** EUCLEAN when the block bitmap at `ptr`, of the group that begins at `start`, has a block of the file system free. */
export function checkSystemBits(vol: Ext4Volume, ptr: number, start: number, pblk: number): void {
  const { sb } = vol;
  const zones = zonesOf(vol);
  const end = Math.min(start + sb.blocksPerGroup, sb.blocks);
  for (let i = zoneAfter(zones, start); i < zones.length && zones[i] < end; i += 2) {
    const from = Math.floor((Math.max(zones[i], start) - start) / sb.clusterBlocks);
    const to = Math.ceil((Math.min(zones[i + 1], end) - start) / sb.clusterBlocks);
    const free = vol.cache.kernels.exports.bitmapNextClear(ptr, from, to) >>> 0;
    if (free === to) continue;
    const block = start + free * sb.clusterBlocks;
    throw corrupt('block bitmap', `${block} is free but belongs to the file system`, {
      block: pblk,
    });
  }
}
