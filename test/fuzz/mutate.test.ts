// Goal: no image, however broken, gives anything but data or an Ext4Error with code and detail: no trap, no hang, no
// request outside the device, no over-use. Method: small images are mutated field by field from a printed seed, most
// with their checksums made right again, mounted every way and walked whole in a watched process.
// FUZZ_SEED repeats a run, FUZZ_SECONDS sets its length.

import { fork } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, describe, expect, test } from 'vitest';
import { DEEP, need, ORACLES } from '../need.ts';
import { bundle } from '../oracle/child-process.ts';
import { imageNames, manifest } from '../oracle/images.ts';
import { mke2fs, run } from '../oracle/make.ts';
import type { Failure, Plan, Recipe, Report } from './child.ts';
import { Layout } from './layout.ts';
import { REGRESSIONS } from './regressions.ts';

const SECONDS = Number(process.env.FUZZ_SECONDS ?? (DEEP ? 120 : 20));
const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 1_000_000_000);
const STUCK_MS = 15_000;

const dir = mkdtempSync(join(tmpdir(), 'fuzz-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const oracle = (folder: string, name: string): { name: string; path: string } => ({
  name,
  path: join(ORACLES, folder, `${name}.gz`),
});

/** Seed images: the small ones several times, all others of at most 4 MiB, and journals that need recovery. */
function seedImages(): Plan['images'] {
  const small = imageNames('images-small').map((name) => oracle('images-small', `${name}.img`));
  const others = manifest()
    .filter(({ size }) => size <= 4 << 20)
    .map(({ name }) => oracle('images', name));
  const journals = ['ordered_1k', 'fast_commit_1k', 'revoke_indirect'].map((name) =>
    oracle('crash', `${name}.img`),
  );
  return [...small, ...small, ...others, ...journals, ...journals, ...journals];
}

/** Images made here: indexed directories, inline data with large xattrs, and block maps. */
function madeImages(): Plan['images'] {
  made ??= makeImages();
  return made;
}

let made: Plan['images'] | undefined;

function makeImages(): Plan['images'] {
  const source = join(dir, 'source');
  run('mkdir', [source]);
  run('python3', [join(import.meta.dirname, '../oracle/tree.py'), source]);
  const recipes: Record<string, string> = {
    htree: '-t ext4 -b 1024 -O metadata_csum,64bit -N 2048 -J size=1',
    inline: '-t ext4 -b 1024 -I 512 -O inline_data,ea_inode,^metadata_csum -N 2048 -J size=1',
    blockmap: '-t ext3 -b 1024 -I 128 -O dir_index -N 2048 -J size=1',
  };
  return Object.entries(recipes).map(([name, options]) => {
    const path = join(dir, `${name}.img`);
    mke2fs(path, '8M', `${options} -d ${source}`);
    run('e2fsck', ['-fyD', path], [0, 1]);
    return { name, path };
  });
}

/** Runs a plan in a process of its own; where that dies or hangs, the case under way becomes the failure. */
async function runPlan(plan: Omit<Plan, 'watch'>): Promise<Report & { next: number }> {
  const script = await bundle('test/fuzz/child.ts');
  const file = join(dir, `case-${plan.from}`);
  const fd = openSync(file, 'w+');
  return new Promise((done) => {
    const child = fork(script, {
      execArgv: ['--expose-gc', '--max-old-space-size=512'],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc', fd],
    });
    let report: Report | undefined;
    let stderr = '';
    const guard = watchdog(file, () => child.kill('SIGKILL'));
    child.stderr!.on('data', (text) => (stderr = (stderr + text).slice(-3000)));
    child.on('message', (message) => {
      report = message as Report;
      child.kill('SIGKILL');
    });
    child.on('exit', (code, signal) => {
      clearInterval(guard);
      closeSync(fd);
      const last = caseOf(file);
      if (report) return done({ ...report, next: last.n + 1 });
      const reason = `hung for ${STUCK_MS} ms or died with ${signal ?? code}\n${stderr}`;
      done({
        cases: 1,
        refused: 0,
        damaged: 0,
        whole: 0,
        failures: [{ ...last, reason }],
        next: last.n + 1,
      });
    });
    child.send({ ...plan, watch: 4 });
  });
}

function caseOf(file: string): Recipe & { n: number } {
  const text = readFileSync(file, 'utf8').split('\n')[0];
  return text === '' ? { n: 0, image: '', patches: [] } : JSON.parse(text);
}

/** Calls `kill` when the same case has been under way for too long. */
function watchdog(file: string, kill: () => void): NodeJS.Timeout {
  let last = -1;
  let since = Date.now();
  return setInterval(() => {
    const { n } = caseOf(file);
    if (n !== last) [last, since] = [n, Date.now()];
    else if (Date.now() - since > STUCK_MS) kill();
  }, 500);
}

function recipeText({ n, reason, ...recipe }: Failure): string {
  const cause = reason.split('\n').slice(0, 5).join('\n');
  return `case ${n} of seed ${SEED}: ${cause}\n  ${JSON.stringify(recipe)}`;
}

need.describe('mutated images', [need.oracles(), need.tool('mke2fs', 'e2fsck', 'python3')], () => {
  const names = Object.keys(REGRESSIONS);

  test('have checksums that are made right: of a good image nothing changes', () => {
    const kinds = new Set<string>();
    const wrong: string[] = [];
    for (const { name, path } of [...madeImages(), oracle('crash', 'ordered_1k.img')]) {
      const raw = readFileSync(path);
      const good = raw[0] === 0x1f ? gunzipSync(raw) : raw;
      const bytes = new Uint8Array(good);
      for (const { kind, pos, len, fix } of new Layout(bytes).regions) {
        if (fix === undefined) continue;
        const [region, whole] = [bytes.subarray(pos, pos + len), good.subarray(pos, pos + len)];
        region[len >> 2] ^= 1;
        fix();
        const changed = region.reduce((sum, byte, i) => sum + (byte === whole[i] ? 0 : 1), 0);
        if (changed > 1) kinds.add(kind);
        region[len >> 2] ^= 1;
        fix();
        if (!whole.equals(region)) wrong.push(`${name}: ${kind} at ${pos}`);
        region.set(whole);
      }
    }
    expect(wrong).toEqual([]);
    const all = [
      'super',
      'group',
      'inode',
      'directory',
      'htree',
      'extent',
      'journal',
      'journal super',
      'xattr',
    ];
    expect(all.filter((kind) => !kinds.has(kind))).toEqual([]);
  });

  describe('that once broke something', () => {
    test.each(names)('%s', async (name) => {
      const plan = { images: seedImages(), seed: 0, from: 0, milliseconds: 0 };
      const { failures } = await runPlan({ ...plan, recipes: [REGRESSIONS[name]] });
      expect(failures.map(recipeText)).toEqual([]);
    });
  });

  test(
    `give data or a named error for ${SECONDS} s from seed ${SEED}`,
    async () => {
      console.log(`fuzz: FUZZ_SEED=${SEED} FUZZ_SECONDS=${SECONDS}`);
      const images = [...seedImages(), ...madeImages()];
      const failures: Failure[] = [];
      const total = { cases: 0, refused: 0, damaged: 0, whole: 0 };
      const end = Date.now() + SECONDS * 1000;
      for (let from = 0; Date.now() < end && failures.length < 10; ) {
        const report = await runPlan({ images, seed: SEED, from, milliseconds: end - Date.now() });
        for (const key of Object.keys(total) as (keyof typeof total)[]) total[key] += report[key];
        failures.push(...report.failures);
        from = report.next;
      }
      console.log(`fuzz: ${JSON.stringify(total)}`);
      for (const failure of failures) console.error(recipeText(failure));
      expect(failures.length).toBe(0);
      expect(total.cases).toBeGreaterThan(SECONDS);
      expect(Math.min(total.refused, total.damaged, total.whole)).toBeGreaterThan(0);
    },
    SECONDS * 1000 + 120_000,
  );
});
