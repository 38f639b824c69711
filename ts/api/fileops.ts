// Operations on open files: open, close, read, readv, readFile, fsync. Reading takes a caller's buffer where one is
// given and never copies twice. readSync and writeSync are not here: they are hot paths and stand in syncops.ts.

import { Ext4Error } from '../errno.ts';
import type { FileSystem } from '../vfs/filesystem.ts';
import { constants, openFlags } from './constants.ts';
import { decodeContents, type EncodingOptions, readOptions } from './encoding.ts';
import { fileTooLarge, invalidValue } from './invalid.ts';
import { toPath } from './paths.ts';
import { bytesOf, newBytes } from './platform.ts';
import {
  checkAbort,
  checkFd,
  checkInteger,
  checkMode,
  checkObject,
  checkReadRange,
  checkView,
  checkViews,
  isFd,
  readPosition,
} from './validate.ts';
import { ask, type Call, nameError, type Operation, type Work } from './work.ts';

const DEFAULT_MODE = 0o666;
const DEFAULT_BUFFER = 16384;
export const MAX_FILE = 2 ** 31 - 1; // what node:fs reads into one Buffer
const UNKNOWN_CHUNK = 65536;
const ABORTABLE_CHUNK = 1 << 20;

export const open: Operation = {
  arity: 3,
  begin(call: Call, path: unknown, flags?: unknown, mode?: unknown) {
    const at = toPath(path);
    const bits = openFlags(flags);
    const permissions = checkMode(mode, 'mode', DEFAULT_MODE);
    return openWork(call, ask(call.vfs.open(at.given, bits, permissions), 'open', at.text));
  },
};

function* openWork(call: Call, asked: Work<number>): Work<number | object> {
  const fd = yield* asked;
  return call.form === 'promise' ? call.makeHandle(fd) : fd;
}

export const close: Operation = {
  arity: 1,
  mayDrop: true,
  begin({ vfs }: Call, fd: unknown) {
    return ask(vfs.close(checkFd(fd)), 'close');
  },
};

function syncing(syscall: 'fsync' | 'fdatasync'): Operation {
  return {
    arity: 1,
    begin({ vfs }: Call, fd: unknown) {
      return ask(vfs.data.fsync(checkFd(fd), syscall === 'fdatasync'), syscall);
    },
  };
}

/** What was written to the file and is known of it is durable afterwards. */
export const fsync = syncing('fsync');
export const fdatasync = syncing('fdatasync');

interface ReadOptions {
  buffer?: ArrayBufferView;
  offset?: number | null;
  length?: number;
  position?: number | bigint | null;
}

/** What one read fills, and from where. `into` is null when there is nothing to read. */
export interface ReadPlan {
  buffer: ArrayBufferView;
  into: Uint8Array | null;
  pos: number | null;
}

/**
 * The arguments after fd, in all the shapes Node takes: (buffer, offset, length, position), (buffer, options),
 * (options) and nothing at all.
 */
export function planRead(
  buffer: unknown,
  offset: unknown,
  length: unknown,
  position: unknown,
): ReadPlan {
  let view = buffer as ArrayBufferView;
  if (offset === undefined && length === undefined && !ArrayBuffer.isView(buffer)) {
    if (buffer !== undefined && buffer !== null) checkObject(buffer, 'options');
    const given = (buffer ?? {}) as ReadOptions;
    view = given.buffer ?? newBytes(DEFAULT_BUFFER).fill(0);
    ({ offset, length, position } = given);
  } else if (offset !== null && typeof offset === 'object') {
    ({ offset, length, position } = offset as ReadOptions);
  }
  checkView(view);
  const from = offset === null || offset === undefined ? 0 : checkInteger(offset, 'offset', 0);
  const len = length === undefined || length === null ? view.byteLength - from : Number(length) | 0;
  if (len === 0) return { buffer: view, into: null, pos: null };
  if (view.byteLength === 0) throw invalidValue('buffer', view, 'is empty and cannot be written');
  checkReadRange(from, len, view.byteLength);
  return { buffer: view, into: bytesOf(view, from, len), pos: readPosition(position) };
}

export const read: Operation = {
  arity: 5,
  names: ['bytesRead', 'buffer'],
  begin(
    { vfs }: Call,
    fd: unknown,
    buffer?: unknown,
    offset?: unknown,
    length?: unknown,
    position?: unknown,
  ) {
    const file = checkFd(fd);
    return readWork(vfs, file, planRead(buffer, offset, length, position));
  },
};

function* readWork(
  vfs: FileSystem,
  fd: number,
  { buffer, into, pos }: ReadPlan,
): Work<{ bytesRead: number; buffer: ArrayBufferView }> {
  const bytesRead = into === null ? 0 : yield* ask(vfs.read(fd, into, pos), 'read');
  return { bytesRead, buffer };
}

export const readv: Operation = {
  arity: 3,
  names: ['bytesRead', 'buffers'],
  begin({ vfs, form }: Call, fd: unknown, buffers: unknown, position?: unknown) {
    const file = checkFd(fd);
    const pos = typeof position === 'number' && position >= 0 ? position : null;
    return readvWork(vfs, file, checkViews(buffers), pos, form === 'sync');
  },
};

function* readvWork(
  vfs: FileSystem,
  fd: number,
  buffers: ArrayBufferView[],
  pos: number | null,
  plain: boolean,
): Work<number | { bytesRead: number; buffers: ArrayBufferView[] }> {
  if (buffers.length === 0) throw nameError(new Ext4Error('EINVAL'), { syscall: 'read' });
  let bytesRead = 0;
  for (const buffer of buffers) {
    if (buffer.byteLength === 0) continue;
    const at = pos === null ? null : pos + bytesRead;
    const count = yield* ask(vfs.read(fd, bytesOf(buffer), at), 'read');
    bytesRead += count;
    if (count < buffer.byteLength) break;
  }
  return plain ? bytesRead : { bytesRead, buffers };
}

interface ReadFileOptions extends EncodingOptions {
  flag?: string;
}

/** The whole of a path, or the rest of an fd from where it stands. */
export const readFile: Operation = {
  arity: 2,
  begin(call: Call, path: unknown, options?: unknown) {
    const given = readOptions<ReadFileOptions>(options, { flag: 'r' });
    if (isFd(path)) return restOfFile(call.vfs, checkFd(path), given);
    const name = call.form === 'callback' ? 'options.flag' : 'flags';
    const flags = openFlags(given.flag || 'r', name);
    checkAbortLater(call, given.signal);
    const at = toPath(path);
    const opened = ask(call.vfs.open(at.given, flags, DEFAULT_MODE), 'open', at.text);
    return wholeFile(call.vfs, opened, given);
  },
};

/** The synchronous form takes no signal, as in Node. */
function checkAbortLater(call: Call, signal?: AbortSignal): void {
  if (call.form === 'promise') checkAbort(signal);
}

function* wholeFile(
  vfs: FileSystem,
  opened: Work<number>,
  options: ReadFileOptions,
): Work<string | Uint8Array> {
  checkAbort(options.signal);
  const fd = yield* opened;
  try {
    return yield* restOfFile(vfs, fd, options);
  } finally {
    yield* ask(vfs.close(fd), 'close');
  }
}

function* restOfFile(
  vfs: FileSystem,
  fd: number,
  { encoding, signal }: ReadFileOptions,
): Work<string | Uint8Array> {
  checkAbort(signal);
  const { mode, size } = yield* ask(vfs.fstat(fd), 'fstat');
  const known = (mode & constants.S_IFMT) === constants.S_IFREG ? size : 0;
  if (known > MAX_FILE) throw fileTooLarge(known);
  const bytes =
    known > 0 ? yield* readKnown(vfs, fd, known, signal) : yield* readUnknown(vfs, fd, signal);
  return decodeContents(bytes, encoding);
}

function* readKnown(
  vfs: FileSystem,
  fd: number,
  size: number,
  signal?: AbortSignal,
): Work<Uint8Array> {
  const bytes = newBytes(size);
  const chunk = signal ? ABORTABLE_CHUNK : size;
  let done = 0;
  while (done < size) {
    checkAbort(signal);
    const into = done === 0 && chunk >= size ? bytes : bytes.subarray(done, done + chunk);
    const count = yield* ask(vfs.read(fd, into, null), 'read');
    if (count === 0) break;
    done += count;
  }
  checkAbort(signal);
  return done === size ? bytes : bytes.subarray(0, done);
}

/** What has no size, or says it has none: read until the end. */
function* readUnknown(vfs: FileSystem, fd: number, signal?: AbortSignal): Work<Uint8Array> {
  const parts: Uint8Array[] = [];
  let len = 0;
  for (;;) {
    checkAbort(signal);
    const into = newBytes(UNKNOWN_CHUNK);
    const count = yield* ask(vfs.read(fd, into, null), 'read');
    if (count === 0) break;
    parts.push(into.subarray(0, count));
    len += count;
  }
  if (parts.length === 1) return parts[0];
  const bytes = newBytes(len);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
