// Fast commits, shown where they are not written home (fasthome.ts): what their records say of inodes, mappings and
// names is laid over the tree on disk. Records are applied in order; the last word counts. Memory is bounded by the
// size of the fast-commit area.

import { MAP_HOLE, MAP_UNWRITTEN, MAP_WRITTEN } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/ext4.ts';
import type { Cache } from '../cache/cache.ts';
import { type Flow, step } from '../flow.ts';
import type { FastCommitOps, FastRange } from '../jbd2/fastcommit.ts';
import type { MapMemo } from './inode.ts';
import type { Ext4Volume } from './volume.ts';

/** A piece of a file's map that a record replaced; kind as MAP_*. */
interface Piece {
  lblk: number;
  len: number;
  pblk: number;
  kind: number;
}

export class FastOverlay {
  readonly #cache: Cache;
  /** Addresses of inodes that have a record, in memory of their own. */
  readonly #inodes = new Map<number, number>();
  readonly #maps = new Map<number, Piece[]>();
  /** Names by directory; 0 for one that went away. */
  readonly #names = new Map<number, Map<string, number>>();
  /** Directories that came into being: no block of theirs was written. */
  readonly #newDirs = new Set<number>();

  constructor(cache: Cache) {
    this.#cache = cache;
  }

  /** Address of an inode's bytes, or 0 when no record touched it. */
  placeOf(ino: number): number {
    return this.#inodes.get(ino) ?? 0;
  }

  isNewDir(ino: number): boolean {
    return this.#newDirs.has(ino);
  }

  /** What the records say of a name: an inode number, 0 for gone, undefined for nothing. */
  nameIn(dir: number, name: Uint8Array): number | undefined {
    return this.#names.get(dir)?.get(keyOf(name));
  }

  /** Names that records added to a directory. */
  added(dir: number): { name: Uint8Array; ino: number }[] {
    const names = [...(this.#names.get(dir) ?? [])].filter(([, ino]) => ino !== 0);
    return names.map(([key, ino]) => ({
      name: Uint8Array.from(key, (c) => c.charCodeAt(0)),
      ino,
    }));
  }

  /** Corrects the mapping `map` of an inode, which holds at `lblk`, by the records. */
  amend(ino: number, lblk: number, map: MapMemo): void {
    const pieces = this.#maps.get(ino);
    if (pieces === undefined) return;
    for (const p of pieces) {
      const inside = lblk >= p.lblk && lblk < p.lblk + p.len;
      if (inside) Object.assign(map, p);
      else clip(map, p, lblk);
    }
  }

  setInode(vol: Ext4Volume, ino: number, raw: Uint8Array): void {
    const { kernels, arena, blockSize } = this.#cache;
    const { inodeSize } = vol.sb;
    const old = vol.inodes.bytesOf(ino);
    if (old === 0) return;
    let ptr = this.placeOf(ino);
    if (ptr === 0) {
      ptr = arena.ptr(this.#cache.allocUnits(Math.ceil(inodeSize / blockSize)));
      kernels.exports.copy(ptr, old, inodeSize);
      this.#inodes.set(ino, ptr);
    }
    const size = Math.min(raw.length, inodeSize);
    kernels.u8.set(raw.subarray(0, F.I_BLOCK), ptr);
    kernels.u8.set(raw.subarray(F.I_GENERATION, size), ptr + F.I_GENERATION);
    const flags = kernels.dv.getUint32(ptr + F.I_FLAGS, true);
    const extents = (flags & F.EXT4_EXTENTS_FL) !== 0;
    const block = ptr + F.I_BLOCK;
    if (!extents) kernels.u8.set(raw.subarray(F.I_BLOCK, F.I_GENERATION), block);
    else if (kernels.dv.getUint16(block, true) !== F.EXT4_EXT_MAGIC) emptyTree(this.#cache, block);
  }

  setRange(ino: number, piece: Piece): void {
    const pieces = this.#maps.get(ino) ?? [];
    pieces.push(piece);
    this.#maps.set(ino, pieces);
  }

  setName(dir: number, name: Uint8Array, ino: number): void {
    const names = this.#names.get(dir) ?? new Map<string, number>();
    this.#names.set(dir, names.set(keyOf(name), ino));
  }

  /** After a create: a directory starts empty. */
  created(vol: Ext4Volume, ino: number): void {
    const ptr = this.placeOf(ino) || vol.inodes.bytesOf(ino);
    if (ptr === 0) return;
    const mode = vol.dv.getUint16(ptr + F.I_MODE, true);
    if ((mode & F.S_IFMT) === F.S_IFDIR) this.#newDirs.add(ino);
  }
}

/** Shortens a mapping that holds at `lblk` where a newer piece begins or ends. */
function clip(map: MapMemo, p: Piece, lblk: number): void {
  const end = map.lblk + map.len;
  if (p.lblk > lblk && p.lblk < end) map.len = p.lblk - map.lblk;
  const pEnd = p.lblk + p.len;
  if (pEnd > map.lblk && pEnd <= lblk) {
    const skip = pEnd - map.lblk;
    map.lblk += skip;
    map.len -= skip;
    if (map.kind !== MAP_HOLE) map.pblk += skip;
  }
}

function emptyTree(cache: Cache, block: number): void {
  const { kernels } = cache;
  kernels.exports.zero(block, F.I_BLOCK_SIZE);
  kernels.dv.setUint16(block + F.EH_MAGIC, F.EXT4_EXT_MAGIC, true);
  kernels.dv.setUint16(block + F.EH_MAX, 4, true);
}

function keyOf(name: Uint8Array): string {
  return String.fromCharCode(...name);
}

/** The table of record handlers that lays everything over `vol`. */
export function overlayOps(vol: Ext4Volume, over: FastOverlay): FastCommitOps {
  const rename = function* (dir: number, ino: number, name: Uint8Array): Flow<void> {
    over.setName(dir, name, ino);
  };
  return {
    *addRange(ino: number, { lblk, len, pblk, unwritten }: FastRange) {
      over.setRange(ino, { lblk, len, pblk, kind: unwritten ? MAP_UNWRITTEN : MAP_WRITTEN });
    },
    *delRange(ino: number, lblk: number, len: number) {
      over.setRange(ino, { lblk, len, pblk: 0, kind: MAP_HOLE });
    },
    *create(parent: number, ino: number, name: Uint8Array) {
      over.setName(parent, name, ino);
      yield* step((v: Ext4Volume, n: number) => over.created(v, n), vol, ino);
    },
    link: rename,
    *unlink(parent: number, _ino: number, name: Uint8Array) {
      over.setName(parent, name, 0);
    },
    *inode(ino: number, raw: Uint8Array) {
      yield* step((v: Ext4Volume, n: number) => over.setInode(v, n, raw), vol, ino);
    },
  };
}
