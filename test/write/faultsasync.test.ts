// Errors of a device that lets one wait and completes its requests in a random order: at each read, write and flush
// in turn, with one operation under way and with many at once. What fails changes nothing; after a failed commit
// every change is EROFS; what a sync acknowledged is there after the cut. EXT4_SEED chooses order and trace.

import { expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { Ext4Error } from '../../ts/errno.ts';
import { step } from '../../ts/flow.ts';
import { type FileSystem, mountVfs } from '../../ts/vfs/filesystem.ts';
import { DEEP, need } from '../need.ts';
import { type SlowDevice, slowDevice } from '../slow.ts';
import { applyAsync, treeFlow } from './driver.ts';
import {
  CACHE,
  countFree,
  mayBeHalf,
  OPERATIONS,
  populate,
  SMALL,
  text,
  timeless,
} from './faulty.ts';
import { contents, fsck, makeImage, recover } from './images.ts';
import { Model, type Op } from './model.ts';
import { Tracer } from './trace.ts';

const SEED = Number(process.env.EXT4_SEED ?? 1);
const LONG = DEEP ? 3_600_000 : 300_000;
/** Every how many-th image is shown to e2fsck. */
const SAMPLE = DEEP ? 1 : 8;
const ORDERS = DEEP ? 8 : 1;

const tools = need.tool('mke2fs', 'e2fsck');

interface Faulty {
  memory: ReturnType<typeof memoryDevice>;
  device: SlowDevice;
  fs: FileSystem;
}

async function faulty(image: Uint8Array, seed: number): Promise<Faulty> {
  const memory = memoryDevice(image, { sparse: true });
  const device = slowDevice(memory, { order: 'random', seed, stable: true });
  return { memory, device, fs: await mountVfs(device, CACHE) };
}

async function textOf(fs: FileSystem): Promise<string> {
  return (await fs.run(treeFlow(fs, { wide: true }))).join('\n');
}

async function checkFreeAsync(fs: FileSystem, where: string): Promise<void> {
  const { free } = fs.vol;
  if (free !== null) expect(await fs.run(step(countFree, fs.vol)), where).toEqual(free);
}

/** Unmounts; nothing is pinned, e2fsck finds nothing, the recovered tree is `want`. */
async function finish({ fs, memory }: Faulty, want: string, where: string, look: boolean) {
  await fs.run(fs.unmount());
  expect(fs.vol.cache.pinCount(), where).toBe(0);
  const { seen, image } = recover(contents(memory), text, CACHE);
  expect(seen, where).toBe(want);
  if (look) expect(fsck(image), where).toBe('');
}

need.describe('an error at each read in turn, in a random order', [tools], () => {
  test(
    `the operation fails with EIO and changes nothing (seed ${SEED})`,
    async () => {
      const { image, model } = populate();
      for (const op of OPERATIONS) await failReads(image, model, op);
    },
    LONG,
  );
});

async function failReads(image: Uint8Array, model: Model, op: Op): Promise<void> {
  const before = model.lines().join('\n');
  const changed = model.clone();
  expect(changed.apply(op)).toBe('');
  const after = changed.lines().join('\n');
  for (let k = 1, failed = true; failed; k++) {
    const where = `${JSON.stringify(op).slice(0, 80)}, read ${k}, seed ${SEED}`;
    const run = await faulty(image, SEED + k);
    const { device, fs } = run;
    device.fail('read', k);
    const code = await applyAsync(fs, op);
    failed = code !== '';
    device.heal();
    await checkFreeAsync(fs, where);
    if (failed) expect(code, where).toBe('EIO');
    const now = await textOf(fs);
    const half = failed && now === after && mayBeHalf(op);
    if (!half) expect(now, where).toBe(failed ? before : after);
    if (failed && !half) expect(await applyAsync(fs, op), `${where}, again`).toBe('');
    await finish(run, after, where, k % SAMPLE === 1 % SAMPLE);
    expect(k, 'reads of one operation').toBeLessThan(200);
  }
}

need.describe('an error at each write and flush in turn, in a random order', [tools], () => {
  for (const kind of ['write', 'flush'] as const) {
    test(
      `the journal aborts at a failed ${kind}, and the image recovers (seed ${SEED})`,
      async () => {
        const image = makeImage(SMALL);
        for (let k = 1, failed = true; failed; k++) {
          failed = await failWrites(image, kind, k);
          expect(k, 'requests of one trace').toBeLessThan(2000);
        }
      },
      LONG,
    );
  }
});

/** A trace with syncs under way beside it; after the first EIO everything that changes is EROFS. */
async function failWrites(image: Uint8Array, kind: 'write' | 'flush', k: number): Promise<boolean> {
  const where = `seed ${SEED}, ${kind} ${k}`;
  const { memory, device, fs } = await faulty(image, SEED + k);
  const model = new Model();
  const tracer = new Tracer(SEED, model, { bulk: false });
  const states = [timeless(model)];
  let acked = 0;
  let failed = '';
  const syncs: Promise<void>[] = [];
  device.fail(kind, k);
  for (let i = 0; i < 24 && failed === ''; i++) {
    const [op] = tracer.next();
    const code = await applyAsync(fs, op);
    if (code === 'EIO' || code === 'EROFS') failed = code;
    else {
      if (code !== 'ENOSPC') expect(code, `${where}: ${JSON.stringify(op)}`).toBe(model.apply(op));
      states.push(timeless(model));
    }
    const upTo = states.length - 1;
    const noted = (code: string): void => {
      if (code === '') acked = Math.max(acked, upTo);
      else failed = code;
    };
    if (i % 6 === 5) syncs.push(applyAsync(fs, ['sync']).then(noted));
  }
  await Promise.all(syncs);
  if (failed !== '') {
    expect(['EIO', 'EROFS'], where).toContain(failed);
    expect(await applyAsync(fs, ['mkdir', '/after', 0o755]), `${where}: later`).toBe('EROFS');
    expect(await applyAsync(fs, ['sync']), `${where}: a later sync`).toBe('EROFS');
    expect(await textOf(fs), `${where}: what is read later`).toBe(states.at(-1));
  }
  const code = await fs.run(fs.unmount()).then(() => '', codeOf);
  if (code === '' && failed === '') acked = states.length - 1;
  expect(fs.vol.cache.pinCount(), where).toBe(0);
  const { seen, image: after } = recover(contents(memory), text, CACHE);
  expect(states.slice(acked), where).toContain(seen);
  if (k % SAMPLE === 1 % SAMPLE) expect(fsck(after), where).toBe('');
  return failed !== '' || code !== '';
}

function codeOf(error: unknown): string {
  if (error instanceof Ext4Error) return error.code;
  throw error;
}

// ---- many at once

/** Operations that do not mind each other: any of them may fail, and in any order. */
const BESIDE: Op[] = [
  ['mkdir', '/a/b/new', 0o755],
  ['mknod', '/big/one-more-name', 0o100644],
  ['symlink', '/x/y/link', 't'.repeat(200)],
  ['unlink', '/a/other'],
  ['unlink', '/a/slow'],
  ['rmdir', '/empty'],
  ['rename', `/big/${'n'.repeat(40)}7`, '/x/moved', 0],
  ['chmod', '/a/b/c', 0o700],
  ['setxattr', '/a/file', 'user.small', 'v', 0],
];

/** The tree after each subset of those. */
function subsets(model: Model): Map<string, number> {
  const states = new Map<string, number>();
  for (let set = 0; set < 1 << BESIDE.length; set++) {
    const copy = model.clone();
    BESIDE.forEach((op, i) => {
      if ((set >> i) & 1) expect(copy.apply(op), `${op}`).toBe('');
    });
    states.set(copy.lines().join('\n'), set);
  }
  return states;
}

const ALL = (1 << BESIDE.length) - 1;

need.describe('many operations at once, one request failing', [tools], () => {
  test(
    `each read in turn: what came back is there, what failed is not (seed ${SEED})`,
    async () => {
      const { image, model } = populate();
      const states = subsets(model);
      const full = [...states].find(([, set]) => set === ALL)![0];
      for (let order = 0; order < ORDERS; order++) {
        for (let k = 1, failed = true; failed; k++) {
          const where = `seed ${SEED + order}, read ${k}`;
          const run = await faulty(image, (SEED + order) * 1000 + k);
          run.device.fail('read', k);
          const codes = await Promise.all(BESIDE.map((op) => applyAsync(run.fs, op)));
          run.device.heal();
          failed = codes.some((code) => code !== '');
          const set = states.get(await textOf(run.fs)) ?? -1;
          expect(set, `${where}: a tree that some of them give`).toBeGreaterThanOrEqual(0);
          for (const [i, code] of codes.entries()) {
            const is = (set >> i) & 1;
            expect(['', 'EIO'], where).toContain(code);
            if (!mayBeHalf(BESIDE[i]) || code === '') {
              expect(is, `${where}: ${BESIDE[i]} ${code}`).toBe(code === '' ? 1 : 0);
            }
            if (!is) expect(await applyAsync(run.fs, BESIDE[i]), `${where}, again`).toBe('');
          }
          await checkFreeAsync(run.fs, where);
          await finish(run, full, where, k % SAMPLE === 1 % SAMPLE);
          expect(k, 'reads of all').toBeLessThan(300);
        }
      }
    },
    LONG,
  );

  for (const kind of ['write', 'flush'] as const) {
    test(
      `each ${kind} in turn: what a sync acknowledged is there (seed ${SEED})`,
      async () => {
        const { image, model } = populate();
        const states = subsets(model);
        for (let order = 0; order < ORDERS * 4; order++) {
          for (let k = 1, hit = true; hit; k++) {
            const where = `seed ${SEED + order}, ${kind} ${k}`;
            const seed = (SEED + order) * 1000 + k;
            hit = await syncBeside(image, states, { kind, k, seed, where });
            expect(k, 'requests of all').toBeLessThan(300);
          }
        }
      },
      LONG,
    );
  }
});

interface Fault {
  kind: 'write' | 'flush';
  k: number;
  seed: number;
  where: string;
}

/** All at once, and syncs in between; whether the fault struck. */
async function syncBeside(
  image: Uint8Array,
  states: Map<string, number>,
  { kind, k, seed, where }: Fault,
): Promise<boolean> {
  const { memory, device, fs } = await faulty(image, seed);
  let done = 0;
  let acked = 0;
  let bad = 0;
  device.fail(kind, k);
  const all: Promise<unknown>[] = [];
  for (const [i, op] of BESIDE.entries()) {
    const noted = (code: string): void => {
      if (code === '') done |= 1 << i;
      else {
        expect(['EIO', 'EROFS'], `${where}: ${op}`).toContain(code);
        bad++;
      }
    };
    all.push(applyAsync(fs, op).then(noted));
    if (i % 3 !== 2) continue;
    await Promise.race(all);
    const before = done;
    const told = (code: string): void => {
      if (code === '') acked |= before;
      else bad++;
    };
    all.push(applyAsync(fs, ['sync']).then(told));
  }
  await Promise.all(all);
  if (bad > 0) {
    expect(fs.readOnly, where).toBe(true);
    expect(await applyAsync(fs, ['mkdir', '/after', 0o755]), where).toBe('EROFS');
  }
  const code = await fs.run(fs.unmount()).then(() => '', codeOf);
  if (bad === 0 && code === '') acked = done;
  expect(fs.vol.cache.pinCount(), where).toBe(0);
  const { seen, image: after } = recover(contents(memory), text, CACHE);
  const set = states.get(seen) ?? -1;
  expect(set, `${where}: a tree that some of them give`).toBeGreaterThanOrEqual(0);
  expect(set & acked, `${where}: what was acknowledged`).toBe(acked);
  if (k % SAMPLE === 1 % SAMPLE) expect(fsck(after), where).toBe('');
  return bad > 0 || code !== '';
}
