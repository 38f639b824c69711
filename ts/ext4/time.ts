// Times of inodes: seconds since 1970 in 34 bits where the extra field is there, nanoseconds in its other 30.

import * as F from '../../assembly/format/ext4.ts';
import type { Time } from './stat.ts';
import type { Ext4Volume } from './volume.ts';

const ORIGIN = performance.timeOrigin;

/** Where a mount has its times and its random numbers from. */
export interface Clock {
  now(): Time;
  /** The same, coarser and without an object. */
  milliseconds(): number;
  /** In [0, 1). */
  random(): number;
}

/** As fine as the platform has it. */
export const SYSTEM_CLOCK: Clock = {
  now,
  milliseconds: () => Date.now(),
  random: () => Math.random(),
};

/** Stands still, and its random numbers repeat: the same changes make the same bytes. */
export function stillClock(seconds: number): Clock {
  const time = { sec: Math.floor(seconds), nsec: 0 };
  let state = 0x2545f491;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return { now: () => time, milliseconds: () => time.sec * 1000, random };
}

function now(): Time {
  const ms = ORIGIN + performance.now();
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
  putAt(vol.dv, ptr, field, extraField, recordEnd(vol, ptr), time);
}

/** Writes a time as ctime, and as mtime too when `modified`. */
export function putChanged(vol: Ext4Volume, ptr: number, time: Time, modified: boolean): void {
  const end = recordEnd(vol, ptr);
  putAt(vol.dv, ptr, F.I_CTIME, F.I_CTIME_EXTRA, end, time);
  if (modified) putAt(vol.dv, ptr, F.I_MTIME, F.I_MTIME_EXTRA, end, time);
}

/** Writes a time as all four of a new record. */
export function putBorn(vol: Ext4Volume, ptr: number, time: Time): void {
  const { dv } = vol;
  const end = recordEnd(vol, ptr);
  putAt(dv, ptr, F.I_CRTIME, F.I_CRTIME_EXTRA, end, time);
  if (end < F.I_CRTIME_EXTRA + 4) {
    putAt(dv, ptr, F.I_ATIME, F.I_ATIME_EXTRA, end, time);
    putAt(dv, ptr, F.I_MTIME, F.I_MTIME_EXTRA, end, time);
    putAt(dv, ptr, F.I_CTIME, F.I_CTIME_EXTRA, end, time);
    return;
  }
  const low = dv.getUint32(ptr + F.I_CRTIME, true);
  const extra = dv.getUint32(ptr + F.I_CRTIME_EXTRA, true);
  dv.setUint32(ptr + F.I_ATIME, low, true);
  dv.setUint32(ptr + F.I_MTIME, low, true);
  dv.setUint32(ptr + F.I_CTIME, low, true);
  dv.setUint32(ptr + F.I_ATIME_EXTRA, extra, true);
  dv.setUint32(ptr + F.I_MTIME_EXTRA, extra, true);
  dv.setUint32(ptr + F.I_CTIME_EXTRA, extra, true);
}

function putAt(
  dv: DataView,
  ptr: number,
  field: number,
  extraField: number,
  end: number,
  time: Time,
): void {
  const wide = extraField + 4 <= end;
  const most = wide ? 2 ** 34 - 2 ** 31 - 1 : 2 ** 31 - 1;
  const sec = Math.max(-(2 ** 31), Math.min(most, time.sec));
  if (field + 4 <= end) dv.setInt32(ptr + field, sec | 0, true);
  if (!wide) return;
  const epoch = Math.round((sec - (sec | 0)) / 2 ** 32);
  dv.setUint32(ptr + extraField, time.nsec * 4 + epoch, true);
}

/** Bytes of the record at `ptr` that fields may lie in. */
function recordEnd(vol: Ext4Volume, ptr: number): number {
  if (vol.sb.inodeSize === F.EXT4_GOOD_OLD_INODE_SIZE) return F.EXT4_GOOD_OLD_INODE_SIZE;
  return F.EXT4_GOOD_OLD_INODE_SIZE + vol.dv.getUint16(ptr + F.I_EXTRA_ISIZE, true);
}
