// Checkpoint: committed blocks go home, oldest transaction first, so that the log before them can be used again. A
// block that the running transaction has changed since holds newer bytes: its transaction must commit first.

import { assert } from '../assert.ts';
import type { LogBlock } from '../cache/buffer.ts';
import { type Flow, flushDevice, step } from '../flow.ts';
import { writeBlocks } from './commit.ts';
import type { Journal } from './journal.ts';
import { writeEmpty, writeStart } from './start.ts';

/** Blocks written home between two looks at the list. */
const BATCH = 256;

/** Writes home what can be, then moves the log's tail. Returns false when a commit must come first for more. */
export function* checkpointFlow(journal: Journal): Flow<boolean> {
  const { area } = journal;
  if (area === null) return true;
  let all = true;
  for (;;) {
    const batch = yield* step(pick, journal);
    if (batch.length === 0) break;
    yield* writeBlocks(journal, batch);
    yield* step(done, journal, batch);
  }
  yield* flushDevice(journal.hooks.device);
  const tail = yield* step(newTail, journal);
  all = tail === null;
  if (tail === null) {
    if (!area.clean && journal.committing === null) yield* writeEmpty(area, journal.durableTid + 1);
  } else if (tail.start !== area.tail) {
    yield* writeStart(area, tail.start, tail.tid);
    yield* step(measure, journal);
  }
  return all;
}

/** The next blocks whose bytes are the committed ones; they are busy until done. */
function pick(journal: Journal): LogBlock[] {
  const batch: LogBlock[] = [];
  for (const tx of journal.checkpoint) {
    for (const block of tx.blocks.values()) {
      const ahead =
        block.buffer !== null && (block.buffer.tx !== null || block.buffer.log !== block);
      if (ahead) continue;
      batch.push(block);
      if (block.buffer !== null) block.buffer.busy = true;
      if (batch.length === BATCH) return batch;
    }
  }
  return batch;
}

function done(journal: Journal, batch: LogBlock[]): void {
  for (const block of batch) {
    if (block.buffer !== null) block.buffer.busy = false;
    if (journal.latest.get(block.pblk)?.block === block) journal.release(block.pblk);
  }
}

/** Forgets transactions that are home whole; where the oldest of the others begins, or null. */
function newTail(journal: Journal): { start: number; tid: number } | null {
  const list = journal.checkpoint;
  while (list.length > 0 && list[0].blocks.size === 0) list.shift();
  const first = list[0] ?? journal.committing;
  return first === undefined || first === null ? null : { start: first.start, tid: first.tid };
}

function measure(journal: Journal): void {
  const { area } = journal;
  assert(area !== null, 'a log is measured');
  const span = area.format.last - area.format.first;
  area.used = (area.head - area.tail + span) % span;
}
