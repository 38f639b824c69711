// Errors of the device and a lack of room, at each place in turn. A read error before an
// operation's handle stops: EIO, and nothing has changed. A write error in a commit: the journal
// aborts, what follows is EROFS, and the image recovers to a state that was. No room: the tree is
// as it was, and the free counts in memory are what a recount gives.

import { expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import type { Ext4Volume } from '../../ts/ext4/volume.ts';
import { type FileSystem, mountVfsSync } from '../../ts/vfs/filesystem.ts';
import type { MountOptions } from '../../ts/vfs/options.ts';
import { DEEP, need } from '../need.ts';
import { type SlowDevice, slowDevice } from '../slow.ts';
import { apply } from './driver.ts';
import {
  CACHE,
  checkFree,
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

const tools = need.tool('mke2fs', 'e2fsck');
need.describe('an error at each read in turn', [tools], () => {
  for (const options of [{}, { forceMiss: true }] as MountOptions[]) {
    const how = options.forceMiss ? 'with forced misses' : 'on the spot';
    test(
      `the operation fails with EIO and changes nothing, ${how}`,
      () => {
        const { image, model } = populate();
        for (const op of OPERATIONS) failReads(image, model, op, { ...CACHE, ...options });
      },
      LONG,
    );
  }
});

/** Runs the operation on fresh mounts, its k-th read failing, until k is more than it reads. */
function failReads(image: Uint8Array, model: Model, op: Op, o: MountOptions): void {
  const before = model.lines().join('\n');
  const changed = model.clone();
  expect(changed.apply(op)).toBe('');
  const after = changed.lines().join('\n');
  for (let k = 1, failed = true; failed; k++) {
    const where = `${JSON.stringify(op).slice(0, 80)}, read ${k}`;
    const memory = memoryDevice(image, { sparse: true });
    const device = slowDevice(memory, { sync: true });
    const fs = mountVfsSync(device, o);
    device.fail('read', k);
    const code = apply(fs, op);
    failed = device.counts.read >= k && code !== '';
    device.heal();
    checkFree(fs, where);
    if (failed) expect(code, where).toBe('EIO');
    const now = text(fs);
    // A name is gone before what it named is removed: that is a second step, which the list of orphans remembers.
    const half = failed && now === after && mayBeHalf(op);
    if (!half) expect(now, where).toBe(failed ? before : after);
    if (failed && !half) expect(apply(fs, op), `${where}, again`).toBe('');
    expect(text(fs), where).toBe(after);
    fs.runSync(fs.unmount());
    expect(fs.vol.cache.pinCount(), where).toBe(0);
    if (DEEP || k % 4 === 1) {
      expect(fsck(recover(contents(memory), () => 0, CACHE).image), where).toBe('');
    }
    expect(k, 'reads of one operation').toBeLessThan(200);
  }
}

interface Run {
  device: SlowDevice;
  states: string[];
  /** Operations covered by the last sync that came back. */
  acked: number;
  failed: string;
}

/** A trace with syncs up to the unmount. After the first EIO everything that changes is EROFS. */
function runWith(image: Uint8Array, arm: (device: SlowDevice) => void): Run & { left: Uint8Array } {
  const memory = memoryDevice(image, { sparse: true });
  const device = slowDevice(memory, { sync: true });
  const model = new Model();
  const run: Run = { device, states: [model.lines().join('\n')], acked: 0, failed: '' };
  arm(device);
  const finish = () => ({ ...run, left: contents(memory) });
  let fs: FileSystem;
  try {
    fs = mountVfsSync(device, CACHE);
  } catch (error) {
    run.failed = (error as { code: string }).code;
    return finish();
  }
  const tracer = new Tracer(SEED, model, { bulk: false });
  for (let i = 0; i < 24; i++) {
    const [next] = tracer.next();
    const op: Op = next[0] === 'utimes' || i % 6 === 5 ? ['sync'] : next;
    const code = apply(fs, op);
    if (code === 'EIO' || code === 'EROFS') {
      run.failed = code;
      break;
    }
    if (code !== 'ENOSPC') expect(code, JSON.stringify(op)).toBe(model.apply(op));
    run.states.push(model.lines().join('\n'));
    if (op[0] === 'sync') run.acked = run.states.length - 1;
  }
  if (run.failed !== '') {
    expect(apply(fs, ['mkdir', '/after', 0o755]), 'a change after the abort').toBe('EROFS');
    expect(apply(fs, ['sync']), 'a sync after the abort').toBe('EROFS');
    expect(fs.readOnly).toBe(true);
    expect(text(fs), 'what is read after the abort').toBe(run.states.at(-1));
  }
  try {
    fs.runSync(fs.unmount());
    if (run.failed === '') run.acked = run.states.length - 1;
  } catch (error) {
    run.failed = (error as { code: string }).code;
  }
  return finish();
}

need.describe('an error at each write and flush in turn', [tools], () => {
  for (const kind of ['write', 'flush'] as const) {
    test(
      `the journal aborts at a failed ${kind}, and the image recovers (seed ${SEED})`,
      () => {
        const image = makeImage(SMALL);
        for (let k = 1, failed = true; failed; k++) {
          const where = `seed ${SEED}, ${kind} ${k}`;
          const run = runWith(image, (device) => device.fail(kind, k));
          failed = run.failed !== '';
          if (failed) expect(run.failed, where).toBe('EIO');
          const { seen, image: after } = recover(run.left, text, CACHE);
          expect(run.states.slice(run.acked), where).toContain(seen);
          if (DEEP || k % 4 === 1) expect(fsck(after), where).toBe('');
        }
      },
      LONG,
    );
  }
});

need.describe('no room', [tools], () => {
  const FULL = {
    'few blocks': { args: '-t ext4 -b 1024 -J size=1 -m 0 -N 512', size: 4 },
    'few inodes': { args: '-t ext4 -b 1024 -O ^has_journal -m 0 -N 64', size: 4 },
    'few clusters': { args: '-t ext4 -b 1024 -O bigalloc -C 8192 -J size=1 -m 0 -N 256', size: 3 },
    'few blocks, block maps': { args: '-t ext3 -b 1024 -J size=1 -m 0 -N 512', size: 4 },
  };
  for (const [name, spec] of Object.entries(FULL)) {
    for (const forceMiss of [false, true]) {
      test(
        `${name}: what fails changes nothing${forceMiss ? ', forced misses' : ''} (seed ${SEED})`,
        () => {
          fillUp(makeImage(spec), { ...CACHE, forceMiss });
        },
        LONG,
      );
    }
  }
});

function fillUp(image: Uint8Array, o: MountOptions): void {
  const device = memoryDevice(image, { sparse: true });
  const fs = mountVfsSync(device, o);
  const model = new Model();
  const tracer = new Tracer(SEED, model);
  let full = 0;
  const fill = Array.from({ length: 1200 }, (_, i): Op[] => [
    ['mkdir', `/F${i}`, 0o755],
    ['symlink', `/F${i}/long`, 'l'.repeat(400)],
    ['setxattr', `/F${i}`, 'user.u', `${i}`.padEnd(700, 'u'), 0],
  ]);
  for (let i = 0; full < 40; i++) {
    expect(i, 'the image fills up').toBeLessThan(fill.length);
    for (const op of fill[i]) full += tryOne(fs, model, op);
  }
  for (let i = 0; i < (DEEP ? 5000 : 600); ) {
    for (const op of tracer.next()) {
      full += tryOne(fs, model, op);
      i++;
    }
  }
  expect(text(fs)).toBe(timeless(model));
  fs.runSync(fs.unmount());
  expect(fsck(contents(device))).toBe('');
  expect(recover(contents(device), text, CACHE).seen).toBe(timeless(model));
}

/** 1 when there was no room: then all is as it was, and the counts hold. */
function tryOne(fs: FileSystem, model: Model, op: Op): number {
  const was = fs.vol.free === null ? null : { ...fs.vol.free };
  const code = apply(fs, op);
  const where = `seed ${SEED}: ${JSON.stringify(op).slice(0, 200)}`;
  checkFree(fs, where);
  if (code !== 'ENOSPC') {
    expect(code, where).toBe(model.apply(op));
    return 0;
  }
  if (was !== null) expect(fs.vol.free, where).toEqual(was);
  return 1;
}

need.describe('a journal of 1024 blocks', [tools], () => {
  for (const forceMiss of [false, true]) {
    test(
      `wraps and is worked off${forceMiss ? ', with forced misses' : ''} (seed ${SEED})`,
      () => {
        const device = memoryDevice(makeImage({ ...SMALL, size: 12 }), { sparse: true });
        const fs = mountVfsSync(device, { ...CACHE, forceMiss });
        const model = new Model();
        const tracer = new Tracer(SEED, model);
        const { area } = fs.vol.journal as NonNullable<Ext4Volume['journal']>;
        let wraps = 0;
        for (let i = 0, head = 0; wraps < 3; i++) {
          expect(i, 'the log goes round').toBeLessThan(20_000);
          for (const op of tracer.next()) tryOne(fs, model, op);
          if (i % 4 === 0) fs.runSync(fs.syncAll());
          if ((area?.head ?? 0) < head) {
            wraps++;
            fs.runSync(fs.syncAll());
            const { seen, image } = recover(contents(device), text, CACHE);
            expect(seen, `seed ${SEED}, wrap ${wraps}`).toBe(timeless(model));
            expect(fsck(image), `seed ${SEED}, wrap ${wraps}`).toBe('');
          }
          head = area?.head ?? 0;
        }
        fs.runSync(fs.unmount());
        expect(fsck(contents(device))).toBe('');
      },
      LONG,
    );
  }
});
