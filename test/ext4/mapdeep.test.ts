// Goal: extent trees of three and four levels, and block maps of all four, grow and shrink right; steps stay in bounds.
// Method: files of many extents that cannot merge, filled in and removed in any order, against a model and e2fsck.

import { expect, test } from 'vitest';
import * as F from '../../assembly/format/ext4.ts';
import { allocBlocks } from '../../ts/ext4/balloc.ts';
import { KIND_EXTENT } from '../../ts/ext4/extent.ts';
import { newNode } from '../../ts/ext4/mapspace.ts';
import { addBlocks, insertExtent, MAP_CREDITS } from '../../ts/ext4/mapwrite.ts';
import { need } from '../need.ts';
import { randomOf } from '../slow.ts';
import {
  change,
  debugfs,
  e2fsck,
  Model,
  type Mounted,
  makeImage,
  mountImage,
  settle,
} from './mapimage.ts';

const seed = Number(process.env.SEED ?? 1 + Math.floor(Math.random() * 2 ** 31));

/** Maps single blocks at the given places, several a step: a step has room for the nodes of a few. */
function scatter(model: Model, places: number[], each = 8): void {
  const { fs, inode } = model;
  for (let i = 0; i < places.length; i += each) {
    const some = places.slice(i, i + each);
    const { pblk } = change(fs, each === 1 ? MAP_CREDITS : 60, () => {
      const found = allocBlocks(fs.vol, 0, each, each);
      for (const [k, lblk] of some.entries()) insertExtent(inode, lblk, found.pblk + k, 1, false);
      addBlocks(inode, found.count);
      model.grow(Math.max(...some) + 1);
      return found;
    });
    for (const [k, lblk] of some.entries()) {
      model.blocks.set(lblk, { pblk: pblk + k, unwritten: false });
    }
  }
}

function shuffle(list: number[], roll: (n: number) => number): number[] {
  for (let i = list.length - 1; i > 0; i--) {
    const j = roll(i + 1);
    [list[i], list[j]] = [list[j], list[i]];
  }
  return list;
}

function check(m: Mounted, model: Model): void {
  expect(model.compare(m.fs)).toBe('');
  settle(m.fs);
  m.fs.runSync(m.fs.unmount());
  expect(e2fsck(m.contents())).toBe('');
}

need.describe('deep maps', [need.tool('mke2fs', 'debugfs', 'e2fsck')], () => {
  test('a tree filled from front to back has full leaves and three levels of nodes', () => {
    const m = mountImage(makeImage('-t ext4 -b 1024', '64M', 1));
    const model = new Model(m.fs, '/f0');
    const count = 4 * 84 * 84 + 400;
    scatter(
      model,
      Array.from({ length: count }, (_, i) => 3 * i + 7),
    );
    expect(model.depth).toBe(3);
    const leaves = Math.ceil(count / 84);
    const index = Math.ceil(leaves / 84);
    const nodes = leaves + index + Math.ceil(index / 84);
    expect(model.inode.u32(F.I_BLOCKS_LO) / 2).toBe(count + nodes);
    check(m, model);
    expect(debugfs(m.contents(), 'ex /f0')).toContain(` 3/ 3 `);
  });

  for (const forceMiss of [false, true]) {
    const mode = forceMiss ? ', everything missing first' : '';
    test(`a tree filled in any order, then cut in pieces${mode} (seed ${seed})`, () => {
      const roll = randomOf(seed);
      const m = mountImage(makeImage('-t ext4 -b 1024', '96M', 1), { forceMiss });
      const model = new Model(m.fs, '/f0');
      const count = forceMiss ? 6000 : 24_000;
      const places = Array.from({ length: count }, (_, i) => 2 * i + 1);
      scatter(model, shuffle(places, roll), 1);
      expect(model.depth).toBe(forceMiss ? 2 : 3);
      expect(model.compare(m.fs)).toBe('');
      for (const part of [0.9, 0.55, 0.2]) {
        model.remove(Math.floor(2 * count * part));
        expect(model.compare(m.fs)).toBe('');
        settle(m.fs);
        expect(fsckCopy(m)).toBe('');
      }
      scatter(model, [...new Set(Array.from({ length: 500 }, () => 2 * roll(count)))], 1);
      expect(model.compare(m.fs)).toBe('');
      model.remove(0);
      expect(model.depth).toBe(0);
      expect(model.inode.u32(F.I_BLOCKS_LO)).toBe(0);
      check(m, model);
    });
  }

  test(`filling every gap leaves one extent a leaf (seed ${seed})`, () => {
    const m = mountImage(makeImage('-t ext4 -b 1024', '64M', 1));
    const { fs } = m;
    const model = new Model(fs, '/f0');
    const roll = randomOf(seed);
    const found = change(fs, 10, () => allocBlocks(fs.vol, 8192 * 3, 3000, 3000));
    const order = shuffle(
      Array.from({ length: 3000 }, (_, i) => i),
      roll,
    );
    for (const i of order) {
      change(fs, 24, () => {
        insertExtent(model.inode, i, found.pblk + i, 1, i >= 1500);
        addBlocks(model.inode, 1);
        model.grow(i + 1);
      });
      model.blocks.set(i, { pblk: found.pblk + i, unwritten: i >= 1500 });
    }
    settle(fs);
    const shown = debugfs(m.contents(), 'ex /f0').matchAll(/^\s*(\d+)\/\s*\1\s+(\d+)\//gm);
    const runs = [...shown].map((line) => Number(line[2]));
    const leaves = runs.filter((place) => place === 1).length;
    // Extents merge within a leaf; one leaf holds the border of what is unwritten.
    expect(leaves).toBeGreaterThan(0);
    expect(runs.length).toBeLessThanOrEqual(leaves + 1);
    model.remove(0);
    check(m, model);
  });

  test('what comes in front of all there is gives every parent a new key, merged or not', () => {
    const m = mountImage(makeImage('-t ext4 -b 1024', '64M', 1));
    const { fs } = m;
    const model = new Model(fs, '/f0');
    const pblk = 8192 * 4 + 500;
    const put = (lblk: number, at: number) => {
      change(fs, MAP_CREDITS, () => {
        expect(allocBlocks(fs.vol, at, 1)).toEqual({ pblk: at, count: 1 });
        insertExtent(model.inode, lblk, at, 1, false);
        addBlocks(model.inode, 1);
        model.grow(lblk + 1);
      });
      model.blocks.set(lblk, { pblk: at, unwritten: false });
    };
    put(1000, pblk + 7);
    scatter(
      model,
      Array.from({ length: 800 }, (_, i) => 1002 + 2 * i),
    );
    expect(model.depth).toBe(2);
    for (let i = 1; i < 6; i++) {
      put(1000 - i, pblk + 7 - i);
      settle(fs);
      expect(fsckCopy(m)).toBe('');
    }
    put(500, pblk);
    put(400, pblk + 1);
    check(m, model);
  });

  test(`a tree as deep as can be is split, cut and emptied like any other (seed ${seed})`, () => {
    const roll = randomOf(seed);
    const m = mountImage(makeImage('-t ext4 -b 1024', '64M', 1));
    const model = new Model(m.fs, '/f0');
    const places = shuffle(
      Array.from({ length: 6000 }, (_, i) => 2 * i + 1),
      roll,
    );
    scatter(model, places.slice(0, 1200), 1);
    while (model.depth < 5) deepen(model);
    settle(m.fs);
    expect(fsckCopy(m)).toBe('');
    scatter(model, places.slice(1200), 1);
    expect(model.depth).toBe(5);
    expect(model.compare(m.fs)).toBe('');
    settle(m.fs);
    expect(fsckCopy(m)).toBe('');
    for (const from of [9000, 3001, 17]) {
      model.remove(from);
      expect(model.compare(m.fs)).toBe('');
      settle(m.fs);
      expect(fsckCopy(m)).toBe('');
    }
    model.remove(0);
    expect(model.depth).toBe(0);
    expect(model.inode.u32(F.I_BLOCKS_LO)).toBe(0);
    check(m, model);
  });

  for (const [name, mkfs, depths] of [
    ['1k', '-t ext2 -b 1024 -O large_file', [12, 12 + 256, 12 + 256 + 65536]],
    ['4k', '-t ext3 -b 4096', [12, 12 + 1024, 12 + 1024 + 1024 ** 2]],
  ] as const) {
    test(`block maps with ${name} blocks: each level, and both sides of each border`, () => {
      const m = mountImage(makeImage(mkfs, '64M', 1));
      const model = new Model(m.fs, '/f0');
      for (const border of depths) {
        for (const lblk of [border - 1, border, border + 1, border + 300]) model.append(lblk);
      }
      expect(model.inode.u32(F.I_BLOCK + 4 * 14)).not.toBe(0);
      expect(model.compare(m.fs)).toBe('');
      for (const border of [...depths].reverse()) {
        model.remove(border + 1);
        expect(model.compare(m.fs)).toBe('');
        settle(m.fs);
        expect(fsckCopy(m)).toBe('');
        model.remove(border);
        expect(model.compare(m.fs)).toBe('');
      }
      expect(model.inode.u32(F.I_BLOCK + 4 * 12)).toBe(0);
      check(m, model);
    });
  }

  test('a long block map goes in several steps, each of which fsck accepts', () => {
    const m = mountImage(makeImage('-t ext2 -b 1024', '64M', 1));
    const model = new Model(m.fs, '/f0');
    for (let lblk = 0; lblk < 9000; lblk++) model.append(lblk);
    expect(model.compare(m.fs)).toBe('');
    expect(model.remove(0)).toBeGreaterThan(2);
    check(m, model);
  });
});

/** Puts a level of one node between the root and its children. */
function deepen({ fs, inode }: Model): void {
  change(fs, 6, () => {
    const { dv, cache } = fs.vol;
    const { copy, zero } = cache.kernels.exports;
    const { ptr, pblk } = newNode(inode, 0, KIND_EXTENT);
    const root = inode.edit() + F.I_BLOCK;
    copy(ptr, root, F.I_BLOCK_SIZE);
    dv.setUint16(ptr + F.EH_MAX, 84, true);
    dv.setUint16(root + F.EH_ENTRIES, 1, true);
    dv.setUint16(root + F.EH_DEPTH, dv.getUint16(ptr + F.EH_DEPTH, true) + 1, true);
    const entry = root + F.EH_SIZE;
    zero(entry + F.EXT4_EXT_ENTRY_SIZE, 3 * F.EXT4_EXT_ENTRY_SIZE);
    dv.setUint32(entry + F.EI_LEAF_LO, pblk, true);
    dv.setUint16(entry + F.EI_LEAF_HI, 0, true);
  });
}

/** What e2fsck says of the device as it is, all being home: the superblock alone says that it is in use. */
function fsckCopy(m: Mounted): string {
  const bytes = m.contents();
  const again = mountImage(bytes);
  again.fs.runSync(again.fs.unmount());
  return e2fsck(again.contents());
}
