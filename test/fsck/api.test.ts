// Goal: fsck and fsckSync say the same, refuse what they must, stay within their memory and time on hostile images, and
// find nothing wrong with what the library itself wrote. Method: images in memory, made by mkfs and by a seeded run of
// changes through a mount.

import { describe, expect, test } from 'vitest';
import * as F from '../../assembly/format/ext4.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import { fsck, fsckSync, mkfsSync, mountSync } from '../../ts/index.ts';
import { random } from '../fuzz/random.ts';
import { need } from '../need.ts';
import { contents, fsck as e2fsck } from '../write/images.ts';

const SIZE = 16 << 20;

function fresh(options: Parameters<typeof mkfsSync>[1] = {}, size = SIZE) {
  const device = memoryDevice(size, { sparse: true });
  mkfsSync(device, options);
  return device;
}

/** A seeded run of changes; the same seed makes the same image but for times. */
function change(device: ReturnType<typeof fresh>, seed: number): void {
  const draw = random(seed);
  const img = mountSync(device);
  const files: string[] = [];
  img.mkdirSync('/d');
  for (let i = 0; i < 150; i++) {
    const path = `/d/${'x'.repeat(1 + draw.int(60))}-${i}`;
    const what = draw.int(6);
    if (what < 3) {
      img.writeFileSync(path, new Uint8Array(draw.int(40_000)).fill(i));
      files.push(path);
    } else if (what === 3) img.mkdirSync(path);
    else if (what === 4 && files.length > 0)
      img.unlinkSync(files.splice(draw.int(files.length), 1)[0]);
    else if (files.length > 0) img.chmodSync(draw.pick(files), 0o600);
  }
  img.symlinkSync('y'.repeat(200), '/long');
  img.unmountSync();
}

describe('fsck', () => {
  test.each([1, 2, 3])('finds nothing wrong with what the library wrote (seed %i)', (seed) => {
    for (const options of [
      {},
      { blockSize: 1024 },
      { features: '^metadata_csum,^extent,^64bit' },
    ]) {
      const device = fresh(options);
      change(device, seed);
      expect(fsckSync(device).problems).toEqual([]);
    }
  });

  test('says the same with promises as inside the call', async () => {
    const device = fresh();
    change(device, 4);
    const sb = new Uint8Array(1024);
    device.readSync(sb, 1024);
    expect(await fsck(device)).toEqual(fsckSync(device));
    new DataView(sb.buffer).setUint16(F.S_MAGIC, 0, true);
    device.writeSync(sb, 1024);
    const [one, two] = [await fsck(device), fsckSync(device)];
    expect(one).toEqual(two);
    expect(one.exitCode).not.toBe(0);
  });

  test('brings a lost superblock back from its copy', () => {
    const device = fresh({ blockSize: 1024 });
    change(device, 5);
    device.writeSync(new Uint8Array(1024), 1024);
    expect(fsckSync(device).exitCode).toBe(4);
    expect(fsckSync(device, { repair: true }).exitCode).toBe(1);
    expect(fsckSync(device)).toMatchObject({ clean: true, exitCode: 0 });
    const img = mountSync(device);
    expect(img.readlinkSync('/long')).toBe('y'.repeat(200));
    img.unmountSync();
  });

  test('refuses unknown options, wrong types, and the repair of a read-only device', async () => {
    const device = fresh();
    expect(() => fsckSync(device, { fix: true } as never)).toThrow(/unknown fsck option 'fix'/);
    expect(() => fsckSync(device, { repair: 'yes' } as never)).toThrow(/options.repair/);
    await expect(fsck(device, 7 as never)).rejects.toThrow(TypeError);
    const bytes = new Uint8Array(SIZE);
    device.readSync(bytes, 0);
    const fixed = memoryDevice(bytes, { sparse: true, readOnly: true });
    expect(() => fsckSync(fixed, { repair: true })).toThrow(/EROFS/);
  });

  test('tells each problem when it finds it, and how far a pass is', () => {
    const device = fresh();
    const sb = new Uint8Array(1024);
    device.readSync(sb, 1024);
    const passes = new Set<number>();
    const told: string[] = [];
    const { problems } = fsckSync(device, {
      progress: (pass) => passes.add(pass),
      onProblem: ({ code }) => told.push(code),
    });
    expect([...passes]).toEqual([1, 2, 5]);
    expect(told).toEqual(problems.map(({ code }) => code));
  });

  test('needs little memory and time for an empty file system of 15 TiB', () => {
    const device = fresh({}, 15 * 2 ** 40);
    const before = process.memoryUsage().rss;
    const start = performance.now();
    expect(fsckSync(device).exitCode).toBe(0);
    expect(performance.now() - start).toBeLessThan(30_000);
    expect(process.memoryUsage().rss - before).toBeLessThan(400 << 20);
  }, 60_000);

  test('ends soon on trees that lead back into themselves', () => {
    const device = fresh({ blockSize: 1024, features: '^metadata_csum' });
    const img = mountSync(device);
    img.writeFileSync('/loop', new Uint8Array(5000));
    const { ino } = img.statSync('/loop');
    img.unmountSync();
    const bytes = new Uint8Array(SIZE);
    device.readSync(bytes, 0);
    const view = new DataView(bytes.buffer);
    const table = view.getUint32(2048 + F.BG_INODE_TABLE_LO, true) * 1024;
    const root = table + (Number(ino) - 1) * 256 + F.I_BLOCK;
    const pblk = view.getUint32(root + F.EH_SIZE + F.EE_START_LO, true);
    for (const [at, depth, room] of [
      [root, 5, 4],
      [pblk * 1024, 4, 84],
    ]) {
      view.setUint16(at, F.EXT4_EXT_MAGIC, true);
      view.setUint16(at + F.EH_ENTRIES, room, true);
      view.setUint16(at + F.EH_MAX, room, true);
      view.setUint16(at + F.EH_DEPTH, depth, true);
      for (let i = 0; i < room; i++) {
        const entry = at + F.EH_SIZE + i * F.EXT4_EXT_ENTRY_SIZE;
        view.setUint32(entry + F.EI_BLOCK, i, true);
        view.setUint32(entry + F.EI_LEAF_LO, pblk, true);
        view.setUint16(entry + F.EI_LEAF_HI, 0, true);
      }
    }
    const hostile = memoryDevice(bytes, { sparse: true });
    const start = performance.now();
    expect(fsckSync(hostile).exitCode).toBe(4);
    expect(fsckSync(hostile, { repair: true }).exitCode).toBe(1);
    expect(performance.now() - start).toBeLessThan(5_000);
  });
});

need.describe('fsck and e2fsck', [need.tool('e2fsck')], () => {
  test('takes an emptied leaf for a leaf where there are no checksums', () => {
    const device = fresh({ blockSize: 1024, features: '^metadata_csum,^has_journal' });
    const img = mountSync(device);
    img.mkdirSync('/d');
    for (let i = 0; i < 300; i++) img.mknodSync(`/d/${'n'.repeat(100)}${i}`, 0o100644);
    for (let i = 0; i < 300; i++) img.unlinkSync(`/d/${'n'.repeat(100)}${i}`);
    img.unmountSync();
    const image = contents(device);
    expect(fsckSync(device).problems).toEqual([]);
    expect(e2fsck(image)).toBe('');
  });
});
