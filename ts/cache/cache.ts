// The page cache of one mount: metadata buffers by physical block and folios by file, in one linear memory of
// fixed size. It never waits: what is not there is fetched through `fill`, handed down by the driver, or named in
// the Missing signal. `pblk` and `lblk` are blocks; a pointer is valid until the step ends.

import { Ext4Error } from '../errno.ts';
import type { Kernels } from '../wasm.ts';
import { Arena } from './arena.ts';
import { Buffer } from './buffer.ts';
import type { FileFolios, Folio } from './folio.ts';
import { type FolioRange, missing } from './missing.ts';
import { Clock, type Slot } from './slot.ts';

/** How the driver brings things in on the spot, on a synchronous device. */
export interface Fill {
  block(pblk: number): Buffer;
  folios(range: FolioRange): void;
  /** Whole blocks of a file from `pos` on, past the cache. */
  direct(file: FileFolios, pos: number, into: Uint8Array): void;
}

/** As `to.set(from, at)`, of ranges that do not overlap. */
export type CopyBytes = (to: Uint8Array, at: number, from: Uint8Array) => void;

/** From so many bytes on the platform's way to copy is worth its call (measured: set() takes 1.2 to 2.4 times as long
 *  where one side is shared memory, and less below). */
const BULK = 16384;

/** Block numbers modulo this find a buffer without asking the map. */
const NEAR = 256;

/** Slots that a turn keeps. The list keeps its room when they are let go: how many count stands beside. */
export class Held {
  readonly slots: Slot[] = [];
  count = 0;

  release(): void {
    const { slots } = this;
    for (let i = 0; i < this.count; i++) slots[i].pins--;
    this.count = 0;
  }
}

export class Cache {
  readonly kernels: Kernels;
  readonly arena: Arena;
  readonly blockSize: number;
  /** Blocks of the file system: no buffer lies beyond. */
  blocks: number;
  readonly clock = new Clock();
  readonly buffers = new Map<number, Buffer>();
  /** How many bytes at once are copied, where the platform knows better than set(). */
  bulkCopy: CopyBytes | null = null;
  /** Null: nothing is fetched on the spot, get() throws Missing. */
  fill: Fill | null = null;
  /** The turn whose step runs, and what it holds. */
  turn = 0;
  held: Held = new Held();
  evictions = 0;
  /** Blocks of folios that hold newer data than the device; and how many ever stopped to. */
  dirtyBlocks = 0;
  cleaned = 0;
  /** Blocks of all folios that have a dirty one: none of them can be dropped. */
  dirtyUnits = 0;
  readonly #memory: ArrayBufferLike;
  /** The last buffer asked for of each block number modulo NEAR: most are asked for again. A dropped one is not up to
   *  date. */
  readonly #near: (Buffer | undefined)[] = new Array(NEAR).fill(undefined);

  constructor(kernels: Kernels, blockSize: number, blocks: number, bytes: number) {
    this.kernels = kernels;
    this.blockSize = blockSize;
    this.blocks = blocks;
    this.#memory = kernels.u8.buffer;
    this.arena = new Arena(kernels, blockSize, bytes);
  }

  /** The buffer of a block, up to date and held until the turn ends. Throws Missing; EUCLEAN beyond the end. */
  get(pblk: number): Buffer {
    let buffer = this.#near[pblk % NEAR];
    if (buffer?.pblk !== pblk || !buffer.uptodate) {
      buffer = this.buffers.get(pblk);
      if (buffer === undefined || !buffer.uptodate) return this.#miss(pblk);
      this.#near[pblk % NEAR] = buffer;
    }
    buffer.referenced = true;
    if (buffer.turn !== this.turn) this.hold(buffer);
    return buffer;
  }

  /** True when get() would not have to fetch. */
  has(pblk: number): boolean {
    return this.buffers.get(pblk)?.uptodate === true;
  }

  /** Keeps a slot until the running turn ends. */
  hold(slot: Slot): void {
    slot.turn = this.turn;
    slot.pins++;
    const { held } = this;
    held.slots[held.count++] = slot;
  }

  #miss(pblk: number): Buffer {
    this.checkBlock(pblk);
    if (this.fill === null) throw missing.block(pblk);
    const buffer = this.fill.block(pblk);
    this.hold(buffer);
    return buffer;
  }

  /** EUCLEAN when the block lies outside the file system. */
  checkBlock(pblk: number): void {
    if (pblk >= 0 && pblk < this.blocks && Number.isInteger(pblk)) return;
    throw new Ext4Error('EUCLEAN', {
      record: 'block pointer',
      block: pblk,
      reason: `outside the file system of ${this.blocks} blocks`,
    });
  }

  /** A buffer without contents, to be filled by a device call; the caller sets uptodate. */
  newBuffer(pblk: number): Buffer {
    const unit = this.allocUnits(1);
    const buffer = new Buffer(this, pblk, unit, this.arena.ptr(unit));
    this.buffers.set(pblk, buffer);
    this.#near[pblk % NEAR] = buffer;
    this.clock.insert(buffer);
    return buffer;
  }

  /** `n` contiguous units, dropping what is clean and unpinned. ENOMEM when nothing can be dropped. */
  allocUnits(n: number): number {
    const unit = this.tryAllocUnits(n);
    if (unit >= 0) return unit;
    throw new Ext4Error('ENOMEM', `${n} blocks in a cache of ${this.arena.units}: all is pinned`);
  }

  /** As allocUnits, but -1. A big range drops at most four times its size before it gives up. */
  tryAllocUnits(n: number): number {
    let budget = n === 1 ? this.arena.units : 4 * n;
    for (;;) {
      const unit = this.arena.alloc(n);
      if (unit >= 0 || budget <= 0) return unit;
      const victim = this.clock.victim();
      if (victim === null) return -1;
      budget -= victim.n;
      this.evictions++;
      this.drop(victim);
    }
  }

  /** Forgets a slot and gives its memory back. */
  drop(slot: Slot): void {
    slot.forget();
    this.clock.remove(slot);
    this.arena.free(slot.unit, slot.n);
  }

  /** Drops everything that nobody pins: after a replay wrote under the cache. */
  dropClean(): void {
    for (const slot of [...this.clock.slots()]) {
      if (slot.pins === 0 && !slot.dirty && slot.loading === null) this.drop(slot);
    }
  }

  /** Pins of all slots together: zero at unmount. */
  pinCount(): number {
    let pins = 0;
    for (const slot of this.clock.slots()) pins += slot.pins;
    return pins;
  }

  /** Copies `from` to byte `at` of `to`: into linear memory, or out of it. */
  copyBytes(to: Uint8Array, at: number, from: Uint8Array): void {
    if (from.length >= BULK && this.bulkCopy !== null) this.bulkCopy(to, at, from);
    else to.set(from, at);
  }

  /** A view on a slot's bytes; for device calls and leases. */
  bytes(slot: Slot): Uint8Array {
    return this.kernels.u8.subarray(slot.ptr, slot.ptr + slot.n * this.blockSize);
  }

  /** A view on [ptr, ptr + n). Made anew: keeping one a page costs the processor's cache more than making it (bench
   *  read: random 4 KiB). */
  view(ptr: number, n: number): Uint8Array {
    return new Uint8Array(this.#memory, ptr, n);
  }

  /** Sets the uptodate bits of blocks [from, from + n) of a folio. */
  markUptodate(folio: Folio, from: number, n: number): void {
    const { exports } = this.kernels;
    const { uptodate } = this.arena;
    exports.bitmapSet(uptodate, folio.unit + from, n);
    const end = folio.unit + folio.n;
    folio.uptodate = exports.bitmapNextClear(uptodate, folio.unit, end) >>> 0 === end;
  }

  /** Sets the dirty bits of blocks [from, from + n) of a folio that is up to date. */
  markDirty(folio: Folio, from: number, n: number): void {
    const { exports } = this.kernels;
    const { dirty } = this.arena;
    const at = folio.unit + from;
    const fresh = n - exports.bitmapCount(dirty, at, at + n);
    if (fresh === 0) return;
    exports.bitmapSet(dirty, at, n);
    this.dirtyBlocks += fresh;
    if (!folio.dirty) this.dirtyUnits += folio.n;
    folio.dirty = true;
    folio.file.dirty.add(folio);
  }

  /** Clears the dirty bits of blocks [from, from + n): they are on their way to the device, or dropped. */
  clearDirty(folio: Folio, from: number, n: number): void {
    if (!folio.dirty || n === 0) return;
    const { exports } = this.kernels;
    const { dirty } = this.arena;
    const at = folio.unit + from;
    const gone = exports.bitmapCount(dirty, at, at + n);
    exports.bitmapClear(dirty, at, n);
    this.dirtyBlocks -= gone;
    this.cleaned += gone;
    const end = folio.unit + folio.n;
    if (exports.bitmapNextSet(dirty, folio.unit, end) >>> 0 !== end) return;
    folio.dirty = false;
    this.dirtyUnits -= folio.n;
    folio.file.dirty.delete(folio);
  }

  /** True when block number `at` of a folio is dirty. */
  isDirty(folio: Folio, at: number): boolean {
    if (!folio.dirty) return false;
    const bit = folio.unit + at;
    return this.kernels.exports.bitmapNextSet(this.arena.dirty, bit, bit + 1) >>> 0 === bit;
  }
}
