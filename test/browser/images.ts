// The images that the browser reads, made by mke2fs from a tree made here, and the manifest of what each must read as:
// what lstat and SHA-256 say of that tree. Names are bytes in hexadecimal, so that JSON carries every name.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { which } from '../need.ts';
import type { Entry, Manifest, Manifests } from './page/manifest.ts';

const TIME = 1_700_000_000;
const BIG = 24 << 20;
const SECTOR = 512;
const SMALL = { start: 2048 * SECTOR, size: 4 << 20 };

function run(tool: string, args: string[], okay = [0]): string {
  try {
    return execFileSync(which(tool), args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    const { status, stdout, stderr } = error as { status: number; stdout: string; stderr: string };
    if (okay.includes(status)) return stdout;
    throw new Error(`${tool} ${args.join(' ')}: ${status}\n${stdout}${stderr}`);
  }
}

/** Bytes that repeat nowhere near, the same in every run (xorshift32). */
function noise(len: number, seed: number): Uint8Array {
  const words = new Uint32Array(len / 4);
  let x = seed;
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    words[i] = x ^= x << 5;
  }
  return new Uint8Array(words.buffer);
}

/** Every kind of name and file that an unprivileged mke2fs -d carries over. */
function fillTree(root: string): void {
  const put = (path: string, contents: string | Uint8Array) => {
    mkdirSync(join(root, path, '..'), { recursive: true });
    writeFileSync(join(root, path), contents);
  };
  put('README.txt', 'ext4 in the browser: Grüße, 日本語, 🐧\n'.repeat(3));
  put('empty', '');
  put('tiny', 'lies in its inode');
  put('big.bin', noise(BIG, 1));
  put('docs/deep/a/b/c/d/leaf.txt', 'leaf\n');
  put('docs/bom.txt', '\ufeffwith a byte order mark');
  put('docs/utf16.txt', Buffer.from('UTF-16 ∑', 'utf16le'));
  put('docs/lines.txt.gz', gzipSync('one\ntwo\nthree\n'.repeat(5000)));
  put('names/Größe 日本語 🐧.txt', 'unicode');
  put(`names/${'n'.repeat(255)}`, 'longest');
  put('names/with "quotes" & <tags>', 'markup');
  writeFileSync(Buffer.concat([Buffer.from(join(root, 'names/')), Buffer.from([0xff, 0x80])]), '?');
  for (let i = 0; i < 700; i++) put(`many/file-${String(i).padStart(4, '0')}`, `number ${i}\n`);
  linkSync(join(root, 'README.txt'), join(root, 'docs/hard link'));
  mkdirSync(join(root, 'links'));
  symlinkSync('../README.txt', join(root, 'links/relative'));
  symlinkSync('/docs/deep', join(root, 'links/absolute directory'));
  symlinkSync('nowhere', join(root, 'links/dangling'));
  symlinkSync(`../${'./'.repeat(60)}README.txt`, join(root, 'links/long'));
  execFileSync('mkfifo', [join(root, 'fifo')]);
  fillSparse(join(root, 'sparse.bin'));
}

/** 64 KiB at 0 and at 4 MiB, nothing between; with inline_data mke2fs -d cuts off a last hole. */
function fillSparse(path: string): void {
  const fd = openSync(path, 'w');
  writeSync(fd, noise(65536, 2), 0, 65536, 0);
  writeSync(fd, noise(65536, 3), 0, 65536, 4 << 20);
  closeSync(fd);
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** Sets all times and lists the tree; paths from the root, no leading slash. */
function listTree(root: string): Entry[] {
  const entries: Entry[] = [];
  const visit = (below: Buffer) => {
    const dir = Buffer.concat([Buffer.from(root), below]);
    for (const name of readdirSync(dir, { encoding: 'buffer' })) {
      const path = Buffer.concat([below, Buffer.from('/'), name]);
      const full = Buffer.concat([dir, Buffer.from('/'), name]);
      lutimesSync(full, TIME, TIME);
      const entry = entryOf(full, path);
      entries.push(entry);
      if (entry.type === 'directory') visit(path);
    }
  };
  visit(Buffer.alloc(0));
  utimesSync(root, TIME, TIME);
  return entries;
}

function entryOf(full: Buffer, path: Buffer): Entry {
  const s = lstatSync(full);
  const { mode, uid, gid, nlink } = s;
  const entry: Entry = {
    path: hex(path),
    type: 'fifo',
    mode,
    uid,
    gid,
    nlink,
    size: 0,
    mtime: TIME,
  };
  if (s.isDirectory()) return { ...entry, type: 'directory' };
  if (s.isSymbolicLink()) {
    const target = readlinkSync(full, { encoding: 'buffer' });
    return { ...entry, type: 'symlink', size: target.length, target: hex(target) };
  }
  if (!s.isFile()) return entry;
  const sha256 = createHash('sha256').update(readFileSync(full)).digest('hex');
  return { ...entry, type: 'file', size: s.size, sha256 };
}

function makeFs(path: string, size: number, tree: string, options: string[]): void {
  writeFileSync(path, '');
  truncateSync(path, size);
  run('mke2fs', ['-q', '-F', ...options, '-d', tree, path]);
}

function debug(path: string, ...commands: string[]): string {
  return commands.map((one) => run('debugfs', ['-w', '-R', one, path])).join('');
}

/** fs.img: what mke2fs makes today, with inline data, an indexed directory and attributes. */
function makeMain(dir: string, tree: string): Manifest {
  const image = join(dir, 'fs.img');
  const entries = listTree(tree);
  const features = 'inline_data,metadata_csum,64bit,extents,dir_index';
  makeFs(image, 56 << 20, tree, [
    '-t',
    'ext4',
    '-b',
    '4096',
    '-I',
    '256',
    '-O',
    features,
    '-L',
    'main',
  ]);
  const long = join(dir, 'value');
  writeFileSync(long, noise(2000, 4));
  debug(
    image,
    'ea_set /README.txt user.note "a short value"',
    `ea_set -f ${long} /big.bin user.long`,
  );
  run('e2fsck', ['-fyD', image], [0, 1]);
  const sha256 = createHash('sha256').update(noise(2000, 4)).digest('hex');
  return {
    label: 'main',
    blockSize: 4096,
    entries,
    xattrs: { note: 'a short value', long: sha256 },
  };
}

/** disk.img: an MBR whose second partition is a block-mapped ext2 file system with blocks of 1 KiB. */
function makeDisk(dir: string, tree: string): Manifest {
  writeFileSync(join(tree, 'blocks.bin'), noise(600 << 10, 5));
  writeFileSync(join(tree, 'hello.txt'), 'from the second partition\n');
  const entries = listTree(tree);
  const part = join(dir, 'part.img');
  makeFs(part, SMALL.size, tree, ['-t', 'ext2', '-b', '1024', '-L', 'second']);
  const disk = Buffer.alloc(SMALL.start + SMALL.size);
  readFileSync(part).copy(disk, SMALL.start);
  writePartition(disk, 0, 0x0c, { start: 63 * SECTOR, size: 1000 * SECTOR });
  writePartition(disk, 1, 0x83, SMALL);
  disk.writeUInt16LE(0xaa55, 510);
  writeFileSync(join(dir, 'disk.img'), disk);
  return { label: 'second', blockSize: 1024, entries };
}

function writePartition(disk: Buffer, index: number, type: number, { start, size } = SMALL): void {
  const at = 446 + 16 * index;
  disk[at + 4] = type;
  disk.writeUInt32LE(start / SECTOR, at + 8);
  disk.writeUInt32LE(size / SECTOR, at + 12);
}

/** crash.img: /state.txt says `before` at home and `after` in a transaction that was not written home. */
function makeCrash(dir: string, tree: string): Manifests['crash'] {
  const image = join(dir, 'crash.img');
  writeFileSync(join(tree, 'state.txt'), 'before'.padEnd(4096, '.'));
  makeFs(image, 16 << 20, tree, ['-t', 'ext4', '-b', '4096', '-O', '^inline_data', '-L', 'crash']);
  const block = Number(run('debugfs', ['-R', 'bmap /state.txt 0', image]));
  const root = Number(run('debugfs', ['-R', 'bmap / 0', image]));
  const after = join(dir, 'after');
  writeFileSync(after, 'after'.padEnd(4096, '.'));
  const script = join(dir, 'script');
  writeFileSync(script, `jo\njw -b ${block} ${after}\njc\n`);
  run('debugfs', ['-w', '-f', script, image]);
  return { blockSize: 4096, rootBlock: root, stateBlock: block };
}

/** Makes fs.img, disk.img, crash.img and manifest.json in `dir`. */
export function makeImages(dir: string): Manifests {
  const tree = (name: string) => {
    const root = join(dir, name);
    mkdirSync(root, { recursive: true });
    return root;
  };
  const main = tree('main');
  fillTree(main);
  const manifests = {
    main: makeMain(dir, main),
    disk: makeDisk(dir, tree('disk')),
    crash: makeCrash(dir, tree('crash')),
  };
  writeFileSync(join(dir, 'manifest.json'), JSON.stringify(manifests));
  return manifests;
}
