// The journal of a mount as the core uses it: handles. A handle is one step's changes: start() reserves log space or
// throws Missing, write() and create() bring blocks into the running transaction with an undo for each change, stop()
// makes them part of it, undo() puts everything back. Without a log (ext2, ^has_journal) the same holds; a commit
// then
// writes blocks home. jbd2 knows no file system: what needs the format is in the hooks that ext4 hands down.

import { assert } from '../assert.ts';
import type { BlockDevice } from '../block/device.ts';
import type { Buffer, LogBlock } from '../cache/buffer.ts';
import type { Cache } from '../cache/cache.ts';
import { missing } from '../cache/missing.ts';
import { Undo } from '../cache/undo.ts';
import { type ErrorCode, Ext4Error } from '../errno.ts';
import type { JournalSource } from './source.ts';
import type { LogFormat } from './super.ts';
import { type SealRecord, Transaction } from './transaction.ts';

/** Blocks that one step may change. */
export const STEP_BUFFERS = 64;

/** What ext4 hands down. */
export interface JournalHooks {
  /** Brings checksums of the changed blocks up to date; runs as a step when a commit takes them, may
   *  dirty no new block. */
  seal(buffers: Iterable<Buffer>): void;
  /** Brings the checksum of one record up to date. */
  readonly sealRecord: SealRecord;
  /** Milliseconds since 1970. */
  clock(): number;
  /** Where blocks are at home. */
  readonly device: BlockDevice;
}

/** The log on disk: where it is, and which part of it is in use. */
export interface LogArea {
  readonly source: JournalSource;
  readonly format: LogFormat;
  /** Of the journal, in descriptors. */
  readonly uuid: Uint8Array;
  /** Next block to write; first block still needed (meaningless when empty); blocks in use. */
  head: number;
  tail: number;
  tailTid: number;
  used: number;
  /** True while s_start is 0 on disk. */
  clean: boolean;
}

type Call = (a: unknown, b: unknown) => void;

export class Journal {
  readonly cache: Cache;
  readonly hooks: JournalHooks;
  /** Null without a journal. */
  readonly area: LogArea | null;
  readonly undoLog: Undo;
  running: Transaction | null = null;
  committing: Transaction | null = null;
  /** Committed transactions whose blocks are not all home, oldest first. */
  readonly checkpoint: Transaction[] = [];
  /** The newest committed contents of each block that is not home. */
  readonly latest = new Map<number, { block: LogBlock; tx: Transaction }>();
  nextTid: number;
  /** The newest transaction that is durable. */
  durableTid: number;
  /** Set once and for ever when a commit failed: everything is EROFS from then on. */
  aborted: ErrorCode | null = null;
  /** Blocks that a transaction may hold. */
  readonly maxBlocks: number;
  commits = 0;
  /** Commits flush the device; off with barrier: false. */
  barrier = true;
  /** No commit until it is let go: what does not fit into one transaction is ENOSPC. */
  held = false;
  /** Milliseconds after which a running transaction is committed. */
  interval = 5000;
  /** Called when a transaction begins to run, within a step. */
  onBegin: (() => void) | null = null;
  /** Steps that were undone: what is known of bytes may be wrong after each. */
  undone = 0;
  #open = false;
  #credits = 0;
  #step = 0;
  #joined = 0;
  /** What to call when the handle stops, with what; the list keeps its room. */
  readonly #after: unknown[] = [];
  #afterUsed = 0;

  /** `part`: a transaction may have one block in so many of the log. */
  constructor(cache: Cache, hooks: JournalHooks, area: LogArea | null, nextTid: number, part = 4) {
    this.cache = cache;
    this.hooks = hooks;
    this.area = area;
    this.nextTid = nextTid;
    this.durableTid = nextTid - 1;
    this.undoLog = new Undo(cache, STEP_BUFFERS + 16);
    const share = Math.floor(cache.arena.units / 4);
    const log = area === null ? share : Math.floor((area.format.last - area.format.first) / part);
    this.maxBlocks = Math.min(share, log);
  }

  /** The number of the running or last step: changes with each handle. */
  get step(): number {
    return this.#step;
  }

  /** The id of the transaction that the open handle changes. */
  get tid(): number {
    return this.#transaction().tid;
  }

  /** True while a handle is open. */
  get open(): boolean {
    return this.#open;
  }

  // ---- a handle

  /** Opens the step's handle for at most `credits` changed blocks. Throws Missing (a commit, or log
   *  space); EROFS once
   *  the journal has aborted. */
  start(credits: number): void {
    assert(!this.#open, 'one handle at a time');
    assert(credits <= STEP_BUFFERS, 'a handle is one step');
    if (this.aborted !== null) throw new Ext4Error('EROFS', 'the journal has aborted');
    const tx = this.running;
    if (tx !== null) this.#makeRoom(tx, credits);
    else if (this.area !== null && !this.#fits(this.area, credits, 0)) throw missing.wait('space');
    else if (this.#crowded(credits)) throw missing.wait('space');
    this.#open = true;
    this.#credits = credits;
    this.#joined = 0;
    this.#step++;
  }

  #makeRoom(tx: Transaction, credits: number): void {
    const size = tx.buffers.size + credits;
    if (this.held) return this.#checkHeld(size, tx.revoked.size);
    const old = this.hooks.clock() - tx.born >= this.interval;
    if (old || size > this.maxBlocks) throw missing.wait('commit');
    if (this.#crowded(size)) throw missing.wait('space');
    if (this.area !== null && !this.#fits(this.area, size, tx.revoked.size)) {
      throw missing.wait('space');
    }
  }

  #checkHeld(size: number, revokes: number): void {
    const fits = this.area === null || this.#fits(this.area, size, revokes);
    if (size <= this.maxBlocks && fits) return;
    throw new Ext4Error('ENOSPC', 'more changes than one transaction holds');
  }

  /** Whether what is not home keeps 7/16 of the cache, a transaction of so many blocks included: the log may be larger
   *  than the cache, dirty data may have half of it, and reading needs some. */
  #crowded(blocks: number): boolean {
    return this.latest.size + blocks > (this.cache.arena.units * 7) / 16;
  }

  /** Whether a transaction of so many blocks and revokes fits into what is free of the log. */
  #fits(area: LogArea, blocks: number, revokes: number): boolean {
    const { format } = area;
    const perBlock = Math.floor((format.blockSize - 32) / 16);
    // One step may free, and revoke, a run of blocks in each of two groups.
    const revoked = revokes + 16 * format.blockSize;
    const revokeBlocks = Math.ceil((8 * revoked) / (format.blockSize - 32));
    const need = blocks + Math.ceil((blocks + 1) / perBlock) + revokeBlocks + 4;
    const committing = this.committing === null ? 0 : this.maxBlocks;
    return area.used + need + committing <= format.last - format.first;
  }

  /** The address at which [off, off + len) of a buffer may be changed, until the step ends. */
  write(buffer: Buffer, off: number, len: number): number {
    assert(this.#open, 'changes need a handle');
    this.#join(buffer);
    if (buffer.savedBy !== this.#step) {
      this.undoLog.save(buffer.ptr + off, len);
      if (len === this.cache.blockSize) buffer.savedBy = this.#step;
    }
    return buffer.ptr + off;
  }

  /** A zeroed buffer for a block that was just allocated as metadata; what the cache knew of it is forgotten. */
  create(pblk: number): Buffer {
    assert(this.#open, 'changes need a handle');
    this.cache.checkBlock(pblk);
    let buffer = this.cache.buffers.get(pblk);
    // What is still on its way from the device lands in the old buffer's memory.
    if (buffer !== undefined && buffer.loading !== null && !buffer.uptodate) buffer = undefined;
    if (buffer === undefined) buffer = this.cache.newBuffer(pblk);
    else this.undoLog.call(restoreKind, buffer, { kind: buffer.kind, owner: buffer.owner });
    if (buffer.turn !== this.cache.turn) this.cache.hold(buffer);
    const fresh = !buffer.uptodate;
    this.#join(buffer);
    if (fresh) this.undoLog.call(dropFresh, buffer, undefined);
    else this.undoLog.save(buffer.ptr, this.cache.blockSize);
    buffer.savedBy = this.#step;
    this.cache.kernels.exports.zero(buffer.ptr, this.cache.blockSize);
    buffer.uptodate = true;
    buffer.kind = 0;
    return buffer;
  }

  /** A metadata block is freed: when the handle stops it leaves the transaction and is revoked. */
  forget(pblk: number): void {
    this.after(forgetBlock, this, pblk);
  }

  /** Calls `fn(a, b)` when the handle stops; not at all if the step is undone. */
  after<A, B>(fn: (a: A, b: B) => void, a: A, b: B): void {
    const at = this.#afterUsed;
    this.#after[at] = fn;
    this.#after[at + 1] = a;
    this.#after[at + 2] = b;
    this.#afterUsed = at + 3;
  }

  /** Calls `fn(a, b)` if the step is undone. */
  onUndo<A, B>(fn: (a: A, b: B) => void, a: A, b: B): void {
    this.undoLog.call(fn, a, b);
  }

  /** Calls `fn(a)` once the running transaction is durable. From an after-call, or within a handle. */
  whenDurable<A>(fn: (a: A) => void, a: A): void {
    this.#transaction().after.push({ fn: fn as (a: never) => void, a });
  }

  /** Closes the handle: its changes are part of the transaction. Nothing after it may throw. */
  stop(): number {
    assert(this.#open, 'stop follows start');
    assert(this.#joined <= this.#credits, 'a handle keeps to its credits');
    const after = this.#after;
    for (let i = 0; i < this.#afterUsed; i += 3) (after[i] as Call)(after[i + 1], after[i + 2]);
    this.#afterUsed = 0;
    this.undoLog.forget();
    this.#open = false;
    return this.running?.tid ?? this.durableTid;
  }

  /** Puts everything back that the step did. The driver calls it after any throw. */
  undo(): void {
    this.#afterUsed = 0;
    if (!this.#open) return;
    this.undoLog.rollBack();
    this.undone++;
    this.#open = false;
    this.#step++;
  }

  #transaction(): Transaction {
    if (this.running === null) {
      this.running = new Transaction(this.nextTid++, this.hooks.clock());
      this.onBegin?.();
    }
    return this.running;
  }

  /** Makes a buffer part of the running transaction; moves it forward when its bytes must stay. */
  #join(buffer: Buffer): void {
    const tx = this.#transaction();
    if (buffer.tx === tx) return;
    const { log } = buffer;
    const committing = log !== null && this.committing?.blocks.get(buffer.pblk) === log;
    if (committing || buffer.busy) this.#moveForward(buffer);
    this.undoLog.call(leave, this, buffer);
    buffer.tx = tx;
    buffer.dirty = true;
    tx.buffers.add(buffer);
    this.#joined++;
  }

  #moveForward(buffer: Buffer): void {
    const { cache } = this;
    const log = buffer.log as LogBlock;
    assert(log !== null && log.buffer === buffer, 'what is written belongs to a commit');
    const unit = cache.allocUnits(1);
    const ptr = cache.arena.ptr(unit);
    cache.kernels.exports.copy(ptr, buffer.ptr, cache.blockSize);
    this.undoLog.call(buffer.busy ? moveBackBusy : moveBack, buffer, log);
    log.buffer = null;
    buffer.log = null;
    buffer.unit = unit;
    buffer.ptr = ptr;
    buffer.busy = false;
  }

  /** Forgets the running transaction: its blocks are read again. Nothing of it, nor of older ones, is on its way. */
  discard(): void {
    assert(!this.#open && this.committing === null, 'nothing runs when a transaction is dropped');
    const tx = this.running;
    if (tx === null) return;
    for (const buffer of tx.buffers) {
      assert(buffer.log === null, 'what was committed is home');
      buffer.tx = null;
      buffer.dirty = false;
      buffer.uptodate = false;
      buffer.kind = 0;
    }
    this.running = null;
    this.nextTid = tx.tid;
  }

  /** Settles for good: EROFS from now on. The first reason wins. */
  abort(code: ErrorCode): void {
    this.aborted ??= code;
  }

  /** Takes committed contents off the list of what is not home, and frees memory of their own. */
  release(pblk: number): void {
    const found = this.latest.get(pblk);
    if (found === undefined) return;
    const { block, tx } = found;
    this.latest.delete(pblk);
    tx.blocks.delete(pblk);
    const { buffer } = block;
    if (buffer === null) this.cache.arena.free(block.unit, 1);
    else if (buffer.log === block) {
      buffer.log = null;
      buffer.dirty = buffer.tx !== null;
    }
  }
}

/** Undo of a join. */
function leave(journal: Journal, buffer: Buffer): void {
  journal.running?.buffers.delete(buffer);
  buffer.tx = null;
  buffer.dirty = buffer.log !== null;
}

/** Undo of moving forward: the commit's memory still holds what the buffer held. */
function moveBack(buffer: Buffer, log: LogBlock): void {
  buffer.cache.arena.free(buffer.unit, 1);
  buffer.unit = log.unit;
  buffer.ptr = log.ptr;
  buffer.log = log;
  log.buffer = buffer;
  buffer.dirty = true;
}

/** As moveBack(), of a block on its way home. */
function moveBackBusy(buffer: Buffer, log: LogBlock): void {
  moveBack(buffer, log);
  buffer.busy = true;
}

function restoreKind(buffer: Buffer, was: { kind: number; owner: number }): void {
  buffer.kind = was.kind;
  buffer.owner = was.owner;
}

/** Undo of a create: the cache knew nothing of the block. */
function dropFresh(buffer: Buffer): void {
  buffer.uptodate = false;
  buffer.kind = 0;
}

function forgetBlock(journal: Journal, pblk: number): void {
  const tx = journal.running;
  assert(tx !== null, 'what is freed belongs to a transaction');
  const buffer = journal.cache.buffers.get(pblk);
  if (buffer !== undefined && buffer.tx === tx) {
    tx.buffers.delete(buffer);
    buffer.tx = null;
    buffer.dirty = buffer.log !== null;
  }
  if (buffer !== undefined) buffer.kind = 0;
  tx.revoked.add(pblk);
}
