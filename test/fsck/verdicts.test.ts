// Goal: `fsck` says of an image what e2fsck says: clean, not clean, cannot be checked. Method: every image of the
// oracles, whose list gives e2fsck's exit code of a read-only check; where the two differ, the reason stands here.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import type { FsckResult } from '../../ts/fsck/check.ts';
import { runFsckSync } from '../../ts/fsck/run.ts';
import { need, ORACLES } from '../need.ts';
import { imageBytes, imageNames } from '../oracle/images.ts';

/** Where our verdict is another, and why. */
const DIFFERENCES: Record<string, string> = {
  'cap_f_desc_size_bad.1.img':
    'descriptors of 129 bytes: e2fsck goes on, the kernel refuses it, and so do we',
  'f_h_badroot.img': 'e2fsck 1.47 crashes in the middle of pass 2 (exit 8); four indexes are bad',
};

/** Images on which e2fsck never ends. */
const HANGS = new Set(['hang']);

type Verdict = 'clean' | 'not clean' | 'cannot';

function verdictOf(exit: number): Verdict {
  if (exit === 0) return 'clean';
  return exit === 8 ? 'cannot' : 'not clean';
}

function check(folder: string, name: string): FsckResult {
  const bytes = imageBytes(folder, name);
  const whole = new Uint8Array(Math.ceil(bytes.length / 512) * 512);
  whole.set(bytes);
  return runFsckSync(memoryDevice(whole, { sparse: true, readOnly: true }));
}

function exits(): Map<string, string> {
  const text = readFileSync(join(ORACLES, 'images/manifest.tsv'), 'utf8').trim();
  const [head, ...rows] = text.split('\n').map((row) => row.split('\t'));
  const column = head.indexOf('e2fsck_fn_1.47.4');
  return new Map(rows.map((row) => [row[0], row[column]]));
}

need.describe('fsck -n', [need.oracles()], () => {
  test('gives e2fsck’s verdict on every captured, odd and corrupt image', () => {
    const wrong: string[] = [];
    let same = 0;
    for (const [name, exit] of exits()) {
      if (HANGS.has(exit)) continue;
      const ours = check('images', name);
      const agrees = verdictOf(ours.exitCode) === verdictOf(Number(exit));
      if (agrees) same++;
      if (agrees !== name in DIFFERENCES) continue;
      const first = ours.problems[0]?.message ?? ours.reason;
      wrong.push(`${name}: e2fsck ${exit}, fsck ${ours.exitCode} ${first}`);
    }
    expect(wrong).toEqual([]);
    expect(same).toBeGreaterThan(250);
  }, 240_000);

  test('finds nothing wrong with any image of the feature matrix', () => {
    const names = imageNames('images-small');
    const wrong = names.flatMap((name) =>
      check('images-small', `${name}.img`).problems.map((p) => `${name}: ${p.code} ${p.message}`),
    );
    expect(wrong).toEqual([]);
    expect(names.length).toBeGreaterThan(20);
  }, 120_000);
});
