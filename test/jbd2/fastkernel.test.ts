// Goal: what the kernel made durable by fast commits is all there after our replay, and e2fsck is content. Method: the
// kernel does seeded operations and is cut off; the tree that its mount showed at that moment is what ours must be,
// link counts too. SEED or EXT4_SEED chooses the operations.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { DEEP, need, ORACLES } from '../need.ts';
import { differences, type FileState, type State } from '../oracle/state.ts';
import { fsck, replay, shown } from './fastimage.ts';
import { contents } from './image.ts';

const SEED = Number(process.env.EXT4_SEED ?? 1);
const SEEDS = DEEP ? 12 : 1;
const OPS = '40';
const KEYS: (keyof FileState)[] = [
  ...([
    't',
    'mode',
    'uid',
    'gid',
    'nlink',
    'size',
    'rdev',
    'link',
    'sha',
    'xa',
    'hl',
    'err',
  ] as const),
];

/** mke2fs's arguments, how the kernel mounts, MiB. */
type Set = [args: string, options: string, mib: number];
const SETS: Record<string, Set> = {
  ext4: ['-b 4096 -O fast_commit', 'data=ordered', 24],
  'inline data, 1 KiB blocks': ['-b 1024 -I 256 -O fast_commit,inline_data', 'data=ordered', 16],
  'block maps, 1 KiB blocks': ['-b 1024 -O fast_commit,^extent,^64bit', 'data=ordered', 16],
  'bigalloc, an orphan file': [
    '-b 4096 -C 16384 -O fast_commit,bigalloc,orphan_file',
    'data=ordered',
    48,
  ],
  'data=writeback, small inodes, no checksums': [
    '-b 4096 -I 128 -O fast_commit,^metadata_csum',
    'data=writeback',
    24,
  ],
};

const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'ext4-fastk-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Copy {
  image: string;
  state: State;
  log: string[];
}

function kernelCopies([args, options, mib]: Set, seed: number, ops = OPS): Copy[] {
  const place = join(folder, String(seed));
  rmSync(place, { recursive: true, force: true });
  mkdirSync(place);
  const script = join(import.meta.dirname, 'fastkernel.py');
  const words = [script, ORACLES, place, String(seed), ops, String(mib), args, options];
  const text = execFileSync('python3', words, { encoding: 'utf8', maxBuffer: 256 << 20 });
  return JSON.parse(text).copies;
}

/** Replays a copy and compares; the number of fast commits in it. */
async function check({ image, state }: Copy, where: string): Promise<number> {
  const device = memoryDevice(new Uint8Array(readFileSync(image)), { sparse: true });
  const info = replay(device);
  expect(info, where).toMatchObject({ readOnly: false, reason: '' });
  const after = contents(device);
  expect(fsck(after), where).toBe('');
  expect(differences(await shown(after), state, { keys: KEYS }), where).toEqual([]);
  return info.journal.fastCommits;
}

const needs = [need.root(), need.loop(), need.oracles(), need.tool('mke2fs', 'e2fsck')];

need.describe('fast commits of the kernel', needs, () => {
  for (const set of Object.keys(SETS)) {
    test(`${set}: after the replay everything is as the kernel had it (seed ${SEED})`, {
      timeout: DEEP ? 600_000 : 60_000,
    }, async () => {
      let commits = 0;
      for (let seed = SEED; seed < SEED + SEEDS; seed++) {
        for (const copy of kernelCopies(SETS[set], seed)) {
          commits += await check(copy, `seed ${seed}, after ${copy.log.length} operations`);
        }
      }
      expect(commits).toBeGreaterThan(5);
    });
  }

  test('slots of an inode table before the one that is used may hold junk', async () => {
    const set: Set = ['-b 1024 -N 1024 -O fast_commit', 'noinit_itable', 16];
    const [copy] = kernelCopies(set, SEED, 'unused');
    expect(await check(copy, '')).toBeGreaterThan(0);
  });
});
