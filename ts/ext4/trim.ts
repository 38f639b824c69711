// Telling the device which blocks are free. Only what is free on disk: blocks freed by transactions that are not
// durable are left out, and the runs are held while the device call runs, so that nobody gets them meanwhile.

import { Ext4Error } from '../errno.ts';
import { attemptDiscard, type Flow, step } from '../flow.ts';
import { freeRuns, holdRun, unhold } from './balloc.ts';
import { readGroup } from './group.ts';
import type { Ext4Volume } from './volume.ts';

/** Discards all free space, group by group; returns bytes. EOPNOTSUPP on a device that cannot; EIO. */
export function* trimVolume(vol: Ext4Volume): Flow<number> {
  const { sb } = vol;
  let bytes = 0;
  for (let group = 0; group < sb.groups; group++) {
    for (const run of yield* step(groupRuns, vol, group)) {
      if (!(yield* step(holdRun, vol, run.pblk, run.count))) continue;
      const len = run.count * sb.blockSize;
      const failed = yield* attemptDiscard(vol.device, run.pblk * sb.blockSize, len);
      yield* step(letGo, vol, run);
      if (failed instanceof Ext4Error) throw failed;
      bytes += len;
    }
  }
  return bytes;
}

function groupRuns(vol: Ext4Volume, group: number): { pblk: number; count: number }[] {
  return freeRuns(vol, readGroup(vol, group));
}

function letGo(vol: Ext4Volume, { pblk, count }: { pblk: number; count: number }): void {
  unhold(vol, pblk, count, false);
}
