// Goal: what is mounted, by this process or by the kernel, is neither made anew nor mended, as mke2fs and e2fsck have
// it. Method: mounts of the library on a memory device; a loop mount of an image, whole and as a partition.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { fsck, fsckSync, mkfs, mkfsSync, mount, mountSync } from '../../ts/index.ts';
import { need } from '../need.ts';
import { ext4, temporary } from './harness.ts';

describe('a device that this process has mounted', () => {
  const busy = (syscall: string) => ({ code: 'EBUSY', syscall });

  test('is neither made anew nor mended, and may be looked at', async () => {
    const device = memoryDevice(4 << 20);
    mkfsSync(device);
    const img = mountSync(device);
    img.writeFileSync('/file', 'kept');
    expect(() => mkfsSync(device)).toThrow(expect.objectContaining(busy('mkfs')));
    await expect(mkfs(device)).rejects.toMatchObject(busy('mkfs'));
    for (const repair of [true, 'preen'] as const) {
      expect(() => fsckSync(device, { repair })).toThrow(expect.objectContaining(busy('fsck')));
      await expect(fsck(device, { repair })).rejects.toMatchObject(busy('fsck'));
    }
    expect(fsckSync(device).exitCode).not.toBe(8);
    expect(img.readFileSync('/file', 'utf8')).toBe('kept');
    img.unmountSync();
    expect(fsckSync(device, { repair: true }).exitCode).toBe(0);
    mkfsSync(device);
  });

  test('read-only is not mended either', () => {
    const device = memoryDevice(4 << 20);
    mkfsSync(device);
    const img = mountSync(device, { ro: true });
    expect(() => fsckSync(device, { repair: true })).toThrow(/EBUSY.*mounted/);
    expect(fsckSync(device).exitCode).toBe(0);
    img.unmountSync();
  });

  test('while it is made or mended it is not mounted, and free again after a failure', async () => {
    const device = memoryDevice(4 << 20);
    const making = mkfs(device);
    await expect(mount(device)).rejects.toMatchObject(busy('mount'));
    await making;
    const mending = fsck(device, { repair: true });
    await expect(mount(device)).rejects.toMatchObject(busy('mount'));
    await mending;
    await expect(mkfs(device, { blockSize: 999 })).rejects.toMatchObject({ code: 'EINVAL' });
    await (await mount(device)).unmount();
  });
});

need.describe('an image that the kernel has mounted', [need.loop()], () => {
  const dir = temporary();
  const point = () => join(dir, 'mount point');

  async function mounted(image: string, loop: string[], work: () => Promise<void>): Promise<void> {
    mkdirSync(point(), { recursive: true });
    const device = execFileSync('losetup', ['-f', '--show', ...loop, image])
      .toString()
      .trim();
    try {
      execFileSync('mount', [device, point()]);
      await work();
    } finally {
      spawnSync('umount', [point()]);
      execFileSync('losetup', ['-d', device]);
    }
  }

  test('is refused by mkfs and by fsck -y in one line, and nothing is written', async () => {
    const image = join(dir, 'image');
    await ext4('mkfs', '-q', image, '8m');
    await mounted(image, [], async () => {
      const before = readFileSync(image);
      const made = await ext4('mkfs', '-F', image, '8m');
      expect(made.code).toBe(1);
      expect(made.err).toBe(`ext4: mkfs: '${image}' is mounted on ${point()}: unmount it first\n`);
      const mended = await ext4('fsck', '-fy', image);
      expect(mended.code).toBe(8);
      expect(mended.err).toMatch(`is mounted on ${point()}: unmount it first`);
      const looked = await ext4('fsck', '-fn', image);
      expect(looked.err).toMatch(`is mounted on ${point()}: what is found may not be so on disk`);
      expect([0, 4]).toContain(looked.code);
      expect((await ext4('mkfs', '-n', image)).code).toBe(0);
      expect(readFileSync(image).equals(before)).toBe(true);
    });
    expect((await ext4('fsck', '-fy', image)).code).toBeLessThan(2);
  });

  test('is found by its partition too, and -F twice makes it anew all the same', async () => {
    const image = join(dir, 'disk');
    const bytes = new Uint8Array(9 << 20);
    const device = memoryDevice(8 << 20);
    mkfsSync(device);
    device.readSync(bytes.subarray(1 << 20), 0);
    writeFileSync(image, bytes);
    await mounted(image, ['-o', `${1 << 20}`], async () => {
      const made = await ext4('mkfs', image, '4m');
      expect(made.err).toMatch('is mounted on');
      expect(statSync(image).size).toBe(9 << 20);
      expect((await ext4('mkfs', '-F', '-F', image, '4m')).code).toBe(0);
    });
  });
});
