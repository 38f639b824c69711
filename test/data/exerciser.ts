// Random operations on one file, after a seed, in the style of fsx: each is done to the file and to a plain array of
// bytes, and what is read must be the same. Behind the end of the file, in its last block, the disk is polluted now and
// then: no byte of that may ever be seen.

import { expect } from 'vitest';
import { Ext4Error } from '../../ts/errno.ts';
import { type Random, random } from '../fuzz/random.ts';
import type { KindName } from './kinds.ts';
import { difference, FOUL, Subject, type SubjectOptions, same } from './subject.ts';

/** The longest that the file gets, bytes. */
const MAX_SIZE = 300_000;
const MAX_LEN = 40_000;

type Op = [name: string, ...args: (number | boolean)[]];

export class Exerciser {
  readonly subject: Subject;
  readonly #r: Random;
  readonly #seed: number;
  /** What the file should hold: `size` bytes of it. */
  readonly #want = new Uint8Array(2 * MAX_SIZE);
  #size = 0;
  /** The last operations, and how many there were. */
  readonly #last: string[] = [];
  #done = 0;
  /** How many of each operation were done, and what failed as it should. */
  readonly counts: Record<string, number> = {};
  readonly #pollutes: boolean;

  /** On a fresh image of a kind, or a subject that is there, whose file is empty. */
  constructor(
    on: KindName | Subject,
    seed: number,
    o: SubjectOptions & { pollute?: boolean } = {},
  ) {
    const { pollute = true, ...rest } = o;
    this.subject = typeof on === 'string' ? new Subject(on, rest) : on;
    this.#pollutes = pollute;
    this.#r = random(seed);
    this.#seed = seed;
  }

  get where(): string {
    const { name } = this.subject;
    return `${name}, seed ${this.#seed}, operation ${this.#done}: ${this.#last.join(' ')}`;
  }

  /** Does so many operations. */
  run(count: number): void {
    for (let i = 0; i < count; i++) this.one();
  }

  /** Does one operation; its name. */
  one(): string {
    const op = this.#next();
    this.#done++;
    this.#last.push(`${op[0]}(${op.slice(1).join(',')})`);
    if (this.#last.length > 12) this.#last.shift();
    this.counts[op[0]] = (this.counts[op[0]] ?? 0) + 1;
    try {
      this.#apply(op);
    } catch (error) {
      if (error instanceof Ext4Error) {
        throw new Error(`${error.code} ${error.message}: ${this.where}`, { cause: error });
      }
      throw error;
    }
    expect(this.subject.size, this.where).toBe(this.#size);
    return op[0];
  }

  /** All of the file is as it should be; with `image`, also after a cut now, and to e2fsck. */
  check(image: boolean): void {
    same(this.subject.read(), this.#want.subarray(0, this.#size), this.where);
    if (image) this.subject.check(undefined, this.where);
  }

  // ---- choosing

  #next(): Op {
    const r = this.#r;
    const k = r.int(1000);
    const { kind } = this.subject;
    const sync: Op = [r.pick(['fsync', 'sync'])];
    if (k < 330) return ['write', ...this.#span(MAX_SIZE)];
    if (k < 560) return ['read', ...this.#span(this.#size + 1)];
    if (k < 590) return ['map', ...this.#span(this.#size)];
    if (k < 600) return ['foul'];
    if (k < 650) return ['append', 1 + r.int(r.chance(0.5) ? 200 : 9000)];
    if (k < 720) return ['trunc', this.#edge(r.chance(0.4) ? MAX_SIZE : this.#size + 5000)];
    if (k < 800) return ['punch', ...this.#span(MAX_SIZE)];
    if (k < 860) return kind.extents ? ['zero', ...this.#span(MAX_SIZE), r.chance(0.3)] : sync;
    if (k < 900) return kind.extents ? ['alloc', ...this.#span(MAX_SIZE), r.chance(0.3)] : sync;
    if (k < 935) return kind.extents ? ['collapse', ...this.#units()] : sync;
    if (k < 965) return kind.extents ? ['insert', ...this.#units()] : sync;
    if (k < 987) return sync;
    if (k < 989) return ['trunc', 0];
    if (k < 994) return ['remount'];
    return [this.#pollutes ? 'pollute' : 'fsync'];
  }

  /** A position, likely at a border of something. */
  #edge(below: number): number {
    const r = this.#r;
    const at = r.int(Math.max(1, below));
    if (r.chance(0.3)) return at - (at % this.subject.block);
    if (r.chance(0.1)) return Math.min(this.#size, Math.max(0, below - 1));
    return at;
  }

  #span(below: number): [pos: number, len: number] {
    const r = this.#r;
    const pos = this.#edge(below);
    const most = r.pick([100, this.subject.block, 3 * this.subject.block, MAX_LEN]);
    const end = r.chance(0.3) ? this.#edge(pos + most) : pos + 1 + r.int(most);
    return [pos, Math.max(1, end - pos)];
  }

  /** Whole clusters. */
  #units(): [pos: number, len: number] {
    const { cluster } = this.subject.kind;
    const r = this.#r;
    const count = Math.floor(this.#size / cluster);
    return [r.int(count + 1) * cluster, (1 + r.int(6)) * cluster];
  }

  // ---- doing

  #apply([name, a, b, c]: Op): void {
    const { subject } = this;
    const pos = Number(a);
    const len = Number(b);
    if (name === 'write') this.#write(pos, len);
    else if (name === 'append') this.#write(this.#size, Math.min(pos, MAX_SIZE));
    else if (name === 'read') this.#read(pos, len);
    else if (name === 'trunc') {
      subject.trunc(pos);
      this.#resize(pos);
    } else if (name === 'punch') {
      subject.punch(pos, len);
      this.#want.fill(0, Math.min(pos, this.#size), Math.min(pos + len, this.#size));
    } else if (name === 'zero' || name === 'alloc') {
      subject[name](pos, len, c === true);
      if (c !== true) this.#resize(Math.max(this.#size, pos + len));
      const end = Math.min(pos + len, this.#size);
      if (name === 'zero' && pos < end) this.#want.fill(0, pos, end);
    } else if (name === 'map') this.#map(pos, len);
    else if (name === 'foul') this.#foul();
    else if (name === 'collapse' || name === 'insert') this.#shift(name, pos, len);
    else if (name === 'fsync') subject.fsync();
    else if (name === 'sync') subject.sync();
    else if (name === 'remount') subject.remount();
    else this.#pollute();
  }

  #write(pos: number, len: number): void {
    const data = new Uint8Array(len);
    const first = 1 + this.#r.int(0x50);
    for (let i = 0; i < len; i++) data[i] = 1 + ((first + i) % 0x59); // never 0, never 0x5a
    expect(this.subject.put(pos, data), this.where).toBe(len);
    this.#resize(Math.max(this.#size, pos + len));
    this.#want.set(data, pos);
  }

  /** A view: what it shows, and stores through it. Journalled data has none. */
  #map(pos: number, len: number): void {
    const { subject } = this;
    if (pos >= this.#size || subject.inode.path === 'journalled') return;
    const view = subject.fs.viewSync(subject.fd, pos, len, true);
    const byte = 1 + this.#r.int(0x50);
    let at = pos;
    for (const part of view.segments) {
      const bad = difference(part, this.#want.subarray(at, at + part.length));
      if (bad !== '') expect.fail(`${this.where}: a view from ${at} on: ${bad}`);
      part.fill(byte);
      at += part.length;
    }
    this.#want.fill(byte, pos, at);
    view.dirty(0, at - pos);
    view.release();
  }

  /** Stores behind the end of the file, in its last block, as mmap can make them. */
  #foul(): void {
    const { subject } = this;
    if (this.#size === 0 || subject.inode.path === 'journalled' || !this.#pollutes) return;
    const view = subject.fs.viewSync(subject.fd, this.#size - 1, 1, true);
    const end = view.ptrs[0] + 1;
    const left = (subject.block - (this.#size % subject.block)) % subject.block;
    new Uint8Array(view.memory.buffer, end, left).fill(FOUL);
    view.dirty(0, 1);
    view.release();
  }

  #read(pos: number, len: number): void {
    const want = this.#want.subarray(pos, Math.max(pos, Math.min(pos + len, this.#size)));
    const got = this.subject.read(pos, Math.min(len, MAX_LEN * 2));
    if (Buffer.compare(got, want) !== 0) {
      expect.fail(`${this.where}: from ${pos} on ${difference(got, want)}`);
    }
  }

  #resize(size: number): void {
    if (size < this.#size) this.#want.fill(0, size, this.#size);
    this.#size = size;
  }

  #shift(name: 'collapse' | 'insert', pos: number, len: number): void {
    const bad = name === 'collapse' ? pos + len >= this.#size : pos >= this.#size;
    if (bad || (name === 'insert' && this.#size + len > MAX_SIZE)) return;
    this.subject[name](pos, len);
    const size = this.#size;
    if (name === 'collapse') {
      this.#want.copyWithin(pos, pos + len, size);
      this.#want.fill(0, size - len, size);
      this.#size = size - len;
    } else {
      this.#want.copyWithin(pos + len, pos, size);
      this.#want.fill(0, pos, pos + len);
      this.#size = size + len;
    }
  }

  /** The bytes behind the end in its block, on the device, where that block is written. */
  #pollute(): void {
    const { subject } = this;
    const { block } = subject;
    const off = this.#size % block;
    if (subject.inode.path === 'inline') return;
    subject.sync();
    const lblk = Math.floor(this.#size / block);
    const written = subject.map().some(([at, n, s]) => s === 'w' && at <= lblk && lblk < at + n);
    if (off === 0 || !written) return;
    subject.pollute(this.#size, this.#size - off + block, FOUL);
  }
}
