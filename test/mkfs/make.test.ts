// Goal: what mkfs promises beside the image itself: same input, same bytes; only what must be is written; what cannot
// be made is refused in one line with nothing written; old contents cannot be taken for the new file system's; a cut
// leaves no file system. Method: devices in memory with a recorder, and devices full of rubbish.

import { describe, expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { record } from '../../ts/block/record.ts';
import { type MkfsOptions, mkfs, mkfsSync, mountSync, type Tree } from '../../ts/index.ts';
import { slowDevice } from '../slow.ts';
import { NOW, SEED, UUID } from './images.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const TIB = 2 ** 40;
const FIXED: MkfsOptions = { uuid: UUID, hashSeed: SEED, now: NOW };

function contents(device: { size: number; readSync(into: Uint8Array, dpos: number): void }) {
  const bytes = new Uint8Array(device.size);
  device.readSync(bytes, 0);
  return bytes;
}

/** A device that counts what is written to it. */
function counting(size: number) {
  const device = memoryDevice(size, { sparse: true });
  const count = { writes: 0, bytes: 0, discards: 0 };
  const write = device.writeSync.bind(device);
  device.writeSync = (from: Uint8Array, dpos: number) => {
    count.writes++;
    count.bytes += from.length;
    write(from, dpos);
  };
  device.writevSync = (parts: Uint8Array[], dpos: number) =>
    device.writeSync(Buffer.concat(parts), dpos);
  device.discardSync = () => {
    count.discards++;
  };
  return { device, count };
}

describe('the same input', () => {
  test.each([
    [{}],
    [{ type: 'ext2' }],
    [{ features: 'bigalloc', label: 'x' }],
    [{ blockSize: 2048, features: 'mmp,fast_commit' }],
  ] as MkfsOptions[][])('gives the same bytes: %j', (options) => {
    const [a, b] = [memoryDevice(40 * MIB), memoryDevice(40 * MIB)];
    mkfsSync(a, { ...FIXED, ...options });
    mkfsSync(b, { ...FIXED, ...options });
    expect(Buffer.compare(contents(a), contents(b))).toBe(0);
  });

  test('gives the same bytes on an asynchronous device', async () => {
    const [a, b] = [memoryDevice(16 * MIB), memoryDevice(16 * MIB)];
    mkfsSync(a, FIXED);
    await mkfs(slowDevice(b), FIXED);
    expect(Buffer.compare(contents(a), contents(b))).toBe(0);
  });

  test('gives the same bytes with files in it, whatever the time', async () => {
    const tree: Tree = { '/link': { target: 'a/0' }, '/large': new Uint8Array(3 * MIB).fill(5) };
    for (let i = 0; i < 300; i++) tree[`/a/${i}`] = { data: `${i}`, mode: 0o600, mtime: NOW - i };
    const [a, b, c, d] = [0, 1, 2, 3].map(() => memoryDevice(40 * MIB));
    mkfsSync(a, { ...FIXED, tree });
    await mkfs(slowDevice(c), { ...FIXED, tree });
    await new Promise((go) => setTimeout(go, 1100));
    mkfsSync(b, { ...FIXED, tree });
    await mkfs(slowDevice(d), { ...FIXED, tree });
    expect(Buffer.compare(contents(a), contents(b))).toBe(0);
    // Blocks may lie elsewhere than in the synchronous form: writeback comes at other times.
    expect(Buffer.compare(contents(c), contents(d))).toBe(0);
    const img = mountSync(a, { ro: true });
    expect(img.statSync('/a/7')).toMatchObject({ mtimeMs: (NOW - 7) * 1000, ctimeMs: NOW * 1000 });
    expect(img.statSync('/a')).toMatchObject({ birthtimeMs: NOW * 1000 });
    img.unmountSync();
  });

  test('gives other bytes with another time, and SOURCE_DATE_EPOCH is the time', () => {
    const [a, b, c] = [0, 1, 2].map(() => memoryDevice(4 * MIB));
    mkfsSync(a, FIXED);
    mkfsSync(b, { ...FIXED, now: NOW + 1 });
    process.env.SOURCE_DATE_EPOCH = String(NOW);
    try {
      mkfsSync(c, { uuid: UUID, hashSeed: SEED });
    } finally {
      delete process.env.SOURCE_DATE_EPOCH;
    }
    expect(Buffer.compare(contents(a), contents(b))).not.toBe(0);
    expect(Buffer.compare(contents(a), contents(c))).toBe(0);
  });

  test('random numbers differ from one file system to the next', () => {
    const [a, b] = [memoryDevice(4 * MIB), memoryDevice(4 * MIB)];
    expect(mkfsSync(a).uuid).not.toBe(mkfsSync(b).uuid);
  });
});

describe('what is written', () => {
  test('is little on a device that reads as zeroes, in few large calls', () => {
    const { device, count } = counting(20 * GIB);
    const made = mkfsSync(device, { ...FIXED, zeroed: true });
    expect(count.bytes).toBe(made.written);
    expect(count.writes).toBe(made.writes);
    expect(count.discards).toBe(0);
    expect(count.bytes).toBeLessThan(8 * MIB);
    expect(count.writes).toBeLessThan(40);
  });

  test('does not depend on what the device held, for every block that is in use', () => {
    const [clean, dirty] = [memoryDevice(40 * MIB), memoryDevice(40 * MIB)];
    const rubbish = new Uint8Array(MIB).fill(0xa5);
    for (let at = 0; at < dirty.size; at += MIB) dirty.writeSync(rubbish, at);
    // Reserved descriptor blocks of backup groups are in use, but nobody reads them before they are written.
    const options = { ...FIXED, lazyItableInit: false, features: '^resize_inode' };
    mkfsSync(clean, options);
    mkfsSync(dirty, options);
    const [a, b] = [contents(clean), contents(dirty)];
    const img = mountSync(clean, { ro: true });
    const free = img.statfsSync('/').bfree * 1024;
    img.unmountSync();
    let differing = 0;
    for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) differing++;
    // Only free blocks keep their rubbish, and those of bitmaps that nobody reads.
    expect(differing).toBeGreaterThan(MIB);
    expect(differing).toBeLessThanOrEqual(free + 2 * 5 * 1024);
    const own = mountSync(dirty);
    own.mkdirSync('/made');
    own.unmountSync();
  });

  test('wipes what other systems left at both ends', () => {
    const device = memoryDevice(40 * MIB);
    const mark = new TextEncoder().encode('_BHRfS_M'.repeat(64));
    for (const at of [0, 512, 32768, 65536, device.size - 65536, device.size - 512]) {
      device.writeSync(mark, at);
    }
    mkfsSync(device, FIXED);
    expect(Buffer.from(contents(device)).includes('_BHRfS_M')).toBe(false);
  });

  test('is no file system until the very end', () => {
    const base = memoryDevice(8 * MIB);
    mkfsSync(base, FIXED);
    const device = record(base);
    mkfsSync(device, { ...FIXED, label: 'second' });
    const { log } = device;
    const last = log.filter((one) => one.kind === 'write').at(-1);
    expect(last).toMatchObject({ dpos: 1024 });
    expect(log.at(-1)).toMatchObject({ kind: 'flush' });
    expect(log.at(-3)).toMatchObject({ kind: 'flush' });
  });

  test('fits a file system of 16 TiB on a sparse memory device', () => {
    const device = memoryDevice(16 * TIB, { sparse: true });
    const made = mkfsSync(device, FIXED);
    expect(made.blocks).toBe(2 ** 32);
    const img = mountSync(device);
    img.mkdirSync('/made');
    expect(img.readdirSync('/').sort()).toEqual(['lost+found', 'made']);
    img.unmountSync();
  }, 120_000);
});

describe('a tree in memory', () => {
  const tree = {
    '/etc/hostname': 'here\n',
    '/bin/run': { data: new Uint8Array(5000).fill(7), mode: 0o4755, uid: 3, gid: 4, mtime: NOW },
    '/bin/link': { target: 'run' },
    '/empty': { directory: true as const, mode: 0o1777, mtime: NOW },
    '/empty/inside': '',
  };

  function check(device: ReturnType<typeof memoryDevice>): void {
    const img = mountSync(device, { ro: true });
    expect(img.readFileSync('/etc/hostname', 'utf8')).toBe('here\n');
    expect(img.readFileSync('/bin/link')).toHaveLength(5000);
    const { mode, uid, gid, mtimeMs } = img.statSync('/bin/run');
    expect([mode & 0o7777, uid, gid, mtimeMs]).toEqual([0o4755, 3, 4, NOW * 1000]);
    expect(img.statSync('/empty')).toMatchObject({ mtimeMs: NOW * 1000, mode: 0o41777 });
    expect(img.readdirSync('/').sort()).toEqual(['bin', 'empty', 'etc', 'lost+found']);
    img.unmountSync();
  }

  test('is written into the new file system, with both forms', async () => {
    const [a, b] = [memoryDevice(16 * MIB), memoryDevice(16 * MIB)];
    mkfsSync(a, { ...FIXED, tree });
    await mkfs(slowDevice(b), { ...FIXED, tree });
    check(a);
    check(b);
  });

  test.each([
    [{ '/a/../b': '' }, "the path '/a/../b'"],
    [{ '/a': { data: 'x', target: 'y' } }, "'/a' is several things"],
  ] as [Tree, string][])('is refused whole: %j', (bad, why) => {
    const { device, count } = counting(16 * MIB);
    expect(() => mkfsSync(device, { tree: bad })).toThrow(why);
    expect(count.writes).toBe(0);
  });
});

describe('what cannot be made is refused in one line:', () => {
  test.each([
    [{ blockSize: 512 }, 'block size 512: a power of 2 from 1024 to 65536 is needed'],
    [{ blockSize: 3000 }, 'block size 3000: a power of 2 from 1024 to 65536 is needed'],
    [{ inodeSize: 64 }, 'inode size 64: a power of 2 from 128 to 1024 is needed'],
    [{ inodeSize: 2048 }, 'inode size 2048: a power of 2 from 128 to 1024 is needed'],
    [{ features: 'foo' }, "there is no feature 'foo'"],
    [{ features: 'quota' }, "the feature 'quota' cannot be made"],
    [{ features: 'meta_bg,resize_inode' }, 'resize_inode and meta_bg exclude each other'],
    [{ features: '^extent,64bit' }, '64bit needs extent'],
    [{ features: '^metadata_csum,metadata_csum_seed' }, 'metadata_csum_seed needs metadata_csum'],
    [{ features: '^sparse_super,resize_inode' }, 'resize_inode needs sparse_super'],
    [
      { features: 'inline_data', inodeSize: 128 },
      'inodes of 128 bytes have no room for inline_data',
    ],
    [{ clusterSize: 65536 }, 'a cluster size needs the feature bigalloc'],
    [
      { features: 'bigalloc', clusterSize: 1024 },
      'cluster size 1024: a power of 2 above the block size 1024 is needed',
    ],
    [{ label: 'more than sixteen bytes' }, 'too long: 16 bytes at most'],
    [{ uuid: 'nonsense' }, "the UUID 'nonsense' is no UUID"],
    [{ hashSeed: '1-2' }, "the hash seed '1-2' is no UUID"],
    [{ reservedPercent: 51 }, 'reserved share 51: 0 to 50 percent can be kept'],
    [{ inodeRatio: 512 }, 'bytes an inode 512: a whole number from 1024'],
    [{ inodes: 1e7 }, '10000000 inodes of 256 bytes do not fit into 67108864 bytes'],
    [{ blocksPerGroup: 100 }, 'blocks per group 100: a whole number from 256 to 8192 is needed'],
    [{ blocksPerGroup: 1001 }, 'blocks per group 1001: a multiple of 8 is needed'],
    [{ flexBgSize: 3 }, 'flex group size 3: a power of 2 is needed'],
    [{ features: '^flex_bg', flexBgSize: 4 }, 'a flex group size needs the feature flex_bg'],
    [{ journal: { size: 1000 * MIB } }, 'a journal of 1024000 blocks'],
    [{ journal: { size: 1000 } }, 'blocks of the journal 0: a whole number from 1024'],
    [{ journal: { fastCommitSize: MIB } }, 'a fast commit size needs the feature fast_commit'],
    [{ size: 50000 }, 'blocks of 1024 bytes are too few'],
    [{ size: 65 * MIB }, 'a size of 68157440 bytes, the device has 67108864'],
    [{ size: MIB, features: 'has_journal' }, 'the file system is too small for a journal'],
    [{ usage: 'nothing' }, "no usage type 'nothing'"],
    [{ type: 'ext5' }, "no file system type 'ext5'"],
    [{ preset: 'mine' }, "no preset 'mine'"],
    [{ errors: 'weep' }, "error behaviour 'weep': one of continue, remount-ro, panic is needed"],
    [{ hashAlg: 'md5' }, "hash_alg 'md5': one of legacy, half_md4, tea is needed"],
    [{ resize: 100 }, 'resize=100: it has 65536 blocks already'],
    [{ now: -1 }, 'time -1: a whole number from 0'],
    [{ offset: 100 }, 'offset 100 of a device of 67108864 bytes'],
  ] as [object, string][])('%j', (options, why) => {
    const { device, count } = counting(64 * MIB);
    let said: NodeJS.ErrnoException | null = null;
    try {
      mkfsSync(device, options as MkfsOptions);
    } catch (error) {
      said = error as NodeJS.ErrnoException;
    }
    expect(said).toMatchObject({ code: 'EINVAL', syscall: 'mkfs' });
    expect(said?.message).toContain(why);
    expect(said?.message).not.toContain('\n');
    expect(count).toEqual({ writes: 0, bytes: 0, discards: 0 });
  });

  test('2^32 blocks without 64bit', () => {
    const { device, count } = counting(16 * TIB);
    expect(() => mkfsSync(device, { features: '^64bit' })).toThrow(/need the feature 64bit/);
    expect(count.writes).toBe(0);
  });

  test('a device that is read-only, or asynchronous for mkfsSync', () => {
    const readOnly = memoryDevice(new Uint8Array(4 * MIB), { readOnly: true });
    expect(() => mkfsSync(readOnly)).toThrow(expect.objectContaining({ code: 'EROFS' }));
    const { readSync: _, writeSync: __, flushSync: ___, ...rest } = memoryDevice(4 * MIB);
    expect(() => mkfsSync(rest as never)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });
});
