// Scenario 35 and its kin: the device fails at each data write, and at each read, in turn. fsync tells EIO once to
// each open file, what failed is told and nothing else is lost, no byte is ever foreign, and the image stays sound.

import { expect, test } from 'vitest';
import { DEEP, need } from '../need.ts';
import { type SlowDevice, slowDevice } from '../slow.ts';
import { fsck, recover, tool } from '../write/images.ts';
import { KINDS, type KindName } from './kinds.ts';
import { A, B, codeOf, made, readF, Subject, same } from './subject.ts';

const LONG = DEEP ? 3_600_000 : 300_000;
const TOOLS = [need.tool('mke2fs', 'e2fsck')];
const CACHED: KindName[] = [
  ...(['iomap 1k', 'iomap 4k', 'nodelalloc 4k', 'bufferhead 4k'] as const),
  ...(['indirect 1k', 'journalled 4k', 'inline 4k', 'bigalloc'] as const),
];

interface Faulty {
  s: Subject;
  device: SlowDevice;
}

function faulty(kind: KindName, image?: Uint8Array): Faulty {
  let device: SlowDevice | null = null;
  const wrap = (below: never): never => {
    device = slowDevice(below, { sync: true });
    return device as never;
  };
  const s = new Subject(kind, { image, wrap: wrap as never });
  return { s, device: device as never as SlowDevice };
}

/** A file with a polluted end, a hole, and, where there are extents, preallocated space. */
function prepare(kind: KindName): { image: Uint8Array; before: Uint8Array } {
  const s = new Subject(kind);
  s.write(0, 60_000, A);
  s.punch(16_384, 16_384);
  if (s.kind.extents) s.alloc(40_960, 8192, true);
  s.fsync();
  s.pollute(60_000, Math.ceil(60_000 / s.block) * s.block);
  const before = s.read();
  s.close();
  return { image: s.image(), before };
}

/** What is done before an fsync that fails; what of it frees data leaves zeroes. */
const WORK: Record<string, (s: Subject) => void> = {
  'an append within the last block, and one behind it': (s) => {
    s.write(60_000, 10, B);
    s.write(60_010, 30_000, B);
  },
  'a truncation up, and a write far behind': (s) => {
    s.trunc(100_000);
    s.write(150_000, 5000, B);
  },
  'writes into a hole and over data': (s) => {
    s.write(18_000, 3000, B);
    s.write(5000, 20_000, B);
    s.write(30_000, 5000, B);
  },
  'a truncation down and up again': (s) => {
    s.trunc(33_333);
    s.write(40_000, 3000, B);
  },
};

/** Each byte is one that was there before or that was written; zero where there was none. */
function judge(
  got: Uint8Array,
  before: Uint8Array,
  after: Uint8Array,
  where: string,
  frees = false,
): void {
  const most = Math.max(before.length, after.length);
  expect(got.length, where).toBeLessThanOrEqual(most);
  if (!frees) expect(got.length, where).toBeGreaterThanOrEqual(before.length);
  const bad = got.findIndex(
    (byte, i) => byte !== (before[i] ?? 0) && byte !== (after[i] ?? 0) && !(frees && byte === 0),
  );
  if (bad >= 0) {
    const seen = `${bad} of ${got.length} is ${got[bad]}`;
    expect.fail(`${where}: byte ${seen}, not ${before[bad] ?? 0} or ${after[bad] ?? 0}`);
  }
}

function failWrites(kind: KindName, name: string, work: (s: Subject) => void): void {
  const { image, before } = prepare(kind);
  let told = 0;
  for (let k = 1; ; k++) {
    const where = `${kind}, ${name}, write ${k}`;
    const { s, device } = faulty(kind, image);
    const other = s.fs.openSync('/f' as never, 0);
    work(s);
    const after = s.read();
    const done = device.counts.write;
    device.fail('write', k);
    const code = codeOf(() => s.fsync());
    const hit = device.counts.write - done >= k;
    device.heal();
    if (!hit) {
      expect(code, where).toBe('');
      break;
    }
    expect(code, where).toBe('EIO');
    told++;
    const { aborted } = s.fs.vol.journal!;
    if (aborted === null) {
      expect(
        codeOf(() => s.run(s.fs.data.fsync(other, false))),
        `${where}: another file`,
      ).toBe('EIO');
      expect(
        codeOf(() => s.fsync()),
        `${where}: told once`,
      ).toBe('');
      expect(
        codeOf(() => s.run(s.fs.data.fsync(other, false))),
        `${where}: told once`,
      ).toBe('');
      const late = s.fs.openSync('/f' as never, 0);
      expect(
        codeOf(() => s.run(s.fs.data.fsync(late, false))),
        `${where}: opened later`,
      ).toBe('');
      expect(s.fs.vol.reserved, `${where}: promises`).toBe(0);
    } else
      expect(
        codeOf(() => s.write(0, 1, A)),
        `${where}: after an abort`,
      ).toBe('EROFS');
    expect(s.fs.vol.cache.pinCount(), `${where}: pins`).toBe(0);
    const left = s.image();
    const { seen, image: recovered } = recover(left, readF, { dax: 'never' });
    judge(seen, before, after, where, name.includes('down'));
    if (DEEP || k % 3 === 1) expect(fsck(recovered), where).toBe('');
    expect(k, 'writes of one fsync').toBeLessThan(200);
    if (aborted === null) {
      s.write(0, 100, 0x63); // and life goes on
      s.sync();
      s.close();
      const again = recover(s.image(), readF, { dax: 'never' });
      same(again.seen.subarray(0, 100), made([100, 0x63]), where);
      if (DEEP || k % 3 === 2) expect(fsck(again.image), where).toBe('');
    }
  }
  expect(told, `${kind}, ${name}: errors that fsync told`).toBeGreaterThan(0);
}

need.describe('35. a data write that fails', TOOLS, () => {
  for (const [name, work] of Object.entries(WORK)) {
    test(
      `${name}: is told once to each open file, and shows nothing foreign`,
      () => {
        for (const kind of CACHED) failWrites(kind, name, work);
      },
      LONG,
    );
  }
});

need.describe('35. data_err=abort', TOOLS, () => {
  test('a data write that fails aborts the journal, and the next mount is told', () => {
    for (const kind of CACHED) {
      if (KINDS[kind].path === 'journalled') continue;
      const { image, before } = prepare(kind);
      let device: SlowDevice | null = null;
      const wrap = (below: never): never => {
        device = slowDevice(below, { sync: true });
        return device as never;
      };
      const s = new Subject(kind, { image, wrap: wrap as never, dataErrAbort: true });
      s.write(18_000, 3000, B);
      s.write(60_010, 30_000, B);
      const after = s.read();
      device!.fail('write', 1);
      expect(
        codeOf(() => s.fsync()),
        kind,
      ).toMatch(/EIO|EROFS/);
      expect(s.fs.readOnly, kind).toBe(true);
      expect(
        codeOf(() => s.write(0, 1, A)),
        kind,
      ).toBe('EROFS');
      const left = s.image();
      const { seen, image: recovered } = recover(left, readF, { dax: 'never' });
      judge(seen, before, after, kind);
      const { code, text } = tool('dumpe2fs', ['-h'], recovered);
      expect(code, text).toBe(0);
      expect(text, kind).toMatch(/Filesystem state: +clean with errors/);
    }
  });
});

need.describe('a data read that fails', TOOLS, () => {
  const changes: Record<string, (s: Subject) => void> = {
    'a write that needs the rest of its first block': (s) => s.write(100, 50, B),
    'a write over parts of two blocks': (s) => s.write(7000, 3000, B),
    'an append within the last block': (s) => s.write(60_000, 10, B),
    'a truncation within a block': (s) => s.trunc(33_333),
    'a truncation up': (s) => s.trunc(100_000),
    'a punch of parts of blocks': (s) => s.punch(3000, 9000),
    'a read': (s) => {
      s.read();
    },
  };
  for (const [name, change] of Object.entries(changes)) {
    test(
      `${name}: fails with EIO and changes nothing, then goes through`,
      () => {
        for (const kind of CACHED) {
          const { image, before } = prepare(kind);
          const plain = faulty(kind, image).s;
          change(plain);
          const after = plain.read();
          for (let k = 1; ; k++) {
            const where = `${kind}, ${name}, read ${k}`;
            const { s, device } = faulty(kind, image);
            const reads = device.counts.read;
            device.fail('read', k);
            const code = codeOf(() => change(s));
            const hit = device.counts.read - reads >= k;
            device.heal();
            expect(code, where).toBe(hit ? 'EIO' : '');
            if (!hit) break;
            // What a range operation had done before the error stays.
            if (!/^a (punch|truncation within)/.test(name)) same(s.read(), before, where);
            change(s);
            same(s.read(), after, `${where}, again`);
            s.check(undefined, where);
            expect(k, 'reads of one change').toBeLessThan(100);
          }
        }
      },
      LONG,
    );
  }
});

need.describe('no room', TOOLS, () => {
  test('27. a write that finds none changes nothing, or is short by what there was no room for', () => {
    for (const kind of CACHED) {
      const s = new Subject(kind);
      const piece = new Uint8Array(100_000).fill(A);
      let size = 0;
      for (;;) {
        let n = 0;
        const code = codeOf(() => {
          n = s.run(s.fs.data.write(s.fd, piece, size));
        });
        if (code !== '') {
          expect(code, kind).toBe('ENOSPC');
          break;
        }
        size += n;
        expect(s.size, kind).toBe(size);
      }
      expect(s.size, kind).toBe(size);
      s.check(undefined, kind);
      expect(
        codeOf(() => s.write(0, size, B)),
        `${kind}: over what is there`,
      ).toBe('');
      s.check(undefined, kind);
      s.close();
    }
  });

  test('43. fallocate that fails half way leaves a size that says how far it came', () => {
    for (const kind of [
      'iomap 1k',
      'iomap 4k',
      'bufferhead 4k',
      'journalled 4k',
      'dax 4k',
      'bigalloc',
    ] as const) {
      const s = new Subject(kind);
      expect(
        codeOf(() => s.alloc(0, 64 << 20)),
        kind,
      ).toBe('ENOSPC');
      expect(s.size, kind).toBeGreaterThan(1 << 20);
      expect(s.size % KINDS[kind].block, kind).toBe(0);
      const mapped = s.map().reduce((sum, [, count]) => sum + count, 0);
      expect(s.size / s.block, `${kind}: the size is what was allocated`).toBe(mapped);
      s.finish(undefined, kind);
    }
  });
});

test('the judge of this file finds a foreign byte', () => {
  const foul = made([5, A], [5, 0x5a]);
  expect(() => judge(foul, made([5, A]), made([10, A]), 'itself')).toThrow(/byte 5/);
});
