// The index of a directory: every index block looked at as it comes by, then the tree walked from the root. Each leaf
// must be named once, and the hashes of its names must lie between those of its neighbours in the index.

import { ABI_RESULT, ABI_SEED } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/ext4.ts';
import { hasBit } from '../ext4/features.ts';
import type { Volume } from './volume.ts';

const MAX_HASH = 0xffffffff;

interface IndexBlock {
  hashes: number[];
  blocks: number[];
  fault: string;
}

/** The index of one directory while its blocks are read. */
export class Index {
  readonly #vol: Volume;
  readonly #nodes = new Map<number, IndexBlock>();
  /** Least and greatest hash of the names of each leaf. */
  readonly #low = new Map<number, number>();
  readonly #high = new Map<number, number>();
  #version = -1;
  #levels = 0;
  /** What is wrong with the root; '' when nothing is. */
  fault = '';

  constructor(vol: Volume) {
    this.#vol = vol;
  }

  /** What kind of index block the bytes at `ptr` are: where its entries begin, 0 for a leaf. */
  static offset(vol: Volume, ptr: number, lblk: number): number {
    const { dv } = vol.disk;
    const { blockSize } = vol.sb;
    if (lblk === 0) return F.DX_ROOT_ENTRIES;
    const raw = dv.getUint16(ptr + F.DE_REC_LEN, true);
    const whole = blockSize < 65536 ? raw === blockSize : raw === 65535 || raw === 0;
    return dv.getUint32(ptr, true) === 0 && whole ? F.DX_NODE_ENTRIES : 0;
  }

  /** Takes in block 0. */
  root(ptr: number): void {
    const { dv, u8 } = this.#vol.disk;
    const version = u8[ptr + F.DX_ROOT_HASH_VERSION];
    const levels = u8[ptr + F.DX_ROOT_INDIRECT_LEVELS];
    const most = this.#vol.incompat(F.INCOMPAT_LARGEDIR) ? 3 : 2;
    const reserved = dv.getUint32(ptr + F.DX_ROOT_INFO, true);
    this.#levels = levels;
    if (u8[ptr + F.DX_ROOT_INFO_LENGTH] !== 8 || reserved !== 0) this.fault = 'a bad root';
    else if (version > F.DX_HASH_SIPHASH) this.fault = `the hash version ${version}`;
    else if (levels >= most) this.fault = `${levels} levels`;
    else if (u8[ptr + F.DX_ROOT_UNUSED_FLAGS] % 2 === 1) this.fault = 'unknown flags';
    const unsigned = hasBit(this.#vol.sb.u32(F.S_FLAGS), F.EXT4_FLAGS_UNSIGNED_HASH);
    this.#version = unsigned && version <= F.DX_HASH_TEA ? version + 3 : version;
    this.node(0, ptr, F.DX_ROOT_ENTRIES);
  }

  node(lblk: number, ptr: number, off: number): void {
    const { dv } = this.#vol.disk;
    const { blockSize } = this.#vol.sb;
    const at = ptr + off;
    const limit = dv.getUint16(at + F.DX_LIMIT, true);
    const count = dv.getUint16(at + F.DX_COUNT, true);
    const tail = this.#vol.sums.on ? F.DX_TAIL_SIZE : 0;
    const room = Math.floor((blockSize - off - tail) / F.DX_ENTRY_SIZE);
    const node: IndexBlock = { hashes: [], blocks: [], fault: '' };
    this.#nodes.set(lblk, node);
    if (limit !== room) node.fault = `a limit of ${limit}, not ${room}`;
    else if (count === 0 || count > limit) node.fault = `${count} entries of ${limit}`;
    if (node.fault !== '') return;
    for (let i = 0; i < count; i++) {
      const entry = at + i * F.DX_ENTRY_SIZE;
      node.hashes.push(i === 0 ? 0 : dv.getUint32(entry + F.DX_HASH, true));
      node.blocks.push(dv.getUint32(entry + F.DX_BLOCK, true) % 2 ** 28);
    }
  }

  /** Takes in the name of an entry of a leaf: `len` bytes at `ptr`. */
  name(lblk: number, ptr: number, len: number): void {
    const { exports, dv } = this.#vol.disk.kernels;
    if (this.#version < 0 || this.#version > F.DX_HASH_TEA_UNSIGNED) return;
    if (exports.dirHash(this.#version, ptr, len, ABI_SEED, ABI_RESULT) < 0) return;
    this.hash(lblk, dv.getUint32(ABI_RESULT, true));
  }

  hash(lblk: number, hash: number): void {
    const low = this.#low.get(lblk);
    if (low === undefined || hash < low) this.#low.set(lblk, hash);
    const high = this.#high.get(lblk);
    if (high === undefined || hash > high) this.#high.set(lblk, hash);
  }

  /** Hashes are stored with the names, not computed. */
  get stored(): boolean {
    return this.#version === F.DX_HASH_SIPHASH;
  }

  /** What is wrong with the whole, for a directory of so many blocks; '' when nothing is. */
  judge(blocks: number): string {
    if (this.fault !== '') return this.fault;
    if (!this.#nodes.has(0)) return 'no root';
    const seen = new Set<number>([0]);
    const wrong = this.#walk(0, 0, 0, MAX_HASH, blocks, seen);
    if (wrong !== '') return wrong;
    for (let lblk = 0; lblk < blocks; lblk++) {
      if (!seen.has(lblk)) return `block ${lblk} is in no index`;
    }
    return '';
  }

  #walk(
    lblk: number,
    level: number,
    low: number,
    high: number,
    blocks: number,
    seen: Set<number>,
  ): string {
    const node = this.#nodes.get(lblk);
    if (node === undefined) return `block ${lblk} is no index block`;
    if (node.fault !== '') return `block ${lblk} has ${node.fault}`;
    for (let i = 0; i < node.blocks.length; i++) {
      const child = node.blocks[i];
      const from = i === 0 ? low : node.hashes[i];
      const to = i + 1 < node.hashes.length ? node.hashes[i + 1] : high;
      if (from > to || from < low) return `the hashes of block ${lblk} are out of order`;
      if (child === 0 || child >= blocks) return `block ${lblk} names block ${child}`;
      if (seen.has(child)) return `block ${child} is named twice`;
      seen.add(child);
      const wrong =
        level < this.#levels
          ? this.#walk(child, level + 1, from, to, blocks, seen)
          : this.#leaf(child, from, to);
      if (wrong !== '') return wrong;
    }
    return '';
  }

  #leaf(lblk: number, from: number, to: number): string {
    // Without checksums a leaf whose names are all gone begins as an index block does: its limit tells them apart.
    if (this.#nodes.get(lblk)?.fault === '') return `block ${lblk} is an index block too deep`;
    const least = from - (from % 2);
    if ((this.#low.get(lblk) ?? least) < least) return `block ${lblk} holds a hash below its own`;
    if ((this.#high.get(lblk) ?? 0) > to) return `block ${lblk} holds a hash above its own`;
    return '';
  }
}

/** Puts the hash seed of the file system where the kernels look for it. */
export function setHashSeed(vol: Volume): void {
  vol.disk.u8.set(vol.sb.raw.subarray(F.S_HASH_SEED, F.S_HASH_SEED + 16), ABI_SEED);
}

/** Where the checksum of an index block lies, or -1 where it cannot be. */
function tailOf(vol: Volume, ptr: number, off: number): number {
  const limit = vol.disk.dv.getUint16(ptr + off + F.DX_LIMIT, true);
  const tail = off + limit * F.DX_ENTRY_SIZE;
  return tail + F.DX_TAIL_SIZE <= vol.sb.blockSize ? tail : -1;
}

function indexSum(vol: Volume, ptr: number, off: number, tail: number, seed: number): number {
  const count = vol.disk.dv.getUint16(ptr + off + F.DX_COUNT, true);
  const used = Math.min(off + count * F.DX_ENTRY_SIZE, vol.sb.blockSize);
  const crc = vol.sums.run(seed, ptr, used);
  return vol.sums.zeros(vol.sums.run(crc, ptr + tail, F.DX_TAIL_CHECKSUM), 4);
}

/** Whether an index block's checksum is right. */
export function indexSummed(vol: Volume, ptr: number, off: number, seed: number): boolean {
  const tail = tailOf(vol, ptr, off);
  if (tail < 0) return false;
  const stored = vol.disk.dv.getUint32(ptr + tail + F.DX_TAIL_CHECKSUM, true);
  return indexSum(vol, ptr, off, tail, seed) === stored;
}

export function sealIndex(vol: Volume, ptr: number, off: number, seed: number): void {
  const tail = tailOf(vol, ptr, off);
  if (!vol.sums.on || tail < 0) return;
  const sum = indexSum(vol, ptr, off, tail, seed);
  vol.disk.dv.setUint32(ptr + tail + F.DX_TAIL_CHECKSUM, sum, true);
}
