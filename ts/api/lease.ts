// View: a zero-copy lease on part of a file, as users hold it. Its pages stay pinned until it is released, so release
// it (`using`, or release()). The bytes are shared memory where the mount's memory is; copy() gives bytes of one's own.

import { Ext4Error } from '../errno.ts';
import type { Lease } from '../vfs/lease.ts';
import { newBytes } from './platform.ts';
import { checkBytes } from './validate.ts';

export class View {
  /** The whole range, or null when it cannot be made contiguous: then see `segments`. */
  readonly bytes: Uint8Array | null;
  readonly #lease: Lease;

  constructor(lease: Lease) {
    this.bytes = lease.bytes;
    this.#lease = lease;
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

  /** Announces stores to [pos, pos + len) of the view. EBADF unless it was made with `write`. */
  dirty(pos: number, len: number): void {
    checkBytes(pos, 'pos');
    checkBytes(len, 'len');
    throw new Ext4Error('EBADF', 'the view is read-only').at('dirty');
  }

  /** Resolves when what was announced is durable: at once for a view that is read-only. */
  async sync(): Promise<void> {}

  /** Gives the pages back; the bytes must not be touched afterwards. A second call does nothing. */
  release(): void {
    this.#lease.release();
  }

  [Symbol.dispose](): void {
    this.release();
  }
}
