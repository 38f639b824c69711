// Goal: the fallocate family does what the kernel does: scenarios 14–19, 38–43, 46, 58–60 of the specification, on
// every data path, with the maps, sizes and errors that were measured. Method: a file on a mount in memory;
// contents, runs of blocks, st_blocks, and e2fsck -fn at the end of each.

import { expect, test } from 'vitest';
import { need } from '../need.ts';
import {
  all,
  COLLAPSE,
  check,
  copyOf,
  expectBytes,
  INSERT,
  KEEP,
  PATHS,
  PUNCH,
  Subject,
  start,
  ZERO,
} from './fallocate.ts';

const A = 0x61;
const B = 0x62;

const ORACLES = need.tool('mke2fs', 'debugfs', 'e2fsck');

for (const [path, o] of PATHS) {
  need.describe(`on the path ${path}`, [ORACLES], () => {
    test('14: zero range inside a block zeroes bytes and leaves the map', () => {
      const s = start(o);
      all(s, [['write', 0, 8192, A], ['fsync'], ['fallocate', ZERO, 100, 50]]);
      check(s, {
        bytes: [
          [A, 100],
          [0, 50],
          [A, 8042],
        ],
        map: [[0, 2, false]],
        blocks: 16,
      });
    });

    test('14: zero range of two blocks, both in part, makes none unwritten', () => {
      const s = start(o);
      all(s, [['write', 0, 8192, A], ['fsync'], ['fallocate', ZERO, 1000, 6000]]);
      check(s, {
        bytes: [
          [A, 1000],
          [0, 6000],
          [A, 1192],
        ],
        map: [[0, 2, false]],
      });
    });

    test('15: zero range over written blocks', () => {
      const s = start(o);
      all(s, [['write', 0, 65536, A], ['fsync'], ['fallocate', ZERO, 5000, 20000]]);
      check(s, {
        bytes: [
          [A, 5000],
          [0, 20000],
          [A, 40536],
        ],
        map: [
          [0, 2, false],
          [2, 4, true],
          [6, 10, false],
        ],
      });
    });

    test('16: zero range over unwritten blocks with dirty data, 1k blocks', () => {
      const s = start(o, '-t ext4 -b 1024');
      all(s, [
        ['fallocate', 0, 0, 65536],
        ['write', 0, 65536, A],
        ['fallocate', ZERO, 4096, 32768],
        ['fsync'],
      ]);
      check(s, {
        bytes: [
          [A, 4096],
          [0, 32768],
          [A, 28672],
        ],
        map: [
          [0, 4, false],
          [4, 32, true],
          [36, 28, false],
        ],
      });
    });

    test('17: zero range over delayed blocks, 1k blocks', () => {
      const s = start(o, '-t ext4 -b 1024');
      all(s, [['write', 0, 65536, A], ['fallocate', ZERO, 4096, 32768], ['fsync']]);
      check(s, {
        bytes: [
          [A, 4096],
          [0, 32768],
          [A, 28672],
        ],
        map: [
          [0, 4, false],
          [4, 32, true],
          [36, 28, false],
        ],
      });
    });

    test('18: zero range over a hole allocates what it touches, 1k blocks', () => {
      const s = start(o, '-t ext4 -b 1024');
      all(s, [
        ['trunc', 65536],
        ['fallocate', ZERO, 5000, 20000],
      ]);
      check(s, { bytes: [[0, 65536]], map: [[4, 21, true]], blocks: 42 });
    });

    test('19: zero range across the end, the size kept and not', () => {
      const s = start(o);
      all(s, [['write', 0, 10000, A], ['fsync'], ['fallocate', ZERO | KEEP, 4096, 40960]]);
      expect(s.map()).toEqual([
        [0, 1, false],
        [1, 10, true],
      ]);
      check(s, {
        bytes: [
          [A, 4096],
          [0, 5904],
        ],
        blocks: 88,
      });
      const t = start(o);
      all(t, [['write', 0, 10000, A], ['fsync'], ['fallocate', ZERO, 4096, 40960]]);
      check(t, {
        bytes: [
          [A, 4096],
          [0, 40960],
        ],
        map: [
          [0, 1, false],
          [1, 10, true],
        ],
      });
    });

    test('38: punch, not aligned', () => {
      const s = start(o);
      all(s, [['write', 0, 65536, A], ['fsync'], ['fallocate', PUNCH | KEEP, 5000, 20000]]);
      check(s, {
        bytes: [
          [A, 5000],
          [0, 20000],
          [A, 40536],
        ],
        map: [
          [0, 2, false],
          [6, 10, false],
        ],
        blocks: 96,
      });
    });

    test('38: punch of delayed blocks gives back what was promised', () => {
      const s = start(o);
      const before = s.run(s.fs.statfs('/')).bfree;
      all(s, [
        ['write', 0, 65536, A],
        ['fallocate', PUNCH | KEEP, 4096, 61440 - 4096],
      ]);
      expect(s.blocks).toBe(16);
      expect(s.run(s.fs.statfs('/')).bfree).toBe(before - 2);
      check(s, {
        bytes: [
          [A, 4096],
          [0, 57344 - 1],
          [0, 1],
          [A, 4096],
        ],
        map: [
          [0, 1, false],
          [15, 1, false],
        ],
      });
    });

    test('38: punch of the whole file keeps the size', () => {
      const s = start(o);
      all(s, [['write', 0, 65536, A], ['fsync'], ['fallocate', PUNCH | KEEP, 0, 65536]]);
      check(s, { bytes: [[0, 65536]], map: [], blocks: 0 });
    });

    test('38: punch behind the end changes nothing', () => {
      const s = start(o);
      all(s, [
        ['write', 0, 4096, A],
        ['fallocate', KEEP, 0, 65536],
        ['fallocate', PUNCH | KEEP, 8192, 40000],
      ]);
      check(s, {
        bytes: [[A, 4096]],
        map: [
          [0, 1, false],
          [1, 15, true],
        ],
        blocks: 128,
      });
    });

    test('38: punch across the end goes on to the end of its page, and no further', () => {
      const s = start(o, '-t ext4 -b 1024');
      all(s, [
        ['fallocate', KEEP, 0, 65536],
        ['write', 0, 4500, A],
        ['fallocate', PUNCH | KEEP, 1024, 65536 - 1024],
      ]);
      check(s, {
        bytes: [
          [A, 1024],
          [0, 3476],
        ],
        map: [
          [0, 1, false],
          [8, 56, true],
        ],
        blocks: 114,
      });
    });

    test('39: collapse', () => {
      const s = start(o);
      all(s, [
        ['write', 0, 16384, A],
        ['write', 16384, 16384, B],
        ['fallocate', COLLAPSE, 4096, 8192],
      ]);
      check(s, {
        bytes: [
          [A, 8192],
          [B, 16384],
        ],
        map: [[0, 6, false]],
        blocks: 48,
      });
      const t = start(o);
      all(t, [['write', 0, 16384, A]]);
      for (const [pos, len] of [
        [100, 4096],
        [4096, 100],
        [4096, 12288],
        [4096, 16384],
        [16384, 4096],
      ]) {
        expect(t.act(['fallocate', COLLAPSE, pos, len])).toBe('EINVAL');
      }
      check(t, { bytes: [[A, 16384]] });
    });

    test('40: insert', () => {
      const s = start(o);
      all(s, [
        ['write', 0, 8192, A],
        ['write', 8192, 16384, B],
        ['fallocate', INSERT, 8192, 8192],
      ]);
      check(s, {
        bytes: [
          [A, 8192],
          [0, 8192],
          [B, 16384],
        ],
        map: [
          [0, 2, false],
          [4, 4, false],
        ],
      });
      const t = start(o);
      all(t, [['write', 0, 8000, A]]);
      for (const [pos, len] of [
        [8192, 4096],
        [100, 4096],
        [4096, 100],
        [12288, 4096],
      ]) {
        expect(t.act(['fallocate', INSERT, pos, len])).toBe('EINVAL');
      }
      expect(t.act(['fallocate', INSERT, 4096, (2 ** 32 - 2) * 4096])).toBe('EFBIG');
      all(t, [['fallocate', INSERT, 0, 4096]]);
      check(t, {
        bytes: [
          [0, 4096],
          [A, 8000],
        ],
        map: [[1, 2, false]],
      });
    });

    test('41: flags that do not go together, lengths that make no sense', () => {
      const s = start(o);
      all(s, [['write', 0, 16384, A]]);
      const refused: [number, number, number, string][] = [
        [PUNCH, 0, 4096, 'EOPNOTSUPP'],
        [COLLAPSE | KEEP, 0, 4096, 'EOPNOTSUPP'],
        [INSERT | KEEP, 0, 4096, 'EOPNOTSUPP'],
        [COLLAPSE | INSERT, 0, 4096, 'EOPNOTSUPP'],
        [0x80, 0, 4096, 'EOPNOTSUPP'],
        [0, 0, 0, 'EINVAL'],
        [ZERO, 0, -1, 'EINVAL'],
        [0, -1, 10, 'EINVAL'],
        [0, (2 ** 32 - 1) * 4096, 1, 'EFBIG'],
        [PUNCH | KEEP, 2 ** 45, 4096, 'EFBIG'],
      ];
      for (const [flags, pos, len, code] of refused) {
        expect([flags, s.act(['fallocate', flags, pos, len])]).toEqual([flags, code]);
      }
      check(s, { bytes: [[A, 16384]], map: [[0, 4, false]] });
    });

    test('41: immutable and append-only files', () => {
      const s = start(o);
      all(s, [
        ['write', 0, 16384, A],
        ['chattr', '+a'],
      ]);
      for (const flags of [PUNCH | KEEP, ZERO, ZERO | KEEP, COLLAPSE, INSERT]) {
        expect(s.act(['fallocate', flags, 0, 4096])).toBe('EPERM');
      }
      all(s, [
        ['fallocate', 0, 16384, 4096],
        ['chattr', '-a'],
        ['chattr', '+i'],
      ]);
      expect(s.act(['fallocate', 0, 0, 65536])).toBe('EPERM');
      all(s, [['chattr', '-i']]);
      check(s, {
        bytes: [
          [A, 16384],
          [0, 4096],
        ],
        map: [
          [0, 4, false],
          [4, 1, true],
        ],
      });
    });

    test('42: space kept behind the end is used, and goes with a truncate to the same size', () => {
      const s = start(o);
      all(s, [['write', 0, 4096, A], ['fallocate', KEEP, 0, 65536], ['fsync']]);
      expect(s.blocks).toBe(128);
      all(s, [['write', 4096, 4096, B], ['fsync']]);
      expect(s.map()).toEqual([
        [0, 2, false],
        [2, 14, true],
      ]);
      all(s, [['trunc', 8192]]);
      check(s, {
        bytes: [
          [A, 4096],
          [B, 4096],
        ],
        map: [[0, 2, false]],
        blocks: 16,
      });
    });

    test('43: with too little space the size says what was allocated', () => {
      const s = start(o, '-t ext4 -b 1024', 16);
      expect(s.act(['fallocate', 0, 0, 64 << 20])).toBe('ENOSPC');
      const { size } = s;
      expect(size).toBeGreaterThan(8 << 20);
      expect(size % 1024).toBe(0);
      const nodes = s.blocks - size / 512;
      expect(nodes).toBeGreaterThanOrEqual(0);
      expect(nodes).toBeLessThan(20);
      expect(s.act(['write', 0, 5000, A])).toBe(0);
      expect(s.act(['write', size, 1024, A])).toBe('ENOSPC');
      check(s, {
        bytes: [
          [A, 5000],
          [0, size - 5000],
        ],
      });
    });

    test('46: what a file marked so loses or gets is durable at once', () => {
      const s = start(o);
      all(s, [['write', 0, 65536, A], ['fsync'], ['chattr', '+S']]);
      all(s, [
        ['fallocate', PUNCH | KEEP, 5000, 20000],
        ['fallocate', ZERO, 40000, 60000],
      ]);
      const crash = new Subject(copyOf(s), o);
      expectBytes(crash, [
        [A, 5000],
        [0, 20000],
        [A, 15000],
        [0, 60000],
      ]);
      expect(crash.finish()).toBe('');
      check(s, {
        bytes: [
          [A, 5000],
          [0, 20000],
          [A, 15000],
          [0, 60000],
        ],
      });
    });

    test('58: 1k and 2k blocks', () => {
      for (const [args, unit] of [
        ['-t ext4 -b 1024', 1024],
        ['-t ext4 -b 2048', 2048],
      ] as const) {
        const s = start(o, args);
        all(s, [['write', 0, 65536, A], ['fsync'], ['fallocate', ZERO, 1500, 3000]]);
        const first = Math.ceil(1500 / unit);
        const last = Math.floor(4500 / unit);
        expect(s.map()).toEqual([
          [0, first, false],
          [first, last - first, true],
          [last, 65536 / unit - last, false],
        ]);
        all(s, [
          ['fallocate', INSERT, unit, unit],
          ['fallocate', COLLAPSE, 3 * unit, 2 * unit],
        ]);
        const want = new Uint8Array(65536).fill(A).fill(0, 1500, 4500);
        const list = [...want];
        list.splice(unit, 0, ...new Array(unit).fill(0));
        list.splice(3 * unit, 2 * unit);
        expect([...s.read()].findIndex((byte, i) => byte !== list[i])).toBe(-1);
        expect(s.size).toBe(list.length);
        expect(s.finish()).toBe('');
      }
    });

    test('59: with bigalloc a cluster goes with its last block', () => {
      const s = start(o, '-t ext4 -b 4096 -O bigalloc -C 65536', 64);
      all(s, [['write', 0, 131072, A], ['fsync'], ['fallocate', PUNCH | KEEP, 4096, 8192]]);
      expect(s.map()).toEqual([
        [0, 1, false],
        [3, 29, false],
      ]);
      expect(s.blocks).toBe(256);
      expect(s.act(['fallocate', COLLAPSE, 65536, 4096])).toBe('EINVAL');
      expect(s.act(['fallocate', INSERT, 4096, 65536])).toBe('EINVAL');
      all(s, [['fallocate', PUNCH | KEEP, 0, 65536]]);
      expect(s.blocks).toBe(128);
      all(s, [
        ['fallocate', INSERT, 65536, 65536],
        ['fallocate', COLLAPSE, 0, 65536],
      ]);
      check(s, {
        bytes: [
          [0, 65536],
          [A, 65536],
        ],
        map: [[16, 16, false]],
        blocks: 128,
      });
    });

    test('60: a block map can be punched, and no more', () => {
      const s = start(o, '-t ext4 -b 4096 -O ^extent,^64bit');
      all(s, [['write', 0, 122880, A], ['fsync'], ['fallocate', PUNCH | KEEP, 8192, 16384]]);
      expect(s.map()).toEqual([
        [0, 2, false],
        [6, 24, false],
      ]);
      expect(s.blocks).toBe(216);
      for (const flags of [0, KEEP, ZERO, COLLAPSE, INSERT]) {
        expect(s.act(['fallocate', flags, 0, 4096])).toBe('EOPNOTSUPP');
      }
      all(s, [['fallocate', PUNCH | KEEP, 12 * 4096, 18 * 4096]]);
      check(s, {
        bytes: [
          [A, 8192],
          [0, 16384],
          [A, 24576],
          [0, 73728],
        ],
        blocks: 64,
      });
    });
  });
}
