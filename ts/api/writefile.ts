// writeFile and appendFile: text, bytes and, in the promise form, streams and generators into a path or an open file.
// A write that comes back short is followed by another, until all is written or one fails.

import type { Ext4Error } from '../errno.ts';
import type { FileSystem } from '../vfs/filesystem.ts';
import { openFlags } from './constants.ts';
import { type EncodingOptions, encodeText, readOptions } from './encoding.ts';
import { invalidType } from './invalid.ts';
import { type Path, toPath } from './paths.ts';
import { bytesOf } from './platform.ts';
import { checkAbort, checkBoolean, checkData, checkFd, checkMode, isFd } from './validate.ts';
import { ask, type Call, type Operation, type Work, wait } from './work.ts';

interface WriteFileOptions extends EncodingOptions {
  mode?: number | string;
  flag?: string;
  flush?: boolean;
}

/** What is written at once where a signal may fire meanwhile; as in Node. */
const ABORTABLE_CHUNK = 512 << 10;

function writingFile(flag: 'w' | 'a'): Operation {
  return {
    arity: 3,
    begin(call: Call, path: unknown, data: unknown, options?: unknown) {
      const given = readOptions<WriteFileOptions>(options, { mode: 0o666, flag });
      checkBoolean(given.flush ?? false, 'options.flush');
      const source = sourceOf(call, data, given.encoding);
      const always = call.form === 'callback';
      if (isFd(path)) return intoFile(call.vfs, checkFd(path), { source, always, ...given });
      const at = toPath(path);
      const flags = openFlags(given.flag || flag);
      const mode = checkMode(given.mode, 'mode', 0o666);
      return intoPath(call.vfs, at, { source, always, ...given, flags, mode });
    },
  };
}

export const writeFile = writingFile('w');
export const appendFile = writingFile('a');

/** Bytes, or what gives them piece by piece. */
type Source = Uint8Array | Pieces;

interface Pieces {
  next(): unknown;
  return(): unknown;
  encoding: string;
}

function sourceOf(call: Call, data: unknown, encoding?: string | null): Source {
  const text = encoding || 'utf8';
  if (call.form === 'promise' && isIterable(data)) return piecesOf(data, text);
  checkData(data, 'data');
  return toBytes(data, text);
}

function isIterable(data: unknown): data is object {
  if (typeof data !== 'object' || data === null || ArrayBuffer.isView(data)) return false;
  return Symbol.asyncIterator in data || Symbol.iterator in data;
}

function piecesOf(data: object, encoding: string): Pieces {
  let iterator: Iterator<unknown> | AsyncIterator<unknown> | undefined;
  const begin = () => {
    const from = data as AsyncIterable<unknown> & Iterable<unknown>;
    iterator ??= (from[Symbol.asyncIterator] ?? from[Symbol.iterator]).call(from);
    return iterator as Iterator<unknown>;
  };
  return { next: () => begin().next(), return: () => iterator?.return?.(), encoding };
}

function toBytes(data: unknown, encoding: string): Uint8Array {
  if (typeof data === 'string') return encodeText(data, encoding);
  if (ArrayBuffer.isView(data)) return bytesOf(data);
  throw invalidType('data', ['string', 'Buffer', 'TypedArray', 'DataView'], data);
}

interface Writing {
  source: Source;
  /** Empty data is written too, and fails where the file cannot be written: so Node's callback form. */
  always: boolean;
  signal?: AbortSignal;
  flush?: boolean;
}

interface WritingPath extends Writing {
  flags: number;
  mode: number;
}

function* intoPath(vfs: FileSystem, at: Path, w: WritingPath): Work<void> {
  checkAbort(w.signal);
  const fd = yield* ask(vfs.open(at.given, w.flags, w.mode), 'open', at.text);
  try {
    yield* intoFile(vfs, fd, w);
  } finally {
    yield* ask(vfs.close(fd), 'close');
  }
}

function* intoFile(vfs: FileSystem, fd: number, w: Writing): Work<void> {
  checkAbort(w.signal);
  const { source } = w;
  if (ArrayBuffer.isView(source)) {
    if (source.length === 0 && w.always) yield* ask(vfs.data.write(fd, source, null), 'write');
    yield* writeAll(vfs, fd, source, w.signal);
  } else yield* writePieces(vfs, fd, source, w.signal);
  if (w.flush) yield* ask(vfs.data.fsync(fd, false), 'fsync');
}

function* writeAll(
  vfs: FileSystem,
  fd: number,
  bytes: Uint8Array,
  signal?: AbortSignal,
): Work<void> {
  const most = signal ? ABORTABLE_CHUNK : bytes.length;
  for (let done = 0; done < bytes.length; ) {
    checkAbort(signal);
    const part = bytes.length - done > most ? bytes.subarray(done, done + most) : rest(bytes, done);
    done += yield* ask(vfs.data.write(fd, part, null), 'write');
  }
}

const rest = (bytes: Uint8Array, from: number): Uint8Array =>
  from === 0 ? bytes : bytes.subarray(from);

/** What gives the pieces is told when one cannot be written. */
function* writePieces(
  vfs: FileSystem,
  fd: number,
  source: Pieces,
  signal?: AbortSignal,
): Work<void> {
  for (;;) {
    const { done, value } = yield* wait<IteratorResult<unknown>>(source.next());
    if (done) return;
    try {
      checkAbort(signal);
      yield* writeAll(vfs, fd, toBytes(yield* wait(value), source.encoding), signal);
      checkAbort(signal);
    } catch (error) {
      yield* wait(source.return());
      throw error as Ext4Error;
    }
  }
}
