// Goal: a change of a map that fails half way leaves nothing behind, in memory or on the device; what is corrupt is
// refused before anything changes.
// Method: run out of space after every number of free blocks, fail after every change, damage maps; compare all cached
// blocks, the free counts and the device before and after.

import { expect, test } from 'vitest';
import { MAP_HOLE, MAP_WRITTEN } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/ext4.ts';
import { Ext4Error } from '../../ts/errno.ts';
import { allocBlocks, freeBlocks } from '../../ts/ext4/balloc.ts';
import { sumFree } from '../../ts/ext4/groupwrite.ts';
import { mapBlocks } from '../../ts/ext4/iomap.ts';
import {
  addBlocks,
  appendBlock,
  insertExtent,
  MAP_CREDITS,
  removeBlocksStep,
} from '../../ts/ext4/mapwrite.ts';
import { keptClusters } from '../../ts/ext4/reserve.ts';
import { step } from '../../ts/flow.ts';
import { need } from '../need.ts';
import { randomOf } from '../slow.ts';
import { change, e2fsck, Model, type Mounted, makeImage, mountImage, settle } from './mapimage.ts';

/** Everything that a step could change: blocks in the cache, counts, the map's memo, what the transaction holds. */
function everything(m: Mounted): Record<string, unknown> {
  const { vol } = m.fs;
  const { cache } = vol;
  const free = { ...m.fs.runSync(step(sumFree, vol)) };
  const blocks: Record<number, string> = {};
  for (const [pblk, buffer] of cache.buffers) {
    if (!buffer.uptodate) continue;
    const bytes = cache.bytes(buffer);
    blocks[pblk] = Buffer.from(bytes).toString('base64');
  }
  const pending = [...vol.pending].map(([group, p]) => [group, p.runs.length]);
  const held = vol.journal?.running === null ? 0 : vol.journal?.running.buffers.size;
  const dirty = [...vol.dirtyGroups.keys()];
  const pins = cache.pinCount();
  return { blocks, free, pending, held: held ?? 0, dirty, pins };
}

/** The superblock notes that a record was broken; nothing else has changed. */
const NOTED = { 1: 'changed', held: [0, 1] };

/** What of `after` differs in what `before` knows: blocks that were read since are no change. */
function differences(
  before: Record<string, unknown>,
  after: Record<string, unknown>,
): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  const old = before.blocks as Record<string, string>;
  const now = after.blocks as Record<string, string>;
  for (const pblk of Object.keys(old)) if (now[pblk] !== old[pblk]) found[pblk] = 'changed';
  for (const key of ['free', 'pending', 'held', 'dirty', 'pins']) {
    if (JSON.stringify(before[key]) !== JSON.stringify(after[key])) {
      found[key] = [before[key], after[key]];
    }
  }
  return found;
}

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof Ext4Error) return error.code;
    return String(error);
  }
  return 'none';
}

/** Takes all but `left` clusters for a file that lies beside: of those that are not kept for trees, or of all. */
function fill(m: Mounted, left: number, all = false): void {
  const model = new Model(m.fs, '/f1');
  const { clusterBlocks } = m.fs.vol.sb;
  const kept = all ? 0 : m.fs.runSync(step(() => sumFree(m.fs.vol) && keptClusters(m.fs.vol)));
  // A leaf of its own, so that what fills the rest needs no node.
  for (let i = 0; i < 5; i++) model.append(2 * i * clusterBlocks);
  for (let lblk = 10 * clusterBlocks; ; ) {
    const free = m.fs.runSync(step(() => sumFree(m.fs.vol).clusters));
    if (free <= left + kept) return;
    const want = Math.min(free - left - kept, 256) * clusterBlocks;
    if (model.inode.has(F.EXT4_EXTENTS_FL)) model.insert(lblk, want, false, { reserved: true });
    else model.append(lblk);
    lblk += want;
  }
}

const TREES: [name: string, mkfs: string, size: string, prepare: (m: Model) => void, at: number][] =
  [
    ['a new extent', '-t ext4 -b 1024', '8M', () => {}, 5],
    [
      'the fifth extent, which moves the root down',
      '-t ext4 -b 1024',
      '8M',
      (model) => [0, 2, 4, 6].forEach((lblk) => void model.append(lblk)),
      8,
    ],
    [
      'a split of a full leaf',
      '-t ext4 -b 1024',
      '8M',
      (model) => {
        for (let i = 0; i < 84; i++) model.append(2 * i);
      },
      51,
    ],
    ['three pointer blocks', '-t ext2 -b 1024', '8M', () => {}, 12 + 256 + 65536 + 9],
    [
      'two pointer blocks of ext3',
      '-t ext3 -b 1024',
      '8M',
      (model) => model.append(0),
      12 + 256 + 9,
    ],
    ['a new cluster', '-t ext4 -b 1024 -O bigalloc -C 8192', '16M', (model) => model.append(3), 77],
  ];

need.describe('maps undone', [need.tool('mke2fs', 'debugfs', 'e2fsck')], () => {
  for (const [name, mkfs, size, prepare, at] of TREES) {
    test(`no space for ${name}: with any number of blocks left too few, nothing happens`, () => {
      const image = makeImage(mkfs, size, 2);
      let failures = 0;
      for (let left = 0; left < 6; left++) {
        const m = mountImage(new Uint8Array(image));
        const model = new Model(m.fs, '/f0');
        prepare(model);
        fill(m, left);
        settle(m.fs);
        const before = everything(m);
        const device = m.contents();
        const code = codeOf(() => model.append(at));
        if (code === 'none') break;
        failures++;
        expect(code).toBe('ENOSPC');
        expect(differences(before, everything(m))).toEqual({});
        expect(Buffer.compare(device, m.contents())).toBe(0);
        expect(model.compare(m.fs)).toBe('');
        m.fs.runSync(m.fs.unmount());
        expect(e2fsck(m.contents())).toBe('');
      }
      expect(failures).toBeGreaterThan(0);
      expect(failures).toBeLessThan(6);
    });
  }

  const seed = Number(process.env.SEED ?? 1 + Math.floor(Math.random() * 2 ** 31));
  for (const [name, mkfs] of [
    ['an extent tree', '-t ext4 -b 1024'],
    ['a block map', '-t ext2 -b 1024'],
  ]) {
    test(`a step that fails after it changed ${name} leaves no trace (seed ${seed})`, () => {
      const roll = randomOf(seed);
      const m = mountImage(makeImage(mkfs, '16M', 1));
      const model = new Model(m.fs, '/f0');
      for (let i = 0; i < 300; i++) {
        const lblk = 3 * roll(1500);
        if (model.blocks.has(lblk)) continue;
        if (roll(3) === 0) {
          // Behind a block that is mapped the new one is merged.
          const behind = [...model.blocks.keys()][roll(model.blocks.size + 1)] ?? lblk - 1;
          const before = everything(m);
          expect(codeOf(() => failing(model, behind + 1, roll))).toBe('EIO');
          expect(differences(before, everything(m))).toEqual({});
        }
        model.append(lblk);
        if (i % 40 === 0) settle(m.fs);
      }
      expect(model.compare(m.fs)).toBe('');
      m.fs.runSync(m.fs.unmount());
      expect(e2fsck(m.contents())).toBe('');
    });
  }

  test('a mapping looked up in a step that fails is not remembered', () => {
    const m = mountImage(makeImage('-t ext4 -b 1024', '8M', 1));
    const model = new Model(m.fs, '/f0');
    for (let i = 0; i < 6; i++) model.append(2 * i);
    const { fs, inode } = model;
    const wrong = () =>
      change(fs, MAP_CREDITS, () => {
        insertExtent(inode, 50, allocBlocks(fs.vol, 0, 1).pblk, 1, false);
        expect(mapBlocks(inode, 50).kind).toBe(MAP_WRITTEN);
        throw new Ext4Error('EIO');
      });
    expect(codeOf(wrong)).toBe('EIO');
    expect(fs.runSync(step(mapBlocks, inode, 50)).kind).toBe(MAP_HOLE);
    fs.runSync(fs.unmount());
  });

  test('space that a removal gave back is there after a commit, which an append asks for', () => {
    const m = mountImage(makeImage('-t ext4 -b 1024', '8M', 2));
    const model = new Model(m.fs, '/f0');
    for (let lblk = 0; lblk < 300; lblk++) model.append(lblk);
    fill(m, 0, true);
    const { commits } = m.fs.vol.journal!;
    model.remove(0);
    model.append(7);
    expect(m.fs.vol.journal!.commits).toBeGreaterThan(commits);
    expect(model.compare(m.fs)).toBe('');
    m.fs.runSync(m.fs.unmount());
    expect(e2fsck(m.contents())).toBe('');
  });
});

/** Appends, and frees what was allocated beside it, and then fails. */
function failing(model: Model, lblk: number, roll: (n: number) => number): void {
  const { fs, inode } = model;
  change(fs, MAP_CREDITS + 20, () => {
    appendBlock(inode, lblk);
    if (roll(2) === 0) appendBlock(inode, lblk + 1);
    const found = allocBlocks(fs.vol, roll(16384), 1 + roll(30));
    if (roll(2) === 0 && inode.has(F.EXT4_EXTENTS_FL)) {
      insertExtent(inode, 9000, found.pblk, found.count, true);
      addBlocks(inode, found.count);
    }
    freeBlocks(fs.vol, found.pblk, found.count, roll(2) === 0);
    throw new Ext4Error('EIO');
  });
}

need.describe('maps refused', [need.tool('mke2fs', 'debugfs', 'e2fsck')], () => {
  /** A file of blocks and a way to break its map; then removing it must be refused and change nothing. */
  function broken(mkfs: string, damage: (model: Model) => void): string {
    const m = mountImage(makeImage(mkfs, '16M', 1));
    const model = new Model(m.fs, '/f0');
    for (let i = 0; i < 6; i++) model.append(3 * i);
    settle(m.fs);
    change(m.fs, 2, () => damage(model));
    model.inode.memo.len = 0;
    settle(m.fs);
    const before = everything(m);
    const code = codeOf(() => m.fs.runSync(step(removeBlocksStep, model.inode, 0)));
    expect(differences(before, everything(m))).toEqual(NOTED);
    m.fs.runSync(m.fs.unmount());
    return code;
  }

  const { I_BLOCK } = F;
  const EXT2 = '-t ext2 -b 1024';

  test('a pointer to a block bitmap, an inode table, the superblock or nowhere', () => {
    for (const pblk of [1, 0, 1e9]) {
      const map = (model: Model) => model.inode.put32(I_BLOCK, pblk === 0 ? 2 : pblk);
      expect(broken(EXT2, map)).toBe('EUCLEAN');
    }
    const table = (model: Model) => {
      const { fs, inode } = model;
      inode.put32(I_BLOCK + 4, inode.pblk);
      expect(fs.vol.sb.blocks).toBe(16384);
    };
    expect(broken(EXT2, table)).toBe('EUCLEAN');
  });

  test('two pointers to one block', () => {
    const twice = ({ inode }: Model) => inode.put32(I_BLOCK + 4, inode.u32(I_BLOCK));
    expect(broken(EXT2, twice)).toBe('EUCLEAN');
  });

  test('a pointer block that is its own child', () => {
    const self = (model: Model) => {
      const { fs, inode } = model;
      const node = inode.u32(I_BLOCK + 4 * 12);
      inode.put32(I_BLOCK + 4 * 13, node);
      const ptr = fs.vol.journal!.write(fs.vol.cache.get(node), 0, 4);
      fs.vol.dv.setUint32(ptr, node, true);
    };
    expect(broken(EXT2, self)).toBe('EUCLEAN');
  });

  test('an extent node that is its own child', () => {
    const self = (model: Model) => {
      const { fs, inode } = model;
      const { dv, journal, cache } = fs.vol;
      const node = dv.getUint32(inode.at() + I_BLOCK + F.EH_SIZE + F.EI_LEAF_LO, true);
      const root = inode.edit() + I_BLOCK;
      dv.setUint16(root + F.EH_DEPTH, 2, true);
      const ptr = journal!.write(cache.get(node), 0, 1024);
      dv.setUint16(ptr + F.EH_DEPTH, 1, true);
      dv.setUint16(ptr + F.EH_ENTRIES, 1, true);
      dv.setUint32(ptr + F.EH_SIZE + F.EI_LEAF_LO, node, true);
      dv.setUint32(ptr + F.EH_SIZE + F.EI_LEAF_HI, 0, true);
    };
    expect(broken('-t ext4 -b 1024', self)).toBe('EUCLEAN');
  });

  test('an extent that leads past the end, and one that counts fewer blocks than it frees', () => {
    const past = (model: Model) => {
      const { fs, inode } = model;
      const { dv, journal, cache } = fs.vol;
      const node = dv.getUint32(inode.at() + I_BLOCK + F.EH_SIZE + F.EI_LEAF_LO, true);
      const ptr = journal!.write(cache.get(node), 0, 1024);
      dv.setUint16(ptr + F.EH_SIZE + F.EE_START_HI, 1, true);
    };
    expect(broken('-t ext4 -b 1024', past)).toBe('EUCLEAN');
    const few = ({ inode }: Model) => inode.put32(F.I_BLOCKS_LO, 2);
    expect(broken('-t ext4 -b 1024', few)).toBe('EUCLEAN');
  });

  test('with bigalloc, an extent that does not lie in its clusters as it does in the file', () => {
    const askew = ({ inode }: Model) => {
      const at = inode.edit() + I_BLOCK + F.EH_SIZE + F.EE_BLOCK;
      const { dv } = inode.vol;
      dv.setUint32(at, dv.getUint32(at, true) + 1, true);
    };
    expect(broken('-t ext4 -b 1024 -O bigalloc -C 8192', askew)).toBe('EUCLEAN');
  });

  test('mapping what is mapped already', () => {
    for (const mkfs of ['-t ext4 -b 1024', EXT2]) {
      const m = mountImage(makeImage(mkfs, '16M', 1));
      const model = new Model(m.fs, '/f0');
      model.append(4);
      const before = everything(m);
      expect(codeOf(() => model.append(4))).toBe('EUCLEAN');
      const { held, ...changed } = differences(before, everything(m));
      expect(changed).toEqual({ 1: 'changed' });
      expect((held as number[])[1] - (held as number[])[0]).toBe(1);
      expect(codeOf(() => model.append(2 ** 32 - 1))).toBe('EFBIG');
      m.fs.runSync(m.fs.unmount());
    }
  });
});
