// Goal: a mount writes fast commits home: what the records amount to, e2fsck content, nothing left to recover; however
// it is driven, and wherever it is cut. Method: the kernel's images; the tree as it is shown without writing says what
// to expect. Of a cut, what was flushed is there, and of what was not nothing, all, or some with writes torn.

import { expect, test } from 'vitest';

import { memoryDevice } from '../../ts/block/memory.ts';
import { type ChangeRecord, record, tear } from '../../ts/block/record.ts';
import { fsck as checkLater, fsckSync, mount } from '../../ts/index.ts';
import { type Random, random } from '../fuzz/random.ts';
import { DEEP, need } from '../need.ts';
import { differences, type FileState, type State } from '../oracle/state.ts';
import { slowDevice } from '../slow.ts';
import { fsck, replay, replayed, shown } from './fastimage.ts';
import { contents, imageBytes, same } from './image.ts';
import { seedOf } from './random.ts';

const NAMES = ['fast_commit.img', 'fast_commit_1k.img', 'fast_commit_write.img'];
/** All but link counts: the kernel's records do not have those of directories. */
const KEYS: (keyof FileState)[] = [
  ...([
    't',
    'mode',
    'uid',
    'gid',
    'size',
    'rdev',
    'link',
    'sha',
    'segs',
    'xa',
    'hl',
    'err',
  ] as const),
];
/** Seconds. */
const NOW = 1_700_000_000;

const load = (name: string) => imageBytes('crash', name);

function expectTree(got: State, want: State, where = ''): void {
  expect(differences(got, want, { keys: KEYS }), where).toEqual([]);
}

need.describe('fast commits written home', [need.oracles(), need.tool('e2fsck')], () => {
  for (const name of NAMES) {
    test(`${name}: the mount is read-write, e2fsck content, and the tree what was shown`, async () => {
      const bytes = load(name);
      const want = await shown(bytes);
      const device = memoryDevice(bytes, { sparse: true });
      const info = replay(device);
      expect(info).toMatchObject({ readOnly: false, reason: '' });
      expect(info.journal.state).toBe('replayed');
      expect(info.journal.fastCommits).toBeGreaterThan(3);
      const after = contents(device);
      expect(fsck(after)).toBe('');
      expectTree(await shown(after), want);
      const again = replay(memoryDevice(after, { sparse: true }), { journal: 'refuse' });
      expect(again.journal).toMatchObject({ state: 'clean', fastCommits: 0 });
    });

    test(`${name}: steps that miss and devices that wait leave the same bytes`, async () => {
      const bytes = load(name);
      const want = replayed(bytes, { now: NOW });
      expect(same(replayed(bytes, { now: NOW, forceMiss: true }), want)).toBe(true);
      const below = memoryDevice(bytes, { sparse: true });
      const slow = slowDevice(below, { order: 'random', seed: 7 });
      const img = await mount(slow, { journal: 'replay', now: NOW, cacheBytes: 8 << 20 });
      await img.unmount();
      expect(same(contents(below), want)).toBe(true);
    });

    test(`${name}: a repair writes them home first`, async () => {
      const bytes = load(name);
      const device = memoryDevice(bytes, { sparse: true });
      fsckSync(device);
      expect(same(contents(device), bytes)).toBe(true);
      const result = fsckSync(device, { repair: true });
      expect(result).toMatchObject({ clean: true, exitCode: 1 });
      expect(result.problems[0]).toMatchObject({ code: 'fast-commits', fixed: true });
      expect(fsck(contents(device))).toBe('');
      expectTree(await shown(contents(device)), await shown(bytes));
      const again = memoryDevice(bytes, { sparse: true });
      const waiting = await checkLater(slowDevice(again), { repair: 'preen' });
      expect(waiting.exitCode).toBe(1);
      expect(fsck(contents(again))).toBe('');
    });

    test(`${name}: a read-only mount that replays writes them home too`, async () => {
      const bytes = load(name);
      const after = replayed(bytes, { ro: true });
      expect(replay(memoryDevice(after), { journal: 'refuse' }).journal.state).toBe('clean');
      expectTree(await shown(after), await shown(bytes));
    });
  }
});

type Kind = 'none' | 'all' | 'some';

/** The superblocks of the file system and of the log are trusted to be written whole, as the kernel does. */
function landed(kind: Kind, r: Random, whole: Set<number>): (p: ChangeRecord[]) => ChangeRecord[] {
  if (kind === 'none') return () => [];
  if (kind === 'all') return (pending) => pending;
  return (pending) =>
    pending.flatMap((change) => {
      if (r.chance(0.5)) return [];
      if (change.kind !== 'write' || whole.has(change.dpos) || r.chance(0.5)) return [change];
      const sectors = change.bytes.length / 512;
      const from = r.int(sectors);
      return [tear(change, from, from + 1 + r.int(sectors - from))];
    });
}

async function checkCuts(name: string, step: number): Promise<void> {
  const seed = seedOf();
  const r = random(seed);
  const bytes = load(name);
  const want = await shown(bytes);
  const recorder = record(memoryDevice(bytes, { sparse: true }));
  replay(recorder);
  const forced = recorder.log.filter((entry) => entry.kind === 'write' && entry.fua);
  const whole = new Set(forced.map((entry) => (entry.kind === 'write' ? entry.dpos : -1)));
  let states = 0;
  for (let clock = 0; clock <= recorder.clock; clock += step) {
    const { pending } = recorder.cut(clock);
    for (const kind of pending.length > 0
      ? (['none', 'all', 'some'] as const)
      : ['none' as const]) {
      const where = `${name}, cut at ${clock} of ${recorder.clock}, ${kind}, seed ${seed}`;
      const device = memoryDevice(bytes, { sparse: true });
      recorder.replaySync(device, landed(kind, r, whole), clock);
      const info = replay(device);
      expect(info, where).toMatchObject({ readOnly: false, reason: '' });
      const after = contents(device);
      expectTree(await shown(after), want, where);
      if (states++ % (DEEP ? 1 : 6) === 0) expect(fsck(after), where).toBe('');
    }
  }
  expect(states).toBeGreaterThan(8);
}

need.describe('a cut while they are written', [need.oracles(), need.tool('e2fsck')], () => {
  for (const name of NAMES) {
    test(`${name}: whatever a cut leaves, the next mount ends in the same tree`, async () => {
      await checkCuts(name, DEEP ? 1 : 7);
    }, 600_000);
  }
});
