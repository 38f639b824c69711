// The iterator: an operation asks where bytes of a file live, one mapping at a time, through two functions that
// the file system hands down, and walks the mappings. iomap knows no file system. pos, len, dpos are bytes.
// Design after the kernel documentation, "iomap: supported operations".

import { assert } from '../assert.ts';
import type { FileFolios } from '../cache/folio.ts';

// Types of a mapping.
export const IOMAP_HOLE = 0;
export const IOMAP_DELALLOC = 1;
export const IOMAP_MAPPED = 2;
export const IOMAP_UNWRITTEN = 3;
export const IOMAP_INLINE = 4;
/** Of ours: a hole that a write cannot fill, because there is no space. */
export const IOMAP_NOSPACE = 5;

// Flags of a mapping.
export const IOMAP_F_NEW = 1 << 0;
export const IOMAP_F_MERGED = 1 << 3;

// What the caller means to do.
export const IOMAP_WRITE = 1 << 0;
export const IOMAP_ZERO = 1 << 1;
export const IOMAP_REPORT = 1 << 2;

/** A mapping of [pos, pos + len) of a file; dpos is meaningless for holes and inline data. */
export interface Iomap {
  type: number;
  flags: number;
  pos: number;
  len: number;
  dpos: number;
}

/** A file as the operations here see it. */
export interface IomapFile {
  readonly ino: number;
  readonly folios: FileFolios;
  /** Size in memory, bytes. */
  readonly size: number;
}

export interface IomapOps<F extends IomapFile> {
  /** Writes to `map` a mapping that covers `pos`: map.pos <= pos < map.pos + map.len. Throws Missing. */
  begin(file: F, pos: number, len: number, flags: number, map: Iomap): void;
  /** Hears how many bytes were used of the mapping, also when the operation failed. */
  end?(file: F, pos: number, done: number, flags: number, map: Iomap): void;
}

export function newIomap(): Iomap {
  return { type: IOMAP_HOLE, flags: 0, pos: 0, len: 0, dpos: 0 };
}

/** The mappings of [pos, pos + len), each clipped to it. `map` is reused: copy what must outlive the loop's body. */
export function* mappings<F extends IomapFile>(
  file: F,
  ops: IomapOps<F>,
  pos: number,
  len: number,
  flags: number,
): Generator<Iomap> {
  const map = newIomap();
  const end = pos + len;
  for (let at = pos; at < end; ) {
    ops.begin(file, at, end - at, flags, map);
    clip(map, at, end);
    yield map;
    ops.end?.(file, at, map.len, flags, map);
    at = map.pos + map.len;
  }
}

/** Cuts a mapping to [at, end). */
export function clip(map: Iomap, at: number, end: number): void {
  const stop = Math.min(map.pos + map.len, end);
  assert(map.pos <= at && stop > at, 'a mapping covers the position asked for');
  map.dpos += at - map.pos;
  map.pos = at;
  map.len = stop - at;
}
