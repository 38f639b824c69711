// The contract of a block device (ts/block/device.ts), as one suite that every back end passes. Goal: whatever runs on
// one back end runs on all. Method: a device is made over known bytes; each rule of the contract is one test, and
// half of them are about what must not happen. Used by test/block/*.test.ts.

import { afterEach, describe, expect, test } from 'vitest';
import type { BlockDevice, SyncBlockDevice } from '../../ts/block/device.ts';

export interface BackEnd {
  /** A new device whose bytes are `contents`. */
  make(contents: Uint8Array, o: { readOnly: boolean }): Promise<BlockDevice> | BlockDevice;
  /** The forms that must be there. */
  sync: boolean;
  /** 'never': the back end cannot be written. 'choice': it takes `readOnly`. 'always': it has no such option. */
  writable: 'never' | 'choice' | 'always';
  /** A device beyond 4 GiB, where the back end has such. */
  huge?(size: number): Promise<BlockDevice> | BlockDevice;
}

const SIZE = 384 * 1024;

/** Bytes that differ from block to block and within a block. */
export function pattern(size: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(size);
  let x = seed;
  for (let i = 0; i < size; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    bytes[i] = x >>> 24;
  }
  return bytes;
}

/** Rejects with this code, as an Ext4Error does. */
export function expectCode(promise: Promise<unknown>, code: string): Promise<void> {
  return expect(promise).rejects.toMatchObject({ code, errno: expect.any(Number) });
}

function thrown(fn: () => void): unknown {
  try {
    fn();
  } catch (error) {
    return error;
  }
  return undefined;
}

/** A view at an odd offset between guard bytes, in plain or shared memory. */
function guarded(len: number, shared: boolean): { view: Uint8Array; intact(): boolean } {
  const buffer = shared ? new SharedArrayBuffer(len + 64) : new ArrayBuffer(len + 64);
  const all = new Uint8Array(buffer);
  for (let i = 0; i < all.length; i++) all[i] = 0xa5;
  const intact = () => [...all.slice(0, 13), ...all.slice(13 + len)].every((b) => b === 0xa5);
  return { view: all.subarray(13, 13 + len), intact };
}

/** Declares the suite for one back end. */
export function deviceContract(name: string, backEnd: BackEnd): void {
  describe(`device contract: ${name}`, () => {
    const open = new Set<BlockDevice>();
    afterEach(async () => {
      for (const device of open) await device.close();
      open.clear();
    });
    const given = async (readOnly = backEnd.writable === 'never', contents = pattern(SIZE)) => {
      const device = await backEnd.make(contents, { readOnly });
      open.add(device);
      return { device, contents };
    };
    shapeTests(backEnd, given);
    readTests(given);
    settledTests(given);
    closeTests(backEnd, given);
    if (backEnd.sync) syncTests(given);
    if (backEnd.writable !== 'never') writeTests(given);
    if (backEnd.sync && backEnd.writable !== 'never') syncWriteTests(given);
    if (backEnd.writable !== 'always') readOnlyTests(backEnd, given);
    if (backEnd.huge) hugeTests(backEnd, open);
  });
}

type Given = (
  readOnly?: boolean,
  contents?: Uint8Array,
) => Promise<{ device: BlockDevice; contents: Uint8Array }>;

function shapeTests(backEnd: BackEnd, given: Given): void {
  test('size and block size are whole and constant', async () => {
    const { device, contents } = await given();
    expect(device.size).toBe(contents.length);
    expect(device.blockSize).toBeGreaterThanOrEqual(512);
    expect(Math.log2(device.blockSize) % 1).toBe(0);
    expect(device.size % device.blockSize).toBe(0);
    for (const flag of [device.readOnly, device.fua, device.discardZeroes]) {
      expect(typeof flag).toBe('boolean');
    }
  });

  test('the synchronous forms are all there or all missing', async () => {
    const { device } = await given();
    for (const form of ['readSync', 'writeSync', 'flushSync'] as const) {
      expect(typeof device[form], form).toBe(backEnd.sync ? 'function' : 'undefined');
    }
  });

  test('a direct device holds its bytes in that memory behind the kernel tables', async () => {
    const { device, contents } = await given();
    if (device.direct === undefined) return expect(device.direct).toBeUndefined();
    const { memory, ptr } = device.direct;
    expect(ptr).toBeGreaterThanOrEqual(65536);
    expect(ptr % 4096).toBe(0);
    const bytes = new Uint8Array(memory.buffer, ptr, device.size);
    expect(Buffer.compare(bytes, contents)).toBe(0);
  });
}

function readTests(given: Given): void {
  for (const shared of [false, true]) {
    const kind = shared ? 'shared' : 'plain';
    test(`a read fills a ${kind} view at an odd offset and nothing beside it`, async () => {
      const { device, contents } = await given();
      for (const [dpos, len] of [
        [0, device.blockSize],
        [65536 - device.blockSize, 2 * device.blockSize],
        [8192, 131072],
        [device.size - device.blockSize, device.blockSize],
        [0, device.size],
      ]) {
        const { view, intact } = guarded(len, shared);
        await device.read(view, dpos);
        expect(Buffer.compare(view, contents.subarray(dpos, dpos + len))).toBe(0);
        expect(intact()).toBe(true);
      }
    });
  }

  test('a read of nothing is allowed, also at the very end', async () => {
    const { device } = await given();
    await device.read(new Uint8Array(0), 0);
    await device.read(new Uint8Array(0), device.size);
  });

  test('requests outside the device or of part blocks are EINVAL and move nothing', async () => {
    const { device } = await given();
    const b = device.blockSize;
    for (const [dpos, len] of badRanges(device)) {
      const view = new Uint8Array(len).fill(0xa5);
      await expectCode(device.read(view, dpos), 'EINVAL');
      if (device.readv) {
        const good = { into: new Uint8Array(b), dpos: 0 };
        await expectCode(device.readv([good, { into: view, dpos }]), 'EINVAL');
      }
      expect(view.every((byte) => byte === 0xa5)).toBe(true);
    }
  });

  test('parallel reads do not disturb each other', async () => {
    const { device, contents } = await given();
    const step = 4096;
    const views = Array.from({ length: device.size / step }, () => new Uint8Array(step));
    await Promise.all(views.map((view, i) => device.read(view, i * step)));
    expect(Buffer.compare(Buffer.concat(views), contents)).toBe(0);
  });

  test('readv fills adjacent, scattered, backward and repeated ranges', async () => {
    const { device, contents } = await given();
    if (device.readv === undefined) return expect(device.readvSync).toBeUndefined();
    const places = [0, 4096, 8192, 131072, 135168, 65536, 4096, device.size - 4096, 12288];
    const ranges = places.map((dpos) => ({ into: guarded(4096, true).view, dpos }));
    await device.readv(ranges);
    for (const { into, dpos } of ranges) {
      expect(Buffer.compare(into, contents.subarray(dpos, dpos + 4096))).toBe(0);
    }
    await device.readv([]);
  });
}

function badRanges(device: BlockDevice): [number, number][] {
  const b = device.blockSize;
  return [
    [-b, b],
    [1, b],
    [0, b - 1],
    [0, b + 1],
    [device.size, b],
    [device.size - b, 2 * b],
    [2 ** 53, b],
    [Number.NaN, b],
    [Number.POSITIVE_INFINITY, b],
    [0.5, b],
  ];
}

function settledTests(given: Given): void {
  test('an aborted read rejects, and the view is not touched after that', async () => {
    const { device } = await given();
    const abort = new AbortController();
    const { view } = guarded(131072, true);
    const running = device.read(view, 0, { signal: abort.signal });
    abort.abort(new Error('enough'));
    const outcome = await running.then(
      () => 'read',
      (error: Error) => error.message,
    );
    expect(['read', 'enough']).toContain(outcome);
    view.set(new Uint8Array(view.length)); // what now lies in the view stays
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(view.every((byte) => byte === 0)).toBe(true);
  });

  test('a signal aborted before the call rejects with its reason and reads nothing', async () => {
    const { device } = await given();
    const view = new Uint8Array(4096).fill(0xa5);
    const signal = AbortSignal.abort(new Error('too late'));
    await expect(device.read(view, 0, { signal })).rejects.toThrow('too late');
    expect(view.every((byte) => byte === 0xa5)).toBe(true);
  });
}

function closeTests(backEnd: BackEnd, given: Given): void {
  test('a closed device answers EBADF, and closing again is nothing', async () => {
    const { device } = await given();
    await device.close();
    await device.close();
    const block = new Uint8Array(device.blockSize);
    await expectCode(device.read(block, 0), 'EBADF');
    await expectCode(device.flush(), 'EBADF');
    if (device.readv) await expectCode(device.readv([{ into: block, dpos: 0 }]), 'EBADF');
    if (backEnd.writable !== 'never') await expectCode(device.write(block, 0), 'EBADF');
    if (backEnd.sync) {
      expect(thrown(() => device.readSync?.(block, 0))).toMatchObject({ code: 'EBADF' });
    }
  });

  test('close waits for the reads in flight', async () => {
    const { device, contents } = await given();
    const view = new Uint8Array(131072);
    const running = device.read(view, 0);
    await device.close();
    await running;
    expect(Buffer.compare(view, contents.subarray(0, view.length))).toBe(0);
  });
}

function syncTests(given: Given): void {
  test('synchronous reads give the same bytes as asynchronous ones', async () => {
    const { device, contents } = await given();
    const sync = device as SyncBlockDevice;
    for (const shared of [false, true]) {
      const { view, intact } = guarded(65536, shared);
      sync.readSync(view, 4096);
      expect(Buffer.compare(view, contents.subarray(4096, 4096 + 65536))).toBe(0);
      expect(intact()).toBe(true);
    }
    const ranges = [8192, 12288, 0, 262144].map((dpos) => ({ into: new Uint8Array(4096), dpos }));
    sync.readvSync?.(ranges);
    for (const { into, dpos } of sync.readvSync ? ranges : []) {
      expect(Buffer.compare(into, contents.subarray(dpos, dpos + 4096))).toBe(0);
    }
  });

  test('synchronous bad requests throw EINVAL', async () => {
    const { device } = await given();
    for (const [dpos, len] of badRanges(device)) {
      const error = thrown(() => device.readSync?.(new Uint8Array(len), dpos));
      expect(error).toMatchObject({ code: 'EINVAL' });
    }
  });
}

function writeTests(given: Given): void {
  test('what was written is read back, and its neighbours are unchanged', async () => {
    const { device, contents } = await given();
    const expected = contents.slice();
    for (const [dpos, len, seed] of [
      [0, device.blockSize, 2],
      [65536 - device.blockSize, 2 * device.blockSize, 3],
      [device.size - 4096, 4096, 4],
      [16384, 200 * 1024, 5],
    ]) {
      const { view } = guarded(len, true);
      view.set(pattern(len, seed));
      await device.write(view, dpos, { fua: seed === 3 });
      expected.set(view, dpos);
    }
    await device.flush();
    const back = new Uint8Array(device.size);
    await device.read(back, 0);
    expect(Buffer.compare(back, expected)).toBe(0);
  });

  test('writev writes its parts one behind the other', async () => {
    const { device, contents } = await given();
    if (device.writev === undefined) return expect(device.writevSync).toBeUndefined();
    const parts = [4096, 8192, 512, 3584].map((len, i) => pattern(len, i + 9));
    await device.writev(parts, 8192);
    const expected = contents.slice();
    expected.set(Buffer.concat(parts), 8192);
    const back = new Uint8Array(device.size);
    await device.read(back, 0);
    expect(Buffer.compare(back, expected)).toBe(0);
  });

  test('bad writes are EINVAL and change nothing', async () => {
    const { device, contents } = await given();
    for (const [dpos, len] of badRanges(device)) {
      await expectCode(device.write(new Uint8Array(len), dpos), 'EINVAL');
      if (device.writev) await expectCode(device.writev([new Uint8Array(len)], dpos), 'EINVAL');
      if (device.discard) await expectCode(device.discard(dpos, len), 'EINVAL');
    }
    const back = new Uint8Array(device.size);
    await device.read(back, 0);
    expect(Buffer.compare(back, contents)).toBe(0);
  });

  test('a discarded range reads as zeroes where promised, and its neighbours stay', async () => {
    const { device, contents } = await given();
    if (device.discard === undefined) return expect(device.discardSync).toBeUndefined();
    await device.discard(4096, 135168);
    const back = new Uint8Array(device.size);
    await device.read(back, 0);
    const end = 4096 + 135168;
    expect(Buffer.compare(back.subarray(0, 4096), contents.subarray(0, 4096))).toBe(0);
    expect(Buffer.compare(back.subarray(end), contents.subarray(end))).toBe(0);
    if (device.discardZeroes) expect(back.subarray(4096, end).every((b) => b === 0)).toBe(true);
  });

  test('parallel writes to different places all arrive', async () => {
    const { device } = await given();
    const step = 8192;
    const parts = Array.from({ length: device.size / step }, (_, i) => pattern(step, i + 100));
    await Promise.all(parts.map((part, i) => device.write(part, i * step)));
    await device.flush();
    const back = new Uint8Array(device.size);
    await device.read(back, 0);
    expect(Buffer.compare(back, Buffer.concat(parts))).toBe(0);
  });
}

function syncWriteTests(given: Given): void {
  test('synchronous and asynchronous writes are one device', async () => {
    const { device, contents } = await given();
    const sync = device as SyncBlockDevice;
    const expected = contents.slice();
    sync.writeSync(pattern(4096, 50), 4096, { fua: true });
    expected.set(pattern(4096, 50), 4096);
    await device.write(pattern(4096, 51), 8192);
    expected.set(pattern(4096, 51), 8192);
    if (sync.writevSync) {
      const parts = [pattern(4096, 52), pattern(1024, 53), pattern(3072, 54)];
      sync.writevSync(parts, 65536);
      expected.set(Buffer.concat(parts), 65536);
    }
    sync.flushSync();
    const one = new Uint8Array(device.size);
    const two = new Uint8Array(device.size);
    await device.read(one, 0);
    sync.readSync(two, 0);
    expect(Buffer.compare(one, expected)).toBe(0);
    expect(Buffer.compare(two, expected)).toBe(0);
    for (const [dpos, len] of badRanges(device)) {
      const error = thrown(() => sync.writeSync(new Uint8Array(len), dpos));
      expect(error).toMatchObject({ code: 'EINVAL' });
    }
  });
}

function readOnlyTests(backEnd: BackEnd, given: Given): void {
  test('a read-only device refuses writes with EROFS, flushes, and is not direct', async () => {
    const { device, contents } = await given(true);
    const block = new Uint8Array(device.blockSize);
    expect(device.readOnly).toBe(true);
    expect(device.direct).toBeUndefined();
    await expectCode(device.write(block, 0), 'EROFS');
    if (device.writev) await expectCode(device.writev([block], 0), 'EROFS');
    if (device.discard) await expectCode(device.discard(0, block.length), 'EROFS');
    await device.flush();
    if (backEnd.sync) {
      expect(thrown(() => device.writeSync?.(block, 0))).toMatchObject({ code: 'EROFS' });
      device.flushSync?.();
    }
    const back = new Uint8Array(device.size);
    await device.read(back, 0);
    expect(Buffer.compare(back, contents)).toBe(0);
  });
}

function hugeTests(backEnd: BackEnd, open: Set<BlockDevice>): void {
  test('positions beyond 4 GiB and 2^44 are exact', async () => {
    const size = 2 ** 44 + 2 ** 20;
    const device = (await backEnd.huge?.(size)) as BlockDevice;
    open.add(device);
    expect(device.size).toBe(size);
    const places = [0, 2 ** 31 - 4096, 2 ** 32 - 4096, 2 ** 32, 2 ** 40 + 4096, 2 ** 44 + 65536];
    for (const [i, dpos] of places.entries()) await device.write(pattern(4096, i + 1), dpos);
    const back = new Uint8Array(4096);
    for (const [i, dpos] of places.entries()) {
      await device.read(back, dpos);
      expect(Buffer.compare(back, pattern(4096, i + 1)), `at ${dpos}`).toBe(0);
    }
    await device.read(back, 2 ** 33);
    expect(back.every((byte) => byte === 0)).toBe(true);
  });
}
