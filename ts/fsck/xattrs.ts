// Extended attributes of an inode, in its record and in its block: entries inside their room, values that overlap
// nothing, hashes, value inodes. A list that cannot be believed is dropped whole; what other passes need is noted.

import * as F from '../../assembly/format/ext4.ts';
import { entryHash } from '../ext4/xattrpack.ts';
import type { Flow } from '../flow.ts';
import type { Record } from './record.ts';
import type { Volume, XattrBlock } from './volume.ts';

const MAX_VALUE = 2 ** 24;

interface Entry {
  index: number;
  name: Uint8Array;
  at: number;
  inum: number;
  size: number;
  /** Address of the value; 0 when it is empty or elsewhere. */
  value: number;
  hash: number;
  /** The value inode is as Lustre made them: for one owner, without a count. */
  lustre: boolean;
}

/** What the rest of the checks asks about an inode's attributes. */
export interface XattrFacts {
  /** system.data is there, with so many bytes; -1 when not. */
  inlineBytes: number;
  encryption: boolean;
  /** Value inodes that entries name; those of a block only with the first inode that has it, as they are counted. */
  values: number[];
  /** As many are named by a block that was seen before. */
  sharedValues: number;
  /** Blocks that those values count for in i_blocks. */
  valueBlocks: number;
}

export function noFacts(): XattrFacts {
  return { inlineBytes: -1, encryption: false, values: [], sharedValues: 0, valueBlocks: 0 };
}

/** Checks the attributes in the record. */
export function* checkBodyXattrs(vol: Volume, record: Record, facts: XattrFacts): Flow<void> {
  const { disk, sb, report } = vol;
  const start = F.EXT4_GOOD_OLD_INODE_SIZE + record.extraSize;
  if (record.extraSize === 0 || start + F.IH_SIZE + 4 > sb.inodeSize) return;
  const at = record.ptr + start;
  if (disk.dv.getUint32(at, true) !== F.EXT4_XATTR_MAGIC) return;
  const first = at + F.IH_SIZE;
  const entries = parse(vol, first, first, record.ptr + sb.inodeSize);
  const { ino } = record;
  const wrong =
    typeof entries === 'string' ? entries : yield* wrongEntry(vol, record, entries, false);
  if (wrong !== '') {
    const text = `inode ${ino}: the attributes in the inode are bad: ${wrong}`;
    if (report.report('xattr-inode', { ino }, text)) {
      disk.dv.setUint32(at, 0, true);
      record.dirty = true;
      return;
    }
  }
  if (typeof entries !== 'string') note(vol, entries, facts);
}

function note(vol: Volume, entries: Entry[], facts: XattrFacts): void {
  const { blockSize, clusterBlocks } = vol.sb;
  const cluster = blockSize * clusterBlocks;
  for (const entry of entries) {
    if (entry.inum !== 0) {
      facts.values.push(entry.inum);
      if (entry.lustre) vol.lustreValues.add(entry.inum);
      else facts.valueBlocks += Math.ceil(entry.size / cluster) * clusterBlocks;
    }
    const name = String.fromCharCode(...entry.name);
    if (entry.index === F.EXT4_XATTR_INDEX_SYSTEM && name === 'data')
      facts.inlineBytes = entry.size;
    if (entry.index === F.EXT4_XATTR_INDEX_ENCRYPTION && name === 'c') facts.encryption = true;
  }
}

/** Entries from `first` on whose values count from `base` and end at `end`; or what is wrong with them. */
function parse(vol: Volume, first: number, base: number, end: number): Entry[] | string {
  const { dv, u8 } = vol.disk;
  const entries: Entry[] = [];
  const taken: [number, number][] = [];
  let at = first;
  while (at + 4 <= end && dv.getUint32(at, true) !== 0) {
    const nameLen = u8[at + F.E_NAME_LEN];
    const next = at + F.E_NAME + Math.ceil(nameLen / 4) * 4;
    if (next > end) return 'an entry runs past the end';
    const inum = dv.getUint32(at + F.E_VALUE_INUM, true);
    const size = dv.getUint32(at + F.E_VALUE_SIZE, true);
    const offs = dv.getUint16(at + F.E_VALUE_OFFS, true);
    if (inum !== 0 && !vol.incompat(F.INCOMPAT_EA_INODE)) return `a value in block ${inum}`;
    if (size > MAX_VALUE) return `a value of ${size} bytes`;
    if (inum === 0 && base + offs + size > end) return 'a value runs past the end';
    const value = inum === 0 && size > 0 ? base + offs : 0;
    if (value !== 0) {
      taken.push([value, value + Math.ceil(size / 4) * 4]);
    }
    entries.push({
      index: u8[at + F.E_NAME_INDEX],
      name: u8.slice(at + F.E_NAME, at + F.E_NAME + nameLen),
      at,
      inum,
      size,
      value,
      hash: dv.getUint32(at + F.E_HASH, true),
      lustre: false,
    });
    at = next;
  }
  taken.push([first, Math.min(at + 4, end)]);
  return overlaps(taken) ? 'values overlap' : entries;
}

function overlaps(taken: [number, number][]): boolean {
  taken.sort((a, b) => a[0] - b[0]);
  return taken.some(([from], i) => i > 0 && from < taken[i - 1][1]);
}

/** What is wrong with the hash or the value inode of an entry; '' when nothing is. */
function* wrongEntry(vol: Volume, record: Record, entries: Entry[], strict: boolean): Flow<string> {
  const { u8 } = vol.disk;
  for (const entry of entries) {
    if (entry.inum !== 0) {
      const wrong = yield* wrongValueInode(vol, record, entry);
      if (wrong !== '') return wrong;
      continue;
    }
    if (entry.hash === 0 && !strict) continue;
    // Whole words are summed, whatever lies behind a value of odd length.
    const padded = Math.ceil(entry.size / 4) * 4;
    const value =
      entry.value === 0 ? new Uint8Array(0) : u8.slice(entry.value, entry.value + padded);
    if (entry.hash === entryHash(entry.name, value)) continue;
    if (entry.hash === signedHash(entry.name, value)) continue;
    return `hash ${entry.hash.toString(16)}`;
  }
  return '';
}

/** The hash of a name whose bytes count as signed, as some platforms wrote it. */
function signedHash(name: Uint8Array, value: Uint8Array): number {
  if (name.every((byte) => byte < 128)) return -1;
  let hash = 0;
  for (const byte of name) hash = ((hash << 5) ^ (hash >>> 27) ^ ((byte << 24) >> 24)) >>> 0;
  const rest = entryHash(new Uint8Array(0), value);
  const words = Math.ceil(value.length / 4);
  for (let i = 0; i < words; i++) hash = ((hash << 16) ^ (hash >>> 16)) >>> 0;
  return (hash ^ rest) >>> 0;
}

function* wrongValueInode(vol: Volume, record: Record, entry: Entry): Flow<string> {
  const { ino } = record;
  const { inum, size } = entry;
  if (inum === ino || inum < vol.sb.firstIno || inum > vol.sb.inodes) return `value inode ${inum}`;
  const holder = yield* vol.inode(inum);
  if (holder === null || holder.links === 0) return `value inode ${inum} is not in use`;
  if (!holder.has(F.EXT4_EA_INODE_FL)) return `inode ${inum} holds no value`;
  if (holder.size !== size) return `value inode ${inum} has ${holder.size} bytes, not ${size}`;
  const word = new Uint8Array(4);
  new DataView(word.buffer).setUint32(0, holder.u32(F.I_ATIME), true);
  const lustre =
    holder.u32(F.I_MTIME) === ino && holder.u32(F.I_GENERATION) === record.u32(F.I_GENERATION);
  entry.lustre = lustre;
  if (lustre || entry.hash === entryHash(entry.name, word)) return '';
  if (entry.hash === signedHash(entry.name, word)) return '';
  return `hash ${entry.hash.toString(16)}`;
}

/** Checks the block of attributes that an inode names. True when it keeps it. */
export function* checkXattrBlock(vol: Volume, record: Record, facts: XattrFacts): Flow<boolean> {
  const { report, disk } = vol;
  const pblk = record.fileAcl;
  const { ino } = record;
  if (!vol.inFs(pblk) || !disk.has(pblk)) {
    const text = `inode ${ino}: the attribute block ${pblk} is out of range`;
    if (!report.report('xattr-block-range', { ino, block: pblk }, text)) return false;
    record.setFileAcl(0);
    return false;
  }
  const known = vol.xattrBlocks.get(pblk);
  if (known !== undefined) {
    known.refs++;
    facts.sharedValues += known.values.length;
    facts.valueBlocks += known.valueBlocks;
    if (known.ino >= 0) return true;
    record.setFileAcl(0);
    return false;
  }
  return yield* firstSight(vol, record, pblk, facts);
}

/** The first inode that names a block has it judged for all. */
function* firstSight(vol: Volume, record: Record, pblk: number, facts: XattrFacts): Flow<boolean> {
  const { report, disk } = vol;
  const { ino } = record;
  const where = { ino, block: pblk };
  const ptr = yield* disk.get(pblk);
  const entries = blockEntries(vol, ptr);
  const wrong =
    typeof entries === 'string' ? entries : yield* wrongEntry(vol, record, entries, false);
  if (vol.claim(pblk, 1)) vol.shared.add(vol.cluster(pblk));
  const known: XattrBlock = {
    ino,
    stored: disk.dv.getUint32(ptr + F.H_REFCOUNT, true),
    refs: 1,
    values: [],
    valueBlocks: 0,
  };
  vol.xattrBlocks.set(pblk, known);
  if (wrong !== '') {
    const text = `inode ${ino}: the attribute block ${pblk} is bad: ${wrong}`;
    if (!report.report('xattr-block', where, text)) return true;
    known.ino = -1;
    record.setFileAcl(0);
    return false;
  }
  const own = noFacts();
  note(vol, entries as Entry[], own);
  known.values = own.values;
  known.valueBlocks = own.valueBlocks;
  facts.valueBlocks += own.valueBlocks;
  facts.values.push(...own.values);
  facts.encryption ||= own.encryption;
  if (blockSummed(vol, ptr, pblk)) return true;
  const text = `the checksum of attribute block ${pblk} is wrong`;
  if (report.report('xattr-checksum', where, text)) yield* writeBlock(vol, pblk);
  return true;
}

function blockEntries(vol: Volume, ptr: number): Entry[] | string {
  const { dv, blockSize } = vol.disk;
  if (dv.getUint32(ptr + F.H_MAGIC, true) !== F.EXT4_XATTR_MAGIC) return 'no magic number';
  const blocks = dv.getUint32(ptr + F.H_BLOCKS, true);
  if (blocks !== 1) return `${blocks} blocks`;
  const entries = parse(vol, ptr + F.H_SIZE, ptr, ptr + blockSize);
  if (typeof entries === 'string') return entries;
  if (entries.some((e) => e.index === 0)) return 'an entry has no kind of name';
  return entries.some((e) => e.value !== 0 && e.value < ptr + F.H_SIZE)
    ? 'values overlap'
    : entries;
}

function blockSum(vol: Volume, ptr: number, pblk: number): number {
  const { sums, disk } = vol;
  return sums.around(sums.u64(sums.seed, pblk), ptr, disk.blockSize, F.H_CHECKSUM, 4);
}

function blockSummed(vol: Volume, ptr: number, pblk: number): boolean {
  if (!vol.sums.on) return true;
  return vol.disk.dv.getUint32(ptr + F.H_CHECKSUM, true) === blockSum(vol, ptr, pblk);
}

function* writeBlock(vol: Volume, pblk: number): Flow<void> {
  const ptr = yield* vol.disk.get(pblk);
  if (vol.sums.on) vol.disk.dv.setUint32(ptr + F.H_CHECKSUM, blockSum(vol, ptr, pblk), true);
  yield* vol.disk.write(pblk, ptr);
}

/** After all inodes: whether each attribute block counts its inodes right. */
export function* checkXattrRefs(vol: Volume): Flow<void> {
  for (const [pblk, { ino, stored, refs }] of vol.xattrBlocks) {
    if (ino < 0 || stored === refs) continue;
    const text = `attribute block ${pblk} counts ${stored} inodes, ${refs} have it`;
    if (!vol.report.report('xattr-refcount', { ino, block: pblk }, text)) continue;
    const ptr = yield* vol.disk.get(pblk);
    vol.disk.dv.setUint32(ptr + F.H_REFCOUNT, refs, true);
    yield* writeBlock(vol, pblk);
  }
}
