// Goal: a large read of a file that the cache cannot hold is read past it, straight to the caller's memory, and nothing
// else changes: same bytes over data, holes and unwritten extents, and what was cached stays cached.
// Method: an image by mke2fs with a file of five times the cache; reads and views at random (the seed is printed).

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { SyncBlockDevice } from '../../ts/block/device.ts';
import { openFile } from '../../ts/block/node.ts';
import { type Ext4, mount, mountSync } from '../../ts/index.ts';
import { need, which } from '../need.ts';
import { type SlowDevice, slowDevice } from '../slow.ts';

const MIB = 1 << 20;
const CACHE = 5 * MIB;
const SIZE = 25 * MIB + 1234;
const SMALL = MIB;

need.describe('reads past the cache', [need.tool('mke2fs', 'debugfs')], () => {
  const dir = fs.mkdtempSync(join(tmpdir(), 'ext4-direct-'));
  const image = join(dir, 'image');
  const large = Buffer.alloc(SIZE);
  const small = Buffer.alloc(SMALL, 'small');
  let device: SlowDevice;
  let img: Ext4;

  beforeAll(() => {
    for (let at = 0; at < SIZE - 4; at += 4) large.writeUInt32LE((at * 2654435761) >>> 0, at);
    large.fill(0, 6 * MIB, 10 * MIB);
    fs.mkdirSync(join(dir, 'tree'));
    fs.writeFileSync(join(dir, 'tree/small'), small);
    const fd = fs.openSync(join(dir, 'tree/large'), 'w');
    fs.writeSync(fd, large, 0, 6 * MIB, 0);
    fs.writeSync(fd, large, 10 * MIB, SIZE - 10 * MIB, 10 * MIB);
    fs.closeSync(fd);
    const quiet = { stdio: 'ignore' } as const;
    const tree = ['-d', join(dir, 'tree')];
    execFileSync(which('mke2fs'), ['-Ft', 'ext4', '-b', '4096', ...tree, image, '64M'], quiet);
    // Blocks that are allocated and never written, within the hole.
    execFileSync(which('debugfs'), ['-w', '-R', 'fallocate large 1800 2100', image], quiet);
  });
  afterAll(() => fs.rmSync(dir, { recursive: true }));

  beforeEach(() => {
    device = slowDevice(openFile(image, { readOnly: true }) as SyncBlockDevice, { sync: true });
    img = mountSync(device, { cacheBytes: CACHE });
  });
  afterEach(async () => {
    if (!img.counters().pins) img.unmountSync();
    await device.close();
  });

  const read = (path: string, pos: number, len: number): Buffer => {
    const fd = img.openSync(path, 'r');
    const into = Buffer.alloc(len, 0xee);
    const count = img.readSync(fd, into, 0, len, pos);
    img.closeSync(fd);
    return into.subarray(0, count);
  };

  test('the file has data, a hole and unwritten blocks', () => {
    const flags = img.extentsSync('/large').map((extent) => extent.flags & 0x800);
    expect(new Set(flags)).toEqual(new Set([0, 0x800]));
    expect(img.seekHoleSync('/large', 0)).toBe(6 * MIB);
  });

  test('any read has the bytes of the file, whatever is cached', () => {
    const seed = Number(process.env.SEED ?? Date.now() % 1e9);
    let state = seed;
    const random = (below: number) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    for (let i = 0; i < 400; i++) {
      const aligned = random(2) === 0;
      const pos = aligned ? random(SIZE / 4096) * 4096 : random(SIZE);
      const len = [1 + random(5000), 1 + random(300_000), MIB, 1 + random(3 * MIB)][random(4)];
      const same = read('/large', pos, len).equals(large.subarray(pos, pos + len));
      expect(same, `seed ${seed}, read ${i}: ${len} bytes at ${pos}`).toBe(true);
      if (random(8) === 0) {
        const view = img.viewSync('/large', pos, Math.min(len, 100_000));
        const equal = large.subarray(pos, pos + view.length).equals(view.copy());
        view.release();
        expect(equal, `seed ${seed}, view ${i} at ${pos}`).toBe(true);
      }
    }
  });

  test('a large read makes no folio and drops none', () => {
    read('/small', 0, SMALL);
    const before = img.counters();
    read('/large', 0, 20 * MIB);
    read('/large', 4096, 20 * MIB);
    const { slots, evictions, deviceReadBytes } = img.counters();
    // An extent block may come in.
    expect(slots).toBeLessThanOrEqual(before.slots + 2);
    expect(evictions).toBe(before.evictions);
    expect(deviceReadBytes - before.deviceReadBytes).toBeGreaterThan(30 * MIB);
    const { deviceReads } = img.counters();
    expect(read('/small', 0, SMALL).equals(small)).toBe(true);
    expect(img.counters().deviceReads).toBe(deviceReads);
  });

  test('bytes land in the caller’s memory and nowhere behind it', () => {
    const fd = img.openSync('/large', 'r');
    const into = Buffer.alloc(4 * MIB, 0xee);
    expect(img.readSync(fd, into, MIB, 2 * MIB, 0)).toBe(2 * MIB);
    expect(into.subarray(MIB, 3 * MIB).equals(large.subarray(0, 2 * MIB))).toBe(true);
    expect(into.subarray(0, MIB).every((byte) => byte === 0xee)).toBe(true);
    expect(into.subarray(3 * MIB).every((byte) => byte === 0xee)).toBe(true);
    img.closeSync(fd);
  });

  test('blocks that are cached are not read again', () => {
    for (let pos = 2 * MIB; pos < 3 * MIB; pos += 65536) read('/large', pos, 65536);
    const before = img.counters().deviceReadBytes;
    expect(read('/large', 0, 4 * MIB).equals(large.subarray(0, 4 * MIB))).toBe(true);
    expect(img.counters().deviceReadBytes - before).toBeLessThanOrEqual(3 * MIB);
  });

  test('a file that fits the cache is read once', () => {
    read('/small', 0, SMALL);
    const { deviceReads } = img.counters();
    read('/small', 0, SMALL);
    expect(img.counters().deviceReads).toBe(deviceReads);
  });

  test('a device error is EIO, and the next read is whole', () => {
    const fd = img.openSync('/large', 'r');
    const into = Buffer.alloc(2 * MIB);
    device.fail('read');
    expect(() => img.readSync(fd, into, 0, into.length, 0)).toThrow(
      expect.objectContaining({ code: 'EIO', syscall: 'read' }),
    );
    expect(img.readSync(fd, into, 0, into.length, 0)).toBe(into.length);
    expect(into.equals(large.subarray(0, into.length))).toBe(true);
    img.closeSync(fd);
    expect(img.counters().pins).toBe(0);
  });

  test('an asynchronous mount, and one with forced misses, read the same', async () => {
    const slow = slowDevice(openFile(image, { readOnly: true }) as SyncBlockDevice);
    const face = await mount(slow, { cacheBytes: CACHE });
    expect(large.equals((await face.promises.readFile('/large')) as Buffer)).toBe(true);
    await face.unmount();
    await slow.close();
    const options = { cacheBytes: CACHE, forceMiss: true };
    const forced = mountSync(openFile(image, { readOnly: true }), options as object);
    expect(large.equals(forced.readFileSync('/large') as Buffer)).toBe(true);
    forced.unmountSync();
  });
});
