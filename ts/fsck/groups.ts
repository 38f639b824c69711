// Group descriptors: read into memory, from the copies where the primary is lost, each checked for its checksum and for
// places that can be, the fixed metadata marked as used; and written back, with all copies when the primary was lost.

import { ABI_NAME } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/ext4.ts';
import { hasBit } from '../ext4/features.ts';
import type { Flow } from '../flow.ts';
import type { Volume } from './volume.ts';

/** Where the block of descriptors number `index` lies; in group `copy`'s set of copies where that is not 0. */
export function descriptorBlock(vol: Volume, index: number, copy = 0): number {
  const { sb } = vol;
  const perBlock = sb.blockSize / sb.descSize;
  const first = vol.incompat(F.INCOMPAT_META_BG)
    ? sb.u32(F.S_FIRST_META_BG)
    : Number.POSITIVE_INFINITY;
  if (index < first) {
    const start = copy === 0 ? vol.superBlock : sb.groupStart(copy);
    return start + 1 + index;
  }
  const group = index * perBlock + copy;
  let at = sb.groupStart(group) + (sb.groupHasSuper(group) ? 1 : 0);
  if (sb.blockSize === 1024 && group === 0 && sb.firstDataBlock === 0) at++;
  return at;
}

/** How many blocks the table of descriptors takes. */
export function descriptorBlocks(vol: Volume): number {
  return Math.ceil((vol.sb.groups * vol.sb.descSize) / vol.sb.blockSize);
}

/** Reads the table; that of group 1 when the superblock came from there. */
export function* readGroups(vol: Volume): Flow<void> {
  const { disk, desc } = vol;
  const count = descriptorBlocks(vol);
  const copy = vol.fromBackup && vol.sb.groups > 1 ? 1 : 0;
  for (let index = 0; index < count; index++) {
    if (index % disk.room === 0) {
      const batch = Array.from({ length: Math.min(disk.room, count - index) }, (_, i) =>
        descriptorBlock(vol, index + i, copy),
      );
      yield* disk.prefetch(batch);
    }
    const ptr = yield* disk.get(descriptorBlock(vol, index, copy));
    const at = index * disk.blockSize;
    desc.set(disk.u8.subarray(ptr, ptr + Math.min(disk.blockSize, desc.length - at)), at);
  }
}

/** Writes the changed descriptors, their checksums first; to every copy when `copies`. */
export function* writeGroups(vol: Volume, copies: boolean): Flow<void> {
  const { sb, disk } = vol;
  if (vol.dirtyGroups.size === 0 && !copies) return;
  for (const group of vol.dirtyGroups) sealGroup(vol, group);
  const perBlock = sb.blockSize / sb.descSize;
  const blocks = new Set([...vol.dirtyGroups].map((group) => Math.floor(group / perBlock)));
  vol.dirtyGroups.clear();
  if (copies) for (let index = 0; index < descriptorBlocks(vol); index++) blocks.add(index);
  for (const index of blocks) {
    for (const pblk of placesOf(vol, index, copies)) {
      const ptr = yield* disk.get(pblk);
      const at = index * sb.blockSize;
      disk.u8.set(vol.desc.subarray(at, at + sb.blockSize), ptr);
      yield* disk.write(pblk, ptr);
    }
  }
}

/** The primary block of descriptors, and its copies. */
function placesOf(vol: Volume, index: number, copies: boolean): number[] {
  const { sb } = vol;
  const places = [descriptorBlock(vol, index)];
  if (!copies) return places;
  const meta = vol.incompat(F.INCOMPAT_META_BG) && index >= sb.u32(F.S_FIRST_META_BG);
  if (meta) {
    const perBlock = sb.blockSize / sb.descSize;
    for (const copy of [1, perBlock - 1]) {
      if (index * perBlock + copy < sb.groups) places.push(descriptorBlock(vol, index, copy));
    }
    return places;
  }
  for (let group = 1; group < sb.groups; group++) {
    if (sb.groupHasSuper(group)) places.push(descriptorBlock(vol, index, group));
  }
  return places;
}

/** The checksum that a group's descriptor should carry; 0 where there are none. */
export function groupSum(vol: Volume, group: number): number {
  const { sb, sums, disk } = vol;
  const { exports, u8, dv } = disk.kernels;
  const at = ABI_NAME + 256;
  u8.set(vol.desc.subarray(group * sb.descSize, (group + 1) * sb.descSize), at);
  if (sums.on) {
    const seed = sums.u32(sums.seed, group);
    dv.setUint16(at + F.BG_CHECKSUM, 0, true);
    return sums.run(seed, at, sb.descSize) % 65536;
  }
  if (!sb.gdtCsum) return 0;
  u8.set(sb.uuid, ABI_NAME);
  dv.setUint32(ABI_NAME + 16, group, true);
  const head = exports.crc16(exports.crc16(0xffff, ABI_NAME, 20), at, F.BG_CHECKSUM);
  const rest = F.BG_CHECKSUM + 2;
  return (sb.descSize > rest ? exports.crc16(head, at + rest, sb.descSize - rest) : head) & 0xffff;
}

export function sealGroup(vol: Volume, group: number): void {
  if (!vol.groupSums) return;
  const at = group * vol.sb.descSize + F.BG_CHECKSUM;
  vol.descView.setUint16(at, groupSum(vol, group), true);
}

/** Checks every descriptor and marks what is fixed: tables first, so that a bitmap on one of them has to move. */
export function checkGroups(vol: Volume): void {
  const { sb } = vol;
  markSupers(vol);
  for (let group = 0; group < sb.groups; group++)
    place(vol, group, 'inode table', vol.inodeTable(group), vol.tableBlocks);
  for (let group = 0; group < sb.groups; group++) checkGroup(vol, group);
}

/** Copies of a descriptor that are asked at most. */
const MAX_COPIES = 8;

/** With repair, descriptors that cannot be believed are taken from their first copy that can. */
export function* adoptCopies(vol: Volume): Flow<void> {
  const { sb, disk, desc } = vol;
  const perBlock = sb.blockSize / sb.descSize;
  for (let group = 0; group < sb.groups; group++) {
    if (isPlausible(vol, group)) {
      if (vol.fromBackup) makeOld(vol, group);
    } else {
      const index = Math.floor(group / perBlock);
      const at = group * sb.descSize;
      const own = desc.slice(at, at + sb.descSize);
      let sound = false;
      for (const pblk of placesOf(vol, index, true).slice(1, 1 + MAX_COPIES)) {
        const ptr = (yield* disk.get(pblk)) + (group % perBlock) * sb.descSize;
        desc.set(disk.u8.subarray(ptr, ptr + sb.descSize), at);
        sound = isPlausible(vol, group);
        if (sound) break;
      }
      if (sound) adopt(vol, group);
      else desc.set(own, at);
    }
  }
}

function adopt(vol: Volume, group: number): void {
  const text = `group ${group}: the descriptor is damaged, its copy is not`;
  vol.report.report('group-from-copy', { group }, text);
  vol.dirtyGroups.add(group);
  makeOld(vol, group);
}

/** A copy is as old as the file system: what was not initialised then may be in use now. */
function makeOld(vol: Volume, group: number): void {
  if (!vol.groupSums) return;
  distrust(vol, group);
  sealGroup(vol, group);
}

/** Whether a descriptor's checksum is right and its places lie in the file system. */
function isPlausible(vol: Volume, group: number): boolean {
  const at = group * vol.sb.descSize + F.BG_CHECKSUM;
  const summed = !vol.groupSums || vol.descView.getUint16(at, true) === groupSum(vol, group);
  const table = vol.inodeTable(group);
  const inside = vol.inFs(table) && table + vol.tableBlocks <= vol.sb.blocks;
  return summed && inside && vol.inFs(vol.blockBitmap(group)) && vol.inFs(vol.inodeBitmap(group));
}

/** The root directory where group 0 says: a table that is not one must not be mended into one. */
export function* checkTable(vol: Volume): Flow<void> {
  if (vol.report.mode === 'check' || vol.fatal !== '') return;
  yield* checkFirstIno(vol);
  const record = yield* vol.inode(F.EXT4_ROOT_INO);
  if (record === null) return;
  const sound = record.type === F.S_IFDIR && record.links > 0;
  if (vol.doubtful ? sound && record.isSummed() : sound || (yield* othersSound(vol))) return;
  vol.fatal = 'the descriptor of group 0 is damaged, and its inode table is not where it says';
}

/** Whether the other inodes that have fixed numbers are what they should be: then only the root is lost. */
function* othersSound(vol: Volume): Flow<boolean> {
  const inos: number[] = [];
  if (vol.compat(F.COMPAT_HAS_JOURNAL) && vol.sb.journalIno === F.EXT4_JOURNAL_INO)
    inos.push(F.EXT4_JOURNAL_INO);
  if (vol.compat(F.COMPAT_RESIZE_INODE)) inos.push(F.EXT4_RESIZE_INO);
  for (const ino of inos) {
    const record = yield* vol.inode(ino);
    if (record === null || record.type !== F.S_IFREG || record.links === 0) return false;
    // A journal has 1,024 blocks at least; the resize inode is larger still.
    if (record.size < 1024 * vol.sb.blockSize) return false;
  }
  return true;
}

/** Inodes in use below the first that users get: that number is wrong, not they. */
function* checkFirstIno(vol: Volume): Flow<void> {
  const usual = F.EXT4_GOOD_OLD_FIRST_INO;
  if (vol.sb.firstIno === usual || vol.sb.u32(F.S_REV_LEVEL) === 0) return;
  const record = yield* vol.inode(usual);
  if (record === null || record.links === 0) return;
  const text = `superblock: the first inode of users is ${vol.sb.firstIno}, and ${usual} is in use`;
  if (!vol.report.report('super-first-ino', {}, text)) return;
  vol.putSuper32(F.S_FIRST_INO, usual);
  vol.restart = true;
}

function checkGroup(vol: Volume, group: number): void {
  const { report, sb } = vol;
  const at = group * sb.descSize + F.BG_CHECKSUM;
  const sound = !vol.groupSums || vol.descView.getUint16(at, true) === groupSum(vol, group);
  if (!sound) {
    const text = `group ${group}: the descriptor's checksum is wrong`;
    if (group === 0) vol.doubtful = true;
    if (report.report('group-checksum', { group }, text)) distrust(vol, group);
  }
  place(vol, group, 'block bitmap', vol.blockBitmap(group), 1);
  place(vol, group, 'inode bitmap', vol.inodeBitmap(group), 1);
  if (!vol.groupSums) return checkNoFlags(vol, group);
  const flags = vol.groupFlags(group);
  const last = group === sb.groups - 1;
  if (last && hasBit(flags, F.EXT4_BG_BLOCK_UNINIT)) {
    const text = 'the block bitmap of the last group is marked uninitialised';
    if (report.report('last-group-uninit', { group }, text))
      vol.setGroupFlags(group, flags & ~F.EXT4_BG_BLOCK_UNINIT);
  }
  if (vol.itableUnused(group) > sb.inodesPerGroup) {
    const text = `group ${group}: ${vol.itableUnused(group)} unused inodes of ${sb.inodesPerGroup}`;
    if (report.report('group-unused', { group }, text)) setUnused(vol, group, 0);
  }
}

/** Without checksums nothing says what is not initialised. */
function checkNoFlags(vol: Volume, group: number): void {
  const flags = vol.groupFlags(group);
  const marks = F.EXT4_BG_INODE_UNINIT | F.EXT4_BG_BLOCK_UNINIT;
  if ((flags & marks) === 0) return;
  const text = `group ${group} is marked uninitialised without the feature`;
  const code = (flags & F.EXT4_BG_INODE_UNINIT) !== 0 ? 'group-flags' : 'group-block-flag';
  if (vol.report.report(code, { group }, text)) vol.setGroupFlags(group, flags & ~marks);
}

/** A descriptor that may lie: its marks of what is not initialised are not believed. */
function distrust(vol: Volume, group: number): void {
  const keep = F.EXT4_BG_INODE_UNINIT | F.EXT4_BG_BLOCK_UNINIT;
  vol.setGroupFlags(group, vol.groupFlags(group) & ~keep);
  setUnused(vol, group, 0);
}

export function setUnused(vol: Volume, group: number, count: number): void {
  vol.putGroupU16(group, F.BG_ITABLE_UNUSED_LO, F.BG_ITABLE_UNUSED_HI, count);
}

/** Superblocks, descriptors with their reserve, and the multi-mount block. */
function markSupers(vol: Volume): void {
  const { sb } = vol;
  const meta = vol.incompat(F.INCOMPAT_META_BG);
  const total = descriptorBlocks(vol);
  const old = meta ? sb.u32(F.S_FIRST_META_BG) : total;
  const reserve = sb.u16(F.S_RESERVED_GDT_BLOCKS);
  for (let group = 0; group < sb.groups; group++) {
    if (!sb.groupHasSuper(group)) continue;
    const start = group === 0 ? vol.superBlock : sb.groupStart(group);
    markFixed(vol, start, 1 + old + reserve);
  }
  if (sb.firstDataBlock === 0) markFixed(vol, 0, vol.superBlock + 1);
  for (let index = old; index < total; index++) {
    const perBlock = sb.blockSize / sb.descSize;
    for (const copy of [0, 1, perBlock - 1]) {
      const group = index * perBlock + copy;
      if (group < sb.groups) markFixed(vol, descriptorBlock(vol, index, copy), 1);
    }
  }
  const mmp = sb.u32(F.S_MMP_BLOCK + 4) * 2 ** 32 + sb.u32(F.S_MMP_BLOCK);
  if (vol.incompat(F.INCOMPAT_MMP) && vol.inFs(mmp)) markFixed(vol, mmp, 1);
}

function markFixed(vol: Volume, pblk: number, count: number): void {
  const end = Math.min(pblk + count, vol.sb.blocks);
  if (end <= pblk) return;
  vol.meta.addRange(pblk, end - pblk);
  vol.claim(pblk, end - pblk);
}

/** A table that is nowhere is made anew after pass 1; the first one has the root and the journal, and is not. */
function loseTable(vol: Volume, group: number, text: string): void {
  if (vol.report.mode !== 'all' || group === 0) vol.fatal = text;
  else vol.lostTables.add(group);
}

/** Checks where a bitmap or a table lies, and marks it. */
function place(vol: Volume, group: number, what: string, pblk: number, count: number): void {
  const { report, sb } = vol;
  const own = !vol.incompat(F.INCOMPAT_FLEX_BG);
  const first = own ? sb.groupStart(group) : sb.firstDataBlock;
  const end = own ? first + vol.groupBlocks(group) : sb.blocks;
  const low = first === 0 ? 1 : first;
  if (pblk < low || pblk + count > end) {
    const where = own ? 'in its group' : 'in the file system';
    const text = `group ${group}: the ${what} at block ${pblk} does not lie ${where}`;
    const mend = report.report(`${what.replace(' ', '-')}-place`, { group, block: pblk }, text);
    if (mend && what !== 'inode table')
      vol.relocate.add(group * 2 + (what === 'inode bitmap' ? 1 : 0));
    const outside = pblk + count > sb.blocks || pblk < 1;
    if (outside && what === 'inode table') loseTable(vol, group, text);
    if (outside) return;
  }
  if (vol.meta.any(pblk, count)) {
    const text = `group ${group}: the ${what} at block ${pblk} lies on other metadata`;
    const mend = report.report('metadata-conflict', { group, block: pblk }, text);
    if (mend && what === 'inode table') loseTable(vol, group, text);
    else if (mend) vol.relocate.add(group * 2 + (what === 'inode bitmap' ? 1 : 0));
    if (mend) return;
  }
  markFixed(vol, pblk, count);
}
