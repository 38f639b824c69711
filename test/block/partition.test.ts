// Partition tables. Goal: the same partitions as sfdisk and sgdisk see; damaged tables give the backup, a named error
// or nothing, never a hang. Method: images made by the tools, compared with `sfdisk --json`; then bytes broken by hand.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { crc32 } from '../../ts/block/crc32.ts';
import type { BlockDevice } from '../../ts/block/device.ts';
import { readOnlyFace, slice } from '../../ts/block/face.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import { openFile } from '../../ts/block/node.ts';
import {
  type Partition,
  partition,
  partitionSync,
  partitions,
  partitionsSync,
} from '../../ts/block/partition.ts';
import { deviceContract, pattern } from '../contract/device.ts';
import { need } from '../need.ts';

let dir = '';
let count = 0;
beforeAll(() => void (dir = fs.mkdtempSync(join(tmpdir(), 'ext4-part-'))));
afterAll(() => fs.rmSync(dir, { recursive: true }));

function image(size: number): string {
  const path = join(dir, `disk-${count++}`);
  fs.closeSync(fs.openSync(path, 'w'));
  fs.truncateSync(path, size);
  return path;
}

function sfdisk(path: string, script: string): string {
  execFileSync('sfdisk', ['-q', '--no-reread', '--no-tell-kernel', path], {
    input: script,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  return path;
}

interface SfdiskPart {
  node: string;
  start: number;
  size: number;
  type: string;
  uuid?: string;
  name?: string;
  bootable?: boolean;
  attrs?: string;
}

/** What sfdisk says about a disk, in the form of `partitions()`. */
function oracle(path: string): Partial<Partition>[] {
  const { partitiontable } = JSON.parse(
    execFileSync('sfdisk', ['--json', path], { encoding: 'utf8' }),
  );
  const { sectorsize, label, id } = partitiontable;
  return partitiontable.partitions.map((p: SfdiskPart) => {
    const number = Number(p.node.replace(/^.*?(\d+)$/, '$1'));
    const nn = number.toString(16).padStart(2, '0');
    return {
      number,
      start: p.start * sectorsize,
      size: p.size * sectorsize,
      scheme: label === 'gpt' ? 'gpt' : 'mbr',
      type: p.type.toLowerCase(),
      uuid: label === 'gpt' ? p.uuid?.toLowerCase() : `${id.slice(2)}-${nn}`,
      label: p.name ?? '',
      bootable: p.bootable ?? p.attrs?.includes('LegacyBIOSBootable') ?? false,
    };
  });
}

async function ours(path: string, blockSize = 512): Promise<Partition[]> {
  const device = openFile(path, { readOnly: true, blockSize });
  const found = await partitions(device);
  expect(partitionsSync(device)).toEqual(found);
  await device.close();
  return found;
}

/** The disk's bytes as a device, after `change` has been at them. */
function broken(path: string, change: (bytes: Uint8Array, view: DataView) => void): BlockDevice {
  const bytes = new Uint8Array(fs.readFileSync(path));
  change(bytes, new DataView(bytes.buffer));
  return memoryDevice(bytes, { sparse: true });
}

const GPT = `label: gpt
size=4M, type=L, name="boot Ä€"
size=8M, name=root, attrs="LegacyBIOSBootable"
size=1M, type=S`;
const LOGICAL = `label: dos
label-id: 0x00c0ffee
,4M,83,*
,8M,c
,,5
,4M,83
,2M,82
,1M,83`;

test('crc32 has its published check value', () => {
  expect(crc32(new TextEncoder().encode('123456789'))).toBe(0xcbf43926);
  expect(crc32(new Uint8Array(0))).toBe(0);
});

need.describe('partition tables made by sfdisk', [need.tool('sfdisk', 'sgdisk')], () => {
  test.each([
    ['MBR with one partition', 'label: dos\n2048,,83'],
    ['MBR with four primaries', 'label: dos\n,1M,83\n,1M,82,*\n,1M,c\n,1M,7'],
    ['MBR with logical partitions', LOGICAL],
    ['MBR with an extended partition that is empty', 'label: dos\n,4M,83\n,,f'],
    ['MBR with a hole in the numbers', 'label: dos\nsda3 : start=4096, size=2048, type=83'],
    ['GPT', GPT],
    ['GPT with a hole in the numbers', 'label: gpt\nsda7 : start=4096, size=2048, name=seven'],
    ['GPT with one entry of room', 'label: gpt\ntable-length: 1\n,,L'],
    ['GPT with no partition', 'label: gpt\n'],
  ])('%s reads as sfdisk reads it', async (_, script) => {
    const path = sfdisk(image(32 << 20), script);
    const expected = script === 'label: gpt\n' ? [] : oracle(path);
    expect(await ours(path)).toEqual(expected);
    expect(await ours(path, 512)).toEqual(expected);
  });

  test('GPT is read through a device of 4096-byte blocks', async () => {
    const path = sfdisk(image(32 << 20), GPT);
    expect(await ours(path, 4096)).toEqual(oracle(path));
  });

  test('fifty logical partitions and a deleted one in the middle keep sfdisk numbers', async () => {
    const path = sfdisk(image(128 << 20), `label: dos\n,,5\n${',1M,83\n'.repeat(50)}`);
    expect(await ours(path)).toEqual(oracle(path));
    execFileSync('sfdisk', ['-q', '--no-reread', '--no-tell-kernel', '--delete', path, '20']);
    expect(await ours(path)).toEqual(oracle(path));
  });

  test('a table made by sgdisk with alignment 1 and a GUID of its own', async () => {
    const path = image(16 << 20);
    const guid = '01234567-89AB-CDEF-0123-456789ABCDEF';
    const args = ['-a', '1', '-n', '1:34:100', '-u', `1:${guid}`, '-c', '1:tiny', '-n', '2:101:0'];
    execFileSync('sgdisk', [...args, path]);
    const found = await ours(path);
    expect(found).toEqual(oracle(path));
    expect(found[0]).toMatchObject({ uuid: guid.toLowerCase(), size: 67 * 512, label: 'tiny' });
  });

  test('a damaged primary GPT is replaced by the backup, whatever is damaged', async () => {
    const path = sfdisk(image(32 << 20), GPT);
    const good = oracle(path);
    const damages: [string, (bytes: Uint8Array, view: DataView) => void][] = [
      ['signature', (b) => b.fill(0, 512, 520)],
      ['header byte', (b) => (b[512 + 60] ^= 1)],
      ['header size', (_, v) => v.setUint32(512 + 12, 0xffffffff, true)],
      ['an entry', (b) => (b[1024 + 40] ^= 0x80)],
      ['the whole head but the MBR', (b) => b.fill(0xff, 512, 34 * 512)],
      ['entry count of 2^32 - 1', (b, v) => forge(b, v, 80, 0xffffffff)],
      ['entry size 0', (b, v) => forge(b, v, 84, 0)],
      ['entry size 2^31', (b, v) => forge(b, v, 84, 0x80000000)],
      ['entries far outside', (b, v) => forge(b, v, 76, 0x7fffffff)],
      ['entries over the header', (b, v) => forge(b, v, 72, 0)],
      ['header of another place', (b, v) => forge(b, v, 24, 7)],
    ];
    for (const [what, change] of damages) {
      const found = await partitions(broken(path, change));
      expect(found, what).toEqual(good);
    }
  });

  test('a GPT whose both copies are damaged is an error that names what is wrong', async () => {
    const path = sfdisk(image(32 << 20), GPT);
    const both = (change: (b: Uint8Array, v: DataView, header: number) => void) =>
      broken(path, (b, v) => {
        change(b, v, 512);
        change(b, v, b.length - 512);
      });
    const failure = (device: BlockDevice) => partitions(device).catch((error) => error);
    expect(await failure(both((b, _, at) => void (b[at + 60] ^= 1)))).toMatchObject({
      code: 'EBADMSG',
      detail: { record: 'gpt_header' },
    });
    expect(await failure(both((b, _, at) => void b.fill(0, at, at + 8)))).toMatchObject({
      code: 'EUCLEAN',
      detail: { record: 'gpt_header', field: 'signature' },
    });
    const bad = await failure(both((b, v, at) => forge(b, v, 80, 0xfffff, at)));
    expect(bad).toMatchObject({ code: 'EUCLEAN', detail: { field: 'number_of_entries' } });
    expect(() => partitionsSync(both((b, _, at) => void (b[at + 60] ^= 1)))).toThrow(/EBADMSG/);
    for (const [field, name] of [
      [24, 'my_lba'],
      [72, 'partition_entry_lba'],
    ] as const) {
      const forged = both((b, v, at) => forge(b, v, field, 1_000_000_000, at));
      expect(await failure(forged)).toMatchObject({ code: 'EUCLEAN', detail: { field: name } });
    }
    const over = both((b, v, at) => forge(b, v, 72, 0, at));
    expect(await failure(over)).toMatchObject({ detail: { field: 'partition_entry_lba' } });
  });

  test('a GPT without protective MBR, or under a plain one, does not count', async () => {
    const path = sfdisk(image(32 << 20), GPT);
    expect(await partitions(broken(path, (b) => b.fill(0, 0, 512)))).toEqual([]);
    const plain = broken(path, (b) => void (b[446 + 4] = 0x83));
    expect(await partitions(plain)).toMatchObject([{ scheme: 'mbr', type: '83', number: 1 }]);
  });

  test('a logical chain that loops, breaks or leaves its partition ends there', async () => {
    const path = sfdisk(image(32 << 20), LOGICAL);
    const good = oracle(path);
    const ebr = (good[3].start as number) - 2048 * 512; // the first table of the chain
    expect(ebr).toBe(good[2].start);
    const loop = broken(path, (_, v) => v.setUint32(ebr + 462 + 8, 0, true));
    expect(await partitions(loop)).toEqual(good.slice(0, 4));
    const second = good[4].start as number;
    const back = broken(path, (_, v) => v.setUint32(second - 2048 * 512 + 462 + 8, 10240, true));
    expect((await partitions(back)).length).toBeLessThan(10);
    const unsigned = broken(path, (b) => b.fill(0, ebr + 510, ebr + 512));
    expect(await partitions(unsigned)).toEqual(good.slice(0, 3));
    const away = broken(path, (_, v) => v.setUint32(ebr + 462 + 8, 0xfffffff0, true));
    expect(await partitions(away)).toEqual(good.slice(0, 4));
  });

  test('partitions that the disk is too short for are cut or left out', async () => {
    const path = sfdisk(image(32 << 20), LOGICAL);
    const good = oracle(path);
    fs.truncateSync(path, 10 << 20);
    const found = await ours(path);
    expect(found[0]).toEqual(good[0]);
    const start = good[1].start as number;
    expect(found[1]).toEqual({ ...good[1], size: (10 << 20) - start, truncated: true });
    expect(found.length).toBe(2);
  });

  test('a partition is found by number, name, uuid and the ext4 label inside', async () => {
    const path = sfdisk(image(32 << 20), GPT);
    const good = await ours(path);
    const device = openFile(path);
    device.writeSync(pattern(4096, 3), good[1].start);
    const ext4 = new Uint8Array(1024);
    new DataView(ext4.buffer).setUint16(0x38, 0xef53, true);
    ext4.set(new TextEncoder().encode('rootfs'), 0x78);
    device.writeSync(ext4, good[2].start + 1024);
    const first = async (part: BlockDevice) => {
      const into = new Uint8Array(4096);
      await part.read(into, 0);
      return into;
    };
    for (const key of [2, 'root', good[1].uuid.toUpperCase(), good[1]]) {
      const part = await partition(device, key);
      expect(part.size).toBe(8 << 20);
      expect(await first(part)).toEqual(pattern(4096, 3));
      expect(partitionSync(device, key).size).toBe(8 << 20);
    }
    expect((await partition(device, 'rootfs')).size).toBe(1 << 20);
    await expect(partition(device, 9)).rejects.toThrow(
      /ENXIO.*no partition '9': the disk has partitions 1 'boot Ä€', 2 'root', 3/,
    );
    expect(() => partitionSync(device, 'none')).toThrow(/ENXIO/);
    await device.close();
  });
});

/** Puts a value into the GPT header at `at` and makes its checksum right again. */
function forge(bytes: Uint8Array, view: DataView, field: number, value: number, at = 512): void {
  view.setUint32(at + field, value, true);
  view.setUint32(at + 16, 0, true);
  view.setUint32(at + 16, crc32(bytes.subarray(at, at + 92)), true);
}

need.describe('disks of 4096-byte sectors', [need.loop(), need.tool('sfdisk', 'losetup')], () => {
  const on4k = (script: string): string => {
    const path = image(32 << 20);
    const loop = execFileSync('losetup', ['--find', '--show', '--sector-size', '4096', path], {
      encoding: 'utf8',
    }).trim();
    try {
      sfdisk(loop, script);
      execFileSync('sync', [loop]);
      expected = oracle(loop);
    } finally {
      execFileSync('losetup', ['--detach', loop]);
    }
    return path;
  };
  let expected: Partial<Partition>[] = [];

  test('GPT is found in the image without being told, also from the backup alone', async () => {
    const path = on4k(GPT);
    expect(expected.length).toBe(3);
    expect(await ours(path)).toEqual(expected);
    expect(await ours(path, 4096)).toEqual(expected);
    const device = broken(path, (b) => b.fill(0, 512, 65536));
    expect(await partitions(device)).toEqual(expected);
  });

  test('MBR counts in the blocks of the device, or in sectorSize', async () => {
    const path = on4k(LOGICAL);
    expect(expected.length).toBe(6);
    expect(await ours(path, 4096)).toEqual(expected);
    const device = openFile(path, { readOnly: true });
    expect(await partitions(device, { sectorSize: 4096 })).toEqual(expected);
    await device.close();
  });
});

describe('a disk without a table', () => {
  test.each([
    ['zeroes', new Uint8Array(65536)],
    ['noise', pattern(65536)],
    ['nothing at all', new Uint8Array(0)],
    ['one sector', new Uint8Array(512)],
  ])('%s has no partitions', async (_, bytes) => {
    expect(await partitions(memoryDevice(bytes))).toEqual([]);
    await expect(partition(memoryDevice(bytes), 1)).rejects.toThrow(/ENXIO.*no partition table/);
  });

  test('boot code with the signature is no table', async () => {
    const bytes = pattern(65536);
    bytes.set([0x55, 0xaa], 510);
    expect(await partitions(memoryDevice(bytes))).toEqual([]);
  });

  test('noise under both signatures never throws anything but the named errors', async () => {
    const seed = Date.now() % 1e6;
    for (let round = 0; round < 300; round++) {
      const bytes = pattern(65536, seed + round);
      bytes.set([0x55, 0xaa], 510);
      for (let i = 0; i < 4; i++) bytes[446 + 16 * i] &= 0x80;
      if (round % 2) bytes[450] = 0xee;
      else bytes[450] = 0x05;
      if (round % 3) bytes.set(new TextEncoder().encode('EFI PART'), 512);
      const found = await partitions(memoryDevice(bytes)).catch((error) => error);
      const ok = Array.isArray(found) || ['EUCLEAN', 'EBADMSG'].includes(found.code);
      expect(ok, `seed ${seed} round ${round}: ${found}`).toBe(true);
    }
  });
});

for (const kind of ['direct', 'sparse'] as const) {
  deviceContract(`slice of ${kind} memory`, {
    make: (contents, { readOnly }) => {
      const disk = new Uint8Array(contents.length + 12288);
      disk.set(contents, 4096);
      const device = memoryDevice(disk, { sparse: kind === 'sparse' });
      return slice(device, 4096, contents.length, { readOnly });
    },
    sync: true,
    writable: 'choice',
  });
}

describe('slice', () => {
  test('writes stay inside, and a part that is not on a page is not direct', async () => {
    const disk = memoryDevice(pattern(16384));
    const part = slice(disk, 4608, 4096);
    expect(part.direct).toBeUndefined();
    await part.write(new Uint8Array(4096), 0);
    const back = new Uint8Array(16384);
    disk.readSync(back, 0);
    const expected = pattern(16384).fill(0, 4608, 8704);
    expect(back).toEqual(expected);
    expect(slice(disk, 8192, 4096).direct?.ptr).toBe((disk.direct?.ptr ?? 0) + 8192);
    expect(readOnlyFace(disk).direct).toBeUndefined();
  });

  test.each([
    [-512, 512],
    [0, 16896],
    [100, 512],
    [0, 100],
    [16384, 512],
    [0, Number.NaN],
  ])('from %i of %i bytes is EINVAL', (start, size) => {
    expect(() => slice(memoryDevice(16384), start, size)).toThrow(/EINVAL/);
  });

  test('an asynchronous device has asynchronous slices only', () => {
    const { readSync: _r, writeSync: _w, flushSync: _f, ...rest } = memoryDevice(16384);
    const part = slice(rest as unknown as BlockDevice, 0, 512);
    expect(part.readSync).toBeUndefined();
    expect(() => partitionsSync(part)).toThrow(/ENOTSUP.*asynchronous/);
  });
});
