// Blob devices. Goal: the contract, in few slices. Method: Blobs in memory and on disk, counted and broken by
// subclasses.

import fs, { openAsBlob } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { blobDevice } from '../../ts/block/blob.ts';
import { deviceContract, expectCode, pattern } from '../contract/device.ts';

deviceContract('blob', {
  make: (contents) => blobDevice(new Blob([contents as BlobPart])),
  sync: false,
  writable: 'never',
});

deviceContract('blob of several parts, small units', {
  make: (contents) => {
    const parts = [contents.subarray(0, 1000), contents.subarray(1000)] as BlobPart[];
    return blobDevice(new Blob(parts), { unit: 4096, gap: 0, cacheBytes: 32768 });
  },
  sync: false,
  writable: 'never',
});

class CountingBlob extends Blob {
  slices: [number, number][] = [];
  override slice(from: number, to: number): Blob {
    this.slices.push([from, to]);
    return super.slice(from, to);
  }
}

describe('blob device', () => {
  test('near reads become one slice, and cached ones none', async () => {
    const blob = new CountingBlob([pattern(4 << 20) as BlobPart]);
    const device = blobDevice(blob);
    const ranges = Array.from({ length: 100 }, (_, i) => ({
      into: new Uint8Array(4096),
      dpos: i * 8192,
    }));
    await device.readv(ranges);
    await device.readv(ranges);
    expect(blob.slices).toEqual([[0, 1 << 20]]);
    for (const { into, dpos } of ranges) {
      expect(Buffer.compare(into, pattern(4 << 20).subarray(dpos, dpos + 4096))).toBe(0);
    }
  });

  test('opening reads nothing', () => {
    const blob = new CountingBlob([pattern(1 << 20) as BlobPart]);
    expect(blobDevice(blob).size).toBe(1 << 20);
    expect(blob.slices).toEqual([]);
  });

  test('a file that changed on disk gives EIO with the reason', async () => {
    const path = join(fs.mkdtempSync(join(tmpdir(), 'ext4-blob-')), 'image');
    fs.writeFileSync(path, pattern(65536));
    const device = blobDevice(await openAsBlob(path));
    fs.writeFileSync(path, pattern(32768));
    await expect(device.read(new Uint8Array(512), 0)).rejects.toThrow(/EIO.*has changed/);
    fs.rmSync(path);
    await expectCode(device.read(new Uint8Array(512), 0), 'EIO');
  });

  test('a slice that comes short gives EIO', async () => {
    class Short extends Blob {
      override slice(from: number): Blob {
        return super.slice(from, from + 100);
      }
    }
    const device = blobDevice(new Short([pattern(65536) as BlobPart]));
    await expect(device.read(new Uint8Array(512), 0)).rejects.toThrow(/EIO.*got 100/);
  });
});
