// Faces: a part of a device, or a device that must not be written, as a device of its own. A face holds no bytes; it
// has the forms that the device below has, and closing it closes the device below.

import { Ext4Error } from '../errno.ts';
import { joinParts, readRanges, readRangesSync, totalLength } from './base.ts';
import type { BlockDevice, DeviceOptions, ReadRange, WriteOptions } from './device.ts';
import { checkRange, isSyncDevice } from './device.ts';

export interface FaceOptions {
  readOnly?: boolean;
}

/** Alignment that a part needs to be mapped page by page. */
const DIRECT_ALIGN = 4096;

/**
 * The bytes [start, start + size) of a device as a device. EINVAL when they are not whole blocks of it or lie outside.
 * A writable part of a `direct` device that begins on a page is itself direct.
 */
export function slice(
  device: BlockDevice,
  start: number,
  size: number,
  o: FaceOptions = {},
): BlockDevice {
  if (!Number.isSafeInteger(size) || size < 0) throw new Ext4Error('EINVAL', `slice of ${size}`);
  checkRange(device, start, size);
  const face = new Face(device, start, size, device.readOnly || (o.readOnly ?? false));
  return isSyncDevice(device) ? new SyncFace(face) : face;
}

/** The same device, refusing writes with EROFS. */
export function readOnlyFace(device: BlockDevice): BlockDevice {
  return slice(device, 0, device.size, { readOnly: true });
}

class Face implements BlockDevice {
  readonly below: BlockDevice;
  readonly start: number;
  readonly size: number;
  readonly blockSize: number;
  readonly readOnly: boolean;
  readonly fua: boolean;
  readonly discardZeroes: boolean;
  readonly direct?: BlockDevice['direct'];
  readonly discard?: BlockDevice['discard'];

  constructor(below: BlockDevice, start: number, size: number, readOnly: boolean) {
    this.below = below;
    this.start = start;
    this.size = size;
    this.blockSize = below.blockSize;
    this.readOnly = readOnly;
    this.fua = below.fua;
    this.discardZeroes = below.discardZeroes;
    if (!readOnly) this.direct = directPart(below, start);
    if (below.discard) {
      this.discard = async (dpos, len) => below.discard?.(this.toWrite(dpos, len), len);
    }
  }

  async read(into: Uint8Array, dpos: number, o?: DeviceOptions): Promise<void> {
    await this.below.read(into, this.toRead(dpos, into.length), o);
  }

  async readv(ranges: ReadRange[], o?: DeviceOptions): Promise<void> {
    await readRanges(this.below, this.moved(ranges), o);
  }

  async write(from: Uint8Array, dpos: number, o?: WriteOptions): Promise<void> {
    await this.below.write(from, this.toWrite(dpos, from.length), o);
  }

  async writev(parts: Uint8Array[], dpos: number): Promise<void> {
    await writeParts(this.below, parts, this.toWrite(dpos, totalLength(parts)));
  }

  async flush(): Promise<void> {
    await this.below.flush();
  }

  async close(): Promise<void> {
    await this.below.close();
  }

  /** The place below of a range to be read. */
  toRead(dpos: number, len: number): number {
    checkRange(this, dpos, len);
    return this.start + dpos;
  }

  toWrite(dpos: number, len: number): number {
    if (this.readOnly) throw new Ext4Error('EROFS', 'device is read-only');
    return this.toRead(dpos, len);
  }

  moved(ranges: ReadRange[]): ReadRange[] {
    return ranges.map(({ into, dpos }) => ({ into, dpos: this.toRead(dpos, into.length) }));
  }
}

class SyncFace extends Face {
  readonly discardSync?: BlockDevice['discardSync'];

  constructor({ below, start, size, readOnly }: Face) {
    super(below, start, size, readOnly);
    if (below.discardSync) {
      this.discardSync = (dpos, len) => below.discardSync?.(this.toWrite(dpos, len), len);
    }
  }

  readSync(into: Uint8Array, dpos: number): void {
    this.below.readSync?.(into, this.toRead(dpos, into.length));
  }

  readvSync(ranges: ReadRange[]): void {
    readRangesSync(this.below, this.moved(ranges));
  }

  writeSync(from: Uint8Array, dpos: number, o?: WriteOptions): void {
    this.below.writeSync?.(from, this.toWrite(dpos, from.length), o);
  }

  writevSync(parts: Uint8Array[], dpos: number): void {
    writePartsSync(this.below, parts, this.toWrite(dpos, totalLength(parts)));
  }

  flushSync(): void {
    this.below.flushSync?.();
  }

  closeSync(): void {
    this.below.closeSync?.();
  }
}

function directPart(below: BlockDevice, start: number): BlockDevice['direct'] {
  const whole = below.direct;
  if (whole === undefined || start % DIRECT_ALIGN !== 0) return undefined;
  const { memory, ptr, persist } = whole;
  if (persist === undefined) return { memory, ptr: ptr + start };
  return { memory, ptr: ptr + start, persist: (dpos, len) => persist(start + dpos, len) };
}

/** Parts one behind the other, joined into one write where the device has no writev. */
export async function writeParts(
  device: BlockDevice,
  parts: Uint8Array[],
  dpos: number,
): Promise<void> {
  if (device.writev) await device.writev(parts, dpos);
  else await device.write(joinParts(parts), dpos);
}

/** As writeParts, on a synchronous device. */
export function writePartsSync(device: BlockDevice, parts: Uint8Array[], dpos: number): void {
  if (device.writevSync) device.writevSync(parts, dpos);
  else device.writeSync?.(joinParts(parts), dpos);
}
