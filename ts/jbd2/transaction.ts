// A transaction: the blocks that handles changed since the last commit, the blocks they freed, and what is to happen
// once it is durable. One runs, at most one commits; committed ones wait until their blocks are home.

import type { Buffer, LogBlock } from '../cache/buffer.ts';

/** Writes the checksum of record number `id`, at byte `off` of a block. */
export type SealRecord = (pblk: number, off: number, id: number) => void;

let rounds = 0;

export class Transaction {
  readonly tid: number;
  /** Blocks it changed, while it runs. */
  readonly buffers = new Set<Buffer>();
  /** Records in its blocks whose checksums are not up to date: sealed when it commits, or when somebody verifies. Three
   *  numbers each, not what changed them: a transaction may change more than memory keeps. */
  readonly #unsealed: number[] = [];
  /** Another number, of all transactions, after each time that records were sealed. */
  round = ++rounds;
  /** Freed metadata blocks: revoked when it commits, and never written home from older transactions. */
  readonly revoked = new Set<number>();
  /** Its blocks as they were committed, by home block; those that a newer transaction took over are gone. */
  readonly blocks = new Map<number, LogBlock>();
  /** Called once it is durable. */
  readonly after: { fn: (a: never) => void; a: unknown }[] = [];
  /** When its first handle started, milliseconds. */
  readonly born: number;
  /** Journal block where it begins, once it commits. */
  start = 0;

  constructor(tid: number, born: number) {
    this.tid = tid;
    this.born = born;
  }

  /** Brings the checksums of all records up to date. */
  sealRecords(seal: SealRecord): void {
    const records = this.#unsealed;
    for (let i = 0; i < records.length; i += 3) seal(records[i], records[i + 1], records[i + 2]);
    records.length = 0;
    this.round = ++rounds;
  }

  /** A record in one of its blocks changed. */
  sealLater(pblk: number, off: number, id: number): void {
    this.#unsealed.push(pblk, off, id);
  }

  /** Nothing to commit. */
  get empty(): boolean {
    return this.buffers.size === 0 && this.revoked.size === 0 && this.after.length === 0;
  }
}
