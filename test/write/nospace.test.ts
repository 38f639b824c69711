// No room, at every point: each operation on images that have 0, 1, 2 ... free blocks left, for everyone or for
// extent trees only, and 0, 1, 2 free inodes. What fails says ENOSPC and leaves tree and counts as they were; what
// succeeds with so many free blocks succeeds with more; what only frees never fails.

import { expect, test } from 'vitest';
import { type MemoryDevice, memoryDevice } from '../../ts/block/memory.ts';
import { sumFree } from '../../ts/ext4/groupwrite.ts';
import { keptClusters } from '../../ts/ext4/reserve.ts';
import { step } from '../../ts/flow.ts';
import { type FileSystem, mountVfsSync } from '../../ts/vfs/filesystem.ts';
import type { MountOptions } from '../../ts/vfs/options.ts';
import { DEEP, need } from '../need.ts';
import { apply, bytes } from './driver.ts';
import { CACHE, checkFree, leave, OPERATIONS, populate, text } from './faulty.ts';
import { contents, type FeatureSet, fsck } from './images.ts';
import type { Op } from './model.ts';

const LONG = DEEP ? 3_600_000 : 300_000;
/** Free blocks beyond what is kept for extent trees; below it too. */
const MOST = DEEP ? 24 : 5;
const FEWEST = DEEP ? 24 : 2;
/** Of these successes in a row the last shows that more room does no harm. */
const ENOUGH = DEEP ? 100 : 2;
const SAMPLE = DEEP ? 1 : 9;
const tools = need.tool('mke2fs', 'e2fsck');

const SETS: Record<string, FeatureSet> = {
  ext4: { args: '-t ext4 -b 1024 -J size=1 -m 0 -N 512', size: 6 },
  'block maps': { args: '-t ext3 -b 1024 -J size=1 -m 0 -N 512', size: 6 },
  bigalloc: { args: '-t ext4 -b 1024 -O bigalloc -C 4096 -J size=1 -m 0 -N 512', size: 8 },
  'inline data': { args: '-t ext4 -b 1024 -O inline_data -I 256 -J size=1 -m 0 -N 512', size: 6 },
  'no journal': { args: '-t ext4 -b 1024 -O ^has_journal -m 0 -N 512', size: 6 },
};

/** What only frees, or changes nothing but the inode. */
const NEVER = new Set(['unlink', 'rmdir', 'chmod', 'rmxattr']);

interface Start {
  image: Uint8Array;
  free: number;
}

/** Images with less and less room, the emptiest first. */
function starts(image: Uint8Array): Start[] {
  const list: Start[] = [];
  const make = (base: (fs: FileSystem) => number, n: number): void => {
    const left = leave(image, (fs) => base(fs) + n);
    const fs = mountVfsSync(memoryDevice(left, { sparse: true }), CACHE);
    list.push({ image: left, free: fs.runSync(step(sumFree, fs.vol)).clusters });
  };
  for (let n = 0; n < FEWEST; n++) make(() => 0, n);
  for (let n = 0; n < MOST; n++) make(({ vol }) => keptClusters(vol), n);
  return list.sort((a, b) => a.free - b.free);
}

function mounted(image: Uint8Array, o: MountOptions): { fs: FileSystem; device: MemoryDevice } {
  const device = memoryDevice(image, { sparse: true });
  return { fs: mountVfsSync(device, { ...CACHE, ...o }), device };
}

/** Does the operation where there is so much room; whether it found enough. */
function tryWith(start: Start, op: Op, o: MountOptions, where: string, look: boolean): boolean {
  const { fs, device } = mounted(start.image, o);
  fs.runSync(step(sumFree, fs.vol));
  const before = text(fs);
  const code = apply(fs, op);
  expect(['', 'ENOSPC'], where).toContain(code);
  checkFree(fs, where);
  if (code !== '') {
    expect(text(fs), where).toBe(before);
    expect(fs.vol.free!.clusters, where).toBe(start.free);
    expect(NEVER.has(String(op[0])), `${where}: may not fail`).toBe(false);
  } else expect(text(fs), where).not.toBe(before);
  const after = text(fs);
  fs.runSync(fs.unmount());
  expect(fs.vol.cache.pinCount(), where).toBe(0);
  const left = contents(device);
  if (look) expect(fsck(left), where).toBe('');
  const again = mounted(left, { ro: true });
  expect(text(again.fs), `${where}: after the unmount`).toBe(after);
  return code === '';
}

let tried = 0;

function everywhere(spec: FeatureSet): { failed: number; done: number } {
  const { image } = populate(spec);
  const list = starts(image);
  const counts = { failed: 0, done: 0 };
  for (const op of OPERATIONS) {
    let enough = 0;
    for (const start of list) {
      if (enough >= ENOUGH) break;
      for (const forceMiss of DEEP ? [false, true] : [start.free % 2 === 0]) {
        const how = `${start.free} free${forceMiss ? ', misses' : ''}`;
        const where = `${JSON.stringify(op).slice(0, 60)}, ${how}`;
        const ok = tryWith(start, op, { forceMiss }, where, tried++ % SAMPLE === 0);
        if (enough > 0) expect(ok, `${where}: less was enough`).toBe(true);
        enough += ok ? 1 : 0;
        counts[ok ? 'done' : 'failed']++;
      }
    }
    expect(
      enough,
      `${JSON.stringify(op).slice(0, 60)} succeeds with ${list.at(-1)?.free}`,
    ).toBeGreaterThan(0);
  }
  return counts;
}

need.describe('an image with n free blocks', [tools], () => {
  for (const [name, spec] of Object.entries(SETS)) {
    test(
      `${name}: an operation without room for its next block changes nothing`,
      () => {
        const { failed, done } = everywhere(spec);
        expect(failed, 'operations without room').toBeGreaterThan(4);
        expect(done, 'operations with room').toBeGreaterThan(OPERATIONS.length);
      },
      LONG,
    );
  }
});

need.describe('an image with n free inodes', [tools], () => {
  test(
    'what makes an inode fails without one, and changes nothing',
    () => {
      const { image } = populate();
      const makers = OPERATIONS.filter(([kind]) => /^(mkdir|mknod|symlink)$/.test(String(kind)));
      const { fs, device } = mounted(image, {});
      let free = fs.runSync(step(sumFree, fs.vol)).inodes;
      for (let i = 0; free > 0; i++, free--) {
        expect(apply(fs, ['mknod', `/x/y/${i}`, 0o100644])).toBe('');
      }
      fs.runSync(fs.syncAll());
      const none = contents(device);
      for (const op of makers) {
        for (const forceMiss of [false, true]) {
          const m = mounted(none, { forceMiss, journal: 'replay' });
          const before = text(m.fs);
          expect(apply(m.fs, op), `${op}`).toBe('ENOSPC');
          checkFree(m.fs, `${op}`);
          expect(text(m.fs), `${op}`).toBe(before);
          // One that goes in the same transaction is enough.
          expect(apply(m.fs, ['unlink', '/x/y/0']), `${op}`).toBe('');
          expect(apply(m.fs, op), `${op}, with one`).toBe('');
          m.fs.runSync(m.fs.unmount());
          expect(fsck(contents(m.device)), `${op}`).toBe('');
        }
      }
    },
    LONG,
  );
});

need.describe('room that comes back', [tools], () => {
  test('what a removal frees is given out in the operation after it', () => {
    const { image } = populate(SETS.ext4);
    const full = leave(image, ({ vol }) => keptClusters(vol));
    const { fs, device } = mounted(full, {});
    expect(apply(fs, ['mkdir', '/x/new', 0o755])).toBe('ENOSPC');
    expect(apply(fs, ['rmdir', '/empty'])).toBe('');
    expect(apply(fs, ['mkdir', '/x/new', 0o755])).toBe('');
    expect(apply(fs, ['mkdir', '/x/more', 0o755])).toBe('ENOSPC');
    const { ino } = fs.runSync(fs.stat(bytes('/x/new'), false));
    expect(ino).toBeGreaterThan(0);
    fs.runSync(fs.unmount());
    expect(fsck(contents(device))).toBe('');
  });
});
