// Folios: pieces of files in linear memory, one or many blocks long, contiguous. A file's folios are found by
// logical block through tables of 512 entries, so that a large folio is one fill and a look-up is two loads.

import type { Cache } from './cache.ts';
import { Slot } from './slot.ts';

const TABLE = 512;

export class Folio extends Slot {
  readonly file: FileFolios;
  /** First logical block of the file that it holds; it holds `n`. */
  readonly lblk: number;
  /** True once the file has let go of it: a fetch that lands in it is thrown away. */
  detached = false;

  constructor(file: FileFolios, lblk: number, unit: number, n: number, ptr: number) {
    super(unit, n, ptr);
    this.file = file;
    this.lblk = lblk;
  }

  override forget(): void {
    this.file.remove(this);
  }
}

/** A run of 512 blocks: the folio that holds each, and how many entries are set. */
interface Table {
  slots: (Folio | undefined)[];
  used: number;
}

const EMPTY: Table = { slots: [], used: 0 };

/** The folios of one file. */
export class FileFolios {
  readonly cache: Cache;
  readonly ino: number;
  /** Folios with dirty blocks. */
  readonly dirty = new Set<Folio>();
  readonly #tables = new Map<number, Table>();
  #lastKey = -1;
  #last = EMPTY;

  constructor(cache: Cache, ino: number) {
    this.cache = cache;
    this.ino = ino;
  }

  get empty(): boolean {
    return this.#tables.size === 0;
  }

  /** The folio that holds `lblk`, whether up to date or not. */
  find(lblk: number): Folio | undefined {
    const key = Math.floor(lblk / TABLE);
    if (key !== this.#lastKey) {
      const table = this.#tables.get(key);
      if (table === undefined) return undefined;
      this.#lastKey = key;
      this.#last = table;
    }
    return this.#last.slots[lblk % TABLE];
  }

  /** First block at or after `lblk`, below `end`, that a folio holds; `end` when none does. */
  next(lblk: number, end: number): number {
    let at = lblk;
    while (at < end) {
      const key = Math.floor(at / TABLE);
      const table = this.#tables.get(key);
      const stop = Math.min(end, (key + 1) * TABLE);
      if (table !== undefined) {
        for (; at < stop; at++) if (table.slots[at % TABLE] !== undefined) return at;
      }
      at = stop;
      if ((end - at) / TABLE > this.#tables.size) at = this.#nextTable(at);
    }
    return end;
  }

  /** First block of the first table at or after `lblk`; Infinity when there is none. */
  #nextTable(lblk: number): number {
    let first = Number.POSITIVE_INFINITY;
    for (const key of this.#tables.keys()) {
      if ((key + 1) * TABLE > lblk && key < first) first = key;
    }
    return Math.max(lblk, first * TABLE);
  }

  /** A folio without contents for [lblk, lblk + n), or shorter when memory is in pieces; nothing may hold those
   *  blocks. ENOMEM when everything is pinned. */
  create(lblk: number, n: number): Folio {
    return this.tryCreate(lblk, n) ?? this.#adopt(lblk, 1, this.cache.allocUnits(1));
  }

  /** As create(), but null. */
  tryCreate(lblk: number, n: number): Folio | null {
    const { cache } = this;
    let want = n;
    let unit = cache.tryAllocUnits(want);
    while (unit < 0 && want > 1) {
      want = Math.max(1, want >> 2);
      unit = cache.tryAllocUnits(want);
    }
    return unit < 0 ? null : this.#adopt(lblk, want, unit);
  }

  #adopt(lblk: number, n: number, unit: number): Folio {
    const folio = new Folio(this, lblk, unit, n, this.cache.arena.ptr(unit));
    this.#setTables(folio, folio);
    this.cache.clock.insert(folio);
    return folio;
  }

  remove(folio: Folio): void {
    if (folio.detached) return;
    folio.detached = true;
    this.#setTables(folio, undefined);
  }

  /** Lets go of every folio; those that are pinned live on, detached. */
  dropAll(): void {
    const folios = new Set<Folio>();
    for (const { slots } of this.#tables.values()) {
      for (const folio of slots) if (folio !== undefined) folios.add(folio);
    }
    for (const folio of folios) {
      this.cache.clearDirty(folio, 0, folio.n);
      if (folio.pins === 0 && folio.loading === null) this.cache.drop(folio);
      else this.remove(folio);
    }
  }

  /** Lets go of what is cached of blocks [from, to), dirty or not; folios that reach out of it keep the rest. Leases
   *  keep the bytes they have. ENOMEM when a leased folio cannot be cut. */
  cut(from: number, to: number): void {
    for (let at = this.next(from, to); at < to; at = this.next(at, to)) {
      const folio = this.find(at) as Folio;
      at = folio.lblk + folio.n;
      this.#cutFolio(folio, Math.max(0, from - folio.lblk), Math.min(folio.n, to - folio.lblk));
    }
  }

  /** Takes blocks [a, b) out of a folio: what is left of it are up to two folios. */
  #cutFolio(folio: Folio, a: number, b: number): void {
    const { cache } = this;
    const busy = folio.pins > 0 || folio.loading !== null;
    const sides = [
      { from: 0, n: a },
      { from: b, n: folio.n - b },
    ].filter(({ from, n }) => n > 0 && (!busy || this.#anyDirty(folio, from, n)));
    const copies = busy ? sides.map((side) => this.#copyOf(folio, side)) : [];
    cache.clearDirty(folio, a, b - a);
    const dirty = sides.map((side) => this.#dirtyRuns(folio, side));
    cache.clearDirty(folio, 0, folio.n);
    this.remove(folio);
    if (!busy) {
      cache.clock.remove(folio);
      cache.arena.free(folio.unit + a, b - a);
    }
    for (const [i, { from, n }] of sides.entries()) {
      const unit = busy ? copies[i] : folio.unit + from;
      const part = this.#adopt(folio.lblk + from, n, unit);
      if (busy || folio.uptodate) cache.markUptodate(part, 0, n);
      for (const run of dirty[i]) cache.markDirty(part, run.from - from, run.n);
    }
  }

  #anyDirty(folio: Folio, from: number, n: number): boolean {
    return this.#dirtyRuns(folio, { from, n }).length > 0;
  }

  #dirtyRuns(
    folio: Folio,
    { from, n }: { from: number; n: number },
  ): { from: number; n: number }[] {
    const { kernels, arena } = this.cache;
    const runs: { from: number; n: number }[] = [];
    const end = folio.unit + from + n;
    for (let at = folio.unit + from; at < end; ) {
      const set = kernels.exports.bitmapNextSet(arena.dirty, at, end) >>> 0;
      if (set === end) break;
      at = kernels.exports.bitmapNextClear(arena.dirty, set, end) >>> 0;
      runs.push({ from: set - folio.unit, n: at - set });
    }
    return runs;
  }

  /** Units with the bytes of a part of a folio. */
  #copyOf(folio: Folio, { from, n }: { from: number; n: number }): number {
    const { cache } = this;
    const unit = cache.allocUnits(n);
    const { blockSize } = cache;
    cache.kernels.exports.copy(cache.arena.ptr(unit), folio.ptr + from * blockSize, n * blockSize);
    return unit;
  }

  #setTables(folio: Folio, value: Folio | undefined): void {
    const end = folio.lblk + folio.n;
    for (let at = folio.lblk; at < end; ) {
      const key = Math.floor(at / TABLE);
      const stop = Math.min(end, (key + 1) * TABLE);
      const table = this.#tables.get(key) ?? this.#newTable(key);
      table.slots.fill(value, at % TABLE, stop - key * TABLE);
      table.used += value === undefined ? at - stop : stop - at;
      if (table.used === 0) this.#tables.delete(key);
      if (table.used === 0 && this.#lastKey === key) this.#lastKey = -1;
      at = stop;
    }
  }

  #newTable(key: number): Table {
    const table = { slots: new Array<Folio | undefined>(TABLE).fill(undefined), used: 0 };
    this.#tables.set(key, table);
    return table;
  }
}
