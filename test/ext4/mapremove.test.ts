// Goal: removal takes what one handle may and goes on; freed metadata is never written over what follows it; counts of
// clusters and of huge files are as the format wants them.
// Method: one extent over many groups, directories and crashes by copying the device, clusters used by halves.

import { expect, test } from 'vitest';
import * as F from '../../assembly/format/ext4.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import { Ext4Error } from '../../ts/errno.ts';
import { allocBlocks } from '../../ts/ext4/balloc.ts';
import { sumFree } from '../../ts/ext4/groupwrite.ts';
import {
  addBlocks,
  appendBlock,
  insertExtent,
  isMetadata,
  MAP_CREDITS,
  MAP_MORE_CREDITS,
  removeBlocksStep,
} from '../../ts/ext4/mapwrite.ts';
import { commit, step } from '../../ts/flow.ts';
import { mountVfs } from '../../ts/vfs/filesystem.ts';
import { need } from '../need.ts';
import { randomOf, slowDevice } from '../slow.ts';
import {
  change,
  debugfs,
  e2fsck,
  inodeAt,
  Model,
  type Mounted,
  makeImage,
  mountImage,
  settle,
} from './mapimage.ts';

const EXT4 = '-t ext4 -b 1024';

function freeClusters(m: Mounted): number {
  return m.fs.runSync(step(() => sumFree(m.fs.vol).clusters));
}

function finish(m: Mounted): void {
  m.fs.runSync(m.fs.unmount());
  expect(e2fsck(m.contents())).toBe('');
}

/** Another mount of what is on the device now, which recovers it. */
function crash(m: Mounted): Mounted {
  return mountImage(m.contents());
}

need.describe('removal in steps', [need.tool('mke2fs', 'debugfs', 'e2fsck')], () => {
  test('one extent over many groups goes in steps that each leave a sound tree', () => {
    const m = mountImage(
      makeImage(`${EXT4} -g 256 -G 256 -N 1024 -O sparse_super2 -E num_backup_sb=0`, '48M', 1),
    );
    const model = new Model(m.fs, '/f0');
    const { fs, inode } = model;
    const start = 200 * 100;
    const total = 256 * 90;
    for (let done = 0; done < total; ) {
      done += change(fs, MAP_CREDITS, () => {
        const { pblk, count } = allocBlocks(fs.vol, start + done, 256);
        insertExtent(inode, done, pblk, count, false);
        addBlocks(inode, count);
        model.grow(done + count);
        return count;
      });
    }
    expect(inode.u16(F.I_BLOCK + F.EH_ENTRIES)).toBe(1);
    settle(fs);
    let steps = 0;
    while (fs.runSync(step(removeBlocksStep, inode, 0))) {
      steps++;
      expect(inode.u16(F.I_BLOCK + F.EH_ENTRIES)).toBe(1);
      fs.runSync(commit());
      if (steps % 2 === 0) finish(crash(m));
    }
    expect(steps).toBeGreaterThan(4);
    expect(inode.u32(F.I_BLOCKS_LO)).toBe(0);
    change(fs, 1, () => inode.setSize(0));
    finish(m);
  });

  test('what is left when the machine stops between two steps is sound, and goes later', () => {
    for (const mkfs of [EXT4, '-t ext3 -b 1024']) {
      const m = mountImage(makeImage(mkfs, '32M', 2));
      const model = new Model(m.fs, '/f0');
      const other = new Model(m.fs, '/f1');
      // By turns, so that no two blocks of a file are neighbours.
      for (let i = 0; i < 700; i++) {
        model.append(2 * i);
        other.append(2 * i);
      }
      let steps = 1;
      while (m.fs.runSync(step(removeBlocksStep, model.inode, 0))) {
        steps++;
        m.fs.runSync(commit());
        const again = crash(m);
        const rest = inodeAt(again.fs, '/f0');
        if (steps % 3 === 0) while (again.fs.runSync(step(removeBlocksStep, rest, 0))) {}
        finish(again);
      }
      expect(steps).toBeGreaterThan(2);
      m.fs.runSync(m.fs.unmount());
    }
  });

  test('what lies before the cut stays, wherever the cut is', () => {
    const m = mountImage(makeImage(EXT4, '16M', 1));
    const model = new Model(m.fs, '/f0');
    model.insert(10, 30, false);
    model.insert(100, 20, true);
    for (const from of [2 ** 32 - 2, 200, 120, 119, 110, 100, 99, 40, 39, 25, 11]) {
      model.remove(from);
      expect(model.compare(m.fs)).toBe('');
      expect(model.inode.u32(F.I_BLOCKS_LO) / 2).toBe(model.blocks.size);
    }
    expect(model.blocks.size).toBe(1);
    finish(m);
  });

  test('a short symlink, a device and inline data have no blocks to remove', () => {
    const m = mountImage(makeImage(`${EXT4} -O inline_data -I 256`, '8M', 1));
    const inode = inodeAt(m.fs, '/f0');
    const before = [...Array(15)].map((_, i) => inode.u32(F.I_BLOCK + 4 * i));
    change(m.fs, 1, () => {
      inode.setMode(F.S_IFLNK | 0o777);
      inode.setFlags(0);
      inode.setSize(8);
      inode.put32(F.I_BLOCK, 0x2f2f2f2f);
    });
    expect(m.fs.runSync(step(removeBlocksStep, inode, 0))).toBe(false);
    expect(inode.u32(F.I_BLOCK)).toBe(0x2f2f2f2f);
    change(m.fs, 1, () => inode.setMode(F.S_IFCHR | 0o600));
    expect(m.fs.runSync(step(removeBlocksStep, inode, 0))).toBe(false);
    expect(before.length).toBe(15);
    m.fs.runSync(m.fs.unmount());
  });
});

/** A new block full of one byte, in the running step. */
function newBlock(m: Mounted, pblk: number, fillByte: number): void {
  const { vol } = m.fs;
  const { ptr } = vol.journal!.create(pblk);
  vol.u8.fill(fillByte, ptr, ptr + vol.sb.blockSize);
}

need.describe('freed metadata', [need.tool('mke2fs', 'debugfs', 'e2fsck')], () => {
  const KINDS: [name: string, path: string, revoked: boolean][] = [
    ['a directory', '/d', true],
    ['a file', '/f0', false],
  ];
  for (const [name, path, revoked] of KINDS) {
    test(`replay ${revoked ? 'leaves' : 'writes'} a block freed from ${name}`, () => {
      const m = mountImage(makeImage(EXT4, '16M', 1));
      const inode = inodeAt(m.fs, path);
      expect(isMetadata(inode)).toBe(revoked);
      const pblk = change(m.fs, MAP_CREDITS + 1, () => {
        const at = appendBlock(inode, 3);
        newBlock(m, at, 0x11);
        return at;
      });
      m.fs.runSync(commit());
      m.fs.runSync(step(removeBlocksStep, inode, 1));
      expect(m.fs.vol.journal!.running!.revoked.has(pblk)).toBe(revoked);
      m.fs.runSync(commit());
      const bytes = m.contents();
      bytes.fill(0x22, pblk * 1024, pblk * 1024 + 1024);
      const after = mountImage(bytes);
      after.fs.runSync(after.fs.unmount());
      expect(after.contents()[pblk * 1024]).toBe(revoked ? 0x22 : 0x11);
    });
  }

  test('a node of a map is revoked too, and its block is not in use before the commit', () => {
    const m = mountImage(makeImage(EXT4, '16M', 1));
    const model = new Model(m.fs, '/f0');
    for (let i = 0; i < 6; i++) model.append(2 * i);
    const { fs, inode } = model;
    const node = inode.u32(F.I_BLOCK + F.EH_SIZE + F.EI_LEAF_LO);
    settle(fs);
    model.remove(0);
    expect([...fs.vol.journal!.running!.revoked]).toEqual([node]);
    const found = change(fs, 4, () => allocBlocks(fs.vol, node, 1));
    expect(found.pblk).not.toBe(node);
    settle(fs);
    expect(change(fs, 4, () => allocBlocks(fs.vol, node, 1)).pblk).toBe(node);
    fs.runSync(fs.unmount());
  });

  test('the revokes of one step are bounded', () => {
    const m = mountImage(makeImage(EXT4, '16M', 1));
    const dir = inodeAt(m.fs, '/d');
    for (let lblk = 1; lblk < 1000; lblk++) change(m.fs, MAP_CREDITS, () => appendBlock(dir, lblk));
    settle(m.fs);
    let steps = 0;
    for (let more = true; more; steps++) {
      const { revoked } = m.fs.vol.journal!.running ?? { revoked: new Set() };
      const before = revoked.size;
      more = m.fs.runSync(step(removeBlocksStep, dir, 1));
      const now = m.fs.vol.journal!.running!.revoked;
      expect(now.size - (now === revoked ? before : 0)).toBeLessThanOrEqual(300);
    }
    expect(steps).toBeGreaterThan(3);
    finish(m);
  });
});

need.describe('counts', [need.tool('mke2fs', 'debugfs', 'e2fsck')], () => {
  test('with bigalloc a file uses its cluster up before it takes another', () => {
    const m = mountImage(makeImage(`${EXT4} -O bigalloc -C 8192`, '32M', 1));
    const model = new Model(m.fs, '/f0');
    const before = freeClusters(m);
    const order = [21, 16, 23, 18, 20, 19, 17, 22];
    for (const lblk of order) {
      model.append(lblk);
      expect(freeClusters(m)).toBe(before - 1);
      expect(model.inode.u32(F.I_BLOCKS_LO)).toBe(16);
    }
    expect(model.inode.u16(F.I_BLOCK + F.EH_ENTRIES)).toBe(1);
    model.append(24);
    expect(freeClusters(m)).toBe(before - 2);
    for (const [from, clusters, sectors] of [
      [24, 1, 16],
      [19, 1, 16],
      [17, 1, 16],
      [16, 0, 0],
    ]) {
      model.remove(from);
      expect(freeClusters(m)).toBe(before - clusters);
      expect(model.inode.u32(F.I_BLOCKS_LO)).toBe(sectors);
      expect(model.compare(m.fs)).toBe('');
    }
    finish(m);
  });

  test('with bigalloc a cluster that two extents share goes with the second one', () => {
    const m = mountImage(makeImage(`${EXT4} -O bigalloc -C 8192`, '32M', 1));
    const model = new Model(m.fs, '/f0');
    const before = freeClusters(m);
    for (const lblk of [0, 2, 4, 6, 8, 10, 12, 14]) model.append(lblk);
    // Two clusters of data and one of the leaf that eight extents need.
    expect(freeClusters(m)).toBe(before - 3);
    expect(model.inode.u32(F.I_BLOCKS_LO)).toBe(48);
    model.remove(3);
    expect(freeClusters(m)).toBe(before - 2);
    model.remove(0);
    expect(freeClusters(m)).toBe(before);
    finish(m);
  });

  test('sectors of a file go from 32 to 48 bits, then are counted in blocks, and back', () => {
    const m = mountImage(makeImage('-t ext4 -b 4096', '16M', 1));
    const inode = inodeAt(m.fs, '/f0');
    const shown = () => [
      inode.u32(F.I_BLOCKS_LO),
      inode.u16(F.I_BLOCKS_HIGH),
      inode.has(F.EXT4_HUGE_FILE_FL),
    ];
    const add = (blocks: number) => change(m.fs, 1, () => addBlocks(inode, blocks));
    add(2 ** 29 - 1);
    expect(shown()).toEqual([2 ** 32 - 8, 0, false]);
    add(2);
    expect(shown()).toEqual([8, 1, false]);
    add(2 ** 45 - 2 ** 29 - 2);
    expect(shown()).toEqual([2 ** 32 - 8, 65535, false]);
    add(1);
    expect(shown()).toEqual([0, 2 ** 13, true]);
    add(5);
    expect(shown()).toEqual([5, 2 ** 13, true]);
    add(-6);
    expect(shown()).toEqual([2 ** 32 - 8, 65535, false]);
    add(-(2 ** 45) + 1);
    expect(shown()).toEqual([0, 0, false]);
    expect(() => add(-1)).toThrow('EUCLEAN');
    finish(m);
  });

  test('without huge_file a file owns less than 2^32 sectors', () => {
    const m = mountImage(makeImage('-t ext4 -b 1024 -O ^huge_file', '16M', 1));
    const inode = inodeAt(m.fs, '/f0');
    change(m.fs, 1, () => addBlocks(inode, 2 ** 31 - 1));
    const more = () => change(m.fs, 1, () => addBlocks(inode, 1));
    expect(more).toThrow(Ext4Error);
    expect(more).toThrow('EFBIG');
    expect(inode.u32(F.I_BLOCKS_LO)).toBe(2 ** 32 - 2);
    m.fs.runSync(m.fs.unmount());
  });

  test('debugfs shows the map that we say', () => {
    const m = mountImage(makeImage(EXT4, '16M', 1));
    const model = new Model(m.fs, '/f0');
    model.insert(5, 10, false);
    model.insert(15, 7, true);
    model.insert(2 ** 20, 3, false);
    settle(m.fs);
    const rows = debugfs(m.contents(), 'ex /f0').trim().split('\n').slice(1);
    const map = [...model.blocks];
    const at = (lblk: number) => map.find(([key]) => key === lblk)?.[1].pblk;
    expect(
      rows.map((row) =>
        row
          .match(/\d+/g)
          ?.slice(4)
          .map(Number)
          .concat(+/Uninit/.test(row)),
      ),
    ).toEqual([
      [5, 14, at(5), Number(at(14)), 10, 0],
      [15, 21, at(15), Number(at(21)), 7, 1],
      [2 ** 20, 2 ** 20 + 2, at(2 ** 20), Number(at(2 ** 20 + 2)), 3, 0],
    ]);
    finish(m);
  });
});

need.describe('on a device that waits', [need.tool('mke2fs', 'debugfs', 'e2fsck')], () => {
  const seed = Number(process.env.SEED ?? 1 + Math.floor(Math.random() * 2 ** 31));
  for (const [name, mkfs] of [
    ['extents', EXT4],
    ['block maps', '-t ext3 -b 1024'],
  ]) {
    test(`${name} change while commits write, whose bytes stay (seed ${seed})`, async () => {
      const roll = randomOf(seed);
      const memory = memoryDevice(makeImage(mkfs, '16M', 1));
      const fs = await mountVfs(slowDevice(memory, { order: 'random', seed, stable: true }), {
        cacheBytes: 8 << 20,
      });
      const { ino } = await fs.run(fs.stat('/f0', false));
      const inode = fs.vol.inodes.get(ino);
      const waits: Promise<void>[] = [];
      let top = -1;
      for (let i = 0; i < 400; i++) {
        const lblk = top + 1 + roll(4);
        if (roll(60) === 0) {
          const from = roll(top + 2);
          while (await fs.run(step(removeBlocksStep, inode, from))) {}
          top = from - 1;
          await fs.run(step(sizeStep, inode, top + 1));
          continue;
        }
        await fs.run(step(appendStep, inode, lblk));
        top = lblk;
        if (roll(10) === 0) waits.push(fs.run(commit()));
      }
      await Promise.all(waits);
      await fs.run(fs.unmount());
      const bytes = new Uint8Array(memory.size);
      memory.readSync!(bytes, 0);
      expect(e2fsck(bytes)).toBe('');
    });
  }
});

type File = ReturnType<typeof inodeAt>;

function appendStep(inode: File, lblk: number): void {
  const { vol } = inode;
  inode.at();
  vol.journal!.start(MAP_CREDITS + MAP_MORE_CREDITS);
  appendBlock(inode, lblk);
  inode.setSize((lblk + 1) * vol.sb.blockSize);
  vol.journal!.stop();
}

function sizeStep(inode: File, blocks: number): void {
  inode.vol.journal!.start(1);
  inode.setSize(blocks * inode.vol.sb.blockSize);
  inode.vol.journal!.stop();
}
