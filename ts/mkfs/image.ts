// The image as it grows in memory: pieces of bytes at block numbers, and the inodes of group 0. Nothing is written
// from here; write.ts turns the pieces into few large writes.

import * as F from '../../assembly/format/ext4.ts';
import { CSUM_SEED, GDT_CSUM, METADATA_CSUM } from './features.ts';
import type { Layout } from './layout.ts';
import type { Geometry } from './plan.ts';
import { Sums } from './sums.ts';

/** Bytes at a byte position of the file system. */
export interface Piece {
  dpos: number;
  bytes: Uint8Array;
}

export class Image {
  readonly g: Geometry;
  readonly layout: Layout;
  readonly sums = new Sums();
  /** Records carry crc32c checksums, seeded by this. */
  readonly seed: number;
  readonly summed: boolean;
  /** Descriptors can say that a table was never written. */
  readonly lazyCapable: boolean;
  readonly pieces: Piece[] = [];
  /** Ranges of bytes that must read as zeroes. */
  readonly zeroes: { dpos: number; len: number }[] = [];
  /** The inodes at the front of group 0's table that were made; the highest number. */
  readonly inodes = new Map<number, Uint8Array>();
  lastInode: number = F.EXT4_GOOD_OLD_FIRST_INO - 1;
  /** The inodes that are directories. */
  readonly directories: number[] = [];
  /** Blocks of the journal, and its map for the superblock's copy. */
  journalBlocks = 0;
  journalRuns: { block: number; count: number }[] = [];
  journalInode: Uint8Array | null = null;
  journalUuid: Uint8Array | null = null;
  orphanInode = 0;
  mmpBlock = 0;
  /** Clusters that are not counted as overhead: of directories, the orphan file, the resize inode's tree. */
  fileClusters = 0;

  constructor(g: Geometry, layout: Layout) {
    this.g = g;
    this.layout = layout;
    this.summed = g.features.has(METADATA_CSUM);
    this.lazyCapable = this.summed || g.features.has(GDT_CSUM);
    this.seed = this.sums.crc32c(0xffffffff, g.uuid);
    if (!this.summed) g.features.set(CSUM_SEED, false);
  }

  /** The seed of an inode's records; all inodes of mkfs have generation 0. */
  inodeSeed(ino: number): number {
    return this.sums.u32(this.sums.u32(this.seed, ino), 0);
  }

  put(block: number, bytes: Uint8Array): void {
    this.pieces.push({ dpos: block * this.g.blockSize, bytes });
  }

  /** Counts blocks as those of a file, in whole clusters. */
  countFile(blocks: number): void {
    this.fileClusters += Math.ceil(blocks / this.g.clusterBlocks);
  }

  zero(block: number, count: number): void {
    const { blockSize } = this.g;
    this.zeroes.push({ dpos: block * blockSize, len: count * blockSize });
  }
}
