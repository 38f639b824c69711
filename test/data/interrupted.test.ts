// Steps on a file's map stopped at every point: each call of start(), write(), create() and forget() of the journal in
// turn throws, during an operation and the fsync after it. Where a commit must come first all goes on as if nothing
// had been; where it is an error each byte is an old one or a new one, and what was accepted is told or written.

import { expect, test } from 'vitest';
import { DEEP, need } from '../need.ts';
import { interrupt, WAYS, type Way } from '../write/interrupt.ts';
import { KINDS, type KindName } from './kinds.ts';
import { judge, prepare, WORK, type Work } from './pieces.ts';
import { codeOf, Subject, same } from './subject.ts';

const LONG = DEEP ? 3_600_000 : 300_000;
const TOOLS = [need.tool('mke2fs', 'e2fsck')];
const SAMPLE = DEEP ? 3 : 40;
/** Of the points of an operation every so many-th, from one that moves with the operation. */
const STRIDE = DEEP ? 2 : 19;

const PATHS: KindName[] = [
  ...(['iomap 1k', 'nodelalloc 1k', 'bufferhead 1k', 'indirect 1k'] as const),
  ...(['journalled 1k', 'dax 1k', 'bigalloc'] as const),
];

let tried = 0;

interface Case {
  kind: KindName;
  name: string;
  work: Work;
  image: Uint8Array;
  before: Uint8Array;
  after: Uint8Array;
}

/** The operation and an fsync with their n-th call stopped; false when they have fewer. */
function stopAt({ kind, name, work, image, before, after }: Case, n: number, way: Way): boolean {
  const where = `${kind}, ${name}, call ${n}: ${way}`;
  const s = new Subject(kind, { image, flags: 2 });
  const state = interrupt(s.fs, n, way);
  const code = codeOf(() => work.act(s));
  const synced = codeOf(() => s.fsync());
  state.off();
  const fine = way !== 'error' || !state.struck;
  expect(fine ? [''] : ['', 'EIO'], where).toContain(code);
  expect(fine ? [''] : ['', 'EIO'], `${where}: fsync`).toContain(synced);
  if (fine) same(s.read(), after, where);
  else if (!work.moves) judge(s.read(), before, after, where);
  const again = codeOf(() => s.fsync());
  expect(again, `${where}: told once`).toBe('');
  if (tried++ % SAMPLE === 0) s.finish(undefined, where);
  else {
    s.sync();
    expect(s.fs.vol.reserved, `${where}: promises`).toBe(0);
    s.close();
  }
  return state.struck;
}

need.describe('a step stopped at each call of the journal', TOOLS, () => {
  for (const kind of PATHS) {
    test(
      `${kind}: goes on after a commit, or leaves each byte old or new`,
      () => {
        const { image, before } = prepare(kind);
        let points = 0;
        for (const [i, [name, work]] of Object.entries(WORK).entries()) {
          if (work.extents && !KINDS[kind].extents) continue;
          const plain = new Subject(kind, { image, flags: 2 });
          work.act(plain);
          const c = { kind, name, work, image, before, after: plain.read() };
          for (let n = 1 + (i % STRIDE), struck = true; struck; n += STRIDE) {
            const ways = DEEP ? WAYS : [WAYS[n % 2], 'error' as const];
            for (const way of ways) struck = stopAt(c, n, way) && struck;
            points++;
            expect(n, 'calls of one operation').toBeLessThan(5000);
          }
        }
        expect(points).toBeGreaterThan(10);
      },
      LONG,
    );
  }
});
