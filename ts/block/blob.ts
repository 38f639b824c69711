// A Blob or File as a device: read-only, asynchronous, nothing is loaded but what is read. Slices of 4 KiB are slow in
// browsers (500 to 850 a second, against 200 MB/s in slices of 1 MiB), so reads go through units and a cache.

import { Ext4Error } from '../errno.ts';
import { checkBlockSize, wholeBlocks } from './base.ts';
import { RangeDevice, type RangeOptions, rangeOptions } from './ranges.ts';

export interface BlobOptions extends RangeOptions {
  /** Bytes, 512 by default. */
  blockSize?: number;
}

/** A gap costs memory traffic only: far cheaper than another slice. */
const DEFAULTS = { cacheBytes: 16 << 20, unit: 256 << 10, gap: 256 << 10 };

/** The blob's whole blocks as a device. Reads fail with EIO when the file below has changed since it was chosen. */
export function blobDevice(blob: Blob, o: BlobOptions = {}): RangeDevice {
  const blockSize = checkBlockSize(o.blockSize);
  const size = wholeBlocks(blob.size, blockSize);
  const fetch = (from: number, to: number) => readSlice(blob, from, to);
  return new RangeDevice({ size, blockSize }, fetch, rangeOptions(o, DEFAULTS, blockSize));
}

async function readSlice(blob: Blob, from: number, to: number): Promise<Uint8Array> {
  let bytes: Uint8Array;
  try {
    bytes = new Uint8Array(await blob.slice(from, to).arrayBuffer());
  } catch (error) {
    const { name, message } = error as Error;
    const why = name === 'NotReadableError' ? 'the file has changed or cannot be read' : message;
    throw new Ext4Error('EIO', `blob bytes ${from} to ${to}: ${why}`);
  }
  if (bytes.length === to - from) return bytes;
  throw new Ext4Error('EIO', `blob bytes ${from} to ${to}: got ${bytes.length}`);
}
