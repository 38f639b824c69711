// Goal: sequences of writes, truncates and fallocate calls come out as the kernel's do: the same errno, size and contents
// after each, the same runs of blocks and st_blocks in the end; the kernel reads our image, we read the kernel's.
// Method: random sequences from a printed seed on one file, done by the kernel through a loop mount, and by us.

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

need.describe('as the kernel', [need.tool('mke2fs', 'debugfs', 'e2fsck'), need.loop()], () => {
  for (const [name, set] of Object.entries(SETS)) {
    test(`${name} (seed ${seed})`, () => {
      const ops = randomOps(randomOf(seed), set.unit);
      const image = makeImage(set);
      const want = byKernel(image, ops, set.options);
      const have = byUs(image, ops, { dax: 'never', ...set.ours });
      for (const [i, result] of have.results.entries()) {
        expect([i, ops[i], ...result]).toEqual([i, ops[i], ...want.results[i]]);
      }
      expect(fsck(have.image)).toBe('');
      expect(fsck(want.image)).toBe('');
      if (set.maps !== false) {
        expect(mapIn(have.image)).toEqual(mapIn(want.image));
        expect(have.blocks).toBe(want.blocks);
      }
      const read: FileOp[] = [['fsync']];
      expect(byKernel(have.image, read).results[0]).toEqual([0, ...want.results.at(-1)!.slice(1)]);
      expect(byUs(want.image, read, { dax: 'never' }).results[0].slice(1)).toEqual(
        want.results.at(-1)!.slice(1),
      );
    });
  }
});
