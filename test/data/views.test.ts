// Views for writing. Goal: stores that were announced are in the file, like those of mmap; space is promised at
// once and given back; range operations take leased folios away and keep the lease's bytes. Method: each data path
// on a fresh image, read back after a remount, e2fsck.

import { describe, expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { mountVfsSync } from '../../ts/vfs/filesystem.ts';
import type { MountOptions } from '../../ts/vfs/options.ts';
import { contents, makeImage, tool } from '../write/images.ts';

const PATHS: Record<string, MountOptions> = {
  iomap: { dax: 'never' },
  bufferhead: { dax: 'never', bufferedIomap: false },
  dax: { dax: 'always' },
};

function mounted(options: MountOptions) {
  const device = memoryDevice(makeImage({ args: '-t ext4 -b 1024', size: 8 }));
  const fs = mountVfsSync(device, options);
  const fd = fs.runSync(fs.open('/file', 0o102, 0o644));
  return { device, fs, fd };
}

describe.each(Object.entries(PATHS))('%s', (_name, options) => {
  test('what was announced is in the file after a remount', () => {
    const { device, fs, fd } = mounted(options);
    fs.writeSync(fd, new Uint8Array(3000).fill(0x61), 0, 3000, 0);
    fs.runSync(fs.data.truncate(fd, 65536));
    const view = fs.runSync(fs.view(fd, 100, 20000, true));
    let at = 0;
    for (const part of view.segments) {
      for (let i = 0; i < part.length; i++) part[i] = (at + i) % 251;
      at += part.length;
    }
    view.dirty(0, 20000);
    view.release();
    fs.runSync(fs.unmount());
    expect(tool('e2fsck', ['-fn'], contents(device as never))).toMatchObject({ code: 0 });
    const again = mountVfsSync(device, { ...options, ro: true });
    const got = new Uint8Array(65536);
    again.readSync(again.runSync(again.open('/file', 0)), got, 0, 65536, 0);
    const want = new Uint8Array(65536);
    want.fill(0x61, 0, 3000);
    for (let i = 0; i < 20000; i++) want[100 + i] = i % 251;
    expect(Buffer.compare(got, want)).toBe(0);
  });

  test('space of what was never announced is given back', () => {
    const { fs, fd } = mounted(options);
    fs.runSync(fs.data.truncate(fd, 1 << 20));
    fs.runSync(fs.syncAll());
    const before = fs.runSync(fs.statfs('/')).bfree;
    const view = fs.runSync(fs.view(fd, 0, 1 << 20, true));
    expect(fs.runSync(fs.statfs('/')).bfree).toBe(before - 1024);
    view.release();
    if (options.dax !== 'always') expect(fs.runSync(fs.statfs('/')).bfree).toBe(before);
    fs.runSync(fs.unmount());
  });

  test('a view of more than there is room for is ENOSPC, and promises nothing', () => {
    const { fs, fd } = mounted(options);
    fs.runSync(fs.data.truncate(fd, 16 << 20));
    const before = fs.runSync(fs.statfs('/')).bfree;
    expect(() => fs.runSync(fs.view(fd, 0, 12 << 20, true))).toThrow('ENOSPC');
    if (options.dax !== 'always') expect(fs.runSync(fs.statfs('/')).bfree).toBe(before);
    expect(fs.counters().leases).toBe(0);
    fs.runSync(fs.unmount());
  });

  test('a range that is taken from the file makes its view stale, and its bytes stay', () => {
    const { fs, fd } = mounted(options);
    fs.writeSync(fd, new Uint8Array(8192).fill(0x61), 0, 8192, 0);
    const view = fs.runSync(fs.view(fd, 0, 8192, true));
    if (options.dax === 'always') {
      expect(() => fs.runSync(fs.data.truncate(fd, 0))).toThrow('EBUSY');
    } else {
      fs.runSync(fs.data.truncate(fd, 0));
      expect(view.segments[0][8]).toBe(0x61);
      expect(() => view.dirty(0, 10)).toThrow('ESTALE');
    }
    view.release();
    expect(() => view.dirty(0, 10)).toThrow('ESTALE');
    fs.runSync(fs.unmount());
  });

  test('what frees or moves blocks that are on view waits for release on DAX, and detaches them else', () => {
    const ranges = ['punch', 'collapse', 'zero', 'insert'] as const;
    for (const write of [false, true]) {
      for (const mode of ranges) {
        const { fs, fd } = mounted(options);
        fs.writeSync(fd, new Uint8Array(16384).fill(0x61), 0, 16384, 0);
        fs.runSync(fs.syncAll());
        const view = fs.runSync(fs.view(fd, 4096, 4096, write));
        const range = () => fs.runSync(fs.data.fallocate(fd, mode, 4096, 4096, mode === 'punch'));
        if (options.dax === 'always') expect(range, `${mode} ${write}`).toThrow('EBUSY');
        else range();
        expect(view.segments[0][8], `${mode} ${write}`).toBe(0x61);
        if (options.dax !== 'always' && write) {
          expect(() => view.dirty(0, 10), mode).toThrow('ESTALE');
        }
        fs.runSync(fs.data.fallocate(fd, 'alloc', 0, 32768, true));
        view.release();
        range();
        fs.runSync(fs.unmount());
      }
    }
  });

  test('a file without a name stays while it is on view', () => {
    const { device, fs, fd } = mounted(options);
    fs.writeSync(fd, new Uint8Array(8192).fill(0x61), 0, 8192, 0);
    const view = fs.runSync(fs.view(fd, 0, 8192, false));
    fs.runSync(fs.close(fd));
    fs.runSync(fs.change.unlink('/file'));
    const other = fs.runSync(fs.open('/other', 0o102, 0o644));
    for (let at = 0; at < 4 << 20; at += 1 << 16) {
      fs.writeSync(other, new Uint8Array(1 << 16).fill(0x62), 0, 1 << 16, at);
    }
    fs.runSync(fs.syncAll());
    for (const part of view.segments) expect(part.every((byte) => byte === 0x61)).toBe(true);
    view.release();
    fs.runSync(fs.unmount());
    expect(tool('e2fsck', ['-fn'], contents(device as never))).toMatchObject({ code: 0 });
  });
});

test('journalled data has no view for writing, which says so; one for reading is a copy', () => {
  const { fs, fd } = mounted({ data: 'journal' });
  fs.writeSync(fd, new Uint8Array(5000).fill(0x61), 0, 5000, 0);
  expect(() => fs.runSync(fs.view(fd, 0, 5000, true))).toThrow(/EOPNOTSUPP.*journalled/);
  const view = fs.runSync(fs.view(fd, 0, 5000, false));
  expect(view.zeroCopy).toBe(false);
  fs.writeSync(fd, new Uint8Array(5000).fill(0x62), 0, 5000, 0);
  expect(view.bytes?.every((byte) => byte === 0x61)).toBe(true);
  view.release();
  fs.runSync(fs.unmount());
});
