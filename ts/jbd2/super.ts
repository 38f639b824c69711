// The journal superblock: decoded whole, checked, and marked empty again after a recovery. Big-endian.
// What a LogFormat says of the log's records follows from it; both sides, reading and writing, use it.

import {
  H_BLOCKTYPE,
  H_MAGIC,
  JBD2_CRC32C_CHKSUM,
  JBD2_DEFAULT_FAST_COMMIT_BLOCKS,
  JBD2_FEATURE_COMPAT_CHECKSUM,
  JBD2_FEATURE_INCOMPAT_64BIT,
  JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT,
  JBD2_FEATURE_INCOMPAT_CSUM_V2,
  JBD2_FEATURE_INCOMPAT_CSUM_V3,
  JBD2_FEATURE_INCOMPAT_FAST_COMMIT,
  JBD2_FEATURE_INCOMPAT_REVOKE,
  JBD2_MAGIC_NUMBER,
  JBD2_MAX_JOURNAL_BLOCKS,
  JBD2_MIN_JOURNAL_BLOCKS,
  JBD2_SB_SIZE,
  JBD2_SUPERBLOCK_V1,
  JBD2_SUPERBLOCK_V2,
  JBD2_TAG_PAD_V2,
  JBD2_TAG_SIZE32,
  JBD2_TAG_SIZE64,
  JBD2_TAG3_SIZE,
  JBD2_TAIL_SIZE,
  JBD2_UUID_SIZE,
  JS_BLOCKSIZE,
  JS_CHECKSUM,
  JS_CHECKSUM_TYPE,
  JS_ERRNO,
  JS_FEATURE_COMPAT,
  JS_FEATURE_INCOMPAT,
  JS_FEATURE_RO_COMPAT,
  JS_FIRST,
  JS_HEAD,
  JS_MAX_TRANS_DATA,
  JS_MAX_TRANSACTION,
  JS_MAXLEN,
  JS_NR_USERS,
  JS_NUM_FC_BLKS,
  JS_SEQUENCE,
  JS_START,
  JS_UUID,
} from '../../assembly/format/jbd2.ts';
import { badChecksum, corrupt, Ext4Error } from '../errno.ts';
import type { Flow } from '../flow.ts';
import type { Kernels } from '../wasm.ts';
import type { JournalSource, LogWindow } from './source.ts';

const RECORD = 'journal superblock';

/** The fields under the kernel's names; words that a version 1 superblock does not have are 0. */
export interface JournalSuper {
  readonly h_blocktype: number;
  readonly s_blocksize: number;
  readonly s_maxlen: number;
  readonly s_first: number;
  readonly s_sequence: number;
  /** 0: the log is empty. */
  readonly s_start: number;
  /** Signed: a negative errno of the mount that wrote it, or 0. */
  readonly s_errno: number;
  readonly s_feature_compat: number;
  readonly s_feature_incompat: number;
  readonly s_feature_ro_compat: number;
  readonly s_uuid: Uint8Array;
  readonly s_nr_users: number;
  readonly s_max_transaction: number;
  readonly s_max_trans_data: number;
  readonly s_checksum_type: number;
  readonly s_num_fc_blks: number;
  readonly s_head: number;
  readonly s_checksum: number;
}

/** How the records of this log are laid out and summed. Blocks of the log are [first, last). */
export interface LogFormat {
  readonly blockSize: number;
  readonly first: number;
  readonly last: number;
  /** Blocks of fast commits: [fcFirst, fcEnd), empty without the feature. */
  readonly fcFirst: number;
  readonly fcEnd: number;
  readonly is64: boolean;
  /** v1: a CRC-32 of the transaction's blocks in its commit block. */
  readonly v1: boolean;
  readonly v3: boolean;
  /** v2 or v3: every block of the log has a crc32c. */
  readonly summed: boolean;
  readonly asyncCommit: boolean;
  readonly tagBytes: number;
  /** Bytes at the end of descriptor and revoke blocks that hold their checksum. */
  readonly tailBytes: number;
  /** crc32c state after the journal's UUID. */
  readonly seed: number;
}

const KNOWN_INCOMPAT =
  JBD2_FEATURE_INCOMPAT_REVOKE |
  JBD2_FEATURE_INCOMPAT_64BIT |
  JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT |
  JBD2_FEATURE_INCOMPAT_CSUM_V2 |
  JBD2_FEATURE_INCOMPAT_CSUM_V3 |
  JBD2_FEATURE_INCOMPAT_FAST_COMMIT;

const FEATURES: readonly (readonly [keyof JournalSuper, number, string])[] = [
  ['s_feature_compat', JBD2_FEATURE_COMPAT_CHECKSUM, 'journal_checksum'],
  ['s_feature_incompat', JBD2_FEATURE_INCOMPAT_REVOKE, 'journal_incompat_revoke'],
  ['s_feature_incompat', JBD2_FEATURE_INCOMPAT_64BIT, 'journal_64bit'],
  ['s_feature_incompat', JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT, 'journal_async_commit'],
  ['s_feature_incompat', JBD2_FEATURE_INCOMPAT_CSUM_V2, 'journal_checksum_v2'],
  ['s_feature_incompat', JBD2_FEATURE_INCOMPAT_CSUM_V3, 'journal_checksum_v3'],
  ['s_feature_incompat', JBD2_FEATURE_INCOMPAT_FAST_COMMIT, 'journal_fast_commit'],
];

/** Names of the features of a journal, as e2fsprogs writes them; unknown bits as FEATURE_C7,
 *  FEATURE_I7, FEATURE_R7. */
export function journalFeatures(s: JournalSuper): string[] {
  const names = FEATURES.filter(([word, bit]) => (s[word] as number) & bit).map((f) => f[2]);
  return [
    ...names,
    ...bitNames('C', s.s_feature_compat & ~JBD2_FEATURE_COMPAT_CHECKSUM),
    ...bitNames('I', s.s_feature_incompat & ~KNOWN_INCOMPAT),
    ...bitNames('R', s.s_feature_ro_compat),
  ];
}

function bitNames(letter: string, word: number): string[] {
  const bits = [...Array(32).keys()].filter((bit) => (word >>> bit) & 1);
  return bits.map((bit) => `FEATURE_${letter}${bit}`);
}

/** Decodes the superblock at `ptr`, any contents, unchecked. */
export function decodeSuper(kernels: Kernels, ptr: number): JournalSuper {
  const { dv, u8 } = kernels;
  const be = (off: number): number => dv.getUint32(ptr + off);
  const v2 = be(H_BLOCKTYPE) === JBD2_SUPERBLOCK_V2;
  const be2 = (off: number): number => (v2 ? be(off) : 0);
  return {
    h_blocktype: be(H_BLOCKTYPE),
    s_blocksize: be(JS_BLOCKSIZE),
    s_maxlen: be(JS_MAXLEN),
    s_first: be(JS_FIRST),
    s_sequence: be(JS_SEQUENCE),
    s_start: be(JS_START),
    s_errno: dv.getInt32(ptr + JS_ERRNO),
    s_feature_compat: be2(JS_FEATURE_COMPAT),
    s_feature_incompat: be2(JS_FEATURE_INCOMPAT),
    s_feature_ro_compat: be2(JS_FEATURE_RO_COMPAT),
    s_uuid: u8.slice(ptr + JS_UUID, ptr + JS_UUID + JBD2_UUID_SIZE),
    s_nr_users: be2(JS_NR_USERS),
    s_max_transaction: be2(JS_MAX_TRANSACTION),
    s_max_trans_data: be2(JS_MAX_TRANS_DATA),
    s_checksum_type: v2 ? dv.getUint8(ptr + JS_CHECKSUM_TYPE) : 0,
    s_num_fc_blks: be2(JS_NUM_FC_BLKS),
    s_head: be2(JS_HEAD),
    s_checksum: be2(JS_CHECKSUM),
  };
}

/** The checksum that the superblock at `ptr` should carry. */
export function superChecksum(kernels: Kernels, ptr: number): number {
  const { dv, exports } = kernels;
  const held = dv.getUint32(ptr + JS_CHECKSUM);
  dv.setUint32(ptr + JS_CHECKSUM, 0);
  const crc = exports.crc32c(0xffffffff, ptr, JBD2_SB_SIZE) >>> 0;
  dv.setUint32(ptr + JS_CHECKSUM, held);
  return crc;
}

function isSummed(s: JournalSuper): boolean {
  const bits = JBD2_FEATURE_INCOMPAT_CSUM_V2 | JBD2_FEATURE_INCOMPAT_CSUM_V3;
  return (s.s_feature_incompat & bits) !== 0;
}

/** Reads and checks the superblock, and derives the log's format from it. The window then holds its block. */
export function* readSuper(log: LogWindow): Flow<{ sb: JournalSuper; format: LogFormat }> {
  const { source } = log;
  const ptr = yield* log.load(source.superBlock, 1);
  checkMagic(source, ptr);
  const sb = decodeSuper(source.kernels, ptr);
  checkFeatures(sb);
  if (isSummed(sb) && sb.s_checksum !== superChecksum(source.kernels, ptr)) {
    throw badChecksum(RECORD, { block: source.superBlock, field: 's_checksum' });
  }
  const format = logFormat(source.kernels, sb, ptr);
  checkGeometry(source, sb, format);
  return { sb, format };
}

function checkMagic(source: JournalSource, ptr: number): void {
  const { dv } = source.kernels;
  const where = { block: source.superBlock };
  if (dv.getUint32(ptr + H_MAGIC) !== JBD2_MAGIC_NUMBER) {
    throw corrupt(RECORD, 'no journal superblock here', { ...where, field: 'h_magic' });
  }
  const type = dv.getUint32(ptr + H_BLOCKTYPE);
  if (type !== JBD2_SUPERBLOCK_V1 && type !== JBD2_SUPERBLOCK_V2) {
    throw corrupt(RECORD, `block type ${type}`, { ...where, field: 'h_blocktype' });
  }
}

function checkFeatures(sb: JournalSuper): void {
  const incompat = (sb.s_feature_incompat & ~KNOWN_INCOMPAT) >>> 0;
  if (incompat !== 0 || sb.s_feature_ro_compat !== 0) {
    const features = [...bitNames('I', incompat), ...bitNames('R', sb.s_feature_ro_compat)];
    const reason = `unknown features ${features.join(' ')}`;
    throw new Ext4Error('EOPNOTSUPP', { record: RECORD, reason, features });
  }
  const both = JBD2_FEATURE_INCOMPAT_CSUM_V2 | JBD2_FEATURE_INCOMPAT_CSUM_V3;
  const v1 = (sb.s_feature_compat & JBD2_FEATURE_COMPAT_CHECKSUM) !== 0;
  if ((sb.s_feature_incompat & both) === both || (v1 && isSummed(sb))) {
    throw corrupt(RECORD, 'more than one kind of checksum', { field: 's_feature_incompat' });
  }
  if (isSummed(sb) && sb.s_checksum_type !== JBD2_CRC32C_CHKSUM) {
    throw corrupt(RECORD, `type ${sb.s_checksum_type}`, { field: 's_checksum_type' });
  }
}

function logFormat(kernels: Kernels, s: JournalSuper, ptr: number): LogFormat {
  const is64 = (s.s_feature_incompat & JBD2_FEATURE_INCOMPAT_64BIT) !== 0;
  const v3 = (s.s_feature_incompat & JBD2_FEATURE_INCOMPAT_CSUM_V3) !== 0;
  const summed = isSummed(s);
  const short = (is64 ? JBD2_TAG_SIZE64 : JBD2_TAG_SIZE32) + (summed ? JBD2_TAG_PAD_V2 : 0);
  const fast = (s.s_feature_incompat & JBD2_FEATURE_INCOMPAT_FAST_COMMIT) !== 0;
  const fcBlocks = fast ? s.s_num_fc_blks || JBD2_DEFAULT_FAST_COMMIT_BLOCKS : 0;
  const last = s.s_maxlen - fcBlocks;
  return {
    blockSize: s.s_blocksize,
    first: s.s_first,
    last,
    fcFirst: fast ? last + 1 : s.s_maxlen,
    fcEnd: s.s_maxlen,
    is64,
    v1: (s.s_feature_compat & JBD2_FEATURE_COMPAT_CHECKSUM) !== 0,
    v3,
    summed,
    asyncCommit: (s.s_feature_incompat & JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT) !== 0,
    tagBytes: v3 ? JBD2_TAG3_SIZE : short,
    tailBytes: summed ? JBD2_TAIL_SIZE : 0,
    seed: kernels.exports.crc32c(0xffffffff, ptr + JS_UUID, JBD2_UUID_SIZE) >>> 0,
  };
}

/** Sizes before they size anything: the log fits its map, its map fits the device, the start lies in the log. */
function checkGeometry(source: JournalSource, s: JournalSuper, f: LogFormat): void {
  const bad = (field: string, reason: string) =>
    corrupt(RECORD, reason, { field, block: source.superBlock });
  if (s.s_blocksize !== source.blockSize) {
    throw bad('s_blocksize', `${s.s_blocksize}, not ${source.blockSize}`);
  }
  if (s.s_maxlen > source.length) {
    throw bad('s_maxlen', `${s.s_maxlen} blocks in a journal of ${source.length}`);
  }
  if (s.s_maxlen > JBD2_MAX_JOURNAL_BLOCKS || s.s_maxlen * s.s_blocksize > source.device.size) {
    throw bad('s_maxlen', `${s.s_maxlen} blocks are too many`);
  }
  if (s.s_first <= source.superBlock || s.s_first >= s.s_maxlen) {
    throw bad('s_first', `${s.s_first} of ${s.s_maxlen} blocks`);
  }
  if (f.last - f.first + 1 < JBD2_MIN_JOURNAL_BLOCKS) {
    throw bad('s_maxlen', `${f.last - f.first} blocks of log are too few`);
  }
  if (s.s_start !== 0 && (s.s_start < f.first || s.s_start >= f.last)) {
    throw bad('s_start', `${s.s_start} outside the log`);
  }
}

/**
 * Marks the log at `ptr` empty: next transaction `sequence`, next block `head`; checksum included. s_errno stays; the
 * fast-commit feature goes, since a clean journal has no fast commits and older readers may have it then.
 */
export function encodeEmpty(kernels: Kernels, ptr: number, sequence: number, head: number): void {
  const { dv } = kernels;
  dv.setUint32(ptr + JS_SEQUENCE, sequence);
  dv.setUint32(ptr + JS_START, 0);
  if (dv.getUint32(ptr + H_BLOCKTYPE) !== JBD2_SUPERBLOCK_V2) return;
  const incompat = dv.getUint32(ptr + JS_FEATURE_INCOMPAT) & ~JBD2_FEATURE_INCOMPAT_FAST_COMMIT;
  dv.setUint32(ptr + JS_FEATURE_INCOMPAT, incompat >>> 0);
  dv.setUint32(ptr + JS_HEAD, head);
  if (isSummed(decodeSuper(kernels, ptr))) {
    dv.setUint32(ptr + JS_CHECKSUM, superChecksum(kernels, ptr));
  }
}
