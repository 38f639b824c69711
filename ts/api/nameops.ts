// Operations that change names: mkdir, rename, link, symlink, unlink, rmdir, rm, mkdtemp and mknod. Arguments are
// checked
// as Node does, errors come in the kernel's order; a read-only mount refuses as refusal.ts says.

import { Ext4Error } from '../errno.ts';
import type { FileSystem } from '../vfs/filesystem.ts';
import { constants } from './constants.ts';
import { decodeName, type EncodingOptions, readOptions, utf8 } from './encoding.ts';
import { incompatible, invalidValue, isDirectory } from './invalid.ts';
import type { RenameOptions } from './nodetypes.ts';
import { joinBytes, type Path, parentOf, toPath } from './paths.ts';
import { change, checkParent, refuse } from './refusal.ts';
import { checkBoolean, checkInteger, checkMode, checkObject } from './validate.ts';
import { ask, type Call, nameError, type Operation, type Work } from './work.ts';

const { S_IFDIR, S_IFMT } = constants;

export const unlink: Operation = {
  arity: 1,
  begin({ vfs }: Call, path: unknown) {
    const at = toPath(path);
    return change(vfs, 'unlink', at, vfs.change.unlink(at.given));
  },
};

export const rename: Operation = {
  arity: 2,
  begin({ vfs }: Call, oldPath: unknown, newPath: unknown, options?: RenameOptions) {
    const from = toPath(oldPath, 'oldPath');
    const to = toPath(newPath, 'newPath');
    if (options !== undefined) checkObject(options, 'options');
    const { noReplace, exchange } = options ?? {};
    if (noReplace && exchange) throw incompatible('noReplace', 'exchange');
    return renameWork(vfs, from, to, { noReplace, exchange });
  },
};

function* renameWork(vfs: FileSystem, from: Path, to: Path, options: RenameOptions): Work<void> {
  const shown = { path: from.text, dest: to.text };
  if (vfs.readOnly) yield* checkParent(vfs, from, { syscall: 'rename', ...shown });
  yield* change(vfs, 'rename', to, vfs.change.rename(from.given, to.given, options), shown);
}

export const link: Operation = {
  arity: 2,
  begin({ vfs }: Call, existingPath: unknown, newPath: unknown) {
    const from = toPath(existingPath, 'existingPath');
    return linkWork(vfs, from, toPath(newPath, 'newPath'));
  },
};

function* linkWork(vfs: FileSystem, from: Path, to: Path): Work<void> {
  const shown = { path: from.text, dest: to.text };
  if (vfs.readOnly) yield* ask(vfs.resolve(from.given, false), 'link', from.text, to.text);
  yield* change(vfs, 'link', to, vfs.change.link(from.given, to.given), shown);
}

export const symlink: Operation = {
  arity: 3,
  begin({ vfs }: Call, target: unknown, path: unknown, type?: unknown) {
    const to = toPath(target, 'target');
    const at = toPath(path);
    checkLinkType(type);
    const bytes = typeof to.given === 'string' ? utf8(to.given) : to.given;
    const shown = { path: to.text, dest: at.text };
    return change(vfs, 'symlink', at, vfs.change.symlink(bytes, at.given), shown);
  },
};

/** Windows' kinds of link: accepted and without meaning. */
function checkLinkType(type: unknown): void {
  if (typeof type !== 'string' || ['dir', 'file', 'junction'].includes(type)) return;
  throw invalidValue('type', type, 'must be one of "dir", "file", or "junction"');
}

export const mknod: Operation = {
  arity: 3,
  begin({ vfs }: Call, path: unknown, mode: unknown, rdev?: unknown) {
    const at = toPath(path);
    const bits = checkMode(mode, 'mode');
    const device = checkInteger(rdev ?? 0, 'rdev', 0, 4294967295);
    return change(vfs, 'mknod', at, vfs.change.mknod(at.given, bits & 0o177777, device));
  },
};

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
    const bits = checkMode(mode, 'mode', form === 'promise' ? 0o777 : undefined) & 0o1777;
    if (recursive)
      return vfs.readOnly ? refuseAll(vfs, at) : mkdirAll(vfs, at, bits, form === 'sync');
    return change(vfs, 'mkdir', at, vfs.change.mkdir(at.given, bits));
  },
};

/**
 *  A directory that is there is a success, and undefined: nothing was made. What is missing cannot be
 *  made: EROFS, where
 * Node would say ENOENT, the error of a stat that it tries last.
 */
function* refuseAll(vfs: FileSystem, at: Path): Work<void> {
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

/** Makes a directory and those above it that are missing; the first one made, as it was written. */
export function* mkdirAll(
  vfs: FileSystem,
  at: Path,
  mode: number,
  sync: boolean,
): Work<string | undefined> {
  const rest = [at.given];
  let first: string | undefined;
  while (rest.length > 0) {
    const path = rest[rest.length - 1];
    try {
      yield* ask(vfs.change.mkdir(path, mode), 'mkdir', at.text);
      first ??= textOf(path);
      rest.pop();
    } catch (error) {
      const { code } = error as Ext4Error;
      const parent = above(path);
      if (code === 'ENOENT' && parent.length > 0 && parent.length < path.length) {
        rest.push(parent);
        continue;
      }
      if (code !== 'EEXIST' && code !== 'EISDIR') throw error;
      yield* checkDirectory(vfs, path, { at, below: rest.length > 1, error, sync });
      rest.pop();
    }
  }
  return first;
}

interface Taken {
  at: Path;
  /** Directories below it are still to be made. */
  below: boolean;
  error: unknown;
  sync: boolean;
}

/** A name that is taken must be a directory's: EEXIST, on the way to another as Node's forms have it. */
function* checkDirectory(vfs: FileSystem, path: Path['given'], o: Taken): Work<void> {
  try {
    const { mode } = yield* ask(vfs.stat(path, true), 'mkdir', o.at.text);
    if ((mode & S_IFMT) === S_IFDIR) return;
  } catch (error) {
    if (o.sync || !o.below) throw error;
  }
  if (!o.below) throw o.error;
  const shown = o.sync ? o.at.text : textOf(path);
  throw nameError(new Ext4Error('ENOTDIR'), { syscall: 'mkdir', path: shown });
}

/** A path without its last name and the slashes before it; empty for a bare name. */
function above(path: Path['given']): Path['given'] {
  const parent = parentOf(path);
  let end = parent.length;
  const isSlash = (i: number) => parent[i] === '/' || parent[i] === 0x2f;
  while (end > 0 && isSlash(end - 1)) end--;
  return parent.slice(0, end);
}

function textOf(path: Path['given']): string {
  return typeof path === 'string' ? path : (decodeName(path) as string);
}

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
const TRIES = 100;

export const mkdtemp: Operation = {
  arity: 2,
  begin({ vfs }: Call, prefix: unknown, options?: unknown) {
    const { encoding } = readOptions<EncodingOptions>(options, {});
    const at = toPath(prefix, 'prefix');
    const shown = { path: `${at.text}XXXXXX` };
    if (vfs.readOnly) return refuse(vfs, 'mkdtemp', at, shown);
    return mkdtempWork(vfs, at, shown.path, encoding);
  },
};

/** A new directory whose name nobody can guess, for its owner alone; its path. */
function* mkdtempWork(
  vfs: FileSystem,
  at: Path,
  shown: string,
  encoding?: string | null,
): Work<string | Uint8Array> {
  const prefix = typeof at.given === 'string' ? utf8(at.given) : at.given;
  for (let tries = 1; ; tries++) {
    const path = new Uint8Array(prefix.length + 6);
    path.set(prefix);
    const drawn = crypto.getRandomValues(new Uint32Array(6));
    drawn.forEach((n, i) => {
      path[prefix.length + i] = LETTERS.charCodeAt(n % LETTERS.length);
    });
    try {
      yield* ask(vfs.change.mkdir(path, 0o700), 'mkdtemp', shown);
      return decodeName(path, encoding);
    } catch (error) {
      if ((error as Ext4Error).code !== 'EEXIST' || tries === TRIES) throw error;
    }
  }
}

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
  begin({ vfs, form }: Call, path: unknown, options?: unknown) {
    const at = toPath(path);
    const { recursive } = checkRemove(options);
    return recursive ? rmdirAll(vfs, at, form === 'sync') : removeDirectory(vfs, at);
  },
};

function removeDirectory(vfs: FileSystem, at: Path): Work<void> {
  return change(vfs, 'rmdir', at, vfs.change.rmdir(at.given));
}

function* rmdirAll(vfs: FileSystem, at: Path, sync: boolean): Work<void> {
  const { mode } = yield* ask(vfs.stat(at.given, false), 'lstat', at.text);
  if (vfs.readOnly || (mode & S_IFMT) !== S_IFDIR) return yield* removeDirectory(vfs, at);
  yield* removeTree(vfs, at, sync);
}

export const rm: Operation = {
  arity: 2,
  begin({ vfs, form }: Call, path: unknown, options?: unknown) {
    const at = toPath(path);
    return rmWork(vfs, at, checkRemove(options), form === 'sync');
  },
};

function* rmWork(vfs: FileSystem, at: Path, options: RemoveOptions, sync: boolean): Work<void> {
  const { force, recursive } = options;
  let mode: number;
  try {
    ({ mode } = yield* ask(vfs.stat(at.given, false), 'lstat', at.text));
  } catch (error) {
    if (force && (error as Ext4Error).code === 'ENOENT') return;
    if (!sync || !force || !recursive || vfs.readOnly) throw error;
    mode = 0; // Node's synchronous form does not look first then
  }
  const directory = (mode & S_IFMT) === S_IFDIR;
  if (directory && !recursive) throw isDirectory('rm', at.text);
  if (vfs.readOnly) return yield* refuse(vfs, directory ? 'rmdir' : 'unlink', at);
  if (directory) yield* removeTree(vfs, at, sync);
  else yield* ignoreMissing(ask(vfs.change.unlink(at.given), 'unlink', at.text));
}

/** Removes a directory and all in it, the deepest first. What vanishes meanwhile is as good as removed. */
function* removeTree(vfs: FileSystem, root: Path, sync: boolean): Work<void> {
  const way: { at: Path; listed: boolean }[] = [{ at: root, listed: false }];
  while (way.length > 0) {
    const top = way[way.length - 1];
    try {
      yield* ignoreMissing(ask(vfs.change.rmdir(top.at.given), 'rmdir', top.at.text));
      way.pop();
    } catch (error) {
      const { code } = error as Ext4Error;
      // A link to a directory, written with a slash: Node's asynchronous forms leave it and say nothing.
      if (code === 'ENOTDIR' && !sync) return;
      // A directory that was emptied and is not empty: somebody else fills it.
      if (code !== 'ENOTEMPTY' || top.listed) throw error;
      top.listed = true;
      for (const at of yield* emptyOut(vfs, top.at)) way.push({ at, listed: false });
    }
  }
}

/** Removes what lies in a directory but is none; the directories in it. */
function* emptyOut(vfs: FileSystem, dir: Path): Work<Path[]> {
  const directories: Path[] = [];
  const cursor = yield* ask(vfs.openDir(dir.given), 'scandir', dir.text);
  const entries: Path[] = [];
  for (;;) {
    const batch = yield* ask(vfs.readDir(cursor), 'scandir', dir.text);
    if (batch.length === 0) break;
    for (const { name } of batch) entries.push(toPath(joinBytes(dir.given, name)));
  }
  for (const at of entries) {
    try {
      yield* ignoreMissing(ask(vfs.change.unlink(at.given), 'unlink', at.text));
    } catch (error) {
      if ((error as Ext4Error).code !== 'EISDIR') throw error;
      directories.push(at);
    }
  }
  return directories;
}

function* ignoreMissing(asked: Work<unknown>): Work<void> {
  try {
    yield* asked;
  } catch (error) {
    if ((error as Ext4Error).code !== 'ENOENT') throw error;
  }
}
