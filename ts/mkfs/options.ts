// What a caller may ask of mkfs: mke2fs's words in camelCase. Sizes are bytes unless the name says otherwise; what is
// left out comes from the profile (profile.ts). Nothing here is checked: settle.ts does that.

import type { BlockDevice } from '../block/device.ts';

/** The journal that is asked for (mke2fs -J). */
export interface JournalOptions {
  /** Bytes of the log, fast-commit blocks not counted (-J size, which counts MiB). */
  size?: number;
  /** Bytes for fast commits (-J fast_commit_size, which counts KiB). */
  fastCommitSize?: number;
  /** Block from which on the log is laid (-J location). */
  location?: number;
}

export interface MkfsOptions {
  /** -t: 'ext2', 'ext3' or 'ext4' (default). */
  type?: 'ext2' | 'ext3' | 'ext4';
  /** -T: 'small', 'floppy', 'big', 'huge', 'news', 'largefile', 'largefile4', 'default'; by size if left out. */
  usage?: string;
  /** Whose defaults: e2fsprogs' own of 1.47 ('upstream', default) or Debian's. */
  preset?: 'upstream' | 'debian';
  /** -O: names with commas between, '^' takes one away, 'none' all. */
  features?: string;
  /** Bytes of the file system; the whole device when left out. */
  size?: number;
  /** -b */
  blockSize?: number;
  /** -C, only with bigalloc */
  clusterSize?: number;
  /** -I */
  inodeSize?: number;
  /** -i: bytes an inode */
  inodeRatio?: number;
  /** -N */
  inodes?: number;
  /** -L, at most 16 bytes of UTF-8 */
  label?: string;
  /** -M */
  lastMounted?: string;
  /** -U: 'random' (default), 'clear', or the number itself */
  uuid?: string;
  /** -m: percent of the blocks that only root may use */
  reservedPercent?: number;
  /** -g: blocks a group, clusters with bigalloc */
  blocksPerGroup?: number;
  /** -G: groups of a flex group, a power of 2 */
  flexBgSize?: number;
  /** -e */
  errors?: 'continue' | 'remount-ro' | 'panic';
  /** -J; false: none, whatever the features say */
  journal?: JournalOptions | false;
  /** -J device: a journal of its own made with `features: 'journal_dev'`. It is written to. */
  journalDevice?: BlockDevice;
  /** The journal device's number, as the kernel writes it: where it looks first. */
  journalDeviceNumber?: number;
  /** -E stride, in blocks */
  stride?: number;
  /** -E stripe_width, in blocks */
  stripeWidth?: number;
  /** -E resize: blocks to which it can be grown while mounted */
  resize?: number;
  /** -E hash_seed */
  hashSeed?: string;
  /** -E hash_alg of directories */
  hashAlg?: 'legacy' | 'half_md4' | 'tea';
  /** -E lazy_itable_init (default true): inode tables nobody uses yet are left to the kernel. */
  lazyItableInit?: boolean;
  /** -E lazy_journal_init (default false): only the journal's superblock is written. */
  lazyJournalInit?: boolean;
  /** -E num_backup_sb with sparse_super2: 0, 1 or 2 */
  numBackupSb?: number;
  /** -E packed_meta_blocks: all bitmaps, tables and the journal at the front */
  packedMetaBlocks?: boolean;
  /** -E root_owner */
  rootOwner?: { uid: number; gid: number };
  /** -E root_perms */
  rootPerms?: number;
  /** -E desc_size with 64bit */
  descSize?: number;
  /** -E orphan_file_size, bytes */
  orphanFileSize?: number;
  /** -E mmp_update_interval, seconds */
  mmpUpdateInterval?: number;
  /** -E discard: the whole device is discarded first. Off, other than mke2fs's: an image is often a fresh file. */
  discard?: boolean;
  /** The device is known to read as zeroes everywhere: nothing is zeroed, tables count as zeroed. */
  zeroed?: boolean;
  /** Seconds since 1970, or a Date: every time in the image. SOURCE_DATE_EPOCH, else the clock. */
  now?: number | Date;
  /** -d: files to put in, by path. They are written through a mount of the new file system. */
  tree?: Tree;
  /** Bytes between the start of the device and the file system (-E offset). */
  offset?: number;
}

/** A file that is in memory: one of data, target (a symbolic link) and directory; without any an empty file. */
export interface TreeEntry {
  data?: Uint8Array | string;
  target?: string;
  directory?: true;
  mode?: number;
  uid?: number;
  gid?: number;
  /** Seconds since 1970, or a Date. */
  mtime?: number | Date;
}

/** Files by path; bytes or text alone are a regular file. Directories above are made as needed. */
export type Tree = Record<string, Uint8Array | string | TreeEntry>;

/** What was made. */
export interface MkfsResult {
  blockSize: number;
  blocks: number;
  inodes: number;
  groups: number;
  freeBlocks: number;
  freeInodes: number;
  journalBlocks: number;
  /** Where the log lies, in blocks. */
  journalRuns: { block: number; count: number }[];
  label: string;
  uuid: string;
  features: string[];
  /** Things that turned out other than asked: the journal left out for want of room, … */
  notes: string[];
  /** Bytes written to the device, and in how many calls. */
  written: number;
  writes: number;
}
