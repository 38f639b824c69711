// Power cuts after every device write and flush of short traces. What the last flush left is on
// the device for sure; of what was written since, nothing, everything, or a subset in which writes
// may be torn. From each such state our recovery and e2fsck give a tree that is one of those
// between the last acknowledged sync and the cut, and e2fsck complains of nothing but counts. The
// kernel looks at a sample. EXT4_SEED chooses traces and subsets.

import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { type ChangeRecord, type Recorder, record, tear } from '../../ts/block/record.ts';
import { writeBack } from '../../ts/flow.ts';
import { mountVfsSync } from '../../ts/vfs/filesystem.ts';
import { type Random, random } from '../fuzz/random.ts';
import { DEEP, need, ORACLES } from '../need.ts';
import { apply, treeOf } from './driver.ts';
import { contents, type FeatureSet, fsck, makeImage, recover, scratch, tool } from './images.ts';
import { Model, type Op } from './model.ts';
import { Tracer } from './trace.ts';

const SEED = Number(process.env.EXT4_SEED ?? 1);
const OPS = DEEP ? 200 : 16;
const SUBSETS = DEEP ? 8 : 1;
/** Milliseconds: hundreds of mounts, and a machine may be busy. */
const LONG = DEEP ? 3_600_000 : 300_000;
const SAMPLE = DEEP ? 40 : 2;

const IMAGES: Record<string, FeatureSet> = {
  ext4: { args: '-t ext4 -b 1024 -J size=1 -N 256', size: 6 },
  ext3: { args: '-t ext3 -b 1024 -J size=1 -N 256', size: 6 },
  'ext4 4k': { args: '-t ext4 -b 4096 -J size=4 -N 256', size: 12 },
  ea_inode: { args: '-t ext4 -b 1024 -O ea_inode -J size=1 -N 256', size: 6, large: true },
  'fast commit area, no checksums': {
    args: '-t ext4 -b 1024 -O ^metadata_csum,fast_commit -J size=1 -N 256',
    size: 6,
  },
};

interface Taken {
  image: Uint8Array;
  recorder: Recorder;
  /** The tree before the first operation, and after each. */
  states: string[];
  /** Clock when each operation began. */
  begun: number[];
  /** Clock when a sync was acknowledged, and the number of operations that it covers. */
  acks: { clock: number; count: number }[];
}

const treeText = (lines: string[]): string => lines.join('\n');

/** A trace with its device recorded, unmounted in the end. */
function take(spec: FeatureSet, seed: number): Taken {
  const image = makeImage(spec);
  const recorder = record(memoryDevice(image, { sparse: true }));
  const fs = mountVfsSync(recorder);
  const model = new Model();
  const tracer = new Tracer(seed, model, { bulk: false, large: spec.large });
  const taken: Taken = { image, recorder, states: [], begun: [], acks: [{ clock: 0, count: 0 }] };
  taken.states.push(treeText(model.lines()));
  const ack = () => taken.acks.push({ clock: recorder.clock, count: taken.begun.length });
  const r = random(seed);
  while (taken.begun.length < OPS) {
    for (const op of tracer.next()) {
      const timeless: Op = op[0] === 'utimes' ? ['sync'] : op;
      taken.begun.push(recorder.clock);
      const code = apply(fs, timeless);
      if (code !== 'ENOSPC') expect(code, `seed ${seed}: ${timeless}`).toBe(model.apply(timeless));
      taken.states.push(treeText(model.lines()));
      if (timeless[0] === 'sync') ack();
    }
    const since = taken.begun.length - taken.acks[taken.acks.length - 1].count;
    if (r.chance(0.06) || since > OPS / 6) {
      fs.runSync(writeBack());
      ack();
    }
  }
  fs.runSync(fs.unmount());
  ack();
  return taken;
}

/** The states that a cut at `clock` may leave: from the last sync on, to the last operation begun. */
function allowed({ states, begun, acks }: Taken, clock: number): Map<string, number> {
  const from = acks.filter((a) => a.clock <= clock).reduce((most, a) => Math.max(most, a.count), 0);
  const to = begun.filter((b) => b <= clock).length;
  return new Map(states.slice(from, to + 1).map((state, i) => [state, from + i]));
}

/** The superblock is one write of 1024 bytes, which the kernel too trusts a device to do whole: it has
 *  a checksum, and
 *  nothing else says where the journal is. */
function holdsSuper({ dpos, bytes }: { dpos: number; bytes: Uint8Array }): boolean {
  return dpos < 2048 && dpos + bytes.length > 1024;
}

type Kind = 'none' | 'all' | 'some';

/** Of what is pending at a cut: nothing, all of it, or some, torn at times. */
function choose(kind: Kind, r: Random): (pending: ChangeRecord[]) => ChangeRecord[] {
  if (kind === 'none') return () => [];
  if (kind === 'all') return (pending) => pending;
  return (pending) =>
    pending.flatMap((change) => {
      if (r.chance(0.5)) return [];
      if (change.kind !== 'write' || holdsSuper(change) || r.chance(0.5)) return [change];
      const sectors = change.bytes.length / 512;
      const from = r.int(sectors);
      return [tear(change, from, from + 1 + r.int(sectors - from))];
    });
}

/** The device after a cut. */
function cutAt(taken: Taken, clock: number, kind: Kind, r: Random): Uint8Array {
  const device = memoryDevice(taken.image, { sparse: true });
  taken.recorder.replaySync(device, choose(kind, r), clock);
  return contents(device);
}

function* cutsOf(
  taken: Taken,
  r: Random,
): Generator<{ kind: Kind; clock: number; at: Uint8Array }> {
  for (let clock = 0; clock <= taken.recorder.clock; clock++) {
    const { pending } = taken.recorder.cut(clock);
    const kinds: Kind[] = pending.length === 0 ? ['none'] : ['none', 'all'];
    if (pending.length > 0) for (let i = 0; i < SUBSETS; i++) kinds.push('some');
    for (const kind of kinds) yield { kind, clock, at: cutAt(taken, clock, kind, r) };
  }
}

const read = (image: Uint8Array) => recover(image, (fs) => treeText(treeOf(fs, { wide: true })));

/** What e2fsck may say on its way through a journal and after: counts, and the orphans of an interrupted removal. */
const HARMLESS = [
  /^e2fsck \d/,
  /recovering journal/,
  /Superblock last (mount|write) time/,
  /^Pass \d/,
  /Free (blocks|inodes) count wrong/,
  /^Fix\? yes|^$/,
  /[Oo]rphan/,
  /Setting free (inodes|blocks) count/,
  /FILE SYSTEM WAS MODIFIED/,
  /files \(.*non-contiguous\).*blocks$/,
];

function complaints(text: string): string[] {
  return text.split('\n').filter((line) => !HARMLESS.some((pattern) => pattern.test(line)));
}

function checkE2fsck(at: Uint8Array, states: Map<string, number>, where: string): void {
  const { code, text, after } = tool('e2fsck', ['-fy'], at);
  expect(complaints(text), `${where}: e2fsck -fy exits ${code}\n${text}`).toEqual([]);
  expect(code, where).toBeLessThan(2);
  expect([...states.keys()], `${where}: e2fsck's tree`).toContain(read(after()).seen);
}

function runCuts(name: string, seed: number): void {
  const taken = take(IMAGES[name], seed);
  const r = random(seed);
  let n = 0;
  const reached = new Set<number>();
  for (const { kind, clock, at } of cutsOf(taken, r)) {
    const where = `${name}, seed ${seed}, cut at ${clock} of ${taken.recorder.clock}, ${kind}`;
    const states = allowed(taken, clock);
    const { seen, image } = read(at);
    expect(states.has(seen), `${where}: the tree is none of ${states.size} states\n${seen}`).toBe(
      true,
    );
    reached.add(states.get(seen) as number);
    if (DEEP || n % 16 === seed % 16) {
      expect(fsck(image), where).toBe('');
      checkE2fsck(at, states, where);
    }
    n++;
  }
  expect(reached.size, 'different states after a cut').toBeGreaterThan(3);
}

need.describe('a power cut at any moment', [need.tool('mke2fs', 'e2fsck')], () => {
  for (const name of Object.keys(IMAGES)) {
    test(
      `${name}: leaves a state between the last sync and the cut (seed ${SEED})`,
      () => {
        runCuts(name, SEED);
      },
      LONG,
    );
  }
});

need.describe('the journal as e2fsprogs reads it', [need.tool('mke2fs', 'debugfs')], () => {
  for (const name of Object.keys(IMAGES)) {
    test(`${name}: logdump -a finds every transaction of ours`, () => {
      const image = makeImage(IMAGES[name]);
      const device = memoryDevice(image, { sparse: true });
      const fs = mountVfsSync(device);
      const syncs = 5;
      for (let i = 0; i < syncs; i++) {
        expect(apply(fs, ['mkdir', `/d${i}`, 0o755])).toBe('');
        const target = `\xc0\x3b\x39\x98${'x'.repeat(200)}`;
        expect(apply(fs, ['symlink', `/d${i}/l`, target])).toBe('');
        if (i > 0) expect(apply(fs, ['unlink', `/d${i - 1}/l`])).toBe('');
        fs.runSync(fs.syncAll());
      }
      const { text } = tool('debugfs', ['-R', 'logdump -a'], contents(device));
      const commits = text.match(/type 2 \(commit block\)/g) ?? [];
      expect(commits.length, text).toBe(syncs);
      expect(text.match(/type 5 \(revoke table\)/g)?.length, text).toBe(syncs - 1);
      expect(text).not.toMatch(/corrupt|error|bad|invalid/i);
    });
  }
});

const kernelNeeds = [need.root(), need.loop(), need.oracles(), need.tool('mke2fs')];

need.describe('the kernel after a power cut', kernelNeeds, () => {
  test(
    `shows what our recovery shows, on a sample (seed ${SEED})`,
    () => {
      const state = (image: Uint8Array) => {
        const path = scratch('kernel');
        writeFileSync(path, image);
        const args = [join(import.meta.dirname, 'kernel.py'), ORACLES, path];
        return JSON.parse(execFileSync('python3', args, { input: '{"ops":[]}', encoding: 'utf8' }));
      };
      for (const name of ['ext4', 'ext3'] as const) {
        const taken = take(IMAGES[name], SEED);
        const r = random(SEED);
        const clocks = Array.from({ length: SAMPLE }, (_, i) =>
          Math.floor(((i + 0.5) * taken.recorder.clock) / SAMPLE),
        );
        console.log(`kernel, ${name}: seed ${SEED}, cuts at ${clocks.join(' ')}`);
        for (const clock of clocks) {
          const at = cutAt(taken, clock, 'some', r);
          const kernel = state(at);
          expect(kernel.fsck, `${name}, cut at ${clock}`).toBe(0);
          expect(kernel.state).toEqual(state(read(at).image).state);
        }
      }
    },
    LONG,
  );
});
