// Traces of the oracle's generator, done by the kernel and by us from the same image: the same
// result and errno for each operation, the same tree in the end as the kernel sees it, and e2fsck
// finds nothing. A third image goes to and fro: every second part of the trace is the kernel's.
// Data operations become creations: files stay empty.

import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { Ext4Error } from '../../ts/errno.ts';
import type { Flow } from '../../ts/flow.ts';
import { type FileSystem, mountVfsSync } from '../../ts/vfs/filesystem.ts';
import { DEEP, need, ORACLES } from '../need.ts';
import { bytes } from './driver.ts';
import { contents, makeImage, scratch } from './images.ts';

type Op = [string, ...(string | number)[]];
type Result = string | number;

interface Trace {
  mke2fs: string;
  size: number;
  ops: Op[];
}

interface Outcome {
  results: Result[];
  state: Record<string, unknown>;
  fsck: number;
}

const SEED = Number(process.env.EXT4_SEED ?? 1);
const OPS = 240;
const PARTS = 4;
/** Without those that differ only in the mount's options for data. */
const PROFILES = [
  ...['default', 'b1k', 'b2k_nojnl', 'ext3', 'ext2', 'inline', 'bigalloc', 'full'],
  ...['ea_inode', 'nocsum32', 'i128'],
];
const DATA = new Set(['write', 'append', 'trunc', 'fallocate', 'read', 'seek', 'cfr']);
const SCRIPT = join(import.meta.dirname, 'kernel.py');
const O_RDWR_CREAT = 0o102;

function python(args: string[], input = ''): unknown {
  const out = execFileSync('python3', [SCRIPT, ORACLES, ...args], {
    input,
    encoding: 'utf8',
    maxBuffer: 256 << 20,
    timeout: 120_000,
  });
  return JSON.parse(out);
}

/** Where values may be large, some are: whole tens of times what the generator gives. */
function enlarged([kind, ...a]: Op, i: number): Op {
  if (kind !== 'setxattr' || i % 2 === 0) return [kind, ...a];
  const [path, name, length, start, flag] = a as [string, string, number, number, number];
  const size = Math.min(65_536, length * (1 + (start % 40)));
  return [kind, path, name, size, start % 3, flag];
}

/** Of the data operations some become creations, the others go. */
function traceOf(seed: number, profile: string): Trace {
  const trace = python(['gen', `${seed}`, `${OPS * 2}`, profile]) as Trace;
  const ops = trace.ops.flatMap((op): Op[] => {
    if (op[0] === 'write') return [['mknod', op[1], 0o100644, 0, 0]];
    return DATA.has(op[0]) ? [] : [op];
  });
  const large = profile === 'ea_inode' ? ops.map(enlarged) : ops;
  return { ...trace, ops: large.slice(0, OPS) };
}

function byKernel(image: Uint8Array, ops: Op[]): Outcome & { image: Uint8Array } {
  const path = scratch('kernel.img');
  writeFileSync(path, image);
  const outcome = python([path], JSON.stringify({ ops })) as Outcome;
  const after = new Uint8Array(readFileSync(path));
  rmSync(path);
  return { ...outcome, image: after };
}

function byUs(image: Uint8Array, ops: Op[]): { results: Result[]; image: Uint8Array } {
  const device = memoryDevice(image, { sparse: true });
  const fs = mountVfsSync(device);
  const results = ops.map((op): Result => {
    try {
      return fs.runSync(flowOf(fs, op));
    } catch (error) {
      if (error instanceof Ext4Error) return error.code;
      throw error;
    }
  });
  fs.runSync(fs.unmount());
  return { results, image: contents(device) };
}

/** The oracle's table of data. */
let table: Uint8Array | null = null;
function data(start: number, length: number): Uint8Array {
  if (table === null) {
    table = new Uint8Array(1 << 20);
    let x = 12345;
    for (let i = 0; i < table.length; i++) {
      x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
      table[i] = x >>> 24;
    }
  }
  const at = start % 65536;
  return table.subarray(at, at + length);
}

/** One operation as oracle.py does it: several calls at times, with its ways of passing over some. */
function* flowOf(fs: FileSystem, [kind, ...a]: Op): Flow<Result> {
  const path = bytes(String(a[0] ?? '/'));
  const { change } = fs;
  if (kind === 'bulk') return yield* bulk(fs, a);
  if (kind === 'bulkrm') return yield* bulkrm(fs, a);
  if (kind === 'fsync' || kind === 'utime') return yield* onFile(fs, path, [kind, ...a]);
  if (kind === 'sync') yield* fs.syncAll();
  else if (kind === 'mkdir') {
    yield* change.mkdir(path, 0o777);
    yield* chmod(fs, path, Number(a[1]));
  } else if (kind === 'rmdir') yield* change.rmdir(path);
  else if (kind === 'unlink') yield* change.unlink(path);
  else if (kind === 'link') yield* change.link(path, bytes(String(a[1])));
  else if (kind === 'symlink') yield* change.symlink(bytes(String(a[1])), path);
  else if (kind === 'mknod') {
    yield* change.mknod(path, Number(a[1]), deviceOf(Number(a[1]), Number(a[2]), Number(a[3])));
  } else if (kind === 'rename') {
    const o = { noReplace: a[2] === 1, exchange: a[2] === 2 };
    yield* change.rename(path, bytes(String(a[1])), o);
  } else if (kind === 'chmod') {
    if (yield* isLink(fs, path)) return 'skip';
    yield* chmod(fs, path, Number(a[1]));
  } else yield* attribute(fs, yield* fs.resolve(path, false), [kind, ...a]);
  return 0;
}

function* attribute(fs: FileSystem, ino: number, [kind, ...a]: Op): Flow<void> {
  const { change } = fs;
  const name = bytes(String(a[1]));
  if (kind === 'chown') yield* change.setAttributes(ino, { uid: Number(a[1]), gid: Number(a[2]) });
  else if (kind === 'rmxattr') yield* change.removexattr(ino, name);
  else if (kind === 'setxattr') {
    const value = data(Number(a[3]), Number(a[2]));
    yield* change.setxattr(ino, name, value, { create: a[4] === 1, replace: a[4] === 2 });
  } else throw new RangeError(kind);
}

function deviceOf(mode: number, major: number, minor: number): number {
  const type = mode & 0o170000;
  if (type !== 0o020000 && type !== 0o060000) return 0;
  return (minor & 0xff) + (major & 0xfff) * 256 + (minor - (minor & 0xff)) * 4096;
}

function* chmod(fs: FileSystem, path: Uint8Array, mode: number): Flow<void> {
  yield* fs.change.setAttributes(yield* fs.resolve(path, true), { mode });
}

function* isLink(fs: FileSystem, path: Uint8Array): Flow<boolean> {
  const found = yield* statOf(fs, path);
  return found !== null && (found.mode & 0o170000) === 0o120000;
}

/** The flows of a trace catch nothing but this: what stat says of a path, or null where it says ENOENT or ENOTDIR. */
function* statOf(fs: FileSystem, path: Uint8Array): Flow<{ mode: number } | null> {
  try {
    return yield* fs.stat(path, false);
  } catch (error) {
    if (error instanceof Ext4Error && error.code === 'ENOENT') return null;
    throw error;
  }
}

function* onFile(fs: FileSystem, path: Uint8Array, [kind, ...a]: Op): Flow<Result> {
  const stat = yield* statOf(fs, path);
  if (stat === null) throw new Ext4Error('ENOENT');
  if ((stat.mode & 0o170000) !== 0o100000) return 'skip';
  if (kind === 'fsync') yield* fs.syncAll();
  else {
    const time = { sec: Number(a[1]), nsec: Number(a[2]) };
    const ino = yield* fs.resolve(path, false);
    yield* fs.change.setAttributes(ino, { atime: time, mtime: time });
  }
  return 0;
}

function* bulk(fs: FileSystem, [dir, stem, count]: (string | number)[]): Flow<Result> {
  for (let i = 0; i < Number(count); i++) {
    const fd = yield* fs.open(bytes(`${dir}/${stem}${i}`), O_RDWR_CREAT, 0o600);
    yield* fs.close(fd);
  }
  return 0;
}

function* bulkrm(fs: FileSystem, [dir, stem, count]: (string | number)[]): Flow<Result> {
  let removed = 0;
  for (let i = 0; i < Number(count); i++) {
    const path = bytes(`${dir}/${stem}${i}`);
    if ((yield* statOf(fs, path)) === null) continue;
    yield* fs.change.unlink(path);
    removed++;
  }
  return removed;
}

/** Linux has one number for the two names. */
function same(result: Result): Result {
  return result === 'ENOTSUP' ? 'EOPNOTSUPP' : result;
}

function compare(ops: Op[], got: Result[], want: Result[], where: string): void {
  ops.forEach((op, i) => {
    expect(same(got[i]), `${where}, operation ${i}: ${JSON.stringify(op)}`).toBe(same(want[i]));
  });
}

function runTrace(profile: string, seed: number): void {
  const where = `${profile}, seed ${seed}`;
  const { ops, mke2fs, size } = traceOf(seed, profile);
  const image = makeImage({ args: mke2fs, size });
  const kernel = byKernel(image, ops);
  const ours = byUs(image, ops);
  compare(ops, ours.results, kernel.results, where);
  const seen = byKernel(ours.image, []);
  expect(seen.state, where).toEqual(kernel.state);
  expect(seen.fsck, where).toBe(0);
  const succeeded = kernel.results.filter((r) => typeof r === 'number').length;
  expect(succeeded, `${where}: a trace that does something`).toBeGreaterThan(ops.length / 10);
  if (DEEP || (PROFILES.indexOf(profile) + seed) % 3 === 0) shuttle(image, ops, kernel, where);
}

/** The parts of the trace by us and by the kernel in turn, on one image. */
function shuttle(start: Uint8Array, ops: Op[], kernel: Outcome, where: string): void {
  const results: Result[] = [];
  let image = start;
  for (let part = 0; part < PARTS; part++) {
    const some = ops.slice((part * ops.length) / PARTS, ((part + 1) * ops.length) / PARTS);
    const done = (part % 2 === 0 ? byUs : byKernel)(image, some);
    results.push(...done.results);
    image = done.image;
  }
  compare(ops, results, kernel.results, `${where}, in turn`);
  const seen = byKernel(image, []);
  expect(seen.state, `${where}, in turn`).toEqual(kernel.state);
  expect(seen.fsck, `${where}, in turn`).toBe(0);
}

const needs = [need.root(), need.loop(), need.oracles(), need.tool('mke2fs', 'e2fsck')];

need.describe('the same trace by the kernel and by us', needs, () => {
  for (const profile of PROFILES) {
    const seeds = Array.from({ length: DEEP ? 20 : 1 }, (_, i) => SEED + i);
    test(`${profile}: results, errors and tree are equal (seeds from ${SEED})`, () => {
      for (const seed of seeds) runTrace(profile, seed);
    }, 3_600_000);
  }
});
