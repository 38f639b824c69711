// The fallocate family: space ahead of data, ranges zeroed, punched, taken out, put in. Each is a flow of steps
// that leave a sound tree: what some of them did stays when a later one fails, and the size says so. What is cached
// of a range goes before its blocks do, and once more when they are gone, for readers in between. The caller has
// the inode's turn.

import { MAP_HOLE, MAP_WRITTEN } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/ext4.ts';
import { Ext4Error } from '../errno.ts';
import { attempt, commit, type Flow, freeze, step, writeBackFile } from '../flow.ts';
import { claimDelayed, dropData } from './delayed.ts';
import { CONVERT_CREDITS, convertBlocks, prepareHole } from './extentchange.ts';
import { prepareShift, type Shift, shiftStep, startShift } from './extentshift.ts';
import { MAX_LBLK, UNWRITTEN_MAX_LEN } from './extentwrite.ts';
import { sumFree } from './groupwrite.ts';
import type { Inode } from './inode.ts';
import { mapBlocks } from './iomap.ts';
import { allocRun, MAP_CREDITS, MAP_MORE_CREDITS, punchBlocksStep } from './mapwrite.ts';
import { touch } from './namei.ts';
import { convertInline } from './path/inline.ts';
import { spaceForData } from './reserve.ts';
import { setLargeFile, touchForWrite } from './size.ts';
import { growSize } from './truncate.ts';
import type { Ext4Volume } from './volume.ts';
import { zeroEdges, zeroEof, zeroPartial } from './zerorange.ts';

export type FallocateMode = 'alloc' | 'zero' | 'punch' | 'collapse' | 'insert';

/** The kernel's page: a hole that reaches the end of the file goes on to the end of the page. */
const PAGE = 4096;
/** Extents that one handle allocates. */
const ALLOC_RUNS = Math.floor((64 - MAP_CREDITS) / MAP_MORE_CREDITS);
/** Mappings that one step looks at. */
const MAX_SKIP = 1024;
/** A written piece that cannot be split off for want of space is zeroed instead when it is no longer, bytes. */
const ZERO_OUT = 32768;

/** Bytes [pos, end) of a file. */
interface Span {
  inode: Inode;
  pos: number;
  end: number;
  keepSize: boolean;
}

/** Changes where a regular file has blocks: fallocate(2) with one mode. `keepSize` belongs to punch, may be with
 *  alloc and zero, and never is with the others. EINVAL, EFBIG, ENOSPC, ENODEV, EISDIR; EBUSY while a view lies on
 *  blocks that might go; EPERM on an immutable or
 *  append-only file; EOPNOTSUPP where the file's map cannot. */
export function* fallocateRange(
  vol: Ext4Volume,
  ino: number,
  mode: FallocateMode,
  pos: number,
  len: number,
  keepSize: boolean,
): Flow<void> {
  if (!(pos >= 0 && len > 0)) throw new Ext4Error('EINVAL', `${pos}+${len}`);
  if (keepSize ? mode === 'collapse' || mode === 'insert' : mode === 'punch') {
    throw new Ext4Error('EOPNOTSUPP', `${mode} with${keepSize ? '' : 'out'} keepSize`);
  }
  const inode = yield* step(changeable, vol, ino, mode);
  if (pos + len > MAX_LBLK * vol.sb.blockSize) throw new Ext4Error('EFBIG');
  yield* convertInline(inode);
  yield* step(begin, inode, mode);
  const span = { inode, pos, end: pos + len, keepSize };
  vol.trace.emit('fallocate', { ino, mode, pos, len });
  if (mode === 'alloc') yield* allocate(span);
  else if (mode === 'zero') yield* zero(span);
  else if (mode === 'punch') yield* punch(span);
  else if (mode === 'collapse') yield* collapse(span);
  else yield* insert(span);
  yield* step(thaw, inode);
  // What is overwritten next must not turn up, after a cut, at the place that its block had before.
  if (mode === 'collapse' || mode === 'insert') yield* commit();
}

/** The file, open to such changes. */
function changeable(vol: Ext4Volume, ino: number, mode: FallocateMode): Inode {
  const inode = vol.inodes.get(ino);
  inode.at();
  if (inode.has(F.EXT4_IMMUTABLE_FL)) throw new Ext4Error('EPERM', 'immutable');
  if (inode.has(F.EXT4_APPEND_FL) && mode !== 'alloc') throw new Ext4Error('EPERM', 'append-only');
  if (inode.isDir) throw new Ext4Error('EISDIR');
  if (!inode.isFile) throw new Ext4Error('ENODEV');
  if (inode.has(F.EXT4_ENCRYPT_FL)) throw new Ext4Error('ENOKEY');
  if (inode.daxLeases > 0 && mode !== 'alloc')
    throw new Ext4Error('EBUSY', 'its blocks are on view');
  return inode;
}

/** Times change whatever comes of it. Only punching needs no extents. */
function begin(inode: Inode, mode: FallocateMode): void {
  inode.at();
  inode.mayInline = false;
  touchForWrite(inode);
  if (mode === 'punch' || inode.has(F.EXT4_EXTENTS_FL)) return;
  throw new Ext4Error('EOPNOTSUPP', 'a block map has only written blocks');
}

/** Blocks stay where they are from here on: writeback may go on, for a caller that wants all of it durable. */
function thaw(inode: Inode): void {
  inode.vol.frozen.delete(inode.ino);
}

// ---- space ahead

function* allocate(span: Span): Flow<void> {
  const { inode, end, keepSize } = span;
  if (!keepSize) yield* zeroEof(inode, end);
  yield* freeze(inode.ino);
  yield* fillHoles(span);
}

/** Unwritten blocks where there are none, from the first block that the span touches to the last; the size grows with
 *  them. */
function* fillHoles({ inode, pos, end, keepSize }: Span): Flow<void> {
  const { blockSize } = inode.vol.sb;
  const to = Math.ceil(end / blockSize);
  for (let at = Math.floor(pos / blockSize); at < to; ) {
    at = yield* step(fillStep, inode, at, to);
    const reached = Math.min(end, at * blockSize);
    if (!keepSize && reached > inode.size) yield* growSize(inode, reached);
  }
}

/** One handle: blocks for some of the holes of [from, to); returns where to go on. ENOSPC when there is none. */
function fillStep(inode: Inode, from: number, to: number): number {
  const { vol } = inode;
  inode.at();
  sumFree(vol);
  let at = skip(inode, from, to, MAP_HOLE);
  if (at === to || mapBlocks(inode, at).kind !== MAP_HOLE) return at;
  vol.journal!.start(64);
  for (let i = 0; i < ALLOC_RUNS && at < to; i++) {
    const map = mapBlocks(inode, at);
    if (map.kind !== MAP_HOLE || (i > 0 && spaceForData(vol) <= 0)) break;
    at = fillOne(inode, at, Math.min(to, map.lblk + map.len, at + UNWRITTEN_MAX_LEN));
    at = skip(inode, at, to, MAP_HOLE);
  }
  vol.journal!.stop();
  return at;
}

/** Blocks for the front of the hole [at, to), as many as come in one run. Delayed ones take what was promised. */
function fillOne(inode: Inode, at: number, to: number): number {
  const runs = inode.delayed?.runs;
  const delayed = runs?.has(at) ?? false;
  const want = Math.min(to - at, runs?.span(at, delayed) ?? Number.POSITIVE_INFINITY);
  const { count } = allocRun(inode, at, want, true, { reserved: delayed });
  if (delayed) claimDelayed(inode, at, at + count);
  return at + count;
}

/** The first block of [from, to) whose mapping is of a kind, or where the step has looked at enough. */
function skip(inode: Inode, from: number, to: number, kind: number): number {
  let at = from;
  for (let i = 0; at < to && i < MAX_SKIP; i++) {
    const map = mapBlocks(inode, at);
    if (map.kind === kind) return at;
    at = map.lblk + map.len;
  }
  return Math.min(at, to);
}

// ---- zeroes and holes

/** The whole blocks in a span. */
function wholeBlocks({ inode, pos, end }: Span): { first: number; last: number } {
  const { blockSize } = inode.vol.sb;
  return { first: Math.ceil(pos / blockSize), last: Math.floor(end / blockSize) };
}

/** Whole blocks become unwritten, mapped or not before; the bytes at the edges are zeroed where they are. */
function* zero(span: Span): Flow<void> {
  const { inode, pos, end, keepSize } = span;
  const { first, last } = wholeBlocks(span);
  if (!keepSize) yield* zeroEof(inode, end);
  yield* zeroEdges(inode, pos, end - pos);
  yield* freeze(inode.ino);
  yield* fillHoles(span);
  if (first >= last) return;
  yield* step(dropData, inode, first, last);
  for (let at = first; at < last; ) at = yield* unwrite(inode, at, last);
}

/** Makes some written blocks of [from, to) unwritten; where that would take a node and there is no space, zeroes. */
function* unwrite(inode: Inode, from: number, to: number): Flow<number> {
  const r = yield* attempt(unwriteStep, inode, from, to);
  if (typeof r === 'number') {
    yield* step(dropData, inode, from, r);
    return r;
  }
  const { blockSize } = inode.vol.sb;
  const piece = yield* step(writtenPiece, inode, from, to);
  if (r.code !== 'ENOSPC' || (piece.to - piece.from) * blockSize > ZERO_OUT) throw r;
  for (let at = piece.from; at < piece.to; at++) {
    yield* zeroPartial(inode, at * blockSize, blockSize);
  }
  return piece.to;
}

function unwriteStep(inode: Inode, from: number, to: number): number {
  inode.at();
  const at = skip(inode, from, to, MAP_WRITTEN);
  if (at === to || mapBlocks(inode, at).kind !== MAP_WRITTEN) return at;
  inode.vol.journal!.start(CONVERT_CREDITS);
  const done = convertBlocks(inode, at, to - at, false);
  inode.vol.journal!.stop();
  return at + done;
}

function writtenPiece(inode: Inode, from: number, to: number): { from: number; to: number } {
  inode.at();
  const at = skip(inode, from, to, MAP_WRITTEN);
  const map = mapBlocks(inode, at);
  return { from: at, to: Math.min(to, map.lblk + map.len) };
}

/** Whole blocks go, but none that lies behind the end of the file. */
function* punch({ inode, pos, end, keepSize }: Span): Flow<void> {
  const page = Math.max(PAGE, inode.vol.sb.blockSize);
  if (pos >= inode.size) return;
  const to = end < inode.size ? end : Math.ceil(inode.size / page) * page;
  const { first, last } = wholeBlocks({ inode, pos, end: to, keepSize });
  yield* zeroEdges(inode, pos, to - pos);
  yield* freeze(inode.ino);
  if (first < last) yield* freeBlocksOf(inode, first, last);
}

function* freeBlocksOf(inode: Inode, first: number, last: number): Flow<void> {
  yield* step(prepareHole, inode, first, last);
  yield* step(dropData, inode, first, last);
  while (yield* step(punchBlocksStep, inode, first, last)) {}
  yield* step(dropData, inode, first, last);
}

// ---- moving

/** EINVAL unless a span is made of whole clusters. */
function checkAligned({ inode, pos, end }: Span): void {
  const { blockSize, clusterBlocks } = inode.vol.sb;
  const unit = blockSize * clusterBlocks;
  if (pos % unit !== 0 || end % unit !== 0)
    throw new Ext4Error('EINVAL', `not in units of ${unit}`);
}

/** Takes the span out: what is behind it moves to its place. */
function* collapse(span: Span): Flow<void> {
  const { inode, pos, end } = span;
  const { first, last } = wholeBlocks(span);
  checkAligned(span);
  if (end >= inode.size) throw new Ext4Error('EINVAL', 'the range reaches the end of the file');
  yield* writeBackFile(inode.ino);
  yield* freeze(inode.ino);
  yield* step(prepareHole, inode, first, last);
  yield* step(dropData, inode, first, MAX_LBLK);
  while (yield* step(punchBlocksStep, inode, first, last)) {}
  yield* moveBlocks(inode, { from: last, delta: first - last });
  yield* step(resize, inode, inode.size - (end - pos));
  yield* step(dropData, inode, first, MAX_LBLK);
}

/** Puts a hole in: what is behind its place moves on. The size grows first, so that nothing lies behind it on the
 *  way. */
function* insert(span: Span): Flow<void> {
  const { inode, pos, end } = span;
  const { first, last } = wholeBlocks(span);
  const shift = { from: first, delta: last - first };
  checkAligned(span);
  const size = inode.size + (end - pos);
  if (size > MAX_LBLK * inode.vol.sb.blockSize) throw new Ext4Error('EFBIG');
  if (pos >= inode.size)
    throw new Ext4Error('EINVAL', 'the range begins behind the end of the file');
  yield* writeBackFile(inode.ino);
  yield* freeze(inode.ino);
  yield* step(prepareShift, inode, shift);
  yield* step(dropData, inode, first, MAX_LBLK);
  yield* step(resize, inode, size);
  yield* moveBlocks(inode, shift);
  yield* step(dropData, inode, first, MAX_LBLK);
}

function* moveBlocks(inode: Inode, shift: Shift): Flow<void> {
  let at = startShift(shift);
  while (at >= 0) at = yield* step(shiftStep, inode, shift, at);
}

/** The size in memory and on disk; data is all written. */
function resize(inode: Inode, size: number): void {
  inode.at();
  inode.vol.journal!.start(2);
  inode.setSize(size);
  setLargeFile(inode, size);
  touch(inode, true);
  inode.vol.journal!.stop();
  inode.holdGoal = 0;
}
