// First pass over the log: from s_start on, block by block, to the end of the last transaction that is whole. Reads
// headers and, for v1 checksums, the logged blocks too. What it keeps is bounded by the log's length: a list of
// descriptors with their tags, and of revoke blocks, of committed transactions only.

import {
  JBD2_COMMIT_BLOCK,
  JBD2_DESCRIPTOR_BLOCK,
  JBD2_REVOKE_BLOCK,
} from '../../assembly/format/jbd2.ts';
import type { Ext4Error } from '../errno.ts';
import { badChecksum, corrupt } from '../errno.ts';
import type { Flow } from '../flow.ts';
import type { Kernels } from '../wasm.ts';
import { crc32be } from './crc32be.ts';
import type { CommitRecord, Tag } from './records.ts';
import {
  blockType,
  commitMatches,
  commitMatchesV1,
  decodeCommit,
  decodeTags,
  nextTid,
  tagSeed,
  tailMatches,
} from './records.ts';
import type { LogWindow } from './source.ts';
import type { JournalSuper, LogFormat } from './super.ts';

/** A descriptor block; its tag i describes the copy at logAt(format, jblk, 1 + i). */
export interface Descriptor {
  readonly tid: number;
  readonly jblk: number;
  readonly tags: readonly Tag[];
  /** crc32c state for the checksums of its copies. */
  readonly seed: number;
}

export interface RevokeBlock {
  readonly tid: number;
  readonly jblk: number;
}

export interface Scan {
  readonly descriptors: Descriptor[];
  readonly revokes: RevokeBlock[];
  /** The first transaction that is not there: one after the last whole one. */
  readonly end: number;
  /** Journal block after the last whole transaction. */
  readonly head: number;
  readonly transactions: number;
  /** Why the kernel would refuse this log; what is listed is what came before. */
  readonly broken?: Ext4Error;
}

/** Hears of every block of the log in its order, also of a last transaction that turns out not to be whole. */
export interface ScanObserver {
  descriptor?(d: Descriptor, sound: boolean): void;
  revoke?(r: RevokeBlock, ptr: number, sound: boolean): void;
  commit?(tid: number, jblk: number, c: CommitRecord, sound: boolean): void;
}

/** The journal block `n` blocks on from `jblk`, round the end of the log. */
export function logAt(f: LogFormat, jblk: number, n: number): number {
  return f.first + ((jblk - f.first + n) % (f.last - f.first));
}

/** Runs the pass. EUCLEAN when the map is broken; a damaged log is reported in `broken`. */
export function* scanLog(
  log: LogWindow,
  sb: JournalSuper,
  format: LogFormat,
  observer: ScanObserver = {},
): Flow<Scan> {
  const scanner = new Scanner(log, format, observer, sb);
  if (sb.s_start !== 0) yield* scanner.run();
  return scanner;
}

const CRC_START = 0xffffffff;

class Scanner implements Scan {
  readonly descriptors: Descriptor[] = [];
  readonly revokes: RevokeBlock[] = [];
  transactions = 0;
  broken?: Ext4Error;
  head: number;
  readonly #log: LogWindow;
  readonly #k: Kernels;
  readonly #f: LogFormat;
  readonly #seen: ScanObserver;
  #tid: number;
  #jblk: number;
  #walked = 0;
  #lastTime = 0;
  /** A block of this transaction has a wrong checksum: stale, or damaged; its commit time tells. */
  #suspect = false;
  /** Asynchronous commit, v1: transaction `end` is bad, and nothing may follow it. */
  #ended: number | undefined;
  #crc = CRC_START;
  #pending: Descriptor[] = [];
  #pendingRevokes: RevokeBlock[] = [];

  constructor(log: LogWindow, f: LogFormat, observer: ScanObserver, sb: JournalSuper) {
    this.#log = log;
    this.#k = log.source.kernels;
    this.#f = f;
    this.#seen = observer;
    this.#tid = sb.s_sequence;
    this.#jblk = this.head = sb.s_start;
  }

  get end(): number {
    return this.#ended ?? this.#tid;
  }

  /** A log ends where a block does not belong to the next transaction, at the latest where it began. */
  *run(): Flow<void> {
    while (this.#walked < this.#f.last - this.#f.first) {
      const ptr = yield* this.#log.load(this.#jblk);
      const type = blockType(this.#k, ptr, this.#tid);
      if (type === JBD2_DESCRIPTOR_BLOCK) yield* this.#descriptor(ptr);
      else if (type === JBD2_REVOKE_BLOCK) this.#revoke(ptr);
      else if (type !== JBD2_COMMIT_BLOCK || !this.#commit(ptr)) return;
    }
  }

  #advance(blocks: number): void {
    this.#walked += blocks;
    this.#jblk = logAt(this.#f, this.#jblk, blocks);
  }

  *#descriptor(ptr: number): Flow<void> {
    const sound = tailMatches(this.#k, ptr, this.#f);
    const tags = decodeTags(this.#k, ptr, this.#f);
    const seed = this.#f.summed ? tagSeed(this.#k, ptr, this.#f) : 0;
    const descriptor = { tid: this.#tid, jblk: this.#jblk, tags, seed };
    this.#seen.descriptor?.(descriptor, sound);
    this.#suspect ||= !sound;
    this.#pending.push(descriptor);
    const room = this.#walked + 1 + tags.length <= this.#f.last - this.#f.first;
    if (this.#f.v1 && this.#ended === undefined && room) yield* this.#sumV1(1 + tags.length);
    this.#advance(1 + tags.length);
  }

  *#sumV1(blocks: number): Flow<void> {
    const { blockSize } = this.#f;
    for (let i = 0; i < blocks; i++) {
      const ptr = yield* this.#log.load(logAt(this.#f, this.#jblk, i), blocks - i);
      this.#crc = crc32be(this.#crc, this.#k.u8.subarray(ptr, ptr + blockSize));
    }
  }

  #revoke(ptr: number): void {
    const sound = tailMatches(this.#k, ptr, this.#f);
    const revoke = { tid: this.#tid, jblk: this.#jblk };
    this.#seen.revoke?.(revoke, ptr, sound);
    this.#suspect ||= !sound;
    this.#pendingRevokes.push(revoke);
    this.#advance(1);
  }

  /** Takes or drops the transaction that this block commits; false where the log ends. */
  #commit(ptr: number): boolean {
    const c = decodeCommit(this.#k, ptr);
    const sound = this.#f.v1 ? commitMatchesV1(c, this.#crc) : commitMatches(this.#k, ptr, this.#f);
    this.#seen.commit?.(this.#tid, this.#jblk, c, sound && !this.#suspect);
    const stale = c.h_commit_sec < this.#lastTime;
    if (this.#suspect) return stale ? false : this.#refuse('a block of the transaction');
    if (this.#ended !== undefined) return this.#refuse('a transaction before it');
    if (!sound && stale) return false;
    if (!sound && !this.#f.asyncCommit) return this.#refuse('the commit block');
    if (sound) this.#take();
    else this.#ended = this.#tid;
    this.#lastTime = c.h_commit_sec;
    this.#tid = nextTid(this.#tid);
    this.#advance(1);
    this.#begin();
    return sound || this.#f.v1;
  }

  #take(): void {
    for (const d of this.#pending) this.descriptors.push(d);
    for (const r of this.#pendingRevokes) this.revokes.push(r);
    this.transactions++;
    this.head = logAt(this.#f, this.#jblk, 1);
  }

  #begin(): void {
    this.#pending = [];
    this.#pendingRevokes = [];
    this.#crc = CRC_START;
  }

  /** Younger than what came before, so not a leftover: this log was damaged. */
  #refuse(what: string): false {
    const where = { block: this.#jblk };
    const reason = `bad checksum of ${what}, transaction ${this.#tid}`;
    this.broken = this.#suspect
      ? badChecksum(`journal transaction ${this.#tid}`, where)
      : corrupt('journal commit block', reason, where);
    return false;
  }
}
