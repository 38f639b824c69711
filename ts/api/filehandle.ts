// FileHandle: an open file with Node's methods and ext4's own. Each method is the promise form of the operation of
// that name on the handle's fd; after close() every one rejects with EBADF. A handle closes once its last call ends.

import { Emitter } from './emitter.ts';
import type { Flags } from './extraops.ts';
import type { View } from './lease.ts';
import { builtin } from './platform.ts';
import type { BigIntStats, Stats } from './stats.ts';
import {
  checkUnlocked,
  linesOf,
  nodeStream,
  type ReadOps,
  type StreamFs,
  type StreamOptions,
  streamOf,
} from './streams.ts';

type Position = number | bigint | null;
type Bytes = Uint8Array;

/** Promise forms of the operations, by name. */
// biome-ignore lint/suspicious/noExplicitAny: each has its own shape; the methods below give it
export type Operations = Record<string, (...args: any[]) => Promise<any>>;

interface Readline {
  createInterface(o: { input: unknown; crlfDelay: number }): AsyncIterable<string>;
}

export interface HandleParts {
  ops: Operations;
  stream: StreamFs;
}

export interface RangeOptions {
  keepSize?: boolean;
}

export class FileHandle extends Emitter {
  readonly #ops: Operations;
  readonly #stream: StreamFs;
  #fd: number;
  #busy = 0;
  #locked = false;
  #closing: Promise<void> | undefined;
  #idle: (() => void) | undefined;

  constructor({ ops, stream }: HandleParts, fd: number) {
    super();
    this.#ops = ops;
    this.#stream = stream;
    this.#fd = fd;
    this.close = this.close.bind(this); // Node's is detached, too
  }

  /** The descriptor, -1 once closed. */
  get fd(): number {
    return this.#closing ? -1 : this.#fd;
  }

  read(buffer?: unknown, offset?: unknown, length?: number | null, position?: Position) {
    type Read = { bytesRead: number; buffer: ArrayBufferView };
    return this.#call<Read>('read', buffer, offset, length, position);
  }
  readv(buffers: readonly ArrayBufferView[], position?: number | null) {
    type Read = { bytesRead: number; buffers: ArrayBufferView[] };
    return this.#call<Read>('readv', buffers, position);
  }
  readFile(options?: { encoding?: null; signal?: AbortSignal } | null): Promise<Bytes>;
  readFile(options: string | { encoding: string; signal?: AbortSignal }): Promise<string>;
  readFile(options?: unknown): Promise<string | Bytes> {
    return this.#call('readFile', options);
  }
  stat(options?: { bigint?: false }): Promise<Stats>;
  stat(options: { bigint: true }): Promise<BigIntStats>;
  stat(options?: unknown): Promise<Stats | BigIntStats> {
    return this.#call('fstat', options);
  }
  sync(): Promise<void> {
    return this.#call('fsync');
  }
  datasync(): Promise<void> {
    return this.#call('fdatasync');
  }

  write(data: ArrayBufferView | string, offset?: unknown, length?: unknown, position?: unknown) {
    type Written = { bytesWritten: number; buffer: ArrayBufferView | string };
    return this.#call<Written>('write', data, offset, length, position);
  }
  writev(buffers: readonly ArrayBufferView[], position?: number | null) {
    type Written = { bytesWritten: number; buffers: ArrayBufferView[] };
    return this.#call<Written>('writev', buffers, position);
  }
  writeFile(data: unknown, options?: unknown): Promise<void> {
    return this.#call('writeFile', data, options);
  }
  appendFile(data: unknown, options?: unknown): Promise<void> {
    return this.#call('appendFile', data, options);
  }
  truncate(len = 0): Promise<void> {
    return this.#call('ftruncate', len);
  }
  chmod(mode: number | string): Promise<void> {
    return this.#call('fchmod', mode);
  }
  chown(uid: number, gid: number): Promise<void> {
    return this.#call('fchown', uid, gid);
  }
  utimes(atime: unknown, mtime: unknown): Promise<void> {
    return this.#call('futimes', atime, mtime);
  }

  /** Where the file lies: FIEMAP's records. */
  extents(): Promise<{ lblk: number; pblk: number; count: number; flags: number }[]> {
    return this.#call('extents');
  }
  /** The next position from `pos` on that holds data; ENXIO when there is none. */
  seekData(pos: number | bigint = 0): Promise<number> {
    return this.#call('seekData', pos);
  }
  /** The next position from `pos` on that lies in a hole; the end of the file counts as one. */
  seekHole(pos: number | bigint = 0): Promise<number> {
    return this.#call('seekHole', pos);
  }
  dataPath(): Promise<'dax' | 'journalled' | 'iomap' | 'bufferhead' | 'inline'> {
    return this.#call('dataPath');
  }
  /** A zero-copy lease on [pos, pos + len), to the end of the file without `len`. Release it. */
  view(pos = 0, len?: number | null, options?: { write?: boolean }): Promise<View> {
    return this.#call('view', pos, len, options);
  }
  getxattr(name: string | Bytes): Promise<Bytes> {
    return this.#call('getxattr', name);
  }
  listxattr(options?: string | { encoding?: string }): Promise<string[]> {
    return this.#call('listxattr', options);
  }
  setxattr(name: string | Bytes, bytes: Bytes, options?: { create?: boolean; replace?: boolean }) {
    return this.#call<void>('setxattr', name, bytes, options);
  }
  removexattr(name: string | Bytes): Promise<void> {
    return this.#call('removexattr', name);
  }
  getFlags(): Promise<Flags> {
    return this.#call('getFlags');
  }
  setFlags(flags: Partial<Flags>): Promise<void> {
    return this.#call('setFlags', flags);
  }
  zeroRange(pos: number, len: number, options?: RangeOptions): Promise<void> {
    return this.#call('zeroRange', pos, len, options);
  }
  fallocate(pos: number, len: number, options?: RangeOptions): Promise<void> {
    return this.#call('fallocate', pos, len, options);
  }
  punchHole(pos: number, len: number): Promise<void> {
    return this.#call('punchHole', pos, len);
  }
  collapseRange(pos: number, len: number): Promise<void> {
    return this.#call('collapseRange', pos, len);
  }
  insertRange(pos: number, len: number): Promise<void> {
    return this.#call('insertRange', pos, len);
  }

  /** Node's ReadStream over this file; closing either closes both. Node only. */
  createReadStream(options?: object) {
    return nodeStream('createReadStream', this.#stream, undefined, { ...options, fd: this });
  }
  createWriteStream(options?: object) {
    return nodeStream('createWriteStream', this.#stream, undefined, { ...options, fd: this });
  }
  /** A web stream from where the file stands; it locks the handle and closes it at its end. */
  readableWebStream(options: StreamOptions & { type?: string } = {}): ReadableStream<Bytes> {
    checkUnlocked(this.fd, this.#locked);
    this.#locked = true;
    const ops = { read: (_: number, ...rest: unknown[]) => this.#call('read', ...rest) };
    return streamOf(
      ops as unknown as ReadOps,
      () => this.fd,
      () => this.close(),
      options,
    );
  }
  /** Lines without their ends: Node's readline where there is one, an async iterable anywhere. */
  readLines(options?: StreamOptions): AsyncIterable<string> {
    const readline = builtin<Readline>('readline');
    if (!readline) return linesOf(this.readableWebStream(options));
    const input = this.createReadStream(options);
    return readline.createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
  }

  /** Closes when the calls under way have ended. A second call waits for the first. */
  close(): Promise<void> {
    if (this.#closing) return this.#closing;
    const fd = this.#fd;
    const idle = this.#busy === 0 ? null : new Promise<void>((done) => (this.#idle = done));
    this.#closing = idle ? idle.then(() => this.#ops.close(fd)) : this.#ops.close(fd);
    this.emit('close');
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #call<T>(name: string, ...args: unknown[]): Promise<T> {
    if (this.#closing) throw closedHandle(name);
    this.#busy++;
    try {
      return (await this.#ops[name](this.#fd, ...args)) as T;
    } finally {
      if (--this.#busy === 0) this.#idle?.();
    }
  }
}

function closedHandle(syscall: string): Error {
  return Object.assign(new Error('file closed'), { code: 'EBADF', syscall });
}
