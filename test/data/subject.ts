// A file /f on a mount of its own, and what data tests do to it. check() says whether the file is what it should be, in
// memory, after a power cut right now (our replay), to e2fsck, and to the kernel.

import { createHash } from 'node:crypto';
import { expect } from 'vitest';
import { MAP_HOLE, MAP_UNWRITTEN, MAP_WRITTEN } from '../../assembly/abi.ts';
import type { BlockDevice } from '../../ts/block/device.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import { type Recorder, record } from '../../ts/block/record.ts';
import { Ext4Error } from '../../ts/errno.ts';
import type { FallocateMode } from '../../ts/ext4/fallocate.ts';
import { mapBlocks } from '../../ts/ext4/iomap.ts';
import { type Flow, step } from '../../ts/flow.ts';
import { type FileSystem, mountVfsSync } from '../../ts/vfs/filesystem.ts';
import type { MountOptions } from '../../ts/vfs/options.ts';
import { bytes } from '../write/driver.ts';
import { contents, fsck, makeImage, recover } from '../write/images.ts';
import type { KernelLook } from './kernel.ts';
import { KINDS, type Kind, type KindName } from './kinds.ts';

export const A = 0x61;
export const B = 0x62;
export const FOUL = 0x5a;
const CACHE = 8 << 20;
const O_RDWR = 2;
export const O_CREAT = 0o102;

/** A run of blocks: [first, count, 'w'ritten or 'u'nwritten]. */
export type Run = [lblk: number, count: number, state: 'w' | 'u'];

export interface SubjectOptions extends MountOptions {
  /** Record what reaches the device. */
  record?: boolean;
  /** An image to go on with, instead of a fresh one. */
  image?: Uint8Array;
  /** Puts something in front of the device. */
  wrap?: (device: BlockDevice) => BlockDevice;
  /** Flags of open(). */
  flags?: number;
}

export class Subject {
  fs: FileSystem;
  fd: number;
  readonly name: KindName;
  readonly kind: Kind;
  readonly device: BlockDevice;
  readonly recorder: Recorder | null;
  readonly memory: ReturnType<typeof memoryDevice>;
  readonly options: MountOptions;

  constructor(name: KindName, o: SubjectOptions = {}) {
    const { record: recorded, image, wrap, flags = O_CREAT, ...mount } = o;
    this.name = name;
    this.kind = KINDS[name];
    this.options = { cacheBytes: CACHE, ...this.kind.options, ...mount };
    const sparse = this.options.dax === 'never';
    this.memory = memoryDevice(image ?? makeImage(this.kind), { sparse });
    this.recorder = recorded ? recordAll(this.memory) : null;
    const below: BlockDevice = this.recorder ?? this.memory;
    this.device = wrap ? wrap(below) : below;
    this.fs = mountVfsSync(this.device, this.options);
    this.fd = this.fs.openSync(bytes('/f'), flags, 0o644);
  }

  get inode() {
    return this.fs.file(this.fd).inode;
  }

  get block(): number {
    return this.kind.block;
  }

  get size(): number {
    return this.inode.size;
  }

  get diskSize(): number {
    return this.inode.diskSize;
  }

  run<T>(flow: Flow<T>): T {
    return this.fs.runSync(flow);
  }

  // ---- what is done

  write(pos: number, len: number, byte: number): number {
    return this.put(pos, new Uint8Array(len).fill(byte));
  }

  put(pos: number, data: Uint8Array): number {
    for (let at = 0; at < data.length; ) {
      const n = this.fs.writeSync(this.fd, data, at, data.length - at, pos + at);
      at += n;
      if (n === 0) return at;
    }
    return data.length;
  }

  trunc(size: number): void {
    this.run(this.fs.data.truncate(this.fd, size));
  }

  #range(mode: FallocateMode, pos: number, len: number, keep: boolean): void {
    this.run(this.fs.data.fallocate(this.fd, mode, pos, len, keep));
  }

  alloc(pos: number, len: number, keep = false): void {
    this.#range('alloc', pos, len, keep);
  }

  zero(pos: number, len: number, keep = false): void {
    this.#range('zero', pos, len, keep);
  }

  punch(pos: number, len: number): void {
    this.#range('punch', pos, len, true);
  }

  collapse(pos: number, len: number): void {
    this.#range('collapse', pos, len, false);
  }

  insert(pos: number, len: number): void {
    this.#range('insert', pos, len, false);
  }

  fsync(dataOnly = false): void {
    this.run(this.fs.data.fsync(this.fd, dataOnly));
  }

  sync(): void {
    this.run(this.fs.syncAll());
  }

  remount(o: MountOptions = {}): void {
    this.close();
    this.fs = mountVfsSync(this.device, { ...this.options, ...o });
    this.fd = this.fs.openSync(bytes('/f'), O_RDWR);
  }

  chattr(flag: string): void {
    const bit = { S: 0x8, i: 0x10, a: 0x20, j: 0x4000 }[flag[1]] as number;
    const flags = flag[0] === '+' ? this.inode.flags | bit : this.inode.flags & ~bit;
    this.run(this.fs.change.setFlags(this.inode.ino, flags));
  }

  close(): void {
    this.run(this.fs.close(this.fd));
    this.run(this.fs.unmount());
  }

  /** Bytes [from, to) of the file become 0x5a on the device, as an mmap store that raced writeback leaves them. */
  pollute(from: number, to: number, byte = FOUL): void {
    const dpos = this.place(from);
    this.close();
    this.writeRaw(dpos, new Uint8Array(to - from).fill(byte));
    this.fs = mountVfsSync(this.device, this.options);
    this.fd = this.fs.openSync(bytes('/f'), O_RDWR);
  }

  writeRaw(dpos: number, data: Uint8Array): void {
    const from = dpos - (dpos % 512);
    const to = Math.ceil((dpos + data.length) / 512) * 512;
    const sectors = new Uint8Array(to - from);
    this.memory.readSync(sectors, from);
    sectors.set(data, dpos - from);
    this.device.writeSync?.(sectors, from);
  }

  /** Where a byte of the file lies on the device. */
  place(pos: number): number {
    return this.run(
      step(() => {
        this.inode.at();
        const lblk = Math.floor(pos / this.block);
        const map = mapBlocks(this.inode, lblk);
        expect(map.kind, `${this.name}: the block of ${pos} is mapped`).not.toBe(MAP_HOLE);
        return (map.pblk + lblk - map.lblk) * this.block + (pos % this.block);
      }),
    );
  }

  /** Bytes of the device where a byte of the file lies. */
  raw(pos: number, len: number): Uint8Array {
    const dpos = this.place(pos);
    const from = dpos - (dpos % 512);
    const sectors = new Uint8Array(Math.ceil((dpos + len - from) / 512) * 512);
    this.memory.readSync(sectors, from);
    return sectors.subarray(dpos - from, dpos - from + len);
  }

  // ---- what is seen

  read(pos = 0, len = this.size - pos): Uint8Array {
    const into = new Uint8Array(Math.max(0, len));
    for (let at = 0; at < into.length; ) {
      const n = this.fs.readSync(this.fd, into, at, into.length - at, pos + at);
      if (n === 0) return into.subarray(0, at);
      at += n;
    }
    return into;
  }

  get blocks(): number {
    return this.run(this.fs.fstat(this.fd)).blocks;
  }

  /** The map on disk, delayed blocks left out; runs that continue each other in the file joined. */
  map(): Run[] {
    return this.run(step(mapOf, this.inode));
  }

  seekData(pos: number): number {
    return this.run(this.fs.seekData(this.fd, pos));
  }

  seekHole(pos: number): number {
    return this.run(this.fs.seekHole(this.fd, pos));
  }

  image(): Uint8Array {
    return contents(this.memory);
  }

  /** Syncs. Then: what a cut leaves now has the same file after our recovery, e2fsck finds nothing in it, and `kernel`
   *  (when there is one) is told to see the same bytes. */
  check(kernel?: KernelLook, where: string = this.name): void {
    this.sync();
    const now = this.read();
    const image = this.image();
    kernel?.expect(image, where, now.length, sha1(now));
    const { seen, image: after } = recover(image, readF, { dax: 'never' });
    same(seen, now, `${where}: after recovery`);
    expect(fsck(after), where).toBe('');
    expect(this.fs.vol.reserved, `${where}: promises left`).toBe(0);
    expect(this.fs.vol.cache.pinCount(), `${where}: pins left`).toBe(0);
  }

  /** check(), and unmounts. */
  finish(kernel?: KernelLook, where: string = this.name): void {
    this.check(kernel, where);
    this.close();
  }
}

/** A store by way of a view. */
export function store(s: Subject, pos: number, len: number, byte: number): void {
  const view = s.fs.viewSync(s.fd, pos, len, true);
  for (const part of view.segments) part.fill(byte);
  view.dirty(0, len);
  view.release();
}

export function sha1(data: Uint8Array): string {
  return createHash('sha1').update(data).digest('hex');
}

/** The bytes of /f, or nothing when it is not there. */
export function readF(fs: FileSystem): Uint8Array {
  let fd: number;
  try {
    fd = fs.openSync(bytes('/f'), 0);
  } catch (error) {
    if (error instanceof Ext4Error && error.code === 'ENOENT') return new Uint8Array(0);
    throw error;
  }
  const { inode } = fs.file(fd);
  const into = new Uint8Array(inode.size);
  for (let at = 0; at < into.length; ) {
    at += fs.readSync(fd, into, at, Math.min(1 << 20, into.length - at), at);
  }
  fs.closeSync(fd);
  return into;
}

function mapOf(inode: Subject['inode']): Run[] {
  const runs: Run[] = [];
  inode.at();
  const extents = inode.has(0x80000);
  const last = extents ? 2 ** 32 - 1 : Math.ceil(inode.size / inode.vol.sb.blockSize);
  for (let at = 0; at < last; ) {
    const map = mapBlocks(inode, at);
    const len = map.lblk + map.len - at;
    const state = map.kind === MAP_UNWRITTEN ? 'u' : 'w';
    const before = runs.at(-1);
    if (map.kind === MAP_WRITTEN || map.kind === MAP_UNWRITTEN) {
      if (before && before[0] + before[1] === at && before[2] === state) before[1] += len;
      else runs.push([at, len, state]);
    }
    at += len;
  }
  return runs;
}

/** A recorder that also sees what is stored in a device's memory. */
function recordAll(memory: ReturnType<typeof memoryDevice>): Recorder {
  const recorder = record(memory);
  const { direct } = memory;
  if (direct === undefined) return recorder;
  const persist = (dpos: number, len: number): void => {
    const from = dpos - (dpos % 512);
    const sectors = new Uint8Array(Math.ceil((dpos + len - from) / 512) * 512);
    memory.readSync(sectors, from);
    recorder.writeSync?.(sectors, from, { fua: true });
  };
  return Object.assign(recorder, { direct: { ...direct, persist } });
}

/** The first difference of two byte arrays, as text; '' when there is none. */
export function difference(got: Uint8Array, want: Uint8Array): string {
  if (got.length !== want.length) return `${got.length} bytes instead of ${want.length}`;
  if (Buffer.compare(got, want) === 0) return '';
  const at = got.findIndex((byte, i) => byte !== want[i]);
  const end = got.findLastIndex((byte, i) => byte !== want[i]);
  return `byte ${at} is ${got[at]} instead of ${want[at]}; the last that differs is ${end}`;
}

export function same(got: Uint8Array, want: Uint8Array, where: string): void {
  expect(difference(got, want), where).toBe('');
}

/** Bytes by pieces: [length, byte]. */
export function made(...pieces: [len: number, byte: number][]): Uint8Array {
  const all = new Uint8Array(pieces.reduce((sum, [len]) => sum + len, 0));
  let at = 0;
  for (const [len, byte] of pieces) all.fill(byte, at, (at += len));
  return all;
}

/** The code of what is thrown, or ''. */
export function codeOf(act: () => unknown): string {
  try {
    act();
    return '';
  } catch (error) {
    if (error instanceof Ext4Error) return error.code;
    throw error;
  }
}
