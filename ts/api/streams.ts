// Streams over the operations of a mount. In Node, createReadStream and createWriteStream are Node's own streams
// (ranges, autoClose, events and all) working on this mount; web streams are made here and work everywhere.

import { readOptions } from './encoding.ts';
import { invalidState, notImplemented, outOfRange } from './invalid.ts';
import { toPath } from './paths.ts';
import { builtin, callLater, newBytes } from './platform.ts';
import { checkInteger } from './validate.ts';

/** The promise forms that streams read with. */
export interface ReadOps {
  read(
    fd: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number | null,
  ): Promise<{ bytesRead: number; buffer: Uint8Array }>;
  openFd(path: unknown, flags?: unknown, mode?: unknown): Promise<number>;
  close(fd: number): Promise<void>;
}

// biome-ignore lint/suspicious/noExplicitAny: Node's stream options, passed on as they are
type NodeOptions = any;
type Done = (error: unknown, ...rest: unknown[]) => void;

/** The functions that Node's file streams call; they are a mount's callback forms. */
export interface StreamFs {
  open: unknown;
  read: unknown;
  write: unknown;
  writev: unknown;
  close: unknown;
  fsync: unknown;
}

/** What a FileHandle is to a stream. */
export interface StreamHandle {
  readonly fd: number;
  close(): Promise<void>;
  on(event: string, listener: () => void): unknown;
}

interface NodeFs {
  createReadStream(path: unknown, options: NodeOptions): NodeStream;
  createWriteStream(path: unknown, options: NodeOptions): NodeStream;
}
type NodeStream = { destroy(): void } & NodeJS.ReadableStream & NodeJS.WritableStream;

const CHUNK = 65536;

/** fs.createReadStream or createWriteStream of a mount, given a path or `options.fd`. */
export function nodeStream(
  kind: 'createReadStream' | 'createWriteStream',
  fs: StreamFs,
  path: unknown,
  options: NodeOptions,
): NodeStream {
  const node = builtin<NodeFs>('fs');
  if (!node) throw notImplemented(kind, 'use stream(), or Node 20.16 or newer');
  const given = { ...readOptions<NodeOptions>(options, {}) };
  if (given.fd !== undefined && given.fd !== null) {
    if (isHandle(given.fd)) return handleStream(node, kind, fs, given.fd, given);
    return node[kind](path ?? '', { ...given, fs: given.fs ?? fs });
  }
  const at = toPath(path);
  const named = at.given instanceof Uint8Array ? at.given : at.text;
  return node[kind](named, { ...given, fs: given.fs ?? fs });
}

function isHandle(fd: unknown): fd is StreamHandle {
  return typeof fd === 'object' && fd !== null && 'fd' in fd && 'close' in fd;
}

/** A stream over a FileHandle closes the handle, and ends when the handle is closed. */
function handleStream(
  node: NodeFs,
  kind: 'createReadStream' | 'createWriteStream',
  fs: StreamFs,
  handle: StreamHandle,
  options: NodeOptions,
): NodeStream {
  const close = (_fd: number, done: Done) => {
    handle.close().then(
      () => callLater(done, null),
      (error) => callLater(done, error),
    );
  };
  const stream = node[kind](undefined, { ...options, fd: handle.fd, fs: { ...fs, close } });
  handle.on('close', () => stream.destroy());
  return stream;
}

export interface StreamOptions {
  /** First byte, 0 by default. */
  start?: number;
  /** Last byte, inclusive as in fs.createReadStream. */
  end?: number;
  /** Bytes read at a time. */
  highWaterMark?: number;
  signal?: AbortSignal;
}

/** A web stream of a path's bytes, on every platform. It opens the file when it is first read. */
export function webStream(
  ops: ReadOps,
  path: unknown,
  options: StreamOptions = {},
): ReadableStream<Uint8Array> {
  toPath(path);
  let opened: Promise<number> | undefined;
  const open = () => (opened ??= ops.openFd(path));
  const done = async () => {
    if (opened) await ops.close(await opened);
  };
  return streamOf(ops, open, done, options);
}

/** A web stream of an open file, from where it stands or from `start`; `done` is called once, at its end. */
export function streamOf(
  ops: Pick<ReadOps, 'read'>,
  open: () => number | Promise<number>,
  done: () => unknown,
  { start, end = Number.POSITIVE_INFINITY, highWaterMark = CHUNK, signal }: StreamOptions,
): ReadableStream<Uint8Array> {
  if (start !== undefined) checkInteger(start, 'start', 0);
  if (end !== Number.POSITIVE_INFINITY) checkInteger(end, 'end', 0);
  if (start !== undefined && start > end)
    throw outOfRange('start', `<= "end" (here: ${end})`, start);
  checkInteger(highWaterMark, 'highWaterMark', 1);
  let left = end - (start ?? 0) + 1;
  let pos = start ?? null;
  const next = async (): Promise<Uint8Array> => {
    signal?.throwIfAborted();
    const into = newBytes(Math.min(left, highWaterMark));
    const fd = await open();
    const { bytesRead } = await ops.read(fd, into, 0, into.length, pos);
    left -= bytesRead;
    if (pos !== null) pos += bytesRead;
    return into.subarray(0, bytesRead);
  };
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const bytes = await next();
        if (bytes.length > 0) return controller.enqueue(bytes);
      } catch (error) {
        await Promise.resolve(done()).catch(() => {}); // the first error is the one to tell
        throw error;
      }
      await done();
      controller.close();
    },
    async cancel() {
      await done();
    },
  });
}

/** Lines of a stream, without their ends (LF, CRLF or CR). */
export async function* linesOf(
  stream: ReadableStream<Uint8Array>,
): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder();
  const reader = stream.getReader();
  let rest = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
      // A CR at the end may be half of a CRLF.
      const lines = rest.split(done ? /\r\n|\n|\r/ : /\r\n|\n|\r(?!$)/);
      rest = lines.pop() ?? '';
      yield* lines;
      if (done) break;
    }
    if (rest !== '') yield rest;
  } finally {
    await reader.cancel();
  }
}

/** A handle's stream may be taken once, while it is open. */
export function checkUnlocked(fd: number, locked: boolean): void {
  if (fd === -1) throw invalidState('The FileHandle is closed');
  if (locked) throw invalidState('The FileHandle is locked');
}
