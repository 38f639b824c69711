// Goal: directories inside their inode as the kernel makes them. Method: the same operations by the kernel and by us,
// then the bytes of every inline directory compared (sizes, lengths and names of entries, parents), and one image that
// both change in turn; e2fsck and our own check find nothing.

import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import * as F from '../../assembly/format/ext4.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import { inlineAreas } from '../../ts/ext4/inline.ts';
import { runFsckSync } from '../../ts/fsck/run.ts';
import { type FileSystem, mountVfsSync } from '../../ts/vfs/filesystem.ts';
import { apply, type Op } from '../data/oracleops.ts';
import { need, ORACLES } from '../need.ts';
import { bytes } from './driver.ts';
import { contents, fsck, makeImage, scratch } from './images.ts';

const IMAGES: Record<string, { args: string; size: number }> = {
  '4 KiB': { args: '-t ext4 -b 4096 -O inline_data', size: 24 },
  'inodes of 512 bytes': { args: '-t ext4 -b 1024 -I 512 -O inline_data,^metadata_csum', size: 24 },
  'no journal': { args: '-t ext4 -b 2048 -I 1024 -O inline_data,ea_inode,^has_journal', size: 24 },
};

const file = (path: string): Op => ['mknod', path, 0o100644, 0, 0];
const dir = (path: string): Op => ['mkdir', path, 0o755];

/** Directories of every number of names, some removed again; with xattrs; long names; moved; with subdirectories. */
function ops(): Op[] {
  const all: Op[] = [dir('/empty')];
  for (let count = 1; count < 90; count += count < 14 ? 1 : 9) {
    all.push(dir(`/n${count}`));
    for (let i = 0; i < count; i++) all.push(file(`/n${count}/f${i}`));
  }
  for (const length of [20, 47, 48, 49, 52, 53, 60, 61, 200, 255]) {
    all.push(dir(`/l${length}`), file(`/l${length}/${'n'.repeat(length)}`), file(`/l${length}/s`));
  }
  for (const size of [0, 4, 20, 36, 40, 44, 48, 52, 56, 60, 64, 300]) {
    all.push(dir(`/x${size}`), ['setxattr', `/x${size}`, 'user.a', size, 1, 0]);
    for (let i = 0; i < 6; i++) all.push(file(`/x${size}/f${i}`));
    all.push(['setxattr', `/x${size}`, 'user.b', 12, 2, 0], ['rmxattr', `/x${size}`, 'user.a']);
    for (let i = 6; i < 8; i++) all.push(file(`/x${size}/f${i}`));
  }
  all.push(dir('/p'), dir('/q'), dir('/p/a'), dir('/p/b'), dir('/p/b/c'), file('/p/b/c/f'));
  all.push(['rename', '/p/b', '/q/b', 0], ['rename', '/p/a', '/empty', 0], dir('/p/d'));
  all.push(['rename', '/q/b', '/p/d', 2], ['rmdir', '/q/b'], ['rmdir', '/p'], dir('/gone'));
  for (const [i, name] of ['f0', 'f2', 'f1', 'f4'].entries())
    all.push(['unlink', `/n${i + 5}/${name}`]);
  for (const name of ['a', 'bb', 'a-longer-name'])
    all.push(file(`/n8/${name}`), file(`/n6/${name}`));
  return [...all, ['rmdir', '/gone'], ['rename', '/n3/f1', '/n4/f1', 0], ['chmod', '/n1', 0o700]];
}

/** Directories by path, as they lie in their inodes; those that have blocks with their names only. */
function layout(image: Uint8Array): string[] {
  const fs = mountVfsSync(memoryDevice(image, { sparse: true, readOnly: true }));
  const lines: string[] = [];
  const visit = (path: string, parent: number): void => {
    const names = entries(fs, path === '' ? '/' : path);
    const inode = fs.vol.inodes.get(fs.runSync(fs.resolve(bytes(`${path}/`), false)));
    if (inode.path === 'inline') {
      lines.push(`${path}: ${inode.size} bytes, ${inode.links} links, ${inode.flags.toString(16)}`);
      expect(inode.u32(F.I_BLOCK), `the parent of ${path}`).toBe(parent);
      lines.push(...inlineAreas(inode).map(({ ptr, len }, i) => areaText(fs, ptr, len, i === 0)));
    } else lines.push(`${path}: ${inode.links} links, ${names.sort().join(' ')}`);
    for (const name of names) {
      const stat = fs.runSync(fs.stat(bytes(`${path}/${name}`), false));
      if ((stat.mode & F.S_IFMT) === F.S_IFDIR) visit(`${path}/${name}`, inode.ino);
    }
  };
  visit('', F.EXT4_ROOT_INO);
  return lines.sort();
}

function entries(fs: FileSystem, path: string): string[] {
  const cursor = fs.runSync(fs.openDir(bytes(path)));
  const names: string[] = [];
  for (let some = fs.runSync(fs.readDir(cursor)); some.length > 0; ) {
    names.push(...some.map(({ name }) => String.fromCharCode(...name)));
    some = fs.runSync(fs.readDir(cursor));
  }
  return names;
}

/** Lengths, types and names of the entries of one area; the first begins with the parent's number. */
function areaText({ vol }: FileSystem, ptr: number, len: number, head: boolean): string {
  const { dv, u8 } = vol;
  const parts: string[] = [];
  for (let off = head ? 4 : 0; off < len; off += dv.getUint16(ptr + off + F.DE_REC_LEN, true)) {
    const at = ptr + off;
    const size = dv.getUint16(at + F.DE_REC_LEN, true);
    expect(size, 'a length of an entry').toBeGreaterThan(0);
    const name = u8.subarray(at + F.DE_NAME, at + F.DE_NAME + u8[at + F.DE_NAME_LEN]);
    const used = dv.getUint32(at, true) !== 0;
    parts.push(
      used ? `${size}:${u8[at + F.DE_FILE_TYPE]}:${String.fromCharCode(...name)}` : `${size}`,
    );
  }
  return `  ${len} bytes: ${parts.join(' ')}`;
}

interface Outcome {
  results: unknown[];
  image: Uint8Array;
}

function byKernel(image: Uint8Array, done: Op[]): Outcome {
  const path = scratch('inline-kernel.img');
  writeFileSync(path, image);
  const args = [join(import.meta.dirname, 'kernel.py'), ORACLES, path];
  const out = execFileSync('python3', args, {
    input: JSON.stringify({ ops: done }),
    encoding: 'utf8',
  });
  const { results } = JSON.parse(out);
  const after = new Uint8Array(readFileSync(path));
  rmSync(path);
  return { results, image: after };
}

function byUs(image: Uint8Array, done: Op[]): Outcome {
  const device = memoryDevice(image, { sparse: true });
  const fs = mountVfsSync(device, { forceMiss: done.length % 2 === 0 });
  const results = done.map((op) => apply(fs, op));
  fs.runSync(fs.unmount());
  return { results, image: contents(device) };
}

function check(image: Uint8Array): void {
  expect(fsck(image)).toBe('');
  const device = memoryDevice(image, { sparse: true, readOnly: true });
  expect(runFsckSync(device, { force: true }).problems).toEqual([]);
}

const needs = [need.root(), need.loop(), need.oracles(), need.tool('mke2fs', 'e2fsck')];

need.describe('inline directories by the kernel and by us', needs, () => {
  for (const [name, spec] of Object.entries(IMAGES)) {
    test(`${name}: lie in their inodes as the kernel's do`, () => {
      const image = makeImage(spec);
      const theirs = byKernel(image, ops());
      const ours = byUs(image, ops());
      expect(ours.results).toEqual(theirs.results);
      expect(layout(ours.image)).toEqual(layout(theirs.image));
      check(ours.image);
    }, 60_000);

    test(`${name}: either goes on where the other stopped`, () => {
      const start = makeImage(spec);
      const all = ops();
      const want = layout(byKernel(start, all).image);
      let image = start;
      const parts = 6;
      for (let part = 0; part < parts; part++) {
        const some = all.slice((part * all.length) / parts, ((part + 1) * all.length) / parts);
        image = (part % 2 === 0 ? byUs : byKernel)(image, some).image;
      }
      expect(layout(image)).toEqual(want);
      check(image);
    }, 60_000);
  }
});
