// Pass 1: every inode of every group, in the order of the tables, which stream through the scan window. Claims each
// block for its owner; knows afterwards which inodes are in use, of which type, and which blocks directories have.

import * as F from '../../assembly/format/ext4.ts';
import { hasBit } from '../ext4/features.ts';
import type { Flow } from '../flow.ts';
import { Claims } from './claim.ts';
import { checkFields, entryType } from './inodefields.ts';
import { countUsage } from './quota.ts';
import { Record } from './record.ts';
import { checkSpecial, isReserved, readBadBlocks } from './reserved.ts';
import { checkDirectory, checkFile, checkOther, checkSymlink } from './types.ts';
import type { Volume } from './volume.ts';
import {
  checkBodyXattrs,
  checkXattrBlock,
  checkXattrRefs,
  noFacts,
  type XattrFacts,
} from './xattrs.ts';

/** Checks all inodes. */
export function* checkInodes(vol: Volume): Flow<void> {
  const { sb, disk } = vol;
  const claims = new Claims(vol);
  const record = new Record(vol, 0, 0);
  const perChunk = Math.floor(disk.windowBytes / sb.blockSize);
  const perBlock = sb.blockSize / sb.inodeSize;
  yield* readBadBlocks(vol);
  for (let group = 0; group < sb.groups; group++) {
    if (group % 64 === 0) vol.hooks.progress?.(1, group, sb.groups);
    const table = vol.inodeTable(group);
    if (vol.lostTables.has(group) || table < 1 || table + vol.tableBlocks > sb.blocks) continue;
    const limit = Math.min(sb.inodesPerGroup, vol.usedInodes(group));
    const used = Math.ceil(limit / perBlock);
    for (let from = 0; from < used; from += perChunk) {
      const count = Math.min(perChunk, used - from);
      yield* disk.scan(table + from, count);
      const first = group * sb.inodesPerGroup + from * perBlock + 1;
      yield* checkChunk(
        vol,
        claims,
        record,
        first,
        table + from,
        Math.min(count * perBlock, limit - from * perBlock),
      );
    }
  }
  yield* checkXattrRefs(vol);
  if (!vol.large || vol.roCompat(F.RO_COMPAT_LARGE_FILE)) return;
  const text = 'there are large files without the feature';
  if (vol.report.report('large-file', {}, text))
    vol.putSuper32(F.S_FEATURE_RO_COMPAT, (sb.roCompat | F.RO_COMPAT_LARGE_FILE) >>> 0);
}

function* checkChunk(
  vol: Volume,
  claims: Claims,
  record: Record,
  first: number,
  table: number,
  count: number,
): Flow<void> {
  const { disk, sb } = vol;
  const end = Math.min(count, sb.inodes - first + 1);
  for (let i = 0; i < end; i++) {
    record.ino = first + i;
    record.ptr = disk.window + i * sb.inodeSize;
    record.dirty = false;
    if (vol.badBlocks !== null && inBadBlock(vol, table, i)) {
      vol.inUse.add(record.ino);
      vol.inBadBlock.add(record.ino);
      continue;
    }
    if (record.links === 0 && !isReserved(vol, record.ino)) {
      if (record.mode !== 0 || record.u32(F.I_DTIME) !== 0) checkUnused(vol, record);
    } else yield* checkInode(vol, claims, record);
    if (!record.dirty) continue;
    record.seal();
    const block = Math.floor((i * sb.inodeSize) / sb.blockSize);
    yield* disk.write(table + block, disk.window + block * sb.blockSize);
  }
}

function inBadBlock(vol: Volume, table: number, i: number): boolean {
  const block = Math.floor((i * vol.sb.inodeSize) / vol.sb.blockSize);
  return vol.badBlocks?.has(table + block) ?? false;
}

/** A record that is in no use still says when it was given up. */
function checkUnused(vol: Volume, record: Record): void {
  const { ino } = record;
  if (vol.orphans.has(ino)) return;
  if (record.mode !== 0 && record.u32(F.I_DTIME) === 0) {
    const text = `inode ${ino} is not in use and has no time of deletion`;
    if (vol.report.report('deleted-dtime', { ino }, text))
      record.put32(F.I_DTIME, Math.floor(Date.now() / 1000));
  }
  if (record.mode !== 0 && vol.isOrphanLink(record.u32(F.I_DTIME))) {
    const text = `inode ${ino} was part of a list of orphans`;
    if (vol.report.report('orphan-member', { ino }, text))
      record.put32(F.I_DTIME, Math.floor(Date.now() / 1000));
  }
}

function* checkInode(vol: Volume, claims: Claims, record: Record): Flow<void> {
  const { ino } = record;
  if (ino < vol.sb.firstIno && !(yield* checkSpecial(vol, claims, record))) return;
  vol.inUse.add(ino);
  vol.files++;
  vol.links.set(ino, record.links);
  const summed = record.isSummed();
  checkFields(vol, record);
  const type = entryType(record.mode);
  vol.setInodeType(ino, type);
  if (type === F.EXT4_FT_UNKNOWN) {
    const text = `inode ${ino} has the mode ${record.mode.toString(8)}, which is no file's`;
    if (vol.report.report('inode-mode', { ino }, text)) forget(vol, record);
    else vol.bad.add(ino);
    return;
  }
  const facts = noFacts();
  if (record.extraSize !== 0) yield* checkBodyXattrs(vol, record, facts);
  claims.begin(record, type === F.EXT4_FT_DIR);
  const hasAcl = record.fileAcl !== 0 && vol.compat(F.COMPAT_EXT_ATTR);
  const acl = hasAcl && (yield* checkXattrBlock(vol, record, facts));
  const extra = (acl ? vol.sb.clusterBlocks : 0) + facts.valueBlocks;
  for (const value of facts.values) vol.valueRefs.increment(value);
  if (type === F.EXT4_FT_REG_FILE) yield* checkFile(vol, claims, record, facts);
  else if (type === F.EXT4_FT_DIR) yield* checkDirectory(vol, claims, record, facts);
  else if (type === F.EXT4_FT_SYMLINK) yield* checkSymlink(vol, claims, record, facts, extra);
  else checkOther(vol, record);
  checkFacts(vol, record, facts);
  checkBlocks(vol, claims, record, extra);
  countUsage(vol, record, claims.blocks + extra, facts.values.length + facts.sharedValues);
  if (summed) return;
  const text = `inode ${ino}: wrong checksum`;
  if (vol.report.report('inode-checksum', { ino }, text)) record.dirty = true;
}

/** Gives up an inode that is no file. */
export function forget(vol: Volume, record: Record): void {
  record.clear();
  vol.inUse.delete(record.ino);
  vol.links.set(record.ino, 0);
  vol.files--;
}

function checkFacts(vol: Volume, record: Record, facts: XattrFacts): void {
  const { ino } = record;
  if (record.has(F.EXT4_ENCRYPT_FL) && !facts.encryption) {
    const text = `inode ${ino} is marked encrypted and has no encryption attribute`;
    if (vol.report.report('encrypt-xattr', { ino }, text)) record.clearFlag(F.EXT4_ENCRYPT_FL);
  }
}

/** i_blocks against what was found. */
function checkBlocks(vol: Volume, claims: Claims, record: Record, extra: number): void {
  const { sb, report } = vol;
  const { ino } = record;
  const blocks = claims.blocks + extra;
  const huge = vol.roCompat(F.RO_COMPAT_HUGE_FILE) && record.has(F.EXT4_HUGE_FILE_FL);
  const want = huge ? blocks : blocks * (sb.blockSize / 512);
  if (claims.misaligned) {
    const text = `inode ${ino} has blocks that do not lie in their clusters as they should`;
    vol.misaligned.add(ino);
    report.report('cluster-alignment', { ino }, text);
  }
  if (record.blocks === want) return;
  const text = `inode ${ino}: i_blocks is ${record.blocks}, not ${want}`;
  if (report.report('inode-blocks', { ino }, text)) record.setBlocks(want);
}

/** Whether a flag is set that says where the data of a regular file is. */
export function isInline(record: Record): boolean {
  return hasBit(record.flags, F.EXT4_INLINE_DATA_FL);
}
