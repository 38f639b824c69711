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
  readonly #tables = new Map<number, Table>();
  #lastKey = -1;
  #last = EMPTY;

  constructor(cache: Cache, ino: number) {
    this.cache = cache;
    this.ino = ino;
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
    }
    return end;
  }

  /** A folio without contents for [lblk, lblk + n), or shorter when memory is in pieces; nothing may hold those
   *  blocks. ENOMEM when everything is pinned. */
  create(lblk: number, n: number): Folio {
    const { cache } = this;
    let want = n;
    let unit = cache.tryAllocUnits(want);
    while (unit < 0 && want > 1) {
      want = Math.max(1, want >> 2);
      unit = cache.tryAllocUnits(want);
    }
    if (unit < 0) unit = cache.allocUnits(1);
    const folio = new Folio(this, lblk, unit, want, cache.arena.ptr(unit));
    this.#setTables(folio, folio);
    cache.clock.insert(folio);
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
      if (folio.pins === 0 && folio.loading === null) this.cache.drop(folio);
      else this.remove(folio);
    }
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
