// createWritable(): a WritableStream that also seeks and truncates (WHATWG FileSystemWritableFileStream). All goes into
// a file beside the target, which takes its place when the stream is closed: until then, and when it is aborted, the
// target is what it was. Owner, mode, attributes and further names of the target stay.

import { domError, rethrow, toDomError } from './domerrors.ts';
import type { Operations } from './filehandle.ts';
import { bytesOf, newBytes } from './platform.ts';
import type { Stats } from './stats.ts';

type Content = string | ArrayBuffer | ArrayBufferView | Blob;

interface Command {
  type: 'write' | 'seek' | 'truncate';
  data?: Content | null;
  position?: number;
  size?: number;
}

export type WriteChunk = Content | Command;

/** What a stream writes to. */
export interface Sink {
  readonly ops: Operations;
  /** Absolute, without links. */
  readonly path: string;
  /** The file beside it, open as `fd`. */
  readonly swap: string;
  readonly fd: number;
  /** Called once, when the swap is gone. */
  readonly done: () => void;
}

/** Where there are no streams, importing this must not fail. */
const Stream = (globalThis.WritableStream ?? Object) as typeof WritableStream<WriteChunk>;

export class FileSystemWritableFileStream extends Stream {
  /** Made by a handle's createWritable(). */
  constructor(sink: Sink) {
    const writer = new SwapWriter(sink);
    super({
      write: (chunk) => writer.take(chunk),
      close: () => writer.close(),
      abort: () => writer.abort(),
    });
  }

  /** Writes where the stream stands, or does what a command says. */
  async write(data: WriteChunk): Promise<void> {
    const writer = this.getWriter();
    try {
      await writer.write(data);
    } finally {
      writer.releaseLock();
    }
  }

  seek(position: number): Promise<void> {
    return this.write({ type: 'seek', position });
  }

  /** Cuts, or extends by zeros. */
  truncate(size: number): Promise<void> {
    return this.write({ type: 'truncate', size });
  }
}

class SwapWriter {
  readonly #sink: Sink;
  #pos = 0;

  constructor(sink: Sink) {
    this.#sink = sink;
  }

  async take(chunk: WriteChunk): Promise<void> {
    try {
      await this.#do(chunk);
    } catch (error) {
      await this.abort();
      throw toDomError(error);
    }
  }

  async #do(chunk: WriteChunk): Promise<void> {
    if (!isCommand(chunk)) return this.#write(await contentOf(chunk));
    switch (chunk.type) {
      case 'write':
        if (chunk.data === undefined) throw domError('SyntaxError');
        if (chunk.position !== undefined) this.#pos = position(chunk.position);
        return this.#write(await contentOf(chunk.data));
      case 'seek':
        this.#pos = position(chunk.position);
        return undefined;
      case 'truncate':
        await this.#sink.ops.ftruncate(this.#sink.fd, position(chunk.size));
        this.#pos = Math.min(this.#pos, position(chunk.size));
        return undefined;
      default:
        throw new TypeError('The command has no known type.');
    }
  }

  async #write(bytes: Uint8Array): Promise<void> {
    const { fd, ops } = this.#sink;
    for (let done = 0; done < bytes.length; ) {
      const part = [bytes, done, bytes.length - done, this.#pos] as const;
      const { bytesWritten } = await ops.write(fd, ...part);
      done += bytesWritten;
      this.#pos += bytesWritten;
    }
  }

  async close(): Promise<void> {
    const { ops, path, swap, fd, done } = this.#sink;
    try {
      const stats: Stats | null = await ops.stat(path).catch(() => null);
      if (stats !== null) await keepAttributes(ops, path, fd, stats);
      await ops.close(fd);
      if (stats === null || stats.nlink === 1) await ops.rename(swap, path);
      else {
        await ops.copyFile(swap, path);
        await ops.unlink(swap);
      }
    } catch (error) {
      await ops.unlink(swap).catch(() => {}); // the first error is the one to tell
      throw toDomError(error);
    } finally {
      done();
    }
  }

  /** The target stays what it was. A second call does nothing. */
  async abort(): Promise<void> {
    const { ops, swap, fd, done } = this.#sink;
    if (this.#pos === -1) return;
    this.#pos = -1;
    await ops.close(fd).catch(() => {});
    await ops.unlink(swap).catch(rethrow);
    done();
  }
}

/** What belongs to the file and not to its contents. */
async function keepAttributes(
  ops: Operations,
  path: string,
  fd: number,
  { mode, uid, gid }: Stats,
): Promise<void> {
  await ops.fchown(fd, uid, gid);
  await ops.fchmod(fd, mode & 0o7777);
  const names: Uint8Array[] = await ops.listxattr(path, { encoding: 'buffer' });
  for (const name of names) await ops.setxattr(fd, name, await ops.getxattr(path, name));
}

function isCommand(chunk: WriteChunk): chunk is Command {
  if (typeof chunk !== 'object' || chunk === null || isBlob(chunk)) return false;
  return !ArrayBuffer.isView(chunk) && !isBuffer(chunk);
}

function isBlob(value: unknown): value is Blob {
  return typeof (value as Blob | null)?.arrayBuffer === 'function';
}

function isBuffer(value: unknown): value is ArrayBuffer {
  return /^\[object (Shared)?ArrayBuffer\]$/.test(Object.prototype.toString.call(value));
}

/** The bytes to write; a copy, where the caller could change them meanwhile. */
async function contentOf(data: Content | null): Promise<Uint8Array> {
  if (typeof data === 'string') return new TextEncoder().encode(data);
  if (isBlob(data)) return new Uint8Array(await data.arrayBuffer());
  const bytes = sourceBytes(data);
  const copy = newBytes(bytes.length);
  copy.set(bytes);
  return copy;
}

/** The bytes of a BufferSource, as they lie. TypeError. */
export function sourceBytes(data: unknown): Uint8Array {
  if (ArrayBuffer.isView(data)) return bytesOf(data);
  if (isBuffer(data)) return new Uint8Array(data);
  throw new TypeError('The data is no string, Blob, ArrayBuffer or view of one.');
}

/** A byte position or size that a command must have. */
function position(value: number | undefined): number {
  if (value === undefined) throw domError('SyntaxError');
  const whole = Math.trunc(Number(value));
  if (!(whole >= 0 && whole <= Number.MAX_SAFE_INTEGER))
    throw new TypeError('A position is a whole number from 0.');
  return whole;
}
