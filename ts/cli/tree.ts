// Files of an image as the commands see them: facts with exact times, sorted names, and a walk that no image can
// send in circles: a directory that was visited before, under whatever name, is reported and not entered again.

import type { Ext4 } from '../index.ts';
import { BAD_IMAGE, Failure } from './errors.ts';
import { type Instant, typeLetter } from './format.ts';
import type { Io } from './io.ts';
import { decodeName, encodeName, join } from './names.ts';

export interface Facts {
  ino: number;
  mode: number;
  nlink: number;
  uid: number;
  gid: number;
  rdev: number;
  dev: number;
  size: number;
  blksize: number;
  /** 512-byte units. */
  blocks: number;
  atime: Instant;
  mtime: Instant;
  ctime: Instant;
  birthtime: Instant;
}

export interface Entry {
  name: string;
  path: string;
  /** As in `ls -l`: `-`, `d`, `l` … */
  type: string;
}

/** A path as the library takes it: bytes. */
export function bytesOf(path: string): Buffer {
  const bytes = encodeName(path);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The file itself, or with `follow` what a symlink at the end of the path points to. */
export async function factsOf(img: Ext4, path: string, follow = false): Promise<Facts> {
  const { lstat, stat } = img.promises;
  const at = bytesOf(path);
  return factsFrom(follow ? await stat(at, { bigint: true }) : await lstat(at, { bigint: true }));
}

/** The same, or null for what is not there. */
export async function optionalFacts(
  img: Ext4,
  path: string,
  follow = false,
): Promise<Facts | null> {
  try {
    return await factsOf(img, path, follow);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw error;
  }
}

type StatNumbers = Record<
  'ino' | 'mode' | 'nlink' | 'uid' | 'gid' | 'rdev' | 'dev' | 'size' | 'blksize' | 'blocks',
  bigint
> &
  Record<'atimeNs' | 'mtimeNs' | 'ctimeNs' | 'birthtimeNs', bigint>;

/** From what stat says with `bigint`. */
export function factsFrom(s: StatNumbers): Facts {
  return {
    ino: Number(s.ino),
    mode: Number(s.mode),
    nlink: Number(s.nlink),
    uid: Number(s.uid),
    gid: Number(s.gid),
    rdev: Number(s.rdev),
    dev: Number(s.dev),
    size: Number(s.size),
    blksize: Number(s.blksize),
    blocks: Number(s.blocks),
    atime: instant(s.atimeNs),
    mtime: instant(s.mtimeNs),
    ctime: instant(s.ctimeNs),
    birthtime: instant(s.birthtimeNs),
  };
}

const BILLION = 1_000_000_000n;

/** Seconds are rounded down, so that nsec is never negative. */
function instant(ns: bigint): Instant {
  const nsec = ((ns % BILLION) + BILLION) % BILLION;
  return { sec: Number((ns - nsec) / BILLION), nsec: Number(nsec) };
}

/** The names in a directory, in the order of their bytes (as readdir gives them), without "." and "..". */
export async function entriesOf(img: Ext4, path: string): Promise<Entry[]> {
  const at = bytesOf(path);
  try {
    const dirents = await img.promises.readdir(at, { withFileTypes: true, encoding: 'buffer' });
    return dirents.map((dirent) => {
      const name = decodeName(dirent.name as unknown as Uint8Array);
      return { name, path: join(path, name), type: letterOf(dirent) };
    });
  } catch (error) {
    // Where the entries have no types they come from the inodes, and a bad one must not hide the others.
    const names = await img.promises.readdir(at, { encoding: 'buffer' });
    if (names.length === 0) throw error;
    const all = (names as unknown as Uint8Array[]).map(decodeName);
    return Promise.all(all.map((name) => untyped(img, path, name)));
  }
}

async function untyped(img: Ext4, dir: string, name: string): Promise<Entry> {
  const path = join(dir, name);
  try {
    return { name, path, type: typeLetter((await factsOf(img, path)).mode) };
  } catch {
    return { name, path, type: '?' };
  }
}

interface Kind {
  isFile(): boolean;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
  isCharacterDevice(): boolean;
  isBlockDevice(): boolean;
  isFIFO(): boolean;
  isSocket(): boolean;
}

function letterOf(kind: Kind): string {
  if (kind.isFile()) return '-';
  if (kind.isDirectory()) return 'd';
  if (kind.isSymbolicLink()) return 'l';
  if (kind.isCharacterDevice()) return 'c';
  if (kind.isBlockDevice()) return 'b';
  if (kind.isFIFO()) return 'p';
  return kind.isSocket() ? 's' : '?';
}

/** Where a symlink points, as a reversible string. */
export async function linkOf(img: Ext4, path: string): Promise<string> {
  const target = await img.promises.readlink(bytesOf(path), { encoding: 'buffer' });
  return decodeName(target as unknown as Buffer);
}

export interface Visit extends Entry {
  /** 0 for the start of the walk. */
  depth: number;
  facts: Facts;
  /** A directory comes twice: before what is in it and, with `leave`, after it. */
  leave: boolean;
  /** Set by whoever walks, before going on: the walk stays out of this directory. */
  skip: boolean;
}

export interface WalkOptions {
  maxDepth?: number;
  /** Told what could not be read; the walk goes on. */
  complain(path: string, error: unknown): Promise<void>;
}

/** Every file below `path`, itself included, depth first, in the order of the names. */
export async function* walk(
  img: Ext4,
  io: Io,
  path: string,
  options: WalkOptions,
): AsyncGenerator<Visit, void, undefined> {
  const start = await factsOf(img, path);
  const entry = { name: baseOf(path), path, type: typeLetter(start.mode) };
  yield* new Walker(img, io, options).visit(entry, 0, start);
}

class Walker {
  readonly #img: Ext4;
  readonly #io: Io;
  readonly #options: WalkOptions;
  readonly #seen = new Set<number>();

  constructor(img: Ext4, io: Io, options: WalkOptions) {
    this.#img = img;
    this.#io = io;
    this.#options = options;
  }

  async *visit(entry: Entry, depth: number, facts: Facts): AsyncGenerator<Visit> {
    await this.#io.breathe();
    const visit = {
      ...entry,
      type: typeLetter(facts.mode),
      depth,
      facts,
      leave: false,
      skip: false,
    };
    if (visit.type === 'd' && this.#seen.has(facts.ino)) {
      await this.#options.complain(entry.path, loop(facts.ino));
      return;
    }
    yield visit;
    if (visit.type !== 'd' || visit.skip) return;
    this.#seen.add(facts.ino);
    if (depth < (this.#options.maxDepth ?? Number.POSITIVE_INFINITY)) yield* this.#inside(visit);
    yield { ...visit, leave: true };
  }

  async *#inside(dir: Visit): AsyncGenerator<Visit> {
    let entries: Entry[] = [];
    try {
      entries = await entriesOf(this.#img, dir.path);
    } catch (error) {
      await this.#options.complain(dir.path, error);
    }
    for (const entry of entries) {
      let facts: Facts;
      try {
        facts = await factsOf(this.#img, entry.path);
      } catch (error) {
        await this.#options.complain(entry.path, error);
        continue;
      }
      yield* this.visit(entry, dir.depth + 1, facts);
    }
  }
}

/** What is said of a directory that turns up for the second time. */
export function loop(ino: number): Failure {
  return new Failure(
    `directory inode ${ino} is linked more than once: not entered again`,
    BAD_IMAGE,
  );
}

/** The last name of a path, `/` for the root. */
export function baseOf(path: string): string {
  const trimmed = path.replace(/\/+$/, '');
  return trimmed.slice(trimmed.lastIndexOf('/') + 1) || '/';
}

const CHUNK = 1 << 20;

/** The bytes from `pos` to `end`, in pieces that are overwritten by the next one. Stops early at the end of file. */
export async function* readRange(
  handle: Readable,
  pos: number,
  end: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const buffer = Buffer.allocUnsafeSlow(Math.min(CHUNK, Math.max(1, end - pos)));
  while (pos < end) {
    const want = Math.min(buffer.length, end - pos);
    const { bytesRead } = await handle.read(buffer, 0, want, pos);
    if (bytesRead === 0) return;
    pos += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

export interface Readable {
  read(
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ bytesRead: number }>;
}

export interface Segment {
  pos: number;
  len: number;
}

export interface Seekable {
  seekData(pos: number): Promise<number>;
  seekHole(pos: number): Promise<number>;
}

/** The parts of a file that hold data, in order. */
export async function* dataSegments(
  handle: Seekable,
  size: number,
): AsyncGenerator<Segment, void, undefined> {
  for (let pos = 0; pos < size; ) {
    const data = await nextData(handle, pos, size);
    if (data >= size) return;
    const hole = Math.min(size, await handle.seekHole(data));
    yield { pos: data, len: hole - data };
    pos = hole;
  }
}

async function nextData(handle: Seekable, pos: number, size: number): Promise<number> {
  try {
    return await handle.seekData(pos);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENXIO') return size;
    throw error;
  }
}
