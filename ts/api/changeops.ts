// Operations that change inodes: modes, owners, times, sizes. Arguments are checked as Node does, errors come in the
// kernel's order; a read-only mount refuses as refusal.ts says.

import { Ext4Error } from '../errno.ts';
import type { Attributes } from '../ext4/setattr.ts';
import type { Time } from '../ext4/stat.ts';
import type { Flow } from '../flow.ts';
import type { FileSystem } from '../vfs/filesystem.ts';
import { constants } from './constants.ts';
import { type Path, toPath } from './paths.ts';
import { change, type Refused } from './refusal.ts';
import { checkFd, checkId, checkInteger, checkMode, checkTime } from './validate.ts';
import { ask, type Call, type Operation, type Work } from './work.ts';

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

export function* setTimes(
  vfs: FileSystem,
  ino: number,
  a: Required<Pick<Attributes, 'atime' | 'mtime'>>,
) {
  if (Number.isNaN(a.atime.nsec + a.mtime.nsec)) throw new Ext4Error('EINVAL');
  yield* vfs.change.setAttributes(ino, a);
}

/** A Date to its millisecond, numbers as exactly as they are; what is no time has NaN nanoseconds. */
export function toTime(value: unknown, name?: string): Time {
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
    return ask(vfs.data.truncate(checkFd(fd), size), 'ftruncate');
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
    yield* ask(vfs.data.truncate(fd, checkLength(len)), 'ftruncate');
  } finally {
    yield* ask(vfs.close(fd), 'close');
  }
}
