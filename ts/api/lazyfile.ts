// LazyFile: what getFile() gives, with the methods of a File. A Blob of the platform would have to hold all
// bytes; this one holds a path and a range and reads when asked. A real one: new Blob([await f.arrayBuffer()]).

import type { Operations } from './filehandle.ts';
import { streamOf } from './streams.ts';

/** Where the bytes come from. */
interface Source {
  ops: Operations;
  path: string;
}

interface Named {
  name: string;
  lastModified: number;
}

const CHUNK = 65536;

export class LazyFile {
  readonly size: number;
  readonly type: string;
  readonly name: string;
  readonly lastModified: number;
  readonly webkitRelativePath = '';
  readonly #source: Source;
  readonly #from: number;

  constructor(source: Source, from: number, size: number, named: Named, type = '') {
    this.#source = source;
    this.#from = from;
    this.size = size;
    this.type = type;
    this.name = named.name;
    this.lastModified = Math.round(named.lastModified);
  }

  /** A part of the same file; negative positions count from its end, as in Blob. */
  slice(start = 0, end = this.size, type = ''): LazyFile {
    const first = clamp(start, this.size);
    const len = Math.max(0, clamp(end, this.size) - first);
    return new LazyFile(this.#source, this.#from + first, len, this, type.toLowerCase());
  }

  /** The bytes, never shared memory. */
  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    const { ops, path } = this.#source;
    const fd: number = await ops.openFd(path);
    try {
      const into = new Uint8Array(this.size);
      for (let done = 0; done < into.length; ) {
        const left = into.length - done;
        const { bytesRead } = await ops.read(fd, into, done, left, this.#from + done);
        if (bytesRead === 0) return into.slice(0, done);
        done += bytesRead;
      }
      return into;
    } finally {
      await ops.close(fd);
    }
  }

  async arrayBuffer(): Promise<ArrayBuffer> {
    return (await this.bytes()).buffer;
  }

  /** UTF-8, without a byte order mark, as Blob.text(). */
  async text(): Promise<string> {
    return new TextDecoder().decode(await this.bytes());
  }

  stream(): ReadableStream<Uint8Array> {
    const { ops, path } = this.#source;
    let opened: Promise<number> | undefined;
    const open = () => (opened ??= ops.openFd(path));
    const close = async () => {
      if (opened) await ops.close(await opened);
    };
    const read = ops.read as never;
    if (this.size === 0) return new ReadableStream({ start: (controller) => controller.close() });
    const range = { start: this.#from, end: this.#from + this.size - 1, highWaterMark: CHUNK };
    return streamOf({ read }, open, close, range);
  }

  get [Symbol.toStringTag](): string {
    return 'File';
  }
}

function clamp(pos: number, size: number): number {
  const whole = Math.trunc(pos) || 0;
  return whole < 0 ? Math.max(size + whole, 0) : Math.min(whole, size);
}
