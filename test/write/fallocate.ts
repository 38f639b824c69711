// Operations on one file for the fallocate tests: done by the library or by the kernel, and what came of them.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { MAP_HOLE, MAP_UNWRITTEN } from '../../assembly/abi.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import { Ext4Error } from '../../ts/errno.ts';
import type { FallocateMode } from '../../ts/ext4/fallocate.ts';
import { mapBlocks } from '../../ts/ext4/iomap.ts';
import { type Flow, step } from '../../ts/flow.ts';
import { type FileSystem, mountVfsSync } from '../../ts/vfs/filesystem.ts';
import type { MountOptions } from '../../ts/vfs/options.ts';
import { bytes } from './driver.ts';
import { contents, makeImage, scratch, tool } from './images.ts';

export type FileOp =
  | ['write', pos: number, len: number, byte: number]
  | ['fallocate', flags: number, pos: number, len: number]
  | ['trunc', size: number]
  | ['fsync' | 'remount']
  | ['chattr', flag: string];

/** Flags of fallocate(2). */
export const KEEP = 1;
export const PUNCH = 2;
export const COLLAPSE = 8;
export const ZERO = 16;
export const INSERT = 32;

/** The errno or 0, the size, and a digest of the contents. */
export type Result = [string | number, number, string];

/** A run of blocks: [first, count, unwritten]. Where they lie on the device is nobody's business. */
export type Run = [lblk: number, len: number, unwritten: boolean];

const O_RDWR_CREAT = 0o102;
const MODES: Record<number, FallocateMode> = {
  0: 'alloc',
  [PUNCH]: 'punch',
  [ZERO]: 'zero',
  [COLLAPSE]: 'collapse',
  [INSERT]: 'insert',
};

/** A file /f on a mount of its own; every operation goes through open descriptors, as a caller's would. */
export class Subject {
  fs: FileSystem;
  fd: number;
  readonly device: ReturnType<typeof memoryDevice>;
  readonly options: MountOptions;

  constructor(image: Uint8Array, options: MountOptions) {
    this.device = memoryDevice(image, { sparse: options.dax !== 'always' });
    this.options = options;
    this.fs = mountVfsSync(this.device, { cacheBytes: 16 << 20, ...options });
    this.fd = this.fs.openSync(bytes('/f'), options.ro ? 0 : O_RDWR_CREAT, 0o644);
  }

  get inode() {
    return this.fs.file(this.fd).inode;
  }

  get size(): number {
    return this.inode.size;
  }

  run<T>(flow: Flow<T>): T {
    return this.fs.runSync(flow);
  }

  /** Does it; the code of what was thrown, or 0. */
  act(op: FileOp): string | number {
    try {
      this.#do(op);
      return 0;
    } catch (error) {
      if (error instanceof Ext4Error) return error.code;
      throw error;
    }
  }

  #do(op: FileOp): void {
    const { fs, fd } = this;
    if (op[0] === 'write') {
      const data = new Uint8Array(op[2]).fill(op[3]);
      for (let at = 0; at < data.length; ) {
        at += fs.writeSync(fd, data, at, data.length - at, op[1] + at);
      }
    } else if (op[0] === 'fallocate') {
      const mode = MODES[op[1] & ~KEEP];
      if (mode === undefined) throw new Ext4Error('EOPNOTSUPP');
      this.run(fs.data.fallocate(fd, mode, op[2], op[3], (op[1] & KEEP) !== 0));
    } else if (op[0] === 'trunc') this.run(fs.data.truncate(fd, op[1]));
    else if (op[0] === 'fsync') this.run(fs.data.fsync(fd, false));
    else if (op[0] === 'remount') this.#remount();
    else this.#chattr(op[1] as string);
  }

  #chattr(flag: string): void {
    const bit = { S: 0x8, i: 0x10, a: 0x20, j: 0x4000 }[flag[1]] as number;
    const flags = flag[0] === '+' ? this.inode.flags | bit : this.inode.flags & ~bit;
    this.run(this.fs.change.setFlags(this.inode.ino, flags));
  }

  #remount(): void {
    this.close();
    this.fs = mountVfsSync(this.device, { cacheBytes: 16 << 20, ...this.options });
    this.fd = this.fs.openSync(bytes('/f'), 2);
  }

  read(pos = 0, len = this.size - pos): Uint8Array {
    const into = new Uint8Array(len);
    for (let at = 0; at < len; ) {
      const n = this.fs.readSync(this.fd, into, at, len - at, pos + at);
      if (n === 0) return into.subarray(0, at);
      at += n;
    }
    return into;
  }

  look(): [number, string] {
    return [this.size, createHash('sha1').update(this.read()).digest('hex')];
  }

  get blocks(): number {
    return this.run(this.fs.fstat(this.fd)).blocks;
  }

  /** The map, written back. */
  map(): Run[] {
    this.act(['fsync']);
    return this.run(step(() => mapOf(this)));
  }

  close(): void {
    this.run(this.fs.close(this.fd));
    this.run(this.fs.unmount());
  }

  /** Unmounts, and returns what e2fsck has to say; '' when nothing. */
  finish(): string {
    this.close();
    return fsck(contents(this.device));
  }
}

export function fsck(image: Uint8Array): string {
  const { code, text } = tool('e2fsck', ['-fn'], image);
  return code === 0 ? '' : `exit ${code}\n${text}`;
}

/** Runs of blocks, those that continue each other in the file as one. */
function mapOf({ inode }: Subject): Run[] {
  const runs: Run[] = [];
  const end = 2 ** 32 - 1;
  inode.at();
  const last = inode.has(0x80000) ? end : Math.ceil(inode.size / inode.vol.sb.blockSize);
  for (let at = 0; at < last; ) {
    const map = mapBlocks(inode, at);
    const len = map.lblk + map.len - at;
    const unwritten = map.kind === MAP_UNWRITTEN;
    const before = runs.at(-1);
    if (map.kind === MAP_HOLE) runs.push([at + len, 0, false]);
    else if (
      before &&
      before[0] + before[1] === at &&
      (before[2] === unwritten || before[1] === 0)
    ) {
      runs[runs.length - 1] = [before[0], before[1] + len, unwritten];
    } else runs.push([at, len, unwritten]);
    at += len;
  }
  return runs.filter(([, len]) => len > 0);
}

export interface Outcome {
  results: Result[];
  blocks: number;
  image: Uint8Array;
}

const SCRIPT = join(import.meta.dirname, 'fallocate.py');

/** The same operations done by the kernel. */
export function byKernel(image: Uint8Array, ops: FileOp[], options = ''): Outcome {
  const path = scratch('fallocate.img');
  writeFileSync(path, image);
  const out = execFileSync('python3', [SCRIPT, path, options], {
    input: JSON.stringify({ ops }),
    encoding: 'utf8',
    maxBuffer: 64 << 20,
    timeout: 120_000,
  });
  const after = new Uint8Array(readFileSync(path));
  rmSync(path);
  return { ...JSON.parse(out), image: after };
}

/** The same done by us. */
export function byUs(image: Uint8Array, ops: FileOp[], options: MountOptions): Outcome {
  const subject = new Subject(image, options);
  const results = ops.map((op): Result => [subject.act(op), ...subject.look()]);
  subject.act(['fsync']);
  const { blocks } = subject;
  subject.close();
  return { results, blocks, image: contents(subject.device) };
}

/** The map of /f in an image. */
export function mapIn(image: Uint8Array): Run[] {
  const subject = new Subject(image, { ro: true, dax: 'never' });
  const map = subject.run(step(() => mapOf(subject)));
  subject.close();
  return map;
}

/** The data paths, and options that lead to them. */
export const PATHS: [name: string, o: MountOptions][] = [
  ['iomap', { dax: 'never' }],
  ['iomap, everything missing first', { dax: 'never', forceMiss: true }],
  ['iomap, nodelalloc', { dax: 'never', delalloc: false }],
  ['bufferhead', { dax: 'never', bufferedIomap: false }],
  ['journalled', { dax: 'never', data: 'journal' }],
  ['dax', { dax: 'always' }],
];

/** A new file on a new file system; its path is the one that the options name. */
export function start(o: MountOptions, args = '-t ext4 -b 4096', size = 16): Subject {
  return new Subject(makeImage({ args, size }), o);
}

/** Expects the file to be these runs of bytes, from its start to its end. */
export function expectBytes(s: Subject, runs: [byte: number, len: number][]): void {
  const want = new Uint8Array(runs.reduce((sum, [, len]) => sum + len, 0));
  let at = 0;
  for (const [byte, len] of runs) {
    want.fill(byte, at, at + len);
    at += len;
  }
  const have = s.read();
  expect(have.length).toBe(want.length);
  if (Buffer.compare(have, want) === 0) return;
  expect(have.findIndex((byte, i) => byte !== want[i])).toBe(-1);
}

/** Contents, map and st_blocks as told, now and on the next mount; e2fsck is content. */
export function check(
  s: Subject,
  what: { bytes: [number, number][]; map?: Run[]; blocks?: number },
): void {
  expectBytes(s, what.bytes);
  if (what.map) expect(s.map()).toEqual(what.map);
  if (what.blocks !== undefined) expect(s.blocks).toBe(what.blocks);
  s.act(['remount']);
  expectBytes(s, what.bytes);
  expect(s.finish()).toBe('');
}

/** Does them; none may fail. */
export function all(s: Subject, ops: FileOp[]): void {
  for (const op of ops) expect([op, s.act(op)]).toEqual([op, 0]);
}

/** What a power cut now would leave: the bytes of the device. */
export function copyOf(s: Subject): Uint8Array {
  const bytes = new Uint8Array(s.device.size);
  s.device.readSync(bytes, 0);
  return bytes;
}
