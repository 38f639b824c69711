// Operations that look at names and inodes: access, exists, the stat family, readlink, realpath, statfs. None of them
// changes anything, whatever the mount.

import type { Ext4Error } from '../errno.ts';
import type { StatRecord } from '../ext4/stat.ts';
import type { StatfsRecord } from '../ext4/statfs.ts';
import type { FileSystem } from '../vfs/filesystem.ts';
import { constants } from './constants.ts';
import { decodeName, type EncodingOptions, readOptions } from './encoding.ts';
import { resolveText, toPath } from './paths.ts';
import { type BigIntStats, StatFs, type Stats, statsOf } from './stats.ts';
import { checkFd, checkInteger } from './validate.ts';
import { ask, type Call, type Operation, type Work } from './work.ts';

export interface StatOptions {
  bigint?: boolean;
  throwIfNoEntry?: boolean;
}

const MAX_LINKS = 1000; // symbolic links replaced on the way to the component that fails

export const access: Operation = {
  arity: 2,
  begin({ vfs }: Call, path: unknown, mode: unknown) {
    const at = toPath(path);
    const wanted = mode === undefined ? constants.F_OK : checkInteger(mode, 'mode', 0, 7);
    return ask(vfs.access(at.given, wanted), 'access', at.text);
  },
};

/** True or false; what cannot be a path does not exist. */
export const exists: Operation = {
  arity: 1,
  begin({ vfs }: Call, path: unknown) {
    return existsWork(vfs, path);
  },
};

function* existsWork(vfs: FileSystem, path: unknown): Work<boolean> {
  try {
    const at = toPath(path);
    yield* ask(vfs.access(at.given, constants.F_OK), 'access', at.text);
    return true;
  } catch {
    return false;
  }
}

export const stat: Operation = {
  arity: 2,
  begin({ vfs, form }: Call, path: unknown, options?: StatOptions) {
    const at = toPath(path);
    const asked = ask(vfs.stat(at.given, true), 'stat', at.text);
    return statWork(asked, options, form === 'sync');
  },
};

export const lstat: Operation = {
  arity: 2,
  begin({ vfs, form }: Call, path: unknown, options?: StatOptions) {
    const at = toPath(path);
    const asked = ask(vfs.stat(at.given, false), 'lstat', at.text);
    return statWork(asked, options, form === 'sync');
  },
};

export const fstat: Operation = {
  arity: 2,
  begin({ vfs }: Call, fd: unknown, options?: StatOptions) {
    return statWork(ask(vfs.fstat(checkFd(fd)), 'fstat'), options, false);
  },
};

/** throwIfNoEntry counts in the synchronous forms only, as in Node 20. */
function* statWork(
  asked: Work<StatRecord>,
  options: StatOptions | undefined,
  mayMiss: boolean,
): Work<Stats | BigIntStats | undefined> {
  try {
    return statsOf(yield* asked, options?.bigint === true);
  } catch (error) {
    if (mayMiss && mayBeMissing(error, options)) return undefined;
    throw error;
  }
}

/** Whether a stat's error means "no such file" and the caller would rather have undefined. */
export function mayBeMissing(error: unknown, options: StatOptions | undefined): boolean {
  return options?.throwIfNoEntry === false && (error as Ext4Error).code === 'ENOENT';
}

export const readlink: Operation = {
  arity: 2,
  begin({ vfs }: Call, path: unknown, options?: unknown) {
    const { encoding } = readOptions<EncodingOptions>(options, {});
    const at = toPath(path, 'oldPath');
    return nameWork(ask(vfs.readlink(at.given), 'readlink', at.text), encoding);
  },
};

function* nameWork(asked: Work<Uint8Array>, encoding?: string | null): Work<string | Uint8Array> {
  return decodeName(yield* asked, encoding);
}

/** fs.realpath.native and fs.promises.realpath: '..' is resolved after links are. */
export const realpathNative: Operation = {
  arity: 2,
  begin({ vfs }: Call, path: unknown, options?: unknown) {
    const { encoding } = readOptions<EncodingOptions>(options, {});
    const at = toPath(path);
    return nameWork(ask(vfs.realpath(at.given), 'realpath', at.text), encoding);
  },
};

/** fs.realpath and fs.realpathSync: '..' is taken out of the text first, errors name the component that fails. */
export const realpath: Operation = {
  arity: 2,
  begin(call: Call, path: unknown, options?: unknown) {
    const { encoding } = readOptions<EncodingOptions>(options, {});
    const given = toPath(path).text;
    return realpathWork(call, resolveText(given), encoding);
  },
};

function* realpathWork(
  { vfs }: Call,
  path: string,
  encoding?: string | null,
): Work<string | Uint8Array> {
  let real: Uint8Array;
  try {
    real = yield* ask(vfs.realpath(path), 'realpath', path);
  } catch (error) {
    yield* failingComponent(vfs, path);
    throw error;
  }
  return decodeName(real, encoding);
}

/** Walks as Node's realpath does, lstat by lstat, and throws the error that stops it. */
function* failingComponent(vfs: Call['vfs'], path: string): Work<void> {
  let end = 0;
  let links = 0;
  while (end < path.length && links < MAX_LINKS) {
    const next = path.indexOf('/', end + 1);
    const base = next < 0 ? path : path.slice(0, next);
    const record = yield* ask(vfs.stat(base, false), 'lstat', base);
    end = base.length;
    if ((record.mode & constants.S_IFMT) !== constants.S_IFLNK) continue;
    yield* ask(vfs.stat(base, true), 'stat', base);
    const target = yield* ask(vfs.readlink(base), 'readlink', base);
    const parent = base.slice(0, base.lastIndexOf('/') + 1);
    const link = resolveText(parent, decodeName(target) as string);
    path = resolveText(link, path.slice(end + 1));
    end = 0;
    links++;
  }
}

export const statfs: Operation = {
  arity: 2,
  begin({ vfs }: Call, path: unknown, options?: { bigint?: boolean }) {
    const at = toPath(path);
    return statfsWork(ask(vfs.statfs(at.given), 'statfs', at.text), options?.bigint === true);
  },
};

function* statfsWork(asked: Work<StatfsRecord>, bigint: boolean): Work<StatFs> {
  const record = yield* asked;
  return bigint ? new StatFs(record, BigInt) : new StatFs(record, Number);
}
