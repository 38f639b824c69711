// Random traces on every set of features, against a plain model of the tree: each operation has
// the model's result, and every k-th step a copy of the device, as a power cut would leave it
// after a sync, is recovered by us, has the same tree, and e2fsck finds nothing; so too after the
// unmount. DEEP makes traces longer. EXT4_SEED chooses the seed.

import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { type FileSystem, mountVfs, mountVfsSync } from '../../ts/vfs/filesystem.ts';
import type { MountOptions } from '../../ts/vfs/options.ts';
import { DEEP, need, ORACLES } from '../need.ts';
import { slowDevice } from '../slow.ts';
import { apply, applyAsync, treeFlow, treeOf } from './driver.ts';
import { contents, fsck, makeImage, recover, SETS, scratch } from './images.ts';
import { Model, type Node, type Op } from './model.ts';
import { Tracer } from './trace.ts';

const SEED = Number(process.env.EXT4_SEED ?? 1);
const STEPS = DEEP ? 10_000 : 1_000;
/** Milliseconds: a machine may be busy. */
const LONG = DEEP ? 3_600_000 : 180_000;
const EVERY = DEEP ? 100 : 200;
/** Sets that no other test of writing shows to the kernel. */
const KERNEL = ['stripe', 'mmp', 'orphan_file', 'old layout', 'fast_commit, csum_seed', 'encrypt'];

/** Paths whose mtime nothing has changed since it was set. */
export function timed(model: Model): Set<string> {
  const paths = new Set<string>();
  const visit = (node: Node, path: string): void => {
    if (node.times !== null) paths.add(path);
    for (const [name, child] of node.children) visit(child, `${path}/${name}`);
  };
  visit(model.root, '');
  return paths;
}

/** The model does what was done, unless the image was too full: then nothing. */
function agree(model: Model, op: Op, code: string, where: string): void {
  if (code === 'ENOSPC') return;
  expect(code, `${where}: ${JSON.stringify(op)}`).toBe(model.apply(op));
}

function checkCopy(image: Uint8Array, model: Model, wide: boolean, where: string): void {
  const o = { wide, timed: timed(model) };
  const { seen, image: after } = recover(image, (fs) => treeOf(fs, o));
  expect(seen, where).toEqual(model.lines(wide));
  expect(fsck(after), where).toBe('');
}

/** Comes back with the unmounted image, and what should be in it. */
function runTrace(
  name: string,
  seed: number,
  o: MountOptions,
): { image: Uint8Array; model: Model } {
  const set = SETS[name];
  const wide = set.inodeSize !== 128;
  const device = memoryDevice(makeImage(set), { sparse: true });
  const fs = mountVfsSync(device, o);
  const model = new Model();
  const tracer = new Tracer(seed, model, { large: set.large });
  let full = 0;
  for (let i = 0, next = EVERY; i < STEPS; ) {
    const where = () => `${name}, seed ${seed}, step ${i}`;
    for (const op of tracer.next()) {
      const code = apply(fs, op);
      if (code === 'ENOSPC') full++;
      agree(model, op, code, where());
      i++;
    }
    if (i < next) continue;
    next += EVERY;
    fs.runSync(fs.syncAll());
    const o = { wide, timed: timed(model) };
    expect(treeOf(fs, o), where()).toEqual(model.lines(wide));
    checkCopy(contents(device), model, wide, where());
  }
  expect(full, 'operations for which there was no room').toBeLessThan(STEPS / 4);
  fs.runSync(fs.unmount());
  expect(fs.vol.cache.pinCount()).toBe(0);
  expect(fsck(contents(device)), `${name}, seed ${seed}, unmounted`).toBe('');
  checkCopy(contents(device), model, wide, `${name}, seed ${seed}, mounted again`);
  return { image: contents(device), model };
}

const tools = need.tool('mke2fs', 'e2fsck');

need.describe('a random trace on a synchronous device', [tools], () => {
  for (const name of Object.keys(SETS)) {
    test(
      `${name}: every operation as the model says, e2fsck finds nothing (seed ${SEED})`,
      () => {
        runTrace(name, SEED, {});
      },
      LONG,
    );
  }
});

need.describe('a random trace with forced misses and little memory', [tools], () => {
  for (const name of DEEP ? Object.keys(SETS) : ['ext4 1k', 'bigalloc', 'no extents', 'ea_inode']) {
    test(
      `${name}: steps that begin again leave nothing behind (seed ${SEED + 1})`,
      () => {
        runTrace(name, SEED + 1, { forceMiss: true, cacheBytes: 6 << 20 });
      },
      LONG,
    );
  }
});

need.describe('the kernel after a trace', [need.root(), need.loop(), need.oracles(), tools], () => {
  for (const name of DEEP ? KERNEL : KERNEL.slice(0, 2)) {
    test(
      `${name}: mounts it, finds as many names, and leaves it clean (seed ${SEED + 3})`,
      () => {
        const { image, model } = runTrace(name, SEED + 3, {});
        const path = scratch('kernel.img');
        writeFileSync(path, image);
        const args = [join(import.meta.dirname, 'kernel.py'), ORACLES, path];
        const out = execFileSync('python3', args, { input: '{"ops":[]}', maxBuffer: 64 << 20 });
        const { state, fsck: code } = JSON.parse(`${out}`);
        expect(code).toBe(0);
        const lines = Object.keys(state).filter((path) => !path.includes('lost+found'));
        expect(lines.length).toBe(model.lines().length);
      },
      LONG,
    );
  }
});

/** Operations on different directories at once: each directory has a model and an order of its own. */
async function runAtOnce(name: string, seed: number): Promise<void> {
  const set = SETS[name];
  const wide = set.inodeSize !== 128;
  const memory = memoryDevice(makeImage(set), { sparse: true });
  const device = slowDevice(memory, { order: 'random', seed, stable: true });
  const fs = await mountVfs(device);
  const lanes = Array.from({ length: 6 }, (_, i) => ({ model: new Model(), dir: `/lane${i}`, i }));
  const under = (op: Op, dir: string): Op => {
    const out: Op = [...op];
    if (typeof op[1] === 'string') out[1] = dir + op[1];
    if (op[0] === 'link' || op[0] === 'rename') out[2] = dir + op[2];
    return out;
  };
  const one = async ({ model, dir, i }: (typeof lanes)[number]) => {
    const tracer = new Tracer(seed * 100 + i, model, { large: set.large });
    expect(await applyAsync(fs, ['mkdir', dir, 0o755])).toBe('');
    for (let n = 0; n < STEPS / 5; ) {
      for (const op of tracer.next()) {
        agree(model, op, await applyAsync(fs, under(op, dir)), `${name}, seed ${seed}, lane ${i}`);
        n++;
      }
    }
  };
  await Promise.all(lanes.map(one));
  await fs.run(fs.syncAll());
  await checkLanes(fs, lanes, wide);
  const again = recover(contents(memory), (copy) => treeOf(copy, { wide }).length);
  expect(fsck(again.image), `${name}, seed ${seed}`).toBe('');
  await fs.run(fs.unmount());
  expect(fs.vol.cache.pinCount()).toBe(0);
  expect(fsck(contents(memory)), `${name}, seed ${seed}, unmounted`).toBe('');
}

async function checkLanes(fs: FileSystem, lanes: { model: Model; dir: string }[], wide: boolean) {
  const all = new Model();
  const names = new Set<string>();
  for (const { model, dir } of lanes) {
    all.root.children.set(dir.slice(1), model.root);
    for (const path of timed(model)) if (path !== '') names.add(dir + path);
    model.root.times = null;
  }
  expect(await fs.run(treeFlow(fs, { wide, timed: names }))).toEqual(all.lines(wide));
}

need.describe('traces at once on a device that answers in random order', [tools], () => {
  for (const name of DEEP ? Object.keys(SETS) : ['ext4 1k', 'ext2', 'inline_data', 'ea_inode']) {
    test(
      `${name}: each directory as its model says (seed ${SEED + 2})`,
      async () => {
        await runAtOnce(name, SEED + 2);
      },
      LONG,
    );
  }
});
