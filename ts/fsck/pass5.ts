// Pass 5: what the bitmaps and counts of the groups and the superblock say, against what the passes before found.
// Groups whose bitmaps were never initialised are held against what they must be then.

import * as F from '../../assembly/format/ext4.ts';
import { hasBit } from '../ext4/features.ts';
import type { Flow } from '../flow.ts';
import { allocCluster } from './alloc.ts';
import type { Bits } from './bits.ts';
import { setUnused } from './groups.ts';
import { markReserved } from './reserved.ts';
import type { Volume } from './volume.ts';

interface Totals {
  blocks: number;
  inodes: number;
}

/** Checks all bitmaps and counts. */
export function* checkBitmaps(vol: Volume): Flow<void> {
  const { sb, disk } = vol;
  markReserved(vol);
  relocateBitmaps(vol);
  const want = new Uint8Array(sb.blockSize);
  const free: Totals = { blocks: 0, inodes: 0 };
  const batch = disk.room >>> 1;
  for (let group = 0; group < sb.groups; group++) {
    if (group % batch === 0) {
      vol.hooks.progress?.(5, group, sb.groups);
      yield* readAhead(vol, group, Math.min(group + batch, sb.groups));
    }
    free.blocks += yield* checkBlockBitmap(vol, group, want);
    free.inodes += yield* checkInodeBitmap(vol, group, want);
  }
  checkTotals(vol, free);
}

/** Gives a bitmap whose place cannot be another one; its contents follow when it is compared. */
function relocateBitmaps(vol: Volume): void {
  const { sb } = vol;
  for (const key of vol.relocate) {
    const group = Math.floor(key / 2);
    vol.allocFrom = vol.cluster(sb.groupStart(group));
    const pblk = allocCluster(vol, group * sb.inodesPerGroup + 1);
    const inside = vol.groupOf(pblk) === group || vol.incompat(F.INCOMPAT_FLEX_BG);
    if (pblk < 0 || !inside) {
      vol.report.complain('no-space', { group }, `group ${group}: no room for a bitmap`);
      continue;
    }
    if (key % 2 === 0) vol.putGroupU32(group, F.BG_BLOCK_BITMAP_LO, F.BG_BLOCK_BITMAP_HI, pblk);
    else vol.putGroupU32(group, F.BG_INODE_BITMAP_LO, F.BG_INODE_BITMAP_HI, pblk);
  }
  vol.relocate.clear();
}

function* readAhead(vol: Volume, from: number, end: number): Flow<void> {
  const pblks: number[] = [];
  for (let group = from; group < end; group++) {
    const flags = vol.groupSums ? vol.groupFlags(group) : 0;
    if (!hasBit(flags, F.EXT4_BG_BLOCK_UNINIT)) pblks.push(vol.blockBitmap(group));
    if (!hasBit(flags, F.EXT4_BG_INODE_UNINIT)) pblks.push(vol.inodeBitmap(group));
  }
  yield* vol.disk.prefetch(pblks.filter((pblk) => vol.inFs(pblk)));
}

/** How many of the first `bits` bits are clear. */
function countClear(bytes: Uint8Array, bits: number): number {
  let set = 0;
  for (let i = 0; i < bits >>> 3; i++) set += POPCOUNT[bytes[i]];
  for (let i = bits & ~7; i < bits; i++) set += (bytes[i >>> 3] >>> (i & 7)) & 1;
  return bits - set;
}

const POPCOUNT = Uint8Array.from({ length: 256 }, (_, byte) => {
  let count = 0;
  for (let bits = byte; bits !== 0; bits &= bits - 1) count++;
  return count;
});

/** Fills `want` with the bits of a bitmap: `real` of them, then ones to the end. */
function expect(want: Uint8Array, set: Bits, from: number, real: number): void {
  want.fill(0xff);
  set.copyTo(want, from, real);
}

/** The free clusters of the group. */
function* checkBlockBitmap(vol: Volume, group: number, want: Uint8Array): Flow<number> {
  const { sb, report } = vol;
  const clusters = Math.ceil(vol.groupBlocks(group) / sb.clusterBlocks);
  const first = vol.cluster(sb.groupStart(group));
  const empty = !vol.used.any(first, clusters);
  if (!empty || !isUninit(vol, group, F.EXT4_BG_BLOCK_UNINIT))
    expect(want, vol.used, first, clusters);
  const free = empty ? clusters : countClear(want, clusters);
  const uninit = isUninit(vol, group, F.EXT4_BG_BLOCK_UNINIT);
  if (uninit) {
    if (hasData(vol, group, first, clusters)) {
      const text = `group ${group}: blocks are in use, the bitmap is marked uninitialised`;
      if (report.report('block-bitmap', { group }, text)) {
        vol.setGroupFlags(group, vol.groupFlags(group) & ~F.EXT4_BG_BLOCK_UNINIT);
        yield* writeBitmap(vol, group, vol.blockBitmap(group), want, true);
      }
    }
  } else {
    const bits = sb.blocksPerGroup / sb.clusterBlocks;
    yield* compare(vol, group, vol.blockBitmap(group), want, true, clusters, bits);
  }
  const stored = vol.groupU16(group, F.BG_FREE_BLOCKS_COUNT_LO, F.BG_FREE_BLOCKS_COUNT_HI);
  if (stored !== free) {
    const text = `group ${group} counts ${stored} free clusters, ${free} were found`;
    if (report.report('group-free-blocks', { group }, text))
      vol.putGroupU16(group, F.BG_FREE_BLOCKS_COUNT_LO, F.BG_FREE_BLOCKS_COUNT_HI, free);
  }
  return free;
}

function isUninit(vol: Volume, group: number, flag: number): boolean {
  return vol.groupSums && hasBit(vol.groupFlags(group), flag);
}

/** Whether anything but fixed metadata is used in a group. */
function hasData(vol: Volume, group: number, first: number, clusters: number): boolean {
  if (!vol.used.any(first, clusters)) return false;
  const { sb } = vol;
  for (let i = 0; i < clusters; i++) {
    if (!vol.used.has(first + i)) continue;
    const pblk = sb.groupStart(group) + i * sb.clusterBlocks;
    if (!vol.meta.any(pblk, sb.clusterBlocks)) return true;
  }
  return false;
}

/** The free inodes of the group. */
function* checkInodeBitmap(vol: Volume, group: number, want: Uint8Array): Flow<number> {
  const { sb, report } = vol;
  const count = sb.inodesPerGroup;
  const empty = !vol.inUse.any(group * count + 1, count);
  if (!empty || !isUninit(vol, group, F.EXT4_BG_INODE_UNINIT))
    expect(want, vol.inUse, group * count + 1, count);
  const free = empty ? count : countClear(want, count);
  const uninit = isUninit(vol, group, F.EXT4_BG_INODE_UNINIT);
  if (!uninit) yield* compare(vol, group, vol.inodeBitmap(group), want, false, count, count);
  else if (free !== count) {
    const text = `group ${group}: its inode bitmap is marked uninitialised, and inodes are in use`;
    if (report.report('inode-bitmap', { group }, text)) {
      vol.setGroupFlags(group, vol.groupFlags(group) & ~F.EXT4_BG_INODE_UNINIT);
      yield* writeBitmap(vol, group, vol.inodeBitmap(group), want, false);
    }
  }
  const stored = vol.groupU16(group, F.BG_FREE_INODES_COUNT_LO, F.BG_FREE_INODES_COUNT_HI);
  if (stored !== free) {
    const text = `group ${group} counts ${stored} free inodes, ${free} were found`;
    if (report.report('group-free-inodes', { group }, text))
      vol.putGroupU16(group, F.BG_FREE_INODES_COUNT_LO, F.BG_FREE_INODES_COUNT_HI, free);
  }
  checkDirs(vol, group);
  return free;
}

function checkDirs(vol: Volume, group: number): void {
  const stored = vol.groupU16(group, F.BG_USED_DIRS_COUNT_LO, F.BG_USED_DIRS_COUNT_HI);
  const dirs = vol.groupDirs.get(group) ?? 0;
  if (stored === dirs) return;
  const text = `group ${group} counts ${stored} directories, ${dirs} were found`;
  if (vol.report.report('group-dirs', { group }, text))
    vol.putGroupU16(group, F.BG_USED_DIRS_COUNT_LO, F.BG_USED_DIRS_COUNT_HI, dirs);
}

/** A bitmap on disk against the one that should be there: bits, padding, checksum. */
function* compare(
  vol: Volume,
  group: number,
  pblk: number,
  want: Uint8Array,
  blocks: boolean,
  real: number,
  summedBits: number,
): Flow<void> {
  const { disk, report } = vol;
  if (!vol.inFs(pblk)) return;
  const code = blocks ? 'block-bitmap' : 'inode-bitmap';
  const ptr = yield* disk.get(pblk);
  const difference = firstDifference(disk.u8, ptr, want);
  const summed = isSummed(vol, group, ptr, blocks, summedBits);
  if (difference < 0 && summed) return;
  const where = { group, block: pblk };
  const what = `group ${group}: the ${blocks ? 'block' : 'inode'} bitmap`;
  const text =
    difference < 0
      ? `${what} has a wrong checksum`
      : difference >= real
        ? `${what} is not padded with ones`
        : `${what} is wrong from bit ${difference} on`;
  if (report.report(difference < 0 ? 'bitmap-checksum' : code, where, text))
    yield* writeBitmap(vol, group, pblk, want, blocks);
}

function firstDifference(bytes: Uint8Array, ptr: number, want: Uint8Array): number {
  for (let i = 0; i < want.length; i++) {
    const odd = bytes[ptr + i] ^ want[i];
    if (odd !== 0) return i * 8 + 31 - Math.clz32(odd & -odd);
  }
  return -1;
}

const BLOCK_SUM = [F.BG_BLOCK_BITMAP_CSUM_LO, F.BG_BLOCK_BITMAP_CSUM_HI] as const;
const INODE_SUM = [F.BG_INODE_BITMAP_CSUM_LO, F.BG_INODE_BITMAP_CSUM_HI] as const;

function isSummed(vol: Volume, group: number, ptr: number, blocks: boolean, bits: number): boolean {
  if (!vol.sums.on) return true;
  const [lo, hi] = blocks ? BLOCK_SUM : INODE_SUM;
  const sum = vol.sums.run(vol.sums.seed, ptr, bits >>> 3);
  return vol.groupU16(group, lo, hi) === (vol.wide ? sum : sum % 65536);
}

function* writeBitmap(
  vol: Volume,
  group: number,
  pblk: number,
  want: Uint8Array,
  blocks: boolean,
): Flow<void> {
  const { disk, sb } = vol;
  if (!vol.inFs(pblk)) return;
  const ptr = disk.fresh(pblk);
  disk.u8.set(want, ptr);
  const bits = blocks ? sb.blocksPerGroup / sb.clusterBlocks : sb.inodesPerGroup;
  if (vol.sums.on) {
    const [lo, hi] = blocks ? BLOCK_SUM : INODE_SUM;
    vol.putGroupU16(group, lo, hi, vol.sums.run(vol.sums.seed, ptr, bits >>> 3));
  }
  if (!blocks && vol.groupSums) trimUnused(vol, group);
  yield* disk.write(pblk, ptr);
}

/** The inodes in use all lie before what is marked unused. */
function trimUnused(vol: Volume, group: number): void {
  const { inodesPerGroup } = vol.sb;
  let unused = 0;
  const last = (group + 1) * inodesPerGroup;
  while (unused < inodesPerGroup && !vol.inUse.has(last - unused)) unused++;
  if (unused < vol.itableUnused(group)) setUnused(vol, group, unused);
}

function checkTotals(vol: Volume, free: Totals): void {
  const { sb, report } = vol;
  const blocks = free.blocks * sb.clusterBlocks;
  if (sb.freeBlocks !== blocks) {
    const text = `the superblock counts ${sb.freeBlocks} free blocks, ${blocks} were found`;
    if (report.report('super-free-blocks', {}, text)) {
      vol.putSuper32(F.S_FREE_BLOCKS_COUNT_LO, blocks % 2 ** 32);
      if (vol.has64) vol.putSuper32(F.S_FREE_BLOCKS_COUNT_HI, Math.floor(blocks / 2 ** 32));
    }
  }
  if (sb.freeInodes === free.inodes) return;
  const text = `the superblock counts ${sb.freeInodes} free inodes, ${free.inodes} were found`;
  if (report.report('super-free-inodes', {}, text))
    vol.putSuper32(F.S_FREE_INODES_COUNT, free.inodes);
}
