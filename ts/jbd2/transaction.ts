// A transaction: the blocks that handles changed since the last commit, the blocks they freed, and what is to happen
// once it is durable. One runs, at most one commits; committed ones wait until their blocks are home.

import type { Buffer, LogBlock } from '../cache/buffer.ts';

/** A record that can write its checksum. */
export interface Sealed {
  seal(): void;
}

export class Transaction {
  readonly tid: number;
  /** Blocks it changed, while it runs. */
  readonly buffers = new Set<Buffer>();
  /** Records in its blocks whose checksums are not up to date: sealed when it commits, or when somebody verifies. */
  readonly unsealed: Sealed[] = [];
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
  sealRecords(): void {
    const { unsealed } = this;
    for (let i = 0; i < unsealed.length; i++) unsealed[i].seal();
    unsealed.length = 0;
  }

  /** Nothing to commit. */
  get empty(): boolean {
    return this.buffers.size === 0 && this.revoked.size === 0 && this.after.length === 0;
  }
}
