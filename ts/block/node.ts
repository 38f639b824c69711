// Files and block devices through node:fs, synchronous and on the thread pool. Bytes go straight into the view
// given, shared memory included. A short read is EIO; short writes and EAGAIN are continued. flush is fdatasync.
// Node has no fallocate and no BLKDISCARD, so there is no discard.

import fs from 'node:fs';
import type { ErrorCode } from '../errno.ts';
import { Ext4Error } from '../errno.ts';
import {
  BaseDevice,
  checkAbort,
  checkBlockSize,
  settleAll,
  totalLength,
  wholeBlocks,
} from './base.ts';
import type { BlockDevice, DeviceOptions, ReadRange, WriteOptions } from './device.ts';

export interface FileOptions {
  readOnly?: boolean;
  /** Makes a missing file. */
  create?: boolean;
  /** Bytes a shorter file is grown to, sparsely; nothing is ever cut off. */
  size?: number;
  /** Bytes, 512 by default. */
  blockSize?: number;
}

/** A file device is synchronous as well as asynchronous. */
export type FileDevice = BlockDevice &
  Required<
    Pick<
      BlockDevice,
      | 'readv'
      | 'writev'
      | 'readSync'
      | 'readvSync'
      | 'writeSync'
      | 'writevSync'
      | 'flushSync'
      | 'closeSync'
    >
  > & { readonly path: string };

const MAX_CALL = 0x4000_0000; // Linux moves at most 2 GiB - 4 KiB a call
const MAX_PARTS = 1024; // IOV_MAX
const MAX_RETRIES = 1000; // of EAGAIN in one request

/** Node's codes that are passed on; anything else becomes EIO with its text. */
const CODES = new Set(
  (
    'EACCES EBADF EBUSY EDQUOT EEXIST EFBIG EINVAL EIO EISDIR ELOOP EMFILE ENAMETOOLONG ENODEV ' +
    'ENOENT ENOMEM ENOSPC ENOTDIR ENXIO EPERM EROFS'
  ).split(' '),
);

/** Files and block devices that this process has open for writing, by identity. */
const writers = new Set<string>();

/**
 * Opens an image file or a block device (for writing: exclusively, so a mounted one is EBUSY, as is a file that
 * this process already writes). The size is counted in whole blocks. ENOENT, EACCES, EISDIR, … as Node has them,
 * with path.
 */
export function openFile(path: string, o: FileOptions = {}): FileDevice {
  try {
    return open(path, o);
  } catch (error) {
    throw asExt4Error(error).at('open', path);
  }
}

function open(path: string, o: FileOptions): FileDevice {
  const blockSize = checkBlockSize(o.blockSize);
  if (o.size !== undefined && !(Number.isSafeInteger(o.size) && o.size >= 0)) {
    throw new Ext4Error('EINVAL', `size ${o.size}`);
  }
  const fd = fs.openSync(path, openFlags(path, o));
  let key: string | null = null;
  try {
    if (!o.readOnly) key = claim(fd);
    const size = wholeBlocks(measure(fd, o), blockSize);
    return new NodeFile({ size, blockSize, readOnly: o.readOnly }, path, fd, key);
  } catch (error) {
    if (key !== null) writers.delete(key);
    fs.closeSync(fd);
    throw error;
  }
}

/** Refuses before opening what open() would hang on (a FIFO) or open in vain (a directory). */
function openFlags(path: string, o: FileOptions): number {
  const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL } = fs.constants;
  if (o.readOnly && (o.create || o.size !== undefined)) {
    throw new Ext4Error('EINVAL', 'a read-only file is neither created nor grown');
  }
  const stat = fs.statSync(path, { throwIfNoEntry: false });
  if (stat?.isDirectory()) throw new Ext4Error('EISDIR');
  if (stat && !stat.isFile() && !stat.isBlockDevice()) {
    throw new Ext4Error('EINVAL', 'neither a file nor a block device');
  }
  if (o.readOnly) return O_RDONLY;
  // O_EXCL on a block device: Linux refuses while it is mounted or otherwise claimed.
  if (stat?.isBlockDevice()) return O_RDWR | O_EXCL;
  return O_RDWR | (o.create ? O_CREAT : 0);
}

function claim(fd: number): string {
  const stat = fs.fstatSync(fd, { bigint: true });
  const key = stat.isBlockDevice() ? `block ${stat.rdev}` : `${stat.dev}:${stat.ino}`;
  if (writers.has(key)) throw new Ext4Error('EBUSY', 'already open for writing in this process');
  writers.add(key);
  return key;
}

/** Bytes of the file or block device, after growing it to `o.size`. */
function measure(fd: number, o: FileOptions): number {
  const stat = fs.fstatSync(fd);
  const size = stat.isBlockDevice() ? probeSize(fd) : stat.size;
  if (o.size === undefined || o.size <= size) return size;
  if (!stat.isFile()) throw new Ext4Error('EINVAL', `the device has ${size} bytes, not ${o.size}`);
  fs.ftruncateSync(fd, o.size);
  return o.size;
}

/** The size of a block device: Node has no ioctl, so the last sector that can be read is searched for. */
function probeSize(fd: number): number {
  const sector = new Uint8Array(512);
  const exists = (n: number): boolean => readable(fd, sector, n * 512);
  let low = 0; // sectors below exist
  let high = 1;
  while (high < 2 ** 43 && exists(high - 1)) {
    low = high;
    high *= 2;
  }
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (exists(middle - 1)) low = middle;
    else high = middle;
  }
  return low * 512;
}

function readable(fd: number, into: Uint8Array, dpos: number): boolean {
  try {
    return fs.readSync(fd, into, 0, into.length, dpos) === into.length;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EIO'; // a bad sector is still a sector
  }
}

function asExt4Error(error: unknown, what?: string): Ext4Error {
  if (error instanceof Ext4Error) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  if (code !== undefined && CODES.has(code)) return new Ext4Error(code as ErrorCode, what);
  return new Ext4Error('EIO', what ? `${what}: ${message}` : message);
}

type Done = (error: NodeJS.ErrnoException | null, count: number) => void;

class NodeFile extends BaseDevice implements FileDevice {
  readonly path: string;
  readonly fua = false;
  readonly discardZeroes = false;
  readonly #fd: number;
  readonly #key: string | null;
  readonly #busy = new Set<Promise<unknown>>();

  constructor(
    shape: { size: number; blockSize: number; readOnly?: boolean },
    path: string,
    fd: number,
    key: string | null,
  ) {
    super(shape);
    this.path = path;
    this.#fd = fd;
    this.#key = key;
  }

  readSync(into: Uint8Array, dpos: number): void {
    this.checkRead(dpos, into.length);
    this.#each('read', into, dpos, fs.readSync);
  }

  readvSync(ranges: ReadRange[]): void {
    for (const r of ranges) this.checkRead(r.dpos, r.into.length);
    for (const run of adjacent(ranges)) {
      const parts = run.map((r) => r.into);
      if (!this.#whole('read', parts, run[0].dpos, fs.readvSync)) {
        for (const r of run) this.#each('read', r.into, r.dpos, fs.readSync);
      }
    }
  }

  writeSync(from: Uint8Array, dpos: number, o?: WriteOptions): void {
    this.checkWrite(dpos, from.length);
    this.#each('write', from, dpos, fs.writeSync);
    if (o?.fua) this.flushSync();
  }

  writevSync(parts: Uint8Array[], dpos: number): void {
    this.checkWrite(dpos, totalLength(parts));
    for (const run of adjacent(placed(parts, dpos))) {
      const froms = run.map((r) => r.into);
      if (!this.#whole('write', froms, run[0].dpos, fs.writevSync)) {
        for (const r of run) this.#each('write', r.into, r.dpos, fs.writeSync);
      }
    }
  }

  flushSync(): void {
    this.checkOpen();
    if (this.readOnly) return;
    try {
      fs.fdatasyncSync(this.#fd);
    } catch (error) {
      throw this.#error(error, 'flush', 0, this.size);
    }
  }

  closeSync(): void {
    if (this.closed) return;
    if (this.#busy.size > 0) throw new Ext4Error('EBUSY', 'requests are in flight: await close()');
    this.closed = true;
    this.#release();
  }

  read(into: Uint8Array, dpos: number, o?: DeviceOptions): Promise<void> {
    return this.#run(async () => {
      checkAbort(o);
      this.checkRead(dpos, into.length);
      await this.#eachAsync('read', into, dpos);
      checkAbort(o); // only now: the thread pool may write to the view until it is done
    });
  }

  readv(ranges: ReadRange[], o?: DeviceOptions): Promise<void> {
    return this.#run(async () => {
      checkAbort(o);
      for (const r of ranges) this.checkRead(r.dpos, r.into.length);
      await settleAll(adjacent(ranges).map((run) => this.#readRun(run)));
      checkAbort(o);
    });
  }

  write(from: Uint8Array, dpos: number, o?: WriteOptions): Promise<void> {
    return this.#run(async () => {
      this.checkWrite(dpos, from.length);
      await this.#eachAsync('write', from, dpos);
      if (o?.fua) await this.#datasync();
    });
  }

  writev(parts: Uint8Array[], dpos: number): Promise<void> {
    return this.#run(async () => {
      this.checkWrite(dpos, totalLength(parts));
      for (const run of adjacent(placed(parts, dpos))) await this.#writeRun(run);
    });
  }

  flush(): Promise<void> {
    return this.#run(async () => {
      this.checkOpen();
      await this.#datasync();
    });
  }

  /** Waits for requests in flight. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await Promise.allSettled(this.#busy);
    this.#release();
  }

  #release(): void {
    if (this.#key !== null) writers.delete(this.#key);
    fs.closeSync(this.#fd);
  }

  /** Counts a request as in flight until it settles. */
  #run(work: () => Promise<void>): Promise<void> {
    const running = work();
    this.#busy.add(running);
    const done = () => void this.#busy.delete(running);
    running.then(done, done);
    return running;
  }

  async #datasync(): Promise<void> {
    if (this.readOnly) return;
    try {
      await new Promise<void>((resolve, reject) => {
        fs.fdatasync(this.#fd, (error) => (error ? reject(error) : resolve()));
      });
    } catch (error) {
      throw this.#error(error, 'flush', 0, this.size);
    }
  }

  /** Moves the whole view, in as many calls as it takes. */
  #each(
    what: 'read' | 'write',
    view: Uint8Array,
    dpos: number,
    move: (fd: number, view: Uint8Array, off: number, len: number, dpos: number) => number,
  ): void {
    const retry = new Retries();
    for (let done = 0; done < view.length; ) {
      try {
        const len = Math.min(view.length - done, MAX_CALL);
        const count = move(this.#fd, view, done, len, dpos + done);
        if (count === 0) throw this.#short(what, dpos, view.length, done);
        done += count;
      } catch (error) {
        if (!retry.again(error)) throw this.#error(error, what, dpos, view.length);
      }
    }
  }

  /** Moves all parts in one call; false when that was refused or came short. */
  #whole(
    what: 'read' | 'write',
    parts: Uint8Array[],
    dpos: number,
    move: (fd: number, parts: Uint8Array[], dpos: number) => number,
  ): boolean {
    if (parts.length === 1) return false;
    try {
      return move(this.#fd, parts, dpos) === totalLength(parts);
    } catch (error) {
      if (new Retries().again(error)) return false;
      throw this.#error(error, what, dpos, totalLength(parts));
    }
  }

  async #eachAsync(what: 'read' | 'write', view: Uint8Array, dpos: number): Promise<void> {
    const retry = new Retries();
    for (let done = 0; done < view.length; ) {
      try {
        const len = Math.min(view.length - done, MAX_CALL);
        const count = await counted((cb) => {
          if (what === 'read') fs.read(this.#fd, view, done, len, dpos + done, cb);
          else fs.write(this.#fd, view, done, len, dpos + done, cb);
        });
        if (count === 0) throw this.#short(what, dpos, view.length, done);
        done += count;
      } catch (error) {
        if (!retry.again(error)) throw this.#error(error, what, dpos, view.length);
      }
    }
  }

  async #readRun(run: ReadRange[]): Promise<void> {
    const parts = run.map((r) => r.into);
    const first = run[0].dpos;
    if (await this.#wholeAsync('read', parts, first, (cb) => fs.readv(this.#fd, parts, first, cb)))
      return;
    for (const r of run) await this.#eachAsync('read', r.into, r.dpos);
  }

  async #writeRun(run: ReadRange[]): Promise<void> {
    const parts = run.map((r) => r.into);
    const first = run[0].dpos;
    if (
      await this.#wholeAsync('write', parts, first, (cb) => fs.writev(this.#fd, parts, first, cb))
    )
      return;
    for (const r of run) await this.#eachAsync('write', r.into, r.dpos);
  }

  async #wholeAsync(
    what: 'read' | 'write',
    parts: Uint8Array[],
    dpos: number,
    move: (cb: Done) => void,
  ): Promise<boolean> {
    if (parts.length === 1) return false;
    try {
      return (await counted(move)) === totalLength(parts);
    } catch (error) {
      if (new Retries().again(error)) return false;
      throw this.#error(error, what, dpos, totalLength(parts));
    }
  }

  #short(what: string, dpos: number, len: number, done: number): Ext4Error {
    return new Ext4Error(
      'EIO',
      `${what} of ${len} bytes at ${dpos} of ${this.path} ended after ${done}`,
    );
  }

  #error(error: unknown, what: string, dpos: number, len: number): Ext4Error {
    return asExt4Error(error, `${what} of ${len} bytes at ${dpos} of ${this.path}`);
  }
}

/** Bounds the retries of one request. */
class Retries {
  #left = MAX_RETRIES;

  /** True when the error asks to try again and the bound is not reached. */
  again(error: unknown): boolean {
    const code = (error as NodeJS.ErrnoException).code;
    return (
      (code === 'EAGAIN' || code === 'EINTR') && !(error instanceof Ext4Error) && this.#left-- > 0
    );
  }
}

function counted(start: (cb: Done) => void): Promise<number> {
  return new Promise((resolve, reject) => {
    start((error, count) => (error ? reject(error) : resolve(count)));
  });
}

function placed(parts: Uint8Array[], dpos: number): ReadRange[] {
  return parts.map((into) => {
    const range = { into, dpos };
    dpos += into.length;
    return range;
  });
}

/** Groups ranges that follow each other: a preadv of 16 pages takes half the time of 16 preads, on the pool a fifth. */
function adjacent(ranges: ReadRange[]): ReadRange[][] {
  const runs: ReadRange[][] = [];
  let end = -1;
  let len = 0;
  for (const r of ranges) {
    const run = runs.at(-1);
    if (run && r.dpos === end && run.length < MAX_PARTS && len + r.into.length <= MAX_CALL) {
      run.push(r);
      len += r.into.length;
    } else {
      runs.push([r]);
      len = r.into.length;
    }
    end = r.dpos + r.into.length;
  }
  return runs;
}
