// Damage done on purpose to the log of an image: finds its blocks by the obvious walk (every journal block with the
// magic and a transaction id not older than the superblock's), flips bits, zeroes blocks. The cases say what must
// come of it; they are the same for us and for the kernel.

import type { Image } from './image.ts';
import { imageBytes, openImage } from './image.ts';

const MAGIC = 0xc03b3998;
const DESCRIPTOR = 1;
const COMMIT = 2;
const REVOKE = 5;
const CHKSUM = 0x10;
const SEC = 0x30;

export class Damage {
  readonly image: Image;
  readonly #dv: DataView;
  readonly #records: { type: number; tid: number; jblk: number }[] = [];

  constructor(name: string) {
    this.image = openImage(imageBytes('crash', name));
    this.#dv = new DataView(this.image.bytes.buffer, this.image.bytes.byteOffset);
    const first = this.#word(0, 0x18);
    for (let jblk = 1; jblk < this.image.journal.length; jblk++) {
      const [type, tid] = [this.#word(jblk, 4), this.#word(jblk, 8)];
      if (this.#word(jblk, 0) === MAGIC && tid >= first) this.#records.push({ type, tid, jblk });
    }
  }

  /** Of the records of a type: the first, the middle or the last. */
  #record(type: number, which: 'first' | 'mid' | 'last'): { tid: number; jblk: number } {
    const all = this.#records.filter((r) => r.type === type);
    const i = which === 'first' ? 0 : which === 'mid' ? all.length >> 1 : all.length - 1;
    return all[i];
  }

  at(jblk: number, off: number): number {
    return this.image.journal[jblk] * this.image.blockSize + off;
  }

  #word(jblk: number, off: number): number {
    return this.#dv.getUint32(this.at(jblk, off));
  }

  #flip(jblk: number, off: number): this {
    this.image.bytes[this.at(jblk, off)] ^= 1;
    return this;
  }

  data(which: 'first' | 'mid' | 'last'): this {
    return this.#flip(this.#record(DESCRIPTOR, which).jblk + 1, 100);
  }

  descriptor(which: 'first' | 'mid' | 'last'): this {
    return this.#flip(this.#record(DESCRIPTOR, which).jblk, 13);
  }

  revoke(off: number): this {
    return this.#flip(this.#record(REVOKE, 'first').jblk, off);
  }

  commit(which: 'first' | 'mid' | 'last', off = CHKSUM): this {
    return this.#flip(this.#record(COMMIT, which).jblk, off);
  }

  zeroCommit(which: 'first' | 'mid' | 'last'): this {
    const at = this.at(this.#record(COMMIT, which).jblk, 0);
    this.image.bytes.fill(0, at, at + this.image.blockSize);
    return this;
  }

  /** As a leftover of an older log has it. */
  oldCommitTime(which: 'mid'): this {
    const at = this.at(this.#record(COMMIT, which).jblk, SEC);
    this.image.bytes.fill(0, at, at + 8);
    return this;
  }
}

export interface Case {
  readonly image: string;
  readonly what: string;
  readonly damage: (d: Damage) => Damage;
  /** An error code, or how many of the transactions are replayed. */
  readonly outcome: string | number;
}

type Row = [what: string, damage: (d: Damage) => Damage, outcome: string | number];

/** v3 checksums in every block; `n` transactions, the middle one is number `mid`. */
function summed(n: number, mid: number): Row[] {
  return [
    ['nothing', (d) => d, n],
    ['first data block', (d) => d.data('first'), 'EBADMSG'],
    ['middle data block', (d) => d.data('mid'), 'EBADMSG'],
    ['last data block', (d) => d.data('last'), 'EBADMSG'],
    ['first descriptor', (d) => d.descriptor('first'), 'EBADMSG'],
    ['middle descriptor', (d) => d.descriptor('mid'), 'EBADMSG'],
    ['last descriptor', (d) => d.descriptor('last'), 'EBADMSG'],
    ['rest of a torn first commit block', (d) => d.commit('first', 200), n],
    ['rest of a torn middle commit block', (d) => d.commit('mid', 200), n],
    ['rest of a torn last commit block', (d) => d.commit('last', 200), n],
    ['zeroed first commit block', (d) => d.zeroCommit('first'), 0],
    ['zeroed middle commit block', (d) => d.zeroCommit('mid'), mid],
    ['zeroed last commit block', (d) => d.zeroCommit('last'), n - 1],
    ['older transaction behind the tail', (d) => d.oldCommitTime('mid'), mid],
    ['its descriptor too', (d) => d.oldCommitTime('mid').descriptor('mid'), mid],
  ];
}

const COMMITS: Row[] = [
  ['first commit block', (d) => d.commit('first'), 'EUCLEAN'],
  ['middle commit block', (d) => d.commit('mid'), 'EUCLEAN'],
  ['last commit block', (d) => d.commit('last'), 'EUCLEAN'],
];

/** v1: one sum for the transaction, in its commit block; that block itself is not summed. */
function v1(n: number, mid: number, last: string | number): Row[] {
  return [
    ['nothing', (d) => d, n],
    ['first data block', (d) => d.data('first'), 'EUCLEAN'],
    ['middle data block', (d) => d.data('mid'), 'EUCLEAN'],
    ['last data block', (d) => d.data('last'), last],
    ['middle descriptor', (d) => d.descriptor('mid'), 'EUCLEAN'],
    ['last descriptor', (d) => d.descriptor('last'), last],
    ['middle commit block', (d) => d.commit('mid'), 'EUCLEAN'],
    ['last commit block', (d) => d.commit('last'), last],
    ['time of the middle commit block', (d) => d.commit('mid', SEC + 7), n],
    ['zeroed middle commit block', (d) => d.zeroCommit('mid'), mid],
    ['older transaction, damaged', (d) => d.oldCommitTime('mid').descriptor('mid'), mid],
  ];
}

const UNSUMMED: Row[] = [
  ['middle data block', (d) => d.data('mid'), 9],
  ['middle commit block', (d) => d.commit('mid'), 9],
  ['middle descriptor', (d) => d.descriptor('mid'), 'EUCLEAN'],
  ['zeroed middle commit block', (d) => d.zeroCommit('mid'), 4],
  ['older commit time', (d) => d.oldCommitTime('mid'), 9],
];

const REVOKES: Row[] = [
  ['revoke record', (d) => d.revoke(20), 'EBADMSG'],
  ['length of a revoke block', (d) => d.revoke(13), 'EBADMSG'],
  ['room behind the revoke records', (d) => d.revoke(900), 'EBADMSG'],
];

const ASYNC: Row[] = [
  ['first commit block', (d) => d.commit('first'), 0],
  ['middle commit block', (d) => d.commit('mid'), 4],
  ['last commit block', (d) => d.commit('last'), 7],
];

const of = (image: string, rows: Row[]): Case[] =>
  rows.map(([what, damage, outcome]) => ({ image, what, damage, outcome }));

export const CASES: Case[] = [
  ...of('ordered_csum3.img', [...summed(8, 4), ...COMMITS]),
  ...of('revoke_lf.img', [...summed(10, 5), ...COMMITS, ...REVOKES]),
  ...of('async_csum3.img', [...summed(8, 4), ...ASYNC]),
  ...of('ordered_csum1.img', v1(8, 4, 'EUCLEAN')),
  ...of('async_csum1.img', v1(9, 4, 8)),
  ...of('ordered_nocsum.img', UNSUMMED),
];
