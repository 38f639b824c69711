// The types of the node:fs surface that a mount has, taken from Node's own declarations (@types/node), so that a mount
// fits wherever a library is typed to take `fs`. Types only: nothing of node: is loaded.

import type * as nodefs from 'node:fs';
import type { FileHandle } from './filehandle.ts';

type BothNames =
  | 'access'
  | 'appendFile'
  | 'chmod'
  | 'chown'
  | 'close'
  | 'copyFile'
  | 'cp'
  | 'exists'
  | 'fchmod'
  | 'fchown'
  | 'fdatasync'
  | 'fstat'
  | 'fsync'
  | 'ftruncate'
  | 'futimes'
  | 'lchown'
  | 'link'
  | 'lstat'
  | 'lutimes'
  | 'mkdir'
  | 'mkdtemp'
  | 'open'
  | 'opendir'
  | 'read'
  | 'readFile'
  | 'readdir'
  | 'readlink'
  | 'readv'
  | 'realpath'
  | 'rename'
  | 'rm'
  | 'rmdir'
  | 'stat'
  | 'statfs'
  | 'symlink'
  | 'truncate'
  | 'unlink'
  | 'utimes'
  | 'write'
  | 'writeFile'
  | 'writev';

type SyncNames = `${BothNames}Sync`;
type OtherNames =
  | 'createReadStream'
  | 'createWriteStream'
  | 'watch'
  | 'constants'
  | 'Stats'
  | 'Dirent'
  | 'Dir';

type PromiseNames =
  | Exclude<
      BothNames & keyof typeof nodefs.promises,
      'open' // gives a FileHandle of this library
    >
  | 'constants'
  | 'watch';

/** renameat2's flags, which node:fs leaves out: EEXIST rather than replace, or swap both. */
export interface RenameOptions {
  noReplace?: boolean;
  exchange?: boolean;
}

/** What a mount shares with node:fs: callback and synchronous forms, streams, classes. */
export type NodeFs = Pick<typeof nodefs, BothNames | SyncNames | OtherNames> & {
  renameSync(oldPath: nodefs.PathLike, newPath: nodefs.PathLike, options: RenameOptions): void;
  readonly F_OK: 0;
  readonly R_OK: 4;
  readonly W_OK: 2;
  readonly X_OK: 1;
};

/** What a mount's `promises` shares with node:fs/promises. */
export type NodePromises = Pick<typeof nodefs.promises, PromiseNames> & {
  rename(oldPath: nodefs.PathLike, newPath: nodefs.PathLike, options: RenameOptions): Promise<void>;
  open(path: nodefs.PathLike, flags?: string | number, mode?: nodefs.Mode): Promise<FileHandle>;
};
