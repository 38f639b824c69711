// Operations that put bytes into open files, and what belongs to them: write, writev, the fallocate family and
// copyRange. Arguments are checked in Node's order; whether a file may be written is the core's to say.

import type { FallocateMode } from '../ext4/fallocate.ts';
import type { FileSystem } from '../vfs/filesystem.ts';
import { encodeText, isEncoding } from './encoding.ts';
import { invalidType, invalidValue } from './invalid.ts';
import { bytesOf } from './platform.ts';
import {
  checkBoolean,
  checkBytes,
  checkData,
  checkFd,
  checkInteger,
  checkObject,
  checkViews,
  checkWriteRange,
  writePosition,
} from './validate.ts';
import { ask, type Call, type Operation, type Work } from './work.ts';

interface WriteOptions {
  offset?: number | null;
  length?: number;
  position?: number | null;
}

/** What one write takes, and where it goes. */
export interface WritePlan {
  from: Uint8Array;
  pos: number | null;
}

/**
 * The arguments after fd, in all the shapes Node takes: (buffer, offset, length, position), (buffer, options) and
 * (text, position, encoding).
 */
export function planWrite(buffer: unknown, ...rest: unknown[]): WritePlan {
  checkData(buffer, 'buffer');
  if (typeof buffer === 'string') return planText(buffer, rest[0], rest[1]);
  const view = buffer as ArrayBufferView;
  let [offset, length, position] = rest;
  // A null in the place of an offset is an empty object of options, which has no position.
  if (typeof offset === 'object') ({ offset, length, position } = (offset ?? {}) as WriteOptions);
  const from = offset === null || offset === undefined ? 0 : checkInteger(offset, 'offset', 0);
  const len = typeof length === 'number' ? length : view.byteLength - from;
  checkWriteRange(from, len, view.byteLength);
  return { from: bytesOf(view, from, len), pos: writePosition(position) };
}

function planText(text: string, position: unknown, encoding: unknown): WritePlan {
  const known = isEncoding(encoding) ? (encoding as string) : 'utf8';
  if (known.toLowerCase() === 'hex' && text.length % 2 === 1)
    throw invalidValue('encoding', encoding, `is invalid for data of length ${text.length}`);
  return { from: encodeText(text, known), pos: writePosition(position) };
}

export const write: Operation = {
  arity: 5,
  names: ['bytesWritten', 'buffer'],
  begin({ vfs, form }: Call, fd: unknown, buffer: unknown, ...rest: unknown[]) {
    const file = checkFd(fd);
    return writeWork(vfs, file, planWrite(buffer, ...rest), form === 'sync' ? null : buffer);
  },
};

/** `buffer` is what the asynchronous forms give back beside the count. */
function* writeWork(vfs: FileSystem, fd: number, { from, pos }: WritePlan, buffer: unknown) {
  const bytesWritten = yield* ask(vfs.data.write(fd, from, pos), 'write');
  return buffer === null ? bytesWritten : { bytesWritten, buffer };
}

export const writev: Operation = {
  arity: 3,
  names: ['bytesWritten', 'buffers'],
  begin({ vfs, form }: Call, fd: unknown, buffers: unknown, position?: unknown) {
    const file = checkFd(fd);
    const views = checkViews(buffers);
    return writevWork(vfs, file, views, { pos: writePosition(position), plain: form === 'sync' });
  },
};

interface How {
  pos: number | null;
  plain: boolean;
}

/** Without buffers Node does not even look at the descriptor. */
function* writevWork(vfs: FileSystem, fd: number, buffers: ArrayBufferView[], how: How) {
  const parts = buffers.map((view) => bytesOf(view));
  const flow = vfs.data.writev(fd, parts, how.pos);
  const bytesWritten = parts.length === 0 ? 0 : yield* ask(flow, 'write');
  return how.plain ? bytesWritten : { bytesWritten, buffers };
}

/** (fd, pos, len, { keepSize }): zeroRange, fallocate and, without options, the others of the family. */
function changingRange(mode: FallocateMode, arity: 3 | 4): Operation {
  return {
    arity,
    begin({ vfs }: Call, file: unknown, pos: unknown, len: unknown, options?: unknown) {
      const fd = fdOf(file, 'fd');
      const from = checkBytes(pos, 'pos');
      const count = checkBytes(len, 'len');
      const keepSize = arity === 4 ? checkKeepSize(options) : mode === 'punch';
      return ask(vfs.data.fallocate(fd, mode, from, count, keepSize), 'fallocate');
    },
  };
}

function checkKeepSize(options: unknown): boolean {
  if (options === undefined) return false;
  checkObject(options, 'options');
  const { keepSize = false } = options as { keepSize?: boolean };
  return checkBoolean(keepSize, 'options.keepSize');
}

export const zeroRange = changingRange('zero', 4);
export const fallocate = changingRange('alloc', 4);
export const punchHole = changingRange('punch', 3);
export const collapseRange = changingRange('collapse', 3);
export const insertRange = changingRange('insert', 3);

export const copyRange: Operation = {
  arity: 5,
  begin(
    { vfs }: Call,
    fdIn: unknown,
    posIn: unknown,
    fdOut: unknown,
    posOut: unknown,
    len: unknown,
  ): Work<number> {
    const source = fdOf(fdIn, 'fdIn');
    const target = fdOf(fdOut, 'fdOut');
    const [from, to] = [checkBytes(posIn, 'posIn'), checkBytes(posOut, 'posOut')];
    const flow = vfs.data.copyRange(source, from, target, to, checkBytes(len, 'len'));
    return ask(flow, 'copy_file_range');
  },
};

/** A descriptor, or a FileHandle, which has one. */
function fdOf(value: unknown, name: string): number {
  const fd = typeof value === 'object' && value !== null && 'fd' in value ? value.fd : value;
  if (typeof fd !== 'number') throw invalidType(name, ['number', 'FileHandle'], value);
  return checkFd(fd);
}
