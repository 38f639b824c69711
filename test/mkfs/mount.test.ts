// Goal: what mkfs makes can be used: the kernel mounts it, takes a stress run and leaves it clean, and so does this
// library's own mount. Method: every feature list and a seeded sample of the product; e2fsck judges afterwards.

import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openFile } from '../../ts/block/node.ts';
import { mountSync } from '../../ts/index.ts';
import { DEEP, need, which } from '../need.ts';
import { fsck, ours, type Recipe, say, temporary, theirs } from './images.ts';
import { COUNTS, recipe, sample } from './recipes.ts';

const SEED = Number(process.env.MKFS_SEED ?? (DEEP ? Date.now() % 1e9 : 2));
const COUNT = DEEP ? 200 : 10;
const MIB = 2 ** 20;
const label = (one: Recipe) => `${one.size} bytes, ${JSON.stringify(one.options)}`;

function points(): Recipe[] {
  const lists = Array.from({ length: COUNTS.features }, (_, i) => i);
  const sizes = [9 * MIB, 40 * MIB, 130 * MIB, 600 * MIB];
  return [
    ...lists.map((i) => recipe(undefined, undefined, i, 40 * MIB, 0)),
    ...sample(SEED, COUNT, sizes),
  ];
}

/** Makes it, or says that it cannot be made. */
function made(path: string, one: Recipe): boolean {
  try {
    ours(path, one);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EINVAL') return false;
    throw error;
  }
}

need.describe('the kernel', [need.loop(), need.tool('mke2fs', 'e2fsck')], () => {
  const dir = temporary();
  const path = join(dir, 'kernel.img');
  const mountPoint = join(dir, 'mnt');
  mkdirSync(mountPoint);

  /** Blocks larger than a page, verity, project numbers: not every kernel has them. */
  function mountsTheirs(one: Recipe): boolean {
    const other = join(dir, 'theirs.img');
    theirs(dir, other, one);
    const { status } = say('mount', ['-o', 'loop', other, mountPoint]);
    if (status === 0) execFileSync(which('umount'), [mountPoint]);
    return status === 0;
  }

  /** What is wrong; null when the kernel does not mount mke2fs's image of this kind either. */
  function stress(one: Recipe): string | null {
    const mounted = say('mount', ['-o', 'loop', path, mountPoint]);
    if (mounted.status !== 0) return mountsTheirs(one) ? mounted.out : null;
    try {
      execFileSync(which('python3'), [join(import.meta.dirname, 'stress.py'), mountPoint]);
    } catch (error) {
      return String(error);
    } finally {
      execFileSync(which('umount'), [mountPoint]);
    }
    const { status, out } = fsck(path);
    return status === 0 ? '' : out;
  }

  test(`mounts it, works on it and leaves it clean (MKFS_SEED=${SEED})`, () => {
    const faults: string[] = [];
    let count = 0;
    for (const one of points()) {
      if (!made(path, one)) continue;
      const fault = stress(one);
      if (fault === null) continue;
      count++;
      if (fault) faults.push(`${label(one)}\n${fault}`);
    }
    expect(faults).toEqual([]);
    expect(count).toBeGreaterThan(COUNTS.features - 4);
  }, 3_600_000);
});

need.describe('this library', [need.tool('e2fsck')], () => {
  const dir = temporary();
  const path = join(dir, 'own.img');

  /** What is wrong after directories and files were made in it. */
  function change(): string {
    const device = openFile(path);
    const img = mountSync(device, { cacheBytes: 32 * MIB });
    const { readOnly, reason } = img.info();
    if (!readOnly) {
      for (let i = 0; i < 40; i++) img.mkdirSync(`/dir-${i}`);
      for (let i = 0; i < 40; i++) img.symlinkSync(`target-${i}`, `/dir-${i}/link`);
      for (let i = 0; i < 40; i += 2) img.rmSync(`/dir-${i}`, { recursive: true });
    }
    const names = img.readdirSync('/');
    img.unmountSync();
    device.closeSync();
    if (readOnly) return `read-only: ${reason}`;
    if (!names.includes('lost+found')) return `no lost+found in ${names}`;
    const { status, out } = fsck(path);
    return status === 0 ? '' : out;
  }

  test(`mounts it, changes it and leaves it clean (MKFS_SEED=${SEED})`, () => {
    const faults: string[] = [];
    let count = 0;
    for (const one of points()) {
      if (!made(path, one)) continue;
      count++;
      let fault: string;
      try {
        fault = change();
      } catch (error) {
        fault = String((error as Error).stack);
      }
      if (fault) faults.push(`${label(one)}\n${fault}`);
    }
    expect(faults).toEqual([]);
    expect(count).toBeGreaterThan(COUNTS.features - 4);
  }, 3_600_000);
});
