// Operations that change inodes: modes, owners, times, sizes; and copies. Arguments are checked as Node does, errors
// come in the kernel's order; a read-only mount refuses as refusal.ts says. Data is not written yet.

import { Ext4Error } from '../errno.ts';
import type { Attributes } from '../ext4/setattr.ts';
import type { Time } from '../ext4/stat.ts';
import type { Flow } from '../flow.ts';
import { O_TRUNC } from '../vfs/file.ts';
import type { FileSystem } from '../vfs/filesystem.ts';
import { constants } from './constants.ts';
import { incompatible, isDirectory } from './invalid.ts';
import { type Path, toPath } from './paths.ts';
import { change, dataRefused, isWritable, type Refused, refuse } from './refusal.ts';
import {
  checkBoolean,
  checkFd,
  checkFunction,
  checkId,
  checkInteger,
  checkMode,
  checkObject,
  checkTime,
} from './validate.ts';
import { ask, type Call, nameError, type Operation, type Work } from './work.ts';

const { S_IFDIR, S_IFLNK, S_IFMT } = constants;
const ALL_IDS = 4294967295; // -1: stays as it is

/** What a call changes, from its checked arguments; made when the change is. */
type Wanted = (...rest: unknown[]) => Changing;
type Changing = (vfs: FileSystem, ino: number) => Flow<void>;

/** An operation on one path whose other arguments are checked by `wanted`. */
function onPath(arity: number, syscall: Refused, follow: boolean, wanted: Wanted): Operation {
  return {
    arity,
    begin({ vfs }: Call, path: unknown, ...rest: unknown[]) {
      const at = toPath(path);
      return change(vfs, syscall, at, changePath(vfs, at, follow, wanted(...rest)));
    },
  };
}

/** The same on an open file; Node looks at the other arguments first. */
function onFd(arity: number, syscall: Refused, wanted: Wanted): Operation {
  return {
    arity,
    begin({ vfs }: Call, fd: unknown, ...rest: unknown[]) {
      const changing = wanted(...rest);
      const file = checkFd(fd);
      return change(vfs, syscall, file, changeFd(vfs, file, changing));
    },
  };
}

function* changePath(vfs: FileSystem, at: Path, follow: boolean, changing: Changing): Flow<void> {
  yield* changing(vfs, yield* vfs.resolve(at.given, follow));
}

function* changeFd(vfs: FileSystem, fd: number, changing: Changing): Flow<void> {
  yield* changing(vfs, vfs.file(fd).inode.ino);
}

function wantedMode(value: unknown): Changing {
  const mode = checkMode(value, 'mode') & 0o7777;
  return (vfs, ino) => vfs.change.setAttributes(ino, { mode });
}

function wantedOwner(user: unknown, group: unknown): Changing {
  const uid = checkId(user, 'uid');
  const gid = checkId(group, 'gid');
  return (vfs, ino) => vfs.change.setAttributes(ino, owner(uid, gid));
}

function owner(uid: number, gid: number): Attributes {
  const stays = (id: number) => id === -1 || id === ALL_IDS;
  return { uid: stays(uid) ? undefined : uid, gid: stays(gid) ? undefined : gid };
}

function wantedTimes(atime: unknown, mtime: unknown): Changing {
  return times(toTime(atime), toTime(mtime));
}

function wantedNamedTimes(atime: unknown, mtime: unknown): Changing {
  return times(toTime(atime, 'atime'), toTime(mtime, 'mtime'));
}

function times(atime: Time, mtime: Time): Changing {
  return (vfs, ino) => setTimes(vfs, ino, { atime, mtime });
}

function* setTimes(vfs: FileSystem, ino: number, a: Required<Pick<Attributes, 'atime' | 'mtime'>>) {
  if (Number.isNaN(a.atime.nsec + a.mtime.nsec)) throw new Ext4Error('EINVAL');
  yield* vfs.change.setAttributes(ino, a);
}

/** A Date to its millisecond, numbers as exactly as they are; what is no time has NaN nanoseconds. */
function toTime(value: unknown, name?: string): Time {
  const seconds = checkTime(value, name);
  const date = value instanceof Date;
  const units = date ? value.getTime() : seconds;
  const sec = Math.floor(date ? units / 1000 : units);
  const nsec = date ? (units - sec * 1000) * 1e6 : Math.round((units - sec) * 1e9);
  return nsec === 1e9 ? { sec: sec + 1, nsec: 0 } : { sec, nsec };
}

export const chmod = onPath(2, 'chmod', true, wantedMode);
export const fchmod = onFd(2, 'fchmod', wantedMode);
export const chown = onPath(3, 'chown', true, wantedOwner);
export const lchown = onPath(3, 'lchown', false, wantedOwner);
export const fchown = onFd(3, 'fchown', wantedOwner);
export const utimes = onPath(3, 'utime', true, wantedTimes);
export const lutimes = onPath(3, 'lutime', false, wantedTimes);
export const futimes = onFd(3, 'futime', wantedNamedTimes);

export const ftruncate: Operation = {
  arity: 2,
  begin({ vfs }: Call, fd: unknown, len?: unknown) {
    const size = checkLength(len);
    return resize(vfs, checkFd(fd), size);
  },
};

/** The length is looked at when the file is open, but before anything in the callback form: as in Node. */
export const truncate: Operation = {
  arity: 2,
  begin(call: Call, path: unknown, len?: unknown) {
    if (typeof path === 'number') return ftruncate.begin(call, path, len);
    if (call.form === 'callback') checkLength(len);
    return truncateWork(call.vfs, toPath(path), len);
  },
};

/** Bytes; a negative length is 0. */
function checkLength(len: unknown): number {
  return Math.max(0, checkInteger(len === undefined ? 0 : len, 'len'));
}

function* truncateWork(vfs: FileSystem, at: Path, len: unknown): Work<void> {
  const fd = yield* ask(vfs.open(at.given, constants.O_RDWR, 0o666), 'open', at.text);
  try {
    yield* resize(vfs, fd, checkLength(len));
  } finally {
    yield* ask(vfs.close(fd), 'close');
  }
}

/** Sets the size of an open file: to 0, or to what it is. */
function* resize(vfs: FileSystem, fd: number, size: number): Work<void> {
  if (vfs.readOnly) yield* refuse(vfs, 'ftruncate', fd);
  const stat = yield* ask(vfs.fstat(fd), 'ftruncate');
  if (!isWritable(vfs, fd)) throw nameError(new Ext4Error('EINVAL'), { syscall: 'ftruncate' });
  if (size !== 0 && size !== stat.size) throw dataRefused('ftruncate');
  const { ino } = vfs.file(fd).inode;
  const flow = size === 0 ? vfs.change.truncateForOpen(ino, O_TRUNC) : touchTime(vfs, ino);
  yield* ask(flow, 'ftruncate');
}

/** A size that stays is a change all the same. */
function touchTime(vfs: FileSystem, ino: number): Flow<void> {
  return vfs.change.setAttributes(ino, { mtime: toTime(new Date()) });
}

export const copyFile: Operation = {
  arity: 3,
  begin({ vfs }: Call, src: unknown, dest: unknown, mode?: unknown) {
    const from = toPath(src, 'src');
    const to = toPath(dest, 'dest');
    const bits = mode === undefined || mode === null ? 0 : checkInteger(mode, 'mode', 0, 7);
    return copyFileWork(vfs, from, to, bits);
  },
};

/** Opens both files as libuv does; on a read-only mount the second open is where it ends. Only an empty file can
 *  be copied yet. */
function* copyFileWork(vfs: FileSystem, from: Path, to: Path, bits: number): Work<void> {
  const { O_CREAT, O_EXCL, O_RDONLY, O_WRONLY, COPYFILE_EXCL } = constants;
  const shown = { path: from.text, dest: to.text };
  const source = yield* ask(vfs.open(from.given, O_RDONLY, 0), 'copyfile', from.text, to.text);
  try {
    const { mode, size } = yield* ask(vfs.fstat(source), 'copyfile', from.text, to.text);
    if (!vfs.readOnly && size > 0) throw dataRefused('copyfile', shown);
    const excl = (bits & COPYFILE_EXCL) !== 0 ? O_EXCL : 0;
    yield* copyEmpty(vfs, to, O_WRONLY | O_CREAT | excl, { mode: mode & 0o7777, source, shown });
  } finally {
    yield* ask(vfs.close(source), 'close');
  }
}

interface Source {
  mode: number;
  source: number;
  shown: { path: string; dest: string };
}

/** An empty copy: what the target held goes, its mode becomes the source's. Onto itself nothing happens. */
function* copyEmpty(vfs: FileSystem, to: Path, flags: number, from: Source): Work<void> {
  const { mode, source } = from;
  const { path, dest } = from.shown;
  const fd = yield* ask(vfs.open(to.given, flags, mode), 'copyfile', path, dest);
  try {
    const { ino } = vfs.file(fd).inode;
    if (ino === vfs.file(source).inode.ino) return;
    yield* ask(vfs.change.setAttributes(ino, { mode }), 'copyfile', path, dest);
    yield* ask(vfs.change.truncateForOpen(ino, O_TRUNC), 'copyfile', path, dest);
  } finally {
    yield* ask(vfs.close(fd), 'close');
  }
}

const CP_FLAGS = [
  'dereference',
  'errorOnExist',
  'force',
  'preserveTimestamps',
  'recursive',
  'verbatimSymlinks',
] as const;

interface CpOptions extends Partial<Record<(typeof CP_FLAGS)[number], boolean>> {
  mode?: number;
  filter?: unknown;
}

export const cp: Operation = {
  arity: 3,
  begin({ vfs }: Call, src: unknown, dest: unknown, options?: CpOptions) {
    if (options !== undefined) checkObject(options, 'options');
    const given = options ?? {};
    for (const name of CP_FLAGS) checkBoolean(given[name] ?? false, `options.${name}`);
    checkInteger(given.mode ?? 0, 'mode', 0, 7);
    if (given.dereference && given.verbatimSymlinks)
      throw incompatible('dereference', 'verbatimSymlinks');
    if (given.filter !== undefined) checkFunction(given.filter, 'options.filter');
    const from = toPath(src, 'src');
    return cpWork(vfs, from, toPath(dest, 'dest'), given);
  },
};

function* cpWork(vfs: FileSystem, from: Path, to: Path, options: CpOptions): Work<void> {
  const follow = options.dereference === true;
  const { mode } = yield* ask(vfs.stat(from.given, follow), follow ? 'stat' : 'lstat', from.text);
  const kind = mode & S_IFMT;
  const shown = { path: from.text, dest: to.text };
  if (kind === S_IFDIR && !options.recursive) throw isDirectory('cp', from.text);
  if (!vfs.readOnly) throw dataRefused('cp', shown);
  if (kind === S_IFDIR) yield* refuse(vfs, 'mkdir', to);
  if (kind !== S_IFLNK) return yield* copyFileWork(vfs, from, to, options.mode ?? 0);
  const target = yield* ask(vfs.readlink(from.given), 'readlink', from.text);
  const { text } = toPath(target);
  yield* refuse(vfs, 'symlink', to, { path: text, dest: to.text });
}
