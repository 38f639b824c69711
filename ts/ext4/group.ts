// Block group descriptors: where they lie (also with meta_bg), decoded and checked at each use from the buffer.
// Nothing is read at mount: a file system of a tebibyte has 8,192 of them.

import { ABI_NAME } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/ext4.ts';
import type { Buffer } from '../cache/buffer.ts';
import { badChecksum, corrupt } from '../errno.ts';
import { hasBit } from './features.ts';
import type { Super } from './super.ts';
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

function decode({ dv, sb }: Ext4Volume, ptr: number, number: number): Group {
  const wide = sb.descSize >= F.EXT4_MIN_DESC_SIZE_64BIT;
  const found = {
    number,
    blockBitmap: dv.getUint32(ptr + F.BG_BLOCK_BITMAP_LO, true),
    inodeBitmap: dv.getUint32(ptr + F.BG_INODE_BITMAP_LO, true),
    inodeTable: dv.getUint32(ptr + F.BG_INODE_TABLE_LO, true),
    freeClusters: dv.getUint16(ptr + F.BG_FREE_BLOCKS_COUNT_LO, true),
    freeInodes: dv.getUint16(ptr + F.BG_FREE_INODES_COUNT_LO, true),
    usedDirs: dv.getUint16(ptr + F.BG_USED_DIRS_COUNT_LO, true),
    itableUnused: dv.getUint16(ptr + F.BG_ITABLE_UNUSED_LO, true),
    flags: dv.getUint16(ptr + F.BG_FLAGS, true),
  };
  if (!wide) return found;
  found.blockBitmap += dv.getUint32(ptr + F.BG_BLOCK_BITMAP_HI, true) * 2 ** 32;
  found.inodeBitmap += dv.getUint32(ptr + F.BG_INODE_BITMAP_HI, true) * 2 ** 32;
  found.inodeTable += dv.getUint32(ptr + F.BG_INODE_TABLE_HI, true) * 2 ** 32;
  found.freeClusters += dv.getUint16(ptr + F.BG_FREE_BLOCKS_COUNT_HI, true) * 65536;
  found.freeInodes += dv.getUint16(ptr + F.BG_FREE_INODES_COUNT_HI, true) * 65536;
  found.usedDirs += dv.getUint16(ptr + F.BG_USED_DIRS_COUNT_HI, true) * 65536;
  found.itableUnused += dv.getUint16(ptr + F.BG_ITABLE_UNUSED_HI, true) * 65536;
  return found;
}

function checkPlaces(vol: Ext4Volume, group: Group, block: number): void {
  const { sb } = vol;
  const { number } = group;
  const tableBlocks = Math.ceil((sb.inodesPerGroup * sb.inodeSize) / sb.blockSize);
  if (!lies(sb, group.blockBitmap, 1))
    throw misplaced(number, group.blockBitmap, 'bg_block_bitmap', block);
  if (!lies(sb, group.inodeBitmap, 1))
    throw misplaced(number, group.inodeBitmap, 'bg_inode_bitmap', block);
  if (!lies(sb, group.inodeTable, tableBlocks))
    throw misplaced(number, group.inodeTable, 'bg_inode_table', block);
}

function lies(sb: Super, at: number, count: number): boolean {
  return at > sb.firstDataBlock && at + count <= sb.blocks;
}

function misplaced(group: number, at: number, field: string, block: number): Error {
  return corrupt('group descriptor', `group ${group}: ${at}`, { field, block });
}
