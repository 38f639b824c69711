// Leases: zero-copy views of a file's bytes, pinned until released. A range in one folio is one view; a range over
// several is put into one folio of its own when that can be had, else it comes in segments.

import type { Folio } from '../cache/folio.ts';
import { missing } from '../cache/missing.ts';
import { Ext4Error } from '../errno.ts';
import { readInline } from '../ext4/inline.ts';
import type { Inode } from '../ext4/inode.ts';
import { daxView } from '../ext4/path/dax.ts';
import { readPath } from '../ext4/path/read.ts';
import { type Flow, step } from '../flow.ts';
import { newReadahead } from '../iomap/buffered.ts';
import { dropRange, type Pinned, pin, pinFolios, unpin } from '../iomap/fault.ts';

/** Bytes of a file that stay where they are until release(). */
export class Lease {
  readonly inode: Inode;
  /** The whole range, or null when it lies in several segments. */
  readonly bytes: Uint8Array | null;
  /** True when the bytes are the cache's or the image's own. */
  readonly zeroCopy: boolean;
  /** The one folio that holds all of it, or what else is pinned. */
  readonly #folio: Folio | null;
  readonly #pinned: Pinned | null;
  #released = false;

  constructor(
    inode: Inode,
    bytes: Uint8Array | null,
    zeroCopy: boolean,
    folio: Folio | null,
    pinned: Pinned | null,
  ) {
    this.inode = inode;
    this.bytes = bytes;
    this.zeroCopy = zeroCopy;
    this.#folio = folio;
    this.#pinned = pinned;
    inode.users++;
    inode.vol.leases++;
  }

  get segments(): Uint8Array[] {
    return this.bytes === null ? (this.#pinned as Pinned).segments : [this.bytes];
  }

  /** Addresses of the segments in `memory`; empty when the bytes are a copy. */
  get ptrs(): number[] {
    return this.zeroCopy ? this.segments.map((part) => part.byteOffset) : [];
  }

  get memory(): WebAssembly.Memory {
    const { vol } = this.inode;
    const direct = this.zeroCopy && this.inode.path === 'dax' ? vol.device.direct : undefined;
    return (direct ?? vol.cache.kernels).memory;
  }

  /** Gives the pages back; the views must not be used any more. Again: nothing happens. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    const { vol } = this.inode;
    if (this.#folio !== null) unpin(vol.cache, this.#folio);
    if (this.#pinned !== null) for (const folio of this.#pinned.folios) unpin(vol.cache, folio);
    this.inode.users--;
    vol.leases--;
  }
}

function leaseOf(inode: Inode, pinned: Pinned): Lease {
  const { segments } = pinned;
  return new Lease(inode, segments.length === 1 ? segments[0] : null, true, null, pinned);
}

/** The lease of a range that lies in one folio that is there, else null: the fast way. */
export function leaseCached(inode: Inode, pos: number, len: number): Lease | null {
  const { cache } = inode.vol;
  const { blockSize } = cache;
  const folio = inode.folios.find(Math.floor(pos / blockSize));
  if (folio === undefined || !folio.uptodate) return null;
  const off = pos - folio.lblk * blockSize;
  if (off + len > folio.n * blockSize) return null;
  pin(folio);
  return new Lease(inode, cache.view(folio.ptr + off, len), true, folio, null);
}

/** The lease of a range of a DAX file that lies in the image without holes, else null. One step. */
export function leaseDirect(inode: Inode, pos: number, len: number): Lease | null {
  if (!(pos >= 0 && len > 0 && pos + len <= inode.size)) return null;
  inode.at();
  const segments = daxView(inode, pos, len);
  return segments && leaseOf(inode, { folios: [], segments });
}

/** A lease of [pos, pos + len), clipped to the file. EINVAL for an empty range; ENOMEM when all is pinned. */
export function* lease(inode: Inode, pos: number, length: number): Flow<Lease> {
  const len = Math.min(length, inode.size - pos);
  if (!(pos >= 0 && len > 0)) throw new Ext4Error('EINVAL', `view of ${length} bytes at ${pos}`);
  if (inode.path === 'dax') {
    return (yield* step(leaseDirect, inode, pos, len)) ?? (yield* copied(inode, pos, len));
  }
  if (inode.path === 'inline') return yield* copied(inode, pos, len);
  const range = { pos, len };
  const half = inode.vol.cache.arena.units * inode.vol.cache.blockSize * 0.5;
  if (len > half) throw new Ext4Error('ENOMEM', `a view of ${len} bytes in a cache of ${2 * half}`);
  const pinned = yield* step(pinStep, inode, range, { whole: true });
  return leaseOf(inode, pinned);
}

/** Bytes that do not lie anywhere as they are: inline data, holes of a DAX file. */
function* copied(inode: Inode, pos: number, len: number): Flow<Lease> {
  const bytes = new Uint8Array(len);
  yield* step(copyStep, inode, bytes, pos);
  return new Lease(inode, bytes, false, null, null);
}

function copyStep(inode: Inode, into: Uint8Array, pos: number): void {
  if (inode.path === 'inline') readInline(inode, into, 0, pos, into.length);
  else {
    const request = { file: inode, into, at: 0, pos, len: into.length, fill: null };
    readPath(inode, { ...request, ahead: newReadahead() });
  }
}

/** Pins the range. The first time it lies in several folios, they make room for one; `once.whole` is then false. */
function pinStep(
  inode: Inode,
  { pos, len }: { pos: number; len: number },
  once: { whole: boolean },
): Pinned {
  const { cache } = inode.vol;
  const pinned = pinFolios(cache, inode, pos, len);
  if (pinned !== null && (pinned.segments.length === 1 || !once.whole)) return pinned;
  if (pinned !== null) for (const folio of pinned.folios) unpin(cache, folio);
  const from = Math.floor(pos / cache.blockSize);
  const to = Math.ceil((pos + len) / cache.blockSize);
  if (once.whole) dropRange(cache, inode, from, to);
  const range = { file: inode.folios, lblk: from, count: to - from, ahead: 0, whole: once.whole };
  once.whole = false;
  if (cache.fill === null) throw missing.folio(range);
  cache.fill.folios(range);
  return pinStep(inode, { pos, len }, once);
}
