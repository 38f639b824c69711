// Files and block devices. Goal: the contract on real files and a loop device, and node:fs's bad days: short reads and
// writes, EAGAIN, vanished files, double opens. Method: real files in a temporary directory; faults by replacing one
// function of node:fs for one test.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { openFile } from '../../ts/block/node.ts';
import { deviceContract, expectCode, pattern } from '../contract/device.ts';
import { need } from '../need.ts';

let dir = '';
let count = 0;
const fresh = () => join(dir, `image-${count++}`);
const withBytes = (bytes: Uint8Array) => {
  const path = fresh();
  fs.writeFileSync(path, bytes);
  return path;
};

beforeAll(() => void (dir = fs.mkdtempSync(join(tmpdir(), 'ext4-node-'))));
afterAll(() => fs.rmSync(dir, { recursive: true }));
afterEach(() => vi.restoreAllMocks());

deviceContract('file', {
  make: (contents, { readOnly }) => openFile(withBytes(contents), { readOnly }),
  sync: true,
  writable: 'choice',
});

describe('file device', () => {
  test('a file of more than 4 GiB keeps its positions exact and its holes', async () => {
    const size = 2 ** 40;
    const path = fresh();
    const device = openFile(path, { create: true, size });
    expect(device.size).toBe(size);
    for (const dpos of [0, 2 ** 32, size - 4096]) device.writeSync(pattern(4096, dpos + 1), dpos);
    const back = new Uint8Array(4096);
    await device.read(back, size - 4096);
    expect(back).toEqual(pattern(4096, size - 4096 + 1));
    await device.read(back, 2 ** 33);
    expect(back.every((byte) => byte === 0)).toBe(true);
    await device.close();
    expect(fs.statSync(path).blocks * 512).toBeLessThan(2 ** 20);
  });

  test('open errors carry code, syscall and path as Node gives them', () => {
    const path = fresh();
    expect(() => openFile(path)).toThrow(
      expect.objectContaining({
        code: 'ENOENT',
        errno: -2,
        syscall: 'open',
        path,
        message: `ENOENT: no such file or directory, open '${path}'`,
      }),
    );
    expect(() => openFile(dir)).toThrow(expect.objectContaining({ code: 'EISDIR', path: dir }));
    expect(() => openFile(`${withBytes(pattern(512))}/x`)).toThrow(/ENOTDIR/);
    expect(() => openFile('/dev/null')).toThrow(/EINVAL.*neither a file nor a block device/);
    expect(() => openFile(path, { create: true, readOnly: true })).toThrow(/EINVAL/);
    expect(() => openFile(path, { create: true, size: -1 })).toThrow(/EINVAL/);
    expect(fs.existsSync(path)).toBe(false);
  });

  test('opening a FIFO is refused instead of waiting for its other end', () => {
    const path = fresh();
    execFileSync('mkfifo', [path]);
    expect(() => openFile(path, { readOnly: true })).toThrow(/EINVAL/);
  });

  test('size grows a short file with zeroes and never cuts a long one', () => {
    const path = withBytes(pattern(4096));
    const grown = openFile(path, { size: 8192 });
    expect(grown.size).toBe(8192);
    grown.closeSync();
    const kept = openFile(path, { size: 1024 });
    expect(kept.size).toBe(8192);
    kept.closeSync();
    const bytes = fs.readFileSync(path);
    expect(bytes.length).toBe(8192);
    expect(bytes.subarray(0, 4096).equals(pattern(4096))).toBe(true);
  });

  test('a file is not created unless asked, and its ragged end is left out', () => {
    const device = openFile(withBytes(pattern(1500)), { readOnly: true });
    expect(device.size).toBe(1024);
    device.closeSync();
  });

  test('one file cannot be open for writing twice, by whatever name', async () => {
    const path = withBytes(pattern(4096));
    const link = fresh();
    fs.linkSync(path, link);
    const first = openFile(path);
    expect(() => openFile(link)).toThrow(expect.objectContaining({ code: 'EBUSY', path: link }));
    const reader = openFile(link, { readOnly: true });
    await first.close();
    const second = openFile(link);
    await second.close();
    await reader.close();
  });

  test('a file that shrank behind our back gives EIO, not a short read', async () => {
    const path = withBytes(pattern(65536));
    const device = openFile(path, { readOnly: true });
    fs.truncateSync(path, 6000);
    const view = new Uint8Array(8192);
    expect(() => device.readSync(view, 0)).toThrow(/EIO.*ended after 6000/);
    await expectCode(device.read(view, 0), 'EIO');
    await expectCode(device.read(view, 32768), 'EIO');
    const ranges = [0, 4096].map((dpos) => ({ into: new Uint8Array(4096), dpos }));
    expect(() => device.readvSync(ranges)).toThrow(/EIO/);
    await expectCode(device.readv(ranges), 'EIO');
    device.closeSync();
  });

  test('short and interrupted synchronous calls are continued', () => {
    const path = withBytes(pattern(65536));
    const device = openFile(path);
    const { readSync, writeSync, readvSync } = fs;
    let calls = 0;
    const eagain = () => Object.assign(new Error('again'), { code: 'EAGAIN' });
    const flaky = (real: typeof readSync) =>
      ((fd: number, view: Uint8Array, off: number, len: number, dpos: number) => {
        if (calls++ % 2 === 0) throw eagain();
        return real(fd, view, off, Math.min(len, 700), dpos);
      }) as typeof readSync;
    vi.spyOn(fs, 'readSync').mockImplementation(flaky(readSync));
    vi.spyOn(fs, 'writeSync').mockImplementation(flaky(writeSync as typeof readSync) as never);
    vi.spyOn(fs, 'readvSync').mockImplementation((fd, views, dpos) =>
      readvSync(fd, views.slice(0, 1), dpos),
    );
    const view = new Uint8Array(8192);
    device.readSync(view, 4096);
    expect(view).toEqual(pattern(65536).subarray(4096, 4096 + 8192));
    device.writeSync(pattern(8192, 7), 0);
    const ranges = [0, 4096].map((dpos) => ({ into: new Uint8Array(4096), dpos }));
    device.readvSync(ranges);
    expect(Buffer.concat(ranges.map((r) => r.into)).equals(pattern(8192, 7))).toBe(true);
    expect(calls).toBeGreaterThan(40);
    device.closeSync();
  });

  test('short and interrupted asynchronous calls are continued', async () => {
    const device = openFile(withBytes(pattern(65536)));
    const { read, write } = fs;
    let calls = 0;
    const flaky = (real: typeof read) =>
      ((fd: number, view: Uint8Array, off: number, len: number, dpos: number, cb: () => void) => {
        const error = Object.assign(new Error('again'), { code: 'EAGAIN' });
        if (calls++ % 2 === 0) return setImmediate(cb as (e: Error) => void, error);
        return real(fd, view, off, Math.min(len, 700), dpos, cb);
      }) as unknown as typeof read;
    vi.spyOn(fs, 'read').mockImplementation(flaky(read) as never);
    vi.spyOn(fs, 'write').mockImplementation(flaky(write as unknown as typeof read) as never);
    await device.write(pattern(8192, 7), 4096);
    const view = new Uint8Array(8192);
    await device.read(view, 4096);
    expect(view).toEqual(pattern(8192, 7));
    expect(calls).toBeGreaterThan(40);
    await device.close();
  });

  test('EAGAIN without end is an error, not a hang', () => {
    const device = openFile(withBytes(pattern(4096)));
    vi.spyOn(fs, 'readSync').mockImplementation(() => {
      throw Object.assign(new Error('again'), { code: 'EAGAIN' });
    });
    expect(() => device.readSync(new Uint8Array(512), 0)).toThrow(/EIO.*again/);
    device.closeSync();
  });

  test('a full or failing disk passes its code on, with what was asked', async () => {
    const device = openFile(withBytes(pattern(4096)));
    const enospc = Object.assign(new Error('full'), { code: 'ENOSPC' });
    vi.spyOn(fs, 'writeSync').mockImplementation(() => {
      throw enospc;
    });
    vi.spyOn(fs, 'fdatasync').mockImplementation((_, cb) => cb(enospc));
    expect(() => device.writeSync(pattern(512), 1024)).toThrow(/ENOSPC.*512 bytes at 1024/);
    await expectCode(device.flush(), 'ENOSPC');
    device.closeSync();
  });

  test('fua and flush reach fdatasync, and a plain write does not', async () => {
    const device = openFile(withBytes(pattern(4096)));
    const sync = vi.spyOn(fs, 'fdatasyncSync');
    const async_ = vi.spyOn(fs, 'fdatasync');
    device.writeSync(pattern(512), 0);
    await device.write(pattern(512), 0);
    expect([sync.mock.calls.length, async_.mock.calls.length]).toEqual([0, 0]);
    device.writeSync(pattern(512), 0, { fua: true });
    await device.write(pattern(512), 0, { fua: true });
    expect([sync.mock.calls.length, async_.mock.calls.length]).toEqual([1, 1]);
    await device.close();
  });

  test('close keeps the file open until requests in flight have settled', async () => {
    const device = openFile(withBytes(pattern(4096)));
    const { read } = fs;
    const order: string[] = [];
    vi.spyOn(fs, 'read').mockImplementation(((...args: unknown[]) => {
      order.push('read');
      setTimeout(() => (read as (...a: unknown[]) => void)(...args), 20);
    }) as never);
    vi.spyOn(fs, 'closeSync').mockImplementationOnce(() => void order.push('close'));
    const view = new Uint8Array(4096);
    const running = device.read(view, 0).then(() => order.push('settled'));
    await device.close();
    await running;
    expect(order).toEqual(['read', 'settled', 'close']);
    expect(view).toEqual(pattern(4096));
  });

  test('closeSync refuses while requests are in flight', async () => {
    const device = openFile(withBytes(pattern(4096)));
    const running = device.read(new Uint8Array(4096), 0);
    expect(() => device.closeSync()).toThrow(/EBUSY/);
    await running;
    device.closeSync();
  });

  test('thousands of adjacent ranges are read in few calls', () => {
    const device = openFile(withBytes(pattern(2 ** 20)), { readOnly: true });
    const calls = vi.spyOn(fs, 'readvSync');
    const ranges = Array.from({ length: 2048 }, (_, i) => ({
      into: new Uint8Array(512),
      dpos: i * 512,
    }));
    device.readvSync(ranges);
    expect(Buffer.concat(ranges.map((r) => r.into)).equals(pattern(2 ** 20))).toBe(true);
    expect(calls.mock.calls.length).toBe(2);
    device.closeSync();
  });
});

need.describe('block device', [need.root(), need.loop()], () => {
  const loops = new Map<string, string>();
  const losetup = (...args: string[]) => execFileSync('losetup', args, { encoding: 'utf8' }).trim();
  const attach = (contents: Uint8Array) => {
    const path = withBytes(contents);
    const loop = losetup('--find', '--show', path);
    loops.set(loop, path);
    return loop;
  };
  afterEach(() => {
    for (const loop of loops.keys()) losetup('--detach', loop);
    loops.clear();
  });

  deviceContract('loop device', {
    make: (contents, { readOnly }) => openFile(attach(contents), { readOnly }),
    sync: true,
    writable: 'choice',
  });

  test.each([512, 4096, 1 << 20, 3 * (1 << 20) + 512, 12_345_856])(
    'the size of a loop device of %i bytes is found',
    (size) => {
      const device = openFile(attach(new Uint8Array(size)), { readOnly: true });
      expect(device.size).toBe(size);
      device.closeSync();
    },
  );

  test('flushed writes reach the file below, and size cannot grow it', async () => {
    const loop = attach(pattern(65536));
    expect(() => openFile(loop, { size: 2 ** 20 })).toThrow(/EINVAL.*65536 bytes/);
    const device = openFile(loop);
    await device.write(pattern(4096, 9), 8192);
    await device.flush();
    expect(fs.readFileSync(loops.get(loop)!).subarray(8192, 12288).equals(pattern(4096, 9))).toBe(
      true,
    );
    await device.close();
  });

  test('a block device that is mounted is EBUSY for writing and readable read-only', () => {
    const loop = attach(new Uint8Array(4 << 20));
    const mountPoint = join(dir, 'mnt');
    fs.mkdirSync(mountPoint);
    execFileSync('mkfs.ext4', ['-q', loop]);
    execFileSync('mount', [loop, mountPoint]);
    try {
      expect(() => openFile(loop)).toThrow(expect.objectContaining({ code: 'EBUSY', path: loop }));
      openFile(loop, { readOnly: true }).closeSync();
    } finally {
      execFileSync('umount', [mountPoint]);
    }
  });
});
