// Goal: the cache never has more than cacheBytes, also on file systems of 15 TiB (a sparse file: the host's ext4 allows
// no longer one) and 16 TiB (a sparse memory device), and the process keeps nothing else that grows with the device.
// Method: mke2fs makes them; a process of its own mounts each, reads all descriptors (8 MiB) and 24 MiB of files
// through a cache of 6 MiB, and reports what was resident.

import { execFileSync, fork } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { need, which } from '../need.ts';
import { bundle } from '../oracle/child-process.ts';
import type { Job, Report } from './child.ts';

const MIB = 1 << 20;
const TIB = 2 ** 40;
const CACHE = 6 * MIB;
/** What the JavaScript heap, compiled code and the tables beside the cache may add to it. */
const AROUND = 48 * MIB;
const LARGE = 24 * MIB;
const SMALL = 200;

/** A tree with one large file and many small ones; every eighth byte says where it lies. */
function makeTree(dir: string): string {
  const tree = join(dir, 'root/tree');
  fs.mkdirSync(tree, { recursive: true });
  const bytes = Buffer.alloc(LARGE);
  for (let at = 0; at < LARGE; at += 8) bytes.writeUInt32LE(at, at);
  fs.writeFileSync(join(tree, 'large'), bytes);
  for (let i = 0; i < SMALL; i++)
    fs.writeFileSync(join(tree, `small-${i}`), bytes.subarray(0, 800));
  return join(dir, 'root');
}

function makeImage(path: string, size: number, root: string, options: string[] = []): string {
  fs.writeFileSync(path, '');
  fs.truncateSync(path, size);
  const lazy = ['-E', 'lazy_itable_init=1,lazy_journal_init=1,nodiscard'];
  const args = ['-qF', '-t', 'ext4', '-b', '4096', ...options, ...lazy, '-d', root, path];
  execFileSync(which('mke2fs'), args, { stdio: 'ignore' });
  return path;
}

const RANGES = `
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
end = 0
try:
    while True:
        start = os.lseek(fd, end, os.SEEK_DATA)
        end = os.lseek(fd, start, os.SEEK_HOLE)
        print(start, end)
except OSError:
    pass
`;

/** Where a sparse file has data. */
function rangesOf(path: string): [number, number][] {
  const text = execFileSync(which('python3'), ['-c', RANGES, path], { encoding: 'utf8' });
  return text
    .trim()
    .split('\n')
    .map((line) => line.split(' ').map(Number) as [number, number]);
}

async function runChild(job: Job): Promise<Report> {
  const script = await bundle('test/memory/child.ts');
  return new Promise((resolve, reject) => {
    const child = fork(script, {
      execArgv: ['--expose-gc'],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    let stderr = '';
    child.stderr!.on('data', (text) => (stderr += text));
    child.on('message', (report) => {
      resolve(report as Report);
      child.kill('SIGKILL');
    });
    child.on('exit', (code) => reject(new Error(`the process ended with ${code}\n${stderr}`)));
    child.send(job);
  });
}

function expectWithin(report: Report, cacheBytes: number): void {
  expect(report.memory).toBeLessThanOrEqual(cacheBytes);
  expect(report.used).toBeLessThanOrEqual(cacheBytes);
  expect(report.evictions, 'more was read than the cache holds').toBeGreaterThan(0);
  expect(report.growth).toBeLessThanOrEqual(cacheBytes + AROUND);
  expect(report.pins).toBe(0);
  expect(report.files).toBe(SMALL + 1);
  expect(report.right).toBe(LARGE + SMALL * 800);
}

need.describe('memory of a mount', [need.tool('mke2fs', 'python3')], () => {
  const dir = fs.mkdtempSync(join(tmpdir(), 'ext4-memory-'));
  let huge: string;
  let small: string;
  beforeAll(() => {
    const root = makeTree(dir);
    huge = makeImage(join(dir, '15t'), 15 * TIB, root);
    small = makeImage(join(dir, '256m'), 256 * MIB, root);
  });
  afterAll(() => fs.rmSync(dir, { recursive: true }));

  describe.each([true, false])('shared %s', (shared) => {
    const options = { cacheBytes: CACHE, shared };

    test('15 TiB in a sparse file are read within cacheBytes', async () => {
      const report = await runChild({ image: huge, options });
      expectWithin(report, CACHE);
      expect(report.blocks).toBeGreaterThan((14 * TIB) / 4096);
    }, 120_000);

    test('a cache of any number of bytes stays within it', async () => {
      const odd = { cacheBytes: CACHE + 65535, shared };
      expectWithin(await runChild({ image: small, options: odd }), CACHE + 65535);
    }, 60_000);
  });
});

need.describe('memory of 16 TiB', [need.root(), need.tool('mke2fs', 'python3', 'mount')], () => {
  const dir = fs.mkdtempSync(join(tmpdir(), 'ext4-memory-'));
  const tmpfs = join(dir, 'tmpfs');
  beforeAll(() => {
    fs.mkdirSync(tmpfs);
    execFileSync(which('mount'), ['-t', 'tmpfs', '-o', 'size=1G', 'ext4-memory', tmpfs]);
  });
  afterAll(() => {
    execFileSync(which('umount'), [tmpfs]);
    fs.rmSync(dir, { recursive: true });
  });

  test('a sparse memory device of 16 TiB is read within cacheBytes', async () => {
    const root = makeTree(dir);
    const image = makeImage(join(tmpfs, '16t'), 16 * TIB, root, ['-O', 'sparse_super2']);
    const options = { cacheBytes: CACHE, shared: true };
    const report = await runChild({ image, ranges: rangesOf(image), options });
    expectWithin(report, CACHE);
    expect(report.blocks).toBeGreaterThan((15 * TIB) / 4096);
  }, 120_000);
});
