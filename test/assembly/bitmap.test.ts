// Goal: every bitmap kernel does what a loop over single bits does, for any address and range, and writes no byte
// that holds no bit of its range. Method: seeded maps of many shapes; ranges around bytes, words, 64-byte stretches
// and the end of the memory.

import { expect, test } from 'vitest';
import type { Kernels } from '../../ts/wasm.ts';
import { atEnd, DATA, eachBuild, type Random } from './builds.ts';

type Bits = boolean[];

function bitsOf(bytes: Uint8Array): Bits {
  return Array.from({ length: bytes.length * 8 }, (_, n) => ((bytes[n >> 3] >> (n & 7)) & 1) === 1);
}

function nextLoop(bits: Bits, from: number, to: number, wanted: boolean): number {
  for (let n = from; n < to; n++) if (bits[n] === wanted) return n;
  return to;
}

function runsLoop(bits: Bits, from: number, to: number): [number, number][] {
  const runs: [number, number][] = [];
  for (let n = from; n < to; n++) {
    if (!bits[n]) continue;
    if (n > from && bits[n - 1]) runs[runs.length - 1][1]++;
    else runs.push([n, 1]);
  }
  return runs;
}

function findLoop(bits: Bits, from: number, to: number, want: number): number {
  for (let n = from, run = 0; n < to; n++) {
    run = bits[n] ? 0 : run + 1;
    if (run === want) return n - want + 1;
  }
  return -1;
}

/** Maps as they occur: noise of any density, long runs, full and empty stretches with few exceptions. */
function someMap(random: Random, bytes: number): Uint8Array {
  const map = new Uint8Array(bytes);
  const set = (n: number) => (map[n >> 3] |= 1 << (n & 7));
  switch (random.below(5)) {
    case 0: {
      const density = random.below(256);
      for (let n = 0; n < bytes * 8; n++) if (random.below(256) < density) set(n);
      return map;
    }
    case 1: {
      for (let n = 0, on = false; n < bytes * 8; on = !on) {
        for (let left = random.below(200); left > 0 && n < bytes * 8; left--, n++) if (on) set(n);
      }
      return map;
    }
    case 2:
      return map.fill(random.pick([0, 255, 0xaa, 0x55]));
    case 3:
      map[random.below(bytes)] = 1 << random.below(8);
      return map;
    default:
      map.fill(255);
      map[random.below(bytes)] &= ~(1 << random.below(8));
      return map;
  }
}

interface Case {
  bits: Bits;
  ptr: number;
  from: number;
  to: number;
}

function* cases(k: Kernels, random: Random, count: number): Generator<Case> {
  for (let i = 0; i < count; i++) {
    const bytes = random.pick([1, 2, 7, 8, 9, 16, 63, 64, 65, 128, 129, 200, 256, 300]);
    const map = someMap(random, bytes);
    const limit = bytes * 8;
    const near = () => Math.min(limit, random.pick([0, limit, random.below(limit + 1), 64, 512]));
    const [from, to] = [near(), near()].sort((a, b) => a - b);
    yield { bits: bitsOf(map), ptr: atEnd(k, map, random.below(20)), from, to };
  }
}

function describeCase({ ptr, from, to }: Case): string {
  return `[${from}, ${to}) at ${ptr}`;
}

eachBuild('bitmap', (k, random) => {
  const e = k.exports;

  test('finds the next set and the next clear bit', () => {
    for (const c of cases(k, random, 1500)) {
      const found = [e.bitmapNextSet(c.ptr, c.from, c.to), e.bitmapNextClear(c.ptr, c.from, c.to)];
      const loop = [true, false].map((wanted) => nextLoop(c.bits, c.from, c.to, wanted));
      expect(found, describeCase(c)).toEqual(loop);
    }
  });

  test('lists the runs of set bits, as many as fit and no word more', () => {
    for (const c of cases(k, random, 1000)) {
      const runs = runsLoop(c.bits, c.from, c.to);
      const max = random.pick([runs.length, runs.length + 1, runs.length >> 1, 1, 0, 5000]);
      k.u32.fill(0xdeadbeef, DATA / 4, DATA / 4 + 2 * runs.length + 4);
      const n = e.bitmapRuns(c.ptr, c.from, c.to, DATA, max);
      expect(n, describeCase(c)).toBe(Math.min(runs.length, max));
      const listed = Array.from(k.u32.slice(DATA / 4, DATA / 4 + 2 * n));
      expect(listed, describeCase(c)).toEqual(runs.slice(0, n).flat());
      if (n === max) expect(k.u32[DATA / 4 + 2 * n]).toBe(0xdeadbeef);
    }
  });

  test('goes on with the next runs where the last list ended', () => {
    for (const c of cases(k, random, 300)) {
      const all: number[] = [];
      for (let from = c.from; ; ) {
        const n = e.bitmapRuns(c.ptr, from, c.to, DATA, 3);
        const part = Array.from(k.u32.slice(DATA / 4, DATA / 4 + 2 * n));
        all.push(...part);
        if (n < 3) break;
        from = part[4] + part[5];
      }
      expect(all, describeCase(c)).toEqual(runsLoop(c.bits, c.from, c.to).flat());
    }
  });

  test('counts the set bits', () => {
    for (const c of cases(k, random, 1500)) {
      const loop = c.bits.slice(c.from, c.to).filter(Boolean).length;
      expect(e.bitmapCount(c.ptr, c.from, c.to), describeCase(c)).toBe(loop);
    }
  });

  test('finds the first run of clear bits that is long enough', () => {
    for (const c of cases(k, random, 1500)) {
      const longest = Math.max(
        1,
        ...runsLoop(
          c.bits.map((bit) => !bit),
          c.from,
          c.to,
        ).map((r) => r[1]),
      );
      const wants = [1, 2, 8, 63, 64, 65, longest, longest + 1, 1 + random.below(200)];
      for (const want of wants) {
        const found = e.bitmapFindClear(c.ptr, c.from, c.to, want);
        const loop = findLoop(c.bits, c.from, c.to, want);
        if (found !== loop)
          expect.fail(`want ${want} in ${describeCase(c)}: ${found}, not ${loop}`);
      }
    }
  });

  test('sets and clears the bits of a range and no others', () => {
    for (const c of cases(k, random, 1500)) {
      const bytes = c.bits.length / 8;
      const value = random.below(2) === 1;
      (value ? e.bitmapSet : e.bitmapClear)(c.ptr, c.from, c.to - c.from);
      const loop = c.bits.map((bit, n) => (n >= c.from && n < c.to ? value : bit));
      expect(bitsOf(k.u8.slice(c.ptr, c.ptr + bytes)), describeCase(c)).toEqual(loop);
    }
  });
});
