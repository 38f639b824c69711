// The driver: the only code that waits, and the only catcher of Missing. It runs a step until nothing is missing,
// fetching in between; a flow's steps and I/O one after another. On a synchronous device the cache fills on the
// spot and steps never loop, unless forced misses are on, which behave as an asynchronous device does.

import { assert } from '../assert.ts';
import type { BlockDevice, ReadRange } from '../block/device.ts';
import type { Buffer } from '../cache/buffer.ts';
import { type Cache, type Fill, Held } from '../cache/cache.ts';
import type { FileFolios, Folio } from '../cache/folio.ts';
import { type FolioRange, type MissingKind, missing, type WaitKind } from '../cache/missing.ts';
import { Ext4Error } from '../errno.ts';
import type { Flow, IoRequest, LogRequest, Request, StepRequest } from '../flow.ts';
import { serve, serveSync, step } from '../flow.ts';
import type { Trace } from '../trace.ts';
import { Background } from './background.ts';
import { Locks } from './locks.ts';

/** At most this many asynchronous turns hold pins at once; the others wait in line. */
export const MAX_TURNS = 16;
/** A turn that misses more often than this is a bug: each run brings in what the last one lacked. */
const MAX_RUNS = 4096;

/** What a range of folios needs from the device; made by a step of the floor that knows mappings. */
export interface FillPlan {
  folios: Folio[];
  reads: ReadRange[];
}
export type Planner = (range: FolioRange) => FillPlan;
/** What whole blocks of a file from `pos` on need from the device, to lie in `into`. */
export type DirectPlanner = (file: FileFolios, pos: number, into: Uint8Array) => ReadRange[];

type Taken = ReturnType<typeof missing.take>;

interface Turn {
  id: number;
  held: Held;
}

export class Driver implements Fill {
  readonly cache: Cache;
  readonly device: BlockDevice;
  readonly sync: boolean;
  readonly trace: Trace;
  readonly plan: Planner;
  readonly planDirect: DirectPlanner;
  deviceReads = 0;
  deviceReadBytes = 0;
  deviceWrites = 0;
  deviceWriteBytes = 0;
  deviceFlushes = 0;
  reruns = 0;
  /** Sees what a step threw, once it was undone and nothing runs: called in the driver, must not throw. */
  onError: ((error: unknown) => void) | null = null;
  /** Commits, checkpoints and writeback. */
  readonly background: Background;
  readonly #locks: Locks;
  /** Flows that run. */
  readonly #live = new Set<Promise<unknown>>();
  #turns = 0;
  /** Synchronous turns that run inside each other; the first is none. */
  readonly #nested: Turn[] = [{ id: 0, held: new Held() }];
  #depth = 0;
  #running = 0;
  readonly #line: (() => void)[] = [];

  constructor(cache: Cache, device: BlockDevice, o: DriverOptions) {
    this.cache = cache;
    this.device = device;
    this.sync = o.sync;
    this.trace = o.trace;
    this.plan = o.plan;
    this.planDirect = o.planDirect;
    this.#locks = new Locks(o.frozen, o.turns);
    this.background = new Background(
      cache,
      (flow) => this.#drive(flow),
      (flow) => this.#driveAsync(flow, true),
    );
    if (o.sync && !o.forceMiss) cache.fill = this;
  }

  // ---- synchronous

  /** Runs a flow to its end inside the call. EOPNOTSUPP on an asynchronous mount. */
  runSync<T>(flow: Flow<T>): T {
    if (!this.sync) throw new Ext4Error('EOPNOTSUPP', ASYNC_ONLY);
    const result = this.#drive(flow);
    this.trace.deliver();
    return result;
  }

  #drive<T>(flow: Flow<T>): T {
    let r = flow.next();
    while (!r.done) {
      const q: Request = r.value;
      if (q.op === 'step') r = flow.next(this.#stepSync(q));
      else if (isLogRequest(q)) r = flow.next(this.background.logSync(q.op));
      else if (q.op === 'writeback') r = flow.next(this.background.writeBackSync(q.ino));
      else if (q.op === 'lock' || q.op === 'freeze') r = flow.next();
      else r = flow.next(this.#serveSync(q));
    }
    return r.value;
  }

  #serveSync(q: IoRequest): unknown {
    this.#count(q);
    if (!('soft' in q) || !q.soft) return serveSync(q);
    try {
      return serveSync(q);
    } catch (error) {
      return softly(error);
    }
  }

  #stepSync(q: StepRequest): unknown {
    const fn = q.fn as (a: unknown, b: unknown, c: unknown) => unknown;
    if (!q.soft) return this.turnSync(fn, q.a, q.b, q.c);
    try {
      return this.turnSync(fn, q.a, q.b, q.c);
    } catch (error) {
      return softly(error);
    }
  }

  /** Runs one step on a synchronous mount. */
  turnSync<A, B, C, R>(fn: (a: A, b: B, c: C) => R, a: A, b: B, c: C): R {
    const outer = this.#nested[this.#depth];
    const turn = this.#nestedTurn();
    for (let runs = 0; ; runs++) {
      assert(runs < MAX_RUNS, 'a turn ends');
      this.#enter(turn);
      try {
        const result = fn(a, b, c);
        this.#leaveSync(turn, outer);
        return result;
      } catch (signal) {
        this.background.journal?.undo();
        if (signal !== missing) {
          this.#leaveSync(turn, outer);
          if (this.#depth === 0) this.onError?.(signal);
          throw signal;
        }
      }
      this.reruns++;
      try {
        this.#supplySync(missing.take(), turn);
      } catch (error) {
        this.#leaveSync(turn, outer);
        throw error;
      }
    }
  }

  /** Synchronous turns nest and end in order: their records are used again. */
  #nestedTurn(): Turn {
    const depth = ++this.#depth;
    if (depth === this.#nested.length) this.#nested.push({ id: 0, held: new Held() });
    const turn = this.#nested[depth];
    turn.id = ++this.#turns;
    return turn;
  }

  #leaveSync(turn: Turn, outer: Turn): void {
    this.#depth--;
    this.#leave(turn, outer);
  }

  #supplySync(taken: Taken, turn: Turn): void {
    if (isWait(taken.kind)) this.background.supplySync(taken.kind);
    this.#enter(turn);
    for (const pblk of taken.blocks) this.cache.hold(this.block(pblk));
    for (const range of taken.folios) this.folios(range);
  }

  /** Fetches one metadata block on the spot. */
  block(pblk: number): Buffer {
    const { cache, device } = this;
    const old = cache.buffers.get(pblk);
    if (old?.uptodate) return old;
    const buffer = old ?? cache.newBuffer(pblk);
    const into = cache.bytes(buffer);
    this.#countRead(into.length);
    buffer.pins++;
    try {
      device.readSync!(into, pblk * cache.blockSize);
    } catch (error) {
      buffer.pins--;
      cache.drop(buffer);
      throw error;
    }
    buffer.pins--;
    buffer.uptodate = true;
    return buffer;
  }

  /** Fetches a range of folios on the spot. */
  folios(range: FolioRange): void {
    const plan = this.turnSync(this.plan, range, undefined, undefined);
    try {
      this.#readSync(plan.reads);
    } catch (error) {
      this.#dropFolios(plan.folios);
      if (range.ahead === 0) throw error;
      this.folios({ ...range, ahead: 0 });
      return;
    }
    this.#foliosDone(plan.folios);
  }

  /** Reads whole blocks of a file straight into the caller's memory. */
  direct(file: FileFolios, pos: number, into: Uint8Array): void {
    this.#readSync(this.turnSync(this.planDirect, file, pos, into));
  }

  #readSync(reads: ReadRange[]): void {
    for (const { into } of reads) this.#countRead(into.length);
    if (reads.length > 1 && this.device.readvSync) this.device.readvSync(reads);
    else for (const { into, dpos } of reads) this.device.readSync!(into, dpos);
  }

  // ---- asynchronous

  /** Runs a flow; on a synchronous mount all of it happens inside the call. */
  async run<T>(flow: Flow<T>): Promise<T> {
    if (this.sync) return this.runSync(flow);
    const work = this.#driveAsync(flow);
    this.#live.add(work);
    try {
      return await work;
    } finally {
      this.#live.delete(work);
      this.trace.deliver();
    }
  }

  /** Runs a step that nobody waits for, now or soon; what it throws is nobody's. */
  runAside<A, B>(fn: (a: A, b: B) => unknown, a: A, b: B): void {
    if (!this.sync) {
      const work = this.#driveAsync(step(fn, a, b), true).catch(() => {});
      this.#live.add(work);
      void work.then(() => this.#live.delete(work));
      return;
    }
    try {
      this.turnSync(fn, a, b, undefined);
    } catch {
      // it was undone
    }
  }

  /** Settles when no flow runs. */
  async idle(): Promise<void> {
    while (this.#live.size > 0) await Promise.allSettled([...this.#live]);
  }

  /** `inner`: for work that turns wait for; it takes no place in their line. */
  async #driveAsync<T>(flow: Flow<T>, inner = false): Promise<T> {
    const release: (() => void)[] = [];
    try {
      return await this.#driveLocked(flow, inner, release);
    } finally {
      for (const free of release) free();
    }
  }

  async #driveLocked<T>(flow: Flow<T>, inner: boolean, release: (() => void)[]): Promise<T> {
    let r = flow.next();
    while (!r.done) {
      const q: Request = r.value;
      if (q.op === 'step') r = flow.next(await (inner ? this.#turn(q) : this.#step(q)));
      else if (isLogRequest(q)) r = flow.next(await this.background.log(q.op));
      else if (q.op === 'lock') r = flow.next(await this.#locks.take(q.inos, release));
      else if (q.op === 'writeback') r = flow.next(await this.background.writeBack(q.ino));
      else if (q.op === 'freeze') {
        this.#locks.freeze(q.ino, release);
        r = flow.next(await this.background.drained());
      } else r = flow.next(await this.#serve(q));
    }
    return r.value;
  }

  async #serve(q: IoRequest): Promise<unknown> {
    this.#count(q);
    if (!('soft' in q) || !q.soft) return serve(q);
    return serve(q).catch(softly);
  }

  async #step(q: StepRequest): Promise<unknown> {
    if (this.#running >= MAX_TURNS) await new Promise<void>((go) => this.#line.push(go));
    this.#running++;
    try {
      return await this.#turn(q);
    } finally {
      this.#running--;
      this.#line.shift()?.();
    }
  }

  #turn(q: StepRequest): Promise<unknown> {
    return q.soft ? this.#runTurn(q).catch(softly) : this.#runTurn(q);
  }

  async #runTurn(q: StepRequest): Promise<unknown> {
    const turn = this.#newTurn();
    const none = this.#nested[0];
    const fn = q.fn as (a: unknown, b: unknown, c: unknown) => unknown;
    for (let runs = 0; ; runs++) {
      assert(runs < MAX_RUNS, 'a turn ends');
      this.#enter(turn);
      try {
        const result = fn(q.a, q.b, q.c);
        this.#leave(turn, none);
        return result;
      } catch (signal) {
        this.background.journal?.undo();
        if (signal !== missing) {
          this.#leave(turn, none);
          this.onError?.(signal);
          throw signal;
        }
      }
      this.reruns++;
      try {
        await this.#supply(missing.take(), turn);
      } catch (error) {
        this.#leave(turn, none);
        throw error;
      }
    }
  }

  async #supply(taken: Taken, turn: Turn): Promise<void> {
    if (isWait(taken.kind)) await this.background.supply(taken.kind);
    const fetched = await Promise.allSettled(taken.blocks.map((pblk) => this.#fetchBlock(pblk)));
    this.#enter(turn);
    for (const result of fetched) {
      if (result.status === 'rejected') continue;
      if (result.value.turn !== turn.id) this.cache.hold(result.value);
      result.value.pins--;
    }
    for (const result of fetched) if (result.status === 'rejected') throw result.reason;
    for (const range of taken.folios) await this.#fetchFolios(range);
  }

  /** Comes back pinned once, so that nothing drops it before its turn holds it. */
  async #fetchBlock(pblk: number): Promise<Buffer> {
    const { cache } = this;
    const buffer = cache.buffers.get(pblk) ?? cache.newBuffer(pblk);
    buffer.pins++;
    if (buffer.uptodate) return buffer;
    buffer.loading ??= this.#load(cache.bytes(buffer), pblk * cache.blockSize);
    try {
      await buffer.loading;
    } catch (error) {
      buffer.pins--;
      buffer.loading = null;
      if (buffer.pins === 0 && cache.buffers.get(pblk) === buffer) cache.drop(buffer);
      throw error;
    }
    buffer.loading = null;
    buffer.uptodate = true;
    return buffer;
  }

  async #load(into: Uint8Array, dpos: number): Promise<void> {
    this.#countRead(into.length);
    await this.device.read(into, dpos);
  }

  async #fetchFolios(range: FolioRange): Promise<void> {
    const end = range.lblk + range.count;
    for (let at = range.file.next(range.lblk, end); at < end; ) {
      const folio = range.file.find(at) as Folio;
      if (folio.loading !== null) await folio.loading.catch(() => {});
      at = range.file.next(folio.lblk + folio.n, end);
    }
    const request = { op: 'step', fn: this.plan, a: range, b: undefined, c: undefined } as const;
    const plan = (await this.#turn(request as unknown as StepRequest)) as FillPlan;
    if (plan.folios.length === 0) return;
    const loading = this.#loadFolios(plan);
    for (const folio of plan.folios) folio.loading = loading;
    try {
      await loading;
    } catch (error) {
      this.#dropFolios(plan.folios);
      if (range.ahead === 0) throw error;
      return this.#fetchFolios({ ...range, ahead: 0 });
    }
    this.#foliosDone(plan.folios);
  }

  async #loadFolios({ reads }: FillPlan): Promise<void> {
    for (const { into } of reads) this.#countRead(into.length);
    if (reads.length === 0) return;
    await serve({ op: 'read', device: this.device, ranges: reads });
  }

  // ---- both

  #newTurn(): Turn {
    return { id: ++this.#turns, held: new Held() };
  }

  #enter(turn: Turn): void {
    this.cache.turn = turn.id;
    this.cache.held = turn.held;
  }

  #leave(turn: Turn, outer: Turn): void {
    turn.held.release();
    this.#enter(outer);
  }

  #foliosDone(folios: Folio[]): void {
    for (const folio of folios) {
      folio.loading = null;
      folio.pins--;
      if (folio.detached) this.cache.drop(folio);
      else this.cache.markUptodate(folio, 0, folio.n);
    }
  }

  #dropFolios(folios: Folio[]): void {
    for (const folio of folios) {
      folio.loading = null;
      folio.pins--;
      this.cache.drop(folio);
    }
  }

  #count(q: IoRequest): void {
    if (q.op === 'read') for (const { into } of q.ranges) this.#countRead(into.length);
    else if (q.op === 'flush') this.deviceFlushes++;
    else if (q.op !== 'discard') {
      this.deviceWrites++;
      const parts = q.op === 'write' ? [q.from] : q.parts;
      for (const { length } of parts) this.deviceWriteBytes += length;
    }
  }

  /** Reads [dpos, dpos + len) to `into` from byte `at` on, on a synchronous device. */
  readAt(into: Uint8Array, at: number, len: number, dpos: number): void {
    this.#countRead(len);
    this.device.readSync!(len === into.length ? into : into.subarray(at, at + len), dpos);
  }

  #countRead(bytes: number): void {
    this.deviceReads++;
    this.deviceReadBytes += bytes;
  }
}

export interface DriverOptions {
  /** Inodes that writeback leaves alone for now. */
  frozen: Set<number>;
  /** Inodes whose turn somebody has. */
  turns: Set<number>;
  sync: boolean;
  forceMiss: boolean;
  trace: Trace;
  plan: Planner;
  planDirect: DirectPlanner;
}

const ASYNC_ONLY = 'this mount is asynchronous: use the promise or callback form';

/** An error that a flow wants to see; a bug is thrown all the same. */
function softly(error: unknown): Ext4Error {
  if (error instanceof Ext4Error) return error;
  throw error;
}

function isWait(kind: MissingKind): kind is WaitKind {
  return kind === 'commit' || kind === 'space' || kind === 'writeback';
}

function isLogRequest(q: Request): q is LogRequest {
  return q.op === 'commit' || q.op === 'space';
}
