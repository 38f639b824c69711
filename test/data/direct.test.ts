// Writes past the cache: O_DIRECT, and streams longer than the cache keeps. Goal: the same bytes as through it, coherent
// with what is cached, and the old end zeroed (scenario 5 of the series, which Linux 6.18 gets wrong). Method: random
// writes through two descriptors beside a plain array, remount, e2fsck.

import { describe, expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { mountVfsSync } from '../../ts/vfs/filesystem.ts';
import type { MountOptions } from '../../ts/vfs/options.ts';
import { contents, makeImage, tool } from '../write/images.ts';

const O_DIRECT = 0o40000;
const CREATE = 0o102;
const OPTIONS: MountOptions = { dax: 'never', cacheBytes: 8 << 20 };
const seed = Number(process.env.SEED ?? 7);

function generator(start: number) {
  let x = start >>> 0;
  return (below: number) => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return Math.floor((x / 2 ** 32) * below);
  };
}

function check(device: ReturnType<typeof memoryDevice>, want: Uint8Array): void {
  expect(tool('e2fsck', ['-fn'], contents(device as never))).toMatchObject({ code: 0 });
  const fs = mountVfsSync(device, { ...OPTIONS, ro: true });
  const fd = fs.runSync(fs.open('/f', 0));
  const got = new Uint8Array(want.length + 1);
  expect(fs.readSync(fd, got, 0, got.length, 0)).toBe(want.length);
  expect(Buffer.compare(got.subarray(0, want.length), want)).toBe(0);
  fs.runSync(fs.unmount());
}

describe.each([{}, { forceMiss: true }, { bufferedIomap: false }])('%o', (more) => {
  test.each([64 << 10, 1 << 20])('a long stream by %d bytes is what was written', (size) => {
    const device = memoryDevice(makeImage({ args: '-t ext4 -b 4096', size: 64 }));
    const fs = mountVfsSync(device, { ...OPTIONS, ...more });
    const fd = fs.runSync(fs.open('/f', CREATE, 0o644));
    const want = new Uint8Array(24 << 20);
    for (let i = 0; i < want.length; i += 512) want[i] = (i / 512) % 251;
    for (let pos = 0; pos < want.length; pos += size) {
      expect(fs.writeSync(fd, want, pos, size, null)).toBe(size);
    }
    fs.runSync(fs.data.fsync(fd, false));
    fs.runSync(fs.unmount());
    check(device, want);
  });

  test(`direct and cached writes see each other (seed ${seed})`, () => {
    const rnd = generator(seed);
    const device = memoryDevice(makeImage({ args: '-t ext4 -b 1024', size: 24 }));
    const fs = mountVfsSync(device, { ...OPTIONS, ...more });
    const cached = fs.runSync(fs.open('/f', CREATE, 0o644));
    const direct = fs.runSync(fs.open('/f', 2 | O_DIRECT));
    const model = new Uint8Array(1 << 20);
    let end = 0;
    for (let i = 0; i < 300; i++) {
      const aligned = rnd(3) > 0;
      const pos = aligned ? rnd(900) * 1024 : rnd(900 << 10);
      const len = aligned ? (1 + rnd(60)) * 1024 : 1 + rnd(60000);
      const bytes = new Uint8Array(len).fill(1 + rnd(250));
      const fd = rnd(2) === 0 ? cached : direct;
      expect(fs.runSync(fs.data.write(fd, bytes, pos))).toBe(len);
      model.set(bytes, pos);
      end = Math.max(end, pos + len);
      const got = new Uint8Array(end);
      fs.readSync(cached, got, 0, end, 0);
      expect(Buffer.compare(got, model.subarray(0, end)), `operation ${i}`).toBe(0);
    }
    fs.runSync(fs.unmount());
    check(device, model.slice(0, end));
  });
});

test('5: a direct append behind a polluted end reads zeroes in between', () => {
  const device = memoryDevice(makeImage({ args: '-t ext4 -b 4096', size: 16 }));
  let fs = mountVfsSync(device, OPTIONS);
  let fd = fs.runSync(fs.open('/f', CREATE, 0o644));
  fs.writeSync(fd, new Uint8Array(2000).fill(0x61), 0, 2000, 0);
  fs.runSync(fs.data.fsync(fd, false));
  const [{ pblk }] = fs.runSync(fs.extents(fd));
  fs.runSync(fs.unmount());
  device.writeSync!(new Uint8Array(2048).fill(0x5a), pblk * 4096 + 2048);
  fs = mountVfsSync(device, OPTIONS);
  fd = fs.runSync(fs.open('/f', 2 | O_DIRECT));
  fs.runSync(fs.data.write(fd, new Uint8Array(4096).fill(0x62), 4096));
  const want = new Uint8Array(8192);
  want.fill(0x61, 0, 2000);
  want.fill(0x62, 4096);
  const got = new Uint8Array(8192);
  fs.readSync(fd, got, 0, 8192, 0);
  expect(Buffer.compare(got, want)).toBe(0);
  fs.runSync(fs.unmount());
  check(device, want);
});
