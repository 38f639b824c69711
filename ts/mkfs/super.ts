// The superblock, and where it and the descriptors go: in front, and as copies in the backup groups.

import * as F from '../../assembly/format/ext4.ts';
import { hasBit } from '../ext4/features.ts';
import * as X from './features.ts';
import { descriptors, hasSuper } from './geometry.ts';
import type { GroupTable } from './groups.ts';
import type { Image } from './image.ts';
import { EXTRA_ISIZE } from './inodes.ts';
import { descriptorsAt } from './layout.ts';
import { type Geometry, groupStart } from './plan.ts';

const MOUNT_OPTS_ACL_XATTR = 0x000c;
const NO_LIMIT = 0xffff;
const JNL_BACKUP_BLOCKS = 1;
const ENCODING_UTF8_12_1 = 1;
/** Features that only ext4 has: with one of them the writes are counted. */
const OF_EXT4 =
  F.RO_COMPAT_HUGE_FILE |
  F.RO_COMPAT_GDT_CSUM |
  F.RO_COMPAT_DIR_NLINK |
  F.RO_COMPAT_EXTRA_ISIZE |
  F.RO_COMPAT_METADATA_CSUM;
const POLICIES = [1, 4]; // AES-256-XTS for contents, AES-256-CTS for names

/** The superblock's 1,024 bytes, without its checksum and group number. */
export function makeSuper(img: Image, table: GroupTable): Uint8Array {
  const { g } = img;
  const raw = new Uint8Array(F.SB_SIZE);
  const dv = new DataView(raw.buffer);
  writeShape(g, dv, table);
  writeState(g, dv);
  raw.set(g.uuid, F.S_UUID);
  raw.set(g.label, F.S_VOLUME_NAME);
  raw.set(g.lastMounted, F.S_LAST_MOUNTED);
  raw.set(g.hashSeed, F.S_HASH_SEED);
  writeJournal(img, raw, dv);
  writeExtras(img, dv);
  return raw;
}

function wide(dv: DataView, low: number, high: number, value: number): void {
  dv.setUint32(low, value % 2 ** 32, true);
  dv.setUint32(high, Math.floor(value / 2 ** 32), true);
}

function writeShape(g: Geometry, dv: DataView, table: GroupTable): void {
  const log = Math.log2(g.blockSize / 1024);
  dv.setUint32(F.S_INODES_COUNT, g.groups * g.inodesPerGroup, true);
  wide(dv, F.S_BLOCKS_COUNT_LO, F.S_BLOCKS_COUNT_HI, g.blocks);
  wide(dv, F.S_R_BLOCKS_COUNT_LO, F.S_R_BLOCKS_COUNT_HI, g.reserved);
  wide(dv, F.S_FREE_BLOCKS_COUNT_LO, F.S_FREE_BLOCKS_COUNT_HI, table.freeBlocks);
  dv.setUint32(F.S_FREE_INODES_COUNT, table.freeInodes, true);
  dv.setUint32(F.S_FIRST_DATA_BLOCK, g.firstDataBlock, true);
  dv.setUint32(F.S_LOG_BLOCK_SIZE, log, true);
  dv.setUint32(F.S_LOG_CLUSTER_SIZE, log + Math.log2(g.clusterBlocks), true);
  dv.setUint32(F.S_BLOCKS_PER_GROUP, g.blocksPerGroup, true);
  dv.setUint32(F.S_CLUSTERS_PER_GROUP, g.blocksPerGroup / g.clusterBlocks, true);
  dv.setUint32(F.S_INODES_PER_GROUP, g.inodesPerGroup, true);
  dv.setUint16(F.S_INODE_SIZE, g.inodeSize, true);
  dv.setUint16(F.S_RESERVED_GDT_BLOCKS, g.reservedGdt, true);
  if (g.features.has(X.WIDE)) dv.setUint16(F.S_DESC_SIZE, g.descSize, true);
  if (g.features.has(X.FLEX_BG)) dv.setUint8(F.S_LOG_GROUPS_PER_FLEX, Math.log2(g.flexSize));
  dv.setUint32(F.S_BACKUP_BGS, g.backupGroups[0], true);
  dv.setUint32(F.S_BACKUP_BGS + 4, g.backupGroups[1], true);
}

function writeState(g: Geometry, dv: DataView): void {
  dv.setUint16(F.S_MAX_MNT_COUNT, NO_LIMIT, true);
  dv.setUint16(F.S_MAGIC, F.EXT4_SUPER_MAGIC, true);
  dv.setUint16(F.S_STATE, F.EXT4_VALID_FS, true);
  dv.setUint16(F.S_ERRORS, g.errors, true);
  dv.setUint32(F.S_REV_LEVEL, 1, true);
  dv.setUint32(F.S_FIRST_INO, F.EXT4_GOOD_OLD_FIRST_INO, true);
  dv.setUint32(F.S_FEATURE_COMPAT, g.features.compat, true);
  dv.setUint32(F.S_FEATURE_INCOMPAT, g.features.incompat, true);
  dv.setUint32(F.S_FEATURE_RO_COMPAT, g.features.roCompat, true);
  dv.setUint8(F.S_DEF_HASH_VERSION, g.hashVersion);
  dv.setUint32(F.S_FLAGS, F.EXT4_FLAGS_SIGNED_HASH, true);
  dv.setUint32(F.S_DEFAULT_MOUNT_OPTS, MOUNT_OPTS_ACL_XATTR, true);
  time(dv, F.S_WTIME, F.S_WTIME_HI, g.now);
  time(dv, F.S_LASTCHECK, F.S_LASTCHECK_HI, g.now);
  time(dv, F.S_MKFS_TIME, F.S_MKFS_TIME_HI, g.now);
}

function time(dv: DataView, low: number, high: number, seconds: number): void {
  dv.setUint32(low, seconds % 2 ** 32, true);
  dv.setUint8(high, Math.floor(seconds / 2 ** 32));
}

function writeJournal(img: Image, raw: Uint8Array, dv: DataView): void {
  if (img.journalUuid) {
    raw.set(img.journalUuid, F.S_JOURNAL_UUID);
    dv.setUint32(F.S_JOURNAL_DEV, img.g.journalDeviceNumber, true);
  }
  const inode = img.journalInode;
  if (inode === null) return;
  dv.setUint32(F.S_JOURNAL_INUM, F.EXT4_JOURNAL_INO, true);
  dv.setUint8(F.S_JNL_BACKUP_TYPE, JNL_BACKUP_BLOCKS);
  raw.set(inode.subarray(F.I_BLOCK, F.I_BLOCK + F.I_BLOCK_SIZE), F.S_JNL_BLOCKS);
  const size = new DataView(inode.buffer);
  dv.setUint32(F.S_JNL_BLOCKS + 60, size.getUint32(F.I_SIZE_HIGH, true), true);
  dv.setUint32(F.S_JNL_BLOCKS + 64, size.getUint32(F.I_SIZE_LO, true), true);
}

function writeExtras(img: Image, dv: DataView): void {
  const { g } = img;
  if (g.inodeSize > F.EXT4_GOOD_OLD_INODE_SIZE) {
    dv.setUint16(F.S_MIN_EXTRA_ISIZE, EXTRA_ISIZE, true);
    dv.setUint16(F.S_WANT_EXTRA_ISIZE, EXTRA_ISIZE, true);
  }
  dv.setUint16(F.S_RAID_STRIDE, g.stride, true);
  dv.setUint32(F.S_RAID_STRIPE_WIDTH, g.stripeWidth, true);
  if (img.summed) dv.setUint8(F.S_CHECKSUM_TYPE, 1);
  if (g.features.has(X.CSUM_SEED)) dv.setUint32(F.S_CHECKSUM_SEED, img.seed, true);
  if (g.features.has(X.MMP)) {
    dv.setUint16(F.S_MMP_UPDATE_INTERVAL, g.mmpInterval, true);
    dv.setUint32(F.S_MMP_BLOCK, img.mmpBlock % 2 ** 32, true);
    dv.setUint32(F.S_MMP_BLOCK + 4, Math.floor(img.mmpBlock / 2 ** 32), true);
  }
  if (g.features.has(X.CASEFOLD)) dv.setUint16(F.S_ENCODING, ENCODING_UTF8_12_1, true);
  if (g.features.has(X.ENCRYPT)) {
    for (const [i, policy] of POLICIES.entries()) dv.setUint8(F.S_ENCRYPT_ALGOS + i, policy);
  }
  dv.setUint32(F.S_OVERHEAD_CLUSTERS, overhead(img), true);
  if (img.orphanInode) dv.setUint32(F.S_ORPHAN_FILE_INUM, img.orphanInode, true);
}

/** Clusters that no file can have. */
function overhead(img: Image): number {
  const { g, layout } = img;
  const used = layout.used.count(g.firstDataBlock, g.blocks);
  return used / g.clusterBlocks - img.fileClusters + g.firstDataBlock;
}

/** Puts the copies of the superblock and the descriptors; returns the primary superblock, which goes last. */
export function putSupers(img: Image, raw: Uint8Array, table: GroupTable): Uint8Array {
  const { g } = img;
  countWrites(img, raw, table);
  for (let group = 0; group < g.groups; group++) {
    putDescriptors(img, group, table.bytes);
    if (group > 0 && hasSuper(g, group)) {
      const block = new Uint8Array(g.blockSize);
      block.set(sealed(img, raw, group));
      img.put(groupStart(g, group), block);
    }
  }
  return sealed(img, raw, 0);
}

/** Lifetime writes in KiB: what is not zeroing, whatever the device made of it. */
function countWrites(img: Image, raw: Uint8Array, table: GroupTable): void {
  if (!hasBit(img.g.features.roCompat, OF_EXT4)) return;
  let bytes = F.SB_SIZE + table.bytes.length;
  for (const piece of img.pieces) bytes += piece.bytes.length;
  const dv = new DataView(raw.buffer);
  wide(dv, F.S_KBYTES_WRITTEN, F.S_KBYTES_WRITTEN + 4, Math.floor(bytes / 1024));
}

function putDescriptors(img: Image, group: number, table: Uint8Array): void {
  const { g } = img;
  const { first, count } = descriptors(g, group);
  if (count === 0) return;
  const written = count - g.reservedGdt;
  const bytes = table.subarray(first * g.blockSize, (first + written) * g.blockSize);
  img.put(descriptorsAt(g, group), bytes);
}

function sealed(img: Image, raw: Uint8Array, group: number): Uint8Array {
  const copy = raw.slice();
  const dv = new DataView(copy.buffer);
  // A copy is not valid by itself: who takes it for the primary one has to check everything.
  if (group > 0) dv.setUint16(F.S_STATE, 0, true);
  dv.setUint16(F.S_BLOCK_GROUP_NR, Math.min(group, 0xffff), true);
  if (img.summed) {
    const sum = img.sums.crc32c(0xffffffff, copy.subarray(0, F.S_CHECKSUM));
    dv.setUint32(F.S_CHECKSUM, sum, true);
  }
  return copy;
}
