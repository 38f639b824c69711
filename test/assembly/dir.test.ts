// Goal: searching, listing and checking directory blocks do what a walk over decoded entries does, and no block that
// breaks a rule passes the check. Method: seeded blocks of every size with deleted entries, names of every length and
// near misses; each rule broken one at a time; noise.

import { expect, test } from 'vitest';
import {
  ABI_NAME,
  ABI_RESULT,
  DIR_BAD_END,
  DIR_BAD_INODE,
  DIR_BAD_REC_LEN,
} from '../../assembly/abi.ts';
import * as F from '../../assembly/format/ext4.ts';
import type { Kernels } from '../../ts/wasm.ts';
import { DATA, eachBuild, MEMORY, type Random } from './builds.ts';

const INODES = 1000;

interface Entry {
  off: number;
  ino: number;
  name: Uint8Array;
}

/** Writes an entry at the end of the memory's block of `size` bytes. */
function put(k: Kernels, at: number, ino: number, rec: number, name: Uint8Array): void {
  k.dv.setUint32(at + F.DE_INODE, ino, true);
  k.dv.setUint16(at + F.DE_REC_LEN, rec, true);
  k.u8[at + F.DE_NAME_LEN] = name.length;
  k.u8.set(name, at + F.DE_NAME);
}

const minimum = (length: number) => Math.max(12, (F.DE_HEADER + length + 3) & ~3);

/** A block as ext4 may leave it; slack and the bytes behind names are noise. */
function someBlock(k: Kernels, random: Random, size: number): { ptr: number; entries: Entry[] } {
  const ptr = MEMORY - size;
  k.u8.set(random.bytes(size), ptr);
  const longest = random.pick([3, 16, 40, 255]);
  const entries: Entry[] = [];
  for (let off = 0; off < size; ) {
    const left = size - off;
    const name = someName(random, Math.min(left - 8, 1 + random.below(longest)), entries);
    const slack = random.below(3) === 0 ? 4 * random.below(20) : 0;
    let rec = Math.min(left, minimum(name.length) + slack);
    if (left - rec < 12) rec = left;
    const ino = random.below(5) === 0 ? 0 : 1 + random.below(INODES);
    put(k, ptr + off, ino, rec === 65536 ? random.pick([65535, 0]) : rec, name);
    if (ino > 0) entries.push({ off, ino, name });
    off += rec;
  }
  return { ptr, entries };
}

/** A new name, often one that differs from an earlier name in one byte. */
function someName(random: Random, length: number, entries: Entry[]): Uint8Array {
  const earlier = entries.length > 0 ? random.pick(entries).name : undefined;
  if (earlier === undefined || earlier.length > length || random.below(2) === 0) {
    return random.bytes(length);
  }
  return missName(random, earlier);
}

function missName(random: Random, name: Uint8Array): Uint8Array {
  const other = Uint8Array.from(name);
  other[random.below(other.length)] ^= 1 << random.below(8);
  return other;
}

function findLoop(entries: Entry[], name: Uint8Array): number {
  return entries.find((entry) => Buffer.compare(entry.name, name) === 0)?.off ?? -1;
}

const SIZES = [12, 24, 56, 100, 1024, 4096, 65536];

eachBuild('directories', (k, random) => {
  const e = k.exports;
  const find = (ptr: number, len: number, name: Uint8Array) => {
    k.u8.set(name, ABI_NAME);
    return e.dirFind(ptr, len, ABI_NAME, name.length);
  };

  test('every name is found where it is first, none that is not there', () => {
    for (let i = 0; i < 80; i++) {
      const size = random.pick(SIZES);
      const { ptr, entries } = someBlock(k, random, size);
      expect(e.dirCheck(ptr, size, INODES)).toBe(0);
      for (const { name } of entries.slice(-30)) {
        for (const wanted of [name, missName(random, name), name.subarray(0, name.length - 1)]) {
          const found = find(ptr, size, wanted);
          if (found !== findLoop(entries, wanted)) expect.fail(`${wanted} found at ${found}`);
        }
      }
    }
  });

  test('names of every length differ by any one byte', () => {
    for (let length = 1; length <= 255; length++) {
      const name = random.bytes(length);
      const ptr = MEMORY - minimum(length);
      put(k, ptr, 5, minimum(length), name);
      expect(find(ptr, minimum(length), name)).toBe(0);
      for (let i = 0; i < length; i++) {
        const other = Uint8Array.from(name);
        other[i] ^= 1 << random.below(8);
        if (find(ptr, minimum(length), other) !== -1) expect.fail(`byte ${i} of ${length}`);
      }
    }
  });

  test('a deleted entry is not found, whatever name it kept', () => {
    const ptr = MEMORY - 24;
    const name = random.bytes(4);
    put(k, ptr, 0, 12, name);
    put(k, ptr + 12, 7, 12, name);
    expect(find(ptr, 24, name)).toBe(12);
    put(k, ptr + 12, 0, 12, name);
    expect(find(ptr, 24, name)).toBe(-1);
  });

  test('a scan lists the live entries from any byte on, as many as fit', () => {
    for (let i = 0; i < 150; i++) {
      const size = random.pick(SIZES);
      const { ptr, entries } = someBlock(k, random, size);
      const from = random.pick([0, size, random.below(size), entries.at(-1)?.off ?? 0]);
      const max = random.pick([0, 1, 7, 10_000]);
      const expected = entries.map((entry) => entry.off).filter((off) => off >= from);
      const n = e.dirScan(ptr, size, from, DATA, max);
      expect(Array.from(k.u32.slice(DATA / 4, DATA / 4 + n))).toEqual(expected.slice(0, max));
    }
  });

  test('the check names what is wrong with an entry', () => {
    const ptr = MEMORY - 1024;
    const check = (off: number, change: (at: number) => void, size = 1024) => {
      put(k, ptr, 2, 12, Uint8Array.of(0x2e));
      put(k, ptr + 12, 2, 24, random.bytes(16));
      put(k, ptr + 36, 0, 12, random.bytes(3));
      put(k, ptr + 48, INODES, 1024 - 48, random.bytes(255));
      change(ptr + off);
      return 0 - e.dirCheck(ptr, size, INODES);
    };
    const recLen = (value: number) => (at: number) => k.dv.setUint16(at + 4, value, true);
    const nameLen = (value: number) => (at: number) => void (k.u8[at + 6] = value);
    const inode = (value: number) => (at: number) => k.dv.setUint32(at, value, true);
    expect(check(0, () => {})).toBe(0);
    for (const value of [0, 4, 8, 11, 13, 14, 65535]) {
      expect(check(0, recLen(value)), `rec_len ${value}`).toBe(DIR_BAD_REC_LEN);
    }
    expect(check(12, recLen(20))).toBe(DIR_BAD_REC_LEN);
    expect(check(12, nameLen(17))).toBe(DIR_BAD_REC_LEN);
    expect(check(36, nameLen(5))).toBe(DIR_BAD_REC_LEN);
    expect(check(36, nameLen(0))).toBe(0);
    expect(check(48, recLen(1024 - 44))).toBe(DIR_BAD_END);
    expect(check(48, recLen(1024 - 48 - 4))).toBe(DIR_BAD_END);
    expect(check(48, recLen(1024 - 48 - 8))).toBe(DIR_BAD_END);
    expect(check(48, recLen(65532))).toBe(DIR_BAD_END);
    expect(check(0, () => {}, 1020)).toBe(DIR_BAD_END);
    expect(check(0, inode(INODES + 1))).toBe(DIR_BAD_INODE);
    expect(check(48, inode(2 ** 32 - 1))).toBe(DIR_BAD_INODE);
  });

  test('the check takes checksum tails, index blocks and one entry of 64 KiB', () => {
    const tail = MEMORY - 12;
    const name = random.bytes(9);
    put(k, MEMORY - 4096, 9, 4084, name);
    put(k, tail, 0, 12, new Uint8Array(0));
    k.u8[tail + 7] = F.EXT4_FT_DIR_CSUM;
    k.u32[(tail + 8) / 4] = random.u32();
    expect(e.dirCheck(MEMORY - 4096, 4096, INODES)).toBe(0);
    expect(e.dirScan(MEMORY - 4096, 4096, 0, ABI_RESULT, 9)).toBe(1);
    put(k, MEMORY - 4096, 0, 4096, new Uint8Array(0));
    expect(e.dirCheck(MEMORY - 4096, 4096, INODES)).toBe(0);
    for (const rec of [65535, 0]) {
      put(k, MEMORY - 65536, 3, rec, name);
      expect(e.dirCheck(MEMORY - 65536, 65536, INODES)).toBe(0);
      expect(find(MEMORY - 65536, 65536, name)).toBe(0);
      expect(find(MEMORY - 65536, 65536, missName(random, name))).toBe(-1);
      expect(e.dirScan(MEMORY - 65536, 65536, 0, ABI_RESULT, 9)).toBe(1);
      expect(0 - e.dirCheck(MEMORY - 65536, 32768, INODES)).toBe(DIR_BAD_REC_LEN);
    }
    put(k, MEMORY - 65536, 3, 65533, name); // 65532, and 1 for bit 16: 131068
    expect(0 - e.dirCheck(MEMORY - 65536, 65536, INODES)).toBe(DIR_BAD_END);
  });

  test('the check ends on noise, and what it passes can be scanned', () => {
    for (let i = 0; i < 20_000; i++) {
      const size = 12 + random.below(60);
      const ptr = MEMORY - size;
      k.u8.set(random.bytes(size), ptr);
      for (let off = 0; off + 8 <= size; off += 12) {
        if (random.below(8) > 0) k.dv.setUint16(ptr + off + 4, 12 * (1 + random.below(2)), true);
        if (random.below(8) > 0) k.u8[ptr + off + 6] = random.below(5);
      }
      if (e.dirCheck(ptr, size, 2 ** 32 - 1) !== 0) continue;
      expect(e.dirScan(ptr, size, 0, ABI_RESULT, 100)).toBeLessThanOrEqual(size / 12);
    }
  });
});
