// What all passes of a check hold on to: the superblock, the table of group descriptors in memory, the sets that pass 1
// fills and the others read, and the report. Nothing here judges; records are decoded as they lie.

import * as F from '../../assembly/format/ext4.ts';
import type { BlockDevice } from '../block/device.ts';
import { Checksums } from '../ext4/checksum.ts';
import { hasBit } from '../ext4/features.ts';
import type { Super } from '../ext4/super.ts';
import type { Flow } from '../flow.ts';
import { Bits, Counts, NumberList } from './bits.ts';
import type { Disk } from './disk.ts';
import type { Usage } from './quotafile.ts';
import { Record } from './record.ts';
import type { Report } from './report.ts';

/** An xattr block: who claimed it first, what its header says, how many inodes name it. */
export interface XattrBlock {
  ino: number;
  stored: number;
  refs: number;
  /** Inodes of values that its entries name. */
  values: number[];
  valueBlocks: number;
}

/** What a repair took away and makes again at the end of a round. It outlives rounds. */
export interface Lost {
  /** Blocks of the journal, and where it began (0: unknown); null when it was not lost. */
  journal: { blocks: number; goal: number } | null;
  /** The resize inode's own block (0: unknown), -1 when it was not lost. */
  resize: number;
}

export interface FsckHooks {
  lost: Lost;
  journalDevice?: BlockDevice;
  progress?: (pass: number, done: number, total: number) => void;
}

export class Volume {
  readonly sb: Super;
  readonly disk: Disk;
  readonly report: Report;
  readonly sums: Checksums;
  readonly hooks: FsckHooks;
  /** The superblock's block, and the byte in it. */
  readonly superBlock: number;
  readonly superOff: number;
  /** All group descriptors as they lie on disk, one behind the other. */
  readonly desc: Uint8Array;
  readonly descView: DataView;
  /** Groups whose descriptor was changed. */
  readonly dirtyGroups = new Set<number>();
  superDirty = false;
  /** The primary is lost: what is written goes to all copies. */
  fromBackup = false;
  #visits = 0;
  #overfull = false;
  readonly tableBlocks: number;
  readonly wide: boolean;
  readonly has64: boolean;

  /** Clusters in use, and those claimed more than once. */
  used = new Bits();
  shared = new Bits();
  /** Blocks of fixed metadata. */
  meta = new Bits();
  inUse = new Bits();
  /** Three planes of the directory-entry type of each inode in use. */
  types: readonly Bits[] = [new Bits(), new Bits(), new Bits()];
  /** Inodes found broken beyond use in pass 1; entries that name them go. */
  bad = new Bits();
  links = new Counts();
  found = new Counts();
  /** Inodes that hold values of xattrs, and references to them. */
  valueInodes = new Bits();
  valueRefs = new Counts();
  xattrBlocks = new Map<number, XattrBlock>();
  dirs = new NumberList();
  /** Per directory: the one whose entry names it, and what its ".." says. */
  parent = new NumberList();
  dotdot = new NumberList();
  /** Blocks of directories: inode, logical and physical block, in the order of inodes. */
  dirBlocks = { ino: new NumberList(), lblk: new NumberList(), pblk: new NumberList() };
  files = 0;
  orphans = new Bits();
  /** Directories to be written anew. */
  rebuild = new Set<number>();
  rootLost = false;
  /** Blocks have other places than pass 1 saw: the round ends here, the next one sees them. */
  restart = false;
  /** Value inodes that count no references. */
  lustreValues = new Bits();
  /** The descriptor of group 0 had a wrong checksum. */
  doubtful = false;
  /** A file of 2 GiB or more was seen. */
  large = false;
  /** Bitmaps that need a new place: twice the group, one more for that of the inodes. */
  relocate = new Set<number>();
  /** Groups whose inode table is nowhere. */
  lostTables = new Set<number>();
  /** Inodes whose blocks do not lie in their clusters as they should. */
  misaligned = new Set<number>();
  /** The inode of lost+found, 0 when there can be none, -1 before anyone asked. */
  lostFound = -1;
  /** Where the next free cluster is looked for. */
  allocFrom = 0;
  /** Why the check cannot go on; '' when it can. */
  fatal = '';
  /** Blocks that the list of bad blocks names. */
  badBlocks: Bits | null = null;
  /** Inodes whose record lies in one. */
  inBadBlock = new Bits();
  /** Directories in each group. */
  groupDirs = new Map<number, number>();
  /** What each id uses, by type of quota: user, group, project. */
  readonly usage: Map<number, Usage>[] = [new Map(), new Map(), new Map()];

  constructor(sb: Super, disk: Disk, report: Report, hooks: FsckHooks) {
    this.sb = sb;
    this.disk = disk;
    this.report = report;
    this.hooks = hooks;
    this.sums = new Checksums(disk.kernels, sb);
    this.superBlock = Math.floor(F.SB_OFFSET / sb.blockSize);
    this.superOff = F.SB_OFFSET % sb.blockSize;
    this.desc = new Uint8Array(sb.groups * sb.descSize);
    this.descView = new DataView(this.desc.buffer);
    this.tableBlocks = Math.ceil((sb.inodesPerGroup * sb.inodeSize) / sb.blockSize);
    this.wide = sb.descSize >= F.EXT4_MIN_DESC_SIZE_64BIT;
    this.has64 = hasBit(sb.incompat, F.INCOMPAT_64BIT);
  }

  // ---- features

  compat(bit: number): boolean {
    return hasBit(this.sb.compat, bit);
  }

  incompat(bit: number): boolean {
    return hasBit(this.sb.incompat, bit);
  }

  roCompat(bit: number): boolean {
    return hasBit(this.sb.roCompat, bit);
  }

  /** Groups have checksums, and with them the marks of what is not initialised. */
  get groupSums(): boolean {
    return this.sb.metadataCsum || this.sb.gdtCsum;
  }

  // ---- groups

  groupU16(group: number, lo: number, hi: number): number {
    const at = group * this.sb.descSize;
    const high = this.wide ? this.descView.getUint16(at + hi, true) * 65536 : 0;
    return high + this.descView.getUint16(at + lo, true);
  }

  groupU32(group: number, lo: number, hi: number): number {
    const at = group * this.sb.descSize;
    const high = this.wide ? this.descView.getUint32(at + hi, true) * 2 ** 32 : 0;
    return high + this.descView.getUint32(at + lo, true);
  }

  putGroupU16(group: number, lo: number, hi: number, value: number): void {
    const at = group * this.sb.descSize;
    this.descView.setUint16(at + lo, value % 65536, true);
    if (this.wide) this.descView.setUint16(at + hi, Math.floor(value / 65536), true);
    this.dirtyGroups.add(group);
  }

  putGroupU32(group: number, lo: number, hi: number, value: number): void {
    const at = group * this.sb.descSize;
    this.descView.setUint32(at + lo, value % 2 ** 32, true);
    if (this.wide) this.descView.setUint32(at + hi, Math.floor(value / 2 ** 32), true);
    this.dirtyGroups.add(group);
  }

  blockBitmap(group: number): number {
    return this.groupU32(group, F.BG_BLOCK_BITMAP_LO, F.BG_BLOCK_BITMAP_HI);
  }

  inodeBitmap(group: number): number {
    return this.groupU32(group, F.BG_INODE_BITMAP_LO, F.BG_INODE_BITMAP_HI);
  }

  inodeTable(group: number): number {
    return this.groupU32(group, F.BG_INODE_TABLE_LO, F.BG_INODE_TABLE_HI);
  }

  groupFlags(group: number): number {
    return this.descView.getUint16(group * this.sb.descSize + F.BG_FLAGS, true);
  }

  setGroupFlags(group: number, flags: number): void {
    this.descView.setUint16(group * this.sb.descSize + F.BG_FLAGS, flags, true);
    this.dirtyGroups.add(group);
  }

  itableUnused(group: number): number {
    return this.groupU16(group, F.BG_ITABLE_UNUSED_LO, F.BG_ITABLE_UNUSED_HI);
  }

  /** Blocks of a group; the last one may be shorter. */
  groupBlocks(group: number): number {
    const start = this.sb.groupStart(group);
    return Math.min(this.sb.blocksPerGroup, this.sb.blocks - start);
  }

  /** Inodes at the front of a group's table that may be in use. */
  usedInodes(group: number): number {
    const { inodesPerGroup } = this.sb;
    if (!this.groupSums) return inodesPerGroup;
    if (hasBit(this.groupFlags(group), F.EXT4_BG_INODE_UNINIT)) return 0;
    return Math.max(0, inodesPerGroup - this.itableUnused(group));
  }

  groupOf(pblk: number): number {
    return Math.floor((pblk - this.sb.firstDataBlock) / this.sb.blocksPerGroup);
  }

  // ---- limits

  /** Whether one more block of a map may be walked: trees that inodes share would be walked without end. */
  mayVisit(ino: number): boolean {
    const most = 8 * this.sb.blocks + 4096;
    if (++this.#visits <= most) return true;
    if (this.#visits === most + 1)
      this.report.complain('walk-limit', { ino }, 'the maps of the inodes share too many blocks');
    return false;
  }

  /** Whether one more block of a directory may be listed: more than the file system has, and two claim one. */
  mayList(ino: number): boolean {
    const most = 2 * this.sb.blocks + 4096;
    if (this.dirBlocks.ino.length < most) return true;
    if (!this.#overfull)
      this.report.complain('dir-limit', { ino }, 'directories share too many blocks');
    this.#overfull = true;
    return false;
  }

  // ---- blocks

  /** The number of a block's cluster, counted from the first data block. */
  cluster(pblk: number): number {
    return Math.floor((pblk - this.sb.firstDataBlock) / this.sb.clusterBlocks);
  }

  /** Whether a block may belong to a file. */
  inFs(pblk: number): boolean {
    return (
      pblk > this.sb.firstDataBlock - (this.sb.firstDataBlock === 0 ? 0 : 1) &&
      pblk < this.sb.blocks
    );
  }

  /** Marks the clusters of `count` blocks as used. True when one was used already. */
  claim(pblk: number, count: number): boolean {
    const first = this.cluster(pblk);
    const n = this.cluster(pblk + count - 1) - first + 1;
    if (!this.used.addRange(first, n)) return false;
    return true;
  }

  // ---- inodes

  /** Whether a time of deletion is none, but the number of the next orphan: no clock was ever that low. */
  isOrphanLink(dtime: number): boolean {
    const { sb } = this;
    const clocks = [
      sb.u32(F.S_WTIME),
      sb.u32(F.S_MTIME) || sb.inodes,
      sb.u32(F.S_MKFS_TIME) || sb.inodes,
    ];
    return dtime > 0 && dtime < sb.inodes && clocks.every((time) => time >= sb.inodes);
  }

  inodeType(ino: number): number {
    const [a, b, c] = this.types;
    return (a.has(ino) ? 1 : 0) + (b.has(ino) ? 2 : 0) + (c.has(ino) ? 4 : 0);
  }

  setInodeType(ino: number, type: number): void {
    for (let i = 0; i < 3; i++) {
      if ((type >>> i) & 1) this.types[i].add(ino);
      else this.types[i].delete(ino);
    }
  }

  inodeGroup(ino: number): number {
    return Math.floor((ino - 1) / this.sb.inodesPerGroup);
  }

  /** Block and byte of an inode's record; null when its group has no table. */
  inodePlace(ino: number): { pblk: number; off: number } | null {
    const { sb } = this;
    if (ino < 1 || ino > sb.inodes) return null;
    const group = this.inodeGroup(ino);
    const pos = ((ino - 1) % sb.inodesPerGroup) * sb.inodeSize;
    const table = this.inodeTable(group);
    const pblk = table + Math.floor(pos / sb.blockSize);
    return table === 0 || pblk >= sb.blocks ? null : { pblk, off: pos % sb.blockSize };
  }

  /** The record of an inode, good until 64 further blocks; null when it has no place. */
  *inode(ino: number): Flow<Record | null> {
    const place = this.inodePlace(ino);
    if (place === null) return null;
    const ptr = yield* this.disk.get(place.pblk);
    return new Record(this, ino, ptr + place.off);
  }

  /** Seals and writes the record's block, if the record was changed. */
  *save(record: Record): Flow<void> {
    if (!record.dirty) return;
    record.dirty = false;
    record.seal();
    const place = this.inodePlace(record.ino);
    if (place !== null) yield* this.disk.write(place.pblk, record.ptr - place.off);
  }

  // ---- the superblock, as it lies in sb.raw

  putSuper16(field: number, value: number): void {
    this.sb.dv.setUint16(field, value, true);
    this.superDirty = true;
  }

  putSuper32(field: number, value: number): void {
    this.sb.dv.setUint32(field, value, true);
    this.superDirty = true;
  }
}
