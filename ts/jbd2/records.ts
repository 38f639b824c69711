// The records of the log: block header, descriptor tags, revoke lists, commit block, and their checksums. Both the
// reading and the writing side go through here. Big-endian; ptr is the address of a whole block in linear memory.

import {
  H_BLOCKTYPE,
  H_CHKSUM,
  H_CHKSUM_SIZE,
  H_CHKSUM_TYPE,
  H_COMMIT_NSEC,
  H_COMMIT_SEC,
  H_MAGIC,
  H_SEQUENCE,
  JBD2_COMMIT_HEADER_SIZE,
  JBD2_CRC32_CHKSUM,
  JBD2_CRC32_CHKSUM_SIZE,
  JBD2_FLAG_ESCAPE,
  JBD2_FLAG_LAST_TAG,
  JBD2_FLAG_SAME_UUID,
  JBD2_HEADER_SIZE,
  JBD2_MAGIC_NUMBER,
  JBD2_TAIL_SIZE,
  JBD2_UUID_SIZE,
  R_COUNT,
  R_RECORDS,
  T_BLOCKNR,
  T_BLOCKNR_HIGH,
  T_CHECKSUM,
  T_FLAGS,
  T3_BLOCKNR,
  T3_BLOCKNR_HIGH,
  T3_CHECKSUM,
  T3_FLAGS,
} from '../../assembly/format/jbd2.ts';
import type { Kernels } from '../wasm.ts';
import type { LogFormat } from './super.ts';

const TWO32 = 4294967296;

/** One logged block: where it belongs, and what its descriptor says of the copy in the log. */
export interface Tag {
  /** Home block; not checked against the file system, may exceed 2^53. */
  readonly home: number;
  readonly flags: number;
  /** Of the logged copy; 16 bits in v2, 32 in v3, meaningless otherwise. */
  readonly checksum: number;
}

export interface CommitRecord {
  readonly h_chksum_type: number;
  readonly h_chksum_size: number;
  /** First word of the checksum field. */
  readonly h_chksum: number;
  readonly h_commit_sec: number;
  readonly h_commit_nsec: number;
}

/** The block's type when it carries the magic and belongs to transaction `tid`, else 0. */
export function blockType(kernels: Kernels, ptr: number, tid: number): number {
  const { dv } = kernels;
  if (dv.getUint32(ptr + H_MAGIC) !== JBD2_MAGIC_NUMBER) return 0;
  return dv.getUint32(ptr + H_SEQUENCE) === tid ? dv.getUint32(ptr + H_BLOCKTYPE) : 0;
}

/** Whether transaction `a` is as old as `b` or younger; ids wrap at 2^32. */
export function tidAtLeast(a: number, b: number): boolean {
  return ((a - b) | 0) >= 0;
}

/** The transaction id after `tid`. */
export function nextTid(tid: number): number {
  return (tid + 1) >>> 0;
}

/** The tags of the descriptor at `ptr`: up to the one that says it is the last, or as many as the block holds. */
export function decodeTags(kernels: Kernels, ptr: number, f: LogFormat): Tag[] {
  const tags: Tag[] = [];
  const end = ptr + f.blockSize - f.tailBytes;
  for (let at = ptr + JBD2_HEADER_SIZE; at + f.tagBytes <= end; ) {
    const tag = f.v3 ? decodeTag3(kernels.dv, at) : decodeTag(kernels.dv, at, f.is64);
    tags.push(tag);
    if (tag.flags & JBD2_FLAG_LAST_TAG) break;
    at += f.tagBytes + (tag.flags & JBD2_FLAG_SAME_UUID ? 0 : JBD2_UUID_SIZE);
  }
  return tags;
}

function decodeTag3(dv: DataView, at: number): Tag {
  return {
    home: dv.getUint32(at + T3_BLOCKNR_HIGH) * TWO32 + dv.getUint32(at + T3_BLOCKNR),
    flags: dv.getUint32(at + T3_FLAGS),
    checksum: dv.getUint32(at + T3_CHECKSUM),
  };
}

function decodeTag(dv: DataView, at: number, is64: boolean): Tag {
  const high = is64 ? dv.getUint32(at + T_BLOCKNR_HIGH) : 0;
  return {
    home: high * TWO32 + dv.getUint32(at + T_BLOCKNR),
    flags: dv.getUint16(at + T_FLAGS),
    checksum: dv.getUint16(at + T_CHECKSUM),
  };
}

/** Whether the logged copy lost its first word to the log's magic. */
export function isEscaped(tag: Tag): boolean {
  return (tag.flags & JBD2_FLAG_ESCAPE) !== 0;
}

/** Gives the copy at `ptr` the word back that escaping took. */
export function unescapeBlock(kernels: Kernels, ptr: number): void {
  kernels.dv.setUint32(ptr, JBD2_MAGIC_NUMBER);
}

/** Calls `visit` with each block of the revoke list at `ptr`; false, without a call, when its length is
 *  impossible. */
export function eachRevoked(
  kernels: Kernels,
  ptr: number,
  f: LogFormat,
  visit: (home: number) => void,
): boolean {
  const { dv } = kernels;
  const bytes = dv.getUint32(ptr + R_COUNT);
  if (bytes > f.blockSize - f.tailBytes) return false;
  const width = f.is64 ? 8 : 4;
  for (let off = R_RECORDS; off + width <= bytes; off += width) {
    const high = f.is64 ? dv.getUint32(ptr + off) * TWO32 : 0;
    visit(high + dv.getUint32(ptr + off + width - 4));
  }
  return true;
}

/** The commit block at `ptr`. */
export function decodeCommit(kernels: Kernels, ptr: number): CommitRecord {
  const { dv } = kernels;
  return {
    h_chksum_type: dv.getUint8(ptr + H_CHKSUM_TYPE),
    h_chksum_size: dv.getUint8(ptr + H_CHKSUM_SIZE),
    h_chksum: dv.getUint32(ptr + H_CHKSUM),
    h_commit_sec: dv.getUint32(ptr + H_COMMIT_SEC) * TWO32 + dv.getUint32(ptr + H_COMMIT_SEC + 4),
    h_commit_nsec: dv.getUint32(ptr + H_COMMIT_NSEC),
  };
}

/** v1: whether the commit block vouches for a transaction whose blocks have the CRC-32 `crc`; giving none is fine. */
export function commitMatchesV1(c: CommitRecord, crc: number): boolean {
  if (c.h_chksum_type === 0 && c.h_chksum_size === 0 && c.h_chksum === 0) return true;
  const typed = c.h_chksum_type === JBD2_CRC32_CHKSUM && c.h_chksum_size === JBD2_CRC32_CHKSUM_SIZE;
  return typed && c.h_chksum === crc;
}

/** crc32c over [ptr, ptr + len) of a block whose checksum word at `field` counts as zero. */
function sumWithout(k: Kernels, seed: number, ptr: number, len: number, field: number): number {
  const held = k.dv.getUint32(field);
  k.dv.setUint32(field, 0);
  const crc = k.exports.crc32c(seed, ptr, len) >>> 0;
  k.dv.setUint32(field, held);
  return crc;
}

/** The checksum that belongs at the end of the descriptor or revoke block at `ptr` (v2, v3). */
export function tailChecksum(kernels: Kernels, ptr: number, f: LogFormat): number {
  const field = ptr + f.blockSize - JBD2_TAIL_SIZE;
  return sumWithout(kernels, f.seed, ptr, f.blockSize, field);
}

/** Whether a descriptor or revoke block is as it was written; always true without v2 or v3. */
export function tailMatches(kernels: Kernels, ptr: number, f: LogFormat): boolean {
  if (!f.summed) return true;
  const held = kernels.dv.getUint32(ptr + f.blockSize - JBD2_TAIL_SIZE);
  return held === tailChecksum(kernels, ptr, f);
}

/** The checksum that the commit block at `ptr` should carry (v2, v3). */
export function commitChecksum(k: Kernels, ptr: number, f: LogFormat): number {
  return sumWithout(k, f.seed, ptr, f.blockSize, ptr + H_CHKSUM);
}

/**
 * Whether the commit block is as it was written; always true without v2 or v3. A torn one, of which only the header
 * reached the disk, counts when the rest was written as zeros. Zeroes what follows the header when it asks for that.
 */
export function commitMatches(k: Kernels, ptr: number, f: LogFormat): boolean {
  if (!f.summed) return true;
  const held = k.dv.getUint32(ptr + H_CHKSUM);
  if (held === commitChecksum(k, ptr, f)) return true;
  k.exports.zero(ptr + JBD2_COMMIT_HEADER_SIZE, f.blockSize - JBD2_COMMIT_HEADER_SIZE);
  return held === commitChecksum(k, ptr, f);
}

/** crc32c state that the checksums of a transaction's logged blocks start from: `ptr` is any of its log records. */
export function tagSeed(kernels: Kernels, ptr: number, f: LogFormat): number {
  return kernels.exports.crc32c(f.seed, ptr + H_SEQUENCE, 4) >>> 0;
}

/** The tag checksum (v2: low 16 bits) of the logged copy at `ptr`. */
export function tagChecksum(kernels: Kernels, ptr: number, f: LogFormat, seed: number): number {
  const crc = kernels.exports.crc32c(seed, ptr, f.blockSize) >>> 0;
  return f.v3 ? crc : crc & 0xffff;
}
