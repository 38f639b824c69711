// createSyncAccessHandle(): reads and writes one file inside the call (WHATWG FileSystemSyncAccessHandle), on mounts
// that are synchronous. It has the file for itself unless its mode says otherwise.

import type { FileSystem } from '../vfs/filesystem.ts';
import { domError, toDomError } from './domerrors.ts';
import { sourceBytes } from './writable.ts';

export interface AtOptions {
  /** Byte position; where the handle stands when left out. */
  at?: number;
}

/** An open file, and what is to be called when the handle is closed. */
export interface Access {
  readonly vfs: FileSystem;
  readonly fd: number;
  readonly mode: 'readwrite' | 'read-only' | 'readwrite-unsafe';
  readonly done: () => void;
}

export class FileSystemSyncAccessHandle {
  readonly mode: Access['mode'];
  readonly #vfs: FileSystem;
  readonly #fd: number;
  readonly #done: () => void;
  #pos = 0;
  #open = true;

  /** Made by a handle's createSyncAccessHandle(). */
  constructor({ vfs, fd, mode, done }: Access) {
    this.#vfs = vfs;
    this.#fd = fd;
    this.mode = mode;
    this.#done = done;
  }

  /** Bytes read; 0 at the end of the file. */
  read(buffer: ArrayBuffer | ArrayBufferView, options: AtOptions = {}): number {
    const into = sourceBytes(buffer);
    return this.#at(options, (pos) => this.#vfs.readSync(this.#fd, into, 0, into.length, pos));
  }

  /** Bytes written: all of them, or QuotaExceededError where there is no room for any. */
  write(buffer: ArrayBuffer | ArrayBufferView, options: AtOptions = {}): number {
    this.#checkWritable();
    const from = sourceBytes(buffer);
    return this.#at(options, (pos) =>
      from.length === 0 ? 0 : this.#vfs.writeSync(this.#fd, from, 0, from.length, pos),
    );
  }

  truncate(newSize: number): void {
    this.#checkWritable();
    const size = whole(newSize);
    this.#run(() => this.#vfs.runSync(this.#vfs.data.truncate(this.#fd, size)));
    this.#pos = Math.min(this.#pos, size);
  }

  getSize(): number {
    return this.#run(() => this.#vfs.runSync(this.#vfs.fstat(this.#fd))).size;
  }

  /** All that was written is durable afterwards. */
  flush(): void {
    if (this.mode === 'read-only') return;
    this.#run(() => this.#vfs.runSync(this.#vfs.data.fsync(this.#fd, true)));
  }

  /** A second call does nothing. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    try {
      this.#vfs.closeSync(this.#fd);
    } finally {
      this.#done();
    }
  }

  #at({ at }: AtOptions, move: (pos: number) => number): number {
    const pos = at === undefined ? this.#pos : whole(at);
    const count = this.#run(() => move(pos));
    this.#pos = pos + count;
    return count;
  }

  #checkWritable(): void {
    if (this.mode === 'read-only') throw domError('NoModificationAllowedError');
  }

  #run<T>(call: () => T): T {
    if (!this.#open) throw domError('InvalidStateError');
    try {
      return call();
    } catch (error) {
      throw toDomError(error);
    }
  }
}

/** A position or a size. */
function whole(value: number): number {
  const number = Math.trunc(Number(value));
  if (number >= 0 && number <= Number.MAX_SAFE_INTEGER) return number;
  throw new TypeError('A position is a whole number from 0.');
}
