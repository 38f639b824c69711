// Goal: file data that calls of a mount write is what the kernel would have written: same results, same errors to the
// letter, same contents, and the image is sound. Method: as in changes.test.ts, with calls that change data: a random
// sequence (the seed is in the test's name) by node:fs on the kernel's mount of one copy of an image, by a mount on the
// other; at the end both trees, and the kernel's view of ours.

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
import { type Call, contents, lines, onKernel, Player, pathsOf } from './changes.ts';
import { dataCalls } from './datacalls.ts';
import { asyncOnly } from './fixture.ts';
import type { Outcome } from './outcome.ts';

const NEEDS = [need.root(), need.loop(), need.tool('mke2fs', 'e2fsck', 'mount', 'umount')];
const STEPS = DEEP ? 20_000 : 1000;
const SEED = Number(process.env.SEED) || Math.floor(Math.random() * 2 ** 31);

interface Way {
  name: string;
  form: 'sync' | 'promise' | 'callback';
  mkfs: string[];
  open(device: BlockDevice): Promise<Ext4> | Ext4;
}

const WAYS: Way[] = [
  { name: 'sync', form: 'sync', mkfs: [], open: (d) => mountSync(d) },
  {
    name: 'sync, missing, 1k',
    form: 'sync',
    mkfs: ['-b', '1024'],
    open: (d) => mountSync(d, { forceMiss: true, cacheBytes: 8 << 20 }),
  },
  {
    name: 'sync, bufferhead',
    form: 'sync',
    mkfs: [],
    open: (d) => mountSync(d, { bufferedIomap: false }),
  },
  {
    name: 'sync, journalled',
    form: 'sync',
    mkfs: [],
    open: (d) => mountSync(d, { data: 'journal' }),
  },
  { name: 'promise', form: 'promise', mkfs: ['-b', '2048'], open: (d) => mount(asyncOnly(d)) },
  {
    name: 'callback, inline',
    form: 'callback',
    mkfs: ['-O', 'inline_data'],
    open: (d) => mount(asyncOnly(d), { forceMiss: true }),
  },
  { name: 'ext2', form: 'sync', mkfs: ['-t', 'ext2'], open: (d) => mountSync(d) },
];

need.describe('data written by a mount and by the kernel', NEEDS, () => {
  let dir: string;
  beforeAll(() => {
    dir = nodefs.mkdtempSync(join(tmpdir(), 'ext4-data-'));
    nodefs.mkdirSync(join(dir, 'kernel'));
  });
  afterAll(() => nodefs.rmSync(dir, { recursive: true, force: true }));

  describe.each(WAYS)('$name', (way) => {
    test(`is alike, seed ${SEED}`, { timeout: 180_000 }, async () => {
      const theirs = join(dir, 'theirs');
      const ours = join(dir, way.name);
      const root = join(dir, 'kernel');
      const type = way.mkfs.includes('-t') ? [] : ['-t', 'ext4'];
      nodefs.rmSync(theirs, { force: true });
      execFileSync(which('mke2fs'), ['-q', '-F', ...type, ...way.mkfs, theirs, '96M']);
      nodefs.copyFileSync(theirs, ours);
      const device = openFile(ours);
      const fs = await way.open(device);
      execFileSync(which('mount'), ['-o', 'loop,noatime', theirs, root]);
      const expected = { tree: [''], data: [''] };
      try {
        const judge = (calls: Call[], mine: Outcome) => onTmpfs(way.form, calls, mine);
        const lost = await playBoth(way, fs, root, judge);
        Object.assign(expected, lost ?? look(nodefs, root));
      } finally {
        execFileSync(which('umount'), [root]);
      }
      if (fs.counters().openFiles === 0 && way.form === 'sync')
        expect(look(fs as unknown as typeof nodefs, '')).toEqual(expected);
      await fs.unmount();
      await device.close();
      checkImage(ours);
      onKernel(ours, root, () => expect(look(nodefs, root)).toEqual(expected));
    });
  });
});

function look(fs: typeof nodefs, root: string): { tree: string[]; data: string[] } {
  const tree = lines(fs, root);
  return { tree, data: contents(fs, root, pathsOf(tree)) };
}

type Look = ReturnType<typeof look>;

/**
 * Linux 6.18 loses data now and then (seed 629558696, inline: zeros where an unlinked file was appended to).
 * So when contents differ, tmpfs judges: what the tree is there when it agrees with the mount, else `undefined`.
 */
async function onTmpfs(form: Way['form'], calls: Call[], mine: Outcome): Promise<Look | undefined> {
  const root = nodefs.mkdtempSync('/dev/shm/ext4-judge-');
  const judge = new Player(nodefs, root, form);
  try {
    let last: Outcome | undefined;
    for (const call of calls) last = await judge.play(call);
    return isDeepStrictEqual(last, mine) ? look(nodefs, root) : undefined;
  } finally {
    await judge.closeAll();
    nodefs.rmSync(root, { recursive: true });
  }
}

/** `undefined` when all was alike, the tree so far when the kernel's own data was wrong. */
async function playBoth(
  way: Way,
  fs: Ext4,
  root: string,
  judge: (calls: Call[], mine: Outcome) => Promise<Look | undefined>,
): Promise<Look | undefined> {
  const mine = new Player(fs, '', way.form);
  const kernel = new Player(nodefs, root, way.form);
  const faults: unknown[] = [];
  const calls: Call[] = [];
  try {
    for (const call of dataCalls(SEED, STEPS)) {
      // Node's callback form loses the error of an open file that cannot be read.
      if (way.form !== 'sync' && call[0] === 'readFile' && typeof call[1] === 'object') continue;
      const outcome = await mine.play(call);
      const expected = await kernel.play(call);
      // Calls that fail change nothing, and the limits of tmpfs are others.
      if ('value' in outcome) calls.push(call);
      if (isDeepStrictEqual(outcome, expected)) continue;
      const judged = 'value' in outcome && 'value' in expected && (await judge(calls, outcome));
      if (judged) return judged;
      faults.push({ step: call, outcome, expected });
      // Errors that differ leave the trees alike; anything else ends it.
      if ('value' in outcome || 'value' in expected || faults.length === 20) break;
    }
    expect(faults).toEqual([]);
    expect(calls.length).toBeGreaterThan(STEPS / 2);
    return undefined;
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
