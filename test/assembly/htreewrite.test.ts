// Goal: the three kernels of a leaf's split do what obvious loops do: records of live entries, their order, and entries
// packed without a gap, the last one reaching to the end. Method: seeded blocks with deleted entries and slack, all
// hash versions; data end with the memory, where a store too far traps.

import { expect, test } from 'vitest';
import { ABI_RESULT, ABI_SEED } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/ext4.ts';
import type { Kernels } from '../../ts/wasm.ts';
import { atEnd, DATA, eachBuild, MEMORY, type Random } from './builds.ts';

interface Entry {
  off: number;
  size: number;
  hash: number;
  /** Inode number, type and name, as hex. */
  what: string;
}

const roundUp = (n: number) => (n + 3) & ~3;

/** Writes a block of `size` bytes at `ptr`; its live entries, hashed one by one. */
function someLeaf(k: Kernels, random: Random, ptr: number, size: number, version: number): Entry[] {
  k.u8.set(random.bytes(size), ptr);
  const longest = random.pick([3, 20, 255]);
  const entries: Entry[] = [];
  for (let off = 0; off < size; ) {
    const left = size - off;
    const length = Math.min(left - 8, 1 + random.below(longest));
    let rec = Math.min(left, roundUp(8 + length) + 4 * random.below(8));
    if (left - rec < 12) rec = left;
    const live = random.below(5) > 0;
    k.dv.setUint32(ptr + off, live ? 1 + random.below(1000) : 0, true);
    k.dv.setUint16(ptr + off + F.DE_REC_LEN, rec === 65536 ? 65535 : rec, true);
    k.u8[ptr + off + F.DE_NAME_LEN] = length;
    if (live) entries.push(entryAt(k, ptr, off, version));
    off += rec;
  }
  return entries;
}

function entryAt(k: Kernels, ptr: number, off: number, version: number): Entry {
  const length = k.u8[ptr + off + F.DE_NAME_LEN];
  k.exports.dirHash(version, ptr + off + F.DE_NAME, length, ABI_SEED, ABI_RESULT);
  const hash = k.dv.getUint32(ABI_RESULT, true);
  return { off, size: roundUp(8 + length), hash, what: whatAt(k, ptr + off) };
}

function whatAt(k: Kernels, at: number): string {
  const ino = k.dv.getUint32(at, true);
  const end = at + F.DE_NAME + k.u8[at + F.DE_NAME_LEN];
  return `${ino} ${Buffer.from(k.u8.slice(at + F.DE_NAME_LEN, end)).toString('hex')}`;
}

function records(k: Kernels, ptr: number, count: number): Omit<Entry, 'what'>[] {
  return Array.from({ length: count }, (_, i) => ({
    off: k.dv.getUint16(ptr + 8 * i + 2, true),
    size: k.dv.getUint16(ptr + 8 * i, true),
    hash: k.dv.getUint32(ptr + 8 * i + 4, true),
  }));
}

const bare = ({ off, size, hash }: Entry) => ({ off, size, hash });
const byHash = (a: Entry, b: Entry) => a.hash - b.hash || a.off - b.off;

eachBuild('splitting a directory leaf', (k, random) => {
  const e = k.exports;

  test('records name hash, offset and size of each live entry, and sort by hash, then by offset', () => {
    for (let i = 0; i < 60; i++) {
      const size = random.pick([12, 1024, 4096, 65536]);
      const version = random.below(6);
      k.u8.set(random.bytes(16), ABI_SEED);
      const entries = someLeaf(k, random, DATA, size, version);
      const out = MEMORY - 8 * entries.length;
      expect(e.dirHashes(DATA, size, version, ABI_SEED, out)).toBe(entries.length);
      expect(records(k, out, entries.length)).toEqual(entries.map(bare));
      e.sort64(out, entries.length);
      expect(records(k, out, entries.length)).toEqual([...entries].sort(byHash).map(bare));
    }
  });

  test('a hash version that is not known is refused', () => {
    someLeaf(k, random, DATA, 1024, 0);
    k.dv.setUint32(DATA, 5, true);
    expect(e.dirHashes(DATA, 1024, 6, ABI_SEED, DATA + 4096)).toBe(-22);
  });

  test('any u64 sort upwards, equal ones and none too', () => {
    for (const count of [0, 1, 2, 3, 4, 13, 40, 121, 1000, 5461]) {
      const few = random.below(2) === 0;
      const values = Array.from({ length: count }, () => {
        const low = BigInt(few ? random.below(3) : random.u32());
        return (BigInt(few ? random.below(3) : random.u32()) << 32n) | low;
      });
      const bytes = new Uint8Array(BigUint64Array.from(values).buffer);
      const ptr = atEnd(k, bytes);
      e.sort64(ptr, count);
      const found = new BigUint64Array(k.u8.slice(ptr, ptr + 8 * count).buffer);
      expect([...found]).toEqual(values.sort((a, b) => (a < b ? -1 : a > b ? 1 : 0)));
    }
  });

  test('packed entries follow each other in the order of their records, the last to the end', () => {
    for (let i = 0; i < 60; i++) {
      const size = random.pick([12, 1024, 4096, 65536]);
      const entries = someLeaf(k, random, DATA, size, 1).sort(byHash);
      if (entries.length === 0) continue;
      const list = DATA + size;
      const count = e.dirHashes(DATA, size, 1, ABI_SEED, list);
      e.sort64(list, count);
      const to = MEMORY - size;
      e.dirPack(to, DATA, list, count, size);
      expect(e.dirCheck(to, size, 1000)).toBe(0);
      const found: string[] = [];
      for (let off = 0; off < size; ) {
        const raw = k.dv.getUint16(to + off + F.DE_REC_LEN, true);
        const last = found.length === count - 1;
        expect(raw === 65535 ? 65536 : raw).toBe(last ? size - off : entries[found.length].size);
        found.push(whatAt(k, to + off));
        off += raw === 65535 ? 65536 : raw;
      }
      expect(found).toEqual(entries.map((entry) => entry.what));
    }
  });

  test('a lone entry of a block of 64 KiB has the length that stands for all of it', () => {
    k.u8.set(random.bytes(32), DATA);
    k.dv.setUint8(DATA + F.DE_NAME_LEN, 9);
    k.dv.setUint16(DATA + 64, 20, true);
    k.dv.setUint16(DATA + 66, 0, true);
    const to = MEMORY - 65536;
    e.dirPack(to, DATA, DATA + 64, 1, 65536);
    expect(k.dv.getUint16(to + F.DE_REC_LEN, true)).toBe(65535);
    expect(whatAt(k, to)).toBe(whatAt(k, DATA));
  });
});
