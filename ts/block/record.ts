// Records what reaches a device, for power-cut tests: every write with a copy of its bytes, every flush, and when each
// began and settled, on a clock that ticks at both. From that follows, for each moment, what a power cut must have
// left on the disk and what it may have: see `cut`. Reads pass through; `direct` does not.
//
//   must have:  a write that had settled when a flush began that has settled; a settled fua write
//   may have:   every other write that has begun, whole or torn at 512 bytes; a discard not yet flushed
//   order:      overlapping writes take effect in the order of their beginning, so a state is a set of writes

import { Ext4Error } from '../errno.ts';
import { BaseDevice, joinParts, readRanges, readRangesSync } from './base.ts';
import type { BlockDevice, DeviceOptions, ReadRange, WriteOptions } from './device.ts';
import { isSyncDevice } from './device.ts';

interface Stamp {
  /** Place in the log. */
  readonly seq: number;
  /** Clock when the request came. */
  readonly begin: number;
  /** Clock when it settled; Infinity while in flight, and for ever when it failed. */
  end: number;
}

export interface WriteRecord extends Stamp {
  readonly kind: 'write';
  readonly dpos: number;
  readonly bytes: Uint8Array;
  readonly fua: boolean;
}

export interface DiscardRecord extends Stamp {
  readonly kind: 'discard';
  readonly dpos: number;
  readonly len: number;
}

export interface FlushRecord extends Stamp {
  readonly kind: 'flush';
}

export type LogRecord = WriteRecord | DiscardRecord | FlushRecord;
export type ChangeRecord = WriteRecord | DiscardRecord;

/** The writes between two barriers, and the flush that made them durable; null for those after the last. */
export interface Epoch {
  changes: ChangeRecord[];
  flush: FlushRecord | null;
}

/** What a power cut at one moment leaves. */
export interface Cut {
  durable: ChangeRecord[];
  /** Any subset of these may be there too. */
  pending: ChangeRecord[];
}

/** Takes from the pending changes those that made it, whole or as pieces made by `tear`. */
export type Choose = (pending: ChangeRecord[]) => Iterable<ChangeRecord>;

export interface Recorder extends BlockDevice {
  readonly log: readonly LogRecord[];
  /** The clock now: cuts are asked for from 0 to this. */
  readonly clock: number;
  epochs(): Epoch[];
  cut(clock?: number): Cut;
  /** Writes the state after a cut onto a device that holds what this one held when recording began. */
  replay(target: BlockDevice, choose: Choose, clock?: number): Promise<void>;
  replaySync(target: BlockDevice, choose: Choose, clock?: number): void;
  /** Forgets the log: recording begins anew with the device as it is. EBUSY while requests are in flight. */
  forget(): void;
}

/** A recorder in front of `device`; synchronous when the device is. Closing it closes the device, and keeps the log. */
export function record(device: BlockDevice): Recorder {
  return isSyncDevice(device) ? new SyncRecording(device) : new Recording(device);
}

/** The 512-byte sectors [from, to) of a write, as a write of their own. */
export function tear(write: WriteRecord, from: number, to: number): WriteRecord {
  const bytes = write.bytes.subarray(from * 512, to * 512);
  return { ...write, dpos: write.dpos + from * 512, bytes };
}

class Recording extends BaseDevice implements Recorder {
  readonly log: LogRecord[] = [];
  readonly fua: boolean;
  readonly discardZeroes = false;
  readonly discard?: BlockDevice['discard'];
  protected readonly below: BlockDevice;
  #clock = 0;

  constructor(below: BlockDevice) {
    super(below);
    this.below = below;
    this.fua = below.fua;
    if (below.discard) {
      this.discard = async (dpos, len) => {
        const entry = this.begin(this.discardRecord(dpos, len));
        await below.discard?.(dpos, len);
        this.settle(entry);
      };
    }
  }

  get clock(): number {
    return this.#clock;
  }

  read(into: Uint8Array, dpos: number, o?: DeviceOptions): Promise<void> {
    return this.below.read(into, dpos, o);
  }

  readv(ranges: ReadRange[], o?: DeviceOptions): Promise<void> {
    return readRanges(this.below, ranges, o);
  }

  async write(from: Uint8Array, dpos: number, o?: WriteOptions): Promise<void> {
    const entry = this.begin(this.writeRecord([from], dpos, o));
    await this.below.write(from, dpos, o);
    this.settle(entry);
  }

  async writev(parts: Uint8Array[], dpos: number): Promise<void> {
    const entry = this.begin(this.writeRecord(parts, dpos));
    await this.below.write(entry.bytes, dpos);
    this.settle(entry);
  }

  async flush(): Promise<void> {
    this.checkOpen();
    const entry = this.begin(flushRecord());
    await this.below.flush();
    this.settle(entry);
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.below.close();
  }

  forget(): void {
    if (this.log.some((entry) => entry.end === Number.POSITIVE_INFINITY)) {
      throw new Ext4Error('EBUSY', 'recorded requests are in flight, or failed');
    }
    this.log.length = 0;
    this.#clock = 0;
  }

  epochs(): Epoch[] {
    const flushes = this.log.filter((entry) => entry.kind === 'flush' && settled(entry));
    const epochs: Epoch[] = flushes.map((flush) => ({ changes: [], flush: flush as FlushRecord }));
    epochs.push({ changes: [], flush: null });
    for (const change of this.#changes()) {
      const at = flushes.findIndex((flush) => flush.begin >= change.end);
      epochs.at(at)?.changes.push(change);
    }
    return epochs;
  }

  cut(clock: number = this.#clock): Cut {
    const flushes = this.log.filter((entry) => entry.kind === 'flush' && entry.end <= clock);
    const barrier = flushes.reduce((last, flush) => Math.max(last, flush.begin), -1);
    const begun = this.#changes().filter((change) => change.begin <= clock);
    const isDurable = (change: ChangeRecord) =>
      change.end <= barrier || (change.kind === 'write' && change.fua && change.end <= clock);
    return {
      durable: begun.filter(isDurable),
      pending: begun.filter((change) => !isDurable(change)),
    };
  }

  async replay(target: BlockDevice, choose: Choose, clock?: number): Promise<void> {
    for (const change of this.#outcome(choose, clock)) {
      if (change.kind === 'write') await target.write(change.bytes, change.dpos);
      else await target.discard?.(change.dpos, change.len);
    }
  }

  replaySync(target: BlockDevice, choose: Choose, clock?: number): void {
    if (!isSyncDevice(target)) throw new Ext4Error('ENOTSUP', 'the target is asynchronous');
    for (const change of this.#outcome(choose, clock)) {
      if (change.kind === 'write') target.writeSync(change.bytes, change.dpos);
      else target.discardSync?.(change.dpos, change.len);
    }
  }

  /** What was durable and what was chosen, in the order of their beginning. */
  #outcome(choose: Choose, clock?: number): ChangeRecord[] {
    const { durable, pending } = this.cut(clock);
    return [...durable, ...choose(pending)].sort((a, b) => a.seq - b.seq);
  }

  #changes(): ChangeRecord[] {
    return this.log.filter((entry): entry is ChangeRecord => entry.kind !== 'flush');
  }

  /** Enters a request that is about to go down. */
  protected begin<T extends LogRecord>(entry: T): T {
    const stamped = { ...entry, seq: this.log.length, begin: ++this.#clock };
    this.log.push(stamped);
    return stamped;
  }

  protected settle(entry: LogRecord): void {
    entry.end = ++this.#clock;
  }

  /** A request that the device below would refuse is refused here, before it is in the log. */
  protected writeRecord(parts: Uint8Array[], dpos: number, o?: WriteOptions): WriteRecord {
    const bytes = joinParts(parts);
    this.checkWrite(dpos, bytes.length);
    return { kind: 'write', seq: 0, begin: 0, end: Infinity, dpos, bytes, fua: o?.fua ?? false };
  }

  protected discardRecord(dpos: number, len: number): DiscardRecord {
    this.checkWrite(dpos, len);
    return { kind: 'discard', seq: 0, begin: 0, end: Infinity, dpos, len };
  }
}

class SyncRecording extends Recording {
  readonly discardSync?: BlockDevice['discardSync'];

  constructor(below: BlockDevice) {
    super(below);
    if (below.discardSync) {
      this.discardSync = (dpos, len) => {
        const entry = this.begin(this.discardRecord(dpos, len));
        below.discardSync?.(dpos, len);
        this.settle(entry);
      };
    }
  }

  readSync(into: Uint8Array, dpos: number): void {
    this.below.readSync?.(into, dpos);
  }

  readvSync(ranges: ReadRange[]): void {
    readRangesSync(this.below, ranges);
  }

  writeSync(from: Uint8Array, dpos: number, o?: WriteOptions): void {
    const entry = this.begin(this.writeRecord([from], dpos, o));
    this.below.writeSync?.(from, dpos, o);
    this.settle(entry);
  }

  writevSync(parts: Uint8Array[], dpos: number): void {
    const entry = this.begin(this.writeRecord(parts, dpos));
    this.below.writeSync?.(entry.bytes, dpos);
    this.settle(entry);
  }

  flushSync(): void {
    this.checkOpen();
    const entry = this.begin(flushRecord());
    this.below.flushSync?.();
    this.settle(entry);
  }

  closeSync(): void {
    this.closed = true;
    this.below.closeSync?.();
  }
}

function flushRecord(): FlushRecord {
  return { kind: 'flush', seq: 0, begin: 0, end: Infinity };
}

function settled(entry: LogRecord): boolean {
  return entry.end !== Number.POSITIVE_INFINITY;
}
