// copyFile, as libuv does it: the mode goes with the data, what the target held goes first, and a copy that fails is
// removed. Holes stay holes. Data is copied inside the core and never passes through here.

import { Ext4Error } from '../errno.ts';
import type { FileSystem } from '../vfs/filesystem.ts';
import { constants } from './constants.ts';
import { invalidCopyMode } from './invalid.ts';
import { type Path, toPath } from './paths.ts';
import { ask, type Call, nameError, type Operation, type Work } from './work.ts';

const { COPYFILE_EXCL, COPYFILE_FICLONE_FORCE, O_CREAT, O_EXCL, O_RDONLY, O_WRONLY } = constants;
const SYSCALL = 'copyfile';
/** Bytes that one call of the core copies; between two of them others have their turn. */
const CHUNK = 64 << 20;

export const copyFile: Operation = {
  arity: 3,
  begin({ vfs }: Call, src: unknown, dest: unknown, mode?: unknown) {
    const from = toPath(src, 'src');
    const to = toPath(dest, 'dest');
    return copyFileWork(vfs, from, to, checkCopyMode(mode ?? 0));
  },
};

/** Fractions are cut off. */
function checkCopyMode(mode: unknown): number {
  if (typeof mode !== 'number' || !(mode >= 0 && mode < 8)) throw invalidCopyMode(mode);
  return Math.trunc(mode);
}

/** Copies one file; `bits` are COPYFILE_*. */
export function* copyFileWork(vfs: FileSystem, from: Path, to: Path, bits: number): Work<void> {
  const copy = new Copy(vfs, from, to);
  const source = yield* copy.ask(vfs.open(from.given, O_RDONLY, 0));
  try {
    yield* copy.from(source, bits);
  } finally {
    yield* ask(vfs.close(source), 'close');
  }
}

class Copy {
  readonly #vfs: FileSystem;
  readonly #from: Path;
  readonly #to: Path;

  constructor(vfs: FileSystem, from: Path, to: Path) {
    this.#vfs = vfs;
    this.#from = from;
    this.#to = to;
  }

  ask<T>(flow: Parameters<typeof ask<T>>[0]): Work<T> {
    return ask(flow, SYSCALL, this.#from.text, this.#to.text);
  }

  *from(source: number, bits: number): Work<void> {
    const { mode, size } = yield* this.ask(this.#vfs.fstat(source));
    const excl = (bits & COPYFILE_EXCL) !== 0 ? O_EXCL : 0;
    const flags = O_WRONLY | O_CREAT | excl;
    const target = yield* this.ask(this.#vfs.open(this.#to.given, flags, mode & 0o7777));
    try {
      // Onto itself nothing happens.
      if (this.#ino(source) === this.#ino(target)) return;
      yield* this.#fill(source, target, { mode: mode & 0o7777, size, bits });
    } finally {
      yield* ask(this.#vfs.close(target), 'close');
    }
  }

  #ino(fd: number): number {
    return this.#vfs.file(fd).inode.ino;
  }

  *#fill(source: number, target: number, { mode, size, bits }: Filling): Work<void> {
    try {
      yield* this.ask(this.#vfs.data.truncate(target, 0));
      yield* this.ask(this.#vfs.change.setAttributes(this.#ino(target), { mode }));
      if ((bits & COPYFILE_FICLONE_FORCE) !== 0) throw this.#noClone();
      yield* this.#data(source, target, size);
    } catch (error) {
      yield* this.#remove();
      throw error;
    }
  }

  /** Blocks are never shared between files here. */
  #noClone(): unknown {
    const shown = { path: this.#from.text, dest: this.#to.text };
    return nameError(new Ext4Error('ENOTSUP'), { syscall: SYSCALL, ...shown });
  }

  *#remove(): Work<void> {
    try {
      yield* ask(this.#vfs.change.unlink(this.#to.given), 'unlink', this.#to.text);
    } catch {
      // The first error is the one to tell.
    }
  }

  *#data(source: number, target: number, size: number): Work<void> {
    let end = 0;
    for (let pos = 0; pos < size; pos = end) {
      const data = yield* this.#nextData(source, pos, size);
      end = data < size ? yield* this.ask(this.#vfs.seekHole(source, data)) : size;
      if (data < size) yield* this.#range(source, target, data, Math.min(end, size));
    }
    const { size: now } = yield* this.ask(this.#vfs.fstat(target));
    if (now < size) yield* this.ask(this.#vfs.data.truncate(target, size));
  }

  *#nextData(source: number, pos: number, size: number): Work<number> {
    try {
      return yield* this.ask(this.#vfs.seekData(source, pos));
    } catch (error) {
      if ((error as Ext4Error).code === 'ENXIO') return size;
      throw error;
    }
  }

  /** Ends early where the source does, because it was cut meanwhile. */
  *#range(source: number, target: number, from: number, end: number): Work<void> {
    for (let pos = from; pos < end; ) {
      const len = Math.min(CHUNK, end - pos);
      const count = yield* this.ask(this.#vfs.data.copyRange(source, pos, target, pos, len));
      if (count === 0) return;
      pos += count;
    }
  }
}

interface Filling {
  mode: number;
  size: number;
  bits: number;
}
