// Operations that put bytes into files: write, writev, writeFile, appendFile, and the fallocate family. On a read-only
// mount no file is open for writing: paths fail when they are opened, descriptors as the kernel refuses them. On
// others only empty data can be written yet; anything else is refused before a file is made or emptied.

import { Ext4Error } from '../errno.ts';
import type { FileSystem } from '../vfs/filesystem.ts';
import { openFlags } from './constants.ts';
import { type EncodingOptions, readOptions } from './encoding.ts';
import { invalidType } from './invalid.ts';
import { type Path, toPath } from './paths.ts';
import { dataRefused, isWritable, refuse, writeNothing } from './refusal.ts';
import {
  checkAbort,
  checkBoolean,
  checkBytes,
  checkData,
  checkFd,
  checkInteger,
  checkMode,
  checkObject,
  checkViews,
  checkWriteRange,
  isFd,
} from './validate.ts';
import { ask, type Call, nameError, type Operation, type Work } from './work.ts';

interface WriteOptions {
  offset?: number | null;
  length?: number;
  position?: number | null;
}

export const write: Operation = {
  arity: 5,
  names: ['bytesWritten', 'buffer'],
  begin({ vfs, form }: Call, fd: unknown, buffer: unknown, ...rest: unknown[]) {
    const file = checkFd(fd);
    checkData(buffer, 'buffer');
    const count = ArrayBuffer.isView(buffer) ? checkWritten(buffer, rest) : sizeOf(buffer);
    return writeWork(vfs, file, buffer, count, form === 'sync');
  },
};

function* writeWork(vfs: FileSystem, fd: number, buffer: unknown, count: number, plain: boolean) {
  yield* writeNothing(vfs, fd, count);
  return plain ? 0 : { bytesWritten: 0, buffer };
}

/** Bytes of what may be written: 0 only for what is certainly empty. */
function sizeOf(data: unknown): number {
  if (ArrayBuffer.isView(data)) return data.byteLength;
  return typeof data === 'string' ? data.length : 1;
}

/** (offset, length, position) or one options object: the part of the buffer must lie within it; its bytes. */
function checkWritten(buffer: ArrayBufferView, rest: unknown[]): number {
  const [first] = rest;
  const options = typeof first === 'object' ? ((first ?? {}) as WriteOptions) : null;
  const offset = options ? options.offset : (first as number | null | undefined);
  const from = offset === null || offset === undefined ? 0 : checkInteger(offset, 'offset', 0);
  const length = options ? options.length : rest[1];
  const len = typeof length === 'number' ? length : buffer.byteLength - from;
  checkWriteRange(from, len, buffer.byteLength);
  return len;
}

export const writev: Operation = {
  arity: 3,
  names: ['bytesWritten', 'buffers'],
  begin({ vfs, form }: Call, fd: unknown, buffers: unknown) {
    const file = checkFd(fd);
    const views = checkViews(buffers);
    const plain = form === 'sync';
    if (views.length === 0) return nothingWritten(plain ? 0 : { bytesWritten: 0, buffers });
    return writevWork(vfs, file, views, plain);
  },
};

function* writevWork(vfs: FileSystem, fd: number, buffers: ArrayBufferView[], plain: boolean) {
  const count = buffers.reduce((sum, view) => sum + view.byteLength, 0);
  yield* writeNothing(vfs, fd, count);
  return plain ? 0 : { bytesWritten: 0, buffers };
}

/** Node does not even look at the descriptor then. */
function* nothingWritten<T>(result: T): Work<T> {
  return result;
}

interface WriteFileOptions extends EncodingOptions {
  mode?: number | string;
  flag?: string;
  flush?: boolean;
}

function writingFile(flag: 'w' | 'a'): Operation {
  return {
    arity: 3,
    begin(call: Call, path: unknown, data: unknown, options?: unknown) {
      const given = readOptions<WriteFileOptions>(options, { mode: 0o666, flag });
      checkBoolean(given.flush ?? false, 'options.flush');
      if (call.form !== 'promise' || !isIterable(data)) checkData(data, 'data');
      const { signal, flush } = given;
      if (isFd(path)) return writeFdWork(call.vfs, checkFd(path), sizeOf(data), given);
      const at = toPath(path);
      const flags = openFlags(given.flag || flag);
      const mode = checkMode(given.mode, 'mode', 0o666);
      return writeFileWork(call.vfs, { at, flags, mode, count: sizeOf(data), signal, flush });
    },
  };
}

export const writeFile = writingFile('w');
export const appendFile = writingFile('a');

/** Streams and generators, which the promise form takes. */
function isIterable(data: unknown): boolean {
  if (typeof data !== 'object' || data === null || ArrayBuffer.isView(data)) return false;
  return Symbol.asyncIterator in data || Symbol.iterator in data;
}

interface Writing {
  at: Path;
  flags: number;
  mode: number;
  /** Bytes to be written. */
  count: number;
  signal?: AbortSignal;
  flush?: boolean;
}

function* writeFileWork(vfs: FileSystem, w: Writing): Work<void> {
  checkAbort(w.signal);
  const { at, count } = w;
  if (!vfs.readOnly && count > 0) throw dataRefused('write', { path: at.text });
  const fd = yield* ask(vfs.open(at.given, w.flags, w.mode), 'open', at.text);
  try {
    yield* writeFdWork(vfs, fd, count, w);
  } finally {
    yield* ask(vfs.close(fd), 'close');
  }
}

/** Empty data is written without a look at how the file was opened. */
function* writeFdWork(
  vfs: FileSystem,
  fd: number,
  count: number,
  { signal, flush }: Pick<Writing, 'signal' | 'flush'>,
): Work<void> {
  checkAbort(signal);
  if (count > 0 || vfs.readOnly) yield* writeNothing(vfs, fd, count);
  if (flush) yield* ask(vfs.syncAll(), 'fsync');
}

/** (fd, pos, len, { keepSize }): zeroRange, fallocate and, without options, the others of the family. */
const rangeOperation: Operation = {
  arity: 4,
  begin({ vfs }: Call, fd: unknown, pos: unknown, len: unknown, options?: unknown) {
    const file = checkFd(fd);
    checkBytes(pos, 'pos');
    checkBytes(len, 'len');
    if (options !== undefined) checkObject(options, 'options');
    return notYet(vfs, 'fallocate', file);
  },
};

/** What changes data: EBADF for a file that is not open for writing. */
function* notYet(vfs: FileSystem, syscall: 'fallocate' | 'copy_file_range', fd: number) {
  if (vfs.readOnly) yield* refuse(vfs, syscall, fd);
  yield* ask(vfs.fstat(fd), syscall);
  if (!isWritable(vfs, fd)) throw nameError(new Ext4Error('EBADF'), { syscall });
  throw dataRefused(syscall);
}

export const zeroRange = rangeOperation;
export const fallocate = rangeOperation;
export const punchHole = { ...rangeOperation, arity: 3 };
export const collapseRange = { ...rangeOperation, arity: 3 };
export const insertRange = { ...rangeOperation, arity: 3 };

export const copyRange: Operation = {
  arity: 5,
  begin(
    { vfs }: Call,
    fdIn: unknown,
    posIn: unknown,
    fdOut: unknown,
    posOut: unknown,
    len: unknown,
  ) {
    const source = fdOf(fdIn, 'fdIn');
    const target = fdOf(fdOut, 'fdOut');
    checkBytes(posIn, 'posIn');
    checkBytes(posOut, 'posOut');
    checkBytes(len, 'len');
    return copyRangeWork(vfs, source, target);
  },
};

/** A descriptor, or a FileHandle, which has one. */
function fdOf(value: unknown, name: string): number {
  const fd = typeof value === 'object' && value !== null && 'fd' in value ? value.fd : value;
  if (typeof fd !== 'number') throw invalidType(name, ['number', 'FileHandle'], value);
  return checkFd(fd);
}

function* copyRangeWork(vfs: FileSystem, source: number, target: number): Work<void> {
  yield* ask(vfs.fstat(source), 'copy_file_range');
  yield* notYet(vfs, 'copy_file_range', target);
}
