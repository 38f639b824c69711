// What the map tests share: an image from mke2fs with some empty files, changed through steps of our own, and a model
// of where each block of a file must lie. Random numbers come from a seed that each test prints.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as F from '../../assembly/format/ext4.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import { type AllocOptions, allocBlocks } from '../../ts/ext4/balloc.ts';
import type { Inode } from '../../ts/ext4/inode.ts';
import { mapBlocks } from '../../ts/ext4/iomap.ts';
import {
  addBlocks,
  appendBlock,
  insertExtent,
  MAP_CREDITS,
  removeBlocksStep,
} from '../../ts/ext4/mapwrite.ts';
import { step, writeBack } from '../../ts/flow.ts';
import { type FileSystem, mountVfsSync } from '../../ts/vfs/filesystem.ts';
import type { MountOptions } from '../../ts/vfs/options.ts';
import { which } from '../need.ts';

/** An image of `size` made with mke2fs's `args`, holding the empty files /f0 to /f<files - 1> and the directory /d. */
export function makeImage(args: string, size = '32M', files = 3): Uint8Array {
  const dir = mkdtempSync(join(tmpdir(), 'ext4-map-'));
  const image = join(dir, 'image');
  writeFileSync(image, '');
  execFileSync('truncate', ['-s', size, image]);
  execFileSync(which('mke2fs'), ['-q', '-F', ...args.split(' '), image]);
  const commands = ['mkdir d'];
  for (let i = 0; i < files; i++) commands.push(`write /dev/null f${i}`);
  execFileSync(which('debugfs'), ['-w', '-f', '-', image], {
    input: `${commands.join('\n')}\n`,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  const bytes = new Uint8Array(readFileSync(image));
  rmSync(dir, { recursive: true });
  return bytes;
}

/** Complaints of `e2fsck -fn`; '' when there are none. */
export function e2fsck(bytes: Uint8Array): string {
  return withFile(bytes, (image) => {
    const r = spawnSync(which('e2fsck'), ['-fn', image], { encoding: 'utf8', maxBuffer: 1 << 26 });
    return r.status === 0 ? '' : `exit ${r.status}\n${r.stdout.slice(0, 4000)}${r.stderr}`;
  });
}

/** What debugfs answers to a command. */
export function debugfs(bytes: Uint8Array, command: string): string {
  return withFile(bytes, (image) => {
    const r = spawnSync(which('debugfs'), ['-R', command, image], {
      encoding: 'utf8',
      maxBuffer: 1 << 26,
    });
    return r.stdout;
  });
}

function withFile<T>(bytes: Uint8Array, use: (image: string) => T): T {
  const dir = mkdtempSync(join(tmpdir(), 'ext4-map-'));
  const image = join(dir, 'image');
  writeFileSync(image, bytes);
  const result = use(image);
  rmSync(dir, { recursive: true });
  return result;
}

export interface Mounted {
  fs: FileSystem;
  bytes: Uint8Array;
  /** Of the device: the bytes are its own. */
  contents(): Uint8Array;
}

export function mountImage(bytes: Uint8Array, o: MountOptions = {}): Mounted {
  const device = memoryDevice(bytes);
  const fs = mountVfsSync(device, { cacheBytes: 8 << 20, ...o });
  const contents = () => {
    const copy = new Uint8Array(bytes.length);
    device.readSync!(copy, 0);
    return copy;
  };
  return { fs, bytes, contents };
}

export function inodeAt(fs: FileSystem, path: string): Inode {
  const { ino } = fs.runSync(fs.stat(path, false));
  return fs.vol.inodes.get(ino);
}

/** Runs `change(inode)` as a step with a handle. */
export function change<T>(fs: FileSystem, credits: number, fn: () => T): T {
  return fs.runSync(
    step(() => {
      fs.vol.journal!.start(credits);
      const result = fn();
      fs.vol.journal!.stop();
      return result;
    }),
  );
}

/** Commits, and writes everything home. */
export function settle(fs: FileSystem): void {
  fs.runSync(writeBack());
}

interface Mapped {
  pblk: number;
  unwritten: boolean;
}

/** A file and what must be mapped in it. */
export class Model {
  readonly fs: FileSystem;
  readonly path: string;
  readonly inode: Inode;
  readonly blocks = new Map<number, Mapped>();

  constructor(fs: FileSystem, path: string) {
    this.fs = fs;
    this.path = path;
    this.inode = inodeAt(fs, path);
  }

  append(lblk: number): void {
    const { fs, inode } = this;
    const pblk = change(fs, MAP_CREDITS + 1, () => {
      const at = appendBlock(inode, lblk);
      this.grow(lblk + 1);
      return at;
    });
    this.blocks.set(lblk, { pblk, unwritten: false });
  }

  /** Maps up to `want` blocks at `lblk`, where a hole is. */
  insert(lblk: number, want: number, unwritten: boolean, o: AllocOptions = {}): void {
    const { fs, inode } = this;
    const got = change(fs, MAP_CREDITS + 1, () => {
      const found = allocBlocks(fs.vol, 0, want, 1, o);
      const count = Math.min(want, found.count);
      insertExtent(inode, lblk, found.pblk, count, unwritten);
      addBlocks(inode, found.count);
      this.grow(lblk + count);
      return { pblk: found.pblk, count };
    });
    for (let i = 0; i < got.count; i++) {
      this.blocks.set(lblk + i, { pblk: got.pblk + i, unwritten });
    }
  }

  grow(blocks: number): void {
    const size = blocks * this.fs.vol.sb.blockSize;
    if (size > this.inode.size) this.inode.setSize(size);
  }

  /** Removes what lies at or behind `from`; returns the steps it took. */
  remove(from: number): number {
    const { fs, inode } = this;
    let steps = 1;
    while (fs.runSync(step(removeBlocksStep, inode, from))) steps++;
    for (const lblk of [...this.blocks.keys()]) if (lblk >= from) this.blocks.delete(lblk);
    const last = Math.max(-1, ...this.lblks());
    change(fs, 1, () => inode.setSize((last + 1) * fs.vol.sb.blockSize));
    return steps;
  }

  *lblks(): Generator<number> {
    yield* this.blocks.keys();
  }

  /** Where our reader differs from the model; '' when nowhere. */
  compare(fs: FileSystem): string {
    const inode = inodeAt(fs, this.path);
    const end = Math.ceil(inode.size / fs.vol.sb.blockSize);
    let seen = 0;
    for (let at = 0; at < end; ) {
      const map = { ...fs.runSync(step(mapBlocks, inode, at)) };
      const len = map.lblk + map.len - at;
      if (map.kind !== 0) {
        for (let lblk = at; lblk < at + len; lblk++) {
          const want = this.blocks.get(lblk);
          const pblk = map.pblk + lblk - map.lblk;
          if (want?.pblk !== pblk) return `${this.path} ${lblk}: ${pblk}, not ${want?.pblk}`;
          if (want.unwritten !== (map.kind === 2)) return `${this.path} ${lblk}: kind ${map.kind}`;
          seen++;
        }
      }
      at += len;
    }
    return seen === this.blocks.size ? '' : `${this.path}: ${seen} of ${this.blocks.size} blocks`;
  }

  /** Whether [lblk, lblk + count), rounded to clusters, is a hole. */
  free(lblk: number, count: number): boolean {
    const { clusterBlocks } = this.fs.vol.sb;
    const from = Math.floor(lblk / clusterBlocks) * clusterBlocks;
    const to = Math.ceil((lblk + count) / clusterBlocks) * clusterBlocks;
    for (let at = from; at < to; at++) if (this.blocks.has(at)) return false;
    return true;
  }

  get depth(): number {
    return this.inode.has(F.EXT4_EXTENTS_FL) ? this.inode.u16(F.I_BLOCK + F.EH_DEPTH) : 0;
  }
}
