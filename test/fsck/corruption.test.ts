// Goal: after one field of a good image was changed, `fsck` says what e2fsck says; what a repair leaves passes e2fsck,
// and every file that could be read before can be read after, the same bytes. Method: seeded corruptions of images with
// metadata checksums, group checksums and none, with extents and with block maps; half of those with a checksum are
// sealed again. 60 of each in the usual run, all 1,000 when DEEP is set. A case is named by its image and number.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import type { FsckResult } from '../../ts/fsck/check.ts';
import { runFsckSync } from '../../ts/fsck/run.ts';
import { DEEP, need, which } from '../need.ts';
import { corruption } from './corrupt.ts';
import { readable } from './readable.ts';
import { makeSeeds, type Seed } from './seeds.ts';

const CASES = DEEP ? 1000 : 60;
const REPAIRS = DEEP ? 1000 : 40;
/** The least number of cases in which the repair has to do something. */
const LEAST_MENDED = Math.floor(REPAIRS / 3);

interface Verdict {
  exit: number;
  /** False when it never came to the inodes. */
  ran: boolean;
}

/** Why our verdict may be another one; '' when there is no reason. */
function reasonFor(ours: FsckResult, theirs: Verdict): string {
  const code = ours.problems.find((p) => !p.minor)?.code ?? '';
  if (code === 'extent-depth' && theirs.exit === 0)
    return 'e2fsck does not look at the depth of a node below the root; the kernel refuses it';
  if (ours.exitCode === 8 && /s_free/.test(ours.reason))
    return 'more than 2^48 free blocks: e2fsck counts again, the library refuses the superblock';
  if (ours.exitCode === 8 && theirs.exit === 12 && !theirs.ran)
    return 'e2fsck names one thing before it gives up, so that its code is 4 + 8';
  return '';
}

function classOf(exit: number): string {
  return exit === 0 ? 'clean' : exit === 8 ? 'cannot' : 'not clean';
}

need.describe('fsck and e2fsck', [need.tool('mke2fs', 'debugfs', 'e2fsck')], () => {
  let dir: string;
  let seeds: Seed[];

  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'fsck-corrupt-'));
    seeds = makeSeeds(dir);
  });

  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  /** What e2fsck says; null when it does not end within its time. */
  function e2fsck(bytes: Uint8Array): Verdict | null {
    const path = join(dir, 'case.img');
    writeFileSync(path, bytes);
    const options = { timeout: 60_000, killSignal: 'SIGKILL' as const, encoding: 'utf8' as const };
    const { status, stdout } = spawnSync(which('e2fsck'), ['-fn', path], options);
    return status === null ? null : { exit: status, ran: stdout.includes('Pass 1') };
  }

  test('the good images are clean', () => {
    const found = seeds.flatMap(({ name, bytes }) =>
      runFsckSync(memoryDevice(bytes, { readOnly: true, sparse: true })).problems.map(
        (p) => `${name}: ${p.message}`,
      ),
    );
    expect(found).toEqual([]);
  });

  test('agree on single-field corruptions', () => {
    const wrong: string[] = [];
    let unclean = 0;
    for (let n = 0; n < CASES; n++) {
      const { name, bytes } = seeds[n % seeds.length];
      const { bytes: bad, text } = corruption(bytes, n);
      const theirs = e2fsck(bad);
      if (theirs === null) continue;
      const ours = runFsckSync(memoryDevice(bad, { readOnly: true, sparse: true }));
      if (ours.exitCode !== 0) unclean++;
      if (classOf(ours.exitCode) === classOf(theirs.exit) || reasonFor(ours, theirs)) continue;
      const first = ours.problems[0]?.message ?? ours.reason;
      wrong.push(`${name} ${n}: ${text}: e2fsck ${theirs.exit}, fsck ${ours.exitCode} ${first}`);
    }
    expect(wrong).toEqual([]);
    expect(unclean).toBeGreaterThan(CASES / 3);
  }, 600_000);

  test('a repaired image passes e2fsck, and what could be read still can', async () => {
    const wrong: string[] = [];
    let mended = 0;
    for (let n = 0; n < REPAIRS; n++) {
      const { name, bytes } = seeds[n % seeds.length];
      const { bytes: bad, text } = corruption(bytes, 50_000 + n);
      const device = memoryDevice(bad.slice(), { sparse: true });
      const before = readable(bad);
      const ours = runFsckSync(device, { repair: true });
      if (ours.exitCode === 0 || ours.exitCode === 8) continue;
      const after = new Uint8Array(bad.length);
      device.readSync(after, 0);
      const theirs = e2fsck(after);
      const where = `${name} ${50_000 + n}: ${text}`;
      if (ours.exitCode !== 1 || theirs?.exit !== 0)
        wrong.push(`${where}: fsck ${ours.exitCode}, then e2fsck ${theirs?.exit}`);
      mended++;
      const now = readable(after);
      for (const [path, hash] of before) {
        if (now.get(path) !== hash)
          wrong.push(`${where}: ${path} was ${hash}, is ${now.get(path)}`);
      }
    }
    expect(wrong).toEqual([]);
    expect(mended).toBeGreaterThan(LEAST_MENDED);
  }, 900_000);

  test('a repair that is cut off anywhere is finished by the next one', () => {
    const { bytes } = seeds[0];
    const wrong: string[] = [];
    for (const n of [3, 8, 13, 18, 23]) {
      const { bytes: bad, text } = corruption(bytes, 90_000 + n);
      for (let writes = 0; writes < 12; writes++) {
        const device = cutting(bad.slice(), writes);
        try {
          runFsckSync(device, { repair: true });
        } catch (error) {
          if ((error as Error).message !== 'cut') throw error;
        }
        const left = new Uint8Array(bad.length);
        device.readSync(left, 0);
        const again = memoryDevice(left, { sparse: true });
        const { exitCode } = runFsckSync(again, { repair: true });
        if (exitCode > 1 && exitCode !== 8)
          wrong.push(`${n} ${text}: cut at ${writes}: ${exitCode}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test('the two corruptions of one number are the same', () => {
    const [{ bytes }] = seeds;
    const [one, two] = [corruption(bytes, 7), corruption(bytes, 7)];
    expect(one.text).toBe(two.text);
    expect(Buffer.compare(one.bytes, two.bytes)).toBe(0);
    expect(Buffer.compare(one.bytes, bytes)).not.toBe(0);
    expect(readFileSync(join(dir, 'csum.img')).length).toBe(bytes.length);
  });
});

/** A device that takes so many writes and then fails. */
function cutting(bytes: Uint8Array, writes: number) {
  const device = memoryDevice(bytes, { sparse: true });
  let left = writes;
  const write = device.writeSync.bind(device);
  device.writeSync = (from, dpos) => {
    if (left-- <= 0) throw new Error('cut');
    write(from, dpos);
  };
  return device;
}
