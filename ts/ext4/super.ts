// The superblock, decoded whole and checked: what it says is used to size everything else, so each field is
// bounded before it is believed. Counts are in blocks, clusters or inodes as named; positions are exact numbers.

import * as F from '../../assembly/format/ext4.ts';
import { corrupt, Ext4Error } from '../errno.ts';
import { hasBit, unreadable } from './features.ts';

const DEFAULT_BLOCKS_LOG_MAX = 6; // 64 KiB

export class Super {
  /** The raw record, 1,024 bytes. */
  readonly raw: Uint8Array;
  readonly dv: DataView;
  readonly compat: number;
  readonly incompat: number;
  readonly roCompat: number;
  readonly blockSize: number;
  /** Blocks of one allocation cluster: 1 without bigalloc. */
  readonly clusterBlocks: number;
  readonly blocks: number;
  readonly reservedBlocks: number;
  readonly freeBlocks: number;
  readonly inodes: number;
  readonly freeInodes: number;
  readonly firstDataBlock: number;
  readonly blocksPerGroup: number;
  readonly inodesPerGroup: number;
  readonly inodeSize: number;
  readonly firstIno: number;
  readonly descSize: number;
  readonly groups: number;
  readonly uuid: Uint8Array;
  readonly journalIno: number;
  readonly lastOrphan: number;
  readonly orphanFileIno: number;

  /** Checks everything but the checksum. EINVAL without the magic number, EUCLEAN for what cannot be,
   *  EOPNOTSUPP for a feature that cannot be read. */
  constructor(raw: Uint8Array) {
    this.raw = raw;
    this.dv = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
    if (this.u16(F.S_MAGIC) !== F.EXT4_SUPER_MAGIC) throw bad('s_magic', 'no ext2/3/4 file system');
    const old = this.u32(F.S_REV_LEVEL) === 0;
    this.compat = old ? 0 : this.u32(F.S_FEATURE_COMPAT);
    this.incompat = old ? 0 : this.u32(F.S_FEATURE_INCOMPAT);
    this.roCompat = old ? 0 : this.u32(F.S_FEATURE_RO_COMPAT);
    this.#checkFeatures();
    this.blockSize = this.#decodeBlockSize();
    this.clusterBlocks = this.#decodeClusters();
    this.blocks = this.#wide(F.S_BLOCKS_COUNT_LO, F.S_BLOCKS_COUNT_HI, 's_blocks_count');
    this.reservedBlocks = this.#wide(F.S_R_BLOCKS_COUNT_LO, F.S_R_BLOCKS_COUNT_HI, 's_r_blocks');
    this.freeBlocks = this.#wide(F.S_FREE_BLOCKS_COUNT_LO, F.S_FREE_BLOCKS_COUNT_HI, 's_free');
    this.inodes = this.u32(F.S_INODES_COUNT);
    this.freeInodes = this.u32(F.S_FREE_INODES_COUNT);
    this.firstDataBlock = this.u32(F.S_FIRST_DATA_BLOCK);
    this.blocksPerGroup = this.u32(F.S_BLOCKS_PER_GROUP);
    this.inodesPerGroup = this.u32(F.S_INODES_PER_GROUP);
    this.inodeSize = old ? F.EXT4_GOOD_OLD_INODE_SIZE : this.u16(F.S_INODE_SIZE);
    this.firstIno = old ? F.EXT4_GOOD_OLD_FIRST_INO : this.u32(F.S_FIRST_INO);
    this.descSize = this.#decodeDescSize();
    this.groups = this.#decodeGroups();
    this.uuid = raw.slice(F.S_UUID, F.S_UUID + 16);
    this.journalIno = this.u32(F.S_JOURNAL_INUM);
    this.lastOrphan = this.u32(F.S_LAST_ORPHAN);
    this.orphanFileIno = this.u32(F.S_ORPHAN_FILE_INUM);
  }

  u8(at: number): number {
    return this.raw[at];
  }

  u16(at: number): number {
    return this.dv.getUint16(at, true);
  }

  u32(at: number): number {
    return this.dv.getUint32(at, true);
  }

  get metadataCsum(): boolean {
    return hasBit(this.roCompat, F.RO_COMPAT_METADATA_CSUM);
  }

  get gdtCsum(): boolean {
    return hasBit(this.roCompat, F.RO_COMPAT_GDT_CSUM) && !this.metadataCsum;
  }

  get hasJournal(): boolean {
    return hasBit(this.compat, F.COMPAT_HAS_JOURNAL);
  }

  get needsRecovery(): boolean {
    return hasBit(this.incompat, F.INCOMPAT_RECOVER);
  }

  /** Text of a field of fixed size, up to its first NUL. */
  text(at: number, size: number): string {
    const bytes = this.raw.slice(at, at + size);
    const end = bytes.indexOf(0);
    return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
  }

  /** First block of a group. */
  groupStart(group: number): number {
    return this.firstDataBlock + group * this.blocksPerGroup;
  }

  /** Whether a group begins with a copy of the superblock. */
  groupHasSuper(group: number): boolean {
    if (group === 0) return true;
    if (hasBit(this.compat, F.COMPAT_SPARSE_SUPER2)) {
      return group === this.u32(F.S_BACKUP_BGS) || group === this.u32(F.S_BACKUP_BGS + 4);
    }
    if (group <= 1 || !hasBit(this.roCompat, F.RO_COMPAT_SPARSE_SUPER)) return true;
    return isPower(group, 3) || isPower(group, 5) || isPower(group, 7);
  }

  #checkFeatures(): void {
    if (hasBit(this.incompat, F.INCOMPAT_JOURNAL_DEV)) {
      throw unsupported(['journal_dev'], 'this is an external journal, not a file system');
    }
    const names = unreadable(this.incompat);
    if (names.length > 0) throw unsupported(names, `unsupported: ${names.join(', ')}`);
  }

  #decodeBlockSize(): number {
    const log = this.u32(F.S_LOG_BLOCK_SIZE);
    if (log > DEFAULT_BLOCKS_LOG_MAX) throw bad('s_log_block_size', `${log}`);
    return 1024 * 2 ** log;
  }

  #decodeClusters(): number {
    const log = this.u32(F.S_LOG_CLUSTER_SIZE);
    const blockLog = this.u32(F.S_LOG_BLOCK_SIZE);
    if (!hasBit(this.roCompat, F.RO_COMPAT_BIGALLOC)) return 1;
    if (log < blockLog || log > 20) throw bad('s_log_cluster_size', `${log}`);
    return 2 ** (log - blockLog);
  }

  #wide(lo: number, hi: number, field: string): number {
    const high = hasBit(this.incompat, F.INCOMPAT_64BIT) ? this.u32(hi) : 0;
    if (high > 0xffff) throw bad(field, 'above 2^48');
    return high * 2 ** 32 + this.u32(lo);
  }

  #decodeDescSize(): number {
    if (!hasBit(this.incompat, F.INCOMPAT_64BIT)) return F.EXT4_MIN_DESC_SIZE;
    const size = this.u16(F.S_DESC_SIZE);
    const fits = size >= F.EXT4_MIN_DESC_SIZE_64BIT && size <= 1024 && isPowerOf2(size);
    if (!fits || size > this.blockSize) throw bad('s_desc_size', `${size}`);
    return size;
  }

  #decodeGroups(): number {
    const { blockSize, inodeSize, blocks, firstDataBlock } = this;
    const fits = inodeSize >= F.EXT4_GOOD_OLD_INODE_SIZE && inodeSize <= blockSize;
    if (!fits || !isPowerOf2(inodeSize)) throw bad('s_inode_size', `${inodeSize}`);
    if (this.firstIno < F.EXT4_GOOD_OLD_FIRST_INO) throw bad('s_first_ino', `${this.firstIno}`);
    const perGroup = this.blocksPerGroup;
    const clusters = perGroup / this.clusterBlocks;
    if (!Number.isInteger(clusters) || clusters < 8 || clusters > 8 * blockSize) {
      throw bad('s_blocks_per_group', `${perGroup}`);
    }
    if (this.clusterBlocks > 1 && this.u32(F.S_CLUSTERS_PER_GROUP) !== clusters) {
      throw bad('s_clusters_per_group', `${this.u32(F.S_CLUSTERS_PER_GROUP)}`);
    }
    const perBlock = blockSize / inodeSize;
    const inodes = this.inodesPerGroup;
    if (inodes < perBlock || inodes > 8 * blockSize) throw bad('s_inodes_per_group', `${inodes}`);
    if (firstDataBlock >= blocks) throw bad('s_first_data_block', `${firstDataBlock}`);
    if (blocks * blockSize > Number.MAX_SAFE_INTEGER) throw bad('s_blocks_count', `${blocks}`);
    const groups = Math.ceil((blocks - firstDataBlock) / perGroup);
    if (groups * inodes !== this.inodes) {
      throw bad('s_inodes_count', `${this.inodes}, not ${groups} groups of ${inodes}`);
    }
    return groups;
  }
}

function isPower(value: number, base: number): boolean {
  let power = base;
  while (power < value) power *= base;
  return power === value;
}

function isPowerOf2(value: number): boolean {
  return value > 0 && (value & (value - 1)) === 0;
}

function bad(field: string, reason: string): Ext4Error {
  if (field === 's_magic') {
    return new Ext4Error('EINVAL', { record: 'superblock', field, block: 0, reason });
  }
  return corrupt('superblock', reason, { field, block: 0 });
}

function unsupported(features: string[], reason: string): Ext4Error {
  const field = 's_feature_incompat';
  return new Ext4Error('EOPNOTSUPP', { record: 'superblock', field, features, reason });
}
