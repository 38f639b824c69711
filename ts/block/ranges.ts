// Reading far bytes (HTTP, Blob) in units: a cache of whole units, one fetch for all who want the same unit, one
// request for units that lie near each other, a few requests at once. A read copies what arrives until it settles,
// never after. Bytes held: cacheBytes, and what is under way.

import { Ext4Error } from '../errno.ts';
import { BaseDevice, checkAbort, type Shape } from './base.ts';
import type { BlockDevice, DeviceOptions, ReadRange } from './device.ts';

export interface RangeOptions {
  /** Bytes of units kept. */
  cacheBytes?: number;
  /** Bytes fetched at least, and aligned to; a power of two. */
  unit?: number;
  /** Missing units at most this many bytes apart are fetched by one request. */
  gap?: number;
  /** Requests under way at once. */
  parallel?: number;
  /** Bytes of one request at most. */
  maxRequest?: number;
}

/** The bytes [from, to), all of them. */
export type FetchRange = (from: number, to: number, signal: AbortSignal) => Promise<Uint8Array>;

/** What was asked of the far end so far. */
export interface RangeCounts {
  requests: number;
  bytes: number;
}

/** One request under way. It is aborted when nobody waits for it any more. */
interface Transfer {
  first: number;
  last: number;
  waiting: number;
  abort: AbortController;
  bytes: Promise<Uint8Array>;
}

const DEFAULTS = {
  cacheBytes: 16 << 20,
  unit: 64 << 10,
  gap: 64 << 10,
  parallel: 6,
  maxRequest: 4 << 20,
};

/** Units that sequential reading fetches ahead at most: the window doubles up to this. */
const MAX_AHEAD = 16;

/** The options with their defaults. EINVAL for a unit that is no power of two of at least a block, or no number. */
export function rangeOptions(
  o: RangeOptions,
  defaults: RangeOptions,
  blockSize: number,
): Required<RangeOptions> {
  const all = { ...DEFAULTS, ...defaults };
  for (const key of Object.keys(DEFAULTS) as (keyof RangeOptions)[]) {
    all[key] = o[key] ?? all[key];
    if (!Number.isSafeInteger(all[key]) || all[key] < 0) {
      throw new Ext4Error('EINVAL', `${key} ${all[key]}`);
    }
  }
  const { unit } = all;
  if (unit < blockSize || unit > 2 ** 30 || (unit & (unit - 1)) !== 0) {
    throw new Ext4Error('EINVAL', `unit ${unit}`);
  }
  return { ...all, parallel: Math.max(1, all.parallel) };
}

/** A read-only, asynchronous device over a fetch function. */
export class RangeDevice extends BaseDevice implements BlockDevice {
  readonly fua = false;
  readonly discardZeroes = false;
  /** Counted since the device was opened. */
  readonly counts: RangeCounts = { requests: 0, bytes: 0 };
  readonly #fetch: FetchRange;
  readonly #o: Required<RangeOptions>;
  readonly #cache = new Map<number, Uint8Array>();
  readonly #flying = new Map<number, Transfer>();
  readonly #reads = new Set<Promise<void>>();
  readonly #queue: (() => void)[] = [];
  #running = 0;
  /** The unit behind the last request, and how many units the next one has if it begins there. */
  #next = -1;
  #window = 1;

  constructor(shape: Shape, fetch: FetchRange, o: Required<RangeOptions>) {
    super({ ...shape, readOnly: true });
    this.#fetch = fetch;
    this.#o = o;
  }

  read(into: Uint8Array, dpos: number, o?: DeviceOptions): Promise<void> {
    return this.readv([{ into, dpos }], o);
  }

  async readv(ranges: ReadRange[], o?: DeviceOptions): Promise<void> {
    checkAbort(o);
    for (const r of ranges) this.checkRead(r.dpos, r.into.length);
    const reading = this.#readv(ranges, o?.signal);
    this.#reads.add(reading);
    const done = () => void this.#reads.delete(reading);
    reading.then(done, done);
    await reading;
  }

  async write(from: Uint8Array, dpos: number): Promise<void> {
    this.checkWrite(dpos, from.length);
  }

  async flush(): Promise<void> {
    this.checkOpen();
  }

  /** Waits for the reads in flight. */
  async close(): Promise<void> {
    this.closed = true;
    await Promise.allSettled(this.#reads);
    this.#cache.clear();
  }

  /** Puts bytes that are known already into the cache: from `dpos` (a unit) on, whole units. */
  adopt(dpos: number, bytes: Uint8Array): void {
    const { unit } = this.#o;
    for (let off = 0; off < bytes.length; off += unit) {
      const part = bytes.subarray(off, off + unit);
      this.#keep((dpos + off) / unit, part.length === bytes.length ? part : part.slice());
    }
  }

  async #readv(ranges: ReadRange[], signal?: AbortSignal): Promise<void> {
    const transfers = this.#gather(ranges);
    if (transfers.length === 0) return;
    let settled = false;
    const arrived = transfers.map(async (transfer) => {
      const bytes = await transfer.bytes;
      if (!settled) copyOverlap(ranges, transfer.first * this.#o.unit, bytes);
    });
    try {
      await abortable(Promise.all(arrived), signal);
    } finally {
      settled = true;
      for (const transfer of transfers) this.#leave(transfer);
    }
  }

  /** Copies what is cached, and finds or starts the transfers for the rest; the caller waits for each. */
  #gather(ranges: ReadRange[]): Transfer[] {
    const { unit } = this.#o;
    const transfers = new Set<Transfer>();
    const missing: number[] = [];
    for (const index of unitsOf(ranges, unit)) {
      const cached = this.#cache.get(index);
      if (cached) {
        this.#keep(index, cached);
        copyOverlap(ranges, index * unit, cached);
        continue;
      }
      const flying = this.#flying.get(index);
      if (flying) transfers.add(flying);
      else missing.push(index);
    }
    for (const [first, last] of this.#requests(missing)) transfers.add(this.#start(first, last));
    for (const transfer of transfers) transfer.waiting++;
    return [...transfers];
  }

  /** Joins missing units to requests, and lengthens the last one when reading goes on where it had ended. */
  #requests(missing: number[]): [number, number][] {
    const { unit, gap, maxRequest } = this.#o;
    const requests: [number, number][] = [];
    for (const index of missing) {
      const request = requests.at(-1);
      const near = request && (index - request[1] - 1) * unit <= gap;
      if (near && (index + 1 - request[0]) * unit <= maxRequest) request[1] = index;
      else requests.push([index, index]);
    }
    const last = requests.at(-1);
    if (last) this.#readAhead(last, requests[0][0]);
    return requests;
  }

  #readAhead(last: [number, number], first: number): void {
    const { unit, cacheBytes, maxRequest } = this.#o;
    const most = Math.min(MAX_AHEAD, maxRequest / unit, cacheBytes / unit / 4);
    this.#window = first === this.#next ? Math.min(this.#window * 2, Math.max(1, most)) : 1;
    const end = Math.min(last[0] + this.#window, Math.ceil(this.size / unit));
    while (last[1] + 1 < end && !this.#known(last[1] + 1)) last[1]++;
    this.#next = last[1] + 1;
  }

  #known(index: number): boolean {
    return this.#cache.has(index) || this.#flying.has(index);
  }

  #start(first: number, last: number): Transfer {
    const abort = new AbortController();
    const bytes = this.#run(first, last, abort.signal);
    const transfer = { first, last, waiting: 0, abort, bytes };
    for (let index = first; index <= last; index++) {
      if (!this.#known(index)) this.#flying.set(index, transfer);
    }
    const landed = () => this.#land(transfer);
    bytes.then((all) => {
      landed();
      this.adopt(first * this.#o.unit, all);
    }, landed);
    return transfer;
  }

  async #run(first: number, last: number, signal: AbortSignal): Promise<Uint8Array> {
    const from = first * this.#o.unit;
    const to = Math.min(this.size, (last + 1) * this.#o.unit);
    if (this.#running >= this.#o.parallel) await new Promise<void>((go) => this.#queue.push(go));
    else this.#running++;
    try {
      signal.throwIfAborted();
      this.counts.requests++;
      const bytes = await this.#fetch(from, to, signal);
      this.counts.bytes += bytes.length;
      return bytes;
    } finally {
      const next = this.#queue.shift(); // the slot goes to the next in the queue, or is free
      if (next) next();
      else this.#running--;
    }
  }

  /** A reader goes, satisfied or not. */
  #leave(transfer: Transfer): void {
    if (--transfer.waiting > 0) return;
    this.#land(transfer);
    transfer.abort.abort();
  }

  #land(transfer: Transfer): void {
    for (let index = transfer.first; index <= transfer.last; index++) {
      if (this.#flying.get(index) === transfer) this.#flying.delete(index);
    }
  }

  /** Enters a unit as the newest, and drops the oldest ones beyond cacheBytes. */
  #keep(index: number, bytes: Uint8Array): void {
    this.#cache.delete(index);
    this.#cache.set(index, bytes);
    const most = Math.floor(this.#o.cacheBytes / this.#o.unit);
    for (const oldest of this.#cache.keys()) {
      if (this.#cache.size <= most) return;
      this.#cache.delete(oldest);
    }
  }
}

/** The units that ranges touch, in order, each once. */
function unitsOf(ranges: ReadRange[], unit: number): number[] {
  const units = new Set<number>();
  for (const { into, dpos } of ranges) {
    for (let at = Math.floor(dpos / unit); at * unit < dpos + into.length; at++) {
      if (into.length > 0) units.add(at);
    }
  }
  return [...units].sort((a, b) => a - b);
}

/** Copies what of `bytes`, which lie at `start`, the ranges ask for. */
function copyOverlap(ranges: ReadRange[], start: number, bytes: Uint8Array): void {
  for (const { into, dpos } of ranges) {
    const from = Math.max(dpos, start);
    const to = Math.min(dpos + into.length, start + bytes.length);
    if (from < to) into.set(bytes.subarray(from - start, to - start), from - dpos);
  }
}

/** The promise, or the signal's reason as soon as it is aborted. */
function abortable<T>(promise: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    const done = () => signal.removeEventListener('abort', abort);
    promise.then(resolve, reject).finally(done);
  });
}
