// Goal: quota files are counted as e2fsck counts them, and a repair leaves what e2fsck finds clean, with its limits.
// Method: images with many owners made by debugfs and settled by e2fsck; then seeded changes of single words of their
// quota files. SEED chooses.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import type { FsckResult } from '../../ts/fsck/check.ts';
import { runFsckSync } from '../../ts/fsck/run.ts';
import { type Random, random } from '../fuzz/random.ts';
import { DEEP, need, which } from '../need.ts';

const SEED = Number(process.env.SEED ?? 1);
const CASES = DEEP ? 500 : 12;
const OWNERS = 40;
/** Block size, features. */
const KINDS: [number, string][] = [
  [1024, 'quota,project,ea_inode,orphan_file'],
  [4096, 'quota,project,^metadata_csum'],
  [1024, 'quota,^extent,^64bit,^metadata_csum'],
];
const TYPES = ['user', 'group', 'project'];
const IMAGE = 24 << 20;
const KIB = 1024;

interface Made {
  bytes: Uint8Array;
  /** Positions of the 1 KiB blocks of all quota files. */
  blocks: number[];
}

need.describe('quota files', [need.tool('mke2fs', 'debugfs', 'e2fsck')], () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'fsck-quota-'));
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  const image = () => join(dir, 'image');
  const debugfs = (request: string) =>
    execFileSync(which('debugfs'), ['-R', request, image()], { stdio: 'pipe', encoding: 'utf8' });

  function e2fsck(bytes: Uint8Array): number | null {
    writeFileSync(image(), bytes);
    return spawnSync(which('e2fsck'), ['-fn', image()], { timeout: 60_000 }).status;
  }

  /** Files of many owners, some with projects and values in inodes of their own; all counted by e2fsck. */
  function make([blockSize, features]: [number, string]): Made {
    writeFileSync(image(), new Uint8Array(IMAGE));
    const args = ['-q', '-F', '-t', 'ext4', '-I', '256', '-b', `${blockSize}`, '-O', features];
    const types = features.includes('project') ? 'usrquota:grpquota:prjquota' : 'usrquota:grpquota';
    execFileSync(which('mke2fs'), [...args, '-E', `quotatype=${types}`, image()]);
    const data = join(dir, 'data');
    writeFileSync(data, new Uint8Array(9000).fill(7));
    const requests: string[] = [];
    for (let i = 0; i < OWNERS; i++) {
      const owner = i % 2 === 0 ? i : 65_000 * i;
      requests.push(
        `write ${data} f${i}`,
        `sif f${i} uid ${owner}`,
        `sif f${i} gid ${owner % 1000}`,
      );
      if (features.includes('project')) requests.push(`sif f${i} projid ${i % 7}`);
      if (features.includes('ea_inode') && i % 5 === 0)
        requests.push(`ea_set -f ${data} f${i} user.big`);
    }
    const list = join(dir, 'requests');
    writeFileSync(list, `${requests.join('\n')}\n`);
    execFileSync(which('debugfs'), ['-w', '-f', list, image()], { stdio: 'pipe' });
    const first = spawnSync(which('e2fsck'), ['-fy', image()]).status;
    expect(first, 'e2fsck counts').toBe(1);
    const inodes = debugfs('stats').matchAll(/quota inode:\s+(\d+)/g);
    const blocks = [...inodes].flatMap(([, ino]) => blocksOf(Number(ino), blockSize));
    return { bytes: new Uint8Array(readFileSync(image())), blocks };
  }

  function blocksOf(ino: number, blockSize: number): number[] {
    const numbers = debugfs(`blocks <${ino}>`).trim().split(/\s+/).map(Number);
    const per = blockSize / KIB;
    return numbers.flatMap((n) => Array.from({ length: per }, (_, i) => n * blockSize + i * KIB));
  }

  const check = (bytes: Uint8Array): FsckResult => runFsckSync(memoryDevice(bytes.slice()));

  /** The image afterwards. */
  function repair(bytes: Uint8Array): Uint8Array {
    const device = memoryDevice(bytes.slice());
    const after = new Uint8Array(bytes.length);
    const { exitCode, problems } = runFsckSync(device, { repair: true });
    expect([0, 1], problems.at(-1)?.message).toContain(exitCode);
    device.readSync(after, 0);
    return after;
  }

  test.each(KINDS)('blocks of %i bytes, %s', { timeout: 300_000 }, (blockSize, features) => {
    const made = make([blockSize, features]);
    expect(check(made.bytes)).toMatchObject({ exitCode: 0, problems: [] });
    let wrong = 0;
    for (let i = 0; i < CASES; i++) {
      const where = `seed ${SEED}, case ${i}`;
      const bytes = spoil(made, random(SEED * 1000 + i));
      const theirs = e2fsck(bytes);
      const ours = check(bytes);
      // e2fsck passes over a file that has lost its magic number; the kernel does not mount it.
      if (theirs === 0 && ours.problems.some((p) => p.message.endsWith('no header'))) continue;
      expect(ours.exitCode, where).toBe(theirs);
      if (theirs !== 0) wrong++;
      expect(e2fsck(repair(bytes)), `${where}, mended`).toBe(0);
    }
    expect(wrong, 'cases that matter').toBeGreaterThan(CASES / 5);
  });

  test('limits stay when the use was wrong', () => {
    const made = make(KINDS[0]);
    const { bytes } = made;
    const dv = new DataView(bytes.buffer);
    const id = 6;
    const at = recordOf(dv, made.blocks, id);
    dv.setBigUint64(at + 8, 1000n, true); // inodes, hard limit
    dv.setBigUint64(at + 32, 1_000_000n, true); // space, hard limit
    expect(e2fsck(bytes)).toBe(0);
    expect(check(bytes).exitCode).toBe(0);
    dv.setBigUint64(at + 24, 999n, true);
    expect(e2fsck(bytes)).toBe(4);
    expect(check(bytes)).toMatchObject({ exitCode: 4, problems: [{ code: 'quota-usage' }] });
    writeFileSync(image(), repair(bytes));
    const line = debugfs(`list_quota ${TYPES[0]}`)
      .split('\n')
      .find((l) => l.trim().startsWith('6 '));
    expect(line?.trim().split(/\s+/)).toEqual(['6', '9216', '0', '1000000', '1', '0', '1000']);
  });
});

/** Position of the first record of an id. */
function recordOf(dv: DataView, blocks: number[], id: number): number {
  for (const block of blocks) {
    for (let at = block + 16; at + 72 <= block + KIB; at += 72) {
      const found = dv.getUint32(at, true) === id && dv.getBigUint64(at + 24, true) === 1n;
      if (found) return at;
    }
  }
  throw new Error(`no record of ${id}`);
}

/** One word of a quota file set to something, near what is there. */
function spoil({ bytes, blocks }: Made, r: Random): Uint8Array {
  const out = bytes.slice();
  const dv = new DataView(out.buffer);
  const used = blocks.filter((at) => out.subarray(at, at + KIB).some((byte) => byte !== 0));
  const block = r.pick(used);
  const words = Array.from({ length: KIB / 4 }, (_, i) => block + i * 4);
  const nonzero = words.filter((at) => dv.getUint32(at, true) !== 0);
  const at = r.pick(r.chance(0.8) ? nonzero : words);
  const old = dv.getUint32(at, true);
  dv.setUint32(at, r.pick([0, old + 1, old ^ (1 << r.int(31)), r.u32(), 1, 2]) >>> 0, true);
  return out;
}
