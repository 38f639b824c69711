// Taking back everything since the last commit: what handles changed is forgotten in memory and read from the device
// again. Possible because nothing of it was written: the journal was held, file data stayed in the cache.

import { assert } from '../assert.ts';
import { releaseDelayed } from './delayed.ts';
import { MAX_LBLK } from './extentwrite.ts';
import type { Ext4Volume } from './volume.ts';

/** What is not on disk and must be as before. */
export interface Snapshot {
  orphans: Map<number, number>;
}

/** Begins holding: no commit, no writeback until release(). Everything must be durable and home. */
export function hold(vol: Ext4Volume): Snapshot {
  assert(vol.journal!.running === null, 'what is held begins with nothing');
  vol.journal!.held = true;
  return { orphans: new Map(vol.orphans) };
}

export function release(vol: Ext4Volume): void {
  vol.journal!.held = false;
}

/** Forgets what was changed since hold(). */
export function rollBack(vol: Ext4Volume, { orphans }: Snapshot): void {
  vol.journal!.discard();
  for (const inode of vol.dirtyInodes) {
    releaseDelayed(inode, 0, MAX_LBLK);
    inode.growPending = false;
  }
  vol.inodes.dropAll();
  vol.dirtyInodes.clear();
  vol.inodes.reloadAll();
  for (const { unit } of vol.pending.values()) vol.cache.arena.free(unit, 1);
  vol.pending.clear();
  vol.dirtyGroups.clear();
  vol.xattrBlocks.clear();
  vol.valueInodes.clear();
  vol.free = null;
  vol.orphans.clear();
  for (const [ino, slot] of orphans) vol.orphans.set(ino, slot);
  if (vol.orphanFile !== null) vol.orphanFile.firstFree = 0;
}
