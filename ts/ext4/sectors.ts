// i_blocks: what an inode's blocks take, in units of 512 bytes, or of blocks where the inode says huge_file.

import * as F from '../../assembly/format/ext4.ts';
import { hasBit } from './features.ts';
import type { Inode } from './inode.ts';

/** Adds to an inode's count of 512-byte sectors. Needs a handle. */
export function addSectors(inode: Inode, delta: number): void {
  const { sb } = inode.vol;
  const huge = inode.has(F.EXT4_HUGE_FILE_FL);
  const unit = huge ? sb.blockSize / 512 : 1;
  const wide = hasBit(sb.roCompat, F.RO_COMPAT_HUGE_FILE);
  const high = wide ? inode.u16(F.I_BLOCKS_HIGH) * 2 ** 32 : 0;
  const count = high + inode.u32(F.I_BLOCKS_LO) + delta / unit;
  inode.put32(F.I_BLOCKS_LO, count % 2 ** 32);
  if (wide) inode.put16(F.I_BLOCKS_HIGH, Math.floor(count / 2 ** 32));
}
