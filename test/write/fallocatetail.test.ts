// Goal: what lies behind the end of a file in its last block is never seen when fallocate lets the file grow, before or
// after a power cut; scenarios 3, 4 and 61, on every data path.
// Method: bytes put there on the device, below the file system.

import { expect, test } from 'vitest';
import { mapBlocks } from '../../ts/ext4/iomap.ts';
import { commit, step } from '../../ts/flow.ts';
import type { MountOptions } from '../../ts/vfs/options.ts';
import { need } from '../need.ts';
import {
  all,
  check,
  copyOf,
  expectBytes,
  type FileOp,
  KEEP,
  PATHS,
  PUNCH,
  type Run,
  Subject,
  start,
  ZERO,
} from './fallocate.ts';

const A = 0x61;
const ORACLES = need.tool('mke2fs', 'debugfs', 'e2fsck');

/** A file of 2000 bytes whose block has other bytes behind them on the disk. */
function polluted(o: MountOptions): Subject {
  const s = start(o);
  all(s, [['write', 0, 2000, A], ['fsync']]);
  const { pblk } = s.run(step(() => ({ ...mapBlocks(s.inode, 0) })));
  s.close();
  const image = copyOf(s);
  image.fill(0x5a, pblk * 4096 + 2000, pblk * 4096 + 4096);
  return new Subject(image, o);
}

for (const [path, o] of PATHS) {
  need.describe(`behind the end of the file, on the path ${path}`, [ORACLES], () => {
    const cases: [name: string, op: FileOp, size: number, map: Run[]][] = [
      [
        '3: allocate from the start',
        ['fallocate', 0, 0, 10000],
        10000,
        [
          [0, 1, false],
          [1, 2, true],
        ],
      ],
      [
        '3: allocate behind it',
        ['fallocate', 0, 6000, 3000],
        9000,
        [
          [0, 1, false],
          [1, 2, true],
        ],
      ],
      [
        '4: zero range behind it',
        ['fallocate', ZERO, 6000, 1000],
        7000,
        [
          [0, 1, false],
          [1, 1, true],
        ],
      ],
      [
        '4: zero range across it',
        ['fallocate', ZERO, 1000, 4000],
        5000,
        [
          [0, 1, false],
          [1, 1, true],
        ],
      ],
    ];
    for (const [name, op, size, map] of cases) {
      test(`${name}: nobody sees what was there`, () => {
        const s = polluted(o);
        all(s, [op]);
        const keep = op[2] === 1000 ? 1000 : 2000;
        expectBytes(s, [
          [A, keep],
          [0, size - keep],
        ]);
        // A cut now: the old size or the new one; of the old bytes some may be zero already, behind them all are.
        s.run(commit());
        const cut = new Subject(copyOf(s), o);
        const seen = cut.read();
        expect([2000, size]).toContain(seen.length);
        expect(seen.subarray(0, keep).every((byte) => byte === A)).toBe(true);
        expect(seen.subarray(keep, 2000).every((byte) => byte === A || byte === 0)).toBe(true);
        expect(seen.subarray(2000).every((byte) => byte === 0)).toBe(true);
        expect(cut.finish()).toBe('');
        check(s, {
          bytes: [
            [A, keep],
            [0, size - keep],
          ],
          map,
        });
      });
    }

    test('zero range behind it, the size kept: nobody sees it when the file grows', () => {
      const s = polluted(o);
      all(s, [
        ['fallocate', ZERO | KEEP, 3000, 9000],
        ['trunc', 16384],
      ]);
      check(s, {
        bytes: [
          [A, 2000],
          [0, 14384],
        ],
      });
    });

    test('61: inline data moves to a block when a range is punched, zeroed or allocated', () => {
      for (const flags of [PUNCH | KEEP, ZERO, KEEP, 0]) {
        const s = start(o, '-t ext4 -b 4096 -O inline_data -I 256');
        all(s, [['write', 0, 100, A]]);
        expect(s.inode.path).toBe('inline');
        all(s, [['fallocate', flags, 10, 50]]);
        expect(s.inode.path).not.toBe('inline');
        const zeroes: [number, number][] = [
          [A, 10],
          [0, 50],
          [A, 40],
        ];
        check(s, { bytes: flags === 0 || flags === KEEP ? [[A, 100]] : zeroes, blocks: 8 });
      }
    });
  });
}
