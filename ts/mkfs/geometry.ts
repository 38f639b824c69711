// The shape of the groups: how many, how many inodes and table blocks each, how much room the descriptors take and
// may take later. A tail too small for a group of its own is cut off. EINVAL when it cannot be laid out at all.

import * as F from '../../assembly/format/ext4.ts';
import { META_BG, ORPHAN_FILE, RESIZE_INODE, SPARSE, SPARSE2 } from './features.ts';
import type { Geometry, Settings } from './plan.ts';
import { refuse } from './settle.ts';

/** Blocks beside its metadata that a last group must have to be worth it. */
const LEAST_TAIL = 50;
const RESERVED_INODES = 10;

/** Works the geometry out. The settings' features may lose resize_inode for meta_bg when the groups are small. */
export function geometryOf(s: Settings): Geometry {
  const firstDataBlock = s.blockSize === 1024 && s.clusterBlocks === 1 ? 1 : 0;
  let blocks = s.blocks;
  let blocksPerGroup = s.blocksPerGroup;
  let lastCut = s.blocks;
  for (;;) {
    const groups = Math.ceil((blocks - firstDataBlock) / blocksPerGroup);
    if (groups < 1) throw refuse(`${blocks} blocks of ${s.blockSize} bytes are too few`);
    const wanted = wantedInodes(s, groups);
    const inodesPerGroup = inodesFor(s, wanted);
    if (wanted > 8 * s.blockSize) {
      // More inodes than a bitmap has bits: smaller groups, until it fits.
      const smaller = blocksPerGroup - 8 * s.clusterBlocks;
      if (smaller < 256 * s.clusterBlocks) throw refuse(`${s.inodes} inodes are too many`);
      blocksPerGroup = smaller;
      blocks = s.blocks;
      continue;
    }
    const g = shape(s, { firstDataBlock, blocks, blocksPerGroup, groups, inodesPerGroup });
    const tail = (blocks - firstDataBlock) % blocksPerGroup;
    const overhead = overheadOf(g, groups - 1);
    if (tail === 0 || tail >= overhead + LEAST_TAIL) {
      return checked({ ...g, reserved: reservedFor(s, lastCut) });
    }
    if (groups === 1) throw refuse(`${blocks} blocks of ${s.blockSize} bytes are too few`);
    blocks -= tail;
    lastCut = blocks;
  }
}

type Shape = Pick<
  Geometry,
  'firstDataBlock' | 'blocks' | 'blocksPerGroup' | 'groups' | 'inodesPerGroup'
>;

/** Inodes a group, as many as were asked for and all that mkfs itself needs. */
function wantedInodes(s: Settings, groups: number): number {
  const least = RESERVED_INODES + 1 + (s.features.has(ORPHAN_FILE) ? 1 : 0);
  return Math.ceil(Math.max(s.inodes, least) / groups);
}

function inodesFor(s: Settings, wanted: number): number {
  const perBlock = s.blockSize / s.inodeSize;
  // Whole blocks of the table, and whole bytes of the bitmap; bg_free_inodes_count has 16 bits.
  const most = 65536 - perBlock;
  const filled = Math.min(Math.ceil(wanted / perBlock) * perBlock, most);
  return Math.max(filled - (filled % 8), 8);
}

function shape(s: Settings, part: Shape): Geometry {
  const perBlock = s.blockSize / s.descSize;
  const gdtBlocks = Math.ceil(part.groups / perBlock);
  const g: Geometry = {
    ...s,
    ...part,
    tableBlocks: Math.ceil((part.inodesPerGroup * s.inodeSize) / s.blockSize),
    reserved: 0,
    gdtBlocks,
    reservedGdt: 0,
    backupGroups: backupGroups(s, part.groups),
  };
  if (s.features.has(RESIZE_INODE)) g.reservedGdt = reservedGdt(g, perBlock);
  const front = 1 + gdtBlocks + g.reservedGdt + 2 + g.tableBlocks;
  if (!s.features.has(META_BG) && front > part.blocksPerGroup * (3 / 4)) useMetaBg(g);
  return g;
}

/** The share of what was asked for, less in proportion when a tail was cut off (as mke2fs: the last one it tried). */
function reservedFor(s: Settings, blocks: number): number {
  const whole = Math.floor((s.blocks * s.reservedPercent) / 100);
  return blocks === s.blocks ? whole : Math.floor((whole * blocks) / s.blocks);
}

/** With the descriptors spread over the groups no room must be kept for more of them. */
function useMetaBg(g: Geometry): void {
  g.features.drop(RESIZE_INODE, 'the groups are too small for resize_inode');
  g.features.set(META_BG, true);
  g.reservedGdt = 0;
}

/** Descriptor blocks to keep free, so that it can grow to what was asked, or a thousandfold where that takes none. */
function reservedGdt(g: Geometry, perBlock: number): number {
  const limit = Math.min(g.blocks * 1024, 2 ** 32 - 1);
  const groups = Math.ceil((limit - g.firstDataBlock) / g.blocksPerGroup);
  const more = g.growthGdt || Math.ceil(groups / perBlock) - g.gdtBlocks;
  return Math.max(0, Math.min(more, g.blockSize / 4));
}

function backupGroups(s: Settings, groups: number): [number, number] {
  if (!s.features.has(SPARSE2)) return [0, 0];
  const first = s.backups > 0 && groups > 1 ? 1 : 0;
  const second = s.backups > 1 && groups > 2 ? groups - 1 : 0;
  return [first, second];
}

/** Whether a group begins with a superblock. */
export function hasSuper(g: Geometry, group: number): boolean {
  if (group === 0) return true;
  if (g.features.has(SPARSE2)) return group === g.backupGroups[0] || group === g.backupGroups[1];
  if (group === 1 || !g.features.has(SPARSE)) return true;
  return isPower(group, 3) || isPower(group, 5) || isPower(group, 7);
}

function isPower(value: number, base: number): boolean {
  let at = base;
  while (at < value) at *= base;
  return at === value;
}

/** Descriptor blocks that a group holds, reserved ones included, and which block of the table is its first. */
export function descriptors(g: Geometry, group: number): { first: number; count: number } {
  if (!g.features.has(META_BG)) {
    return { first: 0, count: hasSuper(g, group) ? g.gdtBlocks + g.reservedGdt : 0 };
  }
  const perBlock = g.blockSize / g.descSize;
  const within = group % perBlock;
  const holds = within === 0 || within === 1 || within === perBlock - 1;
  return { first: Math.floor(group / perBlock), count: holds ? 1 : 0 };
}

/** Blocks of superblock and descriptors at the front of a group. */
export function frontOf(g: Geometry, group: number): number {
  return (hasSuper(g, group) ? 1 : 0) + descriptors(g, group).count;
}

function overheadOf(g: Geometry, group: number): number {
  return 2 + g.tableBlocks + frontOf(g, group);
}

function checked(g: Geometry): Geometry {
  const total = g.groups * g.inodesPerGroup;
  if (total >= 2 ** 32) throw refuse(`${total} inodes, there are fewer than 2^32`);
  if (overheadOf(g, 0) >= g.blocksPerGroup && g.flexSize === 1) {
    throw refuse('the groups have no room for their own metadata');
  }
  if (g.firstDataBlock + F.SB_OFFSET / 1024 > g.blocks) throw refuse('there is no room');
  return g;
}
