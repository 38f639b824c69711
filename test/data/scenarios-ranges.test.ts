// Scenarios 38 to 46 and 55: the fallocate family, on every path that has it, and what is left of journalled data.
// Expected results as measured with Linux 6.18.

import { expect } from 'vitest';
import { commit } from '../../ts/flow.ts';
import { need } from '../need.ts';
import { fsck, recover, tool } from '../write/images.ts';
import { CUT, EXTENTS, FOUR, KINDS, kindsWith, PATHS } from './kinds.ts';
import { crashScenario, NEEDS, scenario } from './scenario.ts';
import { A, B, codeOf, FOUL, made, type Run, readF, type Subject, same, store } from './subject.ts';

const K = 1024;
const wide = EXTENTS.filter((name) => KINDS[name].block === 4096);
const small = EXTENTS.filter((name) => KINDS[name].block === 1024);
/** A kind of each path that can move extents about. */
const shifting = CUT.filter((name) => EXTENTS.includes(name));
const cutWide = CUT.filter((name) => KINDS[name].extents);

function holds(s: Subject, want: Uint8Array): void {
  same(s.read(), want, `${s.name}: at once`);
  s.remount();
  same(s.read(), want, `${s.name}: remounted`);
}

/** The map, of blocks with data or without: where zero range or preallocation left some unwritten. */
const mapped = (s: Subject): Run[] => s.map();

need.describe('punching', NEEDS, () => {
  scenario('38. punch with edges inside blocks', FOUR, (s) => {
    s.write(0, 64 * K, A);
    s.fsync();
    s.punch(5000, 20_000);
    holds(s, made([5000, A], [20_000, 0], [40_536, A]));
    expect(mapped(s), s.name).toEqual([
      [0, 2, 'w'],
      [6, 10, 'w'],
    ]);
    expect(s.blocks, s.name).toBe(s.kind.extents ? 96 : 104); // 60. the block of pointers stays
  });

  scenario('38. punch of a whole file', FOUR, (s) => {
    s.write(0, 64 * K, A);
    s.fsync();
    s.punch(0, 64 * K);
    holds(s, new Uint8Array(64 * K));
    expect(mapped(s), s.name).toEqual([]);
    expect(s.blocks, s.name).toBe(0);
  });

  scenario('38. punch behind the end leaves preallocated blocks', wide, (s) => {
    s.write(0, 4096, A);
    s.alloc(0, 64 * K, true);
    s.punch(16 * K, 16 * K);
    expect(s.blocks, s.name).toBe(128);
    holds(s, made([4096, A]));
  });
});

need.describe('collapsing and inserting', NEEDS, () => {
  const halves = (s: Subject): void => {
    s.write(0, 16 * K, A);
    s.write(16 * K, 16 * K, B);
  };

  scenario('39. collapse', wide, (s) => {
    halves(s);
    s.collapse(4 * K, 8 * K);
    expect(s.size, s.name).toBe(24576);
    holds(s, made([8 * K, A], [16 * K, B]));
    for (const [pos, len] of [
      [1, 4096],
      [4096, 100],
      [0, 24576],
      [4096, 65536],
      [40960, 4096],
    ]) {
      expect(
        codeOf(() => s.collapse(pos, len)),
        `${s.name}: ${pos}+${len}`,
      ).toBe('EINVAL');
    }
    holds(s, made([8 * K, A], [16 * K, B]));
  });

  scenario('40. insert', wide, (s) => {
    halves(s);
    s.collapse(4 * K, 8 * K);
    s.insert(8 * K, 8 * K);
    expect(s.size, s.name).toBe(32768);
    const want = made([8 * K, A], [8 * K, 0], [16 * K, B]);
    holds(s, want);
    expect(mapped(s), s.name).toEqual([
      [0, 2, 'w'],
      [4, 4, 'w'],
    ]);
    expect(
      codeOf(() => s.insert(32768, 4096)),
      s.name,
    ).toBe('EINVAL');
    expect(
      codeOf(() => s.insert(4096, 2 ** 44 - 4096)),
      s.name,
    ).toBe('EFBIG');
    s.insert(0, 4096);
    holds(s, made([4096, 0], [8 * K, A], [8 * K, 0], [16 * K, B]));
  });
});

need.describe('flags', NEEDS, () => {
  scenario('41. what goes together', ['iomap 4k', 'bufferhead 4k'], (s) => {
    const code = (mode: never, pos: number, len: number, keep: boolean): string =>
      codeOf(() => s.run(s.fs.data.fallocate(s.fd, mode, pos, len, keep)));
    s.write(0, 65536, A);
    const want: [string, boolean, string][] = [
      ['alloc', false, ''],
      ['alloc', true, ''],
      ['zero', false, ''],
      ['zero', true, ''],
      ['punch', true, ''],
      ['punch', false, 'EOPNOTSUPP'],
      ['collapse', true, 'EOPNOTSUPP'],
      ['insert', true, 'EOPNOTSUPP'],
    ];
    for (const [mode, keep, result] of want) {
      expect(code(mode as never, 4096, 4096, keep), `${mode} ${keep}`).toBe(result);
      expect(code(mode as never, 4096, 0, keep), `${mode}: nothing`).toBe('EINVAL');
      expect(code(mode as never, -1, 4096, keep), `${mode}: before 0`).toBe('EINVAL');
    }
    for (const mode of ['alloc', 'zero'] as never[]) {
      expect(code(mode, 2 ** 44, 4096, false), `${mode}: past the end of all`).toBe('EFBIG');
    }
  });

  scenario('42. preallocated space lives until a truncation to the same size', wide, (s) => {
    s.write(0, 4096, A);
    s.alloc(0, 64 * K, true);
    s.sync();
    expect(s.blocks, s.name).toBe(128);
    expect(fsck(recover(s.image(), () => 0, { dax: 'never' }).image)).toBe('');
    s.write(4096, 4096, B); // converts
    s.fsync();
    expect(mapped(s), s.name).toEqual([
      [0, 2, 'w'],
      [2, 14, 'u'],
    ]);
    s.trunc(8192);
    expect(s.blocks, s.name).toBe(16);
    holds(s, made([4096, A], [4096, B]));
  });

  crashScenario('42. preallocated space, appended to, at every cut', cutWide, (c) => {
    c.subject.write(0, 4096, A);
    c.begin();
    c.op((s) => s.alloc(0, 64 * K, true));
    c.op((s) => s.run(commit()));
    c.op((s) => s.write(4096, 6000, B));
    c.fsync();
    c.op((s) => s.trunc(10_096));
    c.fsync();
    return undefined;
  });
});

/** 400 blocks with holes between them: three levels of nodes at 1 KiB. */
function fragmented(s: Subject, count = 400): void {
  for (let i = 0; i < count; i++) s.write(2 * i * s.block, s.block, 0x30 + (i % 70));
  s.sync();
}

need.describe('range operations at every cut', NEEDS, () => {
  const ops: Record<string, (s: Subject) => void> = {
    punch: (s) => s.punch(s.block * 37 + 100, s.block * 500),
    zero: (s) => s.zero(s.block * 37 + 100, s.block * 120),
    collapse: (s) => s.collapse(s.block * 36, s.block * 12),
    insert: (s) => s.insert(s.block * 36, s.block * 7),
    alloc: (s) => s.alloc(s.block * 37, s.block * 120),
  };
  for (const [name, op] of Object.entries(ops)) {
    crashScenario(`44. ${name} over a fragmented tree of three levels`, ['iomap 1k'], (c) => {
      fragmented(c.subject);
      c.begin();
      c.op((s) => {
        op(s);
        return name === 'collapse' || name === 'insert';
      });
      c.op((s) => s.run(commit()));
      c.fsync();
      return undefined;
    });
    crashScenario(
      `44. ${name} of dirty data, on each path`,
      PATHS.filter((k) => KINDS[k].extents),
      (c) => {
        c.subject.write(0, 30 * c.subject.block, A);
        c.begin();
        c.op((s) => s.write(s.block * 20, s.block * 60, B));
        c.op((s) => {
          op(s);
          return name === 'collapse' || name === 'insert';
        });
        c.op((s) => s.run(commit()));
        c.fsync();
        return undefined;
      },
    );
  }
});

need.describe('range operations and views', NEEDS, () => {
  const viewable = kindsWith((k) => k.path !== 'journalled' && k.extents && k.block < 4096);
  const ops: Record<string, [act: (s: Subject) => void, from: number, to: number]> = {
    zero: [(s) => s.zero(2048, 2048), 2048, 4096],
    punch: [(s) => s.punch(2048, 2048), 2048, 4096],
    truncate: [
      (s) => {
        s.trunc(2048);
        s.trunc(8192);
      },
      2048,
      8192,
    ],
  };
  for (const [name, [act, from, to]] of Object.entries(ops)) {
    scenario(`45. a store, ${name}, and a store again: the last one wins`, viewable, (s) => {
      s.write(0, 8192, A);
      store(s, 0, 4096, B);
      act(s);
      store(s, 2048, 1024, 0x63);
      const want = made([2048, B], [1024, 0x63], [1024, 0], [4096, to > 4096 ? 0 : A]);
      expect(from).toBe(2048);
      holds(s, want);
    });

    scenario(
      `45. a view that is held over ${name}: its stores to the range are refused, or it is`,
      viewable,
      (s) => {
        s.write(0, 8192, A);
        s.sync();
        const view = s.fs.viewSync(s.fd, 0, 4096, true);
        const code = codeOf(() => act(s));
        if (s.kind.path === 'dax') {
          expect(['', 'EBUSY'], s.name).toContain(code);
        } else {
          expect(code, s.name).toBe('');
          expect(
            codeOf(() => view.dirty(from, 1024)),
            s.name,
          ).toBe('ESTALE');
        }
        view.release();
        const now = s.read();
        s.remount();
        same(s.read(), now, s.name);
      },
    );
  }
});

need.describe('synchronous files', NEEDS, () => {
  const ops: Record<string, (s: Subject) => void> = {
    punch: (s) => s.punch(5000, 3000),
    zero: (s) => s.zero(5000, 9000),
    'truncate down': (s) => s.trunc(5000),
    'truncate up': (s) => s.trunc(30_000),
    write: (s) => s.write(15_000, 3000, B),
    alloc: (s) => s.alloc(10_000, 20_000),
  };
  for (const [name, op] of Object.entries(ops)) {
    scenario(`46. ${name} of a file marked so is durable when it returns`, shifting, (s) => {
      s.write(0, 20_000, A);
      s.fsync();
      s.pollute(20_000, Math.ceil(20_000 / s.block) * s.block, FOUL);
      s.chattr('+S');
      s.sync();
      op(s);
      const now = s.read();
      same(recover(s.image(), readF, { dax: 'never' }).seen, now, s.name);
    });
  }
});

need.describe('journalled data', NEEDS, () => {
  const journalled = kindsWith((k) => k.path === 'journalled');

  scenario('55. a write and fsync log the data, and write it home later', journalled, (s) => {
    s.sync();
    s.write(0, 5 * s.block, A);
    s.fsync();
    const home = s.place(0);
    const there = s.raw(0, s.block);
    expect(
      there.every((b) => b === A),
      `${s.name}: not home yet`,
    ).toBe(false);
    const { text } = tool('debugfs', ['-R', 'logdump -a'], s.image());
    for (let i = 0; i < 5; i++) {
      const block = home / s.block + i;
      expect(text, `${s.name}: block ${block} in the log`).toMatch(
        new RegExp(`FS block ${block} logged`),
      );
    }
    s.remount();
    expect(
      s.raw(0, s.block).every((b) => b === A),
      `${s.name}: home`,
    ).toBe(true);
  });

  crashScenario('55. truncated within a block, cut, then grown: zeroes', journalled, (c) => {
    c.subject.write(0, 12_288, A);
    c.begin();
    c.op((s) => s.trunc(5000));
    c.fsync();
    c.op((s) => s.trunc(12_288));
    c.fsync();
    return undefined;
  });

  crashScenario('55. punched, cut: nothing older comes back', journalled, (c) => {
    c.subject.write(0, 20_480, A);
    c.subject.sync();
    c.subject.write(0, 20_480, B);
    c.begin();
    c.op((s) => s.punch(4096, 8192));
    c.fsync();
    c.op((s) => s.write(6000, 3000, 0x63));
    c.fsync();
    return undefined;
  });

  crashScenario(
    '50. 55. blocks of a removed journalled file are used again, and are not overwritten by a replay',
    journalled,
    (c) => {
      c.subject.write(0, 40_000, A);
      c.begin();
      c.op((s) => s.write(0, 40_000, B));
      c.fsync();
      c.op((s) => s.trunc(0));
      c.fsync();
      c.op((s) => s.write(0, 60_000, 0x63));
      c.fsync();
      return undefined;
    },
  );
});

need.describe('small blocks', NEEDS, () => {
  scenario('58. zero range 1500+3000 at each block size', EXTENTS, (s) => {
    s.write(0, 64 * K, A);
    s.fsync();
    s.zero(1500, 3000);
    holds(s, made([1500, A], [3000, 0], [64 * K - 4500, A]));
    const want: Record<number, Run[]> = {
      1024: [
        [0, 2, 'w'],
        [2, 2, 'u'],
        [4, 60, 'w'],
      ],
      2048: [
        [0, 1, 'w'],
        [1, 1, 'u'],
        [2, 30, 'w'],
      ],
      4096: [[0, 16, 'w']],
    };
    expect(mapped(s), s.name).toEqual(want[s.block]);
  });

  scenario('38. punch with edges inside small blocks', small, (s) => {
    s.write(0, 64 * K, A);
    s.fsync();
    s.punch(1500, 3000);
    holds(s, made([1500, A], [3000, 0], [64 * K - 4500, A]));
    expect(mapped(s), s.name).toEqual([
      [0, 2, 'w'],
      [4, 60, 'w'],
    ]);
  });
});
