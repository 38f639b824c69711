// Writeback, the half that knows no file system: dirty blocks are taken from the cache in the order of the file, and
// gathered into runs that are contiguous in the file and on the device. What is taken is clean from then on, pinned
// while it is on its way; stores that come meanwhile make it dirty again.

import type { Cache } from '../cache/cache.ts';
import type { FileFolios, Folio } from '../cache/folio.ts';
import type { Ext4Error } from '../errno.ts';

/** Blocks on their way to the device. */
export interface Ioend {
  lblk: number;
  count: number;
  pblk: number;
  /** IOMAP_MAPPED, IOMAP_UNWRITTEN, or IOMAP_DELALLOC for blocks that are held and not mapped yet. */
  type: number;
  /** Pieces of folios, in order: folio, first block in it, blocks. */
  pieces: { folio: Folio; at: number; n: number }[];
  error?: Ext4Error;
}

/** First logical blocks of the dirty folios, ascending. */
export function dirtyKeys(folios: FileFolios): number[] {
  const keys: number[] = [];
  for (const folio of folios.dirty) keys.push(folio.lblk);
  return keys.sort((a, b) => a - b);
}

/** The first dirty run at or behind block `at` of a folio: [from, to) in blocks of it, or null. */
export function dirtyRun(
  { kernels, arena }: Cache,
  folio: Folio,
  at: number,
): { from: number; to: number } | null {
  if (!folio.dirty) return null;
  const end = folio.unit + folio.n;
  const from = kernels.exports.bitmapNextSet(arena.dirty, folio.unit + at, end) >>> 0;
  if (from === end) return null;
  const to = kernels.exports.bitmapNextClear(arena.dirty, from, end) >>> 0;
  return { from: from - folio.unit, to: to - folio.unit };
}

/** Adds a piece behind the last ioend when it continues it, else as a new one. */
export function addPiece(list: Ioend[], piece: Ioend, mostBlocks: number): void {
  const last = list.at(-1);
  const joins =
    last !== undefined &&
    last.type === piece.type &&
    last.lblk + last.count === piece.lblk &&
    last.pblk + last.count === piece.pblk &&
    last.count + piece.count <= mostBlocks;
  if (!joins) list.push(piece);
  else {
    last.count += piece.count;
    last.pieces.push(...piece.pieces);
  }
}

/** Makes the blocks clean and pins their folios; their bytes, in order. Nothing throws from here on. */
export function submit(cache: Cache, io: Ioend): Uint8Array[] {
  const { blockSize } = cache;
  const parts: Uint8Array[] = [];
  for (const { folio, at, n } of io.pieces) {
    cache.clearDirty(folio, at, n);
    folio.pins++;
    parts.push(cache.view(folio.ptr + at * blockSize, n * blockSize));
  }
  return parts;
}

/** The device call has settled. */
export function finish(cache: Cache, io: Ioend): void {
  for (const { folio } of io.pieces) {
    folio.pins--;
    if (folio.pins === 0 && folio.detached) cache.drop(folio);
  }
  io.pieces.length = 0;
}

/** The blocks are dirty again: they did not reach the device, and must. */
export function redirty(cache: Cache, io: Ioend): void {
  for (const { folio, at, n } of io.pieces) if (!folio.detached) cache.markDirty(folio, at, n);
}
