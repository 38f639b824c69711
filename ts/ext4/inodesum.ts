// The checksum of an inode's record: 16 bits in its first 128 bytes, 16 more behind them where there is room.

import * as F from '../../assembly/format/ext4.ts';
import type { Ext4Volume } from './volume.ts';

/** Writes the checksum of the record at `ptr`: in one pass, its fields being zero meanwhile. */
export function sealInode(vol: Ext4Volume, ptr: number, seed: number): void {
  const { dv, sums } = vol;
  const wide = inodeHasHighSum(vol, ptr);
  dv.setUint16(ptr + F.I_CHECKSUM_LO, 0, true);
  if (wide) dv.setUint16(ptr + F.I_CHECKSUM_HI, 0, true);
  const sum = sums.run(seed, ptr, vol.sb.inodeSize);
  dv.setUint16(ptr + F.I_CHECKSUM_LO, sum, true);
  if (wide) dv.setUint16(ptr + F.I_CHECKSUM_HI, sum >>> 16, true);
}

/** Whether the checksum stored in the inode at `ptr` is right; `seed` is of its number and generation. */
export function inodeChecksumHolds(vol: Ext4Volume, ptr: number, seed: number): boolean {
  const { dv } = vol;
  const wide = inodeHasHighSum(vol, ptr);
  let stored = dv.getUint16(ptr + F.I_CHECKSUM_LO, true);
  let sum = inodeChecksum(vol, ptr, seed);
  if (wide) stored += dv.getUint16(ptr + F.I_CHECKSUM_HI, true) * 65536;
  else sum %= 65536;
  return stored === sum;
}

function inodeHasHighSum(vol: Ext4Volume, ptr: number): boolean {
  if (vol.sb.inodeSize === F.EXT4_GOOD_OLD_INODE_SIZE) return false;
  return vol.dv.getUint16(ptr + F.I_EXTRA_ISIZE, true) >= 4;
}

/** crc32c of the whole record, its checksum fields counting as zero. */
function inodeChecksum(vol: Ext4Volume, ptr: number, seed: number): number {
  const { sums, sb } = vol;
  let crc = sums.around(seed, ptr, F.EXT4_GOOD_OLD_INODE_SIZE, F.I_CHECKSUM_LO, 2);
  if (sb.inodeSize === F.EXT4_GOOD_OLD_INODE_SIZE) return crc;
  const rest = F.EXT4_GOOD_OLD_INODE_SIZE;
  if (!inodeHasHighSum(vol, ptr)) return sums.run(crc, ptr + rest, sb.inodeSize - rest);
  crc = sums.run(crc, ptr + rest, F.I_CHECKSUM_HI - rest);
  crc = sums.zeros(crc, 2);
  const after = F.I_CHECKSUM_HI + 2;
  return sums.run(crc, ptr + after, sb.inodeSize - after);
}
