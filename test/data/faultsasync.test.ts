// A device that lets one wait fails one request, each in turn, while several files are written, synced and read at
// once and requests complete in a random order. An fsync tells the error or its file is whole; every byte is an old
// one or a new one; bytes under a device write never change. EXT4_SEED chooses the order.

import { expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { Ext4Error } from '../../ts/errno.ts';
import type { Flow } from '../../ts/flow.ts';
import { type FileSystem, mountVfs } from '../../ts/vfs/filesystem.ts';
import { DEEP, need } from '../need.ts';
import { type RequestKind, slowDevice } from '../slow.ts';
import { bytes } from '../write/driver.ts';
import { contents, fsck, recover } from '../write/images.ts';
import { KINDS, type KindName } from './kinds.ts';
import { A, B, Subject } from './subject.ts';

const SEED = Number(process.env.EXT4_SEED ?? 1);
const LONG = DEEP ? 3_600_000 : 300_000;
const ORDERS = DEEP ? 12 : 1;
const SAMPLE = DEEP ? 2 : 12;
const TOOLS = [need.tool('mke2fs', 'e2fsck')];
const PATHS: KindName[] = [
  ...(['iomap 1k', 'iomap 4k', 'nodelalloc 4k', 'bufferhead 4k'] as const),
  ...(['indirect 1k', 'journalled 4k', 'inline 4k', 'bigalloc'] as const),
];
const NAMES = ['/f', '/g', '/h'];

interface Open {
  fs: FileSystem;
  fd: number;
}

/** What is done to each file, one after the other; which of it moves no byte but those it names. */
const WORK: ((o: Open) => Flow<unknown>)[][] = [
  [
    ({ fs, fd }) => fs.data.write(fd, filled(10), 60_000),
    ({ fs, fd }) => fs.data.fsync(fd, false),
    ({ fs, fd }) => fs.data.write(fd, filled(30_000), 60_010),
  ],
  [
    ({ fs, fd }) => fs.data.write(fd, filled(3000), 18_000),
    ({ fs, fd }) => fs.data.write(fd, filled(20_000), 5000),
    ({ fs, fd }) => fs.data.fsync(fd, true),
    ({ fs, fd }) => fs.data.write(fd, filled(5000), 30_000),
  ],
  [
    ({ fs, fd }) => fs.data.truncate(fd, 100_000),
    ({ fs }) => fs.syncAll(),
    ({ fs, fd }) => fs.data.write(fd, filled(5000), 150_000),
  ],
];

function filled(len: number): Uint8Array {
  return new Uint8Array(len).fill(B);
}

/** Three files with holes, whose last blocks have something behind their end. */
function prepare(kind: KindName): Uint8Array {
  const s = new Subject(kind);
  for (const name of NAMES) {
    const fd = s.fs.openSync(bytes(name), 0o102, 0o644);
    s.fs.writeSync(fd, new Uint8Array(60_000).fill(A), 0, 60_000, 0);
    s.run(s.fs.data.fallocate(fd, 'punch', 16_384, 16_384, true));
    s.fs.closeSync(fd);
  }
  s.sync();
  s.pollute(60_000, Math.ceil(60_000 / s.block) * s.block);
  s.close();
  return s.image();
}

/** The files' bytes; none where they cannot be read. */
function readFiles(fs: FileSystem): Uint8Array[] {
  return NAMES.map((name) => {
    const fd = fs.openSync(bytes(name), 0);
    const { inode } = fs.file(fd);
    const into = new Uint8Array(inode.size);
    expect(fs.runSync(fs.read(fd, into, 0))).toBe(into.length);
    return into;
  });
}

/** What the files hold when all goes well. */
function wanted(kind: KindName, image: Uint8Array): Uint8Array[] {
  const s = new Subject(kind, { image, flags: 2 });
  for (const [i, name] of NAMES.entries()) {
    const fd = s.fs.openSync(bytes(name), 2);
    for (const act of WORK[i]) s.run(act({ fs: s.fs, fd }));
  }
  return readFiles(s.fs);
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return '';
  } catch (error) {
    if (error instanceof Ext4Error) return error.code;
    throw error;
  }
}

function judge(got: Uint8Array, before: Uint8Array, after: Uint8Array, where: string): void {
  expect(got.length, where).toBeGreaterThanOrEqual(Math.min(before.length, after.length));
  expect(got.length, where).toBeLessThanOrEqual(Math.max(before.length, after.length));
  const bad = got.findIndex((byte, i) => byte !== (before[i] ?? 0) && byte !== (after[i] ?? 0));
  if (bad >= 0) expect.fail(`${where}: byte ${bad} of ${got.length} is ${got[bad]}`);
}

interface Case {
  kind: KindName;
  image: Uint8Array;
  before: Uint8Array[];
  after: Uint8Array[];
}

/** One run; whether the fault struck before the end. */
async function failOne(c: Case, what: RequestKind, k: number, seed: number): Promise<boolean> {
  const where = `${c.kind}, ${what} ${k}, seed ${seed}`;
  const memory = memoryDevice(c.image, { sparse: true });
  const device = slowDevice(memory, { order: 'random', seed, stable: true });
  const fs = await mountVfs(device, { ...KINDS[c.kind].options, cacheBytes: 6 << 20 });
  const fds: number[] = [];
  for (const name of NAMES) fds.push(await fs.run(fs.open(bytes(name), 2)));
  const from = device.counts[what];
  device.fail(what, k);
  const works = fds.map(async (fd, i) => {
    for (const act of WORK[i]) {
      const code = await codeOf(fs.run(act({ fs, fd })));
      expect(['', 'EIO', 'EROFS'], where).toContain(code);
      if (code !== '') return false;
    }
    return true;
  });
  const whole = await Promise.all(works);
  const synced = await Promise.all(fds.map((fd) => codeOf(fs.run(fs.data.fsync(fd, false)))));
  for (const code of synced) expect(['', 'EIO', 'EROFS'], where).toContain(code);
  const hit = device.counts[what] - from >= k;
  device.heal();
  const aborted = fs.vol.journal?.aborted !== null;
  if (aborted) {
    expect(await codeOf(fs.run(fs.data.write(fds[0], filled(1), 0))), where).toBe('EROFS');
  } else {
    for (const fd of fds) {
      expect(await codeOf(fs.run(fs.data.fsync(fd, false))), `${where}: told once`).toBe('');
    }
    expect(fs.vol.reserved, `${where}: promises`).toBe(0);
  }
  const { seen, image } = recover(contents(memory), readFiles, { dax: 'never' });
  for (const [i, got] of seen.entries()) {
    const at = `${where}, ${NAMES[i]}`;
    judge(got, c.before[i], c.after[i], at);
    if (whole[i] && synced[i] === '') {
      expect(Buffer.compare(got, c.after[i]), `${at}: fsync said it was whole`).toBe(0);
    }
  }
  if (k % SAMPLE === 1) expect(fsck(image), where).toBe('');
  await codeOf(fs.run(fs.unmount()));
  expect(fs.vol.cache.pinCount(), `${where}: pins`).toBe(0);
  if (!hit) expect([...whole, ...synced], where).toEqual([true, true, true, '', '', '']);
  return hit;
}

need.describe('one request fails while files are written at once', TOOLS, () => {
  for (const kind of PATHS) {
    for (const what of ['write', 'read', 'flush'] as const) {
      test(
        `${kind}: each ${what} in turn is told, and shows nothing foreign (seed ${SEED})`,
        async () => {
          const image = prepare(kind);
          const before = recover(image, readFiles, { dax: 'never' }).seen;
          const c = { kind, image, before, after: wanted(kind, image) };
          let struck = 0;
          for (let order = 0; order < ORDERS; order++) {
            for (let k = 1; await failOne(c, what, k, (SEED + order) * 1000 + k); k++) {
              struck++;
              expect(k, 'requests of one run').toBeLessThan(500);
            }
          }
          expect(struck).toBeGreaterThan(0);
        },
        LONG,
      );
    }
  }
});
