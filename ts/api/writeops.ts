// Operations that put bytes into files: write, writev, writeFile, appendFile, and the fallocate family. On a read-only
// mount no file is open for writing: paths fail when they are opened, descriptors as the kernel refuses them.

import type { FileSystem } from '../vfs/filesystem.ts';
import { openFlags } from './constants.ts';
import { type EncodingOptions, readOptions } from './encoding.ts';
import { invalidType } from './invalid.ts';
import { type Path, toPath } from './paths.ts';
import { refuse } from './refusal.ts';
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
import { ask, type Call, type Operation, type Work } from './work.ts';

interface WriteOptions {
  offset?: number | null;
  length?: number;
  position?: number | null;
}

export const write: Operation = {
  arity: 5,
  names: ['bytesWritten', 'buffer'],
  begin({ vfs }: Call, fd: unknown, buffer: unknown, ...rest: unknown[]) {
    const file = checkFd(fd);
    checkData(buffer, 'buffer');
    if (ArrayBuffer.isView(buffer)) checkWritten(buffer, rest);
    return refuse(vfs, 'write', file);
  },
};

/** (offset, length, position) or one options object: the part of the buffer must lie within it. */
function checkWritten(buffer: ArrayBufferView, rest: unknown[]): void {
  const [first] = rest;
  const options = typeof first === 'object' ? ((first ?? {}) as WriteOptions) : null;
  const offset = options ? options.offset : (first as number | null | undefined);
  const from = offset === null || offset === undefined ? 0 : checkInteger(offset, 'offset', 0);
  const length = options ? options.length : rest[1];
  const len = typeof length === 'number' ? length : buffer.byteLength - from;
  checkWriteRange(from, len, buffer.byteLength);
}

export const writev: Operation = {
  arity: 3,
  names: ['bytesWritten', 'buffers'],
  begin({ vfs, form }: Call, fd: unknown, buffers: unknown) {
    const file = checkFd(fd);
    if (checkViews(buffers).length > 0) return refuse(vfs, 'write', file);
    return nothingWritten(form === 'sync' ? 0 : { bytesWritten: 0, buffers });
  },
};

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
      if (isFd(path)) return refuse(call.vfs, 'write', checkFd(path));
      const at = toPath(path);
      const flags = openFlags(given.flag || flag);
      const mode = checkMode(given.mode, 'mode', 0o666);
      return writeFileWork(call.vfs, at, flags, mode, given.signal);
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

function* writeFileWork(
  vfs: FileSystem,
  at: Path,
  flags: number,
  mode: number,
  signal?: AbortSignal,
): Work<void> {
  checkAbort(signal);
  const fd = yield* ask(vfs.open(at.given, flags, mode), 'open', at.text);
  try {
    yield* refuse(vfs, 'write', fd);
  } finally {
    yield* ask(vfs.close(fd), 'close');
  }
}

/** (fd, pos, len, { keepSize }): zeroRange, fallocate and, without options, the others of the family. */
const rangeOperation: Operation = {
  arity: 4,
  begin({ vfs }: Call, fd: unknown, pos: unknown, len: unknown, options?: unknown) {
    const file = checkFd(fd);
    checkBytes(pos, 'pos');
    checkBytes(len, 'len');
    if (options !== undefined) checkObject(options, 'options');
    return refuse(vfs, 'fallocate', file);
  },
};

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

function* copyRangeWork(vfs: FileSystem, source: number, target: number): Work<number> {
  yield* ask(vfs.fstat(source), 'copy_file_range');
  return yield* refuse(vfs, 'copy_file_range', target);
}
