// Leases: folios of a file, pinned and shown as they lie in linear memory. A range in one folio is one view.

import type { Cache } from '../cache/cache.ts';
import type { Folio } from '../cache/folio.ts';
import type { IomapFile } from './iter.ts';

export interface Pinned {
  folios: Folio[];
  segments: Uint8Array[];
}

/** Pins the folios of [pos, pos + len) if all of them are up to date; else null, and nothing is pinned. */
export function pinFolios(cache: Cache, file: IomapFile, pos: number, len: number): Pinned | null {
  const { blockSize } = cache;
  const end = pos + len;
  const pinned: Pinned = { folios: [], segments: [] };
  for (let at = pos; at < end; ) {
    const folio = file.folios.find(Math.floor(at / blockSize));
    if (folio === undefined || !folio.uptodate) return null;
    const off = at - folio.lblk * blockSize;
    const n = Math.min(folio.n * blockSize - off, end - at);
    pinned.folios.push(folio);
    pinned.segments.push(cache.view(folio.ptr + off, n));
    at += n;
  }
  for (const folio of pinned.folios) pin(folio);
  return pinned;
}

export function pin(folio: Folio): void {
  folio.referenced = true;
  folio.pins++;
}

/** Gives one pin back; a folio that its file let go of is freed with its last pin. */
export function unpin(cache: Cache, folio: Folio): void {
  folio.pins--;
  if (folio.pins === 0 && folio.detached) cache.drop(folio);
}

/** Drops the folios of a block range that nobody pins, so that one folio can take their place. */
export function dropRange(cache: Cache, file: IomapFile, from: number, to: number): void {
  for (let at = file.folios.next(from, to); at < to; at = file.folios.next(at, to)) {
    const folio = file.folios.find(at) as Folio;
    at = folio.lblk + folio.n;
    if (folio.pins === 0 && folio.loading === null && !folio.dirty) cache.drop(folio);
  }
}
