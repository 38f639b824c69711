// The slow device that later tests stand on. Goal: it keeps the device contract, completes in the order chosen, and
// its faults strike exactly the request they were meant for.

import { describe, expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { deviceContract, expectCode, pattern } from '../contract/device.ts';
import { randomOf, type SlowOptions, slowDevice } from '../slow.ts';

const on = (size: number, o: SlowOptions) => {
  const memory = memoryDevice(pattern(size), { sparse: true });
  return { memory, slow: slowDevice(memory, o) };
};

for (const order of ['fifo', 'lifo', 'random'] as const) {
  deviceContract(`slow device, ${order}`, {
    make: (contents, { readOnly }) =>
      slowDevice(memoryDevice(contents, { sparse: true, readOnly }), { order, seed: 7 }),
    sync: false,
    writable: 'choice',
  });
}

deviceContract('slow device with synchronous forms', {
  make: (contents, { readOnly }) =>
    slowDevice(memoryDevice(contents, { sparse: true, readOnly }), { sync: true }),
  sync: true,
  writable: 'choice',
});

describe('slow device', () => {
  test('by hand, nothing happens until a request is completed, in any order', async () => {
    const { slow } = on(65536, { order: 'manual' });
    const views = [0, 1, 2].map(() => new Uint8Array(512));
    const done: number[] = [];
    const running = views.map((view, i) => slow.read(view, i * 512).then(() => done.push(i)));
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(slow.queue.map((r) => [r.kind, r.dpos])).toEqual([
      ['read', 0],
      ['read', 512],
      ['read', 1024],
    ]);
    expect(done).toEqual([]);
    await slow.complete(1);
    expect(done).toEqual([1]);
    expect(views[0].every((byte) => byte === 0)).toBe(true);
    await slow.complete(1);
    await slow.complete();
    expect(done).toEqual([1, 2, 0]);
    await Promise.all(running);
    expect(slow.depth).toBe(3);
    await expect(slow.complete()).rejects.toThrow(RangeError);
  });

  test.each([
    ['fifo', [0, 1, 2, 3, 4, 5]],
    ['lifo', [5, 4, 3, 2, 1, 0]],
  ] as const)('%s completes in that order', async (order, expected) => {
    const { slow } = on(65536, { order });
    const done: number[] = [];
    const read = (i: number) => slow.read(new Uint8Array(512), i * 512).then(() => done.push(i));
    await Promise.all([0, 1, 2, 3, 4, 5].map(read));
    expect(done).toEqual(expected);
  });

  test('a seed gives one random order, another seed another', async () => {
    const orderOf = async (seed: number) => {
      const { slow } = on(65536, { order: 'random', seed });
      const done: number[] = [];
      const places = Array.from({ length: 20 }, (_, i) => i);
      await Promise.all(
        places.map((i) => slow.read(new Uint8Array(512), 0).then(() => done.push(i))),
      );
      return done.join();
    };
    expect(await orderOf(1)).toBe(await orderOf(1));
    expect(await orderOf(1)).not.toBe(await orderOf(2));
    const random = randomOf(5);
    expect(new Set(Array.from({ length: 1000 }, () => random(10))).size).toBe(10);
  });

  test('the k-th request fails, in whatever order they complete, and only that one', async () => {
    const { slow } = on(65536, { order: 'lifo' });
    await slow.read(new Uint8Array(512), 0);
    slow.fail('read', 2);
    const views = [0, 1, 2].map(() => new Uint8Array(512));
    const outcome = await Promise.allSettled(views.map((view, i) => slow.read(view, i * 512)));
    expect(outcome.map((o) => o.status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(outcome[1]).toMatchObject({ reason: { code: 'EIO' } });
    expect(views[1].every((byte) => byte === 0)).toBe(true);
    expect(slow.counts).toMatchObject({ read: 4, write: 0, flush: 0, bytesRead: 2048 });
  });

  test('faults survive a reset of the counts, strike again and again, and heal', async () => {
    const { slow } = on(65536, { sync: true });
    await slow.flush();
    slow.fail('flush', 2, { count: Number.POSITIVE_INFINITY });
    slow.resetCounts();
    await slow.flush();
    await expectCode(slow.flush(), 'EIO');
    expect(() => slow.flushSync?.()).toThrow(/injected flush/);
    slow.heal();
    slow.flushSync?.();
    expect(slow.counts.flush).toBe(4);
  });

  test('a torn write leaves exactly the sectors named and fails', async () => {
    const { slow, memory } = on(65536, {});
    slow.fail('write', 1, { tear: [1, 3, 99] });
    await expectCode(slow.write(new Uint8Array(2048), 4096), 'EIO');
    const back = new Uint8Array(65536);
    memory.readSync(back, 0);
    const expected = pattern(65536);
    expected.fill(0, 4096 + 512, 4096 + 1024);
    expected.fill(0, 4096 + 1536, 4096 + 2048);
    expect(Buffer.compare(back, expected)).toBe(0);
  });

  test('a write takes its bytes when it completes, and stable says when they changed', async () => {
    const { slow, memory } = on(4096, { order: 'manual' });
    const bytes = pattern(512, 9);
    const running = slow.write(bytes, 0);
    bytes.fill(7);
    await slow.settle();
    await running;
    const back = new Uint8Array(512);
    memory.readSync(back, 0);
    expect(back.every((byte) => byte === 7)).toBe(true);
    const strict = slowDevice(memory, { order: 'manual', stable: true });
    const other = strict.write(bytes, 0);
    bytes[3] = 1;
    const rejected = expect(other).rejects.toThrow(/bytes changed under a write/);
    await strict.settle();
    await rejected;
  });
});
