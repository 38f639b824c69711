// Leases: zero-copy views of a file's bytes, pinned until released. A range in one folio is one view; a range over
// several is put into one folio of its own when that can be had, else it comes in segments.

import type { Folio } from '../cache/folio.ts';
import { missing } from '../cache/missing.ts';
import { Ext4Error } from '../errno.ts';
import { releaseDelayed, reserveBlocks } from '../ext4/delayed.ts';
import { readInline } from '../ext4/inline.ts';
import type { Inode } from '../ext4/inode.ts';
import { ext4Iomap } from '../ext4/iomap.ts';
import { daxFault, daxView, persistDax } from '../ext4/path/dax.ts';
import { convertInline } from '../ext4/path/inline.ts';
import { readPath } from '../ext4/path/read.ts';
import { attempt, type Flow, lock, step } from '../flow.ts';
import { newReadahead } from '../iomap/buffered.ts';
import { dropRange, type Pinned, pin, pinFolios, unpin } from '../iomap/fault.ts';
import { IOMAP_HOLE, mappings } from '../iomap/iter.ts';

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
  /** Position in the file of a lease that may be written, or -1. */
  #pos = -1;
  #released = false;
  /** The bytes are blocks of the image: they are not freed before release(). */
  readonly #onImage: boolean;

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
    this.#onImage = zeroCopy && inode.path === 'dax';
    if (this.#onImage) inode.daxLeases++;
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

  /** Says that its space was promised, so that stores may be announced. */
  allowWrites(pos: number): this {
    this.#pos = pos;
    return this;
  }

  get writable(): boolean {
    return this.#pos >= 0;
  }

  /** Announces stores to [pos, pos + len) of the lease: they will be written. EBADF when it is for reading; EINVAL
   *  outside of it; ESTALE once it was released, or a truncation or punch took the range away. */
  dirty(pos: number, len: number): void {
    const { inode } = this;
    if (this.#pos < 0) throw new Ext4Error('EBADF', 'the view is read-only');
    const total = this.segments.reduce((sum, part) => sum + part.length, 0);
    if (!(pos >= 0 && len >= 0 && pos + len <= total))
      throw new Ext4Error('EINVAL', 'outside the view');
    if (this.#released) throw new Ext4Error('ESTALE', 'the view was released');
    if (inode.vol.journal?.aborted !== null) throw new Ext4Error('EROFS');
    inode.touched = -1;
    inode.vol.dirtyInodes.add(inode);
    const start = this.#pos + pos;
    if (inode.path === 'dax') return persistDax(inode, this.segments, pos, len);
    const folios = this.#folio === null ? (this.#pinned as Pinned).folios : [this.#folio];
    for (const folio of folios) markStores(inode, folio, start, start + len);
  }

  /** Gives the pages back; the views must not be used any more. Again: nothing happens. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    const { vol } = this.inode;
    if (this.#pos >= 0) this.#endWrites();
    if (this.#folio !== null) unpin(vol.cache, this.#folio);
    if (this.#pinned !== null) for (const folio of this.#pinned.folios) unpin(vol.cache, folio);
    if (this.#onImage) this.inode.daxLeases--;
    this.inode.users--;
    vol.leases--;
  }

  /** What was promised and never used is given back. */
  #endWrites(): void {
    const { inode } = this;
    const folios = this.#folio === null ? (this.#pinned?.folios ?? []) : [this.#folio];
    for (const folio of folios) if (!folio.detached) giveBack(inode, folio);
  }
}

/** The blocks of a folio that [start, end) of the file touches are dirty. */
function markStores(inode: Inode, folio: Folio, start: number, end: number): void {
  const { cache } = inode.vol;
  const { blockSize } = cache;
  const from = Math.max(folio.lblk, Math.floor(start / blockSize));
  const to = Math.min(folio.lblk + folio.n, Math.ceil(end / blockSize));
  if (from >= to) return;
  if (folio.detached) throw new Ext4Error('ESTALE', 'the range was taken from the file');
  cache.markDirty(folio, from - folio.lblk, to - from);
}

function giveBack(inode: Inode, folio: Folio): void {
  const { cache } = inode.vol;
  for (let at = 0; at < folio.n; at++) {
    const lblk = folio.lblk + at;
    if (!cache.isDirty(folio, at) && inode.delayed?.runs.has(lblk))
      releaseDelayed(inode, lblk, lblk + 1);
  }
}

/** A lease for writing: its space is promised (or, on DAX, allocated) for all of it at once. EINVAL for an empty range;
 *  ENOSPC; EOPNOTSUPP on the journalled path, whose blocks change only within handles. */
export function* leaseForWrite(inode: Inode, pos: number, length: number): Flow<Lease> {
  yield* lock(inode.ino);
  const len = Math.min(length, inode.size - pos);
  if (!(pos >= 0 && len > 0)) throw new Ext4Error('EINVAL', `view of ${length} bytes at ${pos}`);
  if (inode.path === 'inline') yield* convertInline(inode);
  if (inode.path === 'journalled') throw new Ext4Error('EOPNOTSUPP', 'a view of journalled data');
  if (inode.path === 'dax') {
    for (let at = pos; at < pos + len; ) at += yield* step(daxFault, inode, at, pos + len - at);
    return (yield* step(leaseDirect, inode, pos, len))!.allowWrites(pos);
  }
  const taken = yield* lease(inode, pos, len);
  const failed = yield* attempt(promiseStep, inode, pos, len);
  if (failed instanceof Ext4Error) {
    taken.release();
    throw failed;
  }
  return taken.allowWrites(pos);
}

/** Promises space for every hole in the range, or for none. Throws Missing; ENOSPC. */
function promiseStep(inode: Inode, pos: number, len: number): void {
  const { blockSize } = inode.vol.sb;
  inode.at();
  inode.vol.dirtyInodes.add(inode);
  const first = Math.floor(pos / blockSize);
  const end = Math.ceil((pos + len) / blockSize);
  const fresh: { from: number; to: number }[] = [];
  for (const map of mappings(inode, ext4Iomap, first * blockSize, (end - first) * blockSize, 0)) {
    if (map.type !== IOMAP_HOLE) continue;
    fresh.push({ from: map.pos / blockSize, to: Math.ceil((map.pos + map.len) / blockSize) });
  }
  const got: { from: number; to: number }[] = [];
  for (const { from, to } of fresh) {
    const n = reserveBlocks(inode, from, to - from);
    got.push({ from, to: from + n });
    if (n === to - from) continue;
    for (const run of got) releaseDelayed(inode, run.from, run.to);
    throw new Ext4Error('ENOSPC');
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
  if (inode.path === 'inline' || inode.path === 'journalled') return yield* copied(inode, pos, len);
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
  if (pos + len > inode.size) throw new Ext4Error('EINVAL', 'the file ends within the view');
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
