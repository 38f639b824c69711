// The functions of one mount: every operation of the tables below in its three forms, as own properties that work
// detached. The tables are the list of what a mount can do; nothing is written three times.

import type { FileSystem } from '../vfs/filesystem.ts';
import * as change from './changeops.ts';
import { constants } from './constants.ts';
import { copyFile } from './copyfile.ts';
import { cp } from './cpops.ts';
import { Dir } from './dir.ts';
import * as dir from './dirops.ts';
import * as extra from './extraops.ts';
import { FileHandle, type Operations } from './filehandle.ts';
import * as file from './fileops.ts';
import * as inspect from './inspectops.ts';
import { View } from './lease.ts';
import * as names from './nameops.ts';
import { BigIntStats, Dirent, StatFs, Stats } from './stats.ts';
import {
  nodeStream,
  type ReadOps,
  type StreamFs,
  type StreamOptions,
  webStream,
} from './streams.ts';
import {
  makeCloseSync,
  makeExistsSync,
  makeMkdirSync,
  makeOpenSync,
  makeReadFileSync,
  makeReadSync,
  makeStatSync,
  makeUnlinkSync,
  makeViewSync,
  makeWriteFileSync,
  makeWriteSync,
} from './syncops.ts';
import { checkFunction } from './validate.ts';
import { FSWatcher, watch, watchAll } from './watcher.ts';
import {
  type Call,
  callbackForm,
  eitherForm,
  type Form,
  type Operation,
  promiseForm,
  promisified,
  syncForm,
} from './work.ts';
import { appendFile, writeFile } from './writefile.ts';
import * as write from './writeops.ts';

/** In node:fs and in node:fs/promises. */
const ON_PATHS: Record<string, Operation> = {
  access: inspect.access,
  appendFile,
  chmod: change.chmod,
  chown: change.chown,
  copyFile,
  cp,
  lchown: change.lchown,
  link: names.link,
  lstat: inspect.lstat,
  lutimes: change.lutimes,
  mkdir: names.mkdir,
  mkdtemp: names.mkdtemp,
  open: file.open,
  opendir: dir.opendir,
  readFile: file.readFile,
  readdir: dir.readdir,
  readlink: inspect.readlink,
  realpath: inspect.realpath,
  rename: names.rename,
  rm: names.rm,
  rmdir: names.rmdir,
  stat: inspect.stat,
  statfs: inspect.statfs,
  symlink: names.symlink,
  truncate: change.truncate,
  unlink: names.unlink,
  utimes: change.utimes,
  writeFile,
};

/** In node:fs only: the promise forms are FileHandle's methods. */
const ON_FDS: Record<string, Operation> = {
  close: file.close,
  fchmod: change.fchmod,
  fchown: change.fchown,
  fdatasync: file.fdatasync,
  fstat: inspect.fstat,
  fsync: file.fsync,
  ftruncate: change.ftruncate,
  futimes: change.futimes,
  read: file.read,
  readv: file.readv,
  write: write.write,
  writev: write.writev,
};

/** Beyond node:fs, on the mount and on its promises. */
const BEYOND: Record<string, Operation> = {
  collapseRange: write.collapseRange,
  copyRange: write.copyRange,
  dataPath: extra.dataPath,
  extents: extra.extents,
  fallocate: write.fallocate,
  getFlags: extra.getFlags,
  getxattr: extra.getxattr,
  insertRange: write.insertRange,
  lgetxattr: extra.lgetxattr,
  listxattr: extra.listxattr,
  llistxattr: extra.llistxattr,
  lremovexattr: extra.lremovexattr,
  lsetxattr: extra.lsetxattr,
  mknod: names.mknod,
  punchHole: write.punchHole,
  removexattr: extra.removexattr,
  seekData: extra.seekData,
  seekHole: extra.seekHole,
  setFlags: extra.setFlags,
  setxattr: extra.setxattr,
  view: extra.view,
  zeroRange: write.zeroRange,
};

// biome-ignore lint/suspicious/noExplicitAny: functions by name; nodetypes.ts and extratypes.ts give their types
type AnyFunction = (...args: any[]) => any;

/** What a mount's object is filled with. */
export interface Surface {
  /** Own properties of the mount: callback and synchronous forms, streams, classes, constants. */
  own: Record<string, unknown>;
  promises: Record<string, unknown>;
  /** Every promise form by name, those on descriptors included; `openFd` gives a bare descriptor. */
  ops: Operations;
}

export function makeSurface(vfs: FileSystem): Surface {
  const own: Record<string, AnyFunction> = {};
  const ops: Operations = {};
  const stream = {} as StreamFs;
  const calls = callsOf(vfs, { ops, stream });
  for (const [name, op] of Object.entries({ ...ON_PATHS, ...ON_FDS, ...BEYOND })) {
    ops[name] = promiseForm(calls.promise, name, op) as AnyFunction;
    const callback = callbackForm(calls.callback, name, op);
    own[name] = name in BEYOND ? eitherForm(callback, ops[name]) : callback;
    own[`${name}Sync`] = syncForm(calls.sync, name, op);
  }
  addExceptions(vfs, calls, own, ops);
  const { open, read, close, fsync, write, writev } = own;
  Object.assign(stream, { open, read, close, fsync, write, writev });
  const promises = {
    ...Object.fromEntries(Object.keys({ ...ON_PATHS, ...BEYOND }).map((name) => [name, ops[name]])),
    watch: (path: unknown, options?: unknown) => watchAll(vfs, path, options),
    constants,
  };
  return { own: { ...own, ...streams(vfs, stream, ops), ...CLASSES }, promises, ops };
}

type Calls = Record<Form, Call>;

function callsOf(vfs: FileSystem, parts: { ops: Operations; stream: StreamFs }): Calls {
  const makers = {
    vfs,
    makeHandle: (fd: number) => new FileHandle(parts, fd),
    makeDir: (opened: ConstructorParameters<typeof Dir>[1]) => new Dir(vfs, opened),
    makeLease: (lease: ConstructorParameters<typeof View>[0]) => new View(lease, vfs),
  };
  const call = (form: Form): Call => ({ ...makers, form });
  return { sync: call('sync'), callback: call('callback'), promise: call('promise') };
}

/** Where a form is not what the table would make of it. */
function addExceptions(
  vfs: FileSystem,
  calls: Calls,
  own: Record<string, AnyFunction>,
  ops: Operations,
): void {
  own.openSync = makeOpenSync(vfs) as AnyFunction;
  own.closeSync = makeCloseSync(vfs) as AnyFunction;
  own.readSync = makeReadSync(vfs) as AnyFunction;
  own.writeSync = makeWriteSync(vfs) as AnyFunction;
  own.statSync = makeStatSync(vfs, 'stat') as AnyFunction;
  own.lstatSync = makeStatSync(vfs, 'lstat') as AnyFunction;
  own.unlinkSync = makeUnlinkSync(vfs, own.unlinkSync as never) as AnyFunction;
  own.mkdirSync = makeMkdirSync(vfs, own.mkdirSync as never) as AnyFunction;
  own.readFileSync = makeReadFileSync(vfs, own.readFileSync as never) as AnyFunction;
  own.writeFileSync = makeWriteFileSync(vfs, own.writeFileSync as never) as AnyFunction;
  own.viewSync = makeViewSync(vfs, own.viewSync as never) as AnyFunction;
  ops.openFd = promiseForm(calls.callback, 'open', file.open) as AnyFunction;
  ops.realpath = promiseForm(calls.promise, 'realpath', inspect.realpathNative) as AnyFunction;
  const native = inspect.realpathNative;
  Object.assign(own.realpath, { native: callbackForm(calls.callback, 'native', native) });
  Object.assign(own.realpathSync, { native: syncForm(calls.sync, 'native', native) });
  own.existsSync = makeExistsSync(vfs) as AnyFunction;
  own.exists = existsForm(promiseForm(calls.promise, 'exists', inspect.exists) as AnyFunction);
}

/** fs.exists: its callback gets no error, only the answer. */
function existsForm(promise: AnyFunction): AnyFunction {
  const exists = (path: unknown, callback: unknown) => {
    const answer = checkFunction(callback, 'cb');
    promise(path).then((found: boolean) => queueMicrotask(() => answer(found)));
  };
  promisified(exists, promise);
  return exists;
}

function streams(vfs: FileSystem, stream: StreamFs, ops: Operations): Record<string, AnyFunction> {
  return {
    createReadStream: (path, options) => nodeStream('createReadStream', stream, path, options),
    createWriteStream: (path, options) => nodeStream('createWriteStream', stream, path, options),
    stream: (path: unknown, options?: StreamOptions) =>
      webStream(ops as unknown as ReadOps, path, options),
    watch: (path, options, listener) => watch(vfs, path, options, listener),
  };
}

const CLASSES = {
  constants,
  F_OK: constants.F_OK,
  R_OK: constants.R_OK,
  W_OK: constants.W_OK,
  X_OK: constants.X_OK,
  Stats,
  BigIntStats,
  StatFs,
  Dirent,
  Dir,
  FileHandle,
  FSWatcher,
};
