// The part of the core that changes the data of files, as the operations of this floor call it.

import { Ext4Error } from '../errno.ts';
import { type Flow, step } from '../flow.ts';
import { O_ACCMODE, O_TRUNC } from '../vfs/file.ts';
import type { FileSystem } from '../vfs/filesystem.ts';

export type FallocateMode = 'alloc' | 'zero' | 'punch' | 'collapse' | 'insert';

export interface DataOps {
  write(fd: number, from: Uint8Array, pos: number | null): Flow<number>;
  writev(fd: number, parts: Uint8Array[], pos: number | null): Flow<number>;
  truncate(target: string | Uint8Array | number, size: number): Flow<void>;
  fsync(fd: number, dataOnly: boolean): Flow<void>;
  fallocate(
    fd: number,
    mode: FallocateMode,
    pos: number,
    len: number,
    keepSize: boolean,
  ): Flow<void>;
  copyRange(fdIn: number, posIn: number, fdOut: number, posOut: number, len: number): Flow<number>;
}

interface WithData {
  readonly data?: DataOps;
  writeSync?(fd: number, from: Uint8Array, at: number, length: number, pos: number | null): number;
}

export function dataOf(vfs: FileSystem): DataOps {
  return (vfs as WithData).data ?? new Refusing(vfs);
}

/** As vfs.data.write inside the call, of a part of `from`. */
export function writeSync(
  vfs: FileSystem,
  fd: number,
  from: Uint8Array,
  at: number,
  length: number,
  pos: number | null,
): number {
  const core = vfs as FileSystem & WithData;
  if (core.writeSync) return core.writeSync(fd, from, at, length, pos);
  return vfs.runSync(dataOf(vfs).write(fd, from.subarray(at, at + length), pos));
}

/** Without data paths: nothing can be written, and files emptied. */
class Refusing implements DataOps {
  readonly #vfs: FileSystem;

  constructor(vfs: FileSystem) {
    this.#vfs = vfs;
  }

  *write(fd: number, from: Uint8Array): Flow<number> {
    this.#check(fd, 'EBADF');
    if (from.length > 0) throw refused();
    return 0;
  }

  *writev(fd: number, parts: Uint8Array[]): Flow<number> {
    this.#check(fd, 'EBADF');
    if (parts.some((part) => part.length > 0)) throw refused();
    return 0;
  }

  *truncate(target: string | Uint8Array | number, size: number): Flow<void> {
    if (typeof target !== 'number') throw refused();
    this.#check(target, 'EINVAL');
    const { inode } = this.#vfs.file(target);
    if (size !== 0 && size !== inode.size) throw refused();
    if (size === 0) return yield* this.#vfs.change.truncateForOpen(inode.ino, O_TRUNC);
    const sec = Math.floor(Date.now() / 1000);
    yield* this.#vfs.change.setAttributes(inode.ino, { mtime: { sec, nsec: 0 } });
  }

  *fsync(fd: number): Flow<void> {
    this.#vfs.file(fd);
    yield* this.#vfs.syncAll();
  }

  *fallocate(fd: number): Flow<void> {
    this.#check(fd, 'EBADF');
    throw refused();
  }

  *copyRange(
    fdIn: number,
    _posIn: number,
    fdOut: number,
    _posOut: number,
    len: number,
  ): Flow<number> {
    this.#vfs.file(fdIn);
    this.#check(fdOut, 'EBADF');
    if (len > 0) throw refused();
    return yield* step(() => 0);
  }

  #check(fd: number, code: 'EBADF' | 'EINVAL'): void {
    if ((this.#vfs.file(fd).flags & O_ACCMODE) === 0) throw new Ext4Error(code);
  }
}

function refused(): Ext4Error {
  return new Ext4Error('EOPNOTSUPP', 'writing file data comes with the next version');
}
