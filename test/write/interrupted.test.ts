// A step stopped at every point: each call of start(), write(), create() and forget() of the journal in turn throws.
// Where it says that a commit, or room in the log, must come first, the operation goes on afterwards as if nothing had
// been; where it is an error, nothing has changed: no byte, no count, no name in memory.

import { expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { missing } from '../../ts/cache/missing.ts';
import { Ext4Error } from '../../ts/errno.ts';
import { mountVfsSync } from '../../ts/vfs/filesystem.ts';
import { DEEP, need } from '../need.ts';
import { apply } from './driver.ts';
import { CACHE, checkFree, mayBeHalf, OPERATIONS, populate, text } from './faulty.ts';
import { contents, type FeatureSet, fsck } from './images.ts';
import { interrupt, WAYS, type Way } from './interrupt.ts';
import type { Op } from './model.ts';

const LONG = DEEP ? 3_600_000 : 300_000;
const SAMPLE = DEEP ? 2 : 12;
/** Of the points of an operation every so many-th, from one that moves with the operation. */
const STRIDE = DEEP ? 1 : 4;
const tools = need.tool('mke2fs', 'e2fsck');

const SETS: Record<string, FeatureSet> = {
  ext4: { args: '-t ext4 -b 1024 -J size=1 -N 512', size: 6 },
  'block maps': { args: '-t ext3 -b 1024 -J size=1 -N 512', size: 6 },
  'inline data': { args: '-t ext4 -b 1024 -O inline_data -I 256 -J size=1 -N 512', size: 6 },
  'no journal': { args: '-t ext4 -b 1024 -O ^has_journal -N 512', size: 6 },
  'no checksums': { args: '-t ext4 -b 1024 -O ^metadata_csum,uninit_bg -J size=1', size: 6 },
};

let tried = 0;

interface Case {
  image: Uint8Array;
  op: Op;
  before: string;
  after: string;
}

/** The operation with its n-th call stopped; false when it has fewer. */
function stopAt({ image, op, before, after }: Case, n: number, way: Way): boolean {
  const where = `${JSON.stringify(op).slice(0, 60)}, call ${n}: ${way}`;
  const device = memoryDevice(image, { sparse: true });
  const fs = mountVfsSync(device, CACHE);
  const state = interrupt(fs, n, way);
  const code = apply(fs, op);
  state.off();
  checkFree(fs, where);
  const now = text(fs);
  if (!state.struck || way !== 'error') {
    expect(code, where).toBe('');
    expect(now, where).toBe(after);
  } else {
    const half = mayBeHalf(op) && now === after;
    if (!half) expect(code, where).toBe('EIO');
    if (!half) expect(now, where).toBe(before);
    if (!half) expect(apply(fs, op), `${where}, again`).toBe('');
  }
  fs.runSync(fs.unmount());
  expect(fs.vol.cache.pinCount(), where).toBe(0);
  const left = contents(device);
  if (tried++ % SAMPLE === 0) expect(fsck(left), where).toBe('');
  if (tried % 2 === 0) return state.struck;
  const again = mountVfsSync(memoryDevice(left, { sparse: true }), CACHE);
  expect(text(again), `${where}: after the unmount`).toBe(after);
  return state.struck;
}

need.describe('a step stopped at each call of the journal', [tools], () => {
  for (const [name, spec] of Object.entries(SETS)) {
    test(
      `${name}: goes on after a commit, or has changed nothing`,
      () => {
        const { image, model } = populate(spec);
        let points = 0;
        for (const [i, op] of OPERATIONS.entries()) {
          const changed = model.clone();
          expect(changed.apply(op)).toBe('');
          const before = model.lines().join('\n');
          const c = { image, op, before, after: changed.lines().join('\n') };
          for (let n = 1 + (i % STRIDE), struck = true; struck; n += STRIDE) {
            const ways = DEEP ? WAYS : [WAYS[(n + i) % 2], 'error' as const];
            for (const way of ways) struck = stopAt(c, n, way) && struck;
            points++;
            expect(n, 'calls of one operation').toBeLessThan(500);
          }
        }
        expect(points).toBeGreaterThan(2 * OPERATIONS.length);
      },
      LONG,
    );
  }
});

need.describe('the hook of this file', [tools], () => {
  test('stops exactly one call', () => {
    const { image } = populate();
    const fs = mountVfsSync(memoryDevice(image, { sparse: true }), CACHE);
    const state = interrupt(fs, 2, 'error');
    const all: Op[] = ['p', 'q', 'r'].map((name) => ['mknod', `/${name}`, 0o100644]);
    expect(all.map((op) => apply(fs, op))).toEqual(['EIO', '', '']);
    expect(state.struck).toBe(true);
    expect(missing.kind).toBe('none');
    expect(() => {
      throw new Ext4Error('EIO');
    }).toThrow('EIO');
  });
});
