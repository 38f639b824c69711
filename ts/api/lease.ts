// View: a zero-copy lease on part of a file, as users hold it. Its pages stay pinned until it is released, so release
// it (`using`, or release()). The bytes are shared memory where the mount's memory is; copy() gives bytes of one's own.

import { Ext4Error } from '../errno.ts';
import type { Lease } from '../vfs/lease.ts';
import { newBytes } from './platform.ts';
import { checkBytes } from './validate.ts';

export class View {
  /** The whole range, or null when it cannot be made contiguous: then see `segments`. */
  readonly bytes: Uint8Array | null;
  readonly segments: readonly Uint8Array[];
  /** Whether the bytes are the cache's own (or the image's), not a copy. */
  readonly zeroCopy: boolean;
  /** The linear memory that holds the bytes, and their addresses in it: for workers with kernels of their own. */
  readonly memory: WebAssembly.Memory;
  readonly ptrs: readonly number[];
  readonly #lease: Lease;

  constructor(lease: Lease) {
    this.#lease = lease;
    this.bytes = lease.bytes;
    this.segments = lease.segments;
    this.zeroCopy = lease.zeroCopy;
    this.memory = lease.memory;
    this.ptrs = lease.ptrs;
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
