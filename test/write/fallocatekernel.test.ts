// Goal: sequences of writes, truncates and fallocate calls come out as the kernel's do: the same errno, size and
// contents after each, the same runs of blocks and, but for a leaf, st_blocks in the end; the kernel reads our image,
// we read the kernel's. Method: random sequences from a printed seed on one file, done by the kernel through a loop
// mount, and by us.

import { expect, test } from 'vitest';
import type { MountOptions } from '../../ts/vfs/options.ts';
import { DEEP, need } from '../need.ts';
import { randomOf } from '../slow.ts';
import {
  byKernel,
  byUs,
  COLLAPSE,
  type FileOp,
  fsck,
  INSERT,
  KEEP,
  mapIn,
  type Outcome,
  PUNCH,
  ZERO,
} from './fallocate.ts';
import { makeImage } from './images.ts';

const seed = Number(process.env.SEED ?? 1 + Math.floor(Math.random() * 2 ** 31));
const OPS = DEEP ? 400 : 120;

interface Set {
  args: string;
  size: number;
  /** The unit of most positions. */
  unit: number;
  options?: string;
  /** Where the kernel zeroes and converts more than it was asked, maps may differ. */
  maps?: false;
  ours?: MountOptions;
}

const SETS: Record<string, Set> = {
  '4k blocks': { args: '-t ext4 -b 4096', size: 32, unit: 4096 },
  '4k blocks, bufferhead': {
    args: '-t ext4 -b 4096',
    size: 32,
    unit: 4096,
    ours: { bufferedIomap: false },
  },
  '4k blocks, dax': {
    args: '-t ext4 -b 4096',
    size: 32,
    unit: 4096,
    ours: { dax: 'always' },
    maps: false,
  },
  '1k blocks': { args: '-t ext4 -b 1024', size: 24, unit: 1024 },
  '2k blocks, no journal': { args: '-t ext4 -b 2048 -O ^has_journal', size: 24, unit: 2048 },
  'data=journal': {
    args: '-t ext4 -b 4096',
    size: 32,
    unit: 4096,
    options: 'data=journal',
    ours: { data: 'journal' },
    maps: false,
  },
  bigalloc: { args: '-t ext4 -b 4096 -O bigalloc -C 16384', size: 64, unit: 4096 },
  'block map': { args: '-t ext4 -b 1024 -O ^extent,^64bit', size: 24, unit: 1024 },
  'block map, 4k': { args: '-t ext3 -b 4096', size: 32, unit: 4096 },
  inline: { args: '-t ext4 -b 4096 -O inline_data -I 256', size: 32, unit: 4096 },
};

function randomOps(roll: (n: number) => number, unit: number): FileOp[] {
  const ops: FileOp[] = [];
  const pos = () => (roll(3) === 0 ? roll(80 * unit) : unit * roll(80));
  const len = () => (roll(3) === 0 ? 1 + roll(20 * unit) : unit * (1 + roll(20)));
  const kinds: (() => FileOp)[] = [
    () => ['write', pos(), len(), 1 + roll(255)],
    () => ['write', pos(), len(), 1 + roll(255)],
    () => ['write', pos(), len(), 1 + roll(255)],
    () => ['fallocate', roll(2) === 0 ? 0 : KEEP, pos(), len()],
    () => ['fallocate', ZERO | (roll(2) === 0 ? 0 : KEEP), pos(), len()],
    () => ['fallocate', PUNCH | KEEP, pos(), len()],
    () => ['fallocate', PUNCH | KEEP, pos(), len()],
    () => ['fallocate', COLLAPSE, 4 * unit * roll(20), 4 * unit * (1 + roll(4))],
    () => ['fallocate', INSERT, 4 * unit * roll(20), 4 * unit * (1 + roll(4))],
    () => ['fallocate', roll(2) === 0 ? COLLAPSE : INSERT, pos(), len()],
    () => ['trunc', pos()],
    () => [roll(4) === 0 ? 'remount' : 'fsync'],
  ];
  while (ops.length < OPS) ops.push(kinds[roll(kinds.length)]());
  return ops;
}

/** What random sequences seldom do: space behind the end, ranges across it, sizes that meet. */
function edgeOps(unit: number): FileOp[] {
  const ops: FileOp[] = [];
  for (const size of [0, 100, unit, unit + 100, 8 * unit, 8 * unit + 1]) {
    ops.push(['trunc', 0], ['fallocate', KEEP, 0, 64 * unit], ['write', 0, Math.max(1, size), 65]);
    ops.push(['fallocate', PUNCH | KEEP, unit, 40 * unit], ['fsync']);
    ops.push(['fallocate', ZERO | KEEP, size + 10, 5 * unit], ['trunc', size]);
    ops.push(['fallocate', KEEP, size, 20 * unit], ['write', size + unit, 10, 66], ['fsync']);
    ops.push(['fallocate', PUNCH | KEEP, size, 9 * unit], ['fallocate', ZERO, 3, 3 * unit]);
    ops.push(
      ['fallocate', 0, 30 * unit - 7, 9],
      ['remount'],
      ['fallocate', INSERT, 4 * unit, 4 * unit],
    );
    ops.push(['fallocate', COLLAPSE, 0, 4 * unit], ['fallocate', PUNCH | KEEP, 0, 64 * unit]);
  }
  return ops;
}

function expectSame(ops: FileOp[], have: Outcome, want: Outcome): void {
  for (const [i, result] of have.results.entries()) {
    expect([i, ops[i], ...result]).toEqual([i, ops[i], ...want.results[i]]);
  }
}

need.describe('as the kernel', [need.tool('mke2fs', 'debugfs', 'e2fsck'), need.loop()], () => {
  for (const [name, set] of Object.entries(SETS)) {
    test(`${name}: at the end of the file`, () => {
      const ops = edgeOps(set.unit);
      const image = makeImage(set);
      const want = byKernel(image, ops, set.options);
      const have = byUs(image, ops, { dax: 'never', ...set.ours });
      expectSame(ops, have, want);
      expect(fsck(have.image)).toBe('');
      if (set.maps !== false) expect(mapIn(have.image)).toEqual(mapIn(want.image));
    });

    test(`${name} (seed ${seed})`, () => {
      const ops = randomOps(randomOf(seed), set.unit);
      const image = makeImage(set);
      const want = byKernel(image, ops, set.options);
      const have = byUs(image, ops, { dax: 'never', ...set.ours });
      expectSame(ops, have, want);
      expect(fsck(have.image)).toBe('');
      expect(fsck(want.image)).toBe('');
      if (set.maps !== false) {
        expect(mapIn(have.image)).toEqual(mapIn(want.image));
        // Runs in other pieces may need a leaf where the kernel's need none, or the other way round.
        const node = name === 'bigalloc' ? 16384 : set.unit;
        const apart = Math.abs(have.blocks - want.blocks) * 512;
        expect(apart).toBeLessThanOrEqual(name.startsWith('block map') ? 0 : node);
      }
      const read: FileOp[] = [['fsync']];
      expect(byKernel(have.image, read).results[0]).toEqual([0, ...want.results.at(-1)!.slice(1)]);
      expect(byUs(want.image, read, { dax: 'never' }).results[0].slice(1)).toEqual(
        want.results.at(-1)!.slice(1),
      );
    });
  }

  test('extents that fit the inode again give their leaf back', () => {
    const image = makeImage(SETS['4k blocks']);
    const ops: FileOp[] = [['fallocate', 0, 0, 240 * 4096], ['fsync']];
    for (let i = 0; i < 7; i++) ops.push(['write', 40 * i * 4096, 4096, 65 + i], ['fsync']);
    const apart = byUs(image, ops, { dax: 'never' });
    expect(apart.blocks).toBe(byKernel(image, ops).blocks);
    expect(apart.blocks).toBe(242 * 8);
    ops.push(['write', 0, 241 * 4096, 75], ['fsync']);
    const joined = byUs(image, ops, { dax: 'never' });
    expect(joined.blocks).toBe(byKernel(image, ops).blocks);
    expect(joined.blocks).toBe(241 * 8);
    expect(fsck(joined.image)).toBe('');
  });
});
