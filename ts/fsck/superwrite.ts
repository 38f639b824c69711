// Writing the superblock: marked unclean before a repair writes anything else, with what the repair found at the end of
// each round, and clean when a round found nothing. To all its copies where the primary was lost.

import * as F from '../../assembly/format/ext4.ts';
import { type Flow, flushDevice } from '../flow.ts';
import type { Volume } from './volume.ts';

/** Takes "valid" out of the superblock on disk. A cut after this leaves an image that the next check looks at. */
export function* markUnclean(vol: Volume): Flow<void> {
  const state = vol.sb.u16(F.S_STATE);
  if ((state & F.EXT4_VALID_FS) === 0) return;
  vol.sb.dv.setUint16(F.S_STATE, state & ~F.EXT4_VALID_FS, true);
  yield* put(vol, vol.superBlock, vol.superOff, 0);
  yield* flushDevice(vol.disk.device);
}

/** Writes the superblock if it changed; with `copies` every copy, for which descriptors were written, too. */
export function* writeSuper(vol: Volume, copies: boolean): Flow<void> {
  if (!vol.superDirty) return;
  vol.superDirty = false;
  yield* flushDevice(vol.disk.device);
  yield* put(vol, vol.superBlock, vol.superOff, 0);
  if (!copies) return;
  for (let group = 1; group < vol.sb.groups; group++) {
    if (vol.sb.groupHasSuper(group)) yield* put(vol, vol.sb.groupStart(group), 0, group);
  }
}

/** The check found nothing: says so, with the time. */
export function* markClean(vol: Volume): Flow<void> {
  const now = Math.floor(Date.now() / 1000);
  const state = vol.sb.u16(F.S_STATE) | F.EXT4_VALID_FS;
  vol.putSuper16(F.S_STATE, state & ~(F.EXT4_ERROR_FS | F.EXT4_ORPHAN_FS));
  vol.putSuper16(F.S_MNT_COUNT, 0);
  vol.putSuper32(F.S_LASTCHECK, now % 2 ** 32);
  vol.sb.dv.setUint8(F.S_LASTCHECK_HI, Math.floor(now / 2 ** 32));
  yield* writeSuper(vol, false);
  yield* flushDevice(vol.disk.device);
}

/** Writes the record into its block, as the copy of `group`. */
function* put(vol: Volume, pblk: number, off: number, group: number): Flow<void> {
  const { disk, sums, sb } = vol;
  const ptr = yield* disk.get(pblk);
  disk.u8.set(sb.raw, ptr + off);
  disk.dv.setUint16(ptr + off + F.S_BLOCK_GROUP_NR, group, true);
  if (sums.on) {
    const sum = sums.run(0xffffffff, ptr + off, F.S_CHECKSUM);
    disk.dv.setUint32(ptr + off + F.S_CHECKSUM, sum, true);
  }
  yield* disk.writeNow(pblk, ptr);
}
