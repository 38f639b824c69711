// Scenario 67: random operations with power cuts under them, and on devices that let one wait. Each cut of a short
// random trace is recovered and judged (cuts.ts); forced misses run the exerciser as on an asynchronous device; and
// a real one completes its requests in a random order while several operations are under way. EXT4_SEED chooses.

import { expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { commit, type Flow } from '../../ts/flow.ts';
import { type FileSystem, mountVfs } from '../../ts/vfs/filesystem.ts';
import { random } from '../fuzz/random.ts';
import { DEEP, need } from '../need.ts';
import { slowDevice } from '../slow.ts';
import { bytes } from '../write/driver.ts';
import { contents, fsck, makeImage, recover } from '../write/images.ts';
import { Crash } from './cuts.ts';
import { Exerciser } from './exerciser.ts';
import { CUT, KINDS, type KindName } from './kinds.ts';
import { difference, readF, same } from './subject.ts';

const SEED = Number(process.env.EXT4_SEED ?? 1);
const LONG = DEEP ? 3_600_000 : 300_000;
const TRACES = DEEP ? 40 : 1;
const OPS = DEEP ? 60 : 14;
const MISSES = DEEP ? 100_000 : 4000;
const ROUNDS = DEEP ? 3000 : 150;
const TOOLS = [need.tool('mke2fs', 'e2fsck')];

need.describe('67. random operations under power cuts', TOOLS, () => {
  for (const kind of CUT) {
    test(
      `${kind}: every cut leaves what was, what is, or zeroes (seed ${SEED})`,
      () => {
        for (let seed = SEED; seed < SEED + TRACES; seed++) soak(kind, seed);
      },
      LONG,
    );
  }
});

function soak(kind: KindName, seed: number): void {
  const c = new Crash(kind, {}, seed);
  const e = new Exerciser(c.subject, seed, { pollute: false });
  e.run(20);
  c.begin();
  for (let i = 0; i < OPS; i++) {
    let name = '';
    c.op(() => {
      name = e.one();
      return name === 'collapse' || name === 'insert';
    });
    if (i % 4 === 2) c.op((s) => s.run(commit())); // a log flush, which waits for no data
    if (name === 'fsync' || name === 'sync' || name === 'remount') c.acknowledge();
    else if (i % 5 === 4) c.fsync(i % 2 === 0);
  }
  const found = c.survive();
  expect(found.length, e.where).toBeGreaterThan(5);
  c.subject.finish(undefined, e.where);
}

need.describe('67. zeroes within blocks under power cuts', TOOLS, () => {
  test.each(CUT)('%s: fdatasync makes them durable', (kind) => {
    const c = new Crash(kind);
    c.subject.put(0, new Uint8Array(30_000).fill(7));
    c.begin();
    for (const pos of [100, 9000, 20_100]) {
      c.op((s) => s.punch(pos, 300));
      c.fsync(true);
    }
    c.survive();
    c.subject.finish();
  });
});

need.describe('67. random operations where everything misses first', TOOLS, () => {
  for (const kind of ['iomap 1k', 'bufferhead 4k', 'indirect 4k', 'journalled 4k'] as const) {
    test(
      `${kind}: what is read is what was written (seed ${SEED}, ${MISSES} operations)`,
      () => {
        const e = new Exerciser(kind, SEED, { forceMiss: true });
        for (let done = 0; done < MISSES; done += 500) {
          e.run(500);
          e.check(done + 500 === MISSES);
        }
        expect(e.subject.fs.counters().reruns).toBeGreaterThan(0);
      },
      LONG,
    );
  }
});

// ---- an asynchronous device, completing in a random order

const FILES = 3;
const MOST = 150_000;

/** What a file should hold. */
interface Want {
  fd: number;
  path: Uint8Array;
  data: Uint8Array;
  size: number;
}

/** A change of one file and of what it should hold. */
function changeOf(fs: FileSystem, w: Want, r: ReturnType<typeof random>): Flow<unknown> {
  const pos = r.int(r.chance(0.5) ? MOST : w.size + 1);
  const len = 1 + r.int(r.pick([200, 5000, 40_000]));
  const end = pos + len;
  const k = r.int(100);
  if (k < 50) {
    const byte = 1 + r.int(200);
    w.data.fill(byte, pos, end);
    w.size = Math.max(w.size, end);
    return fs.data.write(w.fd, new Uint8Array(len).fill(byte), pos);
  }
  if (k < 65) {
    if (pos < w.size) w.data.fill(0, pos, w.size);
    w.size = pos;
    return fs.data.truncate(w.fd, pos);
  }
  if (k < 80) {
    w.data.fill(0, Math.min(pos, w.size), Math.min(end, w.size));
    return fs.data.fallocate(w.fd, 'punch', pos, len, true);
  }
  if (k < 90) return fs.data.fsync(w.fd, k % 2 === 0);
  return fs.syncAll();
}

function* readAll(fs: FileSystem, w: Want): Flow<string> {
  const into = new Uint8Array(w.size + 1);
  const n = yield* fs.read(w.fd, into, 0);
  return difference(into.subarray(0, n), w.data.subarray(0, w.size));
}

async function shuffled(kind: KindName, seed: number): Promise<void> {
  const memory = memoryDevice(makeImage(KINDS[kind]), { sparse: true });
  const device = slowDevice(memory, { order: 'random', seed, stable: true });
  const fs = await mountVfs(device, { ...KINDS[kind].options, cacheBytes: 6 << 20 });
  const r = random(seed);
  const files: Want[] = [];
  for (const name of ['/f', '/g', '/h'].slice(0, FILES)) {
    const fd = await fs.run(fs.open(bytes(name), 0o102, 0o644));
    files.push({ fd, path: bytes(name), data: new Uint8Array(2 * MOST), size: 0 });
  }
  for (let round = 0; round < ROUNDS; round++) {
    // Operations on one file keep their order; those on others, and background writeback, run beside them.
    const all = Array.from({ length: 1 + r.int(5) }, () => fs.run(changeOf(fs, r.pick(files), r)));
    await Promise.all(all);
    const looked = r.pick(files);
    const bad = await fs.run(readAll(fs, looked));
    expect(bad, `${kind}, seed ${seed}, round ${round}`).toBe('');
  }
  await fs.run(fs.syncAll());
  const { seen } = recover(contents(memory as never), readF);
  same(seen, files[0].data.subarray(0, files[0].size), `${kind}, seed ${seed}: after a cut`);
  await fs.run(fs.unmount());
  expect(fs.vol.cache.pinCount()).toBe(0);
  expect(fsck(contents(memory as never)), `${kind}, seed ${seed}`).toBe('');
}

need.describe('67. random operations at once, completing in a random order', TOOLS, () => {
  for (const kind of [
    'iomap 1k',
    'iomap 4k',
    'bufferhead 4k',
    'indirect 1k',
    'journalled 4k',
  ] as const) {
    test(
      `${kind}: each file holds what its operations made of it (seed ${SEED})`,
      async () => {
        await shuffled(kind, SEED);
      },
      LONG,
    );
  }
});
