// Stats, BigIntStats, StatFs and Dirent with the shape of Node's: the same own properties in the same order, so that
// a copy or a comparison sees what it would see of node:fs.

import type { StatRecord, Time } from '../ext4/stat.ts';
import type { StatfsRecord } from '../ext4/statfs.ts';
import { constants } from './constants.ts';

/** What both kinds of Stats answer about the type of a file. */
abstract class StatsBase {
  protected abstract type(): number;

  isDirectory(): boolean {
    return this.type() === constants.S_IFDIR;
  }
  isFile(): boolean {
    return this.type() === constants.S_IFREG;
  }
  isBlockDevice(): boolean {
    return this.type() === constants.S_IFBLK;
  }
  isCharacterDevice(): boolean {
    return this.type() === constants.S_IFCHR;
  }
  isSymbolicLink(): boolean {
    return this.type() === constants.S_IFLNK;
  }
  isFIFO(): boolean {
    return this.type() === constants.S_IFIFO;
  }
  isSocket(): boolean {
    return this.type() === constants.S_IFSOCK;
  }
}

function milliseconds(time: Time): number {
  return time.sec * 1000 + time.nsec / 1e6;
}

function nanoseconds(time: Time): bigint {
  return BigInt(time.sec) * 1_000_000_000n + BigInt(time.nsec);
}

export class Stats extends StatsBase {
  dev: number;
  mode: number;
  nlink: number;
  uid: number;
  gid: number;
  rdev: number;
  blksize: number;
  ino: number;
  size: number;
  blocks: number;
  atimeMs: number;
  mtimeMs: number;
  ctimeMs: number;
  birthtimeMs: number;
  atime: Date;
  mtime: Date;
  ctime: Date;
  birthtime: Date;

  constructor(r: StatRecord) {
    super();
    this.dev = r.dev;
    this.mode = r.mode;
    this.nlink = r.nlink;
    this.uid = r.uid;
    this.gid = r.gid;
    this.rdev = r.rdev;
    this.blksize = r.blksize;
    this.ino = r.ino;
    this.size = r.size;
    this.blocks = r.blocks;
    this.atimeMs = milliseconds(r.atime);
    this.mtimeMs = milliseconds(r.mtime);
    this.ctimeMs = milliseconds(r.ctime);
    this.birthtimeMs = milliseconds(r.birthtime);
    this.atime = new Date(Math.round(this.atimeMs));
    this.mtime = new Date(Math.round(this.mtimeMs));
    this.ctime = new Date(Math.round(this.ctimeMs));
    this.birthtime = new Date(Math.round(this.birthtimeMs));
  }

  protected override type(): number {
    return this.mode & constants.S_IFMT;
  }
}

export class BigIntStats extends StatsBase {
  dev: bigint;
  mode: bigint;
  nlink: bigint;
  uid: bigint;
  gid: bigint;
  rdev: bigint;
  blksize: bigint;
  ino: bigint;
  size: bigint;
  blocks: bigint;
  atimeMs: bigint;
  mtimeMs: bigint;
  ctimeMs: bigint;
  birthtimeMs: bigint;
  atimeNs: bigint;
  mtimeNs: bigint;
  ctimeNs: bigint;
  birthtimeNs: bigint;
  atime: Date;
  mtime: Date;
  ctime: Date;
  birthtime: Date;

  constructor(r: StatRecord) {
    super();
    this.dev = BigInt(r.dev);
    this.mode = BigInt(r.mode);
    this.nlink = BigInt(r.nlink);
    this.uid = BigInt(r.uid);
    this.gid = BigInt(r.gid);
    this.rdev = BigInt(r.rdev);
    this.blksize = BigInt(r.blksize);
    this.ino = BigInt(r.ino);
    this.size = BigInt(r.size);
    this.blocks = BigInt(r.blocks);
    const times = [r.atime, r.mtime, r.ctime, r.birthtime].map(nanoseconds);
    const ms = times.map((ns) => ns / 1_000_000n);
    [this.atimeMs, this.mtimeMs, this.ctimeMs, this.birthtimeMs] = ms;
    [this.atimeNs, this.mtimeNs, this.ctimeNs, this.birthtimeNs] = times;
    [this.atime, this.mtime, this.ctime, this.birthtime] = ms.map((at) => new Date(Number(at)));
  }

  protected override type(): number {
    return Number(this.mode) & constants.S_IFMT;
  }
}

/** Stats, or BigIntStats when asked for. */
export function statsOf(r: StatRecord, bigint: boolean): Stats | BigIntStats {
  return bigint ? new BigIntStats(r) : new Stats(r);
}

export class StatFs<T extends number | bigint = number | bigint> {
  type: T;
  bsize: T;
  blocks: T;
  bfree: T;
  bavail: T;
  files: T;
  ffree: T;

  constructor(r: StatfsRecord, as: (value: number) => T) {
    this.type = as(r.type);
    this.bsize = as(r.bsize);
    this.blocks = as(r.blocks);
    this.bfree = as(r.bfree);
    this.bavail = as(r.bavail);
    this.files = as(r.files);
    this.ffree = as(r.ffree);
  }
}

/** A directory entry. `type` is a UV_DIRENT_* number and not shown. */
export class Dirent {
  name: string | Uint8Array;
  parentPath: string | Uint8Array;
  path: string | Uint8Array;
  readonly #type: number;

  constructor(name: string | Uint8Array, type: number, path: string | Uint8Array) {
    this.name = name;
    this.parentPath = path;
    this.path = path;
    this.#type = type;
  }

  isDirectory(): boolean {
    return this.#type === constants.UV_DIRENT_DIR;
  }
  isFile(): boolean {
    return this.#type === constants.UV_DIRENT_FILE;
  }
  isBlockDevice(): boolean {
    return this.#type === constants.UV_DIRENT_BLOCK;
  }
  isCharacterDevice(): boolean {
    return this.#type === constants.UV_DIRENT_CHAR;
  }
  isSymbolicLink(): boolean {
    return this.#type === constants.UV_DIRENT_LINK;
  }
  isFIFO(): boolean {
    return this.#type === constants.UV_DIRENT_FIFO;
  }
  isSocket(): boolean {
    return this.#type === constants.UV_DIRENT_SOCKET;
  }
}
