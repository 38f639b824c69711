// Good images for corruptions: made by mke2fs from a tree with something of everything, with and without checksums,
// with extents and with block maps; and the small ones of the oracles. All are clean before anything is done to them.

import { execFileSync } from 'node:child_process';
import {
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { which } from '../need.ts';

export interface Seed {
  name: string;
  bytes: Uint8Array;
}

const KINDS: [name: string, options: string[]][] = [
  ['csum', ['-t', 'ext4', '-b', '1024', '-O', 'metadata_csum,64bit']],
  ['plain', ['-t', 'ext4', '-b', '1024', '-O', '^metadata_csum,^uninit_bg']],
  ['gdt', ['-t', 'ext4', '-b', '1024', '-O', '^metadata_csum,uninit_bg']],
  ['ext3', ['-t', 'ext3', '-b', '1024']],
  ['csum4k', ['-t', 'ext4', '-b', '4096', '-O', 'metadata_csum,^has_journal']],
];

/** Makes the images in `dir`. */
export function makeSeeds(dir: string): Seed[] {
  const tree = join(dir, 'tree');
  makeTree(tree);
  const seeds = KINDS.map(([name, options]) => {
    const path = join(dir, `${name}.img`);
    run('mke2fs', ['-q', '-F', '-N', '512', ...options, '-d', tree, path, '6M']);
    addXattrs(path);
    run('e2fsck', ['-fyD', path], [0, 1]);
    run('e2fsck', ['-fn', path]);
    return { name, bytes: new Uint8Array(readFileSync(path)) };
  });
  rmSync(tree, { recursive: true });
  return seeds;
}

export function run(tool: string, args: string[], okay = [0]): string {
  try {
    return execFileSync(which(tool), args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    const { status, stdout } = error as { status: number; stdout: string };
    if (okay.includes(status)) return stdout;
    throw error;
  }
}

function makeTree(tree: string): void {
  mkdirSync(join(tree, 'many'), { recursive: true });
  mkdirSync(join(tree, 'a/b/c'), { recursive: true });
  for (let i = 0; i < 120; i++) {
    const name = `${'name-of-some-length'.repeat(1 + (i % 3))}-${i}`;
    writeFileSync(join(tree, 'many', name), i % 4 === 0 ? `file ${i}` : '');
  }
  writeFileSync(join(tree, 'a/data'), Buffer.alloc(70_000, 'data'));
  writeFileSync(join(tree, 'a/b/hello'), 'hello\n');
  linkSync(join(tree, 'a/b/hello'), join(tree, 'a/b/c/again'));
  symlinkSync('b/hello', join(tree, 'a/short'));
  symlinkSync(`b/${'./'.repeat(60)}hello`, join(tree, 'a/long'));
  const fd = openSync(join(tree, 'a/holes'), 'w');
  for (let i = 0; i < 110; i++) writeSync(fd, Buffer.alloc(4096, i + 1), 0, 4096, i * 8192);
  closeSync(fd);
}

/** Some in the inode, one list that needs a block. */
function addXattrs(path: string): void {
  const set = (file: string, name: string, value: string) =>
    run('debugfs', ['-w', '-R', `ea_set ${file} ${name} ${value}`, path]);
  set('/a/data', 'user.small', 'value');
  set('/a/b', 'user.dir', 'x');
  set('/a/b/hello', 'user.large', 'y'.repeat(400));
  set('/a/b/hello', 'user.second', 'z'.repeat(80));
}
