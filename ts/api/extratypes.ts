// The types of what a mount has beyond node:fs. A file is a path, an fd or a FileHandle; positions and lengths are
// bytes. The bare form takes a callback or gives a promise.

import type { ExtentRecord } from '../vfs/filesystem.ts';
import type { Flags } from './extraops.ts';
import type { FileHandle, RangeOptions } from './filehandle.ts';
import type { View } from './lease.ts';

type PathLike = string | Uint8Array | URL;
type File = PathLike | number | FileHandle;
type Fd = number | FileHandle;
type Pos = number | bigint;
type Name = string | Uint8Array;
type DataPath = 'dax' | 'journalled' | 'iomap' | 'bufferhead' | 'inline';
type XattrOptions = { create?: boolean; replace?: boolean };

/** Each name with its arguments and what comes back. */
interface Extras {
  extents(file: File): ExtentRecord[];
  seekData(file: File, pos: Pos): number;
  seekHole(file: File, pos: Pos): number;
  dataPath(file: File): DataPath;
  view(file: File, pos?: Pos, len?: Pos | null, options?: { write?: boolean }): View;
  getxattr(file: File, name: Name): Uint8Array;
  lgetxattr(file: File, name: Name): Uint8Array;
  listxattr(file: File): string[];
  llistxattr(file: File): string[];
  setxattr(file: File, name: Name, bytes: Uint8Array, options?: XattrOptions): void;
  lsetxattr(file: File, name: Name, bytes: Uint8Array, options?: XattrOptions): void;
  removexattr(file: File, name: Name): void;
  lremovexattr(file: File, name: Name): void;
  getFlags(file: File): Flags;
  setFlags(file: File, flags: Partial<Flags>): void;
  mknod(path: PathLike, mode: number, rdev?: number): void;
  zeroRange(fd: Fd, pos: Pos, len: Pos, options?: RangeOptions): void;
  fallocate(fd: Fd, pos: Pos, len: Pos, options?: RangeOptions): void;
  punchHole(fd: Fd, pos: Pos, len: Pos): void;
  collapseRange(fd: Fd, pos: Pos, len: Pos): void;
  insertRange(fd: Fd, pos: Pos, len: Pos): void;
  copyRange(fdIn: Fd, posIn: Pos, fdOut: Fd, posOut: Pos, len: Pos): number;
}

type Callback<T> = (error: Error | null, result: T) => void;

type AsyncForm<F> = F extends (...args: infer A) => infer R ? (...args: A) => Promise<R> : never;
type BareForm<F> = F extends (...args: infer A) => infer R
  ? { (...args: A): Promise<R>; (...args: [...A, Callback<R>]): void }
  : never;

export type ExtraPromises = { [K in keyof Extras]: AsyncForm<Extras[K]> };
export type ExtraFs = { [K in keyof Extras]: BareForm<Extras[K]> } & {
  [K in keyof Extras as `${K}Sync`]: Extras[K];
};
