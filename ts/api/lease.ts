// View: a zero-copy lease on part of a file, as users hold it. Its pages stay pinned until it is released, so release
// it (`using`, or release()). The bytes are shared memory where the mount's memory is; copy() gives bytes of one's own.

import type { FileSystem } from '../vfs/filesystem.ts';
import type { Lease } from '../vfs/lease.ts';
import { newBytes } from './platform.ts';
import { checkBytes } from './validate.ts';
import { nameError } from './work.ts';

export class View {
  /** The whole range, or null when it cannot be made contiguous: then see `segments`. */
  readonly bytes: Uint8Array | null;
  readonly #lease: Lease;
  readonly #vfs: FileSystem;

  constructor(lease: Lease, vfs: FileSystem) {
    this.bytes = lease.bytes;
    this.#lease = lease;
    this.#vfs = vfs;
  }

  get segments(): readonly Uint8Array[] {
    return this.#lease.segments;
  }

  /** Whether the bytes are the cache's own (or the image's), not a copy. */
  get zeroCopy(): boolean {
    return this.#lease.zeroCopy;
  }

  /** The linear memory that holds the bytes: for workers with kernels of their own. */
  get memory(): WebAssembly.Memory {
    return this.#lease.memory;
  }

  /** Addresses of the segments in it; empty when they are a copy. */
  get ptrs(): readonly number[] {
    return this.#lease.ptrs;
  }

  /** Bytes of the view. */
  get length(): number {
    return this.segments.reduce((sum, part) => sum + part.length, 0);
  }

  /** A copy of the bytes in memory of their own: for what refuses shared memory, and to keep. */
  copy(): Uint8Array {
    const out = newBytes(this.length);
    let at = 0;
    for (const part of this.segments) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  }

  /** Announces stores to [pos, pos + len) of the view, as a page fault does: what was not announced may be lost. EBADF
   *  unless it was made with `write`; ESTALE when the range was since truncated or punched away. */
  dirty(pos = 0, len = this.length - pos): void {
    const from = checkBytes(pos, 'pos');
    const count = checkBytes(len, 'len');
    try {
      this.#lease.dirty(from, count);
    } catch (error) {
      throw nameError(error, { syscall: 'dirty' });
    }
  }

  /** Resolves when what was announced is durable: at once for a view that is read-only. */
  async sync(): Promise<void> {
    if (!this.#lease.writable) return;
    try {
      await this.#vfs.run(this.#vfs.data.syncInode(this.#lease.inode));
    } catch (error) {
      throw nameError(error, { syscall: 'msync' });
    }
  }

  /** Gives the pages back; the bytes must not be touched afterwards. A second call does nothing. */
  release(): void {
    this.#lease.release();
  }

  [Symbol.dispose](): void {
    this.release();
  }
}
