// The recorder. Goal: for every moment of a recorded run, what a power cut must and may leave is right, in particular
// where requests overlap in time. Method: small runs whose answer is written down by hand; then random runs, in which
// a disk with a write cache, simulated independently, only ever ends in states that the recorder allows.

import { describe, expect, test } from 'vitest';
import type { SyncBlockDevice } from '../../ts/block/device.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import { type ChangeRecord, record, tear, type WriteRecord } from '../../ts/block/record.ts';
import { deviceContract, expectCode } from '../contract/device.ts';
import { randomOf, slowDevice } from '../slow.ts';

deviceContract('recorder', {
  make: (contents, { readOnly }) => record(memoryDevice(contents, { readOnly })),
  sync: true,
  writable: 'choice',
});

deviceContract('recorder of an asynchronous device', {
  make: (contents, { readOnly }) =>
    record(slowDevice(memoryDevice(contents, { readOnly }), { order: 'random', seed: 3 })),
  sync: false,
  writable: 'choice',
});

const block = (byte: number) => new Uint8Array(512).fill(byte);
const names = (changes: ChangeRecord[]) =>
  changes.map((c) => (c.kind === 'write' ? c.bytes[0] : `discard ${c.dpos}`));

function recorded(size = 8192) {
  const memory = memoryDevice(size);
  return { memory, device: record(memory) as ReturnType<typeof record> & SyncBlockDevice };
}

describe('recorder', () => {
  test('keeps a copy of every write with place, flags and order', () => {
    const { device } = recorded();
    const bytes = block(1);
    device.writeSync(bytes, 512);
    bytes.fill(9);
    device.flushSync();
    device.writevSync?.([block(2), block(3)], 1024);
    device.writeSync(block(4), 0, { fua: true });
    device.discardSync?.(4096, 512);
    expect(device.log).toMatchObject([
      { kind: 'write', seq: 0, dpos: 512, bytes: block(1), fua: false },
      { kind: 'flush', seq: 1 },
      { kind: 'write', seq: 2, dpos: 1024, fua: false },
      { kind: 'write', seq: 3, dpos: 0, fua: true },
      { kind: 'discard', seq: 4, dpos: 4096, len: 512 },
    ]);
  });

  test('epochs part at flushes', () => {
    const { device } = recorded();
    for (const byte of [1, 2]) device.writeSync(block(byte), byte * 512);
    device.flushSync();
    device.writeSync(block(3), 0);
    device.flushSync();
    device.flushSync();
    device.writeSync(block(4), 0);
    expect(device.epochs().map((epoch) => names(epoch.changes))).toEqual([[1, 2], [3], [], [4]]);
    expect(device.epochs().map((epoch) => epoch.flush?.seq ?? null)).toEqual([2, 4, 5, null]);
  });

  test('at each moment a cut has what was flushed and may have the rest', () => {
    const { device } = recorded();
    device.writeSync(block(1), 0); // clock 1 to 2
    device.writeSync(block(2), 512, { fua: true }); // 3 to 4
    device.flushSync(); // 5 to 6
    device.writeSync(block(3), 0); // 7 to 8
    const at = (clock: number) => {
      const { durable, pending } = device.cut(clock);
      return [names(durable), names(pending)];
    };
    expect(device.clock).toBe(8);
    expect(at(0)).toEqual([[], []]);
    expect(at(1)).toEqual([[], [1]]);
    expect(at(2)).toEqual([[], [1]]);
    expect(at(3)).toEqual([[], [1, 2]]);
    expect(at(4)).toEqual([[2], [1]]);
    expect(at(5)).toEqual([[2], [1]]);
    expect(at(6)).toEqual([[1, 2], []]);
    expect(at(7)).toEqual([[1, 2], [3]]);
  });

  test('a flush covers only writes that had settled when it was called', async () => {
    const slow = slowDevice(memoryDevice(8192), { order: 'manual' });
    const device = record(slow);
    const first = device.write(block(1), 0);
    await slow.complete();
    await first;
    const second = device.write(block(2), 512); // in flight while the flush begins
    const flush = device.flush();
    const third = device.write(block(3), 1024); // begun after the flush
    await slow.complete(2); // third settles first
    await slow.complete(0);
    await slow.complete(0);
    await Promise.all([second, flush, third]);
    const { durable, pending } = device.cut();
    expect([names(durable), names(pending)]).toEqual([[1], [2, 3]]);
    expect(device.epochs().map((epoch) => names(epoch.changes))).toEqual([[1], [2, 3]]);
  });

  test('a write that failed may be there for ever, and no flush makes it certain', async () => {
    const slow = slowDevice(memoryDevice(8192), {});
    const device = record(slow);
    slow.fail('write');
    await expectCode(device.write(block(1), 0), 'EIO');
    await device.flush();
    expect(names(device.cut().pending)).toEqual([1]);
    slow.fail('flush');
    await device.write(block(2), 512);
    await expectCode(device.flush(), 'EIO');
    expect(names(device.cut().durable)).toEqual([]);
    expect(() => device.forget()).toThrow(/EBUSY/);
  });

  test('a refused request leaves no trace in the log', async () => {
    const { device } = recorded();
    await expectCode(device.write(block(1), 100), 'EINVAL');
    await device.close();
    await expectCode(device.write(block(1), 0), 'EBADF');
    expect(device.log).toEqual([]);
  });

  test('replay writes the durable and the chosen, whole or torn, in order', async () => {
    const { device } = recorded();
    device.writeSync(block(1), 0);
    device.flushSync();
    device.writeSync(new Uint8Array(2048).fill(2), 0);
    device.writeSync(block(3), 512);
    const second = device.cut().pending[0] as WriteRecord;
    const outcome = async (chosen: (pending: ChangeRecord[]) => ChangeRecord[]) => {
      const target = memoryDevice(8192);
      await device.replay(target, chosen);
      const same = memoryDevice(8192);
      device.replaySync(same, chosen);
      const [a, b] = [new Uint8Array(2048), new Uint8Array(2048)];
      target.readSync(a, 0);
      same.readSync(b, 0);
      expect(a).toEqual(b);
      return [0, 512, 1024, 1536].map((i) => a[i]);
    };
    expect(await outcome(() => [])).toEqual([1, 0, 0, 0]);
    expect(await outcome((all) => all)).toEqual([2, 3, 2, 2]);
    expect(await outcome((all) => all.toReversed())).toEqual([2, 3, 2, 2]);
    expect(await outcome((all) => [all[1]])).toEqual([1, 3, 0, 0]);
    expect(await outcome(() => [tear(second, 1, 3)])).toEqual([1, 2, 2, 0]);
    expect(await outcome(() => [tear(second, 0, 1), tear(second, 3, 4)])).toEqual([2, 0, 0, 2]);
  });

  test('forget begins anew', () => {
    const { device } = recorded();
    device.writeSync(block(1), 0);
    device.forget();
    expect([device.log.length, device.clock, device.epochs().length]).toEqual([0, 0, 1]);
  });

  test('a disk with a write cache ends only in states that the recorder allows', () => {
    const seed = Date.now() % 1e6;
    for (let round = 0; round < 60; round++) cachedDisk(seed + round);
  });
});

/** A disk that keeps writes in a cache, drops some at a power cut, and is written down request by request. */
function cachedDisk(seed: number): void {
  const random = randomOf(seed);
  const { device } = recorded(4096);
  const platter = new Uint8Array(8);
  let cache: [number, number][] = [];
  const steps = 1 + random(25);
  for (let i = 1; i <= steps; i++) {
    const at = random(8);
    const fua = random(6) === 0;
    if (random(5) === 0) {
      device.flushSync();
      for (const [place, byte] of cache) platter[place] = byte;
      cache = [];
    } else {
      device.writeSync(block(i), at * 512, { fua });
      if (fua) {
        platter[at] = i;
        cache = cache.filter(([place]) => place !== at);
      } else cache.push([at, i]);
    }
  }
  for (const [place, byte] of cache) if (random(2)) platter[place] = byte;
  const { durable, pending } = device.cut();
  for (let place = 0; place < 8; place++) {
    const of = (list: ChangeRecord[]) =>
      list.filter((c) => c.dpos === place * 512).map((c) => (c as WriteRecord).bytes[0]);
    const certain = of(durable).at(-1) ?? 0;
    const allowed = [certain, ...of(pending).filter((byte) => byte > certain)];
    expect(allowed, `seed ${seed} place ${place}`).toContain(platter[place]);
  }
}
