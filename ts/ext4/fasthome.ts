// Fast commits written home. They are applied in memory first, on top of what the rest of the log leaves, and only if
// all of them fit the tree anything is written: then they are one transaction in the log, under the number that they
// had, so that at any moment either they count or it does.

import { assert } from '../assert.ts';
import { Ext4Error } from '../errno.ts';
import { type Flow, flushDevice, writeBack } from '../flow.ts';
import { Journal } from '../jbd2/journal.ts';
import { replayFastCommits, writeHome } from '../jbd2/recovery.ts';
import { areaBehind, writeBehind, writeEmpty } from '../jbd2/start.ts';
import { applyModel } from './fastapply.ts';
import { FastModel } from './fastmodel.ts';
import { countFree } from './groupwrite.ts';
import { journalHooks } from './lifecycle.ts';
import { clearNeedsRecovery, lendWindow, type Replayed } from './recover.ts';
import type { Ext4Volume } from './volume.ts';

/** The transaction may take up half of the log, which is empty but for it. */
const FAST_PART = 2;
/** Records looked at; the area has room for half as many by default. */
const MAX_RECORDS = 1 << 17;

/** Makes the fast commits part of the tree of `vol`, which is mounted on what the rest of the log leaves: in memory, in
 *  the transaction that they belong to. Nothing is written. Whatever is wrong with them is thrown, and nothing is kept
 *  of `vol` then. The journal is held by then, and given to who undoes steps. */
export function* applyFastCommits(
  vol: Ext4Volume,
  { recovery, source }: Replayed,
  begin: (journal: Journal) => void,
): Flow<void> {
  if (recovery.fastCommits!.records > MAX_RECORDS) {
    throw new Ext4Error('ENOSPC', 'more changes than one transaction holds');
  }
  const lent = lendWindow(vol, source);
  const area = areaBehind(lent, recovery);
  const hooks = journalHooks(vol, source.home.device);
  const journal = new Journal(vol.cache, hooks, area, area.tailTid, FAST_PART);
  journal.held = true;
  vol.journal = journal;
  begin(journal);
  yield* countFree(vol);
  const model = new FastModel(vol);
  yield* replayFastCommits(lent, recovery, model);
  yield* applyModel(vol, model);
}

/** Writes home what applyFastCommits() made: the log's blocks, then one transaction, with which the fast commits no
 *  longer count, then that. A cut before it leaves the fast commits, one after it the transaction. `home` is the volume
 *  on the device itself. */
export function* writeFastCommits(
  vol: Ext4Volume,
  home: Ext4Volume,
  replayed: Replayed,
): Flow<void> {
  const journal = vol.journal!;
  const area = journal.area!;
  yield* writeHome(area.source, replayed.recovery);
  yield* flushDevice(home.device);
  yield* writeBehind(area);
  journal.held = false;
  if (journal.running === null) yield* writeEmpty(area, area.tailTid + 1);
  else yield* writeBack();
  assert(area.clean, 'all is home');
  yield* clearNeedsRecovery(home);
  replayed.state.state = 'replayed';
  replayed.device = home.device;
}
