// The operations of the oracle's traces done by the library: what oracle.py does with system calls, with its ways
// of passing over some. A result is what it gives there: a number, an errno's name, 'skip', or length and hash of
// what was read.

import { createHash } from 'node:crypto';
import { Ext4Error } from '../../ts/errno.ts';
import type { FallocateMode } from '../../ts/ext4/fallocate.ts';
import type { Flow } from '../../ts/flow.ts';
import type { FileSystem } from '../../ts/vfs/filesystem.ts';
import { bytes } from '../write/driver.ts';

export type Op = [string, ...(string | number)[]];
export type Result = string | number | (string | number)[];

const O_RDONLY = 0;
const O_WRONLY = 1;
const O_RDWR = 2;
const O_CREAT = 0o100;
const O_APPEND = 0o2000;
const O_NOFOLLOW = 0o400000;
const FILE = new Set(['write', 'append', 'trunc', 'fallocate', 'read', 'seek', 'fsync', 'utime']);

/** Does one; what it comes to. Anything but an Ext4Error is a bug, and thrown. */
export function apply(fs: FileSystem, op: Op): Result {
  try {
    return fs.runSync(flowOf(fs, op));
  } catch (error) {
    if (error instanceof Ext4Error) return error.code;
    throw error;
  }
}

function flowOf(fs: FileSystem, op: Op): Flow<Result> {
  if (FILE.has(op[0])) return fileOp(fs, op);
  if (op[0] === 'cfr') return copyRange(fs, op);
  return treeOp(fs, op);
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
  return table.subarray(start % 65536, (start % 65536) + length);
}

// ---- files

/** Regular files only: others are passed over. */
function* isOther(fs: FileSystem, path: Uint8Array, creates: boolean): Flow<boolean> {
  const stat = yield* statOf(fs, path);
  if (stat === null && !creates) throw new Ext4Error('ENOENT');
  return stat !== null && (stat.mode & 0o170000) !== 0o100000;
}

const FLAGS: Record<string, number> = {
  write: O_RDWR | O_CREAT,
  append: O_WRONLY | O_CREAT | O_APPEND,
  read: O_RDONLY,
  seek: O_RDONLY,
};

function* fileOp(fs: FileSystem, [kind, ...a]: Op): Flow<Result> {
  const path = bytes(String(a[0]));
  const flags = FLAGS[kind] ?? O_RDWR;
  if (yield* isOther(fs, path, (flags & O_CREAT) !== 0)) return 'skip';
  if (kind === 'utime') {
    const time = { sec: Number(a[1]), nsec: Number(a[2]) };
    const ino = yield* fs.resolve(path, false);
    yield* fs.change.setAttributes(ino, { atime: time, mtime: time });
    return 0;
  }
  const fd = yield* fs.open(path, flags | O_NOFOLLOW, 0o644);
  const done = yield* closing(fs, [fd], onFile(fs, fd, [kind, ...a]));
  return done;
}

/** Runs a flow and closes descriptors, also when it throws. */
function* closing<T>(fs: FileSystem, fds: number[], flow: Flow<T>): Flow<T> {
  try {
    return yield* flow;
  } finally {
    for (const fd of fds) yield* fs.close(fd);
  }
}

const MODES: Record<number, FallocateMode> = {
  0: 'alloc',
  2: 'punch',
  8: 'collapse',
  16: 'zero',
  32: 'insert',
};

function* onFile(fs: FileSystem, fd: number, [kind, ...a]: Op): Flow<Result> {
  const [, x, y, z] = a.map(Number);
  if (kind === 'write') return yield* fs.data.write(fd, data(z, y), x);
  if (kind === 'append') return yield* fs.data.write(fd, data(y, x), null);
  if (kind === 'trunc') yield* fs.data.truncate(fd, x);
  else if (kind === 'fsync') yield* fs.data.fsync(fd, false);
  else if (kind === 'fallocate')
    yield* fs.data.fallocate(fd, MODES[x - (x % 2)], y, z, x % 2 === 1);
  else if (kind === 'seek') yield* y === 3 ? fs.seekData(fd, x) : fs.seekHole(fd, x);
  else {
    const into = new Uint8Array(y);
    const n = yield* fs.read(fd, into, x);
    const hash = createHash('sha256').update(into.subarray(0, n)).digest('hex');
    return [n, hash.slice(0, 16)];
  }
  return 0;
}

function* copyRange(fs: FileSystem, [, from, at, to, put, count]: Op): Flow<Result> {
  if (from === to) return 'skip';
  const source = bytes(String(from));
  const target = bytes(String(to));
  if (yield* isOther(fs, source, false)) return 'skip';
  const input = yield* fs.open(source, O_RDONLY | O_NOFOLLOW);
  return yield* closing(
    fs,
    [input],
    copyTo(fs, input, target, [Number(at), Number(put), Number(count)]),
  );
}

function* copyTo(
  fs: FileSystem,
  input: number,
  target: Uint8Array,
  [at, put, count]: number[],
): Flow<Result> {
  if (yield* isOther(fs, target, true)) return 'skip';
  const output = yield* fs.open(target, O_WRONLY | O_CREAT | O_NOFOLLOW, 0o644);
  return yield* closing(fs, [output], fs.data.copyRange(input, at, output, put, count));
}

// ---- the tree

function* treeOp(fs: FileSystem, [kind, ...a]: Op): Flow<Result> {
  const path = bytes(String(a[0] ?? '/'));
  const { change } = fs;
  if (kind === 'bulk') return yield* bulk(fs, a);
  if (kind === 'bulkrm') return yield* bulkrm(fs, a);
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
    const found = yield* statOf(fs, path);
    if (found !== null && (found.mode & 0o170000) === 0o120000) return 'skip';
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

/** What stat says of a path, or null where it says ENOENT. */
function* statOf(fs: FileSystem, path: Uint8Array): Flow<{ mode: number } | null> {
  try {
    return yield* fs.stat(path, false);
  } catch (error) {
    if (error instanceof Ext4Error && error.code === 'ENOENT') return null;
    throw error;
  }
}

function* bulk(fs: FileSystem, [dir, stem, count]: (string | number)[]): Flow<Result> {
  for (let i = 0; i < Number(count); i++) {
    yield* fs.close(yield* fs.open(bytes(`${dir}/${stem}${i}`), O_WRONLY | O_CREAT, 0o600));
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
