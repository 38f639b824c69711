// Goal: every image of the oracles reads as the kernel reads it, or is refused with a named error; none crashes,
// hangs or takes too much. Method: each is expanded to a sparse file and walked whole by a process of its own, with
// 5 s of processor time and 256 MiB; the state is compared record for record with the one that the kernel showed.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { mount, mountSync } from '../../ts/index.ts';
import { need, which } from '../need.ts';
import { type Job, LIMIT_CPU_MS, LIMIT_MIB, type Outcome, runChild } from './child-process.ts';
import {
  imageBytes,
  imageNames,
  type KernelState,
  kernelStates,
  type ManifestRow,
  manifest,
  readJson,
  type Vector,
  vectors,
  writeSparse,
} from './images.ts';
import {
  differences,
  dumpTree,
  type FileState,
  promiseFace,
  type State,
  syncFace,
} from './state.ts';

const dir = mkdtempSync(join(tmpdir(), 'images-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

let serial = 0;

/** Runs `use` on a fresh sparse copy of an image. */
async function withImage<T>(
  folder: string,
  name: string,
  use: (path: string, bytes: Buffer) => Promise<T>,
): Promise<T> {
  const path = join(dir, `${serial++}-${name}`);
  const bytes = imageBytes(folder, name);
  writeSparse(path, bytes);
  const result = await use(path, bytes);
  rmSync(path);
  return result;
}

/** Walks an image in a child; what must hold for every image is checked here. */
async function inspect(image: string, job: Partial<Job> = {}): Promise<Outcome> {
  const outcome = await runChild({ image, readOnly: true, face: 'sync', ...job });
  expect(outcome.bug).toBeUndefined();
  expect(outcome.cpuMs).toBeLessThan(LIMIT_CPU_MS);
  expect(outcome.peakMiB).toBeLessThan(LIMIT_MIB);
  expect(outcome.state ?? outcome.code).toBeDefined();
  return outcome;
}

function stateOf(outcome: Outcome): State {
  expect(outcome.message).toBeUndefined();
  return outcome.state!;
}

/** What must hold where the kernel gave an error for a path: we give one too, or the same bytes. */
function readableDifferences(got: State, want: State, keys?: (keyof FileState)[]): string[] {
  const readable = (state: State, path: string): boolean => !hidden(state, path);
  const paths = Object.keys(want).filter((path) => readable(want, path) && readable(got, path));
  const pick = (state: State): State =>
    Object.fromEntries(paths.filter((path) => path in state).map((path) => [path, state[path]]));
  return differences(pick(got), pick(want), { keys });
}

/** Whether a path or a directory above it gave an error. */
function hidden(state: State, path: string): boolean {
  if (state[path]?.err !== undefined) return true;
  if (path === '/') return false;
  return hidden(state, path.slice(0, path.lastIndexOf('/')) || '/');
}

const rows = need.oracles() ? [] : manifest();
const rowsOf = (of: (row: ManifestRow) => boolean): [string, ManifestRow][] =>
  rows.filter(of).map((row) => [row.name, row]);
let states: Map<string, KernelState>;

need.describe('images of the oracles', [need.oracles()], () => {
  beforeAll(async () => {
    states = await kernelStates();
  });

  describe.concurrent('clean: every record as the kernel shows it', () => {
    const clean = rowsOf((row) => row.class === 'clean');

    test('there are 162 of them', () => expect(clean).toHaveLength(162));

    test.each(clean)('%s', async (name) => {
      const outcome = await withImage('images', name, (path) => inspect(path));
      expect(differences(stateOf(outcome), states.get(name)!.ro!)).toEqual([]);
    });
  });

  describe.concurrent('clean, but the kernel has an error or refuses', () => {
    test.each(rowsOf((row) => row.class.startsWith('clean+')))('%s', async (name, row) => {
      const outcome = await withImage('images', name, (path) => inspect(path));
      const want = states.get(name)?.ro;
      if (row.ro.startsWith('ok')) {
        expect(readableDifferences(stateOf(outcome), want!)).toEqual([]);
      }
    });
  });

  describe.concurrent('hostile: correct data or a named error, in 5 s and 256 MiB', () => {
    const hostile = rowsOf((row) => /^(corrupt|e2fsck-error)/.test(row.class));

    test('there are 102 of them', () => expect(hostile).toHaveLength(102));

    test.each(hostile)('%s', async (name) => {
      const outcome = await withImage('images', name, (path) => inspect(path));
      const want = states.get(name)?.ro;
      if (outcome.state && want) {
        expect(readableDifferences(outcome.state, want, CONTENT)).toEqual([]);
      }
    });

    test.each(hostile)('%s, without its journal, by promises', async (name) => {
      const job: Partial<Job> = { face: 'promise', options: { noload: true } };
      const outcome = await withImage('images', name, (path) => inspect(path, job));
      const want = states.get(name)?.noload;
      if (outcome.state && want) {
        expect(readableDifferences(outcome.state, want, CONTENT)).toEqual([]);
      }
    });
  });
});

/** Of a hostile image: what is in the files; which of two links comes first depends on the directory's order. */
const CONTENT: (keyof FileState)[] = [
  't',
  'mode',
  'uid',
  'gid',
  'size',
  'rdev',
  'link',
  'sha',
  'xa',
];

describe.concurrent('small images, mounted in memory', () => {
  need.describe('with every pair of features', [need.oracles()], () => {
    const names = need.oracles() ? [] : imageNames('images-small');

    test('there are 31 of them', () => expect(names).toHaveLength(31));

    test.each(names)('%s reads as the kernel reads it, by calls and by promises', async (name) => {
      const bytes = imageBytes('images-small', `${name}.img`);
      const want = readJson<State>('images-small', `${name}.ro.json`);
      const fs = mountSync(memoryDevice(bytes), { ro: true });
      expect(differences(await dumpTree(syncFace(fs)), want)).toEqual([]);
      fs.unmountSync();
      const later = await mount(memoryDevice(bytes), { ro: true, cacheBytes: 8 << 20 });
      expect(differences(await dumpTree(promiseFace(later)), want)).toEqual([]);
      await later.unmount();
    });
  });
});

need.describe('images that need recovery', [need.oracles()], () => {
  const recover = rowsOf((row) => row.needsRecovery);
  const crashed = need.oracles() ? [] : imageNames('crash');
  const vectorOf = (folder: 'images' | 'crash', name: string): Vector | undefined =>
    vectors(folder).find((vector) => vector.name === name);

  beforeAll(async () => {
    states ??= await kernelStates();
  });

  /** Where the kernel's replay loses what a program had made durable: what gencrash wrote, punched hole included. */
  const TRUE_CONTENTS: Record<string, [path: string, sha: string]> = {
    'fast_commit_write.img': [
      '/c4',
      '656610728da4279aa8b5dd5788ff468e23f5aee13aa888cffc6cdfc7f908faa2',
    ],
  };

  /** The state that the kernel recovers, and how exactly ours must equal it. */
  function reference(folder: 'images' | 'crash', name: string): State | undefined {
    if (folder === 'images') return states.get(name)?.replay;
    const state = readJson<State>('crash', `${name.replace(/\.img$/, '')}.ref.json.gz`);
    const truth = TRUE_CONTENTS[name];
    if (truth) state[truth[0]].sha = truth[1];
    return state;
  }

  function compare(outcome: Outcome, want: State | undefined, name: string): void {
    // Where the kernel refuses it: a named error or data, which inspect has checked.
    if (want === undefined) return;
    // The kernel's own fast-commit replay leaves wrong link counts: contents only.
    const keys = name.startsWith('fast_commit') ? CONTENT : undefined;
    expect(differences(stateOf(outcome), want, { keys })).toEqual([]);
  }

  const all = [
    ...recover.map(([name]) => ['images', name] as ['images', string]),
    ...crashed.map((name) => ['crash', `${name}.img`] as ['crash', string]),
  ];

  test('there are 27 of them', () => expect(all).toHaveLength(27));

  describe.concurrent('journal: memory', () => {
    test.each(all)(
      '%s/%s shows what the kernel recovers and stays untouched',
      async (folder, name) => {
        await withImage(folder, name, async (path) => {
          const before = digest(path);
          const outcome = await inspect(path, { readOnly: false, options: { journal: 'memory' } });
          compare(outcome, reference(folder, name), name);
          expect(digest(path)).toBe(before);
        });
      },
    );
  });

  need.describe('journal: replay', [need.tool('debugfs')], () => {
    test.concurrent.each(all)(
      '%s/%s leaves the home blocks that the kernel leaves',
      async (folder, name) => {
        await withImage(folder, name, async (path, bytes) => {
          const vector = vectorOf(folder, name);
          const journal = vector ? journalBlocks(path, vector.bs) : new Set<number>();
          const outcome = await inspect(path, { readOnly: false, options: { journal: 'replay' } });
          const refused = outcome.state === undefined;
          if (!refused) compare(outcome, reference(folder, name), name);
          if (vector === undefined || name.startsWith('fast_commit')) return;
          if (name.startsWith('orphan_file'))
            vector.vec = replayedByDebugfs(bytes, vector.bs, journal);
          const changed = changedBlocks(bytes, readFileSync(path), vector.bs, journal);
          if (vector.k_rc === 'ok') expect(changed).toEqual(vector.vec);
          else expect(vector.vec).toMatchObject(changed);
        });
      },
    );

    test.concurrent.each(all)(
      '%s/%s, replayed once, reads the same without replay',
      async (folder, name) => {
        await withImage(folder, name, async (path) => {
          const first = await inspect(path, { readOnly: false, options: { journal: 'replay' } });
          if (first.state === undefined) return;
          const before = digest(path);
          const again = await inspect(path, { readOnly: true, options: { journal: 'refuse' } });
          expect(differences(stateOf(again), first.state)).toEqual([]);
          expect(digest(path)).toBe(before);
        });
      },
    );
  });

  describe('journal: refuse', () => {
    type Row = { name: string; needs_recovery: boolean };
    const rows = need.oracles() ? [] : readJson<Row[]>('crash', 'manifest.json');
    const dirty = rows.filter((row) => row.needs_recovery).map(({ name }) => name);

    test.each(dirty)('%s is refused with the journal named as the reason', (name) => {
      const device = memoryDevice(imageBytes('crash', `${name}.img`));
      expect(() => mountSync(device, { ro: true, journal: 'refuse' })).toThrow(/journal/);
    });
  });
});

/** The kernel also truncated the orphans while it was there: here replay alone is the reference. */
function replayedByDebugfs(
  bytes: Buffer,
  bs: number,
  journal: Set<number>,
): Record<string, string> {
  const path = join(dir, `${serial++}-debugfs`);
  writeSparse(path, bytes);
  execFileSync(which('debugfs'), ['-w', '-R', 'jr', path], { stdio: 'ignore' });
  return changedBlocks(bytes, readFileSync(path), bs, journal);
}

function digest(path: string): string {
  return createHash('sha1').update(readFileSync(path)).digest('hex');
}

/** Blocks of the journal's inode, data and mapping blocks. */
function journalBlocks(path: string, blockSize: number): Set<number> {
  if (blockSize > 4096) return new Set(); // not a block size: the image is junk
  const text = execFileSync(which('debugfs'), ['-R', 'blocks <8>', path], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return new Set(text.trim().split(/\s+/).map(Number));
}

/** Blocks that differ, without the superblock's and the journal's, with the vectors' digest of what is there now. */
function changedBlocks(
  before: Buffer,
  after: Buffer,
  blockSize: number,
  journal: Set<number>,
): Record<string, string> {
  const changed: Record<string, string> = {};
  const superBlock = Math.floor(1024 / blockSize);
  for (let pblk = 0; pblk * blockSize < before.length; pblk++) {
    const [from, to] = [pblk * blockSize, (pblk + 1) * blockSize];
    const block = after.subarray(from, to);
    if (pblk === superBlock || journal.has(pblk) || block.equals(before.subarray(from, to)))
      continue;
    changed[pblk] = createHash('sha1').update(block).digest('hex').slice(0, 12);
  }
  return changed;
}
