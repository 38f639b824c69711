// Directories of many names: looked up, listed, removed, and e2fsck finds nothing. An index of
// three levels and one that is full; more subdirectories than links can count; a deep tree; names
// of 255 bytes and of bytes that are no UTF-8.

import { expect, test } from 'vitest';
import * as F from '../../assembly/format/ext4.ts';
import { type MemoryDevice, memoryDevice } from '../../ts/block/memory.ts';
import { dirBlock } from '../../ts/ext4/dirblock.ts';
import type { Inode } from '../../ts/ext4/inode.ts';
import { step } from '../../ts/flow.ts';
import { type FileSystem, mountVfsSync } from '../../ts/vfs/filesystem.ts';
import { DEEP, need } from '../need.ts';
import { apply, bytes, treeOf } from './driver.ts';
import { contents, fsck, makeImage, recover, SETS } from './images.ts';
import { Model, type Op } from './model.ts';

const LONG = DEEP ? 3_600_000 : 300_000;
const MANY = DEEP ? 1_000_000 : 100_000;
const FILE = 0o100644;

const tools = need.tool('mke2fs', 'e2fsck');

function open(args: string, size: number): { fs: FileSystem; device: MemoryDevice } {
  const device = memoryDevice(makeImage({ args, size }), { sparse: true });
  return { fs: mountVfsSync(device), device };
}

function must(fs: FileSystem, op: Op): void {
  const code = apply(fs, op);
  if (code !== '') expect.unreachable(`${JSON.stringify(op)}: ${code}`);
}

function count(fs: FileSystem, path: string): number {
  const cursor = fs.runSync(fs.openDir(bytes(path)));
  const seen = new Set<string>();
  for (;;) {
    const batch = fs.runSync(fs.readDir(cursor));
    if (batch.length === 0) return seen.size;
    for (const { name } of batch) seen.add(String.fromCharCode(...name));
  }
}

function finish(fs: FileSystem, device: MemoryDevice): void {
  fs.runSync(fs.unmount());
  expect(fsck(contents(device))).toBe('');
}

/** Levels of index blocks under the root. */
function indexLevels(fs: FileSystem, path: string): number {
  const ino = fs.runSync(fs.resolve(bytes(path), true));
  const levels = (dir: Inode): number => {
    const root = dirBlock(dir, 0);
    return root === null ? -1 : dir.vol.dv.getUint8(root.ptr + F.DX_ROOT_INDIRECT_LEVELS);
  };
  return fs.runSync(step(levels, fs.vol.inodes.get(ino)));
}

need.describe('many names', [tools], () => {
  test(
    `${MANY} entries in one directory`,
    () => {
      const inodes = MANY + 1000;
      const { fs, device } = open(`-t ext4 -b 4096 -N ${inodes}`, Math.ceil(MANY / 2500) + 60);
      must(fs, ['mkdir', '/d', 0o755]);
      const took: number[] = [];
      for (let from = 0; from < MANY; from += MANY / 10) {
        const start = performance.now();
        for (let i = from; i < from + MANY / 10; i++) must(fs, ['mknod', `/d/name${i}`, FILE]);
        took.push(Math.round(((performance.now() - start) * 1e4) / MANY));
      }
      console.log(`microseconds a create, by tenths: ${took.join(' ')}`);
      expect(count(fs, '/d')).toBe(MANY);
      for (let i = 0; i < MANY; i += 997) {
        expect(fs.runSync(fs.stat(bytes(`/d/name${i}`), false)).nlink).toBe(1);
      }
      expect(apply(fs, ['mknod', '/d/name5', FILE])).toBe('EEXIST');
      fs.runSync(fs.syncAll());
      const { image } = recover(contents(device), (copy) => expect(count(copy, '/d')).toBe(MANY));
      expect(fsck(image)).toBe('');
      for (let i = 0; i < MANY; i++) if (i % 10 !== 0) must(fs, ['unlink', `/d/name${i}`]);
      expect(count(fs, '/d')).toBe(Math.ceil(MANY / 10));
      finish(fs, device);
    },
    LONG,
  );

  /** Names that leave room for three in a leaf. */
  const wide = (i: number): string => `${i}-`.padEnd(255, 'w');

  test(
    'an index grows to three levels with large_dir',
    () => {
      const { fs, device } = open('-t ext4 -b 1024 -O large_dir -N 60000', 90);
      must(fs, ['mkdir', '/d', 0o755]);
      let n = 0;
      while (indexLevels(fs, '/d') < 2) {
        for (let i = 0; i < 500; i++) must(fs, ['mknod', `/d/${wide(n++)}`, FILE]);
      }
      for (let i = 0; i < 500; i++) must(fs, ['mknod', `/d/${wide(n++)}`, FILE]);
      expect(count(fs, '/d')).toBe(n);
      for (let i = 0; i < n; i += 101) fs.runSync(fs.stat(bytes(`/d/${wide(i)}`), false));
      finish(fs, device);
    },
    LONG,
  );

  test(
    'a full index is ENOSPC without large_dir, and stays whole',
    () => {
      const { fs, device } = open('-t ext4 -b 1024 -N 60000', 90);
      must(fs, ['mkdir', '/d', 0o755]);
      let n = 0;
      for (let full = 0; full < 3; n++) {
        const code = apply(fs, ['mknod', `/d/${wide(n)}`, FILE]);
        if (code !== '') expect(code).toBe('ENOSPC');
        if (code !== '') full++;
        expect(n).toBeLessThan(59_000);
      }
      expect(count(fs, '/d')).toBe(n - 3);
      must(fs, ['unlink', `/d/${wide(0)}`]);
      finish(fs, device);
    },
    LONG,
  );

  test(
    '66,000 subdirectories: the links no longer count them',
    () => {
      const dirs = 66_000;
      const { fs, device } = open(`-t ext4 -b 1024 -N ${dirs + 500} -I 128 -O ^metadata_csum`, 130);
      must(fs, ['mkdir', '/d', 0o755]);
      const links = () => fs.runSync(fs.stat(bytes('/d'), false)).nlink;
      for (let i = 0; i < dirs; i++) {
        must(fs, ['mkdir', `/d/${i}`, 0o755]);
        if (i === 64_990) expect(links()).toBe(64_993);
      }
      expect(links()).toBe(1);
      for (let i = 0; i < 1500; i++) must(fs, ['rmdir', `/d/${i}`]);
      expect(links()).toBe(1);
      finish(fs, device);
    },
    LONG,
  );

  test(
    'EMLINK without dir_nlink',
    () => {
      const { fs, device } = open('-t ext3 -b 1024 -N 65500 -I 128', 130);
      must(fs, ['mkdir', '/d', 0o755]);
      for (let i = 0; i < 64_998; i++) must(fs, ['mkdir', `/d/${i}`, 0o755]);
      expect(apply(fs, ['mkdir', '/d/more', 0o755])).toBe('EMLINK');
      must(fs, ['rmdir', '/d/7']);
      must(fs, ['mkdir', '/d/more', 0o755]);
      finish(fs, device);
    },
    LONG,
  );
});

need.describe('deep trees and odd names', [tools], () => {
  for (const set of ['ext4', 'ext2', 'inline_data']) {
    test(`${set}: 100 levels, names of 255 bytes and of any bytes`, () => {
      const { args, size } = SETS[set];
      const { fs, device } = open(args, size);
      const model = new Model();
      const both = (op: Op) => expect(apply(fs, op), JSON.stringify(op)).toBe(model.apply(op));
      let path = '';
      for (let i = 0; i < 100; i++) {
        path += `/${i}`;
        both(['mkdir', path, 0o755]);
      }
      both(['rename', '/0', `${path}/below`, 0]);
      both(['rename', `${path}`, '/top', 0]);
      for (let i = 0; i < 255; i++) {
        const code = i + 1;
        const char = String.fromCharCode(code);
        if (char !== '/' && char !== '.') both(['mknod', `/top/${char}`, FILE]);
        both(['mkdir', `/top/${String.fromCharCode(255 - (i % 128)).repeat(1 + i)}`, 0o755]);
      }
      expect(apply(fs, ['mkdir', `/top/${'x'.repeat(256)}`, 0o755])).toBe('ENAMETOOLONG');
      expect(treeOf(fs, { wide: true })).toEqual(model.lines());
      finish(fs, device);
      recover(contents(device), (copy) => {
        expect(treeOf(copy, { wide: true })).toEqual(model.lines());
      });
    });
  }
});
