// A file of many pieces, and operations that change its map at all kinds of places: for tests that let them fail.

import { expect } from 'vitest';
import type { KindName } from './kinds.ts';
import { A, B, FOUL, Subject } from './subject.ts';

export interface Work {
  act(s: Subject): void;
  /** It only frees, or writes where there is room already. */
  never?: boolean;
  /** It moves data about: half of it may have moved. */
  moves?: boolean;
  /** Not on block maps. */
  extents?: boolean;
}

/** Positions are in units of blocks: 0-39 one extent, then 120 of one block, every second one; 300-339 unwritten. */
export const WORK: Record<string, Work> = {
  'a write into a hole': { act: (s) => s.write(45 * s.block + 100, 50, B) },
  'a write over many holes': { act: (s) => s.write(60 * s.block + 7, 25 * s.block, B) },
  'an append': { act: (s) => s.write(s.size, 5 * s.block, B) },
  'a write far behind the end': { act: (s) => s.write(9000 * s.block, 50, B) },
  'a write over data': { act: (s) => s.write(3 * s.block + 5, 20 * s.block, B), never: true },
  'a write into the middle of preallocated space': {
    act: (s) => s.write(310 * s.block, 3 * s.block, B),
    extents: true,
    never: true,
  },
  'a truncation in the middle': { act: (s) => s.trunc(20 * s.block + 9), never: true },
  'a truncation up': { act: (s) => s.trunc(9000 * s.block + 1), never: true },
  'a punch in the middle of an extent': { act: (s) => s.punch(10 * s.block, 2 * s.block + 99) },
  'a punch of many pieces': { act: (s) => s.punch(70 * s.block, 40 * s.block) },
  'zeroes in the middle of an extent': {
    act: (s) => s.zero(10 * s.block, 5 * s.block + 1),
    extents: true,
  },
  'blocks for all holes': { act: (s) => s.alloc(40 * s.block, 200 * s.block), extents: true },
  'a piece taken out': {
    act: (s) => s.collapse(16 * s.block, 16 * s.block),
    extents: true,
    moves: true,
  },
  'a piece put in': {
    act: (s) => s.insert(16 * s.block, 16 * s.block),
    extents: true,
    moves: true,
  },
};

export function prepare(kind: KindName): { image: Uint8Array; before: Uint8Array } {
  const s = new Subject(kind);
  const { block } = s;
  s.write(0, 40 * block, A);
  for (let i = 40; i < 280; i += 2) s.write(i * block, block, A + (i % 20));
  s.sync();
  if (s.kind.extents) s.alloc(300 * block, 40 * block);
  s.trunc(340 * block + 11);
  s.fsync();
  const before = s.read();
  s.close();
  return { image: s.image(), before };
}

/** Each byte is an old one or a new one. */
export function judge(got: Uint8Array, before: Uint8Array, after: Uint8Array, where: string): void {
  const least = Math.min(before.length, after.length);
  expect(got.length, where).toBeGreaterThanOrEqual(least);
  expect(got.length, where).toBeLessThanOrEqual(Math.max(before.length, after.length));
  const bad = got.findIndex((byte, i) => byte !== (before[i] ?? 0) && byte !== (after[i] ?? 0));
  if (bad >= 0) expect.fail(`${where}: byte ${bad} of ${got.length} is ${got[bad]}`);
  expect(got.includes(FOUL), where).toBe(false);
}
