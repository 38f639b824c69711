// A device with bad days, for tests: asynchronous requests wait in a queue and complete in a chosen order; requests are
// counted; the k-th read, write, flush or discard fails; a failing write may leave some of its sectors behind.
// Errors also strike the synchronous forms; order does not. The device below must be synchronous.
//
//   const slow = slowDevice(memory, { order: 'random', seed });   // completes by itself, in an order of that seed
//   const slow = slowDevice(memory, { order: 'manual' });         // slow.queue, slow.complete(i), slow.settle()
//   slow.fail('write', 3, { tear: [0, 1] });                      // the third write from now: EIO, two sectors land

import { AssertionError } from '../ts/assert.ts';
import { BaseDevice, joinParts, totalLength } from '../ts/block/base.ts';
import type {
  BlockDevice,
  DeviceOptions,
  ReadRange,
  SyncBlockDevice,
  WriteOptions,
} from '../ts/block/device.ts';
import { Ext4Error } from '../ts/errno.ts';

export type RequestKind = 'read' | 'write' | 'flush' | 'discard';

export interface SlowOptions {
  /** How the queue empties: by itself in order, backwards or at random; or only when told. */
  order?: 'fifo' | 'lifo' | 'random' | 'manual';
  /** For `random`; print it with a failing test. */
  seed?: number;
  /** Also offer the synchronous forms. */
  sync?: boolean;
  /** A write whose bytes change before it completes rejects with an AssertionError. */
  stable?: boolean;
}

export interface FailOptions {
  /** Write only: the 512-byte sectors of the request that reach the device all the same. */
  tear?: Iterable<number>;
  /** How many requests fail from the k-th on; 1 by default, Infinity for a dead device. */
  count?: number;
  error?: Error;
}

/** One request in the queue. `dpos` and `len` of the first range where there are several. */
export interface QueuedRequest {
  readonly kind: RequestKind;
  readonly dpos: number;
  readonly len: number;
  readonly fua: boolean;
}

type Asked = Omit<QueuedRequest, 'fua'> & { fua?: boolean };

interface Job extends QueuedRequest {
  run(): void;
  resolve(): void;
  reject(error: unknown): void;
}

interface Fault extends FailOptions {
  from: number;
  to: number;
}

export interface SlowDevice extends BlockDevice {
  /** Requests made so far, synchronous ones too; bytes of reads and writes. */
  readonly counts: Record<RequestKind, number> & { bytesRead: number; bytesWritten: number };
  /** Most requests that were in flight at once. */
  readonly depth: number;
  readonly queue: readonly QueuedRequest[];
  /** Completes the request at this place of the queue (0: the oldest). Its promise settles before this one does. */
  complete(index?: number): Promise<void>;
  /** Completes everything, also what comes while it does, by the order chosen (manual: oldest first). */
  settle(): Promise<void>;
  /** The k-th request of this kind from now on (1: the next) fails with EIO, or `error`. */
  fail(kind: RequestKind, k?: number, o?: FailOptions): void;
  /** Forgets all faults. */
  heal(): void;
  resetCounts(): void;
}

/** A slow face of `below`. Closing it completes what is queued, then closes the device below. */
export function slowDevice(below: SyncBlockDevice, o: SlowOptions = {}): SlowDevice {
  return o.sync ? new SyncSlow(below, o) : new Slow(below, o);
}

/** The random numbers of a seed, [0, n). */
export function randomOf(seed: number): (n: number) => number {
  let x = (seed ^ 0x9e3779b9) >>> 0 || 1;
  return (n) => {
    x ^= (x << 13) >>> 0;
    x ^= x >>> 17;
    x = (x ^ (x << 5)) >>> 0;
    return x % n;
  };
}

class Slow extends BaseDevice implements SlowDevice {
  readonly fua: boolean;
  readonly discardZeroes: boolean;
  readonly discard?: BlockDevice['discard'];
  readonly counts = { read: 0, write: 0, flush: 0, discard: 0, bytesRead: 0, bytesWritten: 0 };
  readonly queue: Job[] = [];
  depth = 0;
  protected readonly below: SyncBlockDevice;
  readonly #o: SlowOptions;
  readonly #random: (n: number) => number;
  readonly #faults: Record<RequestKind, Fault[]> = { read: [], write: [], flush: [], discard: [] };
  #ticking = false;

  constructor(below: SyncBlockDevice, o: SlowOptions) {
    super(below);
    this.below = below;
    this.fua = below.fua;
    this.discardZeroes = below.discardZeroes;
    this.#o = o;
    this.#random = randomOf(o.seed ?? 1);
    if (below.discardSync) {
      this.discard = async (dpos, len) => {
        this.checkWrite(dpos, len);
        const fault = this.count('discard');
        await this.#ask({ kind: 'discard', dpos, len }, () => this.doDiscard(dpos, len, fault));
      };
    }
  }

  async read(into: Uint8Array, dpos: number, o?: DeviceOptions): Promise<void> {
    await this.readv([{ into, dpos }], o);
  }

  async readv(ranges: ReadRange[], o?: DeviceOptions): Promise<void> {
    o?.signal?.throwIfAborted();
    for (const r of ranges) this.checkRead(r.dpos, r.into.length);
    const len = totalLength(ranges.map((r) => r.into));
    const fault = this.count('read', len);
    await this.#ask({ kind: 'read', dpos: ranges[0]?.dpos ?? 0, len }, () => {
      o?.signal?.throwIfAborted();
      this.doRead(ranges, fault);
    });
  }

  async write(from: Uint8Array, dpos: number, o?: WriteOptions): Promise<void> {
    this.checkWrite(dpos, from.length);
    const fault = this.count('write', from.length);
    const then = this.#o.stable ? from.slice() : from;
    await this.#ask({ kind: 'write', dpos, len: from.length, fua: o?.fua }, () => {
      if (!sameBytes(then, from))
        throw new AssertionError(`bytes changed under a write at ${dpos}`);
      this.doWrite(from, dpos, o, fault);
    });
  }

  writev(parts: Uint8Array[], dpos: number): Promise<void> {
    return this.write(joinParts(parts), dpos);
  }

  async flush(): Promise<void> {
    this.checkOpen();
    const fault = this.count('flush');
    await this.#ask({ kind: 'flush', dpos: 0, len: 0 }, () => this.doFlush(fault));
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.settle();
    await this.below.close();
  }

  async complete(index = 0): Promise<void> {
    const [job] = this.queue.splice(index, 1);
    if (job === undefined) throw new RangeError(`no request ${index} in the queue`);
    try {
      job.run();
      job.resolve();
    } catch (error) {
      job.reject(error);
    }
    await new Promise((resolve) => setImmediate(resolve));
  }

  async settle(): Promise<void> {
    while (this.queue.length > 0) await this.complete(this.#pick());
  }

  fail(kind: RequestKind, k = 1, o: FailOptions = {}): void {
    const from = this.counts[kind] + k;
    this.#faults[kind].push({ ...o, from, to: from + (o.count ?? 1) });
  }

  heal(): void {
    for (const list of Object.values(this.#faults)) list.length = 0;
  }

  /** Faults are placed by count, so they move along. */
  resetCounts(): void {
    for (const kind of Object.keys(this.#faults) as RequestKind[]) {
      for (const fault of this.#faults[kind]) {
        fault.from -= this.counts[kind];
        fault.to -= this.counts[kind];
      }
    }
    for (const key of Object.keys(this.counts)) this.counts[key as RequestKind] = 0;
  }

  /** Counts a request when it is made, and finds its fault: completion order does not move faults. */
  protected count(kind: RequestKind, bytes = 0): Fault | undefined {
    const k = ++this.counts[kind];
    if (kind === 'read') this.counts.bytesRead += bytes;
    if (kind === 'write') this.counts.bytesWritten += bytes;
    return this.#faults[kind].find((fault) => k >= fault.from && k < fault.to);
  }

  protected doRead(ranges: ReadRange[], fault?: Fault): void {
    if (fault) throw errorOf(fault, 'read');
    for (const { into, dpos } of ranges) this.below.readSync(into, dpos);
  }

  /** A torn write leaves the sectors named; that needs a device below of 512-byte blocks. */
  protected doWrite(from: Uint8Array, dpos: number, o?: WriteOptions, fault?: Fault): void {
    if (fault === undefined) {
      this.below.writeSync(from, dpos, o);
      return;
    }
    for (const sector of fault.tear ?? []) {
      const off = sector * 512;
      if (off < from.length) this.below.writeSync(from.subarray(off, off + 512), dpos + off);
    }
    throw errorOf(fault, 'write');
  }

  protected doFlush(fault?: Fault): void {
    if (fault) throw errorOf(fault, 'flush');
    this.below.flushSync();
  }

  protected doDiscard(dpos: number, len: number, fault?: Fault): void {
    if (fault) throw errorOf(fault, 'discard');
    this.below.discardSync?.(dpos, len);
  }

  #ask(request: Asked, run: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      this.queue.push({ ...request, fua: request.fua ?? false, run, resolve, reject });
      this.depth = Math.max(this.depth, this.queue.length);
      this.#tick();
    });
  }

  /** Completes one request a turn of the event loop, so that others can queue up meanwhile. */
  #tick(): void {
    if (this.#o.order === 'manual' || this.#ticking) return;
    this.#ticking = true;
    setImmediate(async () => {
      if (this.queue.length > 0) await this.complete(this.#pick());
      this.#ticking = false;
      if (this.queue.length > 0) this.#tick();
    });
  }

  #pick(): number {
    if (this.#o.order === 'lifo') return this.queue.length - 1;
    return this.#o.order === 'random' ? this.#random(this.queue.length) : 0;
  }
}

class SyncSlow extends Slow {
  readonly discardSync?: BlockDevice['discardSync'];

  constructor(below: SyncBlockDevice, o: SlowOptions) {
    super(below, o);
    if (below.discardSync) {
      this.discardSync = (dpos, len) => {
        this.checkWrite(dpos, len);
        this.doDiscard(dpos, len, this.count('discard'));
      };
    }
  }

  readSync(into: Uint8Array, dpos: number): void {
    this.readvSync([{ into, dpos }]);
  }

  readvSync(ranges: ReadRange[]): void {
    for (const r of ranges) this.checkRead(r.dpos, r.into.length);
    this.doRead(ranges, this.count('read', totalLength(ranges.map((r) => r.into))));
  }

  writeSync(from: Uint8Array, dpos: number, o?: WriteOptions): void {
    this.checkWrite(dpos, from.length);
    this.doWrite(from, dpos, o, this.count('write', from.length));
  }

  writevSync(parts: Uint8Array[], dpos: number): void {
    this.writeSync(joinParts(parts), dpos);
  }

  flushSync(): void {
    this.checkOpen();
    this.doFlush(this.count('flush'));
  }

  closeSync(): void {
    this.closed = true;
    this.below.closeSync?.();
  }
}

function errorOf(fault: Fault, kind: RequestKind): Error {
  return fault.error ?? new Ext4Error('EIO', `injected ${kind} error`);
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a === b || a.every((byte, i) => byte === b[i]);
}
