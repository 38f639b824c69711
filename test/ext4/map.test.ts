// Goal: mapping and removing blocks keeps extent trees and block maps, counts and bitmaps right, on every feature set.
// Method: random appends, inserts and removals against a model; then e2fsck -fn, and our reader on a fresh mount.

import { expect, test } from 'vitest';
import { need } from '../need.ts';
import { randomOf } from '../slow.ts';
import { e2fsck, Model, makeImage, mountImage, settle } from './mapimage.ts';

const SETS: [name: string, mkfs: string, size: string][] = [
  ['ext4 with 1k blocks', '-t ext4 -b 1024', '32M'],
  ['ext4 with 4k blocks', '-t ext4 -b 4096', '64M'],
  ['ext4 without 64bit and checksums', '-t ext4 -b 1024 -O ^64bit,^metadata_csum', '32M'],
  ['ext4 without a journal', '-t ext4 -b 1024 -O ^has_journal', '32M'],
  ['uninit_bg', '-t ext4 -b 1024 -O ^metadata_csum,uninit_bg', '32M'],
  ['meta_bg', '-t ext4 -b 1024 -O meta_bg,^resize_inode', '32M'],
  ['bigalloc with 4k blocks', '-t ext4 -b 4096 -O bigalloc -C 65536', '128M'],
  ['bigalloc with 1k blocks', '-t ext4 -b 1024 -O bigalloc -C 16384', '64M'],
  ['ext3', '-t ext3 -b 1024', '32M'],
  ['ext3 with 4k blocks', '-t ext3 -b 4096', '64M'],
  ['ext2', '-t ext2 -b 1024 -O large_file', '32M'],
];

need.describe('random maps', [need.tool('mke2fs', 'debugfs', 'e2fsck')], () => {
  for (const [name, mkfs, size] of SETS) {
    const seed = Number(process.env.SEED ?? 1 + Math.floor(Math.random() * 2 ** 31));
    for (const forceMiss of [false, true]) {
      const mode = forceMiss ? ', everything missing first' : '';
      test(`${name}${mode}: the tree is what was done to it (seed ${seed})`, () => {
        run(makeImage(mkfs, size), seed, forceMiss);
      });
    }
  }
});

function run(bytes: Uint8Array, seed: number, forceMiss: boolean): void {
  const roll = randomOf(seed);
  const m = mountImage(bytes, { forceMiss });
  const models = ['/f0', '/f1', '/f2'].map((path) => new Model(m.fs, path));
  for (let i = 0; i < (forceMiss ? 250 : 700); i++) {
    const model = models[roll(models.length)];
    act(model, roll);
    if (i % 97 === 0) for (const one of models) expect(one.compare(m.fs)).toBe('');
    if (i % 50 === 0) settle(m.fs);
  }
  finish(m, models);
}

function finish(m: ReturnType<typeof mountImage>, models: Model[]): void {
  expect(models.map((one) => one.compare(m.fs))).toEqual(models.map(() => ''));
  m.fs.runSync(m.fs.unmount());
  const bytes = m.contents();
  expect(e2fsck(bytes)).toBe('');
  const again = mountImage(bytes, { ro: true });
  expect(models.map((one) => one.compare(again.fs))).toEqual(models.map(() => ''));
  again.fs.runSync(again.fs.unmount());
}

/** One random change. Places are near the start, in the middle, or far out, so that maps are dense and sparse. */
function act(model: Model, roll: (n: number) => number): void {
  const { clusterBlocks, blockSize } = model.fs.vol.sb;
  const extents = model.inode.has(0x80000);
  const far = extents ? 2 ** 31 : Math.min(2 ** 24, (blockSize / 4) ** 3);
  const base = [0, 0, 100, 12 + blockSize / 4 - 5, 70_000, far][roll(6)];
  const lblk = base + roll(600);
  const what = roll(100);
  if (what < 60) {
    if (!model.blocks.has(lblk)) model.append(lblk);
  } else if (what < 95) {
    const start = Math.floor(lblk / clusterBlocks) * clusterBlocks;
    const count = 1 + roll(80);
    if (extents && model.free(start, count)) model.insert(start, count, roll(3) === 0);
  } else if (what < 99) model.remove(base + roll(700));
  else model.remove(0);
}
