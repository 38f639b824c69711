// Goal: a damaged log is refused, cut short or replayed exactly where the kernel does so. Method: each kind of damage
// on each kind of checksum; first against what is recorded of the kernel (6.18), then, as root, against the kernel at
// hand: same verdict, same home blocks, same journal superblock. A refused log must leave the image untouched.

import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { JS_CHECKSUM, JS_FEATURE_COMPAT, JS_FEATURE_INCOMPAT } from '../../assembly/format/jbd2.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import { Ext4Error } from '../../ts/errno.ts';
import { finishRecovery, type Recovery, readLog, writeHome } from '../../ts/jbd2/recovery.ts';
import { DEEP, need, ORACLES } from '../need.ts';
import { CASES, type Case, Damage } from './damage.ts';
import { onFile } from './debugfs.ts';
import { contents, type Image, run, same, sourceOf } from './image.ts';

interface Result {
  recovery?: Recovery;
  error?: Ext4Error;
  after: Uint8Array;
}

function recover({ image }: Damage): Result {
  const device = memoryDevice(image.bytes);
  const source = sourceOf(image, device);
  try {
    const recovery = run(readLog(source));
    run(writeHome(source, recovery));
    run(finishRecovery(source, recovery));
    return { recovery, after: contents(device) };
  } catch (error) {
    if (!(error instanceof Ext4Error)) throw error;
    return { error, after: contents(device) };
  }
}

need.describe('damaged logs', [need.oracles()], () => {
  for (const { image, what, damage, outcome } of CASES) {
    test(`${image}: ${what} damaged gives ${outcome}`, () => {
      const damaged = damage(new Damage(image));
      const { recovery, error, after } = recover(damaged);
      expect(error?.code ?? recovery?.transactions).toBe(outcome);
      if (error) expect(same(after, damaged.image.bytes)).toBe(true);
    });
  }
});

/** Mounts read-only on a writable loop device, unmounts: prints ok or the errno's name. */
const MOUNT = `
import sys, errno; sys.path.insert(0, sys.argv[1]); import loopmnt
try:
    o = 'errors=continue'
    with loopmnt.Mounted(sys.argv[2], sys.argv[3], ro=True, devro=False, opts=o): print('ok')
except OSError as e: print(errno.errorcode[e.errno])
`;

function kernelReplay(bytes: Uint8Array): { verdict: string; after: Uint8Array } {
  let verdict = '';
  const after = onFile(bytes, (path, dir) => {
    const argv = ['-c', MOUNT, join(ORACLES, 'tools'), path, join(dir, 'mnt')];
    verdict = execFileSync('python3', argv, { encoding: 'utf8' }).trim();
  });
  return { verdict, after };
}

/** Blocks that differ, without the file system's superblock, which is not jbd2's. */
function differing(a: Uint8Array, b: Uint8Array, blockSize: number): number[] {
  const list: number[] = [];
  for (let at = 0; at < a.length; at += blockSize) {
    const kept = same(a.subarray(at, at + blockSize), b.subarray(at, at + blockSize));
    if (!kept && at > 1024) list.push(at / blockSize);
  }
  return list;
}

/** Mount options decide which features the kernel leaves in a journal: not compared, nor the sum over them. */
function maskFeatures({ journal, blockSize }: Image, bytes: Uint8Array): void {
  const at = journal[0] * blockSize;
  for (const off of [JS_FEATURE_COMPAT, JS_FEATURE_INCOMPAT, JS_CHECKSUM]) {
    bytes.set([0, 0, 0, 0], at + off);
  }
}

function checkAgainstKernel({ image, damage }: Case): void {
  const damaged = damage(new Damage(image));
  const kernel = kernelReplay(damaged.image.bytes);
  const { error, after } = recover(damaged);
  expect(error ? 'refused' : 'ok').toBe(kernel.verdict === 'ok' ? 'ok' : 'refused');
  if (error) return;
  if (/csum1|async/.test(image)) {
    for (const bytes of [after, kernel.after]) maskFeatures(damaged.image, bytes);
  }
  expect(differing(after, kernel.after, damaged.image.blockSize)).toEqual([]);
}

need.describe('damaged logs against this kernel', [need.oracles(), need.loop()], () => {
  for (const c of DEEP ? CASES : CASES.filter((_, i) => i % 3 === 0)) {
    test(`${c.image}: ${c.what} damaged fares as with the kernel`, () => checkAgainstKernel(c));
  }
});
