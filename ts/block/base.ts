// What every back end does first: the shape of a device, its open state, and the order of refusals
// (closed EBADF, read-only EROFS, bad range EINVAL). For back ends only; others see BlockDevice.

import { Ext4Error } from '../errno.ts';
import type { DeviceOptions } from './device.ts';
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
