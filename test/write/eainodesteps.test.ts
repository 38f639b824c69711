// Goal: changes of large xattr values, which take several steps, are all or nothing at each of them. Method: of the
// journal's calls that an operation makes one throws, at a point that moves: after a commit the operation goes on as if
// nothing had been; after an error nothing has changed, and it works the second time.

import { expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { mountVfsSync } from '../../ts/vfs/filesystem.ts';
import { DEEP, need } from '../need.ts';
import { apply, bytes } from './driver.ts';
import { CACHE, checkFree, mayBeHalf, text } from './faulty.ts';
import { contents, fsck, makeImage } from './images.ts';
import { interrupt, type Way } from './interrupt.ts';
import type { Op } from './model.ts';

const IMAGES = ['ea_inode,orphan_file', 'ea_inode,inline_data'];
const STRIDE = DEEP ? 1 : 31;
const CHECKED = DEEP ? 4 : 2;

const value = (size: number, mark: string) =>
  mark.repeat(Math.ceil(size / mark.length)).slice(0, size);
const set = (path: string, name: string, size: number, mark: string): Op => [
  ...(['setxattr', path, name, value(size, mark), 0] as Op),
];

/** Values that are alone, that two files have, and blocks of many that three files share. */
function populated(features: string): Uint8Array {
  const args = `-t ext4 -b 1024 -O ${features} -J size=1 -N 512`;
  const device = memoryDevice(makeImage({ args, size: 6 }), { sparse: true });
  const fs = mountVfsSync(device, CACHE);
  const ops: Op[] = ['/a', '/b', '/s', '/t', '/u'].map((path) => ['mknod', path, 0o100644]);
  ops.push(set('/a', 'user.v', 50_000, 'v'), set('/a', 'user.w', 5000, 'w'));
  ops.push(set('/b', 'user.w', 5000, 'w'), set('/b', 'user.u', 9000, 'u'), ['mkdir', '/d', 0o755]);
  for (const path of ['/s', '/t', '/u']) {
    ops.push(set(path, 'user.fill', 60, 'f'));
    for (let i = 0; i < 12; i++) ops.push(set(path, `user.${i}`, 2000, `${i}`));
  }
  ops.push(set('/u', 'user.z', 1, 'z'), set('/u', 'user.0', 1, 'z'));
  for (const op of ops) expect(apply(fs, op)).toBe('');
  fs.runSync(fs.unmount());
  expect(fsck(contents(device))).toBe('');
  return contents(device);
}

const OPERATIONS: Op[] = [
  set('/b', 'user.new', 60_000, 'n'),
  set('/a', 'user.v', 50_000, 'x'),
  set('/a', 'user.v', 1, 'x'),
  set('/a', 'user.w', 9000, 'u'),
  ['rmxattr', '/b', 'user.u'],
  ['unlink', '/a'],
  ['unlink', '/s'],
  ['unlink', '/u'],
  set('/s', 'user.z', 1, 'z'),
  set('/u', 'user.0', 2000, '0'),
  set('/s', 'user.0', 1, 'z'),
  ['rmxattr', '/u', 'user.z'],
  ['mkdir', '/d/e', 0o755],
  ['rmdir', '/d'],
];

const opened = (image: Uint8Array) =>
  mountVfsSync(memoryDevice(image.slice(), { sparse: true }), CACHE);

let tried = 0;

interface Case {
  image: Uint8Array;
  op: Op;
  before: string;
  after: string;
}

function caseOf(image: Uint8Array, op: Op): Case {
  const fs = opened(image);
  const before = text(fs);
  expect(apply(fs, op)).toBe('');
  return { image, op, before, after: text(fs) };
}

/** The operation with its n-th call stopped; false when it has fewer. */
function stopAt({ image, op, before, after }: Case, n: number, way: Way): boolean {
  const where = `${JSON.stringify(op).slice(0, 60)}, call ${n}: ${way}`;
  const device = memoryDevice(image.slice(), { sparse: true });
  const fs = mountVfsSync(device, { ...CACHE, forceMiss: n % 5 === 0 });
  const state = interrupt(fs, n, way);
  const code = apply(fs, op);
  state.off();
  checkFree(fs, where);
  if (way !== 'error' || !state.struck) expect(code, where).toBe('');
  else if (code !== '' && !(mayBeHalf(op) && text(fs) === after)) {
    expect(code, where).toBe('EIO');
    expect(text(fs), where).toBe(before);
    expect(fs.vol.orphans.size, `${where}: values left`).toBe(0);
    expect(apply(fs, op), `${where}, again`).toBe('');
  }
  expect(text(fs), where).toBe(after);
  const whole = fs.vol.orphans.size === 0;
  fs.runSync(fs.unmount());
  expect(fs.vol.cache.pinCount(), where).toBe(0);
  if (whole && tried++ % CHECKED === 0) expect(fsck(contents(device)), where).toBe('');
  return state.struck;
}

need.describe('a large value in steps', [need.tool('mke2fs', 'e2fsck')], () => {
  for (const features of IMAGES) {
    test(`${features}: goes on after a commit, or has changed nothing`, () => {
      const image = populated(features);
      for (const [i, op] of OPERATIONS.entries()) {
        const c = caseOf(image, op);
        for (let n = 1 + ((7 * i) % STRIDE), struck = true; struck; n += STRIDE) {
          for (const way of ['commit', 'error'] as const) {
            struck = stopAt(c, n, way) && struck;
          }
          expect(n, 'calls of one operation').toBeLessThan(1000);
        }
      }
      expect(tried).toBeGreaterThan(OPERATIONS.length);
    }, 600_000);
  }

  test('a value whose entry finds no room leaves nothing', () => {
    const fs = opened(populated('ea_inode'));
    const name = (i: number) => `user.${'n'.repeat(200)}${i}`;
    let fits = 0;
    while (apply(fs, set('/a', name(fits), 1, 'x')) === '') fits++;
    expect(fits, 'names that the block takes').toBeGreaterThan(2);
    const free = fs.runSync(fs.statfs(bytes('/')));
    const before = text(fs);
    for (const size of [5000, 60_000])
      expect(apply(fs, set('/a', name(99), size, 'y'))).toBe('ENOSPC');
    expect(fs.vol.orphans.size).toBe(0);
    expect(text(fs)).toBe(before);
    expect(fs.runSync(fs.statfs(bytes('/')))).toEqual(free);
    fs.runSync(fs.unmount());
  });
});
