// Traces of the oracle's generator with their data, done by the kernel and by us from the same image: the same
// result for each operation (bytes, hashes, errno), the same tree and contents in the end as the kernel sees them,
// and e2fsck finds nothing. Each trace also takes paths of ours that the kernel's mount has no option for: dax, no
// iomap, no delayed blocks.

import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { mountVfsSync } from '../../ts/vfs/filesystem.ts';
import type { MountOptions } from '../../ts/vfs/options.ts';
import { DEEP, need, ORACLES } from '../need.ts';
import { contents, makeImage, scratch } from '../write/images.ts';
import { apply, type Op, type Result } from './oracleops.ts';

const SEED = Number(process.env.EXT4_SEED ?? 1);
const OPS = 200;
const LONG = DEEP ? 3_600_000 : 300_000;
const SCRIPT = join(import.meta.dirname, 'trace.py');

/** Profiles, and how we mount for each. */
const PROFILES: Record<string, MountOptions> = {
  ...{ default: {}, b1k: {}, b2k_nojnl: {}, ext3: {}, ext2: {}, inline: {}, bigalloc: {} },
  ...{ djournal: { data: 'journal' }, nodelalloc: { delalloc: false }, full: {} },
  ...{ ea_inode: {}, nocsum32: {}, i128: {} },
};
/** Of one seed, the other paths of these profiles. */
const OTHERS: [profile: string, o: MountOptions][] = [
  ['default', { dax: 'always' }],
  ['b1k', { bufferedIomap: false }],
  ['b1k', { dax: 'always' }],
  ['bigalloc', { bufferedIomap: false }],
  ['b1k', { forceMiss: true }],
  ['default', { data: 'journal' }],
];

/** Profiles whose files have block maps. */
const MAPPED = new Set(['ext2', 'ext3']);

interface Trace {
  mke2fs: string;
  mount: string;
  size: number;
  ops: Op[];
}

interface Outcome {
  results: Result[];
  state: Record<string, unknown>;
  fsck: number;
}

function python(args: string[], input = ''): unknown {
  const out = execFileSync('python3', [SCRIPT, ORACLES, ...args], {
    input,
    encoding: 'utf8',
    maxBuffer: 256 << 20,
    timeout: 120_000,
  });
  return JSON.parse(out);
}

function byKernel(image: Uint8Array, ops: Op[], options = ''): Outcome {
  const path = scratch('data-kernel.img');
  writeFileSync(path, image);
  const outcome = python([path, options], JSON.stringify({ ops })) as Outcome;
  rmSync(path);
  return outcome;
}

function byUs(
  image: Uint8Array,
  ops: Op[],
  o: MountOptions,
): { results: Result[]; image: Uint8Array } {
  const device = memoryDevice(image, { sparse: o.dax === 'never' });
  const fs = mountVfsSync(device, o);
  const results = ops.map((op) => apply(fs, op));
  fs.runSync(fs.unmount());
  return { results, image: contents(device as never) };
}

/** Linux has one number for the two names. */
function same(result: Result): Result {
  return result === 'ENOTSUP' ? 'EOPNOTSUPP' : result;
}

/** A file system without room: whose writes fit when depends on where blocks lie. Compared up to the first that
 *  does not. */
function room(results: Result[][]): number {
  const at = results.map((r) => r.indexOf('ENOSPC')).filter((i) => i >= 0);
  return at.length === 0 ? Number.POSITIVE_INFINITY : Math.min(...at);
}

const kernels = new Map<string, { trace: Trace; image: Uint8Array; kernel: Outcome }>();

function kernelOf(profile: string, seed: number) {
  const key = `${profile} ${seed}`;
  let known = kernels.get(key);
  if (known === undefined) {
    const trace = python(['gen', `${seed}`, `${OPS}`, profile]) as Trace;
    const image = makeImage({ args: trace.mke2fs, size: trace.size });
    known = { trace, image, kernel: byKernel(image, trace.ops, trace.mount) };
    kernels.clear();
    kernels.set(key, known);
  }
  return known;
}

function runTrace(profile: string, seed: number, options: MountOptions): void {
  const o: MountOptions = { dax: 'never', ...options };
  const where = `${profile}, seed ${seed}, ${JSON.stringify(o)}`;
  const { trace, image, kernel } = kernelOf(profile, seed);
  const { ops } = trace;
  const ours = byUs(image, ops, o);
  const all = room([ours.results, kernel.results]);
  ops.forEach((op, i) => {
    if (i > all) return;
    const got = same(ours.results[i]);
    const want = same(kernel.results[i]);
    if (i === all && (got === 'ENOSPC' || want === 'ENOSPC')) return;
    // Where a whole indirect block is missing the kernel sees no delayed data behind it.
    if (MAPPED.has(profile) && op[0] === 'seek' && want === 'ENXIO' && got === 0) return;
    expect(got, `${where}, operation ${i}: ${JSON.stringify(op)}`).toEqual(want);
  });
  const seen = byKernel(ours.image, []);
  expect(seen.fsck, where).toBe(0);
  if (all === Number.POSITIVE_INFINITY) expect(seen.state, where).toEqual(kernel.state);
  // The full one has no room left half way.
  const least = ops.length / (profile === 'full' ? 10 : 3);
  const did = kernel.results.filter((r) => typeof r !== 'string').length;
  expect(did, `${where}: a trace that does something`).toBeGreaterThan(least);
}

const needs = [need.root(), need.loop(), need.oracles(), need.tool('mke2fs', 'e2fsck')];

need.describe('the same trace with data by the kernel and by us', needs, () => {
  for (const [profile, o] of Object.entries(PROFILES)) {
    const seeds = Array.from({ length: DEEP ? 40 : 1 }, (_, i) => SEED + i);
    test(
      `${profile}: results, errors, contents and tree are equal (seeds from ${SEED})`,
      () => {
        for (const seed of seeds) runTrace(profile, seed, o);
      },
      LONG,
    );
  }

  for (const [profile, o] of OTHERS) {
    const seeds = Array.from({ length: DEEP ? 10 : 1 }, (_, i) => SEED + 100 + i);
    test(
      `${profile} with ${JSON.stringify(o)}: the same as the kernel (seeds from ${SEED + 100})`,
      () => {
        for (const seed of seeds) runTrace(profile, seed, o);
      },
      LONG,
    );
  }
});
