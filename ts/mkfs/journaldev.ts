// A journal on a device of its own: making such a device, and entering a new file system into its list of users. It
// begins with an ext superblock that says no more than journal_dev; the journal's own superblock is the next block.

import * as F from '../../assembly/format/ext4.ts';
import * as J from '../../assembly/format/jbd2.ts';
import type { BlockDevice } from '../block/device.ts';
import { journalSuper } from '../jbd2/newlog.ts';
import type { Making } from './drive.ts';
import { METADATA_CSUM } from './features.ts';
import { EXTRA_ISIZE } from './inodes.ts';
import type { Settings } from './plan.ts';
import { refuse } from './settle.ts';
import { Sums } from './sums.ts';
import { type Target, type Written, wipeMarks, writeSuper, zeroRange } from './write.ts';

const MOUNT_OPTS_ACL_XATTR = 0x000c;
const NO_LIMIT = 0xffff;

/** Block of the journal's superblock. */
const superBlock = (blockSize: number): number => (blockSize === 1024 ? 2 : 1);

/** EINVAL when the device is too small for a journal. */
export function checkJournalDevice(s: Settings): void {
  if (s.blocks >= J.JBD2_MIN_JOURNAL_BLOCKS && s.blocks < 2 ** 32) return;
  throw refuse(`a journal of ${s.blocks} blocks: ${J.JBD2_MIN_JOURNAL_BLOCKS} at least`);
}

/** Makes a device a journal without users. */
export function* writeJournalDevice(to: Target, s: Settings, done: Written): Making<void> {
  yield* wipeMarks(to, done);
  const at = superBlock(s.blockSize);
  const log = (at + 1) * s.blockSize;
  if (!s.lazyJournal) yield* zeroRange(to, log, to.size - log, done);
  const bytes = journalSuper({
    blockSize: s.blockSize,
    blocks: s.blocks,
    first: at + 1,
    uuid: s.uuid,
    users: 0,
    fastCommit: 0,
  });
  yield { op: 'write', device: to.device, from: bytes, dpos: to.offset + at * s.blockSize };
  done.bytes += bytes.length;
  done.calls++;
  yield* writeSuper(to, extSuper(s), done);
}

function extSuper(s: Settings): Uint8Array {
  const raw = new Uint8Array(F.SB_SIZE);
  const dv = new DataView(raw.buffer);
  const log = Math.log2(s.blockSize / 1024);
  dv.setUint32(F.S_BLOCKS_COUNT_LO, s.blocks, true);
  dv.setUint32(F.S_FIRST_DATA_BLOCK, s.blockSize === 1024 ? 1 : 0, true);
  dv.setUint32(F.S_LOG_BLOCK_SIZE, log, true);
  dv.setUint32(F.S_LOG_CLUSTER_SIZE, log, true);
  dv.setUint32(F.S_BLOCKS_PER_GROUP, s.blocksPerGroup, true);
  dv.setUint32(F.S_CLUSTERS_PER_GROUP, s.blocksPerGroup, true);
  dv.setUint16(F.S_MAX_MNT_COUNT, NO_LIMIT, true);
  dv.setUint16(F.S_MAGIC, F.EXT4_SUPER_MAGIC, true);
  dv.setUint16(F.S_STATE, F.EXT4_VALID_FS, true);
  dv.setUint16(F.S_ERRORS, s.errors, true);
  dv.setUint32(F.S_REV_LEVEL, 1, true);
  dv.setUint32(F.S_FIRST_INO, F.EXT4_GOOD_OLD_FIRST_INO, true);
  dv.setUint16(F.S_INODE_SIZE, s.inodeSize, true);
  dv.setUint32(F.S_FEATURE_INCOMPAT, F.INCOMPAT_JOURNAL_DEV, true);
  dv.setUint8(F.S_DEF_HASH_VERSION, s.hashVersion);
  dv.setUint32(F.S_DEFAULT_MOUNT_OPTS, MOUNT_OPTS_ACL_XATTR, true);
  for (const at of [F.S_WTIME, F.S_LASTCHECK, F.S_MKFS_TIME]) {
    dv.setUint32(at, s.now % 2 ** 32, true);
  }
  for (const at of [F.S_WTIME_HI, F.S_LASTCHECK_HI, F.S_MKFS_TIME_HI]) {
    dv.setUint8(at, Math.floor(s.now / 2 ** 32));
  }
  if (s.inodeSize > F.EXT4_GOOD_OLD_INODE_SIZE) {
    dv.setUint16(F.S_MIN_EXTRA_ISIZE, EXTRA_ISIZE, true);
    dv.setUint16(F.S_WANT_EXTRA_ISIZE, EXTRA_ISIZE, true);
  }
  raw.set(s.uuid, F.S_UUID);
  raw.set(s.label, F.S_VOLUME_NAME);
  raw.set(s.hashSeed, F.S_HASH_SEED);
  if (s.features.has(METADATA_CSUM)) seal(raw, dv);
  return raw;
}

function seal(raw: Uint8Array, dv: DataView): void {
  dv.setUint32(F.S_FEATURE_RO_COMPAT, F.RO_COMPAT_METADATA_CSUM, true);
  dv.setUint8(F.S_CHECKSUM_TYPE, 1);
  const sum = new Sums().crc32c(0xffffffff, raw.subarray(0, F.S_CHECKSUM));
  dv.setUint32(F.S_CHECKSUM, sum, true);
}

/** What a file system needs to know of its journal device. */
export interface JournalDevice {
  device: BlockDevice;
  uuid: Uint8Array;
  blockSize: number;
  /** Block of the journal's superblock, and its bytes. */
  block: number;
  bytes: Uint8Array;
}

/** Reads a journal device. EINVAL when it is none, or another file system's. */
export function* readJournalDevice(device: BlockDevice, user: Uint8Array): Making<JournalDevice> {
  const raw = new Uint8Array(F.SB_SIZE);
  yield { op: 'read', device, ranges: [{ into: raw, dpos: F.SB_OFFSET }] };
  const dv = new DataView(raw.buffer);
  const magic = dv.getUint16(F.S_MAGIC, true) === F.EXT4_SUPER_MAGIC;
  const incompat = dv.getUint32(F.S_FEATURE_INCOMPAT, true);
  const log = dv.getUint32(F.S_LOG_BLOCK_SIZE, true);
  if (!magic || incompat !== F.INCOMPAT_JOURNAL_DEV || log > 6) {
    throw refuse('the journal device holds no journal: make one with the feature journal_dev');
  }
  const blockSize = 1024 * 2 ** log;
  const block = superBlock(blockSize);
  if (device.size < (block + 1) * blockSize) throw refuse('the journal device is too small');
  const bytes = new Uint8Array(blockSize);
  yield { op: 'read', device, ranges: [{ into: bytes, dpos: block * blockSize }] };
  checkLog(new DataView(bytes.buffer), bytes, user);
  return { device, uuid: raw.slice(F.S_UUID, F.S_UUID + 16), blockSize, block, bytes };
}

function checkLog(dv: DataView, bytes: Uint8Array, user: Uint8Array): void {
  const magic = dv.getUint32(J.H_MAGIC) === J.JBD2_MAGIC_NUMBER;
  if (!magic || dv.getUint32(J.H_BLOCKTYPE) !== J.JBD2_SUPERBLOCK_V2) {
    throw refuse('the journal device has no journal superblock');
  }
  if (dv.getUint32(J.JS_START) !== 0) throw refuse('the journal device has to be replayed first');
  const users = dv.getUint32(J.JS_NR_USERS);
  const same = user.every((byte, i) => byte === bytes[J.JS_USERS + i]);
  if (users === 0 || (users === 1 && same)) return;
  throw refuse('the journal device belongs to another file system: make it anew');
}

/** Makes the file system the journal's user: the only one, the kernel and e2fsck know no second. */
export function* enterUser(journal: JournalDevice, uuid: Uint8Array): Making<void> {
  const { device, bytes, block, blockSize } = journal;
  new DataView(bytes.buffer).setUint32(J.JS_NR_USERS, 1);
  bytes.set(uuid, J.JS_USERS);
  yield { op: 'write', device, from: bytes, dpos: block * blockSize };
  yield { op: 'flush', device };
}
