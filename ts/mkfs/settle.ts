// From what a caller asked to settings that hold: every bound that needs no look at the groups is checked here, and
// nothing has been written when one is broken. Each refusal is EINVAL with one line.

import * as F from '../../assembly/format/ext4.ts';
import { Ext4Error } from '../errno.ts';
import * as X from './features.ts';
import { parseUuid, randomBytes } from './ids.ts';
import type { MkfsOptions } from './options.ts';
import type { JournalPlan, Settings } from './plan.ts';
import { type Profile, profileOf } from './profile.ts';

const MAX_BLOCK = 65536;
const PAGE = 4096;
const ERRORS = { continue: 1, 'remount-ro': 2, panic: 3 };
const HASHES = {
  legacy: F.DX_HASH_LEGACY,
  half_md4: F.DX_HASH_HALF_MD4,
  tea: F.DX_HASH_TEA,
};

export function refuse(reason: string): Ext4Error {
  return new Ext4Error('EINVAL', reason);
}

/** Settings for a device of `bytes` bytes. EINVAL for what cannot be. */
export function settle(o: MkfsOptions, deviceBytes: number): Settings {
  const size = sizeOf(o, deviceBytes);
  const profile = profileOf(o, size);
  const features = new X.FeatureSet(profile.features, o.features ?? '');
  if (o.journalDevice) features.set(X.JOURNAL, true);
  if (o.journal === false) dropJournal(features);
  const blockSize = settleBlockSize(o, profile);
  const clusterBlocks = settleClusters(o, features, blockSize);
  const bytes = settleBytes(o, size, blockSize);
  const all = bytes / blockSize;
  const blocks = all - (all % clusterBlocks);
  checkBlocks(blocks, features);
  const inodeSize = settleInodeSize(o, profile, features, blockSize);
  const notes: string[] = [];
  const uuid = settleUuid(o.uuid);
  const descSize = settleDescSize(o, features, blockSize);
  return {
    features,
    notes,
    blockSize,
    clusterBlocks,
    inodeSize,
    blocks,
    inodes: settleInodes(o, profile, { bytes, blockSize, clusterBlocks, inodeSize }),
    blocksPerGroup: settleGroup(o, blockSize, clusterBlocks),
    flexSize: settleFlex(o, features),
    descSize,
    growthGdt: settleGrowth(o, features, { blocks, blockSize, descSize }),
    reservedPercent: percent(o.reservedPercent ?? 5),
    label: text(o.label ?? '', 16, 'label'),
    lastMounted: text(o.lastMounted ?? '', 64, 'last mounted directory'),
    uuid,
    hashSeed: o.hashSeed === undefined ? randomUuid() : parseUuid(o.hashSeed, 'hash seed'),
    hashVersion: pick(HASHES, o.hashAlg ?? 'half_md4', 'hash_alg'),
    errors: pick(ERRORS, o.errors ?? 'continue', 'error behaviour'),
    stride: whole(o.stride ?? 0, 0, 0xffff, 'stride'),
    stripeWidth: whole(o.stripeWidth ?? 0, 0, 0xffffffff, 'stripe width'),
    journal: settleJournal(o, features, blockSize),
    journalDevice: o.journalDevice ?? null,
    journalDeviceNumber: whole(o.journalDeviceNumber ?? 0, 0, 0xffffffff, 'device number'),
    orphanBlocks: settleOrphans(o, blockSize),
    mmpInterval: whole(o.mmpUpdateInterval ?? 5, 1, 300, 'MMP update interval'),
    backups: whole(o.numBackupSb ?? 2, 0, 2, 'number of backup superblocks'),
    packed: o.packedMetaBlocks ?? false,
    lazyTables: o.lazyItableInit ?? true,
    lazyJournal: o.lazyJournalInit ?? false,
    zeroed: o.zeroed ?? false,
    discard: o.discard ?? false,
    uid: whole(o.rootOwner?.uid ?? 0, 0, 0xffffffff, 'owner'),
    gid: whole(o.rootOwner?.gid ?? 0, 0, 0xffffffff, 'group'),
    rootPerms: whole(o.rootPerms ?? 0o755, 0, 0o7777, 'root permissions'),
    now: settleTime(o.now),
  };
}

export function whole(value: number, low: number, high: number, what: string): number {
  if (Number.isSafeInteger(value) && value >= low && value <= high) return value;
  throw refuse(`${what} ${value}: a whole number from ${low} to ${high} is needed`);
}

function pick<T extends object>(table: T, name: string, what: string): T[keyof T] {
  if (Object.hasOwn(table, name)) return table[name as keyof T];
  throw refuse(`${what} '${name}': one of ${Object.keys(table).join(', ')} is needed`);
}

function power(value: number): boolean {
  return Number.isSafeInteger(value) && value > 0 && Number.isInteger(Math.log2(value));
}

function sizeOf(o: MkfsOptions, bytes: number): number {
  if (o.size === undefined) return bytes;
  whole(o.size, 0, Number.MAX_SAFE_INTEGER, 'size');
  if (o.size > bytes) throw refuse(`a size of ${o.size} bytes, the device has ${bytes}`);
  return o.size;
}

function dropJournal(features: X.FeatureSet): void {
  features.set(X.JOURNAL, false);
  features.drop(X.ORPHAN_FILE, 'orphan_file needs has_journal');
}

function settleBlockSize(o: MkfsOptions, profile: Profile): number {
  const bytes = o.blockSize ?? profile.blockSize ?? PAGE;
  if (power(bytes) && bytes >= 1024 && bytes <= MAX_BLOCK) return bytes;
  throw refuse(`block size ${bytes}: a power of 2 from 1024 to ${MAX_BLOCK} is needed`);
}

function settleClusters(o: MkfsOptions, features: X.FeatureSet, blockSize: number): number {
  if (!features.has(X.BIGALLOC)) {
    if (o.clusterSize === undefined) return 1;
    throw refuse('a cluster size needs the feature bigalloc');
  }
  const bytes = o.clusterSize ?? blockSize * 16;
  const fits = power(bytes) && bytes >= blockSize * 2 && bytes <= 512 * 2 ** 20;
  if (!fits || bytes > blockSize * 32768) {
    throw refuse(`cluster size ${bytes}: a power of 2 above the block size ${blockSize} is needed`);
  }
  if (bytes > 2 ** 20) throw refuse(`cluster size ${bytes}: at most ${2 ** 20}`);
  return bytes / blockSize;
}

/** Bytes in whole blocks. A whole device is used in whole pages, as mke2fs does. */
function settleBytes(o: MkfsOptions, size: number, blockSize: number): number {
  const step = o.size === undefined ? Math.max(blockSize, PAGE) : blockSize;
  return size - (size % step);
}

function checkBlocks(blocks: number, features: X.FeatureSet): void {
  if (features.has(X.JOURNAL_DEV)) return;
  if (blocks >= 2 ** 32 && !features.has(X.WIDE)) {
    throw refuse(`${blocks} blocks need the feature 64bit`);
  }
  if (blocks > 2 ** 48) throw refuse(`${blocks} blocks, there are at most 2^48`);
}

function settleInodeSize(
  o: MkfsOptions,
  profile: Profile,
  features: X.FeatureSet,
  blockSize: number,
): number {
  const bytes = o.inodeSize ?? profile.inodeSize;
  if (!power(bytes) || bytes < F.EXT4_GOOD_OLD_INODE_SIZE || bytes > blockSize) {
    throw refuse(`inode size ${bytes}: a power of 2 from 128 to ${blockSize} is needed`);
  }
  if (bytes > F.EXT4_GOOD_OLD_INODE_SIZE) return bytes;
  if (features.has(X.INLINE_DATA)) throw refuse('inodes of 128 bytes have no room for inline_data');
  if (features.has(X.PROJECT)) throw refuse('inodes of 128 bytes have no room for project numbers');
  return bytes;
}

interface Room {
  bytes: number;
  blockSize: number;
  clusterBlocks: number;
  inodeSize: number;
}

function settleInodes(o: MkfsOptions, profile: Profile, room: Room): number {
  const { bytes } = room;
  const least = Math.max(1024, room.blockSize * room.clusterBlocks);
  const asked = o.inodeRatio;
  if (asked !== undefined) whole(asked, 1024, 1024 * MAX_BLOCK, 'bytes an inode');
  const ratio = asked ?? Math.max(profile.inodeRatio, least);
  const share = Math.min(Math.floor(bytes / ratio), 2 ** 32 - 1);
  const count = o.inodes ?? (share || Math.ceil(bytes / Math.max(4096, room.blockSize)));
  if (o.inodes !== undefined) whole(count, 1, 2 ** 32 - 1, 'number of inodes');
  if (count * room.inodeSize >= bytes && o.inodes !== undefined) {
    throw refuse(`${count} inodes of ${room.inodeSize} bytes do not fit into ${bytes} bytes`);
  }
  return count;
}

function settleGroup(o: MkfsOptions, blockSize: number, clusterBlocks: number): number {
  // bg_free_blocks_count has 16 bits, and a group's clusters are a multiple of 8.
  const most = Math.min(8 * blockSize, 65528) * clusterBlocks;
  if (o.blocksPerGroup === undefined) return most;
  const clusters = whole(o.blocksPerGroup, 256, most / clusterBlocks, 'blocks per group');
  if (clusters % 8 === 0) return clusters * clusterBlocks;
  throw refuse(`blocks per group ${clusters}: a multiple of 8 is needed`);
}

function settleFlex(o: MkfsOptions, features: X.FeatureSet): number {
  if (!features.has(X.FLEX_BG)) {
    if (o.flexBgSize === undefined) return 1;
    throw refuse('a flex group size needs the feature flex_bg');
  }
  const groups = o.flexBgSize ?? 16;
  if (power(groups) && groups <= 2 ** 31) return groups;
  throw refuse(`flex group size ${groups}: a power of 2 is needed`);
}

function settleDescSize(o: MkfsOptions, features: X.FeatureSet, blockSize: number): number {
  if (!features.has(X.WIDE)) {
    if (o.descSize === undefined) return F.EXT4_MIN_DESC_SIZE;
    throw refuse('a descriptor size needs the feature 64bit');
  }
  const bytes = o.descSize ?? F.EXT4_MIN_DESC_SIZE_64BIT;
  if (power(bytes) && bytes >= F.EXT4_MIN_DESC_SIZE_64BIT && bytes <= Math.min(1024, blockSize)) {
    return bytes;
  }
  throw refuse(`descriptor size ${bytes}: a power of 2 from 64 to 1024 is needed`);
}

type Growing = Pick<Settings, 'blocks' | 'blockSize' | 'descSize'>;

/** Counted as mke2fs does, before it knows its groups: those of a block of bits each, unless their size was given. */
function settleGrowth(o: MkfsOptions, features: X.FeatureSet, room: Growing): number {
  if (o.resize === undefined) return 0;
  const { blocks, blockSize, descSize } = room;
  whole(o.resize, 0, 2 ** 32 - 1, 'resize');
  if (o.resize <= blocks) throw refuse(`resize=${o.resize}: it has ${blocks} blocks already`);
  const perGroup = o.blocksPerGroup ?? blockSize * 8;
  const tableOf = (count: number) =>
    Math.ceil((Math.ceil(count / perGroup) * descSize) / blockSize);
  const growth = tableOf(o.resize) - tableOf(blocks);
  if (growth <= 0) return 0;
  if (features.has(X.META_BG) && features.wanted(X.META_BG)) {
    throw refuse('resize= needs the feature resize_inode, which meta_bg excludes');
  }
  if (!features.has(X.SPARSE)) throw refuse('resize= needs the feature sparse_super');
  features.set(X.RESIZE_INODE, true);
  return growth;
}

function settleJournal(
  o: MkfsOptions,
  features: X.FeatureSet,
  blockSize: number,
): JournalPlan | null {
  if (!features.has(X.JOURNAL)) {
    // As with mke2fs, a place alone asks for no journal.
    const placed = o.journal && o.journal.location !== undefined && o.journal.size === undefined;
    if (!o.journal || placed) return null;
    features.set(X.JOURNAL, true);
  }
  const asked = o.journal || {};
  if (o.journalDevice && asked.size !== undefined) {
    throw refuse('a journal device has its size already');
  }
  const blocks = asked.size === undefined ? 0 : Math.floor(asked.size / blockSize);
  if (asked.size !== undefined) whole(blocks, 1024, 10240000, 'blocks of the journal');
  const fast = asked.fastCommitSize;
  if (fast !== undefined && !features.has(X.FAST_COMMIT)) {
    throw refuse('a fast commit size needs the feature fast_commit');
  }
  return {
    blocks,
    fastCommit: fast === undefined ? -1 : Math.floor(fast / blockSize),
    location: asked.location ?? -1,
    asked: asked.size !== undefined,
  };
}

function settleOrphans(o: MkfsOptions, blockSize: number): number {
  if (o.orphanFileSize === undefined) return 0;
  const blocks = Math.ceil(o.orphanFileSize / blockSize);
  return whole(blocks, 2, Math.min(512, (8 * 2 ** 20) / blockSize), 'blocks of the orphan file');
}

function percent(value: number): number {
  if (value >= 0 && value <= 50) return value;
  throw refuse(`reserved share ${value}: 0 to 50 percent can be kept`);
}

function text(value: string, most: number, what: string): Uint8Array {
  const bytes = new TextEncoder().encode(value);
  if (bytes.length <= most && !bytes.includes(0)) return bytes;
  throw refuse(`the ${what} '${value}' is too long: ${most} bytes at most`);
}

function settleUuid(value = 'random'): Uint8Array {
  if (value === 'random') return randomUuid();
  if (value === 'clear' || value === 'null') return new Uint8Array(16);
  return parseUuid(value, 'UUID');
}

function randomUuid(): Uint8Array {
  const bytes = randomBytes(16);
  bytes[6] = (bytes[6] % 16) + 0x40;
  bytes[8] = (bytes[8] % 64) + 0x80;
  return bytes;
}

function settleTime(now: number | Date | undefined): number {
  const seconds = now instanceof Date ? now.getTime() / 1000 : (now ?? Date.now() / 1000);
  return whole(Math.floor(seconds), 0, 2 ** 40 - 1, 'time');
}
