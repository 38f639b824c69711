// The canonical state of a mounted tree, in the format of the oracles' fsdump: one object, path -> record.
// The walker speaks to a Face, so that the synchronous and the promise interface give the same state. An error of
// one path becomes its `err`; anything that is not an Ext4Error, or lacks what it must carry, is thrown.

import { createHash } from 'node:crypto';
import { Ext4Error } from '../../ts/errno.ts';
import type { Ext4 } from '../../ts/index.ts';

export interface State {
  [path: string]: FileState;
}

export interface FileState {
  t?: string;
  mode?: number;
  uid?: number;
  gid?: number;
  nlink?: number;
  size?: number;
  rdev?: [number, number];
  link?: string;
  sha?: string;
  segsha?: string;
  segs?: [number, number][] | [number, string];
  xa?: Record<string, string>;
  hl?: string;
  err?: string;
  /** Only with the option `times`: seconds and nanoseconds as one decimal text each. */
  times?: { atime: string; mtime: string; ctime: string; btime: string };
  blocks?: number;
}

export interface FaceStat {
  mode: bigint;
  ino: bigint;
  nlink: bigint;
  uid: bigint;
  gid: bigint;
  size: bigint;
  rdev: bigint;
  blocks: bigint;
  atimeNs: bigint;
  mtimeNs: bigint;
  ctimeNs: bigint;
  birthtimeNs: bigint;
}

type Maybe<T> = T | Promise<T>;

/** What the walk asks of a file system; paths and names are raw bytes. */
export interface Face {
  lstat(path: Buffer): Maybe<FaceStat>;
  readdir(path: Buffer): Maybe<Buffer[]>;
  readlink(path: Buffer): Maybe<Buffer>;
  listxattr(path: Buffer): Maybe<string[]>;
  getxattr(path: Buffer, name: string): Maybe<Uint8Array>;
  open(path: Buffer): Maybe<FaceFile>;
}

export interface FaceFile {
  read(into: Uint8Array, pos: number): Maybe<number>;
  seekData(pos: number): Maybe<number>;
  seekHole(pos: number): Maybe<number>;
  close(): Maybe<void>;
}

export function syncFace(fs: Ext4): Face {
  return {
    lstat: (path) => fs.lstatSync(path, { bigint: true }) as unknown as FaceStat,
    readdir: (path) => fs.readdirSync(path, { encoding: 'buffer' }) as unknown as Buffer[],
    readlink: (path) => fs.readlinkSync(path, { encoding: 'buffer' }) as unknown as Buffer,
    listxattr: (path) => fs.llistxattrSync(path) as string[],
    getxattr: (path, name) => fs.lgetxattrSync(path, name),
    open: (path) => {
      const fd = fs.openSync(path, 'r');
      return {
        read: (into, pos) => fs.readSync(fd, into, 0, into.length, pos),
        seekData: (pos) => fs.seekDataSync(fd, pos),
        seekHole: (pos) => fs.seekHoleSync(fd, pos),
        close: () => fs.closeSync(fd),
      };
    },
  };
}

export function promiseFace(fs: Ext4): Face {
  const p = fs.promises;
  return {
    lstat: async (path) => (await p.lstat(path, { bigint: true })) as unknown as FaceStat,
    readdir: async (path) => (await p.readdir(path, { encoding: 'buffer' })) as unknown as Buffer[],
    readlink: async (path) => (await p.readlink(path, { encoding: 'buffer' })) as unknown as Buffer,
    listxattr: async (path) => (await p.llistxattr(path)) as string[],
    getxattr: (path, name) => p.lgetxattr(path, name),
    open: async (path) => {
      const file = await p.open(path, 'r');
      return {
        read: async (into, pos) => (await file.read(into, 0, into.length, pos)).bytesRead,
        seekData: (pos) => file.seekData(pos),
        seekHole: (pos) => file.seekHole(pos),
        close: () => file.close(),
      };
    },
  };
}

export interface DumpOptions {
  times?: boolean;
  blocks?: boolean;
  /** Contents of larger files are hashed by their data segments. */
  maxFile?: number;
  maxRecords?: number;
}

const TYPES: Record<number, string> = { 4: 'd', 8: 'f', 10: 'l', 1: 'p', 12: 's', 2: 'c', 6: 'b' };
const CHUNK = 1 << 20;
/** These families must say which record of the image is at fault. */
const DETAILED = new Set(['EUCLEAN', 'EBADMSG', 'EOPNOTSUPP']);

/** The code of an error that the library may throw here; anything else is thrown on, it is a bug. */
export function codeOf(error: unknown): string {
  if (!(error instanceof Ext4Error)) throw error;
  // A damaged entry of an ACL may be listed under a name that cannot be asked for; so in the kernel.
  const name = error.syscall === 'lgetxattr' && error.code === 'EOPNOTSUPP';
  if (DETAILED.has(error.code) && error.detail === undefined && !name) {
    throw new Error(`${error.code} without detail: ${error.message}`, { cause: error });
  }
  return error.code;
}

/** The whole tree below the root, hard links in the order of their names' bytes. */
export async function dumpTree(face: Face, options: DumpOptions = {}): Promise<State> {
  const walk = new Walk(face, options);
  await walk.visit(Buffer.from('/'), []);
  return walk.state;
}

class Walk {
  readonly state: State = {};
  readonly #face: Face;
  readonly #options: DumpOptions;
  readonly #maxFile: number;
  readonly #seen = new Map<bigint, string>();
  readonly #buffer = new Uint8Array(CHUNK);
  #left: number;

  constructor(face: Face, options: DumpOptions) {
    this.#face = face;
    this.#options = options;
    this.#maxFile = options.maxFile ?? 64 << 20;
    this.#left = options.maxRecords ?? 50_000;
  }

  async visit(path: Buffer, above: bigint[]): Promise<void> {
    if (this.#left-- <= 0) return;
    const record: FileState = {};
    this.state[escapeName(path)] = record;
    let st: FaceStat;
    try {
      st = await this.#face.lstat(path);
    } catch (error) {
      record.err = `stat:${codeOf(error)}`;
      return;
    }
    this.#describe(record, st);
    if (record.t !== 'd' && st.nlink > 1n) {
      const first = this.#seen.get(st.ino);
      if (first !== undefined) {
        record.hl = first;
        return;
      }
      this.#seen.set(st.ino, escapeText(path));
    }
    await this.#xattrs(record, path);
    if (record.t === 'l') await this.#link(record, path, st);
    else if (record.t === 'f') await this.#file(record, path, st);
    else if (record.t === 'd') await this.#directory(record, path, [...above, st.ino]);
  }

  #describe(record: FileState, st: FaceStat): void {
    record.t = TYPES[Number(st.mode) >> 12] ?? '?';
    record.mode = Number(st.mode) & 0o7777;
    record.uid = Number(st.uid);
    record.gid = Number(st.gid);
    record.nlink = Number(st.nlink);
    if (record.t === 'c' || record.t === 'b') record.rdev = majorMinor(st.rdev);
    if (this.#options.blocks) record.blocks = Number(st.blocks);
    if (this.#options.times) {
      record.times = {
        atime: String(st.atimeNs),
        mtime: String(st.mtimeNs),
        ctime: String(st.ctimeNs),
        btime: String(st.birthtimeNs),
      };
    }
  }

  async #xattrs(record: FileState, path: Buffer): Promise<void> {
    try {
      const names = [...(await this.#face.listxattr(path))].sort();
      const odd = names.find((name) => name === '' || name.includes('\0'));
      if (odd !== undefined) throw new Error(`listxattr gives the name ${JSON.stringify(odd)}`);
      const xa: Record<string, string> = {};
      for (const name of names) {
        xa[name] = Buffer.from(await this.#face.getxattr(path, name)).toString('hex');
      }
      if (names.length > 0) record.xa = xa;
    } catch (error) {
      record.err = `xattr:${codeOf(error)}`;
    }
  }

  async #link(record: FileState, path: Buffer, st: FaceStat): Promise<void> {
    try {
      record.link = escapeText(await this.#face.readlink(path));
      record.size = Number(st.size);
    } catch (error) {
      record.err = `readlink:${codeOf(error)}`;
    }
  }

  async #directory(record: FileState, path: Buffer, above: bigint[]): Promise<void> {
    if (above.indexOf(above[above.length - 1]) < above.length - 1) return; // its own ancestor
    let names: Buffer[];
    try {
      names = (await this.#face.readdir(path)).map((name) => Buffer.from(name));
    } catch (error) {
      record.err = `readdir:${codeOf(error)}`;
      return;
    }
    const odd = names.find((name) => name.length === 0 || name.includes(0) || name.includes(0x2f));
    if (odd) throw new Error(`readdir of ${escapeName(path)} gives the name ${escapeName(odd)}`);
    names.sort(Buffer.compare);
    const base = path.length === 1 ? path : Buffer.concat([path, Buffer.from('/')]);
    for (const name of names) await this.visit(Buffer.concat([base, name]), above);
  }

  async #file(record: FileState, path: Buffer, st: FaceStat): Promise<void> {
    record.size = Number(st.size);
    try {
      const file = await this.#face.open(path);
      const segs = await segments(file, record.size);
      record.segs = segs.length <= 200 ? segs : [segs.length, sha256(pythonJson(segs))];
      if (record.size <= this.#maxFile) record.sha = await this.#whole(file);
      else record.segsha = await this.#segments(file, segs);
      await file.close();
    } catch (error) {
      record.err = `read:${codeOf(error)}`;
    }
  }

  async #whole(file: FaceFile): Promise<string> {
    const hash = createHash('sha256');
    for (let pos = 0; ; ) {
      const n = await file.read(this.#buffer, pos);
      if (n === 0) return hash.digest('hex');
      hash.update(this.#buffer.subarray(0, n));
      pos += n;
    }
  }

  async #segments(file: FaceFile, segs: [number, number][]): Promise<string> {
    const hash = createHash('sha256');
    let total = 0;
    for (const [from, to] of segs) {
      hash.update(`${from}-${to}:`);
      for (let pos = from; pos < to && total < this.#maxFile; ) {
        const n = await file.read(this.#buffer.subarray(0, Math.min(CHUNK, to - pos)), pos);
        if (n === 0) break;
        hash.update(this.#buffer.subarray(0, n));
        pos += n;
        total += n;
      }
    }
    return hash.digest('hex');
  }
}

async function segments(file: FaceFile, size: number): Promise<[number, number][]> {
  const out: [number, number][] = [];
  for (let pos = 0; pos < size; ) {
    let from: number;
    try {
      from = await file.seekData(pos);
    } catch (error) {
      if (codeOf(error) === 'ENXIO') break;
      throw error;
    }
    const to = await file.seekHole(from);
    if (from < pos || to <= from) throw new Error(`segment [${from}, ${to}) after ${pos}`);
    out.push([from, to]);
    pos = to;
  }
  return out;
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** As Python's json.dumps prints a list of pairs. */
function pythonJson(pairs: [number, number][]): string {
  return `[${pairs.map(([a, b]) => `[${a}, ${b}]`).join(', ')}]`;
}

/** Major and minor of a device number as Linux's stat shows it. */
function majorMinor(rdev: bigint): [number, number] {
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n);
  return [Number(major), Number(minor)];
}

/** A path as a key: bytes that are not UTF-8 as \udcXX. */
export function escapeName(path: Uint8Array): string {
  return decode(path, (byte) => `\\udc${byte.toString(16)}`);
}

/** A link's target: bytes that are not UTF-8 as \xXX. */
export function escapeText(path: Uint8Array): string {
  return decode(path, (byte) => `\\x${byte.toString(16)}`);
}

function decode(bytes: Uint8Array, spell: (byte: number) => string): string {
  const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let out = '';
  for (let i = 0; i < bytes.length; ) {
    const n = sequenceAt(bytes, i);
    if (n === 0) out += spell(bytes[i]);
    else out += strict.decode(bytes.subarray(i, i + n));
    i += n || 1;
  }
  return out;
}

/** Bytes of the valid UTF-8 sequence at `i`, or 0. */
function sequenceAt(bytes: Uint8Array, i: number): number {
  const b = bytes[i];
  const n = b < 0x80 ? 1 : b < 0xc2 ? 0 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : b < 0xf5 ? 4 : 0;
  if (n < 2) return n;
  for (let k = 1; k < n; k++) if ((bytes[i + k] & 0xc0) !== 0x80) return 0;
  const c = bytes[i + 1];
  const bad =
    (b === 0xe0 && c < 0xa0) ||
    (b === 0xed && c > 0x9f) ||
    (b === 0xf0 && c < 0x90) ||
    (b === 0xf4 && c > 0x8f);
  return bad ? 0 : n;
}

/** How two states differ, a line each; paths that the reference could not read are compared by `errors`. */
export function differences(
  got: State,
  want: State,
  options: { keys?: (keyof FileState)[] } = {},
): string[] {
  const out: string[] = [];
  for (const path of new Set([...Object.keys(want), ...Object.keys(got)])) {
    const [g, w] = [got[path], want[path]];
    if (w === undefined) out.push(`${path}: not in the reference: ${JSON.stringify(g)}`);
    else if (g === undefined) out.push(`${path}: missing: ${JSON.stringify(w)}`);
    else out.push(...recordDifferences(path, g, w, options.keys));
  }
  return out;
}

const KEYS: (keyof FileState)[] = [
  't',
  'mode',
  'uid',
  'gid',
  'nlink',
  'size',
  'rdev',
  'link',
  'sha',
  'segsha',
  'segs',
  'xa',
  'hl',
  'err',
  'times',
  'blocks',
];

function recordDifferences(
  path: string,
  got: FileState,
  want: FileState,
  keys: (keyof FileState)[] = KEYS,
): string[] {
  return keys.flatMap((key) => {
    const [g, w] = [canonical(got[key]), canonical(want[key])];
    return g === w ? [] : [`${path}: ${key} is ${short(g)}, the reference has ${short(w)}`];
  });
}

/** Long values are cut in the middle: what matters is where they begin and end. */
function short(text: string | undefined): string {
  if (text === undefined || text.length <= 160) return String(text);
  return `${text.slice(0, 70)}…${text.slice(-70)} (${text.length})`;
}

function canonical(value: unknown): string {
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    return JSON.stringify(value);
  return JSON.stringify(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
