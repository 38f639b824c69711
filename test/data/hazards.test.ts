// The 42 hazards that were found in review of the kernel's series (SERIES.md 4), each by its number: a test here,
// or the scenario that covers it, or why it cannot arise in this design, with the assertion that says so. In this
// design writeback of a file runs in file order, one batch at a time; no handle is open while anything waits;
// folios hold whole blocks.

import { expect, test } from 'vitest';
import { assert } from '../../ts/assert.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import { iomapOps } from '../../ts/ext4/path/cached.ts';
import { zeroWithinBlock } from '../../ts/ext4/zerorange.ts';
import { commit, step, writeBackFile } from '../../ts/flow.ts';
import { IOMAP_DELALLOC, IOMAP_F_NEW, IOMAP_WRITE, newIomap } from '../../ts/iomap/iter.ts';
import { mountVfs } from '../../ts/vfs/filesystem.ts';
import { need } from '../need.ts';
import { slowDevice } from '../slow.ts';
import { bytes } from '../write/driver.ts';
import { contents, fsck, makeImage, recover } from '../write/images.ts';
import { KINDS, type KindName } from './kinds.ts';
import { crashScenario, NEEDS, scenario } from './scenario.ts';
import { A, B, codeOf, FOUL, made, readF, Subject, same } from './subject.ts';

const K = 1024;
const CACHED: KindName[] = [
  'iomap 1k',
  'iomap 4k',
  'bufferhead 1k',
  'bufferhead 4k',
  'indirect 4k',
];
const IOMAP: KindName[] = ['iomap 1k', 'iomap 4k'];

/** 2000 bytes a, foreign bytes behind them on the disk. */
function polluted(s: Subject): void {
  s.write(0, 2000, A);
  s.fsync();
  s.pollute(2000, Math.ceil(2000 / s.block) * s.block);
}

/** Positions in the file of the data writes that were recorded, by what they hold. */
function order(s: Subject, marks: Record<string, number>): string[] {
  const seen: string[] = [];
  for (const r of s.recorder?.log ?? []) {
    if (r.kind !== 'write') continue;
    for (const [name, dpos] of Object.entries(marks)) {
      if (r.dpos <= dpos && dpos < r.dpos + r.bytes.length) seen.push(name);
    }
  }
  return seen;
}

need.describe('stale data and size', NEEDS, () => {
  // H1: scenarios 6, 7, 13 and 11, with log flushes; and here the second way in which such bytes come to be.
  scenario(
    'H1. an append within the last block whose size never committed, then growth',
    CACHED,
    (s) => {
      s.write(0, 2000, A);
      s.sync();
      s.write(2000, 40, FOUL);
      s.run(writeBackFile(s.inode.ino)); // the data is on the device; the size is not committed
      const again = new Subject(s.name, { image: s.image() });
      same(again.read(), made([2000, A]), 'the old size');
      again.trunc(9000);
      same(again.read(), made([2000, A], [7000, 0]), 'grown');
      again.run(commit());
      const { seen } = recover(again.image(), readF);
      same(seen, made([2000, A], [seen.length - 2000, 0]), 'after a log flush and a cut');
      again.finish();
    },
  );

  // H2: scenario 5 in direct.test.ts: O_DIRECT appends zero the old end too.

  scenario('H3. of many growths exactly the block of the end on disk has to wait', CACHED, (s) => {
    polluted(s);
    const pending: unknown[] = [];
    s.fs.trace.listen('disksize.pending', (_, e) => pending.push(e.pending));
    for (const at of [6, 10, 14]) s.write(at * K, 1, B);
    expect(pending, s.name).toEqual([true]);
    s.fsync();
    expect(pending, s.name).toEqual([true, false]);
  });

  for (const name of CACHED) {
    test(`H4. ${name}: the end's zeroes are written before later data, the size after both`, () => {
      const s = new Subject(name, { record: true });
      polluted(s);
      s.recorder?.forget();
      s.trunc(5000);
      s.write(40 * K, 4096, B);
      s.fsync();
      const tail = s.place(1999) - (s.place(1999) % s.block);
      const later = s.place(40 * K);
      const seen = order(s, { tail, later });
      expect(seen.indexOf('tail'), seen.join()).toBe(0);
      expect(seen.indexOf('later'), seen.join()).toBeGreaterThan(0);
      expect(s.diskSize).toBe(44 * K);
      s.finish();
    });
  }

  // H5: scenario 9. H6: scenario 3 (fallocate 0..10000). H7: scenario 43 in faults.test.ts.

  scenario(
    'H8. an append within an unwritten block has nothing to wait for, and is written once',
    IOMAP,
    (s) => {
      s.alloc(0, 4096, true);
      s.write(0, 100, A);
      s.fsync();
      const b = s.block;
      // The end lies in an unwritten block (or, at 4 KiB, behind what was preallocated).
      s.trunc(b + 200);
      s.fsync();
      const pending: unknown[] = [];
      s.fs.trace.listen('disksize.pending', (_, e) => pending.push(e.pending));
      s.write(b + 500, 300, B);
      expect(pending, s.name).toEqual([]);
      const before = s.fs.counters().deviceWriteBytes;
      s.run(writeBackFile(s.inode.ino));
      expect(s.fs.counters().deviceWriteBytes - before, 'one block').toBe(b);
    },
  );

  // H9: scenario 46.

  scenario(
    'H10. the end is written in one run with its neighbour: the size still waits for all of it',
    CACHED,
    (s) => {
      polluted(s);
      s.write(2 * K * 4, 4096, B);
      s.trunc(20 * K);
      const events: string[] = [];
      s.fs.trace.listen('disksize.pending', (_, e) => events.push(`${e.pending}`));
      s.fsync();
      expect(events, s.name).toEqual(['false']);
      expect(s.diskSize, s.name).toBe(20 * K);
    },
  );

  // H11: scenario 10: one bit, not a range, so that several growths cannot overwrite each other's.

  scenario('H12. truncation down ends the wait', CACHED, (s) => {
    polluted(s);
    s.trunc(10_000);
    expect(s.inode.growPending, s.name).toBe(true);
    s.trunc(1000);
    expect(s.inode.growPending, s.name).toBe(false);
    s.trunc(3000);
    s.fsync();
    expect(s.diskSize, s.name).toBe(3000);
    same(s.read(), made([1000, A], [2000, 0]), s.name);
  });
  // H12, an I/O error while it waits: faults.test.ts, "a truncation up": the next fsync writes it, nobody hangs.
});

need.describe('deadlocks', NEEDS, () => {
  // H13: scenario 21 (a): zeroing under an open handle is EINVAL; and no caller does that:
  scenario('H13. H14. H18. no range operation or growth finds a handle open', CACHED, (s) => {
    let zeroed = 0;
    s.fs.trace.listen('zero', () => zeroed++);
    s.write(0, 20_000, A);
    s.fsync();
    if (s.kind.extents) s.zero(100, 9000);
    s.punch(3000, 9000);
    s.trunc(15_000);
    s.trunc(30_000);
    s.write(40_000, 10, B);
    expect(zeroed, s.name).toBeGreaterThan(3);
  });

  // H14: zeroing of unwritten blocks with dirty data never flushes (see also 16, 23):
  scenario('H14. H16. zeroing parts of blocks writes nothing to the device', CACHED, (s) => {
    if (s.kind.extents) s.alloc(0, 64 * K);
    s.write(0, 16 * K, A);
    s.write(32 * K, 100, A);
    const { deviceWrites } = s.fs.counters();
    s.run(step(zeroWithinBlock, s.inode, 100, 300));
    s.run(step(zeroWithinBlock, s.inode, 20 * K, 300)); // clean, or a hole
    s.run(step(zeroWithinBlock, s.inode, 32 * K, 50));
    expect(s.fs.counters().deviceWrites, s.name).toBe(deviceWrites);
    const want = made([100, A], [300, 0], [16 * K - 400, A], [16 * K + 50, 0], [50, A]);
    same(s.read(0, want.length), want, s.name);
  });

  // H15: scenario 23.

  scenario('H17. H19. a commit waits for no data, and writes none', CACHED, (s) => {
    s.write(0, 64 * K, A);
    const dirty = s.fs.counters().dirtyBytes;
    s.run(commit());
    expect(s.fs.counters().dirtyBytes, s.name).toBe(dirty);
  });

  // H20: delayed or not is decided by the mount, never by how much space there is; asking for space writes nothing
  // back while a folio is held, for a step that has to wait is undone first. The pins after it say so:
  test('H20. a write that has to wait for writeback holds nothing meanwhile', () => {
    const s = new Subject('iomap 4k', { cacheBytes: 6 << 20 });
    for (let at = 0; at < 5 << 20; at += 256 * K) s.write(at, 256 * K, A);
    expect(s.fs.vol.cache.pinCount()).toBe(0);
    expect(s.fs.counters().deviceWriteBytes, 'writeback ran on the way').toBeGreaterThan(1 << 20);
    s.finish();
  });
});

/** An asynchronous mount on a device that waits to be told; `wait` lets it go on until a promise settles. */
async function manual(name: KindName) {
  const memory = memoryDevice(makeImage(KINDS[name]), { sparse: true });
  const device = slowDevice(memory, { order: 'manual', stable: true });
  const wait = async <T>(what: Promise<T>): Promise<T> => {
    let done = false;
    what.then(
      () => {
        done = true;
      },
      () => {
        done = true;
      },
    );
    while (!done) {
      if (device.queue.length > 0) await device.complete(0);
      else await new Promise((resolve) => setImmediate(resolve));
    }
    return what;
  };
  const fs = await wait(mountVfs(device, { ...KINDS[name].options, cacheBytes: 8 << 20 }));
  const fd = await wait(fs.run(fs.open(bytes('/f'), 0o102, 0o644)));
  return { memory, device, wait, fs, fd };
}

need.describe('races on mappings', NEEDS, () => {
  // H21, H23: scenario 36; a mapping lives within one step, which nothing interrupts.

  test('H22. blocks are not given to data that a truncation took while writeback was on its way', async () => {
    for (const name of ['iomap 4k', 'bufferhead 4k'] as const) {
      const { memory, wait, fs, fd } = await manual(name);
      await wait(fs.run(fs.data.write(fd, new Uint8Array(100_000).fill(A), 0)));
      const all = [
        fs.run(fs.syncAll()),
        fs.run(fs.data.truncate(fd, 4096)),
        fs.run(fs.data.write(fd, new Uint8Array(5000).fill(B), 20_000)),
        fs.run(fs.data.truncate(fd, 10_000)),
        fs.run(fs.data.fsync(fd, false)),
      ];
      await wait(Promise.all(all));
      expect(fs.vol.reserved, name).toBe(0);
      const { blocks } = await wait(fs.run(fs.fstat(fd)));
      expect(blocks, name).toBe(8);
      await wait(fs.run(fs.unmount()));
      const image = contents(memory as never);
      expect(fsck(image), name).toBe('');
      same(recover(image, readF).seen, made([4096, A], [5904, 0]), name);
    }
  });

  test('H24. what is cached of a map is one mapping, forgotten at every change', () => {
    const s = new Subject('iomap 1k');
    s.alloc(0, 64 * K);
    expect(s.map()).toEqual([[0, 64, 'u']]);
    s.write(10 * K, K, A);
    s.fsync(); // splits the extent that was looked up last
    s.write(9 * K, 3 * K, B);
    expect(s.fs.vol.reserved, 'nothing of it is delayed').toBe(0);
    s.punch(5 * K, 20 * K);
    s.write(8 * K, K, A);
    expect(s.fs.vol.reserved).toBe(1);
    s.finish();
  });

  test('H25. a new promise is told as new, one that was there before is not', () => {
    const s = new Subject('iomap 4k');
    const map = newIomap();
    const ask = (): { type: number; fresh: boolean } =>
      s.run(
        step(() => {
          s.inode.at();
          iomapOps.begin(s.inode, 0, 4096, IOMAP_WRITE, map);
          return { type: map.type, fresh: (map.flags & IOMAP_F_NEW) !== 0 };
        }),
      );
    expect(ask()).toEqual({ type: IOMAP_DELALLOC, fresh: true });
    expect(ask()).toEqual({ type: IOMAP_DELALLOC, fresh: false });
    // And what an operation did not use of a promise that was there before stays: only a new one is given back.
    s.run(
      step(() => {
        iomapOps.end?.(s.inode, 0, 0, IOMAP_WRITE, map);
      }),
    );
    expect(s.fs.vol.reserved).toBe(1);
    s.write(0, 100, A);
    s.finish();
  });

  // H26: scenario 29.
});

need.describe('conversion of extents', NEEDS, () => {
  // H27, H29: scenario 26: what cannot be split stays unwritten, and no cache of states says otherwise.

  test('H28. direct data that never arrived is not in the file', () => {
    const image = makeImage(KINDS['iomap 4k']);
    const memory = memoryDevice(image, { sparse: true });
    const device = slowDevice(memory, { sync: true });
    const s = new Subject('iomap 4k', { image, wrap: () => device, flags: 0o40102 });
    s.alloc(0, 256 * K);
    s.fsync();
    device.fail('write', 1);
    expect(codeOf(() => s.write(64 * K, 64 * K, A))).toBe('EIO');
    same(s.read(), new Uint8Array(256 * K), 'zeroes');
    expect(s.map()).toEqual([[0, 64, 'u']]);
    s.close();
  });

  crashScenario('H30. blocks placed beyond what was written are unwritten', IOMAP, (c) => {
    c.begin();
    c.op((s) => s.write(0, 50_000, A));
    c.op((s) => s.run(writeBackFile(s.inode.ino)));
    c.op((s) => s.run(commit()));
    c.op((s) => s.write(50_000, 30_000, B));
    c.fsync();
    return undefined; // e2fsck would tell of written blocks behind the size: scenario 65
  });

  // H42: data is written, then mapped: the bufferhead path holds blocks in memory only until the data is there.
  test('H42. the bufferhead path maps after the data, with one handle for a run', () => {
    const s = new Subject('bufferhead 4k', { record: true });
    s.sync();
    s.recorder?.forget();
    s.write(0, 100_000, A);
    s.fsync();
    const writes = (s.recorder?.log ?? []).filter((r) => r.kind === 'write');
    expect(writes[0]?.kind === 'write' && writes[0].bytes[0]).toBe(A);
    expect(s.map()).toEqual([[0, 25, 'w']]);
    s.finish();
  });
});

need.describe('states of parts of folios', NEEDS, () => {
  scenario(
    'H31. data over parts of blocks stays dirty until all of them are written',
    ['iomap 1k'],
    (s) => {
      s.write(0, 8 * K, A);
      s.fsync();
      s.write(500, 2000, B);
      s.write(5000, 100, B);
      s.fsync();
      s.remount();
      same(s.read(), made([500, A], [2000, B], [2500, A], [100, B], [3092, A]), s.name);
    },
  );

  // H32: scenarios 16, 17. H33: scenario 45.

  scenario('H34. zeroing what is zero, or was never there, is told as nothing', CACHED, (s) => {
    const zero = (pos: number): unknown => s.run(step(zeroWithinBlock, s.inode, pos, 100));
    s.trunc(64 * K);
    const nothing = { didZero: false, zeroWritten: false };
    expect(zero(100), `${s.name}: a hole`).toEqual(nothing);
    s.write(0, 50, A);
    s.fsync();
    expect(zero(100), `${s.name}: zero already`).toEqual(nothing);
    s.write(0, 300, A);
    expect(zero(100), `${s.name}: written before`).toEqual({ didZero: true, zeroWritten: true });
    s.write(32 * K, 300, A);
    expect(zero(32 * K), `${s.name}: delayed`).toEqual({ didZero: true, zeroWritten: false });
  });

  scenario('H35. zeroing behind the end never moves the size', IOMAP, (s) => {
    s.write(0, 2000, A);
    s.alloc(0, 64 * K, true);
    s.zero(3000, 30_000, true);
    expect(s.size, s.name).toBe(2000);
    s.fsync();
    expect(s.diskSize, s.name).toBe(2000);
    s.trunc(40_000);
    same(s.read(), made([2000, A], [38_000, 0]), s.name);
  });
});

need.describe('reporting and the rest', NEEDS, () => {
  // H36: scenario 37.

  test('H37. fdatasync flushes after an overwrite in place, and commits when the map or the size changed', () => {
    const s = new Subject('iomap 4k');
    s.write(0, 8192, A);
    s.fsync();
    s.write(0, 4096, B);
    const before = s.fs.counters();
    s.fsync(true);
    const over = s.fs.counters();
    expect(over.deviceFlushes - before.deviceFlushes, 'flushed').toBeGreaterThan(0);
    s.write(8192, 100, B);
    s.fsync(true);
    expect(s.fs.counters().commits - over.commits, 'committed: the size').toBe(1);
    s.finish();
  });

  // H38: there is no call here that may not wait; a step that would have to is undone and run again (forced misses
  // are a mode of the exerciser). A write that zeroes the end on such a device:
  test('H38. a write that has to read the end first is done in the end, also when nothing is there at once', () => {
    const s = new Subject('iomap 4k', { forceMiss: true });
    polluted(s);
    s.write(6000, 1000, B);
    same(s.read(), made([2000, A], [4000, 0], [1000, B]), s.name);
    expect(s.fs.counters().reruns).toBeGreaterThan(0);
    s.finish();
  });

  // H39: scenario 66. H40: no operation here exchanges the extents of two files:
  test('H40. nothing swaps the extents of two files', () => {
    const s = new Subject('iomap 4k');
    const names = [...Object.getOwnPropertyNames(Object.getPrototypeOf(s.fs.data))];
    expect(names.filter((name) => /move|swap|exchange|defrag/i.test(name))).toEqual([]);
    assert(names.includes('fallocate'), 'the names are those of the data operations');
    s.close();
  });

  // H41: scenario 61.
});
