// Inodes by type: the map of blocks or what stands in its place, and the size that follows from it.

import * as F from '../../assembly/format/ext4.ts';
import type { Flow } from '../flow.ts';
import { type Claims, DIR_BLOCKS_MAX } from './claim.ts';
import { ExtentWalk } from './extents.ts';
import { BlockMapWalk } from './indirect.ts';
import { inlineValue } from './inlinedir.ts';
import type { Record } from './record.ts';
import type { Volume } from './volume.ts';
import type { XattrFacts } from './xattrs.ts';

const INLINE_BODY = F.I_BLOCK_SIZE;

/** Walks the map, whatever kind it is; nothing for inline data. */
export function* walkMap(vol: Volume, claims: Claims, record: Record): Flow<void> {
  checkMapFlags(vol, record);
  if (record.has(F.EXT4_EXTENTS_FL)) {
    yield* new ExtentWalk(vol, record, claims, claims.isDir).run();
  } else yield* new BlockMapWalk(vol, record, claims).run();
  if (record.has(F.EXT4_EXTENTS_FL) || vol.sb.clusterBlocks === 1 || claims.blocks === 0) return;
  const { ino } = record;
  const text = `inode ${ino} has a block map on a file system with clusters`;
  if (vol.report.report('block-map-cluster', { ino }, text)) vol.misaligned.add(ino);
}

function checkMapFlags(vol: Volume, record: Record): void {
  const { ino } = record;
  const { report } = vol;
  const rooted = isExtentRoot(vol, record);
  const has = record.has(F.EXT4_EXTENTS_FL);
  if (has && !vol.incompat(F.INCOMPAT_EXTENTS)) {
    const text = `inode ${ino} has extents on a file system without them`;
    if (report.report('flag-extents', { ino }, text)) {
      if (rooted)
        vol.putSuper32(F.S_FEATURE_INCOMPAT, (vol.sb.incompat | F.INCOMPAT_EXTENTS) >>> 0);
      else record.clearFlag(F.EXT4_EXTENTS_FL);
    }
  } else if (!has && rooted && vol.incompat(F.INCOMPAT_EXTENTS)) {
    const text = `inode ${ino} has extents without the flag for them`;
    if (report.report('flag-extents-missing', { ino }, text))
      record.put32(F.I_FLAGS, (record.flags | F.EXT4_EXTENTS_FL) >>> 0);
  }
}

/** Whether i_block holds the root of a tree of extents that is sound as far as it shows. */
function isExtentRoot(vol: Volume, record: Record): boolean {
  const { dv } = vol.disk;
  const root = record.ptr + F.I_BLOCK;
  const most = (F.I_BLOCK_SIZE - F.EH_SIZE) / F.EXT4_EXT_ENTRY_SIZE;
  return (
    dv.getUint16(root + F.EH_MAGIC, true) === F.EXT4_EXT_MAGIC &&
    dv.getUint16(root + F.EH_MAX, true) === most &&
    dv.getUint16(root + F.EH_ENTRIES, true) <= most &&
    dv.getUint16(root + F.EH_DEPTH, true) <= F.EXT4_EXT_MAX_DEPTH
  );
}

/** Inline data: true when the inode has it. Says when it may not. */
function checkInline(vol: Volume, record: Record, facts: XattrFacts): boolean {
  if (!record.has(F.EXT4_INLINE_DATA_FL)) return false;
  const { ino } = record;
  const { report } = vol;
  if (!vol.incompat(F.INCOMPAT_INLINE_DATA)) {
    const text = `inode ${ino} has inline data on a file system without it`;
    if (report.report('flag-inline', { ino }, text)) record.clearFlag(F.EXT4_INLINE_DATA_FL);
    return facts.inlineBytes >= 0;
  }
  if (record.has(F.EXT4_EXTENTS_FL)) {
    const text = `inode ${ino} has inline data and extents`;
    if (report.report('inline-extents', { ino }, text)) {
      record.clearFlag(isExtentRoot(vol, record) ? F.EXT4_INLINE_DATA_FL : F.EXT4_EXTENTS_FL);
    }
    return !isExtentRoot(vol, record);
  }
  if (facts.inlineBytes < 0) {
    const text = `inode ${ino} is marked inline and has no system.data`;
    if (report.report('inline-missing', { ino }, text)) emptyInline(vol, record);
  }
  return true;
}

/** Inline data without their attribute: a directory is written anew, anything else is empty. */
function emptyInline(vol: Volume, record: Record): void {
  if (record.type === F.S_IFDIR) {
    vol.rebuild.add(record.ino);
    return;
  }
  const { kernels, dv } = vol.disk;
  const root = record.ptr + F.I_BLOCK;
  kernels.exports.zero(root, F.I_BLOCK_SIZE);
  record.clearFlag(F.EXT4_INLINE_DATA_FL);
  record.setSize(0);
  if (!vol.incompat(F.INCOMPAT_EXTENTS)) return;
  dv.setUint16(root + F.EH_MAGIC, F.EXT4_EXT_MAGIC, true);
  dv.setUint16(root + F.EH_MAX, (F.I_BLOCK_SIZE - F.EH_SIZE) / F.EXT4_EXT_ENTRY_SIZE, true);
  record.put32(F.I_FLAGS, (record.flags | F.EXT4_EXTENTS_FL) >>> 0);
}

function fixSize(vol: Volume, record: Record, want: number): void {
  const { ino } = record;
  const text = `inode ${ino}: i_size is ${record.size}, not ${want}`;
  if (vol.report.report('inode-size', { ino }, text)) record.setSize(want);
}

export function* checkFile(
  vol: Volume,
  claims: Claims,
  record: Record,
  facts: XattrFacts,
): Flow<void> {
  const { ino } = record;
  if (record.has(F.EXT4_EA_INODE_FL)) {
    if (vol.incompat(F.INCOMPAT_EA_INODE)) vol.valueInodes.add(ino);
    else if (vol.report.report('flag-ea-inode', { ino }, `inode ${ino} is marked to hold a value`))
      record.clearFlag(F.EXT4_EA_INODE_FL);
  }
  if (checkInline(vol, record, facts)) {
    const room = INLINE_BODY + Math.max(0, facts.inlineBytes);
    if (record.size > room) fixSize(vol, record, room);
    return;
  }
  yield* walkMap(vol, claims, record);
  if (record.has(F.EXT4_VERITY_FL) && vol.roCompat(F.RO_COMPAT_VERITY)) return;
  const { blockSize } = vol.sb;
  if (record.size > largest(vol, record)) return fixSize(vol, record, claims.end * blockSize);
  if (record.size >= 2 ** 31) vol.large = true;
  const end = claims.endWritten;
  if (end > 0 && record.size < (end - 1) * blockSize) fixSize(vol, record, end * blockSize);
}

/** Bytes that a file's map can reach. */
function largest(vol: Volume, record: Record): number {
  const { blockSize } = vol.sb;
  if (record.has(F.EXT4_EXTENTS_FL)) return (2 ** 32 - 1) * blockSize;
  const per = blockSize / 4;
  const blocks = F.EXT4_NDIR_BLOCKS + per + per ** 2 + per ** 3;
  return Math.min(blocks, 2 ** 32) * blockSize;
}

export function* checkDirectory(
  vol: Volume,
  claims: Claims,
  record: Record,
  facts: XattrFacts,
): Flow<void> {
  const { ino } = record;
  const { blockSize } = vol.sb;
  vol.dirs.push(ino);
  const group = vol.inodeGroup(ino);
  vol.groupDirs.set(group, (vol.groupDirs.get(group) ?? 0) + 1);
  vol.parent.push(0);
  vol.dotdot.push(0);
  if (checkInline(vol, record, facts)) {
    const want = INLINE_BODY + Math.max(0, facts.inlineBytes);
    if (record.size !== want) fixSize(vol, record, want);
    vol.dirBlocks.ino.push(ino);
    vol.dirBlocks.lblk.push(0);
    vol.dirBlocks.pblk.push(-1);
    return;
  }
  const before = vol.dirBlocks.ino.length;
  yield* walkMap(vol, claims, record);
  if (claims.end > DIR_BLOCKS_MAX) {
    vol.report.complain('dir-too-big', { ino }, `directory ${ino} is too big`);
    vol.dirBlocks.ino.length = before;
    return;
  }
  const size = claims.end * blockSize;
  if (record.size !== size) fixSize(vol, record, size);
  if (claims.holes > 0) {
    const text = `directory ${ino} has ${claims.holes} blocks that are not there`;
    if (vol.report.report('dir-hole', { ino }, text)) vol.rebuild.add(ino);
  }
}

export function* checkSymlink(
  vol: Volume,
  claims: Claims,
  record: Record,
  facts: XattrFacts,
  extra: number,
): Flow<void> {
  const { disk, sb } = vol;
  const { size } = record;
  if (checkInline(vol, record, facts)) {
    const at = record.ptr + F.I_BLOCK;
    const body = disk.u8.slice(at, at + INLINE_BODY);
    const rest = inlineValue(vol, record);
    const more = rest === null ? [] : disk.u8.slice(rest.ptr, rest.ptr + rest.len);
    checkTarget(vol, record, Uint8Array.of(...body, ...more));
    return;
  }
  const inside = record.blocks <= extra * (sb.blockSize / 512);
  if (inside && size < F.I_BLOCK_SIZE) {
    if (record.has(F.EXT4_EXTENTS_FL)) {
      const { ino } = record;
      const text = `symlink ${ino} has its target inside and is marked to have extents`;
      if (vol.report.report('symlink-extents', { ino }, text)) record.clearFlag(F.EXT4_EXTENTS_FL);
    }
    const at = record.ptr + F.I_BLOCK;
    checkTarget(vol, record, disk.u8.slice(at, at + F.I_BLOCK_SIZE));
    return;
  }
  yield* walkMap(vol, claims, record);
  const { first } = claims;
  const whole = claims.end === 1 && first > 0 && size < sb.blockSize;
  if (!whole) return badLink(vol, record, 0);
  const ptr = yield* disk.get(first);
  checkTarget(vol, record, disk.u8.slice(ptr, ptr + sb.blockSize));
}

/** The target ends where the size says; an encrypted one says itself how long it is. */
function checkTarget(vol: Volume, record: Record, bytes: Uint8Array): void {
  const { size } = record;
  if (record.has(F.EXT4_ENCRYPT_FL)) {
    const len = bytes[0] + 256 * bytes[1] + 2;
    if (len !== size || size > bytes.length || len <= 2) badLink(vol, record, 0);
    return;
  }
  const nul = bytes.indexOf(0);
  const len = nul < 0 ? bytes.length : nul;
  if (len === size && size > 0) return;
  // Inline data are as long as their target; a block or an inode holds a NUL behind it.
  const fits = record.has(F.EXT4_INLINE_DATA_FL) ? len === bytes.length : len < bytes.length;
  badLink(vol, record, fits ? len : 0);
}

function badLink(vol: Volume, record: Record, len: number): void {
  const { ino } = record;
  if (!vol.report.report('symlink', { ino }, `symlink ${ino} is invalid`)) return;
  if (len > 0) record.setSize(len);
  else {
    record.clear();
    vol.inUse.delete(ino);
    vol.links.set(ino, 0);
  }
}

/** Devices, pipes and sockets have neither size nor data. */
export function checkOther(vol: Volume, record: Record): void {
  const { ino } = record;
  const { report } = vol;
  const flags = F.EXT4_EXTENTS_FL | F.EXT4_INLINE_DATA_FL;
  if ((record.flags & flags) !== 0) {
    const text = `special file ${ino} is marked to have extents or inline data`;
    if (report.report('special-extents', { ino }, text)) record.clearFlag(flags);
  }
  if (record.size !== 0) fixSize(vol, record, 0);
}
