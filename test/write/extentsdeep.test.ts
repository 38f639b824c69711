// Goal: deep trees changed in the middle stay sound at every step, also when the machine stops there; without space
// or with an odd tree, changes are refused whole or done whole; clusters shared with delayed blocks are counted
// right. Method: files of many extents that cannot merge; after steps a copy of the device is recovered and
// checked.

import { expect, test } from 'vitest';
import * as F from '../../assembly/format/ext4.ts';
import { Ext4Error } from '../../ts/errno.ts';
import { allocBlocks, freeBlocks } from '../../ts/ext4/balloc.ts';
import { CONVERT_CREDITS, convertBlocks, splitNeeds } from '../../ts/ext4/extentchange.ts';
import { shiftStep, startShift } from '../../ts/ext4/extentshift.ts';
import { childAt, extentAt, findPath, nodePtr } from '../../ts/ext4/extentwrite.ts';
import { sumFree } from '../../ts/ext4/groupwrite.ts';
import type { Inode } from '../../ts/ext4/inode.ts';
import { addBlocks, insertExtent, punchBlocksStep } from '../../ts/ext4/mapwrite.ts';
import { commit, step } from '../../ts/flow.ts';
import {
  change,
  e2fsck,
  Model,
  type Mounted,
  makeImage,
  mountImage,
  settle,
} from '../ext4/mapimage.ts';
import { need } from '../need.ts';
import { randomOf } from '../slow.ts';
import { alloc, collapse, convert, failAtStop, finish, punch, sectors, shift } from './extents.ts';
import { COLLAPSE, INSERT, KEEP, PUNCH, Subject, ZERO } from './fallocate.ts';
import { makeImage as makeSet } from './images.ts';

const seed = Number(process.env.SEED ?? 1 + Math.floor(Math.random() * 2 ** 31));
const ORACLES = need.tool('mke2fs', 'debugfs', 'e2fsck');
const EXT4 = '-t ext4 -b 1024';

/** Maps single blocks, every second one, by turns written and unwritten: none merges with another. */
function scatter(model: Model, count: number): void {
  const { fs, inode, blocks } = model;
  const each = 8;
  for (let i = 0; i < count; i += each) {
    const { pblk } = change(fs, 60, () => {
      const found = allocBlocks(fs.vol, 0, each, each);
      for (let k = 0; k < each; k++) {
        insertExtent(inode, 2 * (i + k), found.pblk + k, 1, k % 2 === 1);
      }
      addBlocks(inode, found.count);
      model.grow(2 * (i + each));
      return found;
    });
    for (let k = 0; k < each; k++) {
      blocks.set(2 * (i + k), { pblk: pblk + k, unwritten: k % 2 === 1 });
    }
  }
}

/** What fsck says of the device as it is, after our recovery. */
function afterCrash(m: Mounted): string {
  const again = mountImage(m.contents());
  again.fs.runSync(again.fs.unmount());
  return e2fsck(again.contents());
}

need.describe('deep trees', [ORACLES], () => {
  for (const forceMiss of [false, true]) {
    const mode = forceMiss ? ', everything missing first' : '';
    test(`ranges go, come and move in a tree of three levels${mode} (seed ${seed})`, () => {
      const roll = randomOf(seed);
      const m = mountImage(makeImage(EXT4, '96M', 1), { forceMiss });
      const model = new Model(m.fs, '/f0');
      const count = forceMiss ? 12_000 : 30_000;
      scatter(model, count);
      if (!forceMiss) expect(model.depth).toBe(3);
      const end = 2 * count;
      punch(model, 1001, 1001 + end / 10);
      expect(model.compare(m.fs)).toBe('');
      // An index node has 84 leaves of 84 extents: one loses its first leaves, and its own key.
      punch(model, 14_000, 15_000);
      settle(m.fs);
      expect(e2fsck(m.contents())).toBe('');
      collapse(model, Math.floor(end / 3), Math.floor(end / 3) + 4001);
      expect(model.compare(m.fs)).toBe('');
      shift(model, Math.floor(end / 2) - 1, 777);
      expect(model.compare(m.fs)).toBe('');
      for (let i = 0; i < 40; i++) {
        const lblk = roll(end);
        const what = roll(4);
        if (what === 0) punch(model, lblk, lblk + roll(900));
        else if (what === 1) alloc(model, lblk, 1 + roll(9), roll(2) === 0);
        else if (what === 2) convert(model, lblk, 1 + roll(500), roll(2) === 0);
        else shift(model, lblk, 1 + roll(100));
      }
      finish(m, model);
    });
  }

  test('every step leaves a sound tree, wherever the machine stops', () => {
    const m = mountImage(makeImage(`${EXT4} -J size=1`, '24M', 1));
    const { fs } = m;
    const model = new Model(fs, '/f0');
    scatter(model, 1600);
    expect(model.depth).toBe(2);
    settle(fs);
    let steps = 0;
    const cut = () => {
      fs.runSync(commit());
      if (steps++ % 4 === 0) expect([steps, afterCrash(m)]).toEqual([steps, '']);
    };
    const { inode } = model;
    while (fs.runSync(step(punchBlocksStep, inode, 501, 1300))) cut();
    for (const move of [
      { from: 1300, delta: -799 },
      { from: 301, delta: 5000 },
    ]) {
      const { blockSize } = fs.vol.sb;
      if (move.delta > 0) change(fs, 1, () => inode.setSize(inode.size + move.delta * blockSize));
      for (let at = startShift(move); at >= 0; cut()) {
        at = fs.runSync(step(shiftStep, inode, move, at));
      }
    }
    expect(steps).toBeGreaterThan(30);
    fs.runSync(fs.unmount());
    expect(e2fsck(m.contents())).toBe('');
  });

  test('a step that moves extents and fails leaves no trace', () => {
    const m = mountImage(makeImage(EXT4, '24M', 1));
    const { fs } = m;
    const model = new Model(fs, '/f0');
    scatter(model, 1600);
    change(fs, 1, () => model.inode.setSize(model.inode.size + 1024 * 999));
    punch(model, 2 * 600 - 100, 2 * 600);
    for (const move of [
      { from: 1200, delta: -99 },
      { from: 1001, delta: 999 },
    ]) {
      for (let at = startShift(move); at >= 0; ) {
        failAtStop(m, () => fs.runSync(step(shiftStep, model.inode, move, at)));
        at = fs.runSync(step(shiftStep, model.inode, move, at));
      }
    }
    fs.runSync(fs.unmount());
    expect(e2fsck(m.contents())).toBe('');
  });

  test('a leaf without entries is passed over and goes with what is around it', () => {
    for (const act of ['remove', 'punch', 'left', 'right'] as const) {
      const m = mountImage(makeImage(EXT4, '24M', 1));
      const { fs } = m;
      const model = new Model(fs, '/f0');
      scatter(model, 800);
      settle(fs);
      const { inode } = model;
      change(fs, 2, () => {
        const path = findPath(inode, 500);
        const leaf = path.at(-1)!.buffer!;
        const node = fs.vol.journal!.write(leaf, 0, 1024);
        const entries = fs.vol.dv.getUint16(node + F.EH_ENTRIES, true);
        fs.vol.dv.setUint16(node + F.EH_ENTRIES, 0, true);
        expect(entries).toBeGreaterThan(10);
        addBlocks(inode, -entries);
        expect(childAt(inode, nodePtr(inode, path[0]), path[0].at)).toBeGreaterThan(0);
      });
      if (act === 'remove') while (fs.runSync(step(punchBlocksStep, inode, 0, 2 ** 32))) {}
      else if (act === 'punch') while (fs.runSync(step(punchBlocksStep, inode, 3, 1500))) {}
      else {
        const move = act === 'left' ? { from: 2, delta: -1 } : { from: 3, delta: 55 };
        let last = -1;
        for (let at = startShift(move); at >= 0; ) {
          at = fs.runSync(step(shiftStep, inode, move, at));
          if (at >= 0) last = at;
        }
        expect(last).toBeGreaterThan(0);
      }
      const left = fs.runSync(step(() => findPath(inode, 1400).length));
      expect([act, left]).toEqual([act, act === 'remove' ? 1 : 3]);
      if (act === 'remove') expect(sectors(model)).toBe(0);
      const before = fs.runSync(step(lastUpTo, inode, 1400));
      if (act === 'punch') expect(before).toBe(2);
      fs.runSync(fs.unmount());
    }
  });
});

/** The first block of the last extent that begins at or before a block. */
function lastUpTo(inode: Inode, lblk: number): number {
  const leaf = findPath(inode, lblk).at(-1)!;
  return leaf.at < 0 ? -1 : extentAt(inode, nodePtr(inode, leaf), leaf.at).lblk;
}

/** Takes every free block, for nobody; returns them. */
function takeAll({ fs }: Mounted): { pblk: number; count: number }[] {
  const taken: { pblk: number; count: number }[] = [];
  while (fs.runSync(step(() => sumFree(fs.vol).clusters)) > 0) {
    const take = () => allocBlocks(fs.vol, 0, 4096, 1, { reserved: true });
    taken.push(change(fs, 2, take));
  }
  return taken;
}

function codeOf(run: () => unknown): string {
  try {
    run();
    return '';
  } catch (error) {
    if (error instanceof Ext4Error) return error.code;
    throw error;
  }
}

need.describe('no space for a node', [ORACLES], () => {
  test('what would split a full node is refused whole; what needs none is done', () => {
    const m = mountImage(makeImage(EXT4, '8M', 1));
    const { fs } = m;
    const model = new Model(fs, '/f0');
    const { inode } = model;
    for (const lblk of [0, 100, 200, 300]) model.insert(lblk, 50, true);
    expect(model.depth).toBe(0);
    const taken = takeAll(m);
    settle(fs);
    const needs = (lblk: number, count: number) =>
      fs.runSync(step(() => splitNeeds(inode, lblk, count)));
    for (const [lblk, count] of [
      [110, 5],
      [100, 49],
      [101, 49],
      [0, 1],
    ]) {
      expect(needs(lblk, count)).toBe(true);
      expect(codeOf(() => convert(model, lblk, count, true))).toBe('ENOSPC');
    }
    expect(codeOf(() => punch(model, 120, 130))).toBe('ENOSPC');
    expect(codeOf(() => shift(model, 333, 1))).toBe('ENOSPC');
    change(fs, 1, () => inode.setSize(350 * 1024));
    expect(model.compare(fs)).toBe('');
    expect(needs(100, 50)).toBe(false);
    convert(model, 100, 50, true);
    expect(needs(149, 1)).toBe(false);
    punch(model, 140, 150);
    punch(model, 200, 210);
    expect(model.compare(fs)).toBe('');
    for (const { pblk, count } of taken) {
      change(fs, 4, () => freeBlocks(fs.vol, pblk, count, false));
    }
    settle(fs);
    convert(model, 110, 5, false);
    punch(model, 120, 130);
    expect(model.depth).toBe(1);
    finish(m, model);
  });

  test('zero range writes zeroes where it cannot split, a little; more it refuses', () => {
    for (const o of [
      { dax: 'never' },
      { dax: 'always' },
      { dax: 'never', data: 'journal' },
    ] as const) {
      const s = new Subject(makeSet({ args: EXT4, size: 16 }), o);
      const { fs } = s;
      const m = { fs, bytes: new Uint8Array(0), contents: () => new Uint8Array(0) };
      for (let i = 0; i < 4; i++) expect(s.act(['write', 131072 * i, 65536, 1])).toBe(0);
      const written = s.map();
      const taken = takeAll(m);
      fs.runSync(commit());
      expect(s.act(['fallocate', ZERO, 131072 + 10 * 1024, 32768])).toBe(0);
      expect(s.act(['fallocate', ZERO, 262144 + 1024, 62 * 1024])).toBe('ENOSPC');
      const want = new Uint8Array(131072 * 3 + 65536);
      for (let i = 0; i < 4; i++) want.fill(1, 131072 * i, 131072 * i + 65536);
      want.fill(0, 131072 + 10 * 1024, 131072 + 10 * 1024 + 32768);
      expect(Buffer.compare(s.read(), want)).toBe(0);
      expect(s.map()).toEqual(written);
      for (const { pblk, count } of taken) {
        change(fs, 4, () => freeBlocks(fs.vol, pblk, count, false));
      }
      s.act(['remount']);
      expect(Buffer.compare(s.read(), want)).toBe(0);
      expect(s.finish()).toBe('');
    }
  });

  test('a punch that cannot split loses nothing, what was not written back neither', () => {
    const s = new Subject(makeSet({ args: EXT4, size: 16 }), { dax: 'never' });
    for (let i = 0; i < 4; i++) expect(s.act(['write', 131072 * i, 65536, 1])).toBe(0);
    expect(s.act(['fsync'])).toBe(0);
    const taken = takeAll({
      fs: s.fs,
      bytes: new Uint8Array(0),
      contents: () => new Uint8Array(0),
    });
    s.run(commit());
    expect(s.act(['write', 131072, 65536, 2])).toBe(0);
    for (const flags of [PUNCH | KEEP, COLLAPSE]) {
      expect(s.act(['fallocate', flags, 131072 + 1024, 8192])).toBe('ENOSPC');
    }
    expect(s.act(['fallocate', INSERT, 131072 + 1024, 8192])).toBe('ENOSPC');
    const want = new Uint8Array(131072 * 3 + 65536);
    for (let i = 0; i < 4; i++) want.fill(i === 1 ? 2 : 1, 131072 * i, 131072 * i + 65536);
    expect(Buffer.compare(s.read(), want)).toBe(0);
    for (const { pblk, count } of taken) {
      change(s.fs, 4, () => freeBlocks(s.fs.vol, pblk, count, false));
    }
    expect(s.act(['fallocate', PUNCH | KEEP, 131072 + 1024, 8192])).toBe(0);
    want.fill(0, 131072 + 1024, 131072 + 1024 + 8192);
    s.act(['remount']);
    expect(Buffer.compare(s.read(), want)).toBe(0);
    expect(s.finish()).toBe('');
  });

  test('a hole is not converted', () => {
    const m = mountImage(makeImage(EXT4, '8M', 1));
    const model = new Model(m.fs, '/f0');
    model.insert(10, 10, true);
    for (const lblk of [0, 9, 20, 5000]) {
      const run = () => convertBlocks(model.inode, lblk, 1, true);
      expect(codeOf(() => change(m.fs, CONVERT_CREDITS, run))).toBe('EUCLEAN');
    }
    finish(m, model);
  });
});

need.describe('clusters and delayed blocks', [ORACLES], () => {
  for (const bufferedIomap of [true, false]) {
    const path = bufferedIomap ? 'iomap' : 'bufferhead';
    test(`a cluster that is freed under delayed blocks is promised to them (${path})`, () => {
      const args = '-t ext4 -b 4096 -O bigalloc -C 16384';
      for (const flags of [PUNCH | KEEP, ZERO]) {
        const s = new Subject(makeSet({ args, size: 64 }), { dax: 'never', bufferedIomap });
        const free = () => s.run(s.fs.statfs('/')).bfree;
        expect(s.act(['write', 0, 4096, 1])).toBe(0);
        expect(s.act(['fsync'])).toBe(0);
        const before = free();
        expect(s.act(['write', 8192, 4096, 2])).toBe(0);
        expect(s.fs.vol.reserved).toBe(0);
        expect(s.act(['fallocate', flags, 0, 4096])).toBe(0);
        expect(s.fs.vol.reserved).toBe(flags === ZERO ? 0 : 1);
        expect(free()).toBe(before);
        expect(s.act(['fsync'])).toBe(0);
        expect(s.fs.vol.reserved).toBe(0);
        expect(free()).toBe(before);
        expect(s.blocks).toBe(32);
        expect(s.read()).toEqual(Uint8Array.from({ length: 12288 }, (_, i) => (i < 8192 ? 0 : 2)));
        expect(s.finish()).toBe('');
      }
    });
  }
});

need.describe('68: sparse files', [ORACLES], () => {
  test('a range of 16 TiB is punched, moved and cut by its extents alone', () => {
    const s = new Subject(makeSet({ args: '-t ext4 -b 4096', size: 16 }), { dax: 'never' });
    const end = 2 ** 44 - 8192;
    for (let i = 0; i < 8; i++) expect(s.act(['write', i * 2 ** 41 + 4096, 8192, 1])).toBe(0);
    expect(s.act(['trunc', end])).toBe(0);
    expect(s.act(['fsync'])).toBe(0);
    const { vol } = s.fs;
    const calls = vol.mappingCalls;
    expect(s.act(['fallocate', PUNCH | KEEP, 2 ** 40, 6 * 2 ** 41])).toBe(0);
    expect(s.act(['fallocate', COLLAPSE, 2 ** 40, 6 * 2 ** 41])).toBe(0);
    expect(s.act(['fallocate', INSERT, 4096, 2 ** 43])).toBe(0);
    expect(s.act(['fallocate', PUNCH | KEEP, 1, 2 ** 43])).toBe(0);
    expect(vol.mappingCalls - calls).toBeLessThan(40);
    expect(s.size).toBe(end - 6 * 2 ** 41 + 2 ** 43);
    expect(s.map()).toEqual([
      [2 ** 31 + 1, 2, false],
      [2 ** 29 + 2 ** 31 + 1, 2, false],
    ]);
    expect(s.finish()).toBe('');
  });
});
