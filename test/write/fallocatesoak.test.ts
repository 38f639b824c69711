// Goal: any sequence of writes, truncates and fallocate calls leaves the bytes that a plain array would have, on every
// data path, on synchronous devices and on asynchronous ones with several files changed, read and synced at once.
// Method: random operations from a printed seed against a model; remounts, e2fsck -fn, free counts at the end.

import { expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { Ext4Error } from '../../ts/errno.ts';
import type { FallocateMode } from '../../ts/ext4/fallocate.ts';
import { type FileSystem, mountVfs } from '../../ts/vfs/filesystem.ts';
import type { MountOptions } from '../../ts/vfs/options.ts';
import { DEEP, need } from '../need.ts';
import { randomOf, slowDevice } from '../slow.ts';
import { bytes } from './driver.ts';
import { COLLAPSE, type FileOp, fsck, INSERT, KEEP, PUNCH, Subject, ZERO } from './fallocate.ts';
import { contents, makeImage } from './images.ts';

const seed = Number(process.env.SEED ?? 1 + Math.floor(Math.random() * 2 ** 31));
const OPS = DEEP ? 50_000 : 500;
const LONG = DEEP ? 3_600_000 : 120_000;

interface Kind {
  args: string;
  o: MountOptions;
  /** Collapse and insert take multiples of this. */
  unit: number;
  /** A block map: only punching. */
  blockMap?: boolean;
}

const KINDS: Record<string, Kind> = {
  iomap: { args: '-t ext4 -b 4096', o: { dax: 'never' }, unit: 4096 },
  'iomap, 1k, everything missing first': {
    args: '-t ext4 -b 1024',
    o: { dax: 'never', forceMiss: true },
    unit: 1024,
  },
  'iomap, nodelalloc': {
    args: '-t ext4 -b 1024',
    o: { dax: 'never', delalloc: false },
    unit: 1024,
  },
  'iomap, bigalloc': {
    args: '-t ext4 -b 1024 -O bigalloc -C 8192',
    o: { dax: 'never' },
    unit: 8192,
  },
  bufferhead: { args: '-t ext4 -b 1024', o: { dax: 'never', bufferedIomap: false }, unit: 1024 },
  'bufferhead, block map': {
    args: '-t ext2 -b 1024',
    o: { dax: 'never' },
    unit: 1024,
    blockMap: true,
  },
  journalled: { args: '-t ext4 -b 1024', o: { dax: 'never', data: 'journal' }, unit: 1024 },
  'journalled, block map': {
    args: '-t ext3 -b 1024',
    o: { dax: 'never', data: 'journal' },
    unit: 1024,
    blockMap: true,
  },
  dax: { args: '-t ext4 -b 4096', o: { dax: 'always' }, unit: 4096 },
  inline: { args: '-t ext4 -b 1024 -O inline_data -I 256', o: { dax: 'never' }, unit: 1024 },
};

/** What a file must be. */
class Bytes {
  data = new Uint8Array(0);
  readonly kind: Kind;

  constructor(kind: Kind) {
    this.kind = kind;
  }

  resize(size: number): void {
    const data = new Uint8Array(size);
    data.set(this.data.subarray(0, size));
    this.data = data;
  }

  /** Does it, or tells the error that it must end in. */
  act(op: FileOp): string | number {
    if (op[0] === 'trunc') this.resize(op[1]);
    if (op[0] === 'write') {
      if (op[1] + op[2] > this.data.length) this.resize(op[1] + op[2]);
      this.data.fill(op[3], op[1], op[1] + op[2]);
    }
    return op[0] === 'fallocate' ? this.#range(op[1], op[2], op[3]) : 0;
  }

  #range(flags: number, pos: number, len: number): string | number {
    const { unit, blockMap } = this.kind;
    const end = pos + len;
    const { length } = this.data;
    if (blockMap && (flags & PUNCH) === 0) return 'EOPNOTSUPP';
    if (flags === COLLAPSE || flags === INSERT) {
      if (pos % unit > 0 || len % unit > 0) return 'EINVAL';
      if (flags === COLLAPSE ? end >= length : pos >= length) return 'EINVAL';
      const old = this.data;
      this.data = new Uint8Array(length + (flags === INSERT ? len : -len));
      this.data.set(old.subarray(0, pos));
      this.data.set(old.subarray(flags === INSERT ? pos : end), flags === INSERT ? end : pos);
      return 0;
    }
    if ((flags & KEEP) === 0 && end > length) this.resize(end);
    if ((flags & (ZERO | PUNCH)) !== 0) this.data.fill(0, pos, end);
    return 0;
  }
}

function randomOp(roll: (n: number) => number, unit: number): FileOp {
  const pos = () => (roll(3) === 0 ? roll(60 * unit) : unit * roll(60));
  const len = () => (roll(3) === 0 ? 1 + roll(12 * unit) : unit * (1 + roll(12)));
  const what = roll(100);
  if (what < 36) return ['write', pos(), len(), 1 + roll(255)];
  if (what < 46) return ['fallocate', roll(2) === 0 ? 0 : KEEP, pos(), len()];
  if (what < 58) return ['fallocate', ZERO | (roll(2) === 0 ? 0 : KEEP), pos(), len()];
  if (what < 72) return ['fallocate', PUNCH | KEEP, pos(), len()];
  if (what < 84)
    return ['fallocate', roll(2) === 0 ? COLLAPSE : INSERT, unit * roll(50), unit * (1 + roll(6))];
  if (what < 92) return ['trunc', pos()];
  return [roll(8) === 0 ? 'remount' : 'fsync'];
}

const ORACLES = need.tool('mke2fs', 'e2fsck');

need.describe('one file after the other', [ORACLES], () => {
  for (const [name, kind] of Object.entries(KINDS)) {
    test(
      `${name} (seed ${seed})`,
      () => {
        const roll = randomOf(seed);
        const s = new Subject(makeImage({ args: kind.args, size: 16 }), kind.o);
        const free = s.run(s.fs.statfs('/')).bfree;
        const model = new Bytes(kind);
        for (let i = 0; i < OPS; i++) {
          let op = randomOp(roll, kind.unit);
          if (model.data.length > 100 * kind.unit) op = ['trunc', roll(20 * kind.unit)];
          expect([i, op, s.act(op)]).toEqual([i, op, model.act(op)]);
          expect([i, op, s.size]).toEqual([i, op, model.data.length]);
          expectSame(s.read(), model.data, [i, op]);
        }
        expect(s.act(['trunc', 0])).toBe(0);
        expect(s.fs.vol.reserved).toBe(0);
        expect(s.run(s.fs.statfs('/')).bfree).toBe(free);
        expect(s.finish()).toBe('');
      },
      LONG,
    );
  }
});

function expectSame(have: Uint8Array, want: Uint8Array, at: unknown): void {
  if (Buffer.compare(have, want) === 0) return;
  const i = want.findIndex((byte, k) => byte !== have[k]);
  expect([at, i, have[i], have.length]).toEqual([at, i, want[i], want.length]);
}

const MODE: Record<number, FallocateMode> = {
  0: 'alloc',
  [PUNCH]: 'punch',
  [ZERO]: 'zero',
  [COLLAPSE]: 'collapse',
  [INSERT]: 'insert',
};

/** The operation on an asynchronous mount. */
async function actAsync(fs: FileSystem, fd: number, op: FileOp): Promise<string | number> {
  try {
    if (op[0] === 'write') {
      const n = await fs.run(fs.data.write(fd, new Uint8Array(op[2]).fill(op[3]), op[1]));
      expect(n).toBe(op[2]);
    } else if (op[0] === 'trunc') await fs.run(fs.data.truncate(fd, op[1]));
    else if (op[0] === 'fallocate') {
      const mode = MODE[op[1] & ~KEEP];
      await fs.run(fs.data.fallocate(fd, mode, op[2], op[3], (op[1] & KEEP) !== 0));
    } else await fs.run(fs.data.fsync(fd, false));
    return 0;
  } catch (error) {
    if (error instanceof Ext4Error) return error.code;
    throw error;
  }
}

function shrinks([kind, flags]: FileOp): boolean {
  return kind === 'trunc' || (kind === 'fallocate' && flags === COLLAPSE);
}

/** Reads when others have had some chances to go on: between their steps. */
async function readLater(fs: FileSystem, fd: number, chances: number): Promise<void> {
  for (let i = 0; i < chances; i++) await null;
  await readAll(fs, fd);
}

async function readAll(fs: FileSystem, fd: number): Promise<Uint8Array> {
  const into = new Uint8Array(fs.file(fd).inode.size);
  const n = await fs.run(fs.read(fd, into, 0));
  return into.subarray(0, n);
}

need.describe('several files at once, on an asynchronous device', [ORACLES], () => {
  for (const name of [
    'iomap',
    'iomap, bigalloc',
    'bufferhead',
    'bufferhead, block map',
    'journalled',
    'inline',
  ]) {
    test(
      `${name} (seed ${seed})`,
      async () => {
        const kind = KINDS[name];
        const memory = memoryDevice(makeImage({ args: kind.args, size: 16 }), { sparse: true });
        const slow = slowDevice(memory, { order: 'random', seed });
        const fs = await mountVfs(slow, { cacheBytes: 6 << 20, ...kind.o });
        const one = async (id: number) => {
          const roll = randomOf(seed + id);
          const model = new Bytes(kind);
          const fd = await fs.run(fs.open(bytes(`/f${id}`), 0o102, 0o644));
          for (let i = 0; i < OPS / 3; i++) {
            let op = randomOp(roll, kind.unit);
            if (op[0] === 'remount') op = ['fsync'];
            if (model.data.length > 100 * kind.unit) op = ['trunc', roll(20 * kind.unit)];
            // A reader beside it sees old or new bytes, and must not keep the old ones. Files that get shorter are left
            // alone: what a read that is overtaken by the end must do is not this test's.
            const beside = shrinks(op) || roll(2) > 0 ? null : readLater(fs, fd, roll(60));
            const sync = roll(5) === 0 ? fs.run(fs.data.fsync(fd, true)) : null;
            expect([id, i, op, await actAsync(fs, fd, op)]).toEqual([id, i, op, model.act(op)]);
            await beside;
            await sync;
            if (roll(4) === 0) expectSame(await readAll(fs, fd), model.data, [id, i, op]);
          }
          expectSame(await readAll(fs, fd), model.data, [id, 'end']);
          await fs.run(fs.close(fd));
        };
        await Promise.all([1, 2, 3].map(one));
        await fs.run(fs.unmount());
        expect(fsck(contents(memory))).toBe('');
      },
      LONG,
    );
  }
});

need.describe('46: files marked so, on an asynchronous device', [ORACLES], () => {
  for (const name of ['iomap', 'bufferhead', 'bufferhead, block map', 'journalled']) {
    test(`${name}: edges and holes are durable when the call returns`, async () => {
      const kind = KINDS[name];
      const memory = memoryDevice(makeImage({ args: kind.args, size: 16 }), { sparse: true });
      const fs = await mountVfs(slowDevice(memory, { order: 'random', seed }), kind.o);
      const fd = await fs.run(fs.open(bytes('/f'), 0o102, 0o644));
      const { inode } = fs.file(fd);
      const model = new Bytes(kind);
      const ops: FileOp[] = [
        ['write', 0, 70_000, 7],
        ['fallocate', PUNCH | KEEP, 5000, 20_000],
        ['fallocate', ZERO, 40_001, 50_000],
        ['fallocate', INSERT, 8192, 16384],
        ['fallocate', PUNCH | KEEP, 100, 10],
        ['fallocate', COLLAPSE, 0, 8192],
        ['trunc', 33_333],
      ];
      await fs.run(fs.change.setFlags(inode.ino, inode.flags | 8));
      for (const op of ops) {
        expect(await actAsync(fs, fd, op)).toBe(model.act(op));
        const cut = new Subject(contents(memory), kind.o);
        expectSame(cut.read(), model.data, op);
        expect(cut.finish()).toBe('');
      }
      await fs.run(fs.close(fd));
      await fs.run(fs.unmount());
    });
  }
});

need.describe('a reader between two steps', [ORACLES], () => {
  for (const name of ['iomap', 'bufferhead']) {
    test(`${name}: what it found before the blocks went is not kept`, async () => {
      const kind = KINDS[name];
      const memory = memoryDevice(makeImage({ args: kind.args, size: 16 }), { sparse: true });
      const slow = slowDevice(memory, { order: 'fifo' });
      const fs = await mountVfs(slow, kind.o);
      const fd = await fs.run(fs.open(bytes('/f'), 0o102, 0o644));
      for (const flags of [PUNCH | KEEP, ZERO, INSERT]) {
        for (let chances = 0; chances < 60; chances++) {
          const model = new Bytes(kind);
          for (const op of [['trunc', 0], ['write', 0, 49152, 7], ['fsync']] as FileOp[]) {
            expect(await actAsync(fs, fd, op)).toBe(model.act(op));
          }
          const op: FileOp = ['fallocate', flags, 16384, 16384];
          const done = actAsync(fs, fd, op);
          const read = readLater(fs, fd, chances);
          expect(await done).toBe(model.act(op));
          await read;
          expectSame(await readAll(fs, fd), model.data, [flags, chances]);
        }
      }
      await fs.run(fs.close(fd));
      await fs.run(fs.unmount());
      expect(fsck(contents(memory))).toBe('');
    });
  }
});
