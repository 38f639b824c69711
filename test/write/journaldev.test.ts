// A journal on a device of its own: random traces against the model, copies of both devices recovered, e2fsck with
// the journal; power cuts of both devices at once, each losing any part of what it had not flushed; the kernel
// takes such a pair over. EXT4_SEED chooses the seed.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { type ChangeRecord, type Recorder, record } from '../../ts/block/record.ts';
import { writeBack } from '../../ts/flow.ts';
import { mkfsSync } from '../../ts/index.ts';
import { mountVfsSync } from '../../ts/vfs/filesystem.ts';
import { type Random, random } from '../fuzz/random.ts';
import { DEEP, need, which } from '../need.ts';
import { apply, treeOf } from './driver.ts';
import { contents, scratch } from './images.ts';
import { Model, type Op } from './model.ts';
import { Tracer } from './trace.ts';

const SEED = Number(process.env.EXT4_SEED ?? 1);
const LONG = DEEP ? 3_600_000 : 120_000;
const STEPS = DEEP ? 10_000 : 600;
const EVERY = 200;
const OPS = DEEP ? 200 : 16;
const MIB = 2 ** 20;

/** The file system and its journal. */
interface Pair {
  home: Uint8Array;
  log: Uint8Array;
}

function make(blockSize: number, size: number, logSize: number): Pair {
  const log = memoryDevice(logSize * MIB, { sparse: true });
  mkfsSync(log, { blockSize, features: 'journal_dev' });
  const home = memoryDevice(size * MIB, { sparse: true });
  mkfsSync(home, { blockSize, journalDevice: log, inodes: 512 });
  return { home: contents(home), log: contents(log) };
}

const treeText = (lines: string[]): string => lines.join('\n');

/** Mounts a copy with what its journal holds, reads the tree, unmounts; both devices then. */
function recovered({ home, log }: Pair): Pair & { seen: string } {
  const [device, journalDevice] = [home, log].map((bytes) => memoryDevice(bytes.slice()));
  const fs = mountVfsSync(device, { journalDevice, cacheBytes: 8 << 20 });
  const seen = treeText(treeOf(fs, { wide: true }));
  fs.runSync(fs.unmount());
  return { seen, home: contents(device), log: contents(journalDevice) };
}

function put({ home, log }: Pair): { home: string; log: string } {
  const paths = { home: scratch('home.img'), log: scratch('log.img') };
  writeFileSync(paths.home, home);
  writeFileSync(paths.log, log);
  return paths;
}

/** Empty when `e2fsck -fn -j` finds nothing. */
function fsck(pair: Pair): string {
  const paths = put(pair);
  const args = ['-fn', '-j', paths.log, paths.home];
  const { status, stdout } = spawnSync(which('e2fsck'), args, { encoding: 'latin1' });
  return status === 0 ? '' : `e2fsck exits ${status}\n${stdout}`;
}

function runTrace(blockSize: number, seed: number): Pair & { model: Model } {
  const { home, log } = make(blockSize, 24, 8);
  const [device, journalDevice] = [memoryDevice(home), memoryDevice(log)];
  const fs = mountVfsSync(device, { journalDevice });
  const model = new Model();
  const tracer = new Tracer(seed, model);
  for (let i = 0, next = EVERY; i < STEPS; ) {
    const where = `seed ${seed}, step ${i}`;
    for (const op of tracer.next()) {
      const timeless: Op = op[0] === 'utimes' ? ['sync'] : op;
      const code = apply(fs, timeless);
      if (code !== 'ENOSPC') expect(code, `${where}: ${timeless}`).toBe(model.apply(timeless));
      i++;
    }
    if (i < next) continue;
    next += EVERY;
    fs.runSync(fs.syncAll());
    const copy = recovered({ home: contents(device), log: contents(journalDevice) });
    expect(copy.seen, where).toBe(treeText(model.lines()));
    expect(fsck(copy), where).toBe('');
  }
  fs.runSync(fs.unmount());
  return { home: contents(device), log: contents(journalDevice), model };
}

const tools = need.tool('e2fsck');

need.describe('a trace with the journal on another device', [tools], () => {
  for (const blockSize of [1024, 4096]) {
    test(
      `blocks of ${blockSize}: as the model says at every ${EVERY}th step (seed ${SEED})`,
      () => {
        const { model, ...pair } = runTrace(blockSize, SEED);
        expect(fsck(pair)).toBe('');
        expect(recovered(pair).seen).toBe(treeText(model.lines()));
      },
      LONG,
    );
  }
});

/** A face of a recorder that says when a request is done. */
function watched(recorder: Recorder, note: () => void): Recorder {
  return new Proxy(recorder, {
    get(target, key) {
      const value: unknown = Reflect.get(target, key, target);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        const result: unknown = value.apply(target, args);
        note();
        return result;
      };
    },
  });
}

interface Taken extends Pair {
  recorders: { home: Recorder; log: Recorder };
  /** The clocks of both after each request. */
  moments: { home: number; log: number }[];
  states: string[];
  /** The moment at which each operation began, and those of syncs with the operations that they cover. */
  begun: number[];
  acks: { moment: number; count: number }[];
}

/** A short trace with both devices recorded. */
function take(seed: number): Taken {
  const pair = make(1024, 6, 2);
  const recorders = { home: record(memoryDevice(pair.home)), log: record(memoryDevice(pair.log)) };
  const moments = [{ home: 0, log: 0 }];
  const note = () => {
    const now = { home: recorders.home.clock, log: recorders.log.clock };
    const last = moments[moments.length - 1];
    if (now.home !== last.home || now.log !== last.log) moments.push(now);
  };
  const journalDevice = watched(recorders.log, note);
  const fs = mountVfsSync(watched(recorders.home, note), { journalDevice });
  const model = new Model();
  const tracer = new Tracer(seed, model, { bulk: false });
  const states = [treeText(model.lines())];
  const begun: number[] = [];
  const acks = [{ moment: 0, count: 0 }];
  const ack = () => acks.push({ moment: moments.length - 1, count: begun.length });
  const r = random(seed);
  while (begun.length < OPS) {
    for (const op of tracer.next()) {
      const timeless: Op = op[0] === 'utimes' ? ['sync'] : op;
      begun.push(moments.length - 1);
      const code = apply(fs, timeless);
      if (code !== 'ENOSPC') expect(code).toBe(model.apply(timeless));
      states.push(treeText(model.lines()));
      if (timeless[0] === 'sync') ack();
    }
    if (r.chance(0.2)) {
      fs.runSync(writeBack());
      ack();
    }
  }
  fs.runSync(fs.unmount());
  ack();
  return { ...pair, recorders, moments, states, begun, acks };
}

type Kind = 'none' | 'all' | 'some';

/** Both superblocks are written in one piece: the devices are trusted that far, as by the kernel. */
function chosen(kind: Kind, r: Random): (pending: ChangeRecord[]) => ChangeRecord[] {
  if (kind === 'none') return () => [];
  return (pending) => (kind === 'all' ? pending : pending.filter(() => r.chance(0.5)));
}

function cutAt(taken: Taken, moment: number, kinds: [Kind, Kind], r: Random): Pair {
  const { home, log } = taken.moments[moment];
  const [device, journal] = [memoryDevice(taken.home.slice()), memoryDevice(taken.log.slice())];
  taken.recorders.home.replaySync(device, chosen(kinds[0], r), home);
  taken.recorders.log.replaySync(journal, chosen(kinds[1], r), log);
  return { home: contents(device), log: contents(journal) };
}

const KINDS: [Kind, Kind][] = [
  ['none', 'none'],
  ['none', 'all'],
  ['all', 'none'],
  ['all', 'all'],
  ['some', 'some'],
];

need.describe('a power cut of both devices', [tools], () => {
  test(
    `at any moment: leaves a state between the last sync and the cut (seed ${SEED})`,
    () => {
      const taken = take(SEED);
      const r = random(SEED);
      const reached = new Set<string>();
      let n = 0;
      for (let moment = 0; moment < taken.moments.length; moment++) {
        const acked = taken.acks.filter((a) => a.moment <= moment).map((a) => a.count);
        const to = taken.begun.filter((b) => b <= moment).length;
        const allowed = taken.states.slice(Math.max(...acked), to + 1);
        // Without DEEP every other moment.
        if (!DEEP && moment % 2 !== SEED % 2) continue;
        for (const kinds of KINDS) {
          const where = `moment ${moment} of ${taken.moments.length}, ${kinds}, seed ${SEED}`;
          const after = recovered(cutAt(taken, moment, kinds, r));
          expect(allowed, where).toContain(after.seen);
          reached.add(after.seen);
          if (DEEP || n++ % 40 === 0) expect(fsck(after), where).toBe('');
        }
      }
      expect(reached.size, 'different states').toBeGreaterThan(3);
    },
    LONG,
  );
});

const say = (name: string, ...args: string[]) =>
  execFileSync(which(name), args, { encoding: 'utf8' }).trim();

need.describe('the kernel', [need.root(), need.loop(), need.tool('losetup'), tools], () => {
  /** Mounts the pair, works in it, unmounts; what lies in its root. */
  function byKernel(pair: Pair): { names: string[]; fsck: number | null } {
    const paths = put(pair);
    const dir = scratch('pair');
    mkdirSync(dir, { recursive: true });
    const loops = [paths.home, paths.log].map((path) => say('losetup', '-f', '--show', path));
    try {
      say('mount', '-t', 'ext4', '-o', `journal_path=${loops[1]}`, loops[0], dir);
      const names = say('find', dir, '-mindepth', '1', '-maxdepth', '1').split('\n');
      mkdirSync(`${dir}/by-the-kernel`);
      say('umount', dir);
      const args = ['-fn', '-j', loops[1], loops[0]];
      return { names, fsck: spawnSync(which('e2fsck'), args).status };
    } finally {
      for (const loop of loops) say('losetup', '-d', loop);
    }
  }

  test(
    `takes over what we unmounted, and what a power cut left (seed ${SEED})`,
    () => {
      const { model, ...pair } = runTrace(4096, SEED + 1);
      const clean = byKernel(pair);
      expect(clean.fsck).toBe(0);
      expect(clean.names.length).toBe(model.root.children.size + 1);
      const taken = take(SEED);
      const middle = Math.floor(taken.moments.length / 2);
      const cut = cutAt(taken, middle, ['none', 'all'], random(SEED));
      const ours = recovered(cut).seen.split('\n').slice(1);
      const theirs = byKernel(cut);
      expect(theirs.fsck).toBe(0);
      const top = ours.filter((line) => /^\/[^/]+ /.test(line));
      expect(theirs.names.length).toBe(top.length + 1);
    },
    LONG,
  );
});
