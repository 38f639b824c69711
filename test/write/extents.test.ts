// Goal: extent trees and block maps that are changed in the middle stay what was done to them: conversions, holes,
// shifts, runs, at any depth, with every map and with clusters; a step that fails leaves no trace.
// Method: random changes against a model of the map; e2fsck -fn and our reader on a fresh mount; single blocks left.

import { expect, test } from 'vitest';
import * as F from '../../assembly/format/ext4.ts';
import { allocBlocks } from '../../ts/ext4/balloc.ts';
import { prepareShift, shiftStep } from '../../ts/ext4/extentshift.ts';
import { addBlocks, insertExtent, MAP_CREDITS } from '../../ts/ext4/mapwrite.ts';
import { step } from '../../ts/flow.ts';
import { change, Model, type Mounted, makeImage, mountImage, settle } from '../ext4/mapimage.ts';
import { need } from '../need.ts';
import { randomOf } from '../slow.ts';
import {
  alloc,
  collapse,
  convert,
  failAtStop,
  finish,
  punch,
  sectors,
  sectorsOf,
  shift,
  shown,
} from './extents.ts';

const seed = Number(process.env.SEED ?? 1 + Math.floor(Math.random() * 2 ** 31));
const ORACLES = need.tool('mke2fs', 'debugfs', 'e2fsck');

const SETS: [mkfs: string, size: string][] = [
  ['-t ext4 -b 1024', '32M'],
  ['-t ext4 -b 4096', '64M'],
  ['-t ext4 -b 1024 -O bigalloc -C 16384', '64M'],
  ['-t ext4 -b 4096 -O bigalloc -C 65536', '128M'],
  ['-t ext4 -b 1024 -O ^has_journal,^metadata_csum', '32M'],
  ['-t ext3 -b 1024', '32M'],
  ['-t ext2 -b 4096', '64M'],
];

need.describe('random changes', [ORACLES], () => {
  for (const [mkfs, size] of SETS) {
    for (const forceMiss of [false, true]) {
      const mode = forceMiss ? ', everything missing first' : '';
      test(`maps are what was done to them${mode}: ${mkfs} (seed ${seed})`, () => {
        const m = mountImage(makeImage(mkfs, size, 2), { forceMiss });
        const models = ['/f0', '/f1'].map((path) => new Model(m.fs, path));
        const roll = randomOf(seed);
        for (let i = 0; i < (forceMiss ? 200 : 600); i++) {
          act(m, models[roll(2)], roll);
          if (i % 60 === 0) {
            settle(m.fs);
            for (const model of models) expect(model.compare(m.fs)).toBe('');
          }
        }
        const bytes = finish(m, ...models);
        const again = mountImage(bytes);
        const gone = models.map(({ path }) => new Model(again.fs, path));
        for (const model of gone) {
          const end = Math.ceil(model.inode.size / model.fs.vol.sb.blockSize);
          punch(model, 0, end);
          expect(sectors(model)).toBe(0);
        }
        finish(again, ...gone);
      });
    }
  }
});

/** Takes a range out or puts one in, whole clusters, before the end of the file. */
function move(model: Model, lblk: number, roll: (n: number) => number): void {
  const { clusterBlocks, blockSize } = model.fs.vol.sb;
  const from = lblk - (lblk % clusterBlocks);
  const delta = clusterBlocks * (1 + roll(roll(3) === 0 ? 1000 : 30));
  const end = Math.ceil(model.inode.size / blockSize);
  if (roll(2) === 0) {
    if (end + delta < 2 ** 32 - 1 && from < end) shift(model, from, delta);
  } else if (from + delta < end) collapse(model, from, from + delta);
}

/** One random change: blocks are allocated, punched or converted near the start, in the middle or far out; at times it
 *  fails first. */
function act(m: Mounted, model: Model, roll: (n: number) => number): void {
  const extents = model.inode.has(F.EXT4_EXTENTS_FL);
  const { blockSize } = model.fs.vol.sb;
  const far = extents ? 2 ** 31 : Math.min(2 ** 24, (blockSize / 4) ** 3);
  const lblk = [0, 0, 0, 100, 12 + blockSize / 4 - 5, 70_000, far][roll(7)] + roll(700);
  const what = roll(100);
  const some = 1 + roll(roll(4) === 0 ? 300 : 12);
  const wide = 1 + roll(roll(4) === 0 ? 600 : 20);
  const unwritten = extents && roll(2) === 0;
  if (what >= 88 && extents) return move(model, lblk, roll);
  const run = () => {
    if (what < 50) alloc(model, lblk, some, unwritten);
    else if (what < 75 || !extents) punch(model, lblk, lblk + wide);
    else convert(model, lblk, some, unwritten);
  };
  if (roll(10) === 0) failAtStop(m, run);
  else run();
  const nodes = sectors(model) - sectorsOf(model);
  expect(nodes).toBeGreaterThanOrEqual(0);
}

need.describe('moving', [ORACLES], () => {
  test('what was put apart and comes together again is one extent', () => {
    const m = mountImage(makeImage('-t ext4 -b 1024', '16M', 1));
    const model = new Model(m.fs, '/f0');
    model.insert(0, 40, false);
    shift(model, 20, 7);
    settle(m.fs);
    expect(shown(m.contents())).toEqual([
      [0, 20, false],
      [27, 20, false],
    ]);
    shift(model, 27, -7);
    expect(shown(finish(m, model))).toEqual([[0, 40, false]]);
  });

  test('nothing moves past the last block, and nothing onto what is there', () => {
    const m = mountImage(makeImage('-t ext4 -b 1024', '16M', 1));
    const { fs } = m;
    const model = new Model(fs, '/f0');
    model.insert(0, 10, false);
    model.insert(2 ** 32 - 20, 10, true);
    const codeOf = (fn: () => unknown) => {
      try {
        fn();
        return '';
      } catch (error) {
        return (error as { code: string }).code;
      }
    };
    for (const delta of [10, 4000]) {
      const far = { from: 5, delta };
      expect(codeOf(() => fs.runSync(step(prepareShift, model.inode, far)))).toBe('EFBIG');
      expect(
        codeOf(() => fs.runSync(step(shiftStep, model.inode, { ...far, from: 0 }, 2 ** 32 - 1))),
      ).toBe('EFBIG');
    }
    const onto = { from: 2 ** 32 - 20, delta: 15 - 2 ** 32 };
    expect(codeOf(() => fs.runSync(step(shiftStep, model.inode, onto, onto.from)))).toBe('EUCLEAN');
    shift(model, 5, 9);
    finish(m, model);
  });
});

need.describe('conversion', [ORACLES], () => {
  test('an extent is split where its state changes, and one again when it is the same', () => {
    const m = mountImage(makeImage('-t ext4 -b 1024', '16M', 1));
    const model = new Model(m.fs, '/f0');
    model.insert(100, 100, true);
    const want: [number, number, (number | boolean)[][]][] = [
      [
        120,
        10,
        [
          [100, 20, true],
          [120, 10, false],
          [130, 70, true],
        ],
      ],
      [
        130,
        5,
        [
          [100, 20, true],
          [120, 15, false],
          [135, 65, true],
        ],
      ],
      [
        115,
        5,
        [
          [100, 15, true],
          [115, 20, false],
          [135, 65, true],
        ],
      ],
      [
        100,
        1,
        [
          [100, 1, false],
          [101, 14, true],
          [115, 20, false],
          [135, 65, true],
        ],
      ],
      [
        199,
        1,
        [
          [100, 1, false],
          [101, 14, true],
          [115, 20, false],
          [135, 64, true],
          [199, 1, false],
        ],
      ],
      [
        101,
        14,
        [
          [100, 35, false],
          [135, 64, true],
          [199, 1, false],
        ],
      ],
      [135, 64, [[100, 100, false]]],
    ];
    for (const [lblk, count, extents] of want) {
      convert(model, lblk, count, true);
      settle(m.fs);
      expect(shown(m.contents())).toEqual(extents);
    }
    convert(model, 110, 80, false);
    settle(m.fs);
    expect(shown(m.contents())).toEqual([
      [100, 10, false],
      [110, 80, true],
      [190, 10, false],
    ]);
    finish(m, model);
  });

  for (const forceMiss of [false, true]) {
    for (const mkfs of [
      '-t ext4 -b 1024',
      '-t ext4 -b 4096',
      '-t ext4 -b 1024 -O bigalloc -C 16384',
    ]) {
      const mode = forceMiss ? ', everything missing first' : '';
      test(`random conversions${mode}: ${mkfs} (seed ${seed})`, () => {
        const roll = randomOf(seed);
        const m = mountImage(makeImage(mkfs, '64M', 1), { forceMiss });
        const model = new Model(m.fs, '/f0');
        for (let i = 0; i < 40; i++) {
          const start = 16 * roll(600);
          const count = 1 + roll(300);
          if (model.free(start, count)) model.insert(start, count, roll(2) === 0);
        }
        for (let i = 0; i < (forceMiss ? 150 : 500); i++) {
          convert(model, roll(10_000), 1 + roll(roll(5) === 0 ? 400 : 20), roll(2) === 0);
          if (i % 50 === 0) settle(m.fs);
          if (i % 100 === 0) expect(model.compare(m.fs)).toBe('');
        }
        const bytes = finish(m, model);
        const have = shown(bytes);
        const most = have[have.length - 1][0];
        expect(have.length).toBeGreaterThan(20);
        expect(most).toBeLessThan(11_000);
      });
    }
  }

  test('no extent gets longer than its state allows', () => {
    const m = mountImage(
      makeImage('-t ext4 -b 1024 -G 16 -O sparse_super2 -E num_backup_sb=0', '128M', 1),
    );
    const model = new Model(m.fs, '/f0');
    const { fs, inode } = model;
    for (let group = 7; group < 15; group++) {
      const lblk = 8192 * (group - 7);
      change(fs, MAP_CREDITS, () => {
        const pblk = fs.vol.sb.groupStart(group);
        expect(allocBlocks(fs.vol, pblk, 8192)).toEqual({ pblk, count: 8192 });
        insertExtent(inode, lblk, pblk, 8192, false);
        addBlocks(inode, 8192);
        model.grow(lblk + 8192);
        for (let i = 0; i < 8192; i++)
          model.blocks.set(lblk + i, { pblk: pblk + i, unwritten: false });
      });
    }
    const all = (): number[] => {
      settle(fs);
      return shown(m.contents()).map(([, len]) => len);
    };
    expect(all()).toEqual([32768, 32768]);
    convert(model, 0, 65536, false);
    expect(all()).toEqual([32767, 1, 32767, 1]);
    convert(model, 5, 60_000, true);
    convert(model, 0, 65536, true);
    const lengths = all();
    expect(lengths.reduce((a, b) => a + b)).toBe(65536);
    expect(lengths.length).toBeLessThanOrEqual(6);
    finish(m, model);
  });
});
