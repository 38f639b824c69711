// Commit: the running transaction becomes durable. Order: (ordered data, by the caller) → revokes → descriptors and
// blocks → flush → commit block, forced. While it runs its blocks' bytes stay: steps that change one move it forward.
// Without a log the blocks go home instead, and a flush ends it.

import * as F from '../../assembly/format/jbd2.ts';
import { assert } from '../assert.ts';
import type { LogBlock } from '../cache/buffer.ts';
import { type Flow, flushDevice, step, writeDevice, writevDevice } from '../flow.ts';
import type { Journal, LogArea } from './journal.ts';
import { commitChecksum, tagChecksum, tagSeed, tailChecksum } from './records.ts';
import { place } from './source.ts';
import { writeStart } from './start.ts';
import type { Transaction } from './transaction.ts';

/** Commits the running transaction if there is one. On an error the caller aborts the journal. */
export function* commitFlow(journal: Journal): Flow<void> {
  const tx = yield* step(beginCommit, journal);
  if (tx === null) return;
  const { area } = journal;
  let blocks = 0;
  if (area === null) yield* writeHomeNow(journal, tx);
  else blocks = yield* writeLog(journal, area, tx);
  yield* step(endCommit, journal, tx, blocks);
}

/** Takes the running transaction: from here on it is closed. */
function beginCommit(journal: Journal): Transaction | null {
  const tx = journal.running;
  assert(journal.committing === null, 'one commit at a time');
  if (tx === null) return null;
  tx.sealRecords(journal.hooks.sealRecord);
  journal.hooks.seal(tx.buffers);
  for (const buffer of tx.buffers) {
    const { pblk, unit, ptr } = buffer;
    const block: LogBlock = { pblk, unit, ptr, buffer };
    tx.blocks.set(pblk, block);
    buffer.log = block;
    buffer.tx = null;
  }
  tx.buffers.clear();
  journal.running = null;
  journal.committing = tx;
  return tx;
}

function endCommit(journal: Journal, tx: Transaction, blocks: number): void {
  const { area } = journal;
  for (const pblk of tx.revoked) journal.release(pblk);
  for (const [pblk, block] of tx.blocks) {
    journal.release(pblk);
    journal.latest.set(pblk, { block, tx });
  }
  journal.committing = null;
  journal.durableTid = tx.tid;
  journal.commits++;
  if (area === null) for (const pblk of [...tx.blocks.keys()]) journal.release(pblk);
  else {
    area.used += blocks;
    journal.checkpoint.push(tx);
  }
  for (const pblk of tx.revoked) forgetBuffer(journal, pblk);
  for (const { fn, a } of tx.after) fn(a as never);
}

/** A freed block may hold file data next, which does not go through its buffer. */
function forgetBuffer({ cache }: Journal, pblk: number): void {
  const buffer = cache.buffers.get(pblk);
  if (buffer !== undefined && buffer.tx === null && buffer.log === null) buffer.uptodate = false;
}

/** Without a log: everything home, and a flush. */
function* writeHomeNow(journal: Journal, tx: Transaction): Flow<void> {
  const device = journal.hooks.device;
  yield* writeBlocks(journal, [...tx.blocks.values()]);
  yield* flushDevice(device);
}

/** Writes blocks home, neighbours together. */
export function* writeBlocks(journal: Journal, blocks: LogBlock[]): Flow<void> {
  const { cache, hooks } = journal;
  const order = blocks.sort((a, b) => a.pblk - b.pblk);
  for (let from = 0; from < order.length; ) {
    let to = from + 1;
    while (to < order.length && order[to].pblk === order[to - 1].pblk + 1) to++;
    const parts = order.slice(from, to).map((b) => bytesAt(journal, b.ptr));
    yield* writevDevice(hooks.device, parts, order[from].pblk * cache.blockSize);
    from = to;
  }
}

function bytesAt(journal: Journal, ptr: number): Uint8Array {
  const { kernels, blockSize } = journal.cache;
  return kernels.u8.subarray(ptr, ptr + blockSize);
}

/** Where the writer is: log blocks are gathered and written a run at a time. */
interface Writer {
  journal: Journal;
  area: LogArea;
  tx: Transaction;
  /** Log block of the first part, and the parts that follow it without a gap. */
  at: number;
  parts: Uint8Array[];
  /** Window slots in use by the parts. */
  slots: number;
  written: number;
}

/** Writes the whole transaction to the log and returns how many log blocks it took. */
function* writeLog(journal: Journal, area: LogArea, tx: Transaction): Flow<number> {
  const { source } = area;
  tx.start = area.head;
  if (area.clean) yield* writeStart(area, area.head, tx.tid);
  const w: Writer = { journal, area, tx, at: area.head, parts: [], slots: 0, written: 0 };
  yield* writeRevokes(w);
  yield* writeCopies(w);
  yield* writeOut(w);
  if (journal.barrier) {
    yield* flushDevice(source.device);
    if (source.device !== source.home.device) yield* flushDevice(source.home.device);
  }
  yield* writeCommit(w);
  return w.written;
}

/** Room for one more record in the window; the address of its zeroed block. */
function* newSlot(w: Writer): Flow<number> {
  const { source } = w.area;
  const most = Math.floor(source.window.bytes / source.blockSize);
  if (w.slots === most) yield* writeOut(w);
  const ptr = source.window.ptr + w.slots * source.blockSize;
  w.slots++;
  source.kernels.exports.zero(ptr, source.blockSize);
  return ptr;
}

/** Puts a block behind the last one of the log. */
function* put(w: Writer, ptr: number): Flow<void> {
  const { area, journal } = w;
  if (w.parts.length > 0 && area.head !== w.at + w.parts.length) yield* writeParts(w);
  if (w.parts.length === 0) w.at = area.head;
  w.parts.push(bytesAt(journal, ptr));
  w.written++;
  area.head = area.head + 1 === area.format.last ? area.format.first : area.head + 1;
}

function* writeParts(w: Writer): Flow<void> {
  const { source } = w.area;
  for (let from = 0; from < w.parts.length; ) {
    const dpos = place(source, w.at + from);
    let to = from + 1;
    while (
      to < w.parts.length &&
      place(source, w.at + to) === dpos + (to - from) * source.blockSize
    )
      to++;
    yield* writevDevice(source.device, w.parts.slice(from, to), dpos);
    from = to;
  }
  w.parts = [];
}

/** Writes what is gathered; the window is free again. */
function* writeOut(w: Writer): Flow<void> {
  if (w.parts.length > 0) yield* writeParts(w);
  w.slots = 0;
}

function header(w: Writer, ptr: number, type: number): void {
  const { dv } = w.area.source.kernels;
  dv.setUint32(ptr + F.H_MAGIC, F.JBD2_MAGIC_NUMBER);
  dv.setUint32(ptr + F.H_BLOCKTYPE, type);
  dv.setUint32(ptr + F.H_SEQUENCE, w.tx.tid);
}

function sealTail(w: Writer, ptr: number): void {
  const { format, source } = w.area;
  if (!format.summed) return;
  const sum = tailChecksum(source.kernels, ptr, format);
  source.kernels.dv.setUint32(ptr + format.blockSize - F.JBD2_TAIL_SIZE, sum);
}

function* writeRevokes(w: Writer): Flow<void> {
  const { format, source } = w.area;
  const { dv } = source.kernels;
  const size = format.is64 ? 8 : 4;
  const room = Math.floor((format.blockSize - F.R_RECORDS - format.tailBytes) / size);
  const all = [...w.tx.revoked];
  for (let from = 0; from < all.length; from += room) {
    const some = all.slice(from, from + room);
    const ptr = yield* newSlot(w);
    header(w, ptr, F.JBD2_REVOKE_BLOCK);
    dv.setUint32(ptr + F.R_COUNT, F.R_RECORDS + some.length * size);
    some.forEach((pblk, i) => {
      const at = ptr + F.R_RECORDS + i * size;
      if (format.is64) dv.setUint32(at, Math.floor(pblk / 2 ** 32));
      dv.setUint32(at + size - 4, pblk % 2 ** 32);
    });
    sealTail(w, ptr);
    yield* put(w, ptr);
  }
}

/** Descriptors, each followed by the blocks it names. */
function* writeCopies(w: Writer): Flow<void> {
  const { format } = w.area;
  const room = format.blockSize - F.JBD2_HEADER_SIZE - format.tailBytes - F.JBD2_UUID_SIZE;
  const slots = Math.floor(w.area.source.window.bytes / format.blockSize);
  const perBlock = Math.min(Math.floor(room / format.tagBytes), slots - 1);
  const all = [...w.tx.blocks.values()];
  for (let from = 0; from < all.length; from += perBlock) {
    const some = all.slice(from, from + perBlock);
    const ptr = yield* newSlot(w);
    header(w, ptr, F.JBD2_DESCRIPTOR_BLOCK);
    const seed = format.summed ? tagSeed(w.area.source.kernels, ptr, format) : 0;
    // A descriptor is complete before it is written: escaped copies are made first, and keep their slots.
    const copies: number[] = [];
    let at = ptr + F.JBD2_HEADER_SIZE;
    for (const [i, block] of some.entries()) {
      const copy = yield* escapedCopy(w, block);
      copies.push(copy);
      at = writeTag(w, at, block, copy, seed, i === 0, i === some.length - 1);
    }
    sealTail(w, ptr);
    yield* put(w, ptr);
    for (const copy of copies) yield* put(w, copy);
    yield* writeOut(w);
  }
}

/** The address of the bytes to log: the block's own, or a copy without the log's magic in its first word. */
function* escapedCopy(w: Writer, block: LogBlock): Flow<number> {
  const { kernels, blockSize } = w.area.source;
  if (kernels.dv.getUint32(block.ptr) !== F.JBD2_MAGIC_NUMBER) return block.ptr;
  const ptr = yield* newSlot(w);
  kernels.exports.copy(ptr, block.ptr, blockSize);
  kernels.dv.setUint32(ptr, 0);
  return ptr;
}

function writeTag(
  w: Writer,
  at: number,
  block: LogBlock,
  copy: number,
  seed: number,
  first: boolean,
  last: boolean,
): number {
  const { format, source } = w.area;
  const { kernels } = source;
  const { dv } = kernels;
  const flags =
    (copy !== block.ptr ? F.JBD2_FLAG_ESCAPE : 0) |
    (first ? 0 : F.JBD2_FLAG_SAME_UUID) |
    (last ? F.JBD2_FLAG_LAST_TAG : 0);
  const sum = format.summed ? tagChecksum(kernels, copy, format, seed) : 0;
  const high = Math.floor(block.pblk / 2 ** 32);
  dv.setUint32(at + F.T_BLOCKNR, block.pblk % 2 ** 32);
  if (format.v3) {
    dv.setUint32(at + F.T3_FLAGS, flags);
    dv.setUint32(at + F.T3_BLOCKNR_HIGH, high);
    dv.setUint32(at + F.T3_CHECKSUM, sum);
  } else {
    dv.setUint16(at + F.T_CHECKSUM, sum);
    dv.setUint16(at + F.T_FLAGS, flags);
    if (format.is64) dv.setUint32(at + F.T_BLOCKNR_HIGH, high);
  }
  const next = at + format.tagBytes;
  if (!first) return next;
  kernels.u8.set(w.journal.area!.uuid, next);
  return next + F.JBD2_UUID_SIZE;
}

/** The block that makes the transaction count. */
function* writeCommit(w: Writer): Flow<void> {
  const { format, source } = w.area;
  const { dv } = source.kernels;
  const ptr = yield* newSlot(w);
  header(w, ptr, F.JBD2_COMMIT_BLOCK);
  const now = w.journal.hooks.clock();
  const seconds = Math.floor(now / 1000);
  dv.setUint32(ptr + F.H_COMMIT_SEC, Math.floor(seconds / 2 ** 32));
  dv.setUint32(ptr + F.H_COMMIT_SEC + 4, seconds % 2 ** 32);
  dv.setUint32(ptr + F.H_COMMIT_NSEC, Math.floor((now % 1000) * 1e6));
  if (format.summed) dv.setUint32(ptr + F.H_CHKSUM, commitChecksum(source.kernels, ptr, format));
  const dpos = place(source, w.area.head);
  yield* put(w, ptr);
  w.parts = [];
  yield* writeDevice(source.device, bytesAt(w.journal, ptr), dpos, { fua: w.journal.barrier });
}
