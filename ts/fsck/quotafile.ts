// The format of a quota file (version 1): a header, then blocks of 1 KiB. A radix tree of four levels, a byte of the id
// each, leads to blocks of records; a record block serves any ids. Numbers are little-endian.

import type { Flow } from '../flow.ts';

/** What an id uses: bytes, and inodes. */
export interface Usage {
  space: number;
  inodes: number;
}

/** The bytes of block `n` of a quota file, good until the next is asked for; null when the file has none. */
export type ReadQuota = (n: number) => Flow<DataView | null>;

export const QUOTA_BLOCK = 1024;
/** By type: user, group, project. */
const MAGIC = [0xd9c01f11, 0xd9c01927, 0xd9c03f14];
const VERSION = 1;
const INFO = 8;
const INFO_BLOCKS = INFO + 12;
const INFO_FREE_BLOCK = INFO + 16;
const INFO_FREE_RECORD = INFO + 20;
const ROOT = 1;
const LEVELS = 4;
const FANOUT = QUOTA_BLOCK / 4;
/** Seconds that a soft limit may be exceeded for, unless the old file says otherwise: a week. */
const GRACE = 7 * 86400;

const RECORDS_FROM = 16;
const RECORDS_COUNT = 8;
const RECORD = 72;
const PER_BLOCK = Math.floor((QUOTA_BLOCK - RECORDS_FROM) / RECORD);
/** Fields of a record: id, limits and use of inodes, limits and use of space, times. */
const INODE_LIMITS = 8;
const INODES = 24;
const SPACE_LIMITS = 32;
const SPACE = 48;
const INODE_TIME = 64;

/** What stays when a quota file is written anew: times of grace, records of 72 bytes. A bad file may repeat an id. */
export interface QuotaFile {
  grace: [number, number];
  records: DataView[];
}

/** All that a quota file of so many bytes says; or what is wrong with it. */
export function* readQuota(type: number, size: number, read: ReadQuota): Flow<QuotaFile | string> {
  const head = yield* read(0);
  if (head === null || head.getUint32(0, true) !== MAGIC[type]) return 'has no header';
  if (head.getUint32(4, true) !== VERSION) return 'has another version';
  const blocks = head.getUint32(INFO_BLOCKS, true);
  if (blocks * QUOTA_BLOCK > size) return `has ${blocks} blocks in ${size} bytes`;
  for (const field of [INFO_FREE_BLOCK, INFO_FREE_RECORD]) {
    const free = head.getUint32(field, true);
    if (free >= blocks) return `has a free block ${free} of ${blocks}`;
  }
  const grace: [number, number] = [head.getUint32(INFO, true), head.getUint32(INFO + 4, true)];
  const records: DataView[] = [];
  const seen = new Set<number>();
  // What is still to be read: each block counts once on each level.
  const rest = [{ n: ROOT, level: 0 }];
  for (let next = rest.pop(); next !== undefined; next = rest.pop()) {
    const { n, level } = next;
    const view = n > 0 && n < blocks ? yield* read(n) : null;
    if (view === null) return `names block ${n}, which it does not have`;
    if (level === LEVELS) {
      gather(view, records);
      continue;
    }
    for (let i = 0; i < FANOUT; i++) {
      const child = view.getUint32(i * 4, true);
      const key = child * (LEVELS + 1) + level;
      if (child === 0 || seen.has(key)) continue;
      seen.add(key);
      rest.push({ n: child, level: level + 1 });
    }
  }
  return { grace, records };
}

function gather(view: DataView, into: DataView[]): void {
  for (let i = 0; i < PER_BLOCK; i++) {
    const from = view.byteOffset + RECORDS_FROM + i * RECORD;
    const bytes = new Uint8Array(view.buffer, from, RECORD).slice();
    if (bytes.some((byte) => byte !== 0)) into.push(new DataView(bytes.buffer));
  }
}

export function idOf(record: DataView): number {
  return record.getUint32(0, true);
}

export function usageOf(record: DataView): Usage {
  const space = Number(record.getBigUint64(SPACE, true));
  return { space, inodes: Number(record.getBigUint64(INODES, true)) };
}

/** The bytes of a quota file with these uses, and the limits of the old one if it could be read. */
export function quotaFile(
  type: number,
  usage: ReadonlyMap<number, Usage>,
  old: QuotaFile | null,
): Uint8Array {
  const limits = new Map<number, DataView>();
  for (const record of old?.records ?? []) {
    if (!limits.has(idOf(record))) limits.set(idOf(record), record);
  }
  const ids = [...new Set([...usage.keys(), ...limits.keys()])].sort((a, b) => a - b);
  const records = ids.flatMap((id) => newRecord(id, usage.get(id), limits.get(id)) ?? []);
  const blocks: DataView[] = [block(), block()];
  let leaf = 0;
  records.forEach((record, i) => {
    if (i % PER_BLOCK === 0) leaf = blocks.push(block()) - 1;
    const at = RECORDS_FROM + (i % PER_BLOCK) * RECORD;
    new Uint8Array(blocks[leaf].buffer).set(record, at);
    blocks[leaf].setUint16(RECORDS_COUNT, (i % PER_BLOCK) + 1, true);
    enter(blocks, new DataView(record.buffer).getUint32(0, true), leaf);
  });
  const [head] = blocks;
  const numbers = [MAGIC[type], VERSION, ...(old?.grace ?? [GRACE, GRACE]), 0, blocks.length];
  for (const [i, value] of numbers.entries()) head.setUint32(i * 4, value, true);
  head.setUint32(INFO_FREE_RECORD, records.length % PER_BLOCK === 0 ? 0 : leaf, true);
  const bytes = new Uint8Array(blocks.length * QUOTA_BLOCK);
  for (const [i, { buffer }] of blocks.entries())
    bytes.set(new Uint8Array(buffer), i * QUOTA_BLOCK);
  return bytes;
}

function block(): DataView {
  return new DataView(new ArrayBuffer(QUOTA_BLOCK));
}

/** Leads the tree from the root to the block where an id's record lies. */
function enter(blocks: DataView[], id: number, leaf: number): void {
  let at = ROOT;
  for (let level = 0; level < LEVELS; level++) {
    const slot = (Math.floor(id / FANOUT ** (LEVELS - 1 - level)) % FANOUT) * 4;
    if (level === LEVELS - 1) blocks[at].setUint32(slot, leaf, true);
    else if (blocks[at].getUint32(slot, true) === 0) {
      blocks[at].setUint32(slot, blocks.push(block()) - 1, true);
    }
    at = blocks[at].getUint32(slot, true);
  }
}

/** Null for an id that uses nothing and has no limits. */
function newRecord(id: number, usage?: Usage, old?: DataView): Uint8Array | null {
  const bytes = old ? new Uint8Array(old.buffer).slice() : new Uint8Array(RECORD);
  const record = new DataView(bytes.buffer);
  const { space, inodes } = usage ?? { space: 0, inodes: 0 };
  record.setUint32(0, id, true);
  record.setBigUint64(SPACE, BigInt(space), true);
  record.setBigUint64(INODES, BigInt(inodes), true);
  const limited = [...limitsOf(bytes, INODE_LIMITS), ...limitsOf(bytes, SPACE_LIMITS)];
  if (space > 0 || inodes > 0 || limited.some((byte) => byte !== 0)) return bytes;
  if (id !== 0) return null;
  // A record of zeroes alone would count as unused.
  record.setBigUint64(INODE_TIME, 1n, true);
  return bytes;
}

function limitsOf(bytes: Uint8Array, from: number): Uint8Array {
  return bytes.subarray(from, from + 16);
}
