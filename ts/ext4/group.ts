// Block group descriptors: where they lie (also with meta_bg), decoded and checked at each use from the buffer.
// Nothing is read at mount: a file system of a tebibyte has 8,192 of them.

import { ABI_NAME } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/ext4.ts';
import type { Buffer } from '../cache/buffer.ts';
import { badChecksum, corrupt } from '../errno.ts';
import { hasBit } from './features.ts';
import type { Ext4Volume } from './volume.ts';

/** A buffer checked as a block of descriptors. */
export const KIND_GROUPS = 1;

export interface Group {
  number: number;
  blockBitmap: number;
  inodeBitmap: number;
  inodeTable: number;
  freeClusters: number;
  freeInodes: number;
  usedDirs: number;
  itableUnused: number;
  flags: number;
}

/** The descriptor of a group. Throws Missing; EBADMSG, EUCLEAN. */
export function readGroup(vol: Ext4Volume, group: number): Group {
  const { sb } = vol;
  const perBlock = sb.blockSize / sb.descSize;
  const index = Math.floor(group / perBlock);
  const buffer = vol.cache.get(descriptorBlock(vol, index));
  if (buffer.kind !== KIND_GROUPS) checkBlock(vol, buffer, index);
  const found = decode(vol, buffer.ptr + (group % perBlock) * sb.descSize, group);
  checkPlaces(vol, found, buffer.pblk);
  return found;
}

/** Where the block of descriptors number `index` lies. */
export function descriptorBlock(vol: Ext4Volume, index: number): number {
  const { sb } = vol;
  const superBlock = Math.floor(F.SB_OFFSET / sb.blockSize);
  const meta = hasBit(sb.incompat, F.INCOMPAT_META_BG);
  if (!meta || index < sb.u32(F.S_FIRST_META_BG)) return superBlock + 1 + index;
  const group = index * (sb.blockSize / sb.descSize);
  let at = sb.groupStart(group) + (sb.groupHasSuper(group) ? 1 : 0);
  // With 1 KiB blocks and bigalloc, block 0 holds the boot sector and the superblock comes second.
  if (sb.blockSize === 1024 && index === 0 && sb.firstDataBlock === 0) at++;
  return at;
}

/** Inodes in use at the front of a group's table; those behind were never initialised. */
export function usedInodes(vol: Ext4Volume, group: Group): number {
  if (!vol.sb.metadataCsum && !vol.sb.gdtCsum) return vol.sb.inodesPerGroup;
  if (hasBit(group.flags, F.EXT4_BG_INODE_UNINIT)) return 0;
  return Math.max(0, vol.sb.inodesPerGroup - group.itableUnused);
}

function checkBlock(vol: Ext4Volume, buffer: Buffer, index: number): void {
  const { sb } = vol;
  if (sb.metadataCsum || sb.gdtCsum) {
    const perBlock = sb.blockSize / sb.descSize;
    const first = index * perBlock;
    const count = Math.min(perBlock, sb.groups - first);
    for (let i = 0; i < count; i++) checkSum(vol, buffer, first + i, i * sb.descSize);
  }
  buffer.kind = KIND_GROUPS;
}

function checkSum(vol: Ext4Volume, buffer: Buffer, group: number, off: number): void {
  const stored = vol.dv.getUint16(buffer.ptr + off + F.BG_CHECKSUM, true);
  if (stored === groupChecksum(vol, buffer.ptr + off, group)) return;
  throw badChecksum('group descriptor', { field: `bg_checksum of ${group}`, block: buffer.pblk });
}

/** The low 16 bits that belong into BG_CHECKSUM of the descriptor at `ptr`. */
export function groupChecksum(vol: Ext4Volume, ptr: number, group: number): number {
  const { sb, sums } = vol;
  if (sums.on) {
    const seed = sums.u32(sums.seed, group);
    return sums.around(seed, ptr, sb.descSize, F.BG_CHECKSUM, 2) % 65536;
  }
  const { exports } = vol.cache.kernels;
  vol.u8.set(sb.uuid, ABI_NAME);
  vol.dv.setUint32(ABI_NAME + 16, group, true);
  let crc = exports.crc16(0xffff, ABI_NAME, 20);
  crc = exports.crc16(crc, ptr, F.BG_CHECKSUM);
  const rest = F.BG_CHECKSUM + 2;
  if (sb.descSize > rest) crc = exports.crc16(crc, ptr + rest, sb.descSize - rest);
  return crc & 0xffff;
}

function decode(vol: Ext4Volume, ptr: number, number: number): Group {
  const { dv } = vol;
  const wide = vol.sb.descSize >= F.EXT4_MIN_DESC_SIZE_64BIT;
  const u16 = (lo: number, hi: number) =>
    dv.getUint16(ptr + lo, true) + (wide ? dv.getUint16(ptr + hi, true) * 65536 : 0);
  const u32 = (lo: number, hi: number) =>
    dv.getUint32(ptr + lo, true) + (wide ? dv.getUint32(ptr + hi, true) * 2 ** 32 : 0);
  return {
    number,
    blockBitmap: u32(F.BG_BLOCK_BITMAP_LO, F.BG_BLOCK_BITMAP_HI),
    inodeBitmap: u32(F.BG_INODE_BITMAP_LO, F.BG_INODE_BITMAP_HI),
    inodeTable: u32(F.BG_INODE_TABLE_LO, F.BG_INODE_TABLE_HI),
    freeClusters: u16(F.BG_FREE_BLOCKS_COUNT_LO, F.BG_FREE_BLOCKS_COUNT_HI),
    freeInodes: u16(F.BG_FREE_INODES_COUNT_LO, F.BG_FREE_INODES_COUNT_HI),
    usedDirs: u16(F.BG_USED_DIRS_COUNT_LO, F.BG_USED_DIRS_COUNT_HI),
    itableUnused: u16(F.BG_ITABLE_UNUSED_LO, F.BG_ITABLE_UNUSED_HI),
    flags: dv.getUint16(ptr + F.BG_FLAGS, true),
  };
}

function checkPlaces(vol: Ext4Volume, group: Group, block: number): void {
  const { sb } = vol;
  const tableBlocks = Math.ceil((sb.inodesPerGroup * sb.inodeSize) / sb.blockSize);
  check(group.blockBitmap, 1, 'bg_block_bitmap');
  check(group.inodeBitmap, 1, 'bg_inode_bitmap');
  check(group.inodeTable, tableBlocks, 'bg_inode_table');

  function check(at: number, count: number, field: string): void {
    if (at > sb.firstDataBlock && at + count <= sb.blocks) return;
    const reason = `group ${group.number}: ${at}`;
    throw corrupt('group descriptor', reason, { field, block });
  }
}
