// Goal: what mkfs makes is what mke2fs makes with the same options: e2fsck finds nothing, dumpe2fs prints the same
// lines, and both refuse the same things. Method: points of the product block size × inode size × features × size ×
// other options, chosen by a printed seed, made by both. MKFS_SEED repeats a run, DEEP=1 takes many more.

import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { DEEP, need } from '../need.ts';
import {
  dumpDifference,
  fsck,
  LESS_THAN_MKE2FS,
  MORE_THAN_MKE2FS,
  ours,
  type Recipe,
  temporary,
  theirs,
} from './images.ts';
import {
  COUNTS,
  FEW,
  GROWTH,
  LARGE_SIZES,
  LOCATION,
  PACKED,
  recipe,
  SIZES,
  sample,
} from './recipes.ts';

const SEED = Number(process.env.MKFS_SEED ?? (DEEP ? Date.now() % 1e9 : 1));
const COUNT = Number(process.env.MKFS_COUNT ?? (DEEP ? 600 : 24));
const MIB = 2 ** 20;

interface Outcome {
  refused: [theirs: boolean, ours: boolean];
  what: string[];
}

need.describe('an image of mkfs', [need.tool('mke2fs', 'e2fsck', 'dumpe2fs')], () => {
  const dir = temporary();
  const [a, b] = [join(dir, 'mke2fs.img'), join(dir, 'ours.img')];

  /** Makes both; what differs. */
  function both(one: Recipe): Outcome {
    const said = theirs(dir, a, one);
    let mine: unknown = null;
    try {
      ours(b, one);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error;
      mine = error;
    }
    if (mine === null && MORE_THAN_MKE2FS.some(([what]) => what.test(said.out))) {
      const { status, out } = fsck(b);
      return { refused: [false, false], what: status === 0 ? [] : [out] };
    }
    const less = mine !== null && LESS_THAN_MKE2FS.some(([what]) => what.test(said.out));
    const refused: [boolean, boolean] = [said.status !== 0 || less, mine !== null];
    if (refused[0] !== refused[1]) return { refused, what: [said.out, String(mine)] };
    if (refused[0]) return { refused, what: [] };
    const { status, out } = fsck(b);
    return { refused, what: status === 0 ? dumpDifference(a, b) : [out] };
  }

  /** What is wrong with one recipe, '' if nothing; counts those that are made. */
  let made = 0;
  function fault(one: Recipe): string {
    const { refused, what } = both(one);
    if (refused[0] === refused[1] && what.length === 0) {
      if (!refused[0]) made++;
      return '';
    }
    return [`${one.size} bytes, mke2fs ${one.words.join(' ')}`, ...what.slice(0, 8)].join('\n');
  }

  /** Every recipe is made, clean, and the same. */
  function check(recipes: Recipe[]): void {
    made = 0;
    expect(recipes.map(fault).filter(Boolean)).toEqual([]);
    expect(made).toBe(recipes.length);
  }

  const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);

  test('is clean and the same as mke2fs makes, for every feature list', () => {
    check(upTo(COUNTS.features).map((i) => recipe(undefined, undefined, i, 64 * MIB, 0)));
  }, 120_000);

  test('is clean and the same for every other option', () => {
    check(upTo(COUNTS.more).map((i) => recipe(undefined, undefined, 0, 64 * MIB, i)));
  }, 120_000);

  test.each([
    ['the log has a place of its own', LOCATION],
    ['the tables are packed', PACKED],
    ['few inodes are asked for', FEW],
  ])(
    'is clean and the same where %s, for every feature list',
    (_, option) => {
      made = 0;
      const all = upTo(COUNTS.features);
      const faults = all.map((i) => fault(recipe(undefined, undefined, i, 513 * MIB, option)));
      expect(faults.filter(Boolean)).toEqual([]);
      expect(made).toBeGreaterThan(all.length / 2);
    },
    120_000,
  );

  test('is clean and the same however far it is to grow', () => {
    const sizes = [1024, 2048, 4096, 16384, 65536];
    check(sizes.flatMap((b) => GROWTH.map((i) => recipe(b, undefined, 0, 64 * MIB, i))));
  }, 120_000);

  test('is clean and the same for every size', () => {
    check(SIZES.map((size) => recipe(undefined, undefined, 0, size, 0)));
  }, 120_000);

  test(`is clean and the same at ${COUNT} points of the product (seed ${SEED})`, () => {
    console.log(`mkfs product: MKFS_SEED=${SEED}`);
    made = 0;
    expect(sample(SEED, COUNT).map(fault).filter(Boolean)).toEqual([]);
    expect(made).toBeGreaterThan(COUNT / 2);
  }, 3_600_000);

  describe('of a large device', () => {
    for (const size of DEEP ? LARGE_SIZES : LARGE_SIZES.slice(0, 1)) {
      test(`of ${size / 2 ** 30} GiB is clean and the same`, () => {
        check([recipe(undefined, undefined, 0, size, 0)]);
      }, 600_000);
    }
  });
});
