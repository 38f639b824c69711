// Scenarios 1 to 23: zeroing part of a block, and how the size grows. The expected results are those measured with
// Linux 6.18, except where that is wrong (5) or has no such path; then the rule decides: every byte below the size
// is data that was written, or zero. "Polluted" is a last block whose bytes behind the end are 0x5a on the disk.

import { expect } from 'vitest';
import { zeroWithinBlock } from '../../ts/ext4/zerorange.ts';
import { commit, step } from '../../ts/flow.ts';
import { need } from '../need.ts';
import { CUT, EXTENTS, FOUR, kindsWith, NAMES, PATHS } from './kinds.ts';
import { crashScenario, NEEDS, scenario } from './scenario.ts';
import { A, B, codeOf, made, type Run, type Subject, same } from './subject.ts';

const END = 2000;

/** A file of 2000 bytes a, its last block polluted behind them. */
function polluted(s: Subject): void {
  s.write(0, END, A);
  s.fsync();
  s.pollute(END, Math.ceil(END / s.block) * s.block);
}

/** The file is so, before and after a sync and a remount. */
function holds(s: Subject, want: Uint8Array): void {
  same(s.read(), want, `${s.name}: at once`);
  s.sync();
  same(s.read(), want, `${s.name}: synced`);
  s.remount();
  same(s.read(), want, `${s.name}: remounted`);
}

/** A commit that waits for no data, as one by the clock. */
const flushLog = (s: Subject): void => s.run(commit());

const grown = (to: number, ...more: [number, number][]) => made([END, A], [to - END, 0], ...more);
const isFour = (s: Subject) => s.block === 4096 && s.kind.cluster === 4096;

/** st_blocks, in the units that it was measured in. */
function expectBlocks(s: Subject, want: number): void {
  if (isFour(s)) expect(s.blocks, `${s.name}: st_blocks`).toBe(want);
}

need.describe('zeroing and growth', NEEDS, () => {
  scenario('1. polluted tail, append at 6000', NAMES, (s) => {
    polluted(s);
    s.write(6000, 1000, B);
    holds(s, grown(6000, [1000, B]));
    expectBlocks(s, 16);
  });

  scenario('2. polluted tail, truncate to 10000', NAMES, (s) => {
    polluted(s);
    s.trunc(10000);
    holds(s, grown(10000));
    expectBlocks(s, 8);
  });

  const extents = kindsWith((k) => k.extents);
  scenario('3. polluted tail, fallocate 0..10000', extents, (s) => {
    polluted(s);
    s.alloc(0, 10000);
    holds(s, grown(10000));
    expectBlocks(s, 24);
  });

  scenario('3. polluted tail, fallocate 6000+3000', extents, (s) => {
    polluted(s);
    s.alloc(6000, 3000);
    holds(s, grown(9000));
    expectBlocks(s, 24);
    if (isFour(s)) {
      expect(s.map(), s.name).toEqual([
        [0, 1, 'w'],
        [1, 2, 'u'],
      ]);
    }
  });

  scenario('4. polluted tail, zero range 6000+1000', extents, (s) => {
    polluted(s);
    s.zero(6000, 1000);
    holds(s, grown(7000));
  });

  scenario('4. polluted tail, zero range 1000+4000 across the end', extents, (s) => {
    polluted(s);
    s.zero(1000, 4000);
    holds(s, made([1000, A], [4000, 0]));
    if (isFour(s)) {
      expect(s.map(), s.name).toEqual([
        [0, 1, 'w'],
        [1, 1, 'u'],
      ]);
    }
  });

  scenario('5. polluted tail, a write that begins with the next block', NAMES, (s) => {
    polluted(s);
    const next = Math.ceil(END / s.block) * s.block;
    s.write(next, 4096, B);
    holds(s, made([END, A], [next - END, 0], [4096, B]));
  });

  crashScenario('6. growth, and a cut at any moment between data and size', CUT, (c) => {
    polluted(c.subject);
    c.begin();
    c.op((s) => s.trunc(10000));
    c.op(flushLog); // the size must not be in it before the zeroes are on the disk
    c.fsync();
    return (all) => {
      const sizes = new Set(all.map(({ bytes }) => bytes.length));
      expect([...sizes].sort(), c.subject.name).toEqual([10000, 2000]);
    };
  });

  crashScenario('7. append within the last block, a cut at any moment', CUT, (c) => {
    c.subject.write(0, END, A);
    c.subject.fsync();
    c.begin();
    c.op((s) => s.write(END, 1000, B));
    c.op(flushLog);
    c.fsync();
    c.op((s) => s.trunc(8192));
    c.fsync();
    return undefined;
  });

  crashScenario('8. a later block does not complete before the tail does', PATHS, (c) => {
    polluted(c.subject);
    c.begin();
    c.op((s) => s.write(8192, 4096, B));
    c.op(flushLog);
    c.fsync();
    return (all) => {
      for (const { bytes, where } of all) expect([2000, 12288], where).toContain(bytes.length);
    };
  });

  scenario('9. truncate up with nothing to write behind', NAMES, (s) => {
    polluted(s);
    s.trunc(1 << 20);
    s.fsync();
    if (s.inode.path !== 'inline') expect(s.diskSize, s.name).toBe(1 << 20);
    holds(s, grown(1 << 20));
  });

  crashScenario('10. three growths in flight', PATHS, (c) => {
    polluted(c.subject);
    c.begin();
    c.op((s) => s.trunc(5000));
    c.op(flushLog);
    c.op((s) => s.write(9000, 3000, B));
    c.op((s) => s.trunc(20000));
    c.op(flushLog);
    c.fsync();
    return undefined;
  });

  scenario('11. truncate down within a block', FOUR, (s) => {
    s.write(0, 12288, A);
    s.trunc(5000);
    s.fsync();
    if (s.kind.path === 'journalled') s.remount(); // until then it is in the log
    same(s.raw(4096, 4096), made([904, A], [3192, 0]), `${s.name}: block 1 on the disk`);
    s.trunc(12288);
    holds(s, made([5000, A], [7288, 0]));
    expect(s.map(), s.name).toEqual([[0, 2, 'w']]);
    expectBlocks(s, 16);
  });

  crashScenario('12. truncate down, then a cut', CUT, (c) => {
    c.subject.write(0, 12288, A);
    c.begin();
    c.op((s) => s.trunc(5000));
    c.op(flushLog);
    c.fsync();
    c.op((s) => s.trunc(9000));
    c.op(flushLog);
    c.fsync();
    return (all) => {
      for (const { bytes, where } of all) {
        expect([12288, 5000, 9000], where).toContain(bytes.length);
        // Nothing in between: an old size has its old data, but for the new end's block, zeroed behind the end.
        const tail = Math.ceil(5000 / c.subject.block) * c.subject.block;
        if (bytes.length === 12288)
          expect(
            bytes.subarray(tail).every((b) => b === A),
            where,
          ).toBe(true);
      }
    };
  });

  const wide = kindsWith((k) => k.extents && k.block === 4096 && k.cluster === 4096);
  scenario('14. zero range within a block', wide, (s) => {
    s.write(0, 8192, A);
    s.zero(100, 50);
    holds(s, made([100, A], [50, 0], [8042, A]));
    expect(s.map(), s.name).toEqual([[0, 2, 'w']]);
  });

  scenario('14. zero range over parts of two blocks', wide, (s) => {
    s.write(0, 8192, A);
    s.zero(100, 8000);
    holds(s, made([100, A], [8000, 0], [92, A]));
    expect(s.map(), s.name).toEqual([[0, 2, 'w']]);
  });

  scenario('15. zero range over written blocks', wide, (s) => {
    s.write(0, 65536, A);
    s.fsync();
    s.zero(5000, 20000);
    holds(s, made([5000, A], [20000, 0], [40536, A]));
    expect(s.map(), s.name).toEqual([
      [0, 2, 'w'],
      [2, 4, 'u'],
      [6, 10, 'w'],
    ]);
  });

  const small = EXTENTS.filter((name) => name.endsWith(' 1k'));
  const layout: Run[] = [
    [0, 4, 'w'],
    [4, 32, 'u'],
    [36, 28, 'w'],
  ];
  scenario('16. zero range over unwritten blocks with dirty data', small, (s) => {
    s.alloc(0, 65536);
    s.write(0, 65536, A);
    s.zero(4096, 32768);
    s.fsync();
    expect(s.map(), s.name).toEqual(layout);
    holds(s, made([4096, A], [32768, 0], [28672, A]));
  });

  scenario('17. zero range over delayed blocks', small, (s) => {
    s.write(0, 65536, A);
    s.zero(4096, 32768);
    s.fsync();
    expect(s.map(), s.name).toEqual(layout);
    holds(s, made([4096, A], [32768, 0], [28672, A]));
  });

  scenario('18. zero range over a hole rounds outwards', small, (s) => {
    s.trunc(65536);
    s.zero(5000, 20000);
    holds(s, new Uint8Array(65536));
    expect(s.map(), s.name).toEqual([[4, 21, 'u']]);
    expect(s.blocks, s.name).toBe(42);
  });

  scenario('19. zero range across the end, size kept', wide, (s) => {
    s.write(0, 10000, A);
    s.zero(4096, 40960, true);
    holds(s, made([4096, A], [5904, 0]));
    expect(s.map(), s.name).toEqual([
      [0, 1, 'w'],
      [1, 10, 'u'],
    ]);
    expect(s.blocks, s.name).toBe(88);
  });

  scenario('19. zero range across the end, size grows', wide, (s) => {
    s.write(0, 10000, A);
    s.zero(4096, 40960);
    expect(s.size).toBe(45056);
    holds(s, made([4096, A], [40960, 0]));
  });

  scenario(
    '20. the path of each kind zeroes, and tells whether older bytes may be on disk',
    NAMES,
    (s) => {
      s.write(0, s.kind.args.includes('inline') ? 100 : END, A);
      s.fsync();
      const seen: Record<string, unknown>[] = [];
      const inline = s.inode.path === 'inline';
      if (!inline) s.pollute(END, Math.ceil(END / s.block) * s.block);
      s.fs.trace.listen('zero', (_, event) => seen.push(event));
      s.trunc(10000);
      if (inline) return;
      const cached = s.kind.path === 'iomap' || s.kind.path === 'bufferhead';
      expect(seen, s.name).toEqual([
        expect.objectContaining({
          path: s.kind.path,
          pos: END,
          didZero: true,
          zeroWritten: cached,
        }),
      ]);
      expect(s.inode.growPending, s.name).toBe(cached);
    },
  );

  scenario(
    '20. zeroing of unwritten and delayed blocks leaves nothing to wait for',
    EXTENTS,
    (s) => {
      const cached = s.kind.path === 'iomap' || s.kind.path === 'bufferhead';
      const seen: Record<string, unknown>[] = [];
      s.alloc(0, s.block * 4);
      s.trunc(s.block * 2 + 100);
      s.fs.trace.listen('zero', (_, event) => seen.push(event));
      s.trunc(s.block * 8);
      s.write(s.block * 8, 100, A);
      s.trunc(s.block * 12);
      if (cached && s.options.delalloc !== false) {
        expect(
          seen.map(({ zeroWritten }) => zeroWritten),
          s.name,
        ).toEqual([false, false]);
        expect(s.inode.growPending, s.name).toBe(false);
      }
      expect(seen[0].didZero, `${s.name}: an unwritten block without data`).toBe(false);
    },
  );

  scenario(
    '21. zeroing refuses what it must',
    ['iomap 1k', 'iomap 4k', 'bufferhead 4k', 'dax 4k'],
    (s) => {
      s.write(0, END, A);
      s.fsync();
      const { vol } = s.fs;
      const { journal } = vol;
      const within = (open: boolean) => (): unknown =>
        s.run(
          step(() => {
            s.inode.at();
            if (open) journal!.start(1);
            return zeroWithinBlock(s.inode, 100, s.block * 2);
          }),
        );
      expect(codeOf(within(true)), 'with an open handle').toBe('EINVAL');
      vol.down = true;
      expect(codeOf(within(false)), 'after a shutdown').toBe('EIO');
      expect(
        codeOf(() => s.trunc(10000)),
        'after a shutdown',
      ).toBe('EIO');
      vol.down = false;
      const { aborted } = journal!;
      journal!.aborted = 'EIO';
      expect(codeOf(within(false)), 'after an abort').toBe('EROFS');
      journal!.aborted = aborted;
      same(s.read(), made([END, A]), 'nothing was zeroed');
      // A range that leaves the block is cut to it, before a path sees it.
      within(false)();
      const first = Math.min(END, s.block);
      same(s.read(), made([100, A], [first - 100, 0], [END - first, A]), s.name);
    },
  );
});
