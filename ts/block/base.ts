// What every back end does first: the shape of a device, its open state, and the order of refusals
// (closed EBADF, read-only EROFS, bad range EINVAL). For back ends only; others see BlockDevice.

import { Ext4Error } from '../errno.ts';
import type { BlockDevice, DeviceOptions, ReadRange } from './device.ts';
import { checkRange } from './device.ts';

export interface Shape {
  size: number;
  blockSize?: number;
  readOnly?: boolean;
}

export const DEFAULT_BLOCK = 512;
const MAX_BLOCK = 65536;

/** Zeroes to copy from: `fill` on shared memory is 25 times slower than `set`. */
export const ZEROES = new Uint8Array(65536);

/** Writes zeroes to a view, shared or not. */
export function zeroView(into: Uint8Array): void {
  for (let off = 0; off < into.length; off += ZEROES.length) {
    const len = Math.min(ZEROES.length, into.length - off);
    into.set(len === ZEROES.length ? ZEROES : ZEROES.subarray(0, len), off);
  }
}

/** The block size asked for, or 512. EINVAL unless a power of two from 512 to 65,536. */
export function checkBlockSize(blockSize: number = DEFAULT_BLOCK): number {
  const power = Number.isInteger(blockSize) && (blockSize & (blockSize - 1)) === 0;
  if (!power || blockSize < DEFAULT_BLOCK || blockSize > MAX_BLOCK) {
    throw new Ext4Error('EINVAL', `device block size ${blockSize}`);
  }
  return blockSize;
}

/** Bytes in whole blocks: what lies behind the last whole block of a file or an array cannot be reached. */
export function wholeBlocks(bytes: number, blockSize: number): number {
  return bytes - (bytes % blockSize);
}

/** Throws the signal's reason when it has been aborted. */
export function checkAbort(o: DeviceOptions | undefined): void {
  o?.signal?.throwIfAborted();
}

/** Waits for all, then throws the first error: a request must not reject while parts of it still touch memory. */
export async function settleAll(running: Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(running)).find((r) => r.status === 'rejected');
  if (failed) throw failed.reason;
}

/** Reads all ranges of any device, at once. */
export function readRanges(
  device: BlockDevice,
  ranges: ReadRange[],
  o?: DeviceOptions,
): Promise<void> {
  if (ranges.length === 1) return device.read(ranges[0].into, ranges[0].dpos, o);
  if (device.readv) return device.readv(ranges, o);
  return settleAll(ranges.map((r) => device.read(r.into, r.dpos, o)));
}

/** Reads all ranges of a synchronous device. */
export function readRangesSync(device: BlockDevice, ranges: ReadRange[]): void {
  if (ranges.length > 1 && device.readvSync) device.readvSync(ranges);
  else for (const r of ranges) device.readSync?.(r.into, r.dpos);
}

export function totalLength(parts: Uint8Array[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0);
}

/** A copy of all parts, one behind the other. */
export function joinParts(parts: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(totalLength(parts));
  let off = 0;
  for (const part of parts) {
    whole.set(part, off);
    off += part.length;
  }
  return whole;
}

/** Size, open state and the refusals that all back ends share. */
export abstract class BaseDevice {
  readonly size: number;
  readonly blockSize: number;
  readonly readOnly: boolean;
  protected closed = false;

  constructor(shape: Shape) {
    this.blockSize = checkBlockSize(shape.blockSize);
    this.readOnly = shape.readOnly ?? false;
    this.size = shape.size;
    const whole = this.size % this.blockSize === 0;
    if (!Number.isSafeInteger(this.size) || this.size < 0 || !whole) {
      throw new Ext4Error('EINVAL', `device of ${this.size} bytes, blocks of ${this.blockSize}`);
    }
  }

  /** EBADF when closed. */
  protected checkOpen(): void {
    if (this.closed) throw new Ext4Error('EBADF', 'device is closed');
  }

  protected checkRead(dpos: number, len: number): void {
    this.checkOpen();
    checkRange(this, dpos, len);
  }

  protected checkWrite(dpos: number, len: number): void {
    this.checkOpen();
    if (this.readOnly) throw new Ext4Error('EROFS', 'device is read-only');
    checkRange(this, dpos, len);
  }
}
