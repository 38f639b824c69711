// No room for data, at every point: each operation on a file of many pieces, on images that have 0, 1, 2 ... free
// blocks left, for everyone or for extent trees only. What was accepted is written: a sync after it never fails. What
// fails says ENOSPC, every byte is the old one or the new one, and the image stays sound.

import { expect, test } from 'vitest';
import { keptClusters } from '../../ts/ext4/reserve.ts';
import { DEEP, need } from '../need.ts';
import { leave } from '../write/faulty.ts';
import { KINDS, type KindName } from './kinds.ts';
import { A, B, codeOf, FOUL, Subject, same } from './subject.ts';

const LONG = DEEP ? 3_600_000 : 300_000;
const TOOLS = [need.tool('mke2fs', 'e2fsck')];
const MOST = DEEP ? 16 : 3;
const LEAST = DEEP ? 16 : 1;
/** Every how many-th image is shown to e2fsck. */
const SAMPLE = DEEP ? 1 : 5;

const PATHS: KindName[] = [
  ...(['iomap 1k', 'nodelalloc 1k', 'bufferhead 1k', 'indirect 1k'] as const),
  ...(['journalled 1k', 'dax 1k', 'bigalloc'] as const),
];

interface Work {
  act(s: Subject): void;
  /** It only frees, or writes where there is room already. */
  never?: boolean;
  /** It moves data about: half of it may have moved. */
  moves?: boolean;
  /** Not on block maps. */
  extents?: boolean;
}

/** Positions are in units of blocks: 0-39 one extent, then 120 of one block, every second one; 300-339 unwritten. */
const WORK: Record<string, Work> = {
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

function prepare(kind: KindName): { image: Uint8Array; before: Uint8Array } {
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

/** Images with less and less room. */
function starts(kind: KindName, image: Uint8Array): { image: Uint8Array; free: number }[] {
  const list: number[] = [];
  const found: { image: Uint8Array; free: number }[] = [];
  const s = new Subject(kind, { image, flags: 0 });
  const kept = keptClusters(s.fs.vol);
  s.close();
  for (let n = 0; n < LEAST; n++) list.push(n);
  for (let n = 0; n < MOST; n++) list.push(kept + n);
  for (const n of new Set(list)) found.push({ image: leave(image, () => n), free: n });
  return found;
}

function judge(got: Uint8Array, before: Uint8Array, after: Uint8Array, where: string): void {
  const least = Math.min(before.length, after.length);
  expect(got.length, where).toBeGreaterThanOrEqual(least);
  expect(got.length, where).toBeLessThanOrEqual(Math.max(before.length, after.length));
  const bad = got.findIndex((byte, i) => byte !== (before[i] ?? 0) && byte !== (after[i] ?? 0));
  if (bad >= 0) expect.fail(`${where}: byte ${bad} of ${got.length} is ${got[bad]}`);
  expect(got.includes(FOUL), where).toBe(false);
}

let tried = 0;

/** Every operation at every n; how often there was no room. */
function everywhere(kind: KindName): { failed: number; done: number } {
  const { image, before } = prepare(kind);
  const list = starts(kind, image);
  const counts = { failed: 0, done: 0 };
  for (const [name, { act, never, moves, extents }] of Object.entries(WORK)) {
    if (extents && !KINDS[kind].extents) continue;
    const plain = new Subject(kind, { image, flags: 2 });
    act(plain);
    const after = plain.read();
    for (const start of list) {
      const where = `${kind}, ${name}, ${start.free} clusters free`;
      const s = new Subject(kind, { image: start.image, flags: 2 });
      same(s.read(), before, where);
      const code = codeOf(() => act(s));
      counts[code === '' ? 'done' : 'failed']++;
      expect(never ? [''] : ['', 'ENOSPC'], where).toContain(code);
      if (code === '') same(s.read(), after, where);
      else if (!moves) judge(s.read(), before, after, where);
      expect(
        codeOf(() => s.fsync()),
        `${where}: an fsync of what was accepted`,
      ).toBe('');
      if (tried++ % SAMPLE === 0) s.finish(undefined, where);
      else s.close();
    }
  }
  return counts;
}

need.describe('an image with n free blocks', TOOLS, () => {
  for (const kind of PATHS) {
    test(
      `${kind}: what is accepted is written, what is not leaves each byte old or new`,
      () => {
        const { failed, done } = everywhere(kind);
        expect(failed, 'operations without room').toBeGreaterThan(3);
        expect(done, 'operations with room').toBeGreaterThan(14);
      },
      LONG,
    );
  }
});
