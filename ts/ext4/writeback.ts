// Writeback of an inode's dirty data, in the order of the file: delayed blocks get unwritten extents (or, on the
// bufferhead path, are held in memory only), the data is written, and then one handle makes the extents written and
// the size on disk what the disk has. So a crash shows old data, or new, or zeroes, and a commit never waits for
// data. Errors do not stop it: they are kept for fsync.

import * as F from '../../assembly/format/ext4.ts';
import { Ext4Error } from '../errno.ts';
import { attempt, attemptWrite, type Flow, step } from '../flow.ts';
import {
  IOMAP_DELALLOC,
  IOMAP_HOLE,
  IOMAP_MAPPED,
  IOMAP_UNWRITTEN,
  newIomap,
} from '../iomap/iter.ts';
import {
  addPiece,
  dirtyKeys,
  dirtyRun,
  finish,
  type Ioend,
  redirty,
  submit,
} from '../iomap/writeback.ts';
import { claimHeld, holdBlocks, unhold } from './balloc.ts';
import { claimDelayed, dropData } from './delayed.ts';
import { CONVERT_CREDITS, convertBlocks } from './extentchange.ts';
import { extentGoal, MAX_LBLK } from './extentwrite.ts';
import type { Inode } from './inode.ts';
import { ext4Iomap } from './iomap.ts';
import {
  addBlocks,
  allocRun,
  insertRun,
  MAP_CREDITS,
  MAP_MORE_CREDITS,
  RUN_CREDITS,
} from './mapwrite.ts';
import { touchForWrite } from './size.ts';
import type { Ext4Volume } from './volume.ts';
import { zeroOut } from './zeroout.ts';

/** Bytes, and runs, that are written between two handles. */
const BATCH_BYTES = 8 << 20;
const BATCH_RUNS = 128;
/** Extents that one handle allocates, or converts. */
const ALLOC_RUNS = Math.floor((64 - MAP_CREDITS) / MAP_MORE_CREDITS);
const CONVERT_RUNS = Math.max(1, Math.floor((64 - CONVERT_CREDITS) / 4));
/** Blocks of a block map that one handle maps. */
const MAP_RUN = 512;
/** The longest unwritten extent. */
const UNWRITTEN_MAX = 32767;

/** Where a pass over a file is: it goes on behind `next`. */
interface Cursor {
  keys: number[];
  i: number;
  next: number;
}

/** Writes back one file's dirty data, or with 0 every file's; the first error. */
export function* writeBackAll(vol: Ext4Volume, ino: number): Flow<Ext4Error | undefined> {
  let first: Ext4Error | undefined;
  for (const inode of yield* step(dirtyInodes, vol, ino)) {
    const error = yield* writeBackInode(inode);
    first ??= error;
  }
  return first;
}

function dirtyInodes(vol: Ext4Volume, ino: number): Inode[] {
  return [...vol.dirtyInodes].filter((inode) =>
    ino === 0 ? !vol.frozen.has(inode.ino) : inode.ino === ino,
  );
}

function* writeBackInode(inode: Inode): Flow<Ext4Error | undefined> {
  const errors: Ext4Error[] = [];
  if (inode.path === 'iomap') {
    for (let more = true; more; ) {
      const r = yield* attempt(allocStep, inode);
      if (r instanceof Ext4Error) errors.push(r);
      more = r === true;
    }
  }
  const keys = yield* step(keysStep, inode);
  const cursor: Cursor = { keys, i: 0, next: 0 };
  for (;;) {
    const batch = yield* attempt(takeBatch, inode, cursor);
    if (batch instanceof Ext4Error) {
      errors.push(batch);
      break;
    }
    if (batch === null) break;
    yield* writeBatch(inode, batch, errors);
  }
  if (inode.touched < 0) yield* attempt(touchForWrite, inode);
  const settled = yield* attempt(settle, inode);
  if (settled instanceof Ext4Error) errors.push(settled);
  if (errors.length > 0) yield* step(noteError, inode, errors[0]);
  return errors[0];
}

function keysStep(inode: Inode): number[] {
  return dirtyKeys(inode.folios);
}

function noteError(inode: Inode, error: Ext4Error): void {
  inode.writeError = error;
  inode.writeErrors++;
  inode.vol.trace.emit('writeback.error', { ino: inode.ino, code: error.code });
}

// ---- allocation

/** One handle: places for some of what is delayed within the size, as unwritten extents. True while more is left. */
function allocStep(inode: Inode): boolean {
  const { vol } = inode;
  const end = Math.ceil(inode.size / vol.sb.blockSize);
  const first = inode.delayed?.runs.next(0);
  if (first == null || first.from >= end) return false;
  inode.at();
  vol.journal!.start(64);
  let run: { from: number; to: number } | null | undefined = first;
  for (let i = 0; i < ALLOC_RUNS && run != null && run.from < end; i++) {
    const want = Math.min(run.to, end, run.from + UNWRITTEN_MAX) - run.from;
    const { count } = allocRun(inode, run.from, want, true, { reserved: true });
    claimDelayed(inode, run.from, run.from + count);
    run = inode.delayed?.runs.next(0);
  }
  vol.journal!.stop();
  return run != null && run.from < end;
}

// ---- a batch

const map = newIomap();

/** Takes dirty runs from the cursor on, looks up where they go, and makes them clean; null at the end. Everything is
 *  looked up before anything is changed. Throws Missing; ENOSPC, EUCLEAN. */
function takeBatch(inode: Inode, cursor: Cursor): Ioend[] | null {
  const { vol } = inode;
  const { blockSize } = vol.sb;
  if (vol.frozen.has(inode.ino)) return null;
  const end = Math.ceil(inode.size / blockSize);
  const list: Ioend[] = [];
  const at = { i: cursor.i, next: cursor.next };
  let left = Math.max(1, BATCH_BYTES / blockSize);
  let known = 0; // where the last mapping ends
  while (left > 0 && list.length < BATCH_RUNS) {
    const found = nextDirty(inode, cursor.keys, at);
    if (found === null) break;
    const { folio, from, to } = found;
    const lblk = folio.lblk + from;
    if (lblk >= end) {
      dropBeyond(inode, end);
      break;
    }
    if (lblk >= known) {
      ext4Iomap.begin(inode, lblk * blockSize, blockSize, 0, map);
      known = (map.pos + map.len) / blockSize;
    }
    const mapped = known - lblk;
    const n = Math.min(to - from, mapped, left, end - lblk);
    if (map.type === IOMAP_DELALLOC) {
      if (list.length > 0) break;
      return hold(inode, cursor, { lblk, n: Math.min(mapped, end - lblk) });
    }
    at.next = lblk + n;
    left -= n;
    if (map.type === IOMAP_HOLE) continue;
    const pblk = map.dpos / blockSize + lblk - map.pos / blockSize;
    const pieces = [{ folio, at: from, n }];
    addPiece(list, { lblk, count: n, pblk, type: map.type, pieces }, UNWRITTEN_MAX);
  }
  cursor.i = at.i;
  cursor.next = at.next;
  return list.length === 0 ? null : list;
}

/** The next dirty run at or behind `at.next`. */
function nextDirty(inode: Inode, keys: number[], at: { i: number; next: number }) {
  const { cache } = inode.vol;
  for (; at.i < keys.length; at.i++) {
    const lblk = Math.max(keys[at.i], at.next);
    const folio = inode.folios.find(lblk);
    if (folio === undefined || folio.lblk > lblk) continue;
    const run = dirtyRun(cache, folio, lblk - folio.lblk);
    if (run !== null) return { folio, ...run };
    at.next = Math.max(at.next, folio.lblk + folio.n);
  }
  return null;
}

/** Nothing behind the size is written: what is dirty there belongs to no byte of the file. */
function dropBeyond(inode: Inode, end: number): void {
  dropData(inode, end, MAX_LBLK);
}

/** Delayed blocks of the bufferhead path: places for a run of them, held in memory until the data is there. */
function hold(inode: Inode, cursor: Cursor, { lblk, n }: { lblk: number; n: number }): Ioend[] {
  const { vol } = inode;
  const indirect = !inode.has(F.EXT4_EXTENTS_FL);
  const whole = vol.sb.clusterBlocks > 1;
  const want = Math.min(n, indirect ? MAP_RUN : UNWRITTEN_MAX);
  if (whole) return allocated(inode, cursor, lblk, want);
  const goal = inode.holdGoal || (indirect ? 0 : extentGoal(inode, lblk));
  const { pblk, count } = holdBlocks(vol, goal, want);
  inode.holdGoal = pblk + count;
  const got = Math.min(count, want);
  if (got < count) throw new Ext4Error('EIO', 'more blocks held than asked for');
  return [gather(inode, cursor, { lblk, count: got, pblk, type: IOMAP_DELALLOC, pieces: [] })];
}

/** With bigalloc a cluster may be the file's already: an unwritten extent first, as on the iomap path. */
function allocated(inode: Inode, cursor: Cursor, lblk: number, want: number): Ioend[] {
  const { vol } = inode;
  vol.journal!.start(MAP_CREDITS);
  const { pblk, count } = allocRun(inode, lblk, want, true, { reserved: true });
  claimDelayed(inode, lblk, lblk + count);
  vol.journal!.stop();
  return [gather(inode, cursor, { lblk, count, pblk, type: IOMAP_UNWRITTEN, pieces: [] })];
}

/** Puts the folios of an ioend's blocks into it: all of them are dirty. */
function gather(inode: Inode, cursor: Cursor, io: Ioend): Ioend {
  for (let lblk = io.lblk; lblk < io.lblk + io.count; ) {
    const folio = inode.folios.find(lblk);
    if (folio === undefined) throw new Ext4Error('EIO', 'delayed data without its folio');
    const at = lblk - folio.lblk;
    const n = Math.min(folio.n - at, io.lblk + io.count - lblk);
    io.pieces.push({ folio, at, n });
    lblk += n;
  }
  cursor.next = io.lblk + io.count;
  return io;
}

/** What lies behind the end of the file in its last block goes to the disk as zeroes. */
function zeroBehind(inode: Inode, io: Ioend): void {
  const { blockSize } = inode.vol.sb;
  const off = inode.size % blockSize;
  const lblk = Math.floor(inode.size / blockSize);
  if (off === 0 || lblk < io.lblk || lblk >= io.lblk + io.count) return;
  const folio = inode.folios.find(lblk)!;
  const ptr = folio.ptr + (lblk - folio.lblk) * blockSize;
  inode.vol.cache.kernels.exports.zero(ptr + off, blockSize - off);
}

function* writeBatch(inode: Inode, batch: Ioend[], errors: Ext4Error[]): Flow<void> {
  const { vol } = inode;
  for (const io of batch) {
    const parts = yield* step(submitStep, inode, io);
    const error = yield* attemptWrite(vol.device, parts, io.pblk * vol.sb.blockSize);
    if (error !== undefined) {
      io.error = error;
      yield* step(holdSize, inode, io);
    }
  }
  yield* completeBatch(inode, batch);
  for (const { error } of batch) if (error !== undefined) errors.push(error);
  yield* step(finishBatch, inode, batch);
}

/** As many ioends in a handle as fit; where there is no room for that, one; and where not even for one, the
 *  extent around it is zeroed. What cannot be done has its error. */
function* completeBatch(inode: Inode, batch: Ioend[]): Flow<void> {
  let most = CONVERT_RUNS;
  let zeroed = -1;
  for (let next = 0; next < batch.length; ) {
    const r = yield* attempt(completeStep, inode, batch, { from: next, most });
    if (!(r instanceof Ext4Error)) {
      next = r;
      continue;
    }
    const io = batch[next];
    const full = r.code === 'ENOSPC' && io.error === undefined && io.type === IOMAP_UNWRITTEN;
    if (full && most > 1) most = 1;
    else if (full && zeroed < next && (yield* zeroOut(inode, io, onDisk(batch)))) zeroed = next;
    else {
      io.error = r;
      next++;
    }
  }
}

function onDisk(batch: Ioend[]): Ioend[] {
  return batch.filter(({ error }) => error === undefined);
}

/** Data of the block where the size on disk lies could not be written: what is behind that size on the disk may be
 *  anything, so the size stays until it can. */
function holdSize(inode: Inode, io: Ioend): void {
  const { blockSize } = inode.vol.sb;
  const tail = Math.floor(inode.diskSize / blockSize);
  const partial = inode.diskSize % blockSize !== 0 && io.type === IOMAP_MAPPED;
  if (!partial || inode.growPending || tail < io.lblk || tail >= io.lblk + io.count) return;
  inode.growPending = true;
  inode.vol.trace.emit('disksize.pending', { ino: inode.ino, pending: true });
}

function submitStep(inode: Inode, io: Ioend): Uint8Array[] {
  inode.vol.dataWritten = true;
  zeroBehind(inode, io);
  return submit(inode.vol.cache, io);
}

// ---- completion

/** One handle: makes what was written count, from batch number `from` on, of `most` at most; returns where to go
 *  on. */
function completeStep(
  inode: Inode,
  batch: Ioend[],
  { from, most }: { from: number; most: number },
): number {
  const { vol } = inode;
  const { blockSize } = vol.sb;
  inode.at();
  let to = from;
  let end = 0;
  let work = 0;
  for (; to < batch.length && work < most; to++) {
    const io = batch[to];
    if (io.error !== undefined) continue;
    if (io.type !== IOMAP_MAPPED) work++;
    end = Math.max(end, Math.min((io.lblk + io.count) * blockSize, inode.size));
    if (io.type === IOMAP_DELALLOC) {
      to++;
      break;
    }
  }
  const tail = tailIn(inode, batch, from, to);
  const grows = end > inode.diskSize && (!inode.growPending || tail);
  if (work > 0 || grows) {
    const held = to > from && batch[to - 1].type === IOMAP_DELALLOC;
    vol.journal!.start(held ? RUN_CREDITS : 64);
    for (let i = from; i < to; i++) if (batch[i].error === undefined) place(inode, batch[i]);
    if (grows) inode.setDiskSize(end);
    vol.journal!.stop();
  }
  if (tail) clearPending(inode);
  return to;
}

/** Whether the block of the end on disk, for which the size waits, is among those written. */
function tailIn(inode: Inode, batch: Ioend[], from: number, to: number): boolean {
  if (!inode.growPending) return false;
  const lblk = Math.floor(inode.diskSize / inode.vol.sb.blockSize);
  return batch
    .slice(from, to)
    .some((io) => io.error === undefined && io.lblk <= lblk && lblk < io.lblk + io.count);
}

function clearPending(inode: Inode): void {
  inode.growPending = false;
  inode.vol.trace.emit('disksize.pending', { ino: inode.ino, pending: false });
}

/** The blocks' data is on the device: the map says so. Needs a handle. */
function place(inode: Inode, io: Ioend): void {
  if (io.type === IOMAP_UNWRITTEN) {
    for (let done = 0; done < io.count; ) {
      done += convertBlocks(inode, io.lblk + done, io.count - done, true);
    }
  } else if (io.type === IOMAP_DELALLOC) {
    claimHeld(inode.vol, io.pblk, io.count);
    addBlocks(inode, io.count);
    insertRun(inode, io.lblk, io.pblk, io.count, false);
    claimDelayed(inode, io.lblk, io.lblk + io.count);
  }
}

function finishBatch(inode: Inode, batch: Ioend[]): void {
  const { vol } = inode;
  const tail = Math.floor(inode.diskSize / vol.sb.blockSize);
  for (const io of batch) {
    const waits = inode.growPending && io.lblk <= tail && tail < io.lblk + io.count;
    if (io.error !== undefined && waits) redirty(vol.cache, io);
    finish(vol.cache, io);
    if (io.type !== IOMAP_DELALLOC) continue;
    unhold(vol, io.pblk, io.count, io.error === undefined);
    if (io.error !== undefined) dropData(inode, io.lblk, io.lblk + io.count);
  }
}

/** All is written: the size on disk is the one in memory, and the inode is clean. */
function settle(inode: Inode): void {
  const { vol } = inode;
  if (inode.folios.dirty.size > 0 || vol.frozen.has(inode.ino)) return;
  if (inode.size !== inode.diskSize) {
    inode.at();
    vol.journal!.start(1);
    inode.setDiskSize(inode.size);
    vol.journal!.stop();
  }
  if (inode.growPending) clearPending(inode);
  vol.dirtyInodes.delete(inode);
}
