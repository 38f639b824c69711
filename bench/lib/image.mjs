// The images that the benchmarks work on, made by e2fsprogs in a folder of their own, which goes when the process
// does. EXT4_BENCH_DIR says where, else the system's temporary folder. Nothing is kept between runs.

import { execFileSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;
export const TIB = 1024 * GIB;

let folder = '';

/** The folder of this run. */
export function benchDir() {
  if (folder === '') {
    folder = fs.mkdtempSync(join(process.env.EXT4_BENCH_DIR ?? tmpdir(), 'ext4-bench-'));
    onExit(() => fs.rmSync(folder, { recursive: true, force: true }));
  }
  return folder;
}

const last = [];

/** Calls `fn` when the process ends, also when it is interrupted; what was asked for last comes first. */
export function onExit(fn) {
  if (last.length === 0) {
    process.on('exit', () => {
      for (const one of last.splice(0).reverse()) one();
    });
    for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(130));
  }
  last.push(fn);
}

/** Runs a tool of e2fsprogs or util-linux, which lie in /sbin for root only. An error carries what it said. */
export function tool(name, args, okay = [0]) {
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
  try {
    return execFileSync(name, args, { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    if (okay.includes(error.status)) return error.stdout;
    if (error.code === 'ENOENT') throw new Error(`not run: install ${name}`);
    throw new Error(`${name}: ${error.stderr}`);
  }
}

/** True when a tool can be started. */
export function hasTool(name) {
  const dirs = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin'];
  return dirs.some((dir) => fs.existsSync(join(dir, name)));
}

export const FILES = 10_000;
export const SEQUENTIAL = 256 * MIB;
export const RANDOM = 16 * MIB;
export const fileName = (i) => `/many/file-${String(i).padStart(5, '0')}`;

/** An image of 4 KiB blocks with /sequential of 256 MiB and /random of 16 MiB, no two blocks alike, and 10,000 files of
 *  1,000 bytes in the indexed directory /many. Resolves to its path; the host has all of it in its cache. */
export function readImage() {
  const tree = join(benchDir(), 'tree');
  const path = join(benchDir(), 'read.img');
  fs.mkdirSync(join(tree, 'many'), { recursive: true });
  writeNoise(join(tree, 'sequential'), SEQUENTIAL);
  writeNoise(join(tree, 'random'), RANDOM);
  for (let i = 0; i < FILES; i++) {
    fs.writeFileSync(join(tree, fileName(i)), Buffer.alloc(1000, i % 251));
  }
  tool('mke2fs', ['-q', '-F', '-t', 'ext4', '-b', '4096', '-d', tree, path, '448M']);
  tool('e2fsck', ['-fyD', path], [0, 1]);
  fs.rmSync(tree, { recursive: true });
  warm(path);
  return path;
}

function writeNoise(path, len) {
  const part = Buffer.alloc(MIB);
  const fd = fs.openSync(path, 'w');
  for (let pos = 0; pos < len; pos += MIB) fs.writeSync(fd, randomFillSync(part), 0, MIB, pos);
  fs.closeSync(fd);
}

/** Writes a file home, so that no write-back disturbs, and reads it, so that no disk does. */
export function warm(path) {
  const fd = fs.openSync(path, 'r+');
  fs.fsyncSync(fd);
  const part = Buffer.alloc(MIB);
  for (let pos = 0; fs.readSync(fd, part, 0, MIB, pos) > 0; ) pos += MIB;
  fs.closeSync(fd);
}

/** A sparse file of `size` bytes with an empty ext4 in it, as mke2fs makes it for later initialisation. */
export function sparseImage(name, size, dir = benchDir(), options = []) {
  const path = join(dir, name);
  fs.writeFileSync(path, '');
  fs.truncateSync(path, size);
  const lazy = 'lazy_itable_init=1,lazy_journal_init=1,nodiscard';
  tool('mke2fs', ['-q', '-F', '-t', 'ext4', '-b', '4096', ...options, '-E', lazy, path]);
  return path;
}
