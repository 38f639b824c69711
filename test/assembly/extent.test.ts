// Goal: looking up, batching and checking extent nodes do what a walk over decoded entries does; no node that breaks a
// rule passes the check. Method: seeded leaves and index nodes of every size; each rule broken one at a time.

import { expect, test } from 'vitest';
import * as A from '../../assembly/abi.ts';
import * as F from '../../assembly/format/ext4.ts';
import type { Kernels } from '../../ts/wasm.ts';
import { DATA, eachBuild, MEMORY, type Random } from './builds.ts';

const LAST = 2 ** 32 - 1;
const BLOCK = 4096;
const NODE = MEMORY - BLOCK;

interface Extent {
  lblk: number;
  len: number;
  pblk: number;
  kind: number;
}

interface Mapping {
  kind: number;
  len: number;
  pblk: number;
}

function putHeader(k: Kernels, entries: number, max: number, depth: number): void {
  k.dv.setUint16(NODE + F.EH_MAGIC, F.EXT4_EXT_MAGIC, true);
  k.dv.setUint16(NODE + F.EH_ENTRIES, entries, true);
  k.dv.setUint16(NODE + F.EH_MAX, max, true);
  k.dv.setUint16(NODE + F.EH_DEPTH, depth, true);
}

function entry(i: number): number {
  return NODE + F.EH_SIZE + i * F.EXT4_EXT_ENTRY_SIZE;
}

function putLeaf(k: Kernels, extents: Extent[], max = 340): void {
  putHeader(k, extents.length, max, 0);
  extents.forEach(({ lblk, len, pblk, kind }, i) => {
    k.dv.setUint32(entry(i) + F.EE_BLOCK, lblk, true);
    k.dv.setUint16(entry(i) + F.EE_LEN, kind === A.MAP_UNWRITTEN ? len + 32768 : len, true);
    k.dv.setUint16(entry(i) + F.EE_START_HI, Math.floor(pblk / 2 ** 32), true);
    k.dv.setUint32(entry(i) + F.EE_START_LO, pblk % 2 ** 32, true);
  });
}

/** An extent tree leaf as a disk may have it: with and without holes, near 0 and near the last block. */
function someLeaf(random: Random, count = random.pick([0, 1, 2, 3, 4, 5, 84, 339, 340])): Extent[] {
  const extents: Extent[] = [];
  const gaps = random.pick([1, 3, 100, 1_000_000]);
  let lblk = random.pick([0, 0, random.below(1000), 2 ** 31]);
  for (let i = 0; i < count; i++) {
    lblk += random.below(gaps);
    const kind = random.pick([A.MAP_WRITTEN, A.MAP_UNWRITTEN]);
    const longest = kind === A.MAP_WRITTEN ? 32768 : 32767;
    const len = random.pick([1, 2, longest, 1 + random.below(longest)]);
    const pblk = random.pick([random.u32(), random.below(65536) * 2 ** 32 + random.u32(), LAST]);
    extents.push({ lblk, len, pblk, kind });
    lblk += len;
  }
  return extents;
}

function lookupLoop(extents: Extent[], lblk: number): Mapping {
  for (const { lblk: first, len, pblk, kind } of extents) {
    if (lblk < first) return { kind: A.MAP_HOLE, len: first - lblk, pblk: 0 };
    const skip = lblk - first;
    if (skip < len) return { kind, len: len - skip, pblk: pblk + skip };
  }
  return { kind: A.MAP_HOLE, len: LAST - lblk, pblk: 0 };
}

function batchLoop(extents: Extent[], lblk: number, len: number, max: number): Mapping[] {
  const list: Mapping[] = [];
  const end = Math.min(lblk + len, LAST);
  while (lblk < end && list.length < max) {
    const map = lookupLoop(extents, lblk);
    list.push({ ...map, len: Math.min(map.len, end - lblk) });
    lblk += list[list.length - 1].len;
  }
  return list;
}

function read(k: Kernels, ptr = A.ABI_RESULT): Mapping {
  const [low, high, len, kind] = k.u32.subarray(ptr / 4, ptr / 4 + 4);
  return { kind, len, pblk: high * 2 ** 32 + low };
}

/** Blocks worth asking for: the edges of extents, and anything. */
function someBlock(random: Random, extents: Extent[]): number {
  const { lblk, len } = extents.length > 0 ? random.pick(extents) : { lblk: 0, len: 1 };
  const near = [lblk - 1, lblk, lblk + 1, lblk + len - 1, lblk + len, 0, LAST - 1, LAST];
  return Math.min(LAST, Math.max(0, random.pick([...near, random.u32()])));
}

eachBuild('extents', (k, random) => {
  const e = k.exports;

  test('a look-up in a leaf gives the extent, or the hole up to the next', () => {
    for (let i = 0; i < 300; i++) {
      const extents = someLeaf(random);
      putLeaf(k, extents);
      for (let j = 0; j < 30; j++) {
        const lblk = someBlock(random, extents);
        const kind = e.extentLookup(NODE, lblk, A.ABI_RESULT);
        const expected = lookupLoop(extents, lblk);
        expect({ ...read(k), kind }, `block ${lblk} of ${extents.length}`).toEqual(expected);
        expect(k.u32[A.ABI_RESULT / 4 + 3]).toBe(kind);
      }
    }
  });

  test('a batch covers its range without gaps, holes included, up to its limit', () => {
    for (let i = 0; i < 500; i++) {
      const extents = someLeaf(random);
      putLeaf(k, extents);
      const lblk = someBlock(random, extents);
      const len = random.pick([0, 1, 1000, 1_000_000, LAST]);
      const max = random.pick([0, 1, 3, 1000]);
      const n = e.extentMapBatch(NODE, lblk, len, DATA, max);
      const list = Array.from({ length: n }, (_, j) => read(k, DATA + j * A.MAP_SIZE));
      const expected = batchLoop(extents, lblk, len, max);
      expect(list, `[${lblk}, +${len})`).toEqual(expected);
    }
  });

  test('a look-up in an index gives the child and how far it reaches', () => {
    for (let i = 0; i < 300; i++) {
      const children = someLeaf(random, 1 + random.below(340));
      putHeader(k, children.length, 340, 1);
      children.forEach(({ lblk, pblk }, j) => {
        k.dv.setUint32(entry(j) + F.EI_BLOCK, lblk, true);
        k.dv.setUint32(entry(j) + F.EI_LEAF_LO, pblk % 2 ** 32, true);
        k.dv.setUint16(entry(j) + F.EI_LEAF_HI, Math.floor(pblk / 2 ** 32), true);
        k.dv.setUint16(entry(j) + F.EI_UNUSED, random.below(65536), true);
      });
      for (let j = 0; j < 30; j++) {
        const lblk = someBlock(random, children);
        const at = children.findLastIndex((child) => child.lblk <= lblk);
        const len = (children[at + 1]?.lblk ?? LAST) - lblk;
        expect(e.indexLookup(NODE, lblk, A.ABI_RESULT)).toBe(at);
        const { pblk, len: found } = read(k);
        expect([pblk, found]).toEqual([at < 0 ? 0 : children[at].pblk, len]);
      }
    }
  });

  test('the check passes every leaf within its bounds and none within tighter ones', () => {
    for (let i = 0; i < 500; i++) {
      const extents = someLeaf(random);
      putLeaf(k, extents);
      const first = extents[0]?.lblk ?? 0;
      const last = extents.at(-1);
      const end = last ? last.lblk + last.len : 0;
      expect(e.extentCheck(NODE, BLOCK, 0, first, end)).toBe(0);
      expect(e.extentCheck(NODE, BLOCK, -1, 0, 2 ** 32)).toBe(0);
      if (last === undefined) continue;
      expect(e.extentCheck(NODE, BLOCK, 0, first, end - 1)).toBe(-A.EXTENT_BAD_RANGE);
      if (first > 0)
        expect(e.extentCheck(NODE, BLOCK, 0, first + 1, 2 ** 32)).toBe(-A.EXTENT_BAD_RANGE);
    }
  });

  test('the check names each fault of a header', () => {
    const header = (entries: number, max: number, depth: number, want = -1, bytes = BLOCK) => {
      putLeaf(k, someLeaf(random, 3));
      putHeader(k, entries, max, depth);
      return 0 - e.extentCheck(NODE, bytes, want, 0, 2 ** 32);
    };
    expect(header(3, 340, 0)).toBe(0);
    expect(header(3, 3, 0, 0, 48)).toBe(0);
    expect(header(0, 4, 0, 0, 60)).toBe(0);
    expect(header(3, 5, 0, 0, 60)).toBe(A.EXTENT_BAD_MAX);
    expect(header(3, 341, 0)).toBe(A.EXTENT_BAD_MAX);
    expect(header(0, 0, 0)).toBe(A.EXTENT_BAD_MAX);
    expect(header(4, 3, 0)).toBe(A.EXTENT_BAD_ENTRIES);
    expect(header(65535, 340, 0)).toBe(A.EXTENT_BAD_ENTRIES);
    expect(header(0, 340, 1)).toBe(A.EXTENT_BAD_ENTRIES);
    expect(header(3, 340, 6)).toBe(A.EXTENT_BAD_DEPTH);
    expect(header(3, 340, 1, 0)).toBe(A.EXTENT_BAD_DEPTH);
    expect(header(3, 340, 0, 2)).toBe(A.EXTENT_BAD_DEPTH);
    putLeaf(k, []);
    k.dv.setUint16(NODE, 0xf30b, true);
    expect(0 - e.extentCheck(NODE, BLOCK, -1, 0, 2 ** 32)).toBe(A.EXTENT_BAD_MAGIC);
  });

  test('the check refuses extents that overlap, go back, are empty or pass the last block', () => {
    const leaf = (list: [number, number][]) => {
      putLeaf(
        k,
        list.map(([lblk, len]) => ({ lblk, len, pblk: 9, kind: A.MAP_WRITTEN })),
      );
      return 0 - e.extentCheck(NODE, BLOCK, 0, 0, 2 ** 32);
    };
    expect(
      leaf([
        [0, 5],
        [5, 1],
        [7, 2],
      ]),
    ).toBe(0);
    expect(
      leaf([
        [0, 5],
        [4, 1],
        [7, 2],
      ]),
    ).toBe(A.EXTENT_BAD_ORDER);
    expect(
      leaf([
        [0, 5],
        [7, 2],
        [7, 2],
      ]),
    ).toBe(A.EXTENT_BAD_ORDER);
    expect(
      leaf([
        [7, 2],
        [0, 5],
      ]),
    ).toBe(A.EXTENT_BAD_ORDER);
    expect(
      leaf([
        [0, 5],
        [5, 0],
      ]),
    ).toBe(A.EXTENT_BAD_LEN);
    expect(leaf([[LAST, 1]])).toBe(0);
    expect(leaf([[LAST, 2]])).toBe(A.EXTENT_BAD_RANGE);
    expect(
      leaf([
        [LAST - 10, 32768],
        [3, 1],
      ]),
    ).toBe(A.EXTENT_BAD_RANGE);
  });

  test('the check wants index entries that ascend and lie within the parent', () => {
    const index = (blocks: number[], first = 0, end = 2 ** 32) => {
      putHeader(k, blocks.length, 340, 2);
      blocks.forEach((block, i) => {
        k.dv.setUint32(entry(i), block, true);
      });
      return 0 - e.extentCheck(NODE, BLOCK, 2, first, end);
    };
    expect(index([0, 1, 2 ** 31, LAST])).toBe(0);
    expect(index([5, 9], 5, 10)).toBe(0);
    expect(index([5, 9], 6, 10)).toBe(A.EXTENT_BAD_RANGE);
    expect(index([5, 9], 5, 9)).toBe(A.EXTENT_BAD_RANGE);
    expect(index([5, 5])).toBe(A.EXTENT_BAD_ORDER);
    expect(index([5, 4])).toBe(A.EXTENT_BAD_ORDER);
  });

  test('the check ends and reads nothing outside the node on noise', () => {
    for (let i = 0; i < 2000; i++) {
      k.u8.set(random.bytes(128), NODE);
      k.u8.set(random.bytes(60), MEMORY - 60);
      if (random.below(4) > 0) k.dv.setUint16(MEMORY - 60, F.EXT4_EXT_MAGIC, true);
      k.dv.setUint16(MEMORY - 60 + F.EH_MAX, random.below(6), true);
      const fault = e.extentCheck(MEMORY - 60, 60, -1, 0, 2 ** 32);
      expect(fault).toBeLessThanOrEqual(0);
    }
  });
});
