// Open files: the table of descriptors, and reading through one. The synchronous read of cached bytes is the hot
// path: no generator, no allocation.

import { Ext4Error } from '../errno.ts';
import type { Inode } from '../ext4/inode.ts';
import { newReadahead, type ReadRequest } from '../iomap/buffered.ts';

export const O_ACCMODE = 3;
export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_CREAT = 0o100;
export const O_EXCL = 0o200;
export const O_TRUNC = 0o1000;
export const O_APPEND = 0o2000;
export const O_DIRECT = 0o40000;
export const O_DSYNC = 0o10000;
export const O_SYNC = 0o4010000;
export const O_DIRECTORY = 0o200000;
export const O_NOFOLLOW = 0o400000;

/** Open files at once. */
export const MAX_FILES = 65536;
/** Bytes that one step reads. */
export const READ_STEP = 1 << 20;
const FIRST_FD = 3;

export class OpenFile {
  readonly fd: number;
  readonly inode: Inode;
  readonly flags: number;
  pos = 0;
  /** A regular file, open for reading: it may be read through the page cache. */
  readonly cached: boolean;
  /** Errors of writeback that this open file knows of. */
  errors: number;
  #request: ReadRequest | null = null;

  constructor(fd: number, inode: Inode, flags: number) {
    this.fd = fd;
    this.inode = inode;
    this.flags = flags;
    this.cached = inode.isFile && (flags & O_ACCMODE) !== O_WRONLY;
    this.errors = inode.writeErrors;
  }

  /** Reused for each read; made for the first one: many files are only written. */
  get request(): ReadRequest {
    this.#request ??= newRequest(this.inode);
    return this.#request;
  }
}

function newRequest(file: Inode): ReadRequest {
  const { fill } = file.vol.cache;
  return { file, into: EMPTY, at: 0, pos: 0, len: 0, ahead: newReadahead(), fill };
}

export class Files {
  readonly #open: (OpenFile | undefined)[] = [];
  readonly #free: number[] = [];
  count = 0;

  /** A descriptor for an inode. EMFILE when there are too many. */
  add(inode: Inode, flags: number): OpenFile {
    if (this.count >= MAX_FILES) throw new Ext4Error('EMFILE');
    const index = this.#free.pop() ?? this.#open.length;
    const file = new OpenFile(index + FIRST_FD, inode, flags);
    this.#open[index] = file;
    this.count++;
    inode.users++;
    return file;
  }

  /** EBADF when the descriptor is not open. */
  get(fd: number): OpenFile {
    const file = this.#open[fd - FIRST_FD];
    if (file === undefined) throw new Ext4Error('EBADF');
    return file;
  }

  remove(fd: number): void {
    const file = this.get(fd);
    this.#open[fd - FIRST_FD] = undefined;
    this.#free.push(fd - FIRST_FD);
    this.count--;
    file.inode.users--;
  }

  closeAll(): void {
    for (const file of this.#open) if (file !== undefined) this.remove(file.fd);
  }
}

const EMPTY = new Uint8Array(0);
