// Memory devices. Goal: the contract, and what only memory has: one addressable memory, pages that cost only when
// written, discard that gives them back.

import { describe, expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { deviceContract, pattern } from '../contract/device.ts';

for (const shared of [true, false]) {
  deviceContract(`linear memory, ${shared ? 'shared' : 'plain'}`, {
    make: (contents, { readOnly }) => memoryDevice(contents, { shared, readOnly }),
    sync: true,
    writable: 'choice',
  });
}

deviceContract('sparse memory', {
  make: (contents, { readOnly }) => memoryDevice(contents, { sparse: true, readOnly }),
  sync: true,
  writable: 'choice',
  huge: (size) => memoryDevice(size, { sparse: true }),
});

deviceContract('sparse memory, blocks of 4096', {
  make: (contents) => memoryDevice(contents, { sparse: true, blockSize: 4096 }),
  sync: true,
  writable: 'always',
});

describe('memory device', () => {
  test('copies the bytes it was given', () => {
    const bytes = pattern(8192);
    const device = memoryDevice(bytes);
    bytes.fill(0);
    const back = new Uint8Array(8192);
    device.readSync(back, 0);
    expect(back).toEqual(pattern(8192));
  });

  test('takes whole blocks of an array with a ragged end', () => {
    expect(memoryDevice(new Uint8Array(1500)).size).toBe(1024);
    expect(memoryDevice(new Uint8Array(1500), { sparse: true }).size).toBe(1024);
  });

  test('a linear device is shared where asked, and stores through direct are its bytes', () => {
    const plain = memoryDevice(65536, { shared: false });
    const shared = memoryDevice(65536, { shared: true });
    expect(plain.direct?.memory.buffer).toBeInstanceOf(ArrayBuffer);
    expect(shared.direct?.memory.buffer).toBeInstanceOf(SharedArrayBuffer);
    new Uint8Array(shared.direct!.memory.buffer)[shared.direct!.ptr + 700] = 7;
    const back = new Uint8Array(1024);
    shared.readSync(back, 0);
    expect(back[700]).toBe(7);
  });

  test.each([
    [-512, {}],
    [1000, {}],
    [Number.NaN, {}],
    [512.5, {}],
    [2 ** 53, { sparse: true }],
    [2 ** 33, {}],
    [4096, { blockSize: 1000 }],
    [4096, { blockSize: 256 }],
    [4096, { blockSize: 131072 }],
    [512, { blockSize: 1024 }],
  ])('a device of %s bytes with %j is EINVAL', (size, o) => {
    expect(() => memoryDevice(size, o)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });

  test('a sparse device costs what was written, and discard gives whole pages back', () => {
    const device = memoryDevice(2 ** 44, { sparse: true }) as ReturnType<typeof memoryDevice> & {
      allocated: number;
    };
    expect(device.allocated).toBe(0);
    device.readSync(new Uint8Array(1 << 20), 2 ** 43);
    expect(device.allocated).toBe(0);
    for (let i = 0; i < 8; i++) device.writeSync(pattern(512), i * 2 ** 40);
    expect(device.allocated).toBe(8 * 65536);
    device.discardSync(0, 2 ** 42); // far more pages than are held
    expect(device.allocated).toBe(4 * 65536);
    device.discardSync(4 * 2 ** 40, 1024); // part of a page: zeroed, kept
    expect(device.allocated).toBe(4 * 65536);
    const back = new Uint8Array(512).fill(1);
    device.readSync(back, 4 * 2 ** 40);
    expect(back.every((byte) => byte === 0)).toBe(true);
  });

  test('a sparse device made from bytes holds only pages with something in them', () => {
    const bytes = new Uint8Array(1 << 20);
    bytes[700_000] = 1;
    const device = memoryDevice(bytes, { sparse: true }) as unknown as { allocated: number };
    expect(device.allocated).toBe(65536);
  });

  test('discard agrees with an array of bytes at every kind of edge', () => {
    const seed = Date.now() % 1e6;
    let x = seed;
    const next = (n: number) => (x = (Math.imul(x, 1664525) + 1013904223) >>> 0) % n;
    const size = 6 * 65536;
    const model = pattern(size);
    const devices = [memoryDevice(model), memoryDevice(model, { sparse: true })];
    for (let i = 0; i < 200; i++) {
      const from = next(size / 512) * 512;
      const len = next((size - from) / 512 + 1) * 512;
      model.fill(0, from, from + len);
      const fresh = pattern(1024, i + 1);
      const at = next(size / 512 - 1) * 512;
      model.set(fresh, at);
      for (const device of devices) {
        device.discardSync(from, len);
        device.writeSync(fresh, at);
      }
    }
    for (const device of devices) {
      const back = new Uint8Array(size);
      device.readSync(back, 0);
      expect(Buffer.compare(back, model), `seed ${seed}`).toBe(0);
    }
  });
});
