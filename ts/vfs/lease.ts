// Leases: zero-copy views of a file's bytes, pinned until released. A range in one folio is one view; a range over
// several is put into one folio of its own when that can be had, else it comes in segments.

import { missing } from '../cache/missing.ts';
import { Ext4Error } from '../errno.ts';
import { readInline } from '../ext4/inline.ts';
import type { Inode } from '../ext4/inode.ts';
import { daxView } from '../ext4/path/dax.ts';
import { readPath } from '../ext4/path/read.ts';
import { type Flow, step } from '../flow.ts';
import { newReadahead } from '../iomap/buffered.ts';
import { dropRange, type Pinned, pinFolios, unpin } from '../iomap/fault.ts';

/** A view of [pos, pos + len) of a file. `bytes` is null when the range lies in several segments. */
export class Lease {
  readonly bytes: Uint8Array | null;
  readonly segments: Uint8Array[];
  /** True when the bytes are the cache's or the image's own. */
  readonly zeroCopy: boolean;
  readonly memory: WebAssembly.Memory;
  /** Addresses of the segments in `memory`; empty when the bytes are a copy. */
  readonly ptrs: number[];
  readonly inode: Inode;
  #pinned: Pinned | null;

  constructor(inode: Inode, segments: Uint8Array[], ptrs: number[], pinned: Pinned | null) {
    this.inode = inode;
    this.bytes = segments.length === 1 ? segments[0] : null;
    this.segments = segments;
    this.ptrs = ptrs;
    this.zeroCopy = ptrs.length > 0;
    this.memory =
      pinned === null && this.zeroCopy
        ? inode.vol.device.direct!.memory
        : inode.vol.cache.kernels.memory;
    this.#pinned = pinned;
    inode.users++;
    inode.vol.leases++;
  }

  /** Gives the pages back; the views must not be used any more. Again: nothing happens. */
  release(): void {
    if (this.#pinned === RELEASED) return;
    for (const folio of this.#pinned?.folios ?? []) unpin(this.inode.vol.cache, folio);
    this.#pinned = RELEASED;
    this.inode.users--;
    this.inode.vol.leases--;
  }
}

const RELEASED: Pinned = { folios: [], segments: [], ptrs: [] };

/** The lease of a range whose folios are all there and in one piece, else null: the fast way. */
export function leaseCached(inode: Inode, pos: number, len: number): Lease | null {
  if (inode.path === 'inline' || inode.path === 'dax') return null;
  const { cache } = inode.vol;
  const folio = inode.folios.find(Math.floor(pos / cache.blockSize));
  if (folio === undefined || !folio.uptodate) return null;
  const off = pos - folio.lblk * cache.blockSize;
  if (off + len > folio.n * cache.blockSize) return null;
  const pinned = pinFolios(cache, inode, pos, len) as Pinned;
  return new Lease(inode, pinned.segments, pinned.ptrs, pinned);
}

/** A lease of [pos, pos + len), clipped to the file. EINVAL for an empty range; ENOMEM when all is pinned. */
export function* lease(inode: Inode, pos: number, length: number): Flow<Lease> {
  const len = Math.min(length, inode.size - pos);
  if (!(pos >= 0 && len > 0)) throw new Ext4Error('EINVAL', `view of ${length} bytes at ${pos}`);
  if (inode.path === 'dax') {
    const direct = yield* step(daxView, inode, pos, len);
    return direct
      ? new Lease(inode, direct.segments, direct.ptrs, null)
      : yield* copied(inode, pos, len);
  }
  if (inode.path === 'inline') return yield* copied(inode, pos, len);
  const range = { pos, len };
  const half = inode.vol.cache.arena.units * inode.vol.cache.blockSize * 0.5;
  if (len > half) throw new Ext4Error('ENOMEM', `a view of ${len} bytes in a cache of ${2 * half}`);
  const pinned = yield* step(pinStep, inode, range, { whole: true });
  return new Lease(inode, pinned.segments, pinned.ptrs, pinned);
}

/** Bytes that do not lie anywhere as they are: inline data, holes of a DAX file. */
function* copied(inode: Inode, pos: number, len: number): Flow<Lease> {
  const bytes = new Uint8Array(len);
  yield* step(copyStep, inode, bytes, pos);
  return new Lease(inode, [bytes], [], null);
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
