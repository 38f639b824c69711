// Random operations on a file of every path of data, compared with a plain array of bytes after each read, whole
// every 500 operations, and after a power cut with e2fsck every 10,000. Behind the end of the file the disk is
// polluted now and then. With DEEP a million operations a path. EXT4_SEED chooses.

import { expect, test } from 'vitest';
import { DEEP, need } from '../need.ts';
import { Exerciser } from './exerciser.ts';
import type { KindName } from './kinds.ts';

const SEED = Number(process.env.EXT4_SEED ?? 1);
const OPS = Number(process.env.EXT4_OPS ?? (DEEP ? 1_000_000 : 50_000));
const LONG = DEEP ? 3_600_000 : 300_000;
const WHOLE = 500;
const IMAGE = 10_000;

const PATHS: KindName[] = [
  ...(['iomap 1k', 'iomap 4k', 'nodelalloc 4k', 'bufferhead 4k', 'indirect 4k'] as const),
  ...(['journalled 4k', 'dax 4k', 'inline 4k', 'bigalloc'] as const),
];

function exercise(e: Exerciser, count: number): void {
  for (let done = 0; done < count; done += WHOLE) {
    e.run(Math.min(WHOLE, count - done));
    e.check(done % IMAGE === IMAGE - WHOLE);
  }
  e.subject.finish(undefined, e.where);
}

need.describe('random operations on a file', [need.tool('mke2fs', 'e2fsck')], () => {
  for (const kind of PATHS) {
    test(
      `${kind}: what is read is what was written (seed ${SEED}, ${OPS} operations)`,
      () => {
        const e = new Exerciser(kind, SEED);
        exercise(e, OPS);
        expect(e.counts.pollute, 'the disk was polluted').toBeGreaterThan(0);
      },
      LONG,
    );
  }
});
