// Random traces of chattr flags and ACLs, done by the kernel and by us: flags that forbid, flags that are inherited,
// default ACLs and what is made under them, chmod where an ACL is, ACLs that break a rule. The same result and errno
// for each operation, the same tree as the kernel reads it, e2fsck finds nothing.

import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { Ext4Error } from '../../ts/errno.ts';
import type { Flow } from '../../ts/flow.ts';
import { type FileSystem, mountVfsSync } from '../../ts/vfs/filesystem.ts';
import { type Random, random } from '../fuzz/random.ts';
import { DEEP, need, ORACLES } from '../need.ts';
import { bytes } from './driver.ts';
import { contents, makeImage, SETS, scratch } from './images.ts';

const SEED = Number(process.env.EXT4_SEED ?? 1);
const OPS = 400;
const TRACES = DEEP ? 60 : 1;
const SCRIPT = join(import.meta.dirname, 'attrs.py');

type Op = [kind: string, path: string, ...(string | number)[]];
type Result = string | number;

// ---- choosing

const DIRS = ['', '/d0', '/d1', '/d0/d2', '/d1/d3', '/d0/d2/d4'];
const FILES = ['f0', 'f1', 'f2', 'p', 'l', 'd5'];
/** As chattr names them; without j, for which the kernel wants CAP_SYS_RESOURCE: not every root has that. */
const FLAGS = {
  s: 0x1,
  u: 0x2,
  S: 0x8,
  i: 0x10,
  a: 0x20,
  d: 0x40,
  A: 0x80,
  t: 0x8000,
  D: 0x10000,
  T: 0x20000,
};
const INLINE = 0x10000000;
const FORBID = FLAGS.i | FLAGS.a;
const ALL = Object.values(FLAGS).reduce((sum, bit) => sum | bit, 0);
const ACLS = ['system.posix_acl_access', 'system.posix_acl_default'];
const O_WRONLY = 1;
const O_CREAT = 0o100;
const O_TRUNC = 0o1000;
const O_APPEND = 0o2000;

class Chooser {
  readonly r: Random;

  constructor(seed: number) {
    this.r = random(seed);
  }

  next(): Op {
    const { r } = this;
    const k = r.int(100);
    if (k < 8) return ['mkdir', this.dir(), this.mode()];
    if (k < 16) return ['mknod', this.file(), r.pick([0o100000, 0o100000, 0o010000]) + this.mode()];
    if (k < 18) return ['symlink', this.file(), 'target'];
    if (k < 20) return ['link', this.file(), this.file()];
    if (k < 23) return ['unlink', this.file()];
    if (k < 25) return ['rmdir', this.dir()];
    if (k < 29) return ['rename', this.any(), this.any()];
    if (k < 37) return ['chmod', this.any(), r.int(0o10000)];
    if (k < 40) return ['chown', this.any(), r.int(3) * 1000, r.int(3) * 1000];
    if (k < 42) return ['utimes', this.any(), r.int(1e9)];
    if (k < 47) return ['truncate', this.file(), r.int(5000)];
    if (k < 57) return this.write();
    if (k < 60) return ['setxattr', this.any(), 'user.x', '7878', r.pick([0, 1, 2])];
    if (k < 62) return ['rmxattr', this.any(), r.pick([...ACLS, 'user.x'])];
    if (k < 80) return ['setxattr', this.any(), r.pick(ACLS), this.acl(), r.pick([0, 0, 1, 2])];
    return this.chattr();
  }

  dir(): string {
    return this.r.pick(DIRS.slice(1));
  }

  file(): string {
    return `${this.r.pick(DIRS)}/${this.r.pick(FILES)}`;
  }

  any(): string {
    return this.r.chance(0.5) ? this.dir() : this.file();
  }

  mode(): number {
    return this.r.pick([0o777, 0o666, 0o755, 0o640, 0o2775, 0o1777]);
  }

  write(): Op {
    const how = this.r.pick([0, O_APPEND, O_CREAT, O_TRUNC, O_CREAT | O_APPEND]);
    return ['write', this.file(), O_WRONLY | how, this.r.int(3000), 1 + this.r.int(3000)];
  }

  /** What forbids most is taken back most of the time. */
  chattr(): Op {
    const { r } = this;
    const path = this.any();
    if (r.chance(0.4)) return ['chattr', path, 0, r.chance(0.7) ? FORBID : ALL];
    const bits = Object.values(FLAGS);
    const add = r.pick(bits) | (r.chance(0.3) ? r.pick(bits) : 0);
    return ['chattr', path, add, r.chance(0.3) ? r.pick(bits) : 0];
  }

  acl(): string {
    const { r } = this;
    if (r.chance(0.05)) return r.pick(['', '02000000', '0200', '01000000', '03000000ff']);
    const perm = () => r.int(8);
    const named = r.int(3);
    const entries = [[1, perm(), -1]];
    for (let i = 0; i < named; i++) entries.push([2, perm(), 1000 + i]);
    entries.push([4, perm(), -1]);
    if (r.chance(0.4)) entries.push([8, perm(), 1000]);
    if (entries.length > 2 || r.chance(0.2)) entries.push([16, perm(), -1]);
    entries.push([32, perm(), -1]);
    if (r.chance(0.08)) entries.splice(r.int(entries.length), 1);
    if (r.chance(0.05)) r.pick(entries)[1] = 9;
    if (r.chance(0.04)) entries.reverse();
    if (r.chance(0.04)) r.pick(entries)[2] = -1;
    const wire = new DataView(new ArrayBuffer(4 + 8 * entries.length));
    wire.setUint32(0, 2, true);
    for (const [i, [tag, bits, id]] of entries.entries()) {
      wire.setUint16(4 + 8 * i, tag, true);
      wire.setUint16(6 + 8 * i, bits, true);
      wire.setInt32(8 + 8 * i, id, true);
    }
    return Buffer.from(wire.buffer).toString('hex');
  }
}

function traceOf(seed: number): Op[] {
  const chooser = new Chooser(seed);
  const ops: Op[] = DIRS.slice(1).map((dir) => ['mkdir', dir, 0o755]);
  while (ops.length < OPS) ops.push(chooser.next());
  return ops;
}

// ---- doing

interface Outcome {
  results: Result[];
  state: Record<string, unknown>;
  fsck: number;
}

function byKernel(image: Uint8Array, ops: Op[]): Outcome & { image: Uint8Array } {
  const path = scratch('attrs.img');
  writeFileSync(path, image);
  const out = execFileSync('python3', [SCRIPT, ORACLES, path], {
    input: JSON.stringify({ ops }),
    encoding: 'utf8',
    timeout: 60_000,
  });
  const after = new Uint8Array(readFileSync(path));
  rmSync(path);
  return { ...(JSON.parse(out) as Outcome), image: after };
}

function byUs(image: Uint8Array, ops: Op[], forceMiss: boolean) {
  const device = memoryDevice(image, { sparse: true });
  const fs = mountVfsSync(device, { dax: 'never', forceMiss });
  const results = ops.map((op): Result => {
    try {
      return fs.runSync(flowOf(fs, op));
    } catch (error) {
      if (error instanceof Ext4Error) return error.code;
      throw error;
    }
  });
  fs.runSync(fs.unmount());
  expect(fs.vol.cache.pinCount()).toBe(0);
  return { results, image: contents(device) };
}

function* flowOf(fs: FileSystem, [kind, path, ...a]: Op): Flow<Result> {
  const { change } = fs;
  const at = bytes(path);
  // mkdir(2) takes no set-id bits: the api floor sees to that.
  if (kind === 'mkdir') yield* change.mkdir(at, Number(a[0]) & 0o1777);
  else if (kind === 'mknod') yield* change.mknod(at, Number(a[0]));
  else if (kind === 'symlink') yield* change.symlink(bytes(String(a[0])), at);
  else if (kind === 'link') yield* change.link(at, bytes(String(a[0])));
  else if (kind === 'unlink') yield* change.unlink(at);
  else if (kind === 'rmdir') yield* change.rmdir(at);
  else if (kind === 'rename') yield* change.rename(at, bytes(String(a[0])));
  else if (kind === 'truncate') yield* fs.data.truncate(at, Number(a[0]));
  else if (kind === 'write') return yield* writeFlow(fs, at, a as number[]);
  else yield* attribute(fs, at, [kind, ...a]);
  return 0;
}

function* writeFlow(fs: FileSystem, at: Uint8Array, [flags, pos, len]: number[]): Flow<Result> {
  if (yield* isFifo(fs, at)) return 'skip';
  const fd = yield* fs.open(at, flags, 0o666);
  const n = yield* fs.data.write(fd, new Uint8Array(len).fill(0x77), pos);
  yield* fs.close(fd);
  return n;
}

function* isFifo(fs: FileSystem, at: Uint8Array): Flow<boolean> {
  try {
    return ((yield* fs.stat(at, true)).mode & 0o170000) === 0o010000;
  } catch {
    return false;
  }
}

function* attribute(fs: FileSystem, at: Uint8Array, [kind, ...a]: (string | number)[]): Flow<void> {
  const { change } = fs;
  const ino = yield* fs.resolve(at, kind === 'chmod');
  const name = () => bytes(String(a[0]));
  if (kind === 'chmod') yield* change.setAttributes(ino, { mode: Number(a[0]) });
  else if (kind === 'chown') {
    yield* change.setAttributes(ino, { uid: Number(a[0]), gid: Number(a[1]) });
  } else if (kind === 'utimes') {
    const time = { sec: Number(a[0]), nsec: 0 };
    yield* change.setAttributes(ino, { atime: time, mtime: time });
  } else if (kind === 'rmxattr') yield* change.removexattr(ino, name());
  else if (kind === 'setxattr') {
    const value = new Uint8Array(Buffer.from(String(a[1]), 'hex'));
    yield* change.setxattr(ino, name(), value, { create: a[2] === 1, replace: a[2] === 2 });
  } else {
    const { mode } = yield* fs.stat(at, false);
    // chattr opens what it changes, without following links; a fifo has no such call.
    if ((mode & 0o170000) === 0o120000) throw new Ext4Error('ELOOP');
    if ((mode & 0o170000) === 0o010000) throw new Ext4Error('ENOSYS', 'no flags');
    const old = yield* fs.getFlags(at);
    const next = (old | Number(a[0])) & ~Number(a[1]);
    // The kernel refuses an inline inode that stays immutable also where nothing changes; we do not.
    const stays = (old & next & FLAGS.i) !== 0;
    if (stays && (old & INLINE) !== 0) throw new Ext4Error('EPERM', 'inline and immutable');
    yield* change.setFlags(ino, next);
  }
}

// ---- judging

const NAMES: Record<string, string> = { ENOTSUP: 'EOPNOTSUPP', ENOTTY: 'ENOSYS' };
const same = (result: Result): Result => NAMES[result] ?? result;

function compare(ops: Op[], got: Result[], want: Result[], where: string): void {
  ops.forEach((_, i) => {
    const before = ops.slice(Math.max(0, i - 8), i + 1).map((o, j, all) => {
      return `${JSON.stringify(o)} ${want[i - all.length + 1 + j]}`;
    });
    expect(same(got[i]), `${where}, operation ${i}: ${before.join('; ')}`).toBe(same(want[i]));
  });
}

function sameTree(got: Outcome, want: Outcome, where: string): void {
  expect(Object.keys(got.state).sort(), where).toEqual(Object.keys(want.state).sort());
  for (const [path, node] of Object.entries(want.state)) {
    expect(got.state[path], `${where}: ${path}`).toEqual(node);
  }
}

function runTrace(set: string, seed: number): void {
  const where = `${set}, seed ${seed}`;
  const ops = traceOf(seed);
  const image = makeImage(SETS[set]);
  const kernel = byKernel(image, ops);
  const ours = byUs(image, ops, seed % 2 === 0);
  compare(ops, ours.results, kernel.results, where);
  const seen = byKernel(ours.image, []);
  sameTree(seen, kernel, where);
  expect(seen.fsck, where).toBe(0);
  for (const kind of ['chattr', 'setxattr', 'chmod', 'write']) {
    const good = ops.filter((op, i) => op[0] === kind && typeof kernel.results[i] === 'number');
    expect(good.length, `${where}: ${kind} that does something`).toBeGreaterThan(3);
  }
  shuttle(image, ops, kernel, where);
}

/** The first half by us, the second by the kernel, on one image. */
function shuttle(image: Uint8Array, ops: Op[], kernel: Outcome, where: string): void {
  const half = ops.length / 2;
  const first = byUs(image, ops.slice(0, half), false);
  const second = byKernel(first.image, ops.slice(half));
  compare(ops, [...first.results, ...second.results], kernel.results, `${where}, in turn`);
  sameTree(second, kernel, `${where}, in turn`);
  expect(second.fsck, `${where}, in turn`).toBe(0);
}

const needs = [need.root(), need.loop(), need.oracles(), need.tool('mke2fs', 'e2fsck')];

need.describe('flags and ACLs by the kernel and by us', needs, () => {
  for (const set of ['ext4', 'ext3', 'ext4 1k', 'inline_data', '128-byte inodes', 'bigalloc']) {
    test(`${set}: results, errors and tree are equal (seeds from ${SEED})`, () => {
      for (let seed = SEED; seed < SEED + TRACES; seed++) runTrace(set, seed);
    }, 3_600_000);
  }
});
