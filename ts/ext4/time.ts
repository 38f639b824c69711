// Times of inodes: seconds since 1970 in 34 bits where the extra field is there, nanoseconds in its other 30.

import * as F from '../../assembly/format/ext4.ts';
import type { Time } from './stat.ts';
import type { Ext4Volume } from './volume.ts';

/** The time, as fine as the platform has it. */
export function now(): Time {
  const ms = performance.timeOrigin + performance.now();
  const sec = Math.floor(ms / 1000);
  return { sec, nsec: Math.min(999_999_999, Math.floor((ms - sec * 1000) * 1e6)) };
}

/** Writes a time to the record at `ptr`; the extra field only when the record has it. Clipped to what fits. */
export function putTime(
  vol: Ext4Volume,
  ptr: number,
  field: number,
  extraField: number,
  time: Time,
): void {
  const { dv } = vol;
  const wide = hasField(vol, ptr, extraField + 4);
  const most = wide ? 2 ** 34 - 2 ** 31 - 1 : 2 ** 31 - 1;
  const sec = Math.max(-(2 ** 31), Math.min(most, time.sec));
  if (field < F.EXT4_GOOD_OLD_INODE_SIZE || hasField(vol, ptr, field + 4)) {
    dv.setInt32(ptr + field, sec | 0, true);
  }
  if (!wide) return;
  const epoch = Math.round((sec - (sec | 0)) / 2 ** 32);
  dv.setUint32(ptr + extraField, time.nsec * 4 + epoch, true);
}

function hasField(vol: Ext4Volume, ptr: number, end: number): boolean {
  if (vol.sb.inodeSize === F.EXT4_GOOD_OLD_INODE_SIZE) return false;
  const extra = vol.dv.getUint16(ptr + F.I_EXTRA_ISIZE, true);
  return F.EXT4_GOOD_OLD_INODE_SIZE + extra >= end;
}
