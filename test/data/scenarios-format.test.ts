// Scenarios 58 to 68: block sizes, clusters, block maps, inline data, trees, limits, checksums, which path a file
// takes, and huge sparse files. Expected results as measured with Linux 6.18 and e2fsprogs 1.47.

import { expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { choosePath } from '../../ts/ext4/datapath.ts';
import { step } from '../../ts/flow.ts';
import { mountVfsSync } from '../../ts/vfs/filesystem.ts';
import type { MountOptions } from '../../ts/vfs/options.ts';
import { need } from '../need.ts';
import { bytes } from '../write/driver.ts';
import { type FeatureSet, fsck, makeImage, recover, tool } from '../write/images.ts';
import { EXTENTS, KINDS, kindsWith } from './kinds.ts';
import { type Mounted, mounted } from './mounted.ts';
import { crashScenario, NEEDS, scenario } from './scenario.ts';
import { A, B, codeOf, made, readF, Subject, same } from './subject.ts';

const K = 1024;
const TOOLS = [need.tool('mke2fs', 'e2fsck', 'debugfs')];

const fallocate = (
  m: Mounted,
  fd: number,
  mode: string,
  pos: number,
  len: number,
  keep = false,
): void => m.fs.runSync(m.fs.data.fallocate(fd, mode as never, pos, len, keep));
const blocksOf = (m: Mounted, fd: number): number => m.fs.runSync(m.fs.fstat(fd)).blocks;
const freeOf = (m: Mounted): number => m.fs.runSync(m.fs.statfs(bytes('/'))).bfree;

need.describe('block sizes that the kernel here does not mount', TOOLS, () => {
  for (const block of [8192, 16384, 65536]) {
    test(`58. blocks of ${block} bytes: a grown, punched and zeroed file is sound`, () => {
      const set = {
        args: `-t ext4 -b ${block} -J size=${Math.ceil((block * 1024) / 2 ** 20)} -N 64`,
        size: 192,
      };
      const m = mounted(set, { cacheBytes: 64 << 20 });
      const fd = m.open();
      m.write(fd, 0, 2000, A);
      m.fs.runSync(m.fs.data.truncate(fd, 10_000));
      m.write(fd, block * 3 + 5, block * 4, B);
      fallocate(m, fd, 'zero', 1500, block * 5);
      fallocate(m, fd, 'punch', block * 6 + 10, block * 2, true);
      fallocate(m, fd, 'insert', block * 2, block);
      m.fs.runSync(m.fs.data.fsync(fd, false));
      const want = new Uint8Array(block * 8 + 5);
      want.fill(A, 0, 1500);
      want.fill(B, 1500 + block * 6, block * 7 + 10);
      const { seen, image } = recover(m.image(), readF, { cacheBytes: 64 << 20 });
      same(seen, want, `${block}`);
      expect(fsck(image)).toBe('');
      const found = tool('debugfs', ['-R', 'stat /f'], image);
      expect(found.text).toContain('Mode:  0644');
      m.end();
    });
  }
});

need.describe('clusters', TOOLS, () => {
  const SET = { args: '-t ext4 -b 4096 -O bigalloc -C 65536 -N 64', size: 128 };

  test('59. clusters of 64 KiB are freed whole, and shared by what lies in them', () => {
    for (const bufferedIomap of [true, false]) {
      const m = mounted(SET, { bufferedIomap });
      const fd = m.open();
      m.write(fd, 0, 128 * K, A);
      m.fs.runSync(m.fs.data.fsync(fd, false));
      expect(blocksOf(m, fd)).toBe(256);
      fallocate(m, fd, 'punch', 4 * K, 8 * K, true);
      expect(blocksOf(m, fd), 'the cluster stays').toBe(256);
      fallocate(m, fd, 'punch', 0, 64 * K, true);
      expect(blocksOf(m, fd), 'the cluster is freed').toBe(128);
      expect(codeOf(() => fallocate(m, fd, 'collapse', 0, 4 * K))).toBe('EINVAL');
      const small = m.open('/small');
      m.write(small, 0, 4 * K, A);
      m.fs.runSync(m.fs.data.fsync(small, false));
      expect(blocksOf(m, small)).toBe(128);
      m.end();
    }
  });

  test('59. a delayed block costs its cluster once', () => {
    const m = mounted(SET);
    const fd = m.open();
    m.fs.runSync(m.fs.syncAll());
    const start = freeOf(m);
    m.write(fd, 0, 4 * K, A);
    expect(freeOf(m)).toBe(start - 16);
    m.write(fd, 8 * K, 4 * K, A);
    expect(freeOf(m), 'in the same cluster').toBe(start - 16);
    m.write(fd, 64 * K, 4 * K, A);
    expect(freeOf(m), 'in the next').toBe(start - 32);
    m.fs.runSync(m.fs.data.fsync(fd, false));
    expect(freeOf(m)).toBe(start - 32);
    fallocate(m, fd, 'alloc', 16 * K, 8 * K, true);
    m.write(fd, 32 * K, 4 * K, B);
    fallocate(m, fd, 'punch', 0, 12 * K, true);
    expect(freeOf(m), 'written, unwritten and delayed share a cluster').toBe(start - 32);
    m.fs.runSync(m.fs.data.truncate(fd, 0));
    m.fs.runSync(m.fs.syncAll());
    expect(freeOf(m)).toBe(start);
    expect(m.fs.vol.reserved).toBe(0);
    m.end();
  });
});

need.describe('block maps', NEEDS, () => {
  scenario('60. what needs extents is refused', ['indirect 1k', 'indirect 4k'], (s) => {
    s.write(0, 64 * K, A);
    s.fsync();
    expect(codeOf(() => s.alloc(0, 100 * K))).toBe('EOPNOTSUPP');
    expect(codeOf(() => s.zero(0, 4096))).toBe('EOPNOTSUPP');
    expect(codeOf(() => s.collapse(0, 4096))).toBe('EOPNOTSUPP');
    expect(codeOf(() => s.insert(0, 4096))).toBe('EOPNOTSUPP');
    same(s.read(), made([64 * K, A]), s.name);
  });

  scenario('60. a block at 5 GiB takes three blocks of pointers', ['indirect 4k'], (s) => {
    s.write(5 * 2 ** 30, 4096, A);
    s.fsync();
    expect(s.blocks).toBe(32);
    s.trunc(0);
    expect(s.blocks).toBe(0);
  });

  scenario(
    '60. truncations across direct, single, double and triple pointers',
    ['indirect 1k'],
    (s) => {
      const per = 256;
      const edges = [12, 12 + per, 12 + per + per * per];
      for (const edge of edges)
        for (const at of [edge - 1, edge, edge + 1]) s.write(at * K, K, 0x40 + (at % 50));
      s.fsync();
      for (const edge of edges.toReversed()) {
        for (const size of [edge * K + K + 500, edge * K + 500, edge * K, edge * K - 500]) {
          s.trunc(size);
          const last = s.read(Math.max(0, size - 700), 700);
          const want = new Uint8Array(700);
          for (let i = 0; i < 700; i++) {
            const block = Math.floor((size - 700 + i) / K);
            if (edges.some((e) => Math.abs(block - e) <= 1 && block >= e - 1))
              want[i] = 0x40 + (block % 50);
          }
          same(last, want, `${s.name} at ${size}`);
          s.fsync();
        }
      }
      s.trunc(0);
      s.fsync();
      expect(s.blocks).toBe(0);
    },
  );
});

need.describe('inline data', NEEDS, () => {
  test('61. the most that is inline, for each size of inodes', () => {
    for (const [size, most] of [
      [256, 128],
      [512, 384],
      [1024, 896],
    ]) {
      const m = mounted({ args: `-t ext4 -b 4096 -O inline_data -I ${size} -N 64`, size: 16 });
      const fd = m.open();
      m.write(fd, 0, most, A);
      m.fs.runSync(m.fs.data.fsync(fd, false));
      expect(m.fs.dataPath(fd), `inodes of ${size}`).toBe('inline');
      const over = m.open('/over');
      m.write(over, 0, most + 1, A);
      m.fs.runSync(m.fs.data.fsync(over, false));
      expect(m.fs.dataPath(over), `inodes of ${size}`).toBe('bufferhead');
      expect(blocksOf(m, over)).toBe(8);
      m.end();
    }
  });

  const grows: Record<string, (s: Subject) => void> = {
    'a growing write': (s) => s.write(90, 100, B),
    'a truncation up beyond what fits': (s) => s.trunc(5000),
    'a punch': (s) => s.punch(10, 20),
    'a zero range': (s) => s.zero(10, 20),
  };
  for (const [name, grow] of Object.entries(grows)) {
    scenario(`61. H41. ${name} moves inline data to a block`, ['inline 4k'], (s) => {
      s.write(0, 100, A);
      s.fsync();
      expect(s.inode.path).toBe('inline');
      grow(s);
      const now = s.read();
      s.fsync();
      expect(s.inode.path).toBe('bufferhead');
      expect(s.blocks).toBe(8);
      s.write(s.size, 3000, B); // and a later write goes on
      s.remount();
      same(s.read(), made(...([...now].map((b) => [1, b]) as [number, number][]), [3000, B]), name);
    });
  }

  scenario('61. a truncation down and up within the inode zeroes', ['inline 4k'], (s) => {
    s.write(0, 100, A);
    s.trunc(30);
    s.trunc(90);
    same(s.read(), made([30, A], [60, 0]), s.name);
    expect(s.inode.path).toBe('inline');
  });

  crashScenario('61. the power fails around the move to a block', ['inline 4k'], (c) => {
    c.begin();
    c.op((s) => s.write(0, 100, A));
    c.fsync();
    c.op((s) => s.write(90, 4000, B));
    c.fsync();
    c.op((s) => s.trunc(20));
    c.op((s) => s.trunc(9000));
    c.fsync();
    return undefined;
  });
});

need.describe('trees', NEEDS, () => {
  const depth = (s: Subject): number =>
    s.run(step(() => s.fs.vol.dv.getUint16(s.inode.at() + 0x28 + 6, true)));

  scenario(
    '62. 400 blocks with holes between: depth 2; shrunk it stays; emptied it is 0',
    ['iomap 1k', 'bufferhead 1k'],
    (s) => {
      for (let i = 0; i < 400; i++) s.write(2 * i * K, K, 0x30 + (i % 70));
      s.sync();
      expect(depth(s), s.name).toBe(2);
      s.trunc(5000);
      s.sync();
      expect(s.map().length, s.name).toBe(3);
      s.trunc(0);
      s.sync();
      expect(depth(s), s.name).toBe(0);
      expect(s.blocks, s.name).toBe(0);
    },
  );

  scenario('62. the holes filled, all of it is few extents again', ['iomap 1k'], (s) => {
    const want = new Uint8Array(800 * K);
    for (let i = 0; i < 800; i += 2) {
      s.write(i * K, K, A);
      want.fill(A, i * K, i * K + K);
    }
    s.fsync();
    for (let i = 1; i < 800; i += 2) {
      s.write(i * K, K, B);
      want.fill(B, i * K, i * K + K);
    }
    s.fsync();
    same(s.read(), want, s.name);
    expect(s.map()).toEqual([[0, 800, 'w']]);
  });
});

need.describe('limits', NEEDS, () => {
  const most: [string, FeatureSet, number][] = [
    ['4 KiB, extents', { args: '-t ext4 -b 4096', size: 16 }, 17_592_186_040_320],
    ['1 KiB, extents', { args: '-t ext4 -b 1024', size: 8 }, 4_398_046_510_080],
    ['4 KiB, block map', { args: '-t ext3 -b 4096', size: 16 }, 4_402_345_721_856],
  ];
  for (const [name, set, limit] of most) {
    test(`63. ${name}: the last byte can be written, one more is EFBIG`, () => {
      const m = mounted(set);
      const fd = m.open();
      expect(codeOf(() => m.write(fd, limit, 1, A))).toBe('EFBIG');
      expect(codeOf(() => m.fs.runSync(m.fs.data.truncate(fd, limit + 1)))).toBe('EFBIG');
      m.write(fd, limit - 1, 1, A);
      m.fs.runSync(m.fs.data.fsync(fd, false));
      if (name.includes('extents')) expect(blocksOf(m, fd)).toBe(set.args.includes('4096') ? 8 : 2);
      const last = new Uint8Array(2);
      expect(m.fs.readSync(fd, last, 0, 2, limit - 2)).toBe(2);
      expect([...last]).toEqual([0, A]);
      const half = m.fs.runSync(m.fs.data.write(m.open('/g'), new Uint8Array(10), limit - 4));
      expect(half, 'a write across the limit is short').toBe(4);
      m.end();
    });
  }
});

need.describe('checksums', TOOLS, () => {
  for (const features of [
    'metadata_csum',
    'metadata_csum,metadata_csum_seed',
    '^metadata_csum,uninit_bg',
  ]) {
    test(`64. what is written with ${features} is right to e2fsck`, () => {
      const m = mounted({ args: `-t ext4 -b 1024 -O ${features} -N 64`, size: 16 });
      const fd = m.open();
      for (let i = 0; i < 500; i++) m.write(fd, i * 2048, 1000, A);
      m.fs.runSync(m.fs.syncAll());
      fallocate(m, fd, 'zero', 5000, 300_000);
      fallocate(m, fd, 'punch', 600_000, 100_000, true);
      fallocate(m, fd, 'insert', 10_240, 51_200);
      m.end();
    });
  }

  test('64. a flipped bit in an inode, or in a block of extents, is EBADMSG, to a change too', () => {
    for (const where of ['inode', 'extents'] as const) {
      const s = new Subject('iomap 1k');
      for (let i = 0; i < 40; i++) s.write(i * 2 * K, K, A);
      s.sync();
      const { pblk, off } = s.inode;
      const leaf = s.run(step(() => s.fs.vol.dv.getUint32(s.inode.at() + 0x28 + 12 + 4, true)));
      s.close();
      const image = s.image();
      image[where === 'inode' ? pblk * K + off + 0x10 : leaf * K + 20] ^= 4;
      const fs = mountVfsSync(memoryDevice(image, { sparse: true }), { dax: 'never' });
      const code = codeOf(() => {
        const fd = fs.openSync(bytes('/f'), 2);
        fs.writeSync(fd, new Uint8Array(10), 0, 10, 100);
      });
      expect(code, where).toBe('EBADMSG');
    }
  });

  test('65. e2fsck does complain of written blocks behind the size, so the crash tests would see them', () => {
    const s = new Subject('iomap 4k');
    s.write(0, 12_288, A);
    s.close();
    const less = tool('debugfs', ['-w', '-R', 'set_inode_field /f size 4096'], s.image()).after();
    const { code, text } = tool('e2fsck', ['-fn'], less);
    expect(text).toMatch(/i_size is 4096, should be 12288/);
    expect(code).toBe(4);
  });
});

need.describe('which path a file takes', TOOLS, () => {
  const cases: [string, string, MountOptions, string][] = [
    ['by default', '', {}, 'iomap'],
    ['with nobuffered_iomap', '', { bufferedIomap: false }, 'bufferhead'],
    ['with data=journal', '', { data: 'journal' }, 'journalled'],
    ['with data=writeback', '', { data: 'writeback' }, 'iomap'],
    ['with inline_data, a large file', '-O inline_data -I 256', {}, 'bufferhead'],
    ['with the feature verity', '-O verity', {}, 'bufferhead'],
    ['without extents', '-O ^extent,^64bit', {}, 'bufferhead'],
    ['with bigalloc', '-O bigalloc -C 16384', {}, 'iomap'],
  ];
  for (const [name, args, options, path] of cases) {
    test(`66. ${name}: ${path}`, () => {
      const m = mounted({ args: `-t ext4 -b 4096 -N 64 ${args}`.trim(), size: 16 }, options);
      const fd = m.open();
      m.write(fd, 0, 5000, A);
      expect(m.fs.dataPath(fd)).toBe(path);
    });
  }

  test('66. a device that is one memory: dax, but not with data=journal, nor when told never', () => {
    const device = () => memoryDevice(makeImage(KINDS['iomap 4k']));
    const pathOf = (o: MountOptions): string => {
      const fs = mountVfsSync(device(), o);
      return fs.dataPath(fs.openSync(bytes('/f'), 0o102));
    };
    expect(pathOf({})).toBe('dax');
    expect(pathOf({ dax: 'always' })).toBe('dax');
    expect(pathOf({ dax: 'inode' })).toBe('iomap');
    expect(pathOf({ dax: 'never' })).toBe('iomap');
    expect(pathOf({ data: 'journal' })).toBe('journalled');
  });

  test('66. H39. a flag that changes the path counts from the next load on, not before', () => {
    const s = new Subject('iomap 4k');
    s.write(0, 5000, A);
    s.chattr('+j');
    expect(s.inode.path, 'while it is open').toBe('iomap');
    s.write(5000, 5000, B);
    expect(s.run(step(() => choosePath(s.inode)))).toBe('journalled');
    const want = made([5000, A], [5000, B]);
    same(s.read(), want, 'while it is open');
    s.remount();
    expect(s.inode.path, 'loaded again').toBe('journalled');
    same(s.read(), want, 'loaded again');
    s.write(2000, 100, 0x63);
    s.chattr('-j');
    expect(s.inode.path).toBe('journalled');
    s.remount();
    expect(s.inode.path).toBe('iomap');
    want.fill(0x63, 2000, 2100);
    same(s.read(), want, 'and back');
    s.finish();
  });

  test('66. H39. other mount options at the next mount find the same file', () => {
    const s = new Subject('iomap 4k');
    let want = made([30_000, A]);
    s.write(0, 30_000, A);
    const options: MountOptions[] = [
      { bufferedIomap: false },
      { data: 'journal' },
      { delalloc: false },
      { bufferedIomap: true, data: 'ordered', delalloc: true },
    ];
    for (const [i, o] of options.entries()) {
      s.remount(o);
      same(s.read(), want, JSON.stringify(o));
      s.write(1000 * i, 500, B + i);
      s.punch(20_000 + i * 600, 500);
      s.write(want.length, 3000, A);
      want = made(...([...want].map((b) => [1, b]) as [number, number][]), [3000, A]);
      want.fill(B + i, 1000 * i, 1000 * i + 500).fill(0, 20_000 + i * 600, 20_500 + i * 600);
    }
    same(s.read(), want, 'in the end');
    s.finish();
  });
});

need.describe('huge files', TOOLS, () => {
  test('68. zero, punch and seek in a sparse file of 16 TiB touch extents only', () => {
    const m = mounted({ args: '-t ext4 -b 4096', size: 64 });
    const fd = m.open();
    const size = 17_592_186_040_320;
    m.fs.runSync(m.fs.data.truncate(fd, size));
    m.write(fd, 2 ** 43, 8192, A);
    m.fs.runSync(m.fs.syncAll());
    const before = m.fs.counters();
    expect(m.fs.runSync(m.fs.seekData(fd, 0))).toBe(2 ** 43);
    expect(m.fs.runSync(m.fs.seekHole(fd, 2 ** 43))).toBe(2 ** 43 + 8192);
    fallocate(m, fd, 'punch', 4096, size - 8192, true);
    expect(codeOf(() => m.fs.runSync(m.fs.seekData(fd, 0)))).toBe('ENXIO');
    const after = m.fs.counters();
    expect(after.mappings - before.mappings, 'mappings').toBeLessThan(40);
    expect(after.deviceReads - before.deviceReads).toBeLessThan(10);
    m.end();
  });

  test('68. mappings a MiB written: few, and the fewer the larger the writes', () => {
    const MiB = 2 ** 20;
    const calls: Record<string, number> = {};
    for (const name of ['iomap 4k', 'bufferhead 4k'] as const) {
      const s = new Subject(name, {
        image: makeImage({ ...KINDS[name], size: 32 }),
        cacheBytes: 32 << 20,
      });
      for (const piece of [4096, 65536, MiB]) {
        s.trunc(0);
        s.sync();
        const { mappings } = s.fs.counters();
        for (let at = 0; at < 8 * MiB; at += piece) s.write(at, piece, A);
        s.fsync();
        calls[`${name} ${piece}`] = (s.fs.counters().mappings - mappings) / 8;
      }
      s.finish();
    }
    console.log('mappings per MiB written and synced:', calls);
    expect(calls['iomap 4k 1048576']).toBeLessThan(8);
    expect(calls['iomap 4k 65536']).toBeLessThan(48);
    expect(calls['iomap 4k 65536'] * 4).toBeLessThan(calls['bufferhead 4k 65536']);
    expect(calls['iomap 4k 4096']).toBeLessThan(600);
  });

  test('68. a zero range of 1 GiB over a hole writes extents and no data', () => {
    const m = mounted({ args: '-t ext4 -b 4096', size: 1200 }, { cacheBytes: 32 << 20 });
    const fd = m.open();
    const before = m.fs.counters();
    fallocate(m, fd, 'zero', 0, 2 ** 30);
    fallocate(m, fd, 'zero', 4096, 2 ** 30 - 8192);
    m.fs.runSync(m.fs.data.fsync(fd, false));
    const after = m.fs.counters();
    expect(after.deviceWriteBytes - before.deviceWriteBytes).toBeLessThan(2 << 20);
    expect(after.mappings - before.mappings).toBeLessThan(400);
  });
});

need.describe('kinds', TOOLS, () => {
  test('58. 20. each kind of image here has the path that it is to test', () => {
    for (const name of kindsWith(() => true)) {
      const s = new Subject(name);
      s.write(0, 20_000, A);
      s.sync();
      expect(s.inode.path, name).toBe(KINDS[name].path);
      expect(s.block, name).toBe(s.fs.vol.sb.blockSize);
      expect(s.inode.has(0x80000), name).toBe(KINDS[name].extents);
      s.close();
    }
    expect(EXTENTS.length).toBeGreaterThan(8);
  });
});
