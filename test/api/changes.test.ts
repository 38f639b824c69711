// Goal: changes of a writable mount are the kernel's: same results, same errors to the letter, same tree; and the image
// is sound. Method: one image, copied; the kernel mounts one copy and node:fs plays a random sequence of calls on it, a
// mount plays it on the other (the seed is in the test's name). Then trees are compared, e2fsck checks ours, and the
// kernel mounts it and shows the same tree.

import { execFileSync } from 'node:child_process';
import nodefs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { BlockDevice } from '../../ts/block/device.ts';
import { openFile } from '../../ts/block/node.ts';
import { type Ext4, mount, mountSync } from '../../ts/index.ts';
import { DEEP, need, which } from '../need.ts';
import { calls, lines, onKernel, Player, pathsOf, setTimes } from './changes.ts';
import { asyncOnly } from './fixture.ts';

const NEEDS = [need.root(), need.loop(), need.tool('mke2fs', 'e2fsck', 'mount', 'umount')];
const STEPS = DEEP ? 20_000 : 1500;
const SEED = Number(process.env.SEED) || Math.floor(Math.random() * 2 ** 31);

interface Way {
  name: string;
  form: 'sync' | 'promise' | 'callback';
  mkfs: string[];
  open(device: BlockDevice): Promise<Ext4> | Ext4;
}

const WAYS: Way[] = [
  { name: 'sync', form: 'sync', mkfs: [], open: (d) => mountSync(d) },
  { name: 'sync, missing', form: 'sync', mkfs: [], open: (d) => mountSync(d, { forceMiss: true }) },
  { name: 'promise', form: 'promise', mkfs: ['-b', '1024'], open: (d) => mount(asyncOnly(d)) },
  {
    name: 'callback, missing',
    form: 'callback',
    mkfs: ['-O', 'inline_data'],
    open: (d) => mount(asyncOnly(d), { forceMiss: true }),
  },
  { name: 'ext2', form: 'sync', mkfs: ['-t', 'ext2'], open: (d) => mountSync(d) },
];

need.describe('a writable mount and the kernel', NEEDS, () => {
  let dir: string;
  beforeAll(() => {
    dir = nodefs.mkdtempSync(join(tmpdir(), 'ext4-changes-'));
    nodefs.mkdirSync(join(dir, 'kernel'));
  });
  afterAll(() => nodefs.rmSync(dir, { recursive: true, force: true }));

  describe.each(WAYS)('$name', (way) => {
    test(`change alike, seed ${SEED}`, async () => {
      const theirs = join(dir, 'theirs');
      const ours = join(dir, way.name);
      const root = join(dir, 'kernel');
      const type = way.mkfs.includes('-t') ? [] : ['-t', 'ext4'];
      const args = ['-q', '-F', ...type, ...way.mkfs, theirs, '24M'];
      nodefs.rmSync(theirs, { force: true });
      execFileSync(which('mke2fs'), args);
      nodefs.copyFileSync(theirs, ours);
      const device = openFile(ours);
      const fs = await way.open(device);
      execFileSync(which('mount'), ['-o', 'loop,noatime', theirs, root]);
      let tree: string[] = [];
      let times: string[] = [];
      try {
        await playBoth(way, fs, root);
        tree = lines(nodefs, root);
        times = setTimes(nodefs, root, pathsOf(tree));
      } finally {
        execFileSync(which('umount'), [root]);
      }
      if (way.form === 'sync') {
        expect(lines(fs as unknown as typeof nodefs, '')).toEqual(tree);
      }
      await fs.unmount();
      await device.close();
      checkImage(ours);
      onKernel(ours, root, () => {
        expect(lines(nodefs, root)).toEqual(tree);
        expect(setTimes(nodefs, root, pathsOf(tree))).toEqual(times);
      });
    });
  });
});

async function playBoth(way: Way, fs: Ext4, root: string): Promise<void> {
  const mine = new Player(fs, '', way.form);
  const kernel = new Player(nodefs, root, way.form);
  const faults: unknown[] = [];
  let done = 0;
  try {
    for (const call of calls(SEED, STEPS)) {
      const outcome = await mine.play(call);
      const expected = await kernel.play(call);
      if ('value' in outcome) done++;
      if (isDeepStrictEqual(outcome, expected)) continue;
      faults.push({ call, outcome, expected });
      // Errors that differ leave the trees alike; anything else ends it.
      if ('value' in outcome || 'value' in expected || faults.length === 20) break;
    }
    expect(faults).toEqual([]);
    expect(done).toBeGreaterThan(STEPS / 10);
  } finally {
    await mine.closeAll();
    await kernel.closeAll();
  }
}

function checkImage(image: string): void {
  try {
    execFileSync(which('e2fsck'), ['-fn', image], { stdio: 'pipe', encoding: 'utf8' });
  } catch (error) {
    const { stdout } = error as { stdout: string };
    expect.unreachable(stdout);
  }
}
