// Copy on write. Goal: the contract over every mixture of two devices; the lower one is never written; what was written
// can be listed and taken up again. Method: contents start scattered over both devices; random writes against an array.

import { describe, expect, test } from 'vitest';
import { BlockSet } from '../../ts/block/blockset.ts';
import type { BlockDevice, SyncBlockDevice } from '../../ts/block/device.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import { overlay } from '../../ts/block/overlay.ts';
import { deviceContract, expectCode, pattern } from '../contract/device.ts';
import { randomOf, slowDevice } from '../slow.ts';

/** An overlay whose bytes are `contents`: every third block in the upper device, garbage wherever it must not look. */
function scattered(contents: Uint8Array, wrap = (device: SyncBlockDevice): BlockDevice => device) {
  const below = contents.slice();
  const upper = memoryDevice(pattern(contents.length, 77), { sparse: true });
  const blocks = contents.length / 1024;
  const changes = [];
  for (let i = 0; i < blocks; i += 3) {
    below.fill(0xee, i * 1024, i * 1024 + 1024);
    upper.writeSync(contents.subarray(i * 1024, i * 1024 + 1024), i * 1024);
    changes.push({ dpos: i * 1024, len: 1024 });
  }
  const lower = memoryDevice(below, { readOnly: true });
  return overlay(wrap(lower), wrap(upper), { changes });
}

deviceContract('overlay', {
  make: (contents) => scattered(contents),
  sync: true,
  writable: 'always',
});

deviceContract('overlay over asynchronous devices', {
  make: (contents) => scattered(contents, (device) => slowDevice(device, { order: 'random' })),
  sync: false,
  writable: 'always',
});

deviceContract('overlay with a read-only upper device', {
  make: (contents) =>
    overlay(memoryDevice(contents), memoryDevice(contents.length, { readOnly: true })),
  sync: true,
  writable: 'never',
});

deviceContract('overlay beyond 4 GiB', {
  make: (contents) => overlay(memoryDevice(contents), memoryDevice(1 << 20, { sparse: true })),
  sync: true,
  writable: 'always',
  huge: (size) =>
    overlay(memoryDevice(size, { sparse: true }), memoryDevice(size, { sparse: true })),
});

describe('overlay', () => {
  test('random writes and discards equal an array; the lower device keeps its bytes', async () => {
    const seed = Date.now() % 1e6;
    const random = randomOf(seed);
    const size = 1 << 20;
    const lower = memoryDevice(pattern(size));
    const device = overlay(lower, memoryDevice(2 * size, { sparse: true })) as SyncBlockDevice;
    const model = pattern(size);
    const back = new Uint8Array(size);
    for (let i = 0; i < 400; i++) {
      const dpos = random(size / 512) * 512;
      const len = Math.min(size - dpos, random(40) * 512);
      if (random(4) === 0) {
        model.fill(0, dpos, dpos + len);
        device.discardSync?.(dpos, len);
      } else {
        const bytes = pattern(len, seed + i);
        model.set(bytes, dpos);
        if (random(2)) device.writeSync(bytes, dpos);
        else await device.write(bytes, dpos);
      }
      if (i % 40 === 0) {
        device.readSync(back, 0);
        expect(Buffer.compare(back, model), `seed ${seed}, after ${i}`).toBe(0);
      }
    }
    lower.readSync(back, 0);
    expect(Buffer.compare(back, pattern(size))).toBe(0);
  });

  test('changes list what was written, joined, and a second overlay takes them up', () => {
    const lower = memoryDevice(pattern(1 << 20));
    const upper = memoryDevice(1 << 20, { sparse: true });
    const first = overlay(lower, upper) as SyncBlockDevice & { changes(): unknown };
    expect(first.changes()).toEqual([]);
    first.writeSync(pattern(1024, 5), 4096);
    first.writeSync(pattern(512, 6), 5120);
    first.writeSync(pattern(512, 7), (1 << 20) - 512);
    const changes = first.changes();
    expect(changes).toEqual([
      { dpos: 4096, len: 1536 },
      { dpos: (1 << 20) - 512, len: 512 },
    ]);
    const second = overlay(lower, upper, { changes: changes as [] }) as SyncBlockDevice;
    const a = new Uint8Array(1 << 20);
    const b = new Uint8Array(1 << 20);
    first.readSync(a, 0);
    second.readSync(b, 0);
    expect(Buffer.compare(a, b)).toBe(0);
    expect(() => overlay(lower, upper, { changes: [{ dpos: 100, len: 512 }] })).toThrow(/EINVAL/);
  });

  test('a failed write of new blocks leaves the lower bytes in sight', async () => {
    const upper = slowDevice(memoryDevice(8192), {});
    const device = overlay(memoryDevice(pattern(8192)), upper);
    upper.fail('write', 1, { tear: [0] });
    await expectCode(device.write(new Uint8Array(1024), 0), 'EIO');
    const back = new Uint8Array(8192);
    await device.read(back, 0);
    expect(back).toEqual(pattern(8192));
    expect(device.changes()).toEqual([]);
  });

  test('a read that fails on one device settles only after the other is done', async () => {
    const lower = slowDevice(memoryDevice(pattern(8192)), { order: 'manual' });
    const upper = slowDevice(memoryDevice(8192), { order: 'manual' });
    const device = overlay(lower, upper, { changes: [{ dpos: 0, len: 4096 }] });
    upper.fail('read');
    let settled = false;
    const running = device.read(new Uint8Array(8192), 0).finally(() => void (settled = true));
    const rejected = expectCode(running, 'EIO');
    await upper.complete();
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(settled).toBe(false);
    await lower.complete();
    await rejected;
    expect(settled).toBe(true);
  });

  test('the larger block sets the block size; a smaller upper device is EINVAL', () => {
    const small = memoryDevice(65536);
    const large = memoryDevice(65536 + 4096, { blockSize: 4096 });
    expect(overlay(small, large).blockSize).toBe(4096);
    expect(overlay(large, memoryDevice(1 << 20)).blockSize).toBe(4096);
    expect(overlay(small, large).size).toBe(65536);
    expect(() => overlay(large, small)).toThrow(/EINVAL/);
    expect(overlay(small, large).direct).toBeUndefined();
  });

  test('flush reaches the upper device only', async () => {
    const lower = slowDevice(memoryDevice(8192), {});
    const upper = slowDevice(memoryDevice(8192), {});
    const device = overlay(lower, upper);
    await device.write(new Uint8Array(512), 0, { fua: true });
    await device.flush();
    expect([lower.counts.flush, lower.counts.write, upper.counts.flush]).toEqual([0, 0, 1]);
  });
});

describe('block set', () => {
  test('runs equal an array of flags, over chunk borders and full chunks', () => {
    const seed = Date.now() % 1e6;
    const random = randomOf(seed);
    const size = 5 * 65536;
    const flags = new Uint8Array(size);
    const set = new BlockSet();
    for (let i = 0; i < 60; i++) {
      const from = random(size);
      const to = Math.min(size, from + random(i % 10 === 0 ? 200_000 : 900));
      flags.fill(1, from, to);
      set.add(from, to);
    }
    const runs = [];
    for (let at = 0; at < size; ) {
      const end = flags.indexOf(1 - flags[at], at);
      const stop = end < 0 ? size : end;
      if (flags[at]) runs.push([at, stop]);
      expect(set.runEnd(at, size), `seed ${seed} at ${at}`).toBe(stop);
      at = stop;
    }
    expect([...set.runs()], `seed ${seed}`).toEqual(runs);
  });

  test('a range of 2^33 blocks costs words, not bits', () => {
    const set = new BlockSet();
    set.add(5, 2 ** 33);
    expect(set.has(4)).toBe(false);
    expect(set.runEnd(5, 2 ** 34)).toBe(2 ** 33);
    expect([...set.runs()]).toEqual([[5, 2 ** 33]]);
  });
});
