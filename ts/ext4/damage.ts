// The superblock's record of broken records: that there are some, how many were met, the first and the last.

import * as F from '../../assembly/format/ext4.ts';
import type { Ext4Error } from '../errno.ts';
import { superPlace } from './lifecycle.ts';
import type { Ext4Volume } from './volume.ts';

/** EXT4_ERR_EFSBADCRC and EXT4_ERR_EFSCORRUPTED. */
const ERR_BAD_CRC = 4;
const ERR_CORRUPTED = 5;
const NAME_BYTES = 32;

/** One entry: where its fields lie. */
interface Entry {
  time: number;
  timeHigh: number;
  ino: number;
  block: number;
  func: number;
  code: number;
}

const FIRST: Entry = {
  time: F.S_FIRST_ERROR_TIME,
  timeHigh: F.S_FIRST_ERROR_TIME_HI,
  ino: F.S_FIRST_ERROR_INO,
  block: F.S_FIRST_ERROR_BLOCK,
  func: F.S_FIRST_ERROR_FUNC,
  code: F.S_FIRST_ERROR_ERRCODE,
};
const LAST: Entry = {
  time: F.S_LAST_ERROR_TIME,
  timeHigh: F.S_LAST_ERROR_TIME_HI,
  ino: F.S_LAST_ERROR_INO,
  block: F.S_LAST_ERROR_BLOCK,
  func: F.S_LAST_ERROR_FUNC,
  code: F.S_LAST_ERROR_ERRCODE,
};

/** A step with a handle of its own: the file system has errors, of which this is the last one. */
export function noteDamage(vol: Ext4Volume, error: Ext4Error): void {
  const { dv } = vol;
  const { pblk, off } = superPlace(vol);
  const buffer = vol.cache.get(pblk);
  vol.journal!.start(1);
  const ptr = vol.journal!.write(buffer, off, F.SB_SIZE);
  dv.setUint16(ptr + F.S_STATE, dv.getUint16(ptr + F.S_STATE, true) | F.EXT4_ERROR_FS, true);
  const count = dv.getUint32(ptr + F.S_ERROR_COUNT, true);
  dv.setUint32(ptr + F.S_ERROR_COUNT, Math.min(count + 1, 0xffffffff), true);
  if (dv.getUint32(ptr + F.S_FIRST_ERROR_TIME, true) === 0) writeEntry(vol, ptr, FIRST, error);
  writeEntry(vol, ptr, LAST, error);
  vol.journal!.stop();
}

/** In place of the kernel's function the record that was broken; there are no lines. */
function writeEntry(vol: Ext4Volume, ptr: number, at: Entry, { code, detail }: Ext4Error): void {
  const { dv, u8 } = vol;
  const now = vol.clock.now().sec;
  const block = detail?.block ?? 0;
  dv.setUint32(ptr + at.time, now % 2 ** 32, true);
  dv.setUint8(ptr + at.timeHigh, Math.floor(now / 2 ** 32));
  dv.setUint32(ptr + at.ino, detail?.ino ?? 0, true);
  dv.setUint32(ptr + at.block, block % 2 ** 32, true);
  dv.setUint32(ptr + at.block + 4, Math.floor(block / 2 ** 32), true);
  const name = new TextEncoder().encode(detail?.record ?? '').subarray(0, NAME_BYTES - 1);
  vol.cache.kernels.exports.zero(ptr + at.func, NAME_BYTES);
  u8.set(name, ptr + at.func);
  dv.setUint8(ptr + at.code, code === 'EBADMSG' ? ERR_BAD_CRC : ERR_CORRUPTED);
}
