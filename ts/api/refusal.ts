// Changes go through here: on a writable mount the flow that makes them, on a read-only one what the kernel says. It
// refuses each call at its own point: after it has found what is to be changed, or only its parent; REFUSALS is the
// one table of that. Data is not refused here: no file of a read-only mount is open for writing.

import type { ErrorCode } from '../errno.ts';
import { Ext4Error } from '../errno.ts';
import type { Flow } from '../flow.ts';
import type { FileSystem } from '../vfs/filesystem.ts';
import { constants } from './constants.ts';
import { type Path, parentOf } from './paths.ts';
import { ask, nameError, type Work } from './work.ts';

/** How far the kernel goes before it looks whether it may write. */
type Where =
  | 'target' // the path is resolved, links followed
  | 'link' // the path is resolved, a last link is not followed
  | 'entry' // the parent directory is resolved
  | 'new' // the parent is resolved and the name must be free
  | 'fd'; // the file is open

interface Refusal {
  readonly where: Where;
  readonly code: ErrorCode;
}

const REFUSALS = {
  chmod: { where: 'target', code: 'EROFS' },
  chown: { where: 'target', code: 'EROFS' },
  lchown: { where: 'link', code: 'EROFS' },
  utime: { where: 'target', code: 'EROFS' },
  lutime: { where: 'link', code: 'EROFS' },
  setxattr: { where: 'target', code: 'EROFS' },
  lsetxattr: { where: 'link', code: 'EROFS' },
  removexattr: { where: 'target', code: 'EROFS' },
  lremovexattr: { where: 'link', code: 'EROFS' },
  ioctl: { where: 'target', code: 'EROFS' },
  fchmod: { where: 'fd', code: 'EROFS' },
  fchown: { where: 'fd', code: 'EROFS' },
  futime: { where: 'fd', code: 'EROFS' },
  fsetxattr: { where: 'fd', code: 'EROFS' },
  fremovexattr: { where: 'fd', code: 'EROFS' },
  unlink: { where: 'entry', code: 'EROFS' },
  rmdir: { where: 'entry', code: 'EROFS' },
  rename: { where: 'entry', code: 'EROFS' },
  mkdtemp: { where: 'entry', code: 'EROFS' },
  mkdir: { where: 'new', code: 'EROFS' },
  mknod: { where: 'new', code: 'EROFS' },
  symlink: { where: 'new', code: 'EROFS' },
  link: { where: 'new', code: 'EROFS' },
} as const satisfies Record<string, Refusal>;

export type Refused = keyof typeof REFUSALS;

/** How the error is to show the paths of the call. */
export interface Shown {
  readonly path?: string;
  readonly dest?: string;
}

/** Makes a change, or refuses it on a read-only mount. Nothing comes back: calls that return something say what. */
export function* change(
  vfs: FileSystem,
  syscall: Refused,
  target: Path | number,
  flow: Flow<unknown>,
  shown: Shown = typeof target === 'number' ? {} : { path: target.text },
): Work<void> {
  if (vfs.readOnly) yield* refuse(vfs, syscall, target, shown);
  yield* ask(flow, syscall, shown.path, shown.dest);
}

/** Goes as far as the kernel would, then throws its error: nothing is ever returned. */
export function* refuse(
  vfs: FileSystem,
  syscall: Refused,
  target: Path | number,
  shown: Shown = typeof target === 'number' ? {} : { path: target.text },
): Work<never> {
  const { where, code }: Refusal = REFUSALS[syscall];
  const asked = { syscall, ...shown };
  if (typeof target === 'number') yield* ask(vfs.fstat(target), syscall);
  else if (where === 'target' || where === 'link') {
    yield* ask(vfs.resolve(target.given, where === 'target'), syscall, shown.path, shown.dest);
  } else {
    yield* checkParent(vfs, target, asked);
    if (where === 'new') yield* checkFree(vfs, target, asked);
  }
  throw nameError(new Ext4Error(code), asked);
}

interface Asked extends Shown {
  readonly syscall: string;
}

/** The directory that holds the name, or would: ENOENT, ENOTDIR. */
export function* checkParent(vfs: FileSystem, target: Path, asked: Asked): Work<void> {
  const { syscall, path, dest } = asked;
  const parent = target.given.length === 0 ? '' : parentOf(target.given);
  const { mode } = yield* ask(vfs.stat(parent, true), syscall, path, dest);
  if ((mode & constants.S_IFMT) !== constants.S_IFDIR)
    throw nameError(new Ext4Error('ENOTDIR'), asked);
}

/** A name that is taken is EEXIST, before anything is said about writing. */
function* checkFree(vfs: FileSystem, target: Path, asked: Asked): Work<void> {
  try {
    yield* ask(vfs.stat(target.given, false), asked.syscall, asked.path, asked.dest);
  } catch (error) {
    if ((error as Ext4Error).code === 'ENOENT') return;
    throw error;
  }
  throw nameError(new Ext4Error('EEXIST'), asked);
}
