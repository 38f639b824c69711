// What fast commits amount to, before any of it is done: which names directories have in the end, which inodes come,
// stay and go, what is mapped where. Records are taken in order; inodes live and die as names come and go, and a number
// may be given out again. Only the tree is read. What no file system wrote is EUCLEAN.

import { MAP_HOLE, MAP_UNWRITTEN, MAP_WRITTEN } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/ext4.ts';
import { corrupt, Ext4Error } from '../errno.ts';
import { type Flow, step } from '../flow.ts';
import type { FastCommitOps, FastRange } from '../jbd2/fastcommit.ts';
import { foldName } from './casefold.ts';
import { type DirCursor, findEntry, readEntries } from './dir.ts';
import { folds } from './dirblock.ts';
import { hasBit } from './features.ts';
import { readGroup } from './group.ts';
import { inodeBitmap } from './groupwrite.ts';
import type { Inode } from './inode.ts';
import { LINK_MAX } from './namei.ts';
import { orphanOf } from './orphanwrite.ts';
import type { Ext4Volume } from './volume.ts';

/** A piece of a file's map; kind as MAP_*. */
export interface FastPiece {
  lblk: number;
  len: number;
  pblk: number;
  kind: number;
}

/** A name that records speak of: its inode number before them, and now; 0 for none. */
export interface FastName {
  readonly name: Uint8Array;
  readonly before: number;
  now: number;
}

/** An inode that records speak of. */
export class FastLife {
  readonly ino: number;
  /** What was there before the records; null when the number was free. */
  readonly old: { links: number; isDir: boolean; generation: number } | null;
  /** What was there lost its last name, and the number was given out again. */
  reborn = false;
  /** It lost its last name. */
  dead = false;
  links: number;
  /** The newest record's bytes. */
  raw: Uint8Array | null = null;
  pieces: FastPiece[] = [];

  constructor(ino: number, old: FastLife['old']) {
    this.ino = ino;
    this.old = old;
    this.links = old === null ? 0 : old.isDir ? 1 : old.links;
  }

  /** It came into being with the records. */
  get fresh(): boolean {
    return this.old === null || this.reborn;
  }

  /** What was there before goes away. */
  get removes(): boolean {
    return this.old !== null && (this.reborn || this.dead);
  }

  get mode(): number {
    return this.raw === null ? 0 : this.raw[F.I_MODE] + this.raw[F.I_MODE + 1] * 256;
  }

  get isDir(): boolean {
    if (!this.fresh) return this.old!.isDir;
    return (this.mode & F.S_IFMT) === F.S_IFDIR;
  }

  begin(): void {
    this.reborn = this.old !== null;
    this.dead = false;
    this.links = 0;
    this.raw = null;
    this.pieces = [];
  }
}

export class FastModel implements FastCommitOps {
  readonly lives = new Map<number, FastLife>();
  /** By directory, then by the name as text. */
  readonly names = new Map<number, Map<string, FastName>>();
  readonly #vol: Ext4Volume;

  constructor(vol: Ext4Volume) {
    this.#vol = vol;
  }

  *addRange(ino: number, { lblk, len, pblk, unwritten }: FastRange): Flow<void> {
    const kind = unwritten ? MAP_UNWRITTEN : MAP_WRITTEN;
    (yield* this.#changed(ino)).pieces.push({ lblk, len, pblk, kind });
  }

  *delRange(ino: number, lblk: number, len: number): Flow<void> {
    (yield* this.#changed(ino)).pieces.push({ lblk, len, pblk: 0, kind: MAP_HOLE });
  }

  *inode(ino: number, raw: Uint8Array): Flow<void> {
    const life = yield* this.#changed(ino);
    const nameless = life.fresh && life.links === 0 && life.raw !== null;
    if (nameless && generationOf(life.raw!) !== generationOf(raw)) life.begin();
    life.raw = raw;
  }

  *create(parent: number, ino: number, name: Uint8Array): Flow<void> {
    const life = yield* this.#life(ino);
    if (life.dead) life.begin();
    yield* this.link(parent, ino, name);
  }

  *link(parent: number, ino: number, name: Uint8Array): Flow<void> {
    const entry = yield* this.#entry(parent, name);
    if (entry.now === ino) return;
    if (entry.now !== 0) yield* this.#drop(entry.now);
    const life = yield* this.#life(ino);
    if (!life.fresh && life.old!.isDir) throw bad('a directory with two names', ino);
    life.dead = false;
    if (++life.links > LINK_MAX) throw bad('too many names', ino);
    entry.now = ino;
  }

  *unlink(parent: number, ino: number, name: Uint8Array): Flow<void> {
    const entry = yield* this.#entry(parent, name);
    if (entry.now !== ino) return;
    entry.now = 0;
    yield* this.#drop(ino);
  }

  /** Whether a directory is there in the end. */
  isThere(dir: number): boolean {
    const life = this.lives.get(dir);
    return life === undefined || (life.links > 0 && life.isDir);
  }

  /** The inode of a record about its contents: a dead one's number was given out again. */
  *#changed(ino: number): Flow<FastLife> {
    const life = yield* this.#life(ino);
    if (life.dead) life.begin();
    return life;
  }

  *#drop(ino: number): Flow<void> {
    const life = yield* this.#life(ino);
    if (--life.links > 0) return;
    life.links = 0;
    life.dead = true;
    if (life.isDir) yield* this.#dropDir(life);
  }

  /** A directory goes empty. */
  *#dropDir({ ino, fresh }: FastLife): Flow<void> {
    const names = this.names.get(ino) ?? new Map<string, FastName>();
    const left = [...names.values()].some(({ now }) => now !== 0);
    if (left || (!fresh && (yield* this.#hasMore(ino, names)))) {
      throw bad('a directory goes that has names', ino);
    }
    this.names.delete(ino);
  }

  *#hasMore(ino: number, names: Map<string, FastName>): Flow<boolean> {
    const dir = yield* step(orphanOf, this.#vol, ino);
    for (const cursor: DirCursor = { ino, lblk: 0 }; cursor.lblk >= 0; ) {
      const found = yield* readEntries(dir, cursor);
      if (found.some(({ name }) => !names.has(keyOf(dir, name)))) return true;
    }
    return false;
  }

  *#life(ino: number): Flow<FastLife> {
    let life = this.lives.get(ino);
    if (life === undefined) {
      life = yield* step(lifeOf, this.#vol, ino);
      this.lives.set(ino, life);
    }
    return life;
  }

  *#entry(parent: number, name: Uint8Array): Flow<FastName> {
    const isRoot = parent === F.EXT4_ROOT_INO;
    const life = isRoot ? null : yield* this.#life(parent);
    if (life !== null && (life.dead || !life.isDir)) throw bad('no directory', parent);
    if (!isName(name)) throw bad('no valid name', parent);
    const fresh = life?.fresh === true;
    const dir = fresh ? null : yield* step(orphanOf, this.#vol, parent);
    if (dir?.has(F.EXT4_ENCRYPT_FL)) throw new Ext4Error('ENOKEY', 'encrypted names');
    const names = this.names.get(parent) ?? new Map<string, FastName>();
    this.names.set(parent, names);
    const key = keyOf(dir, name);
    let entry = names.get(key);
    if (entry === undefined) {
      const before = dir === null ? 0 : (yield* findEntry(dir, name)).ino;
      entry = { name, before, now: before };
      names.set(key, entry);
    }
    return entry;
  }
}

function bad(reason: string, ino: number): Ext4Error {
  return corrupt('fast commit', reason, { ino });
}

/** A new directory folds names only if its parent's; as long as it has no block, names are taken as they are. */
function keyOf(dir: Inode | null, name: Uint8Array): string {
  const bytes = dir !== null && folds(dir) ? foldName(name) : name;
  return String.fromCharCode(...bytes);
}

function isName(name: Uint8Array): boolean {
  if (name[0] === 0x2e && (name.length === 1 || (name.length === 2 && name[1] === 0x2e))) {
    return false;
  }
  return !name.includes(0x2f) && !name.includes(0);
}

function generationOf(raw: Uint8Array): number {
  return new DataView(raw.buffer, raw.byteOffset).getUint32(F.I_GENERATION, true);
}

/** What is at an inode's number. EUCLEAN for one that no name leads to. */
function lifeOf(vol: Ext4Volume, ino: number): FastLife {
  const { sb } = vol;
  const own = [sb.journalIno, sb.orphanFileIno].includes(ino);
  if (ino < sb.firstIno || ino > sb.inodes || own) throw bad('not a file', ino);
  if (!isUsed(vol, ino)) return new FastLife(ino, null);
  const inode = orphanOf(vol, ino);
  if (inode.has(F.EXT4_EA_INODE_FL)) throw bad('not a file', ino);
  const { links, isDir, generation } = inode;
  return new FastLife(ino, { links, isDir, generation });
}

/** Whether an inode is in use. Throws Missing. */
export function isUsed(vol: Ext4Volume, ino: number): boolean {
  const { inodesPerGroup } = vol.sb;
  const group = readGroup(vol, Math.floor((ino - 1) / inodesPerGroup));
  const lazy = vol.sums.on || vol.sb.gdtCsum;
  if (lazy && hasBit(group.flags, F.EXT4_BG_INODE_UNINIT)) return false;
  const bit = (ino - 1) % inodesPerGroup;
  const bitmap = inodeBitmap(vol, group);
  return vol.cache.kernels.exports.bitmapNextSet(bitmap.ptr, bit, bit + 1) >>> 0 === bit;
}

/** The pieces that count in the end, sorted, none overlapping another: of two the later one. */
export function settle(pieces: FastPiece[]): FastPiece[] {
  const edges = [...new Set(pieces.flatMap((p) => [p.lblk, p.lblk + p.len]))];
  edges.sort((a, b) => a - b);
  const place = new Map(edges.map((edge, i) => [edge, i]));
  // next[i]: the first edge from i on whose span no later piece has; the last one ends every search.
  const next = edges.map((_, i) => i);
  const owner: FastPiece[] = new Array(edges.length);
  for (const p of [...pieces].reverse()) {
    for (let i = find(next, place.get(p.lblk)!); edges[i] < p.lblk + p.len; i = find(next, i)) {
      owner[i] = p;
      next[i] = i + 1;
    }
  }
  const settled: FastPiece[] = [];
  for (let i = 0; i + 1 < edges.length; i++) {
    if (owner[i] !== undefined) append(settled, cut(owner[i], edges[i], edges[i + 1]));
  }
  return settled;
}

function find(next: number[], from: number): number {
  let at = from;
  while (next[at] !== at) {
    next[at] = next[next[at]];
    at = next[at];
  }
  return at;
}

function cut(p: FastPiece, from: number, to: number): FastPiece {
  const pblk = p.kind === MAP_HOLE ? 0 : p.pblk + from - p.lblk;
  return { lblk: from, len: to - from, pblk, kind: p.kind };
}

function append(list: FastPiece[], p: FastPiece): void {
  const last = list.at(-1);
  const touches = last !== undefined && last.lblk + last.len === p.lblk && last.kind === p.kind;
  if (touches && (p.kind === MAP_HOLE || last.pblk + last.len === p.pblk)) last.len += p.len;
  else list.push(p);
}
