// Encrypted directories without their key: what is in them can be told apart, renamed with the directory and
// removed, and nothing can be added. The kernel makes the image (the key is in its ring until the unmount),
// and does the same operations without the key: the same errno for each, and e2fsck finds nothing.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { type Ext4, mountSync } from '../../ts/index.ts';
import { need } from '../need.ts';
import { contents, fsck, makeImage, scratch } from './images.ts';

const SETS = {
  '4 KiB': { args: '-t ext4 -b 4096 -O encrypt', size: 32 },
  '1 KiB, inline_data': { args: '-t ext4 -b 1024 -I 256 -O encrypt,inline_data', size: 32 },
};
const SCRIPT = join(import.meta.dirname, 'encrypted.py');

type Op = [string, ...string[]];

/** Files by the order of their shown names: those are the same for both. */
function opsFor(names: Record<'files' | 'dirs' | 'links', string[]>): Op[] {
  const [a, b] = names.files.map((name) => `/enc/${name}`);
  const refused: Op[] = [
    ['create', '/enc/new'],
    ['mkdir', '/enc/new'],
    ['symlink', '/enc/new'],
    ['link', '/plain/f', '/enc/new'],
    ['link', a, '/enc/new'],
    ['rename', '/plain/f', '/enc/new'],
    ['rename', a, '/plain/new'],
    ['rename', a, '/enc/new'],
    ['rename', a, b],
    ['rename', '/enc/missing', '/enc/new'],
    ['stat', '/enc/missing'],
    ['unlink', '/enc/missing'],
    ['open', a],
    ['truncate', a],
    ['mkdir', a],
    ['create', '/plain/f'],
  ];
  const done: Op[] = [
    ['link', a, '/plain/link'],
    ['rename', '/enc', '/plain/moved'],
    ['rename', '/plain/moved', '/enc'],
    ['chmod', a],
    ['utimes', a],
    ['setxattr', a],
    ['create', '/plain/new'],
    ...names.files.map((name): Op => ['unlink', `/enc/${name}`]),
    ...names.links.map((name): Op => ['unlink', `/enc/${name}`]),
    ...names.dirs.map((name): Op => ['rmdir', `/enc/${name}`]),
  ];
  return [...refused, ...done];
}

function apply(img: Ext4, [kind, a, b]: Op): string {
  try {
    if (kind === 'create') img.closeSync(img.openSync(a, 'wx'));
    else if (kind === 'mkdir') img.mkdirSync(a);
    else if (kind === 'symlink') img.symlinkSync('target', a);
    else if (kind === 'link') img.linkSync(a, b);
    else if (kind === 'rename') img.renameSync(a, b);
    else if (kind === 'stat') img.lstatSync(a);
    else if (kind === 'open') img.closeSync(img.openSync(a, 'r'));
    else if (kind === 'truncate') img.truncateSync(a, 0);
    else if (kind === 'chmod') img.chmodSync(a, 0o600);
    else if (kind === 'utimes') img.utimesSync(a, 1, 1);
    else if (kind === 'setxattr') img.setxattrSync(a, 'user.a', Buffer.from('value'));
    else if (kind === 'unlink') img.unlinkSync(a);
    else img.rmdirSync(a);
    return '';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

function namesIn(img: Ext4): Record<'files' | 'dirs' | 'links', string[]> {
  const found = { files: [] as string[], dirs: [] as string[], links: [] as string[] };
  for (const entry of img.readdirSync('/enc', { withFileTypes: true })) {
    const name = String(entry.name);
    if (entry.isDirectory()) found.dirs.push(name);
    else if (entry.isSymbolicLink()) found.links.push(name);
    else found.files.push(name);
  }
  for (const list of Object.values(found)) list.sort();
  return found;
}

const able = existsSync('/sys/fs/ext4/features/encryption') ? '' : 'a kernel with FS_ENCRYPTION';
const NEEDS = [able, need.root(), need.loop(), need.tool('mke2fs', 'e2fsck')];

need.describe('an encrypted directory', NEEDS, () => {
  for (const [name, set] of Object.entries(SETS)) {
    test(`${name}: refuses and allows without its key what the kernel does`, () => {
      const path = scratch('encrypted.img');
      const dir = scratch('encrypted');
      if (!existsSync(dir)) mkdirSync(dir);
      writeFileSync(path, makeImage(set));
      const python = (command: string, ops: Op[] = []) =>
        JSON.parse(
          execFileSync('python3', [SCRIPT, command, path, dir], {
            input: JSON.stringify(ops),
            encoding: 'utf8',
          }),
        );
      expect(python('make')).toBe('made');
      const image = new Uint8Array(readFileSync(path));
      const device = memoryDevice(image, { sparse: true });
      const img = mountSync(device);
      expect(img.info().readOnly).toBe(false);
      const names = namesIn(img);
      expect(names.files.length).toBeGreaterThan(5);
      const ops = opsFor(names);
      const theirs = python('apply', ops) as string[];
      expect(ops.map((op) => `${op.join(' ')}: ${apply(img, op)}`)).toEqual(
        ops.map((op, i) => `${op.join(' ')}: ${theirs[i]}`),
      );
      expect(theirs.filter((code) => code === 'ENOKEY').length).toBeGreaterThan(8);
      img.unmountSync();
      expect(fsck(contents(device))).toBe('');
    }, 60_000);
  }
});
