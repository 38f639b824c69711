// Scenarios 13, 22 to 32 and 37: views, unwritten blocks that become written, promises of space, writeback.
// Expected results as measured with Linux 6.18 where it has the case. Writeback of a file here goes in file order,
// one batch after the other: the data, then one handle for map and size.

import { expect } from 'vitest';
import { commit, writeBackFile } from '../../ts/flow.ts';
import { need } from '../need.ts';
import { bytes } from '../write/driver.ts';
import { recover } from '../write/images.ts';
import { CUT, EXTENTS, KINDS, kindsWith } from './kinds.ts';
import { crashScenario, NEEDS, scenario } from './scenario.ts';
import { A, B, codeOf, FOUL, made, readF, type Subject, same } from './subject.ts';

const K = 1024;
const viewable = kindsWith((k) => k.path !== 'journalled');
const delayed = kindsWith(
  (k) => (k.path === 'iomap' || k.path === 'bufferhead') && k.options.delalloc !== false,
);
const delayedCut = CUT.filter((name) => delayed.includes(name));
const delayed4 = delayed.filter((name) => KINDS[name].block === 4096 && name !== 'inline 4k');

/** Free blocks, as statfs tells. */
const free = (s: Subject): number => s.run(s.fs.statfs(bytes('/'))).bfree;

/** Stores behind the end of the file, through the memory of a view, where mmap could make them. */
function storeBehindEnd(s: Subject): void {
  const view = s.fs.viewSync(s.fd, 0, s.size, true);
  const end = (view.ptrs.at(-1) as number) + (view.segments.at(-1) as Uint8Array).length;
  const block = Math.ceil(s.size / s.block) * s.block;
  new Uint8Array(view.memory.buffer, end, block - s.size).fill(FOUL);
  view.dirty(0, s.size);
  view.release();
}

need.describe('views and the end of the file', NEEDS, () => {
  const growths: Record<string, (s: Subject) => void> = {
    'append at 6000': (s) => s.write(6000, 1000, B),
    'truncate to 10000': (s) => s.trunc(10000),
    'fallocate to 10000': (s) => s.alloc(0, 10000),
    'zero range 5000+3000': (s) => s.zero(5000, 3000),
  };
  for (const [name, grow] of Object.entries(growths)) {
    const kinds = viewable.filter((k) => KINDS[k].extents || !/fallocate|zero/.test(name));
    scenario(`13. stores of a view behind the end, then ${name}`, kinds, (s) => {
      s.write(0, 2000, A);
      storeBehindEnd(s);
      grow(s);
      const want = made([2000, A], [s.size - 2000, 0]);
      if (name.startsWith('append')) want.fill(B, 6000);
      same(s.read(), want, `${s.name}: at once`);
      s.remount();
      same(s.read(), want, `${s.name}: remounted`);
    });
  }

  crashScenario(
    '13. stores behind the end, written back, then growth and a cut',
    CUT.filter((k) => viewable.includes(k)),
    (c) => {
      c.subject.write(0, 2000, A);
      c.begin();
      c.op(storeBehindEnd);
      c.fsync();
      c.op((s) => s.trunc(10000));
      c.fsync();
      return undefined;
    },
  );
});

need.describe('unwritten blocks', NEEDS, () => {
  scenario(
    '22. of many dirty pieces over an unwritten extent each is zeroed, and no clean one comes to be',
    ['iomap 1k', 'iomap 4k', 'bufferhead 4k'],
    (s) => {
      s.alloc(0, 200 * s.block);
      for (let i = 0; i < 200; i += 2) s.write(i * s.block, s.block, A);
      const before = s.fs.counters().dirtyBytes;
      s.zero(10, 200 * s.block - 20, true);
      expect(s.fs.counters().dirtyBytes, 'nothing more is dirty').toBeLessThan(before);
      const want = new Uint8Array(200 * s.block);
      want.fill(A, 0, 10);
      same(s.read(), want, s.name);
      s.fsync();
      // The first block holds data; the last one, an odd one, never had any.
      expect(s.map(), s.name).toEqual([
        [0, 1, 'w'],
        [1, 199, 'u'],
      ]);
    },
  );

  scenario(
    '23. the hole half of a dirty folio is punched: nothing is written for that',
    ['iomap 1k'],
    (s) => {
      s.alloc(2 * K, 2 * K);
      s.write(2 * K, 2 * K, A);
      const { deviceWrites } = s.fs.counters();
      s.punch(0, 2 * K);
      expect(s.fs.counters().deviceWrites).toBe(deviceWrites);
      same(s.read(), made([2 * K, 0], [2 * K, A]), s.name);
    },
  );

  const four = EXTENTS.filter((name) => KINDS[name].block === 4096);
  scenario('24. a partial write into preallocated space', four, (s) => {
    s.alloc(0, 1024 * K);
    s.write(400 * K, 12 * K, A);
    s.fsync();
    const end = 256;
    expect(s.map(), s.name).toEqual([
      [0, 100, 'u'],
      [100, 3, 'w'],
      [103, end - 103, 'u'],
    ]);
    same(s.read(), made([400 * K, 0], [12 * K, A], [612 * K, 0]), s.name);
  });

  scenario('24. one block of four preallocated ones', four, (s) => {
    s.alloc(0, 16 * K);
    s.write(4 * K, 4 * K, A);
    s.fsync();
    expect(s.map(), s.name).toEqual([
      [0, 1, 'u'],
      [1, 1, 'w'],
      [2, 2, 'u'],
    ]);
  });

  crashScenario(
    '24. 25. preallocated space reads as zero at every cut until its data is durable',
    CUT.filter((k) => KINDS[k].extents),
    (c) => {
      c.subject.alloc(0, 64 * K);
      c.begin();
      c.op((s) => s.write(20 * K, 12 * K, A));
      c.fsync();
      c.op((s) => s.write(40 * K, 12 * K, B));
      c.fsync();
      return undefined;
    },
  );

  scenario(
    '25. written back and not committed: still unwritten; committed: data',
    ['iomap 1k', 'iomap 4k', 'bufferhead 4k'],
    (s) => {
      s.alloc(0, 64 * K);
      s.sync();
      s.write(0, 8 * K, A);
      s.run(writeBackFile(s.inode.ino));
      const zeroes = new Uint8Array(64 * K);
      same(recover(s.image(), readF).seen, zeroes, 'before the commit');
      s.run(commit());
      same(recover(s.image(), readF).seen, made([8 * K, A], [56 * K, 0]), 'after it');
    },
  );
});

/** Writes until there is no room; returns bytes accepted. */
function fill(s: Subject, piece: number): number {
  const data = new Uint8Array(piece).fill(A);
  for (let at = 0; ; ) {
    let n = 0;
    const code = codeOf(() => {
      n = s.fs.writeSync(s.fd, data, 0, piece, at);
    });
    if (code !== '') {
      expect(code, s.name).toBe('ENOSPC');
      return at;
    }
    at += n;
  }
}

need.describe('promises of space', NEEDS, () => {
  scenario('27. what write() accepted can be written; space comes back exactly', CUT, (s) => {
    s.sync();
    const before = free(s);
    const accepted = fill(s, 65536);
    expect(accepted, s.name).toBeGreaterThan(before * s.block * 0.8);
    s.fsync();
    expect(s.size, s.name).toBe(accepted);
    expect(
      s.read(accepted - 5000).every((b) => b === A),
      s.name,
    ).toBe(true);
    s.trunc(0);
    s.sync();
    expect(free(s), `${s.name}: free again`).toBe(before);
  });

  scenario(
    '27. promised space is free again when nothing of it was ever written',
    delayedCut,
    (s) => {
      s.sync();
      const before = free(s);
      fill(s, 65536);
      s.trunc(0);
      expect(free(s), s.name).toBe(before);
    },
  );

  scenario(
    '28. statfs and st_blocks count promises',
    delayed4.filter((k) => KINDS[k].cluster === 4096),
    (s) => {
      s.sync();
      const start = free(s);
      const { deviceWrites } = s.fs.counters();
      s.write(0, 64 * K, A);
      expect(free(s)).toBe(start - 16);
      expect(s.blocks).toBe(128);
      s.trunc(5000);
      expect(free(s)).toBe(start - 2);
      expect(s.blocks).toBe(16);
      s.trunc(0);
      expect(free(s)).toBe(start);
      expect(s.blocks).toBe(0);
      expect(s.fs.counters().deviceWrites, 'nothing was ever allocated').toBe(deviceWrites);
    },
  );

  scenario('29. a copy that stops short keeps no promise', delayedCut, (s) => {
    s.sync();
    const before = free(s);
    const most = s.fs.counters().cacheBytes; // more than may be dirty: the copy stops and goes on
    const count = Math.min(most, 5 << 20);
    expect(s.write(0, count, A)).toBe(count);
    expect(s.fs.vol.reserved * s.kind.cluster, s.name).toBeLessThanOrEqual(count);
    s.sync();
    s.trunc(0);
    s.sync();
    expect(free(s), s.name).toBe(before);
  });

  scenario(
    '30. an append that is still delayed is not in the log',
    delayed4.filter((k) => KINDS[k].cluster === 4096),
    (s) => {
      s.write(0, 4096, A);
      s.fsync();
      s.write(4096, 8192, B);
      s.run(commit());
      const { seen } = recover(s.image(), (fs) => ({
        bytes: readF(fs),
        blocks: fs.statSync('/f' as never, true).blocks,
      }));
      expect(seen.blocks, s.name).toBe(8);
      same(seen.bytes, made([4096, A]), s.name);
    },
  );

  scenario(
    '31. nodelalloc: after a log flush the old size, or the new one with its data',
    ['nodelalloc 1k', 'nodelalloc 4k'],
    (s) => {
      s.write(0, 4096, A);
      s.fsync();
      s.write(4096, 8192, B);
      s.run(commit());
      const { seen } = recover(s.image(), readF);
      expect([4096, 12288], s.name).toContain(seen.length);
      same(seen, made([4096, A], [8192, B]).subarray(0, seen.length), s.name);
    },
  );

  scenario('32. an overwrite and a log flush: old data, or new', CUT, (s) => {
    s.write(0, 16384, A);
    s.fsync();
    s.write(0, 16384, B);
    s.run(commit());
    const { seen } = recover(s.image(), readF);
    expect(seen.length, s.name).toBe(16384);
    for (let at = 0; at < seen.length; at += s.block) {
      const block = seen.subarray(at, at + s.block);
      expect(block.every((b) => b === A) || block.every((b) => b === B), s.name).toBe(true);
    }
    if (s.kind.path === 'iomap' || s.kind.path === 'bufferhead') expect(seen[0], s.name).toBe(A);
  });
});

need.describe('where data is', NEEDS, () => {
  scenario(
    '37. SEEK_HOLE, SEEK_DATA and the extents of delayed data over preallocated space',
    EXTENTS.filter((k) => KINDS[k].block === 4096),
    (s) => {
      s.alloc(0, 64 * K);
      s.write(8 * K, 4 * K, A);
      expect(s.seekHole(0), s.name).toBe(0);
      expect(s.seekData(0), s.name).toBe(8 * K);
      expect(s.seekHole(8 * K), s.name).toBe(12 * K);
      expect(
        codeOf(() => s.seekData(12 * K)),
        s.name,
      ).toBe('ENXIO');
    },
  );

  scenario(
    '37. delayed data counts as data, with block maps too',
    ['indirect 1k', 'indirect 4k', 'iomap 4k', 'bufferhead 4k', 'bigalloc'],
    (s) => {
      s.trunc(64 * K);
      s.write(8 * K, 4 * K, A);
      expect(s.seekHole(0), s.name).toBe(0);
      expect(s.seekData(0), s.name).toBe(8 * K);
      expect(s.seekHole(8 * K), s.name).toBe(12 * K);
      const runs = s.run(s.fs.extents(s.fd));
      expect(
        runs.some(({ flags }) => (flags & 4) !== 0),
        `${s.name}: FIEMAP_EXTENT_DELALLOC`,
      ).toBe(true);
    },
  );

  /** Four extents of 40 blocks fill the inode; one more split needs a block, and there is none, not even of
   *  those that are kept for trees, while `act` runs. */
  function withoutRoom(s: Subject, act: () => void, end = 340): void {
    const b = s.block;
    s.trunc(end * b);
    for (const at of [0, 100, 200, 300]) s.alloc(at * b, 40 * b, true);
    s.sync();
    // What preallocated blocks held before is not zero.
    for (let at = 100; at < 140; at++) s.writeRaw(s.place(at * b), new Uint8Array(b).fill(FOUL));
    const { vol } = s.fs;
    const { clusters } = vol.free!;
    vol.free!.clusters = 0;
    act();
    vol.free!.clusters = clusters;
  }

  scenario(
    '26. H27. H29. no room to split an extent: data is there, its neighbours read zero',
    ['iomap 1k', 'iomap 4k', 'nodelalloc 4k'],
    (s) => {
      const b = s.block;
      const want = new Uint8Array(340 * b);
      want.fill(A, 110 * b, 111 * b).fill(B, 120 * b + 7, 125 * b);
      withoutRoom(s, () => {
        s.write(110 * b, b, A);
        s.write(120 * b + 7, 5 * b - 7, B);
        s.fsync();
      });
      same(s.read(), want, s.name);
      expect(s.map(), s.name).toEqual([
        [0, 40, 'u'],
        [100, 40, 'w'],
        [200, 40, 'u'],
        [300, 40, 'u'],
      ]);
      s.remount();
      same(s.read(), want, `${s.name}: remounted`);
      s.write(105 * b, b, 0x63); // the map in memory says what the disk says
      s.fsync();
      want.fill(0x63, 105 * b, 106 * b);
      same(s.read(), want, s.name);
    },
  );

  scenario(
    '26. no room to split an extent that goes on behind the end: told, and nothing foreign',
    ['iomap 1k', 'iomap 4k'],
    (s) => {
      const b = s.block;
      let code = '';
      const act = (): void => {
        s.write(310 * b, b, A);
        code = codeOf(() => s.fsync());
      };
      withoutRoom(s, act, 325);
      expect(code, s.name).toBe('EIO');
      s.remount();
      same(s.read(), new Uint8Array(325 * b), s.name);
    },
  );
});
