// Operations that change names and inodes: arguments as Node checks them, the kernel's order of errors, and on a
// read-only mount the refusal of refusal.ts.

import { Ext4Error } from '../errno.ts';
import type { FileSystem } from '../vfs/filesystem.ts';
import { constants } from './constants.ts';
import { readOptions } from './encoding.ts';
import { incompatible, invalidValue, isDirectory } from './invalid.ts';
import type { RenameOptions } from './nodetypes.ts';
import { type Path, toPath } from './paths.ts';
import { checkParent, type Refused, refuse } from './refusal.ts';
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

/** An operation on one path whose other arguments are checked by `check`. */
function onPath(arity: number, syscall: Refused, check: (...rest: unknown[]) => void): Operation {
  return {
    arity,
    begin({ vfs }: Call, path: unknown, ...rest: unknown[]) {
      const at = toPath(path);
      check(...rest);
      return refuse(vfs, syscall, at);
    },
  };
}

/** The same on an open file; Node looks at the other arguments first. */
function onFd(arity: number, syscall: Refused, check: (...rest: unknown[]) => void): Operation {
  return {
    arity,
    begin({ vfs }: Call, fd: unknown, ...rest: unknown[]) {
      check(...rest);
      return refuse(vfs, syscall, checkFd(fd));
    },
  };
}

function checkModeOnly(mode: unknown): void {
  checkMode(mode, 'mode');
}

function checkOwner(uid: unknown, gid: unknown): void {
  checkId(uid, 'uid');
  checkId(gid, 'gid');
}

function checkTimes(atime: unknown, mtime: unknown): void {
  checkTime(atime);
  checkTime(mtime);
}

function checkNamedTimes(atime: unknown, mtime: unknown): void {
  checkTime(atime, 'atime');
  checkTime(mtime, 'mtime');
}

export const chmod = onPath(2, 'chmod', checkModeOnly);
export const fchmod = onFd(2, 'fchmod', checkModeOnly);
export const chown = onPath(3, 'chown', checkOwner);
export const lchown = onPath(3, 'lchown', checkOwner);
export const fchown = onFd(3, 'fchown', checkOwner);
export const utimes = onPath(3, 'utime', checkTimes);
export const lutimes = onPath(3, 'lutime', checkTimes);
export const futimes = onFd(3, 'futime', checkNamedTimes);
export const ftruncate = onFd(2, 'ftruncate', checkLength);
export const unlink = onPath(1, 'unlink', () => {});

/** The length is looked at when the file is open, but before anything in the callback form: as in Node. */
export const truncate: Operation = {
  arity: 2,
  begin(call: Call, path: unknown, len?: unknown) {
    if (typeof path === 'number') return ftruncate.begin(call, path, len);
    if (call.form === 'callback') checkLength(len);
    return truncateWork(call.vfs, toPath(path), len);
  },
};

function checkLength(len: unknown): void {
  checkInteger(len === undefined ? 0 : len, 'len');
}

function* truncateWork(vfs: FileSystem, at: Path, len: unknown): Work<void> {
  const fd = yield* ask(vfs.open(at.given, constants.O_RDWR, 0o666), 'open', at.text);
  try {
    checkLength(len);
    yield* refuse(vfs, 'ftruncate', fd);
  } finally {
    yield* ask(vfs.close(fd), 'close');
  }
}

export const rename: Operation = {
  arity: 2,
  begin({ vfs }: Call, oldPath: unknown, newPath: unknown, options?: RenameOptions) {
    const from = toPath(oldPath, 'oldPath');
    const to = toPath(newPath, 'newPath');
    if (options !== undefined) checkObject(options, 'options');
    if (options?.noReplace && options.exchange) throw incompatible('noReplace', 'exchange');
    return renameWork(vfs, from, to);
  },
};

function* renameWork(vfs: FileSystem, from: Path, to: Path): Work<void> {
  const shown = { path: from.text, dest: to.text };
  yield* checkParent(vfs, from, { syscall: 'rename', ...shown });
  yield* refuse(vfs, 'rename', to, shown);
}

export const link: Operation = {
  arity: 2,
  begin({ vfs }: Call, existingPath: unknown, newPath: unknown) {
    const from = toPath(existingPath, 'existingPath');
    return linkWork(vfs, from, toPath(newPath, 'newPath'));
  },
};

function* linkWork(vfs: FileSystem, from: Path, to: Path): Work<void> {
  yield* ask(vfs.resolve(from.given, false), 'link', from.text, to.text);
  yield* refuse(vfs, 'link', to, { path: from.text, dest: to.text });
}

export const symlink: Operation = {
  arity: 3,
  begin({ vfs }: Call, target: unknown, path: unknown, type?: unknown) {
    const to = toPath(target, 'target');
    const at = toPath(path);
    checkLinkType(type);
    return refuse(vfs, 'symlink', at, { path: to.text, dest: at.text });
  },
};

/** Windows' kinds of link: accepted and without meaning. */
function checkLinkType(type: unknown): void {
  if (typeof type !== 'string' || ['dir', 'file', 'junction'].includes(type)) return;
  throw invalidValue('type', type, 'must be one of "dir", "file", or "junction"');
}

interface MkdirOptions {
  recursive?: boolean;
  mode?: number | string;
}

export const mkdir: Operation = {
  arity: 2,
  begin({ vfs, form }: Call, path: unknown, options?: number | string | MkdirOptions | null) {
    const given = typeof options === 'object' ? (options ?? {}) : { mode: options };
    const { recursive = false, mode = 0o777 } = given as MkdirOptions;
    const at = toPath(path);
    checkBoolean(recursive, 'options.recursive');
    checkMode(mode, 'mode', form === 'promise' ? 0o777 : undefined);
    return recursive ? mkdirAll(vfs, at) : refuse(vfs, 'mkdir', at);
  },
};

/**
 * A directory that is there is a success, and undefined: nothing was made. What is missing cannot be made: EROFS, where
 * Node would say ENOENT, the error of a stat that it tries last.
 */
function* mkdirAll(vfs: FileSystem, at: Path): Work<void> {
  try {
    yield* refuse(vfs, 'mkdir', at);
  } catch (error) {
    const { code } = error as Ext4Error;
    if (code === 'ENOENT' && at.given.length > 0)
      throw nameError(new Ext4Error('EROFS'), { syscall: 'mkdir', path: at.text });
    if (code !== 'EEXIST') throw error;
    const { mode } = yield* ask(vfs.stat(at.given, true), 'mkdir', at.text);
    if ((mode & S_IFMT) !== S_IFDIR) throw error;
  }
}

export const mkdtemp: Operation = {
  arity: 2,
  begin({ vfs }: Call, prefix: unknown, options?: unknown) {
    readOptions(options, {});
    const at = toPath(prefix, 'prefix');
    return refuse(vfs, 'mkdtemp', at, { path: `${at.text}XXXXXX` });
  },
};

interface RemoveOptions {
  force?: boolean;
  recursive?: boolean;
  maxRetries?: number;
  retryDelay?: number;
}

function checkRemove(options: unknown): RemoveOptions {
  if (options === undefined) return {};
  checkObject(options, 'options');
  const given = options as RemoveOptions;
  checkBoolean(given.recursive ?? false, 'options.recursive');
  checkInteger(given.retryDelay ?? 100, 'options.retryDelay', 0, 2147483647);
  checkInteger(given.maxRetries ?? 0, 'options.maxRetries', 0, 4294967295);
  checkBoolean(given.force ?? false, 'options.force');
  return given;
}

export const rmdir: Operation = {
  arity: 2,
  begin({ vfs }: Call, path: unknown, options?: unknown) {
    const at = toPath(path);
    const { recursive } = checkRemove(options);
    return recursive ? rmdirAll(vfs, at) : refuse(vfs, 'rmdir', at);
  },
};

function* rmdirAll(vfs: FileSystem, at: Path): Work<void> {
  yield* ask(vfs.stat(at.given, false), 'lstat', at.text);
  yield* refuse(vfs, 'rmdir', at);
}

export const rm: Operation = {
  arity: 2,
  begin({ vfs }: Call, path: unknown, options?: unknown) {
    const at = toPath(path);
    return rmWork(vfs, at, checkRemove(options));
  },
};

function* rmWork(vfs: FileSystem, at: Path, { force, recursive }: RemoveOptions): Work<void> {
  let mode: number;
  try {
    ({ mode } = yield* ask(vfs.stat(at.given, false), 'lstat', at.text));
  } catch (error) {
    if (force && (error as Ext4Error).code === 'ENOENT') return;
    throw error;
  }
  const directory = (mode & S_IFMT) === S_IFDIR;
  if (directory && !recursive) throw isDirectory('rm', at.text);
  yield* refuse(vfs, directory ? 'rmdir' : 'unlink', at);
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

/** Opens both files as libuv does; on a read-only mount the second open is where it ends. */
function* copyFileWork(vfs: FileSystem, from: Path, to: Path, bits: number): Work<void> {
  const { O_CREAT, O_EXCL, O_RDONLY, O_WRONLY, COPYFILE_EXCL } = constants;
  const source = yield* ask(vfs.open(from.given, O_RDONLY, 0), 'copyfile', from.text, to.text);
  try {
    const flags = O_WRONLY | O_CREAT | ((bits & COPYFILE_EXCL) !== 0 ? O_EXCL : 0);
    yield* ask(vfs.open(to.given, flags, 0o666), 'copyfile', from.text, to.text);
  } finally {
    yield* ask(vfs.close(source), 'close');
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
  if (kind === S_IFDIR && !options.recursive) throw isDirectory('cp', from.text);
  if (kind === S_IFDIR) yield* refuse(vfs, 'mkdir', to);
  if (kind !== S_IFLNK) return yield* copyFileWork(vfs, from, to, options.mode ?? 0);
  const target = yield* ask(vfs.readlink(from.given), 'readlink', from.text);
  const { text } = toPath(target);
  yield* refuse(vfs, 'symlink', to, { path: text, dest: to.text });
}
