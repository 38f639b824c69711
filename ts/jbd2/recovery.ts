// Recovery: what the log says the file system's blocks should be. readLog() makes three passes (scan, revoke, replay)
// and writes nothing; its result maps home blocks to their last copy in the log. That map is the `memory` replay; or
// writeHome() puts the copies in place, and finishRecovery() empties the log. A cut before that leaves the log whole.

import type { Ext4Error } from '../errno.ts';
import { badChecksum, corrupt } from '../errno.ts';
import type { Flow } from '../flow.ts';
import { flushDevice, readDevice, writeDevice } from '../flow.ts';
import type { FastCommitOps, FastCommits } from './fastcommit.ts';
import { applyFastCommits, scanFastCommits } from './fastcommit.ts';
import type { Tag } from './records.ts';
import { isEscaped, nextTid, tagChecksum, unescapeBlock } from './records.ts';
import type { RevokeTable } from './revoke.ts';
import { readRevokes } from './revoke.ts';
import type { Descriptor, Scan } from './scan.ts';
import { logAt, scanLog } from './scan.ts';
import type { JournalSource } from './source.ts';
import { LogWindow, place } from './source.ts';
import type { JournalSuper, LogFormat } from './super.ts';
import { encodeEmpty, readSuper } from './super.ts';

/** Where the newest copy of a home block lies. */
export interface ReplayEntry {
  /** Byte position on the journal's device. */
  readonly dpos: number;
  /** The copy's first four bytes are zero and stand for the log's magic, c0 3b 39 98. */
  readonly escaped: boolean;
}

export interface Recovery {
  readonly sb: JournalSuper;
  readonly format: LogFormat;
  /** False when the log is empty: then there is nothing to write and nothing to finish. */
  readonly needed: boolean;
  /** What the log changes, by home block; every one lies on the file system and outside the journal. */
  readonly blocks: ReadonlyMap<number, ReplayEntry>;
  /** Whole transactions found. */
  readonly transactions: number;
  /** Copies that a revoke kept from being replayed. */
  readonly revokeHits: number;
  /** The id of the next transaction. */
  readonly nextTid: number;
  /** The journal block after the last whole transaction. */
  readonly head: number;
  /** Changes after the last whole transaction, for ext4 to apply; null when there are none. */
  readonly fastCommits: FastCommits | null;
  /** s_errno: why the last mount gave up, a negative errno, or 0. */
  readonly errno: number;
  /** With `damaged: 'skip'`: what was left out. The file system needs a check then. */
  readonly skipped: readonly Ext4Error[];
}

export interface RecoverOptions {
  /**
   * A log whose checksums are wrong where that cannot be a torn tail: refuse it, as the kernel does (but before
   * anything is written), or leave the damaged copies out, as e2fsck does.
   */
  readonly damaged?: 'refuse' | 'skip';
}

/**
 * Reads the whole log. EUCLEAN or EBADMSG for a journal that is corrupt or damaged, EOPNOTSUPP with the features'
 * names for one that is newer than this.
 */
export function* readLog(source: JournalSource, o: RecoverOptions = {}): Flow<Recovery> {
  const log = new LogWindow(source);
  const { sb, format } = yield* readSuper(log);
  const scan = yield* scanLog(log, sb, format);
  const skipped: Ext4Error[] = [];
  const complain = (error: Ext4Error): void => {
    if (o.damaged !== 'skip') throw error;
    skipped.push(error);
  };
  if (scan.broken) complain(scan.broken);
  const revokes = yield* readRevokes(log, format, scan);
  const replay = new Replay(log, format, revokes, complain);
  yield* replay.run(scan);
  const fast = sb.s_start !== 0 && !scan.broken;
  return {
    sb,
    format,
    needed: sb.s_start !== 0,
    blocks: replay.blocks,
    transactions: scan.transactions,
    revokeHits: replay.revokeHits,
    nextTid: nextTid(scan.end),
    head: scan.head,
    fastCommits: fast ? yield* scanFastCommits(log, format, scan.end) : null,
    errno: sb.s_errno,
    skipped,
  };
}

/** Third pass: the last copy of each home block that no revoke covers, its checksum verified. */
class Replay {
  readonly blocks = new Map<number, ReplayEntry>();
  revokeHits = 0;
  readonly #log: LogWindow;
  readonly #f: LogFormat;
  readonly #revokes: RevokeTable;
  readonly #complain: (error: Ext4Error) => void;
  #isOwn: (home: number) => boolean = () => false;

  constructor(
    log: LogWindow,
    f: LogFormat,
    revokes: RevokeTable,
    complain: (error: Ext4Error) => void,
  ) {
    this.#log = log;
    this.#f = f;
    this.#revokes = revokes;
    this.#complain = complain;
  }

  *run(scan: Scan): Flow<void> {
    if (scan.descriptors.length > 0) this.#isOwn = ownBlocks(this.#log.source);
    for (const descriptor of scan.descriptors) {
      for (let i = 0; i < descriptor.tags.length; i++) yield* this.#tag(descriptor, i);
    }
  }

  *#tag(d: Descriptor, i: number): Flow<void> {
    const tag = d.tags[i];
    if (this.#revokes.covers(tag.home, d.tid)) {
      this.revokeHits++;
      return;
    }
    const jblk = logAt(this.#f, d.jblk, 1 + i);
    this.#checkHome(tag, jblk);
    if (this.#f.summed) {
      const ptr = yield* this.#log.load(jblk, d.tags.length - i);
      if (tagChecksum(this.#log.source.kernels, ptr, this.#f, d.seed) !== tag.checksum) {
        this.#complain(badChecksum(`journal copy of block ${tag.home}`, { block: jblk }));
        return;
      }
    }
    const dpos = place(this.#log.source, jblk);
    this.blocks.set(tag.home, { dpos, escaped: isEscaped(tag) });
  }

  #checkHome(tag: Tag, jblk: number): void {
    const where = { field: 't_blocknr', block: jblk };
    if (tag.home >= this.#log.source.home.blocks) {
      throw corrupt('journal descriptor', `block ${tag.home} beyond the file system`, where);
    }
    if (this.#isOwn(tag.home)) {
      throw corrupt('journal descriptor', `block ${tag.home} belongs to the journal`, where);
    }
  }
}

/** Whether a home block is one of the journal's own: replaying onto the log would change what is replayed. */
function ownBlocks(source: JournalSource): (home: number) => boolean {
  if (source.device !== source.home.device) return () => false;
  const runs = ownRuns(source);
  return (home) => {
    const dpos = home * source.blockSize;
    let [low, high] = [0, runs.length]; // the first run that ends behind dpos
    while (low < high) {
      const mid = (low + high) >>> 1;
      if (runs[mid].end > dpos) high = mid;
      else low = mid + 1;
    }
    return low < runs.length && runs[low].dpos <= dpos;
  };
}

/** The journal's device bytes as runs in order, none overlapping another. */
function ownRuns(source: JournalSource): { dpos: number; end: number }[] {
  const runs: { dpos: number; end: number }[] = [];
  for (let jblk = 0; jblk < source.length; jblk++) {
    const dpos = source.locate(jblk);
    const last = runs.at(-1);
    if (last?.end === dpos) last.end += source.blockSize;
    else if (dpos >= 0) runs.push({ dpos, end: dpos + source.blockSize });
  }
  runs.sort((a, b) => a.dpos - b.dpos);
  runs.slice(1).forEach((run, i) => {
    run.end = Math.max(run.end, runs[i].end);
  });
  return runs;
}

/** Writes every copy to its home block, once. May be cut and done again: it reads the log only. Does not flush. */
export function* writeHome(source: JournalSource, recovery: Recovery): Flow<void> {
  const log = new LogWindow(source);
  const order = [...recovery.blocks.keys()].sort((a, b) => a - b);
  for (let i = 0; i < order.length; i += log.capacity) {
    yield* writeBatch(log, recovery, order.slice(i, i + log.capacity));
  }
}

function* writeBatch(log: LogWindow, recovery: Recovery, homes: number[]): Flow<void> {
  const { source } = log;
  const { blockSize } = source;
  const entries = homes.map((home) => recovery.blocks.get(home)!);
  yield* readDevice(source.device, gather(log, entries));
  entries.forEach((entry, slot) => {
    if (entry.escaped) unescapeBlock(source.kernels, source.window.ptr + slot * blockSize);
  });
  for (let from = 0; from < homes.length; ) {
    let end = from + 1;
    while (end < homes.length && homes[end] === homes[end - 1] + 1) end++;
    yield* writeDevice(source.home.device, log.bytes(from, end - from), homes[from] * blockSize);
    from = end;
  }
}

/** One read per run of copies that are neighbours in the log as at home. */
function gather(log: LogWindow, entries: ReplayEntry[]): { into: Uint8Array; dpos: number }[] {
  const { blockSize } = log.source;
  const ranges: { into: Uint8Array; dpos: number }[] = [];
  for (let from = 0; from < entries.length; ) {
    let end = from + 1;
    while (end < entries.length && entries[end].dpos === entries[end - 1].dpos + blockSize) end++;
    ranges.push({ into: log.bytes(from, end - from), dpos: entries[from].dpos });
    from = end;
  }
  return ranges;
}

/** Applies the fast commits, if any, through ext4's table. Comes after writeHome, before finishRecovery. */
export function* replayFastCommits(
  source: JournalSource,
  recovery: Recovery,
  ops: FastCommitOps,
): Flow<void> {
  const { fastCommits, format } = recovery;
  if (fastCommits) yield* applyFastCommits(new LogWindow(source), format, fastCommits, ops);
}

/**
 * Makes the log empty: flushes what was written home, then writes the superblock, durable when this ends. s_errno
 * stays for ext4 to look at.
 */
export function* finishRecovery(source: JournalSource, recovery: Recovery): Flow<void> {
  if (!recovery.needed) return;
  const log = new LogWindow(source);
  yield* flushDevice(source.home.device);
  const ptr = yield* log.load(source.superBlock, 1);
  encodeEmpty(source.kernels, ptr, recovery.nextTid, recovery.head);
  const dpos = place(source, source.superBlock);
  yield* writeDevice(source.device, log.bytes(0, 1), dpos, { fua: true });
}
