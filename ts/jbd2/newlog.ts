// A log that nobody has written to yet: its superblock, and how long it is when nobody says. For those who make file
// systems and those who mend them.

import * as J from '../../assembly/format/jbd2.ts';

/** Blocks of a journal by the blocks of the file system: below the first there is none. */
const SIZES: readonly (readonly [below: number, blocks: number])[] = [
  [2048, 0],
  [32768, 1024],
  [256 * 1024, 4096],
  [512 * 1024, 8192],
  [4096 * 1024, 16384],
  [8192 * 1024, 32768],
  [16384 * 1024, 65536],
  [32768 * 1024, 131072],
  [Number.POSITIVE_INFINITY, 262144],
];

/** Blocks that mke2fs gives to the journal of a file system of `blocks` blocks; 0: too small for one. */
export function defaultJournalBlocks(blocks: number): number {
  return SIZES.find(([below]) => blocks < below)![1];
}

export interface JournalSuperSpec {
  blockSize: number;
  blocks: number;
  first: number;
  uuid: Uint8Array;
  users: number;
  fastCommit: number;
}

/** The journal's superblock: an empty log whose first transaction will be number 1. */
export function journalSuper(spec: JournalSuperSpec): Uint8Array {
  const bytes = new Uint8Array(spec.blockSize);
  const dv = new DataView(bytes.buffer);
  dv.setUint32(J.H_MAGIC, J.JBD2_MAGIC_NUMBER);
  dv.setUint32(J.H_BLOCKTYPE, J.JBD2_SUPERBLOCK_V2);
  dv.setUint32(J.JS_BLOCKSIZE, spec.blockSize);
  dv.setUint32(J.JS_MAXLEN, spec.blocks);
  dv.setUint32(J.JS_FIRST, spec.first);
  dv.setUint32(J.JS_SEQUENCE, 1);
  dv.setUint32(J.JS_NR_USERS, spec.users);
  dv.setUint32(J.JS_NUM_FC_BLKS, spec.fastCommit);
  bytes.set(spec.uuid, J.JS_UUID);
  return bytes;
}
