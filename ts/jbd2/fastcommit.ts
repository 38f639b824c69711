// Fast commits: little-endian records in the journal's last blocks, each commit closed by a TAIL with the CRC of its
// records. They follow full transaction `tid - 1` and count only when every record up to their TAIL is sound; the
// first that is not ends the list. Nothing is kept of them but counts: who applies them walks the area again.

import {
  EXT4_FC_TAG_ADD_RANGE,
  EXT4_FC_TAG_CREAT,
  EXT4_FC_TAG_DEL_RANGE,
  EXT4_FC_TAG_HEAD,
  EXT4_FC_TAG_INODE,
  EXT4_FC_TAG_LINK,
  EXT4_FC_TAG_PAD,
  EXT4_FC_TAG_TAIL,
  EXT4_FC_TAG_UNLINK,
  FC_ADD_RANGE_LBLK,
  FC_ADD_RANGE_LEN,
  FC_ADD_RANGE_SIZE,
  FC_ADD_RANGE_START_HI,
  FC_ADD_RANGE_START_LO,
  FC_DEL_RANGE_LBLK,
  FC_DEL_RANGE_LEN,
  FC_DEL_RANGE_SIZE,
  FC_DENTRY_INO,
  FC_DENTRY_NAME,
  FC_DENTRY_PARENT,
  FC_HEAD_FEATURES,
  FC_HEAD_SIZE,
  FC_HEAD_TID,
  FC_INO,
  FC_INODE_MIN,
  FC_INODE_RAW,
  FC_TAIL_CRC,
  FC_TAIL_SIZE,
  FC_TAIL_TID,
  FC_TL_LEN,
  FC_TL_SIZE,
  FC_TL_TAG,
} from '../../assembly/format/jbd2.ts';
import { corrupt, Ext4Error } from '../errno.ts';
import type { Flow } from '../flow.ts';
import type { Kernels } from '../wasm.ts';
import type { LogWindow } from './source.ts';
import type { LogFormat } from './super.ts';

const RECORD = 'fast commit';
const MAX_INIT_LEN = 32768; // longer ones are unwritten, by what is above
const NAME_LEN = 255;
const TWO32 = 4294967296;

/** A run of a file's blocks. */
export interface FastRange {
  readonly lblk: number;
  readonly len: number;
  readonly pblk: number;
  readonly unwritten: boolean;
}

export type FastRecord =
  | { readonly op: 'addRange'; readonly ino: number; readonly range: FastRange }
  | { readonly op: 'delRange'; readonly ino: number; readonly lblk: number; readonly len: number }
  | {
      readonly op: 'create' | 'link' | 'unlink';
      readonly parent: number;
      readonly ino: number;
      readonly name: Uint8Array;
    }
  | { readonly op: 'inode'; readonly ino: number; readonly raw: Uint8Array };

/**
 * What ext4 does with each record. Every call must be idempotent: recovery may be cut anywhere and begins again with
 *  the first record, and an inode may come many times. Within a commit the records of a new file come
 *  as inode, ranges,
 * create, inode: nothing but the log's replay may be relied on, not even that the inode is marked as used.
 */
export interface FastCommitOps {
  /** Comes for every added range before any record is applied: these blocks are not to be allocated meanwhile. */
  claim?(pblk: number, len: number): void;
  /** [lblk, lblk + len) of the inode maps to pblk, whatever it mapped to; blocks become used. */
  addRange(ino: number, range: FastRange): Flow<void>;
  /** [lblk, lblk + len) of the inode becomes a hole; blocks become free. A truncate says so up to lblk 2^32 - 1. */
  delRange(ino: number, lblk: number, len: number): Flow<void>;
  /** Inode `ino` is in use and has the name; the name may be there already. */
  create(parent: number, ino: number, name: Uint8Array): Flow<void>;
  /** One more name of an inode; it may be there already. Its link count comes with the inode. */
  link(parent: number, ino: number, name: Uint8Array): Flow<void>;
  /** The name goes away; it may be gone already. */
  unlink(parent: number, ino: number, name: Uint8Array): Flow<void>;
  /**
   *  The inode's bytes: 128 and its extra ones (i_extra_isize), so often fewer than its slot has. Its
   *  checksum does not
   * count; its i_block counts unless the inode has the extents flag: then ranges say what is mapped.
   */
  inode(ino: number, raw: Uint8Array): Flow<void>;
}

/** What the area holds that counts. */
export interface FastCommits {
  /** The transaction that these changes were part of. */
  readonly tid: number;
  /** Closed commits. */
  readonly commits: number;
  /** Records in them, all kinds. */
  readonly records: number;
}

interface Cursor {
  readonly tag: number;
  readonly len: number;
  /** Of the record's header and of its value. */
  readonly ptr: number;
  readonly value: number;
  readonly jblk: number;
}

/** Counts the sound commits of transaction `tid`; null when there are none. EUCLEAN when a sound record
 *  is nonsense. */
export function* scanFastCommits(
  log: LogWindow,
  f: LogFormat,
  tid: number,
): Flow<FastCommits | null> {
  const scanner = new FastScanner(log.source.kernels, tid, log.source.home.blocks);
  yield* walk(log, f, (at) => scanner.take(at));
  const { commits, records } = scanner;
  return commits === 0 ? null : { tid, commits, records };
}

/** Calls `visit` with each record that says something, in order. */
export function* eachFastRecord(
  log: LogWindow,
  f: LogFormat,
  fast: FastCommits,
  visit: (record: FastRecord) => Flow<void> | undefined,
): Flow<void> {
  let left = fast.records;
  for (let jblk = f.fcFirst; jblk < f.fcEnd && left > 0; jblk++) {
    const records: FastRecord[] = [];
    const ptr = yield* log.load(jblk);
    for (const at of cursors(log.source.kernels, ptr, f.blockSize, jblk)) {
      if (left-- <= 0) break;
      const record = decodeRecord(log.source.kernels, at);
      if (record) records.push(record);
    }
    for (const record of records) {
      const flow = visit(record);
      if (flow) yield* flow;
    }
  }
}

/** Applies all records through `ops`, in the order they were logged. */
export function* applyFastCommits(
  log: LogWindow,
  f: LogFormat,
  fast: FastCommits,
  ops: FastCommitOps,
): Flow<void> {
  yield* eachFastRecord(log, f, fast, (r) => {
    if (r.op === 'addRange') ops.claim?.(r.range.pblk, r.range.len);
    return undefined;
  });
  yield* eachFastRecord(log, f, fast, (r) => applyOne(ops, r));
}

function applyOne(ops: FastCommitOps, r: FastRecord): Flow<void> {
  if (r.op === 'addRange') return ops.addRange(r.ino, r.range);
  if (r.op === 'delRange') return ops.delRange(r.ino, r.lblk, r.len);
  if (r.op === 'inode') return ops.inode(r.ino, r.raw);
  return ops[r.op](r.parent, r.ino, r.name);
}

function* walk(log: LogWindow, f: LogFormat, take: (at: Cursor) => boolean): Flow<void> {
  for (let jblk = f.fcFirst; jblk < f.fcEnd; jblk++) {
    const ptr = yield* log.load(jblk);
    for (const at of cursors(log.source.kernels, ptr, f.blockSize, jblk)) {
      if (!take(at)) return;
    }
  }
}

/** The records of one block. A record never crosses its block; one that would has tag 0. */
function* cursors(k: Kernels, ptr: number, blockSize: number, jblk: number): Generator<Cursor> {
  const end = ptr + blockSize;
  for (let at = ptr; at + FC_TL_SIZE <= end; ) {
    const len = k.dv.getUint16(at + FC_TL_LEN, true);
    const value = at + FC_TL_SIZE;
    const fits = value + len <= end;
    yield { tag: fits ? k.dv.getUint16(at + FC_TL_TAG, true) : 0, len, ptr: at, value, jblk };
    at = value + len;
  }
}

class FastScanner {
  commits = 0;
  /** Up to the last sound TAIL. */
  records = 0;
  readonly #k: Kernels;
  readonly #tid: number;
  readonly #blocks: number;
  #crc = 0;
  #open = 0;
  #features = 0;
  #nonsense: Ext4Error | undefined;

  constructor(kernels: Kernels, tid: number, blocks: number) {
    this.#k = kernels;
    this.#tid = tid;
    this.#blocks = blocks;
  }

  /** Looks at the next record; false where the list ends. */
  take(at: Cursor): boolean {
    if (!isLength(at.tag, at.len)) return false;
    this.#open++;
    if (at.tag === EXT4_FC_TAG_TAIL) return this.#close(at);
    if (at.tag === EXT4_FC_TAG_HEAD && !this.#head(at)) return false;
    this.#sum(at.ptr, FC_TL_SIZE + at.len);
    this.#nonsense ??= checkRecord(decodeRecord(this.#k, at), at.jblk, this.#blocks);
    return true;
  }

  #sum(ptr: number, len: number): void {
    this.#crc = this.#k.exports.crc32c(this.#crc, ptr, len) >>> 0;
  }

  #head(at: Cursor): boolean {
    this.#features = this.#k.dv.getUint32(at.value + FC_HEAD_FEATURES, true);
    return this.#k.dv.getUint32(at.value + FC_HEAD_TID, true) === this.#tid;
  }

  /** A TAIL that vouches for its commit makes it count; only then do its faults. */
  #close(at: Cursor): boolean {
    const { dv } = this.#k;
    this.#sum(at.ptr, FC_TL_SIZE + FC_TAIL_CRC);
    const sound = dv.getUint32(at.value + FC_TAIL_CRC, true) === this.#crc;
    if (!sound || dv.getUint32(at.value + FC_TAIL_TID, true) !== this.#tid) return false;
    if (this.#features !== 0) throw unknownFeatures(this.#features);
    if (this.#nonsense) throw this.#nonsense;
    this.#crc = 0;
    this.commits++;
    this.records += this.#open;
    this.#open = 0;
    return true;
  }
}

function unknownFeatures(word: number): Ext4Error {
  const reason = `unknown features 0x${word.toString(16)}`;
  const features = [`fast_commit_0x${word.toString(16)}`];
  return new Ext4Error('EOPNOTSUPP', { record: RECORD, field: 'fc_features', reason, features });
}

function isLength(tag: number, len: number): boolean {
  const name = len - FC_DENTRY_NAME;
  switch (tag) {
    case EXT4_FC_TAG_ADD_RANGE:
      return len === FC_ADD_RANGE_SIZE;
    case EXT4_FC_TAG_DEL_RANGE:
      return len === FC_DEL_RANGE_SIZE;
    case EXT4_FC_TAG_CREAT:
    case EXT4_FC_TAG_LINK:
    case EXT4_FC_TAG_UNLINK:
      return name >= 1 && name <= NAME_LEN;
    case EXT4_FC_TAG_INODE:
      return len >= FC_INODE_RAW + FC_INODE_MIN;
    case EXT4_FC_TAG_HEAD:
      return len === FC_HEAD_SIZE;
    case EXT4_FC_TAG_TAIL:
      return len >= FC_TAIL_SIZE;
    default:
      return tag === EXT4_FC_TAG_PAD;
  }
}

const NAMED = new Map<number, 'create' | 'link' | 'unlink'>([
  [EXT4_FC_TAG_CREAT, 'create'],
  [EXT4_FC_TAG_LINK, 'link'],
  [EXT4_FC_TAG_UNLINK, 'unlink'],
]);

/** A record of the right length; null for those that say nothing about the file system. */
function decodeRecord(k: Kernels, at: Cursor): FastRecord | null {
  const le = (off: number): number => k.dv.getUint32(at.value + off, true);
  const end = at.value + at.len;
  const op = NAMED.get(at.tag);
  if (op !== undefined) {
    const name = k.u8.slice(at.value + FC_DENTRY_NAME, end);
    return { op, parent: le(FC_DENTRY_PARENT), ino: le(FC_DENTRY_INO), name };
  }
  const ino = le(FC_INO);
  switch (at.tag) {
    case EXT4_FC_TAG_ADD_RANGE:
      return { op: 'addRange', ino, range: decodeRange(k.dv, at.value) };
    case EXT4_FC_TAG_DEL_RANGE:
      return { op: 'delRange', ino, lblk: le(FC_DEL_RANGE_LBLK), len: le(FC_DEL_RANGE_LEN) };
    case EXT4_FC_TAG_INODE:
      return { op: 'inode', ino, raw: k.u8.slice(at.value + FC_INODE_RAW, end) };
    default:
      return null;
  }
}

function decodeRange(dv: DataView, value: number): FastRange {
  const len = dv.getUint16(value + FC_ADD_RANGE_LEN, true);
  const high = dv.getUint16(value + FC_ADD_RANGE_START_HI, true);
  return {
    lblk: dv.getUint32(value + FC_ADD_RANGE_LBLK, true),
    len: len > MAX_INIT_LEN ? len - MAX_INIT_LEN : len,
    pblk: high * TWO32 + dv.getUint32(value + FC_ADD_RANGE_START_LO, true),
    unwritten: len > MAX_INIT_LEN,
  };
}

/** What can be checked without knowing ext4: numbers in range. */
function checkRecord(r: FastRecord | null, jblk: number, blocks: number): Ext4Error | undefined {
  if (r === null) return undefined;
  const bad = (field: string) =>
    corrupt(RECORD, 'out of range', { field, block: jblk, ino: r.ino });
  if (r.ino === 0) return bad('fc_ino');
  if (r.op === 'addRange') return checkRange(r.range, blocks) ? undefined : bad('fc_ex');
  if (r.op === 'delRange') return r.lblk + r.len <= TWO32 ? undefined : bad('fc_len');
  return r.op !== 'inode' && r.parent === 0 ? bad('fc_parent_ino') : undefined;
}

function checkRange(r: FastRange, blocks: number): boolean {
  return r.len > 0 && r.lblk + r.len <= TWO32 && r.pblk > 0 && r.pblk + r.len <= blocks;
}
