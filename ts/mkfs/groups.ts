// Bitmaps and group descriptors. A group in which nothing is in use, or only its own superblock and descriptors, has
// its bitmaps left unwritten and says so, where descriptors have checksums.

import * as F from '../../assembly/format/ext4.ts';
import { GDT_CSUM } from './features.ts';
import { frontOf } from './geometry.ts';
import type { Image } from './image.ts';
import { groupEnd, groupStart } from './plan.ts';

export interface GroupTable {
  /** The whole descriptor table, whole blocks. */
  bytes: Uint8Array;
  freeBlocks: number;
  freeInodes: number;
}

/** Builds the descriptors, and the bitmaps that must be written. */
export function makeGroups(img: Image): GroupTable {
  const { g } = img;
  const bytes = new Uint8Array(g.gdtBlocks * g.blockSize);
  const table = { bytes, freeBlocks: 0, freeInodes: 0 };
  const builder = new GroupBuilder(img);
  for (let group = 0; group < g.groups; group++) {
    const raw = bytes.subarray(group * g.descSize, (group + 1) * g.descSize);
    const { freeClusters, freeInodes } = builder.build(group, raw);
    table.freeBlocks += freeClusters * g.clusterBlocks;
    table.freeInodes += freeInodes;
  }
  return table;
}

class GroupBuilder {
  readonly #img: Image;
  readonly #flags: boolean;
  readonly #wide: boolean;
  readonly #zeroedTables: boolean;

  constructor(img: Image) {
    this.#img = img;
    this.#flags = img.summed || img.g.features.has(GDT_CSUM);
    this.#wide = img.g.descSize >= F.EXT4_MIN_DESC_SIZE_64BIT;
    this.#zeroedTables = img.g.zeroed || !img.g.lazyTables;
  }

  build(group: number, raw: Uint8Array): { freeClusters: number; freeInodes: number } {
    const { g, layout } = this.#img;
    const dv = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
    const first = group * g.inodesPerGroup;
    const usedInodes = Math.min(Math.max(this.#img.lastInode - first, 0), g.inodesPerGroup);
    const freeInodes = g.inodesPerGroup - usedInodes;
    const freeClusters = this.#freeClusters(group);
    this.#block(dv, F.BG_BLOCK_BITMAP_LO, F.BG_BLOCK_BITMAP_HI, layout.blockBitmap[group]);
    this.#block(dv, F.BG_INODE_BITMAP_LO, F.BG_INODE_BITMAP_HI, layout.inodeBitmap[group]);
    this.#block(dv, F.BG_INODE_TABLE_LO, F.BG_INODE_TABLE_HI, layout.inodeTable[group]);
    this.#count(dv, F.BG_FREE_BLOCKS_COUNT_LO, F.BG_FREE_BLOCKS_COUNT_HI, freeClusters);
    this.#count(dv, F.BG_FREE_INODES_COUNT_LO, F.BG_FREE_INODES_COUNT_HI, freeInodes);
    const inside = (ino: number) => ino > first && ino <= first + g.inodesPerGroup;
    const dirs = this.#img.directories.filter(inside).length;
    this.#count(dv, F.BG_USED_DIRS_COUNT_LO, F.BG_USED_DIRS_COUNT_HI, dirs);
    this.#bitmaps(group, dv, usedInodes, freeInodes);
    if (this.#flags) dv.setUint16(F.BG_CHECKSUM, this.#checksum(group, raw), true);
    return { freeClusters, freeInodes };
  }

  #freeClusters(group: number): number {
    const { g, layout } = this.#img;
    const [start, end] = [groupStart(g, group), groupEnd(g, group)];
    const clusters = Math.ceil((end - start) / g.clusterBlocks);
    let used = 0;
    layout.used.each(start, end, (_, count) => {
      used += Math.ceil(count / g.clusterBlocks);
    });
    return clusters - used;
  }

  /** Flags, the unused tail of the table, and the two bitmaps with their checksums. */
  #bitmaps(group: number, dv: DataView, usedInodes: number, freeInodes: number): void {
    const img = this.#img;
    const { g } = img;
    let flags = 0;
    if (this.#flags) {
      this.#count(dv, F.BG_ITABLE_UNUSED_LO, F.BG_ITABLE_UNUSED_HI, freeInodes);
      if (usedInodes === 0) flags |= F.EXT4_BG_INODE_UNINIT;
      if (usedInodes === 0 && this.#untouched(group)) flags |= F.EXT4_BG_BLOCK_UNINIT;
    }
    if (this.#zeroedTables || usedInodes > 0) flags |= F.EXT4_BG_INODE_ZEROED;
    if (this.#flags || g.zeroed) dv.setUint16(F.BG_FLAGS, flags, true);
    if ((flags & F.EXT4_BG_BLOCK_UNINIT) === 0) {
      const blocks = this.#blockBitmap(group);
      img.put(img.layout.blockBitmap[group], blocks);
      const used = blocks.subarray(0, g.blocksPerGroup / g.clusterBlocks / 8);
      this.#sum(dv, F.BG_BLOCK_BITMAP_CSUM_LO, F.BG_BLOCK_BITMAP_CSUM_HI, used);
    }
    if ((flags & F.EXT4_BG_INODE_UNINIT) === 0) {
      const inodes = this.#inodeBitmap(usedInodes);
      img.put(img.layout.inodeBitmap[group], inodes);
      const used = inodes.subarray(0, g.inodesPerGroup / 8);
      this.#sum(dv, F.BG_INODE_BITMAP_CSUM_LO, F.BG_INODE_BITMAP_CSUM_HI, used);
    }
  }

  /** Nothing in use but the superblock and descriptors that belong here; the last group always has its bitmap. */
  #untouched(group: number): boolean {
    const { g, layout } = this.#img;
    if (group === 0 || group === g.groups - 1) return false;
    const [start, end] = [groupStart(g, group), groupEnd(g, group)];
    const front = frontOf(g, group);
    const own = Math.ceil(front / g.clusterBlocks) * g.clusterBlocks;
    const at = [layout.blockBitmap[group], layout.inodeBitmap[group], layout.inodeTable[group]];
    // Without flex_bg the group's own tables are understood as well.
    const inside = at.every((block) => block >= start && block < end);
    const tables = inside && g.flexSize === 1 ? 2 + g.tableBlocks : 0;
    return layout.used.count(start, end) === own + tables;
  }

  #blockBitmap(group: number): Uint8Array {
    const { g, layout } = this.#img;
    const bytes = new Uint8Array(g.blockSize);
    const [start, end] = [groupStart(g, group), groupEnd(g, group)];
    layout.used.each(start, end, (at, count) => {
      const first = Math.floor((at - start) / g.clusterBlocks);
      setBits(bytes, first, Math.ceil((at - start + count) / g.clusterBlocks));
    });
    const clusters = Math.ceil((end - start) / g.clusterBlocks);
    setBits(bytes, clusters, 8 * g.blockSize);
    return bytes;
  }

  #inodeBitmap(used: number): Uint8Array {
    const { g } = this.#img;
    const bytes = new Uint8Array(g.blockSize);
    setBits(bytes, 0, used);
    setBits(bytes, g.inodesPerGroup, 8 * g.blockSize);
    return bytes;
  }

  #sum(dv: DataView, low: number, high: number, bytes: Uint8Array): void {
    if (!this.#img.summed) return;
    const sum = this.#img.sums.crc32c(this.#img.seed, bytes);
    dv.setUint16(low, sum % 65536, true);
    if (this.#wide) dv.setUint16(high, Math.floor(sum / 65536), true);
  }

  #checksum(group: number, raw: Uint8Array): number {
    const { sums, seed, summed, g } = this.#img;
    if (summed) return sums.crc32c(sums.u32(seed, group), raw) % 65536;
    const head = new Uint8Array(20);
    head.set(g.uuid);
    new DataView(head.buffer).setUint32(16, group, true);
    const rest = F.BG_CHECKSUM + 2;
    const crc = sums.crc16(sums.crc16(0xffff, head), raw.subarray(0, F.BG_CHECKSUM));
    return sums.crc16(crc, raw.subarray(rest));
  }

  #block(dv: DataView, low: number, high: number, block: number): void {
    dv.setUint32(low, block % 2 ** 32, true);
    if (this.#wide) dv.setUint32(high, Math.floor(block / 2 ** 32), true);
  }

  #count(dv: DataView, low: number, high: number, count: number): void {
    dv.setUint16(low, count % 65536, true);
    if (this.#wide) dv.setUint16(high, Math.floor(count / 65536), true);
  }
}

/** Sets the bits [from, end). */
function setBits(bytes: Uint8Array, from: number, end: number): void {
  while (from < end && from % 8 !== 0) bytes[from >>> 3] |= 1 << (from++ % 8);
  while (from < end && end % 8 !== 0) bytes[--end >>> 3] |= 1 << (end % 8);
  bytes.fill(0xff, from >>> 3, end >>> 3);
}
