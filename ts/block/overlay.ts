// Copy on write: reads come from `upper` where it has been written through this overlay, else from `lower`, which is
// never written. Which blocks are present is kept in memory; `changes()` gives them out, and a later overlay takes
// them back. The block size is the larger of the two, so no block is ever half present.

import { Ext4Error } from '../errno.ts';
import { BaseDevice, readRanges, readRangesSync, settleAll, totalLength } from './base.ts';
import { BlockSet } from './blockset.ts';
import type { BlockDevice, DeviceOptions, ReadRange, WriteOptions } from './device.ts';
import { isSyncDevice } from './device.ts';
import { writeParts, writePartsSync } from './face.ts';

/** Bytes of the overlay that lie in `upper`. */
export interface Change {
  dpos: number;
  len: number;
}

export interface OverlayOptions {
  /** What an earlier overlay of the same two devices had written: `upper` holds it. */
  changes?: Iterable<Change>;
}

export interface OverlayDevice extends BlockDevice {
  /** What was written or discarded since the lower device, in order, adjacent ranges joined. */
  changes(): Change[];
}

/**
 * A device that looks like `lower` and keeps writes in `upper`, which is at least as large (EINVAL) and whose bytes are
 * not looked at until written. Synchronous when both are, writable when `upper` is. Flush reaches `upper` only;
 * closing closes both.
 */
export function overlay(
  lower: BlockDevice,
  upper: BlockDevice,
  o: OverlayOptions = {},
): OverlayDevice {
  if (upper.size < lower.size) {
    throw new Ext4Error('EINVAL', `upper device of ${upper.size} bytes over ${lower.size}`);
  }
  const both = isSyncDevice(lower) && isSyncDevice(upper);
  const made = both ? new SyncOverlay(lower, upper) : new Overlay(lower, upper);
  for (const { dpos, len } of o.changes ?? []) made.mark(dpos, len);
  return made;
}

class Overlay extends BaseDevice implements OverlayDevice {
  readonly fua: boolean;
  readonly discardZeroes: boolean;
  readonly discard?: BlockDevice['discard'];
  protected readonly lower: BlockDevice;
  protected readonly upper: BlockDevice;
  readonly #present = new BlockSet();

  constructor(lower: BlockDevice, upper: BlockDevice) {
    const blockSize = Math.max(lower.blockSize, upper.blockSize);
    const size = lower.size - (lower.size % blockSize);
    super({ size, blockSize, readOnly: upper.readOnly });
    this.lower = lower;
    this.upper = upper;
    this.fua = upper.fua;
    this.discardZeroes = upper.discardZeroes;
    if (upper.discard) {
      this.discard = async (dpos, len) => {
        this.checkWrite(dpos, len);
        await upper.discard?.(dpos, len);
        this.mark(dpos, len);
      };
    }
  }

  changes(): Change[] {
    const b = this.blockSize;
    return [...this.#present.runs()].map(([from, to]) => ({
      dpos: from * b,
      len: (to - from) * b,
    }));
  }

  /** The range is present from now on. EINVAL outside the device. */
  mark(dpos: number, len: number): void {
    this.checkRead(dpos, len);
    this.#present.add(dpos / this.blockSize, (dpos + len) / this.blockSize);
  }

  async read(into: Uint8Array, dpos: number, o?: DeviceOptions): Promise<void> {
    await this.readv([{ into, dpos }], o);
  }

  async readv(ranges: ReadRange[], o?: DeviceOptions): Promise<void> {
    const { lower, upper } = this.plan(ranges);
    await settleAll([readRanges(this.lower, lower, o), readRanges(this.upper, upper, o)]);
  }

  /** Present only once it has settled: a failed write of new blocks leaves the lower ones in sight. */
  async write(from: Uint8Array, dpos: number, o?: WriteOptions): Promise<void> {
    this.checkWrite(dpos, from.length);
    await this.upper.write(from, dpos, o);
    this.mark(dpos, from.length);
  }

  async writev(parts: Uint8Array[], dpos: number): Promise<void> {
    const len = totalLength(parts);
    this.checkWrite(dpos, len);
    await writeParts(this.upper, parts, dpos);
    this.mark(dpos, len);
  }

  async flush(): Promise<void> {
    this.checkOpen();
    await this.upper.flush();
  }

  async close(): Promise<void> {
    this.closed = true;
    await settleAll([this.lower.close(), this.upper.close()]);
  }

  /** Cuts ranges at the borders of what is present. */
  protected plan(ranges: ReadRange[]): { lower: ReadRange[]; upper: ReadRange[] } {
    for (const { into, dpos } of ranges) this.checkRead(dpos, into.length);
    const plan = { lower: [] as ReadRange[], upper: [] as ReadRange[] };
    const b = this.blockSize;
    for (const { into, dpos } of ranges) {
      const to = (dpos + into.length) / b;
      for (let from = dpos / b; from < to; ) {
        const end = this.#present.runEnd(from, to);
        const part = into.subarray(from * b - dpos, end * b - dpos);
        const list = this.#present.has(from) ? plan.upper : plan.lower;
        list.push({ into: part, dpos: from * b });
        from = end;
      }
    }
    return plan;
  }
}

class SyncOverlay extends Overlay {
  readonly discardSync?: BlockDevice['discardSync'];

  constructor(lower: BlockDevice, upper: BlockDevice) {
    super(lower, upper);
    if (upper.discardSync) {
      this.discardSync = (dpos, len) => {
        this.checkWrite(dpos, len);
        upper.discardSync?.(dpos, len);
        this.mark(dpos, len);
      };
    }
  }

  readSync(into: Uint8Array, dpos: number): void {
    this.readvSync([{ into, dpos }]);
  }

  readvSync(ranges: ReadRange[]): void {
    const { lower, upper } = this.plan(ranges);
    readRangesSync(this.lower, lower);
    readRangesSync(this.upper, upper);
  }

  writeSync(from: Uint8Array, dpos: number, o?: WriteOptions): void {
    this.checkWrite(dpos, from.length);
    this.upper.writeSync?.(from, dpos, o);
    this.mark(dpos, from.length);
  }

  writevSync(parts: Uint8Array[], dpos: number): void {
    const len = totalLength(parts);
    this.checkWrite(dpos, len);
    writePartsSync(this.upper, parts, dpos);
    this.mark(dpos, len);
  }

  flushSync(): void {
    this.checkOpen();
    this.upper.flushSync?.();
  }

  closeSync(): void {
    this.closed = true;
    this.lower.closeSync?.();
    this.upper.closeSync?.();
  }
}
