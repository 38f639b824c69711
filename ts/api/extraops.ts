// Operations that node:fs leaves out: extended attributes, chattr flags, device nodes, extents, holes, the data path
// and zero-copy views. The file is a path, an fd or a FileHandle; positions and lengths are bytes, bigint accepted.

import * as format from '../../assembly/format/ext4.ts';
import type { XattrOptions } from '../ext4/xattrwrite.ts';
import type { Flow } from '../flow.ts';
import type { ExtentRecord, FileSystem, Target } from '../vfs/filesystem.ts';
import { constants } from './constants.ts';
import { decodeName, type EncodingOptions, readOptions, unshared, utf8 } from './encoding.ts';
import { invalidType, invalidValue } from './invalid.ts';
import { type Path, toPath } from './paths.ts';
import { asBytes } from './platform.ts';
import { change } from './refusal.ts';
import { checkBoolean, checkBytes, checkFd, checkObject } from './validate.ts';
import { ask, type Call, type Operation, type Work } from './work.ts';

/** A path, or the fd of an open file. */
function toTarget(value: unknown): Path | number {
  if (typeof value === 'number') return checkFd(value);
  if (typeof value === 'object' && value !== null && 'fd' in value) return checkFd(value.fd);
  return toPath(value);
}

function coreTarget(target: Path | number): Target {
  return typeof target === 'number' ? target : target.given;
}

function textOf(target: Path | number): string | undefined {
  return typeof target === 'number' ? undefined : target.text;
}

/** An attribute's name in bytes, namespace included ("user.x"). */
function toName(value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return unshared(value);
  if (typeof value !== 'string') throw invalidType('name', ['string', 'Uint8Array'], value);
  if (value === '' || value.includes('\0'))
    throw invalidValue('name', value, 'must be a name without null bytes');
  return utf8(value);
}

function gettingXattr(syscall: string, follow: boolean): Operation {
  return {
    arity: 2,
    begin({ vfs }: Call, file: unknown, name: unknown) {
      const target = toTarget(file);
      const key = toName(name);
      const flow = vfs.getxattr(coreTarget(target), key, follow);
      return bytesWork(ask(flow, syscall, textOf(target)));
    },
  };
}

function* bytesWork(asked: Work<Uint8Array>): Work<Uint8Array> {
  return asBytes(yield* asked);
}

function listingXattrs(syscall: string, follow: boolean): Operation {
  return {
    arity: 2,
    begin({ vfs }: Call, file: unknown, options?: unknown) {
      const { encoding } = readOptions<EncodingOptions>(options, {});
      const target = toTarget(file);
      const flow = vfs.listxattr(coreTarget(target), follow);
      return namesWork(ask(flow, syscall, textOf(target)), encoding);
    },
  };
}

function* namesWork(
  asked: Work<Uint8Array[]>,
  encoding?: string | null,
): Work<(string | Uint8Array)[]> {
  return (yield* asked).map((name) => decodeName(name, encoding));
}

function settingXattr(link: boolean): Operation {
  return {
    arity: 4,
    begin({ vfs }: Call, file: unknown, name: unknown, bytes: unknown, options?: unknown) {
      const target = toTarget(file);
      const key = toName(name);
      if (!(bytes instanceof Uint8Array)) throw invalidType('bytes', 'Uint8Array', bytes);
      const given = checkXattrOptions(options);
      // What is set is what was given, whatever happens to the caller's bytes meanwhile.
      const value = bytes.slice();
      const set = (ino: number) => vfs.change.setxattr(ino, key, value, given);
      const syscall = typeof target === 'number' ? 'fsetxattr' : link ? 'lsetxattr' : 'setxattr';
      return change(vfs, syscall, target, onTarget(vfs, target, !link, set, [key, value]));
    },
  };
}

/** Finds the inode of a target, then changes it. The sizes of an xattr are judged first, as in the kernel. */
function* onTarget(
  vfs: FileSystem,
  target: Path | number,
  follow: boolean,
  changing: (ino: number) => Flow<void>,
  xattr?: [Uint8Array, Uint8Array | null],
): Flow<void> {
  if (xattr) vfs.change.checkXattr(...xattr);
  if (typeof target === 'number') yield* changing(vfs.file(target).inode.ino);
  else yield* changing(yield* vfs.resolve(target.given, follow));
}

function checkXattrOptions(options: unknown): XattrOptions {
  if (options === undefined) return {};
  checkObject(options, 'options');
  const { create = false, replace = false } = options as XattrOptions;
  return {
    create: checkBoolean(create, 'options.create'),
    replace: checkBoolean(replace, 'options.replace'),
  };
}

function removingXattr(link: boolean): Operation {
  return {
    arity: 2,
    begin({ vfs }: Call, file: unknown, name: unknown) {
      const target = toTarget(file);
      const key = toName(name);
      const remove = (ino: number) => vfs.change.removexattr(ino, key);
      const path = link ? 'lremovexattr' : 'removexattr';
      const syscall = typeof target === 'number' ? 'fremovexattr' : path;
      return change(vfs, syscall, target, onTarget(vfs, target, !link, remove, [key, null]));
    },
  };
}

export const getxattr = gettingXattr('getxattr', true);
export const lgetxattr = gettingXattr('lgetxattr', false);
export const listxattr = listingXattrs('listxattr', true);
export const llistxattr = listingXattrs('llistxattr', false);
export const setxattr = settingXattr(false);
export const lsetxattr = settingXattr(true);
export const removexattr = removingXattr(false);
export const lremovexattr = removingXattr(true);

/** chattr's flags by name. */
const FLAGS = {
  secureDelete: format.EXT4_SECRM_FL,
  undelete: format.EXT4_UNRM_FL,
  compressed: format.EXT4_COMPR_FL,
  sync: format.EXT4_SYNC_FL,
  immutable: format.EXT4_IMMUTABLE_FL,
  append: format.EXT4_APPEND_FL,
  noDump: format.EXT4_NODUMP_FL,
  noAtime: format.EXT4_NOATIME_FL,
  encrypted: format.EXT4_ENCRYPT_FL,
  index: format.EXT4_INDEX_FL,
  journalData: format.EXT4_JOURNAL_DATA_FL,
  noTail: format.EXT4_NOTAIL_FL,
  dirSync: format.EXT4_DIRSYNC_FL,
  topDir: format.EXT4_TOPDIR_FL,
  hugeFile: format.EXT4_HUGE_FILE_FL,
  extents: format.EXT4_EXTENTS_FL,
  verity: format.EXT4_VERITY_FL,
  eaInode: format.EXT4_EA_INODE_FL,
  dax: format.EXT4_DAX_FL,
  inlineData: format.EXT4_INLINE_DATA_FL,
  projectInherit: format.EXT4_PROJINHERIT_FL,
  casefold: format.EXT4_CASEFOLD_FL,
} as const;

export type Flags = Record<keyof typeof FLAGS, boolean>;

export const getFlags: Operation = {
  arity: 1,
  begin({ vfs }: Call, file: unknown) {
    const target = toTarget(file);
    return flagsWork(ask(vfs.getFlags(coreTarget(target)), 'ioctl', textOf(target)));
  },
};

function* flagsWork(asked: Work<number>): Work<Flags> {
  const bits = yield* asked;
  const entries = Object.entries(FLAGS).map(([name, bit]) => [name, (bits & bit) !== 0]);
  return Object.fromEntries(entries) as Flags;
}

export const setFlags: Operation = {
  arity: 2,
  begin({ vfs }: Call, file: unknown, flags: unknown) {
    const target = toTarget(file);
    checkObject(flags, 'flags');
    const wanted = Object.entries(flags as object).map(([name, value]): [number, boolean] => {
      if (!Object.hasOwn(FLAGS, name)) throw invalidValue('flags', name, 'has an unknown flag');
      return [FLAGS[name as keyof Flags], checkBoolean(value, `flags.${name}`)];
    });
    const flow = setNamedFlags(vfs, target, wanted);
    return change(vfs, 'ioctl', target, flow);
  },
};

/** The flags that are named change, the others stay. */
function* setNamedFlags(
  vfs: FileSystem,
  target: Path | number,
  wanted: [number, boolean][],
): Flow<void> {
  let bits = yield* vfs.getFlags(coreTarget(target));
  for (const [bit, on] of wanted) bits = on ? bits | bit : bits & ~bit;
  yield* onTarget(vfs, target, true, (ino) => vfs.change.setFlags(ino, bits >>> 0));
}

/** Opens a path for `use` and closes it again; an fd is used as it is. */
function* withFile<T>(
  vfs: FileSystem,
  file: Path | number,
  use: (fd: number) => Work<T>,
  flags: number = constants.O_RDONLY,
): Work<T> {
  if (typeof file === 'number') return yield* use(file);
  const fd = yield* ask(vfs.open(file.given, flags, 0), 'open', file.text);
  try {
    return yield* use(fd);
  } finally {
    yield* ask(vfs.close(fd), 'close');
  }
}

export const extents: Operation = {
  arity: 1,
  begin({ vfs }: Call, file: unknown) {
    return withFile<ExtentRecord[]>(vfs, toTarget(file), (fd) => ask(vfs.extents(fd), 'ioctl'));
  },
};

export const seekData: Operation = {
  arity: 2,
  begin({ vfs }: Call, file: unknown, pos: unknown) {
    const from = checkBytes(pos ?? 0, 'pos');
    return withFile(vfs, toTarget(file), (fd) => ask(vfs.seekData(fd, from), 'lseek'));
  },
};

export const seekHole: Operation = {
  arity: 2,
  begin({ vfs }: Call, file: unknown, pos: unknown) {
    const from = checkBytes(pos ?? 0, 'pos');
    return withFile(vfs, toTarget(file), (fd) => ask(vfs.seekHole(fd, from), 'lseek'));
  },
};

export const dataPath: Operation = {
  arity: 1,
  begin({ vfs }: Call, file: unknown) {
    return withFile(vfs, toTarget(file), (fd) => dataPathWork(vfs, fd));
  },
};

function* dataPathWork(vfs: FileSystem, fd: number): Work<string> {
  yield* ask(vfs.fstat(fd), 'ioctl');
  return vfs.dataPath(fd);
}

export const view: Operation = {
  arity: 4,
  begin(call: Call, file: unknown, pos: unknown, len: unknown, options?: unknown) {
    const from = checkBytes(pos ?? 0, 'pos');
    const count = len === undefined || len === null ? null : checkBytes(len, 'len');
    if (options !== undefined) checkObject(options, 'options');
    const write = (options as { write?: boolean } | undefined)?.write ?? false;
    checkBoolean(write, 'options.write');
    const flags = write ? constants.O_RDWR : constants.O_RDONLY;
    return withFile(
      call.vfs,
      toTarget(file),
      (fd) => viewWork(call, fd, from, count, write),
      flags,
    );
  },
};

/** Without a length the view goes to the end of the file. */
function* viewWork(
  { vfs, makeLease }: Call,
  fd: number,
  pos: number,
  len: number | null,
  write: boolean,
): Work<object> {
  const count = len ?? Math.max(0, (yield* ask(vfs.fstat(fd), 'view')).size - pos);
  const lease = yield* ask(vfs.view(fd, pos, count, write), 'view');
  return makeLease(lease);
}
