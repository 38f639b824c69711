// Operations on directories: readdir in all its shapes, and opendir. Node lists names in byte order (libuv sorts
// them); an opened Dir gives them in the order of the image. A recursive listing does not go through symbolic
// links: Node does where it returns bare names, which an image could use to keep it busy for ever.

import type { DirCursor, DirEntry } from '../ext4/dir.ts';
import type { FileSystem } from '../vfs/filesystem.ts';
import { constants, direntOfEntry, direntOfMode } from './constants.ts';
import { decodeName, decodeNames, type EncodingOptions, readOptions } from './encoding.ts';
import { joinBytes, joinNames, type Path, toPath } from './paths.ts';
import { Dirent } from './stats.ts';
import { checkBoolean, checkInteger } from './validate.ts';
import { ask, type Call, type Operation, type Work } from './work.ts';

const DIR_BUFFER = 32; // entries a Dir reads ahead, as in Node
/** Names that are compared rather than keyed. */
const FEW = 16;
const { UV_DIRENT_DIR, UV_DIRENT_UNKNOWN } = constants;

interface ReaddirOptions extends EncodingOptions {
  withFileTypes?: boolean;
  recursive?: boolean;
}

/** A name with its UV_DIRENT_* type. */
export interface Named {
  name: Uint8Array;
  type: number;
}

/** One directory to list: its path, and what stands before its names in the result. */
interface Listing {
  path: string | Uint8Array;
  text: string;
  shown: string | Uint8Array;
  prefix: Uint8Array;
}

export const readdir: Operation = {
  arity: 2,
  begin({ vfs, form }: Call, path: unknown, options?: unknown) {
    const given = readOptions<ReaddirOptions>(options, {});
    const at = toPath(path);
    if (form !== 'promise' && given.recursive !== undefined && given.recursive !== null)
      checkBoolean(given.recursive, 'options.recursive');
    // The promise form of Node takes the newest directory next, the others the oldest.
    return readdirWork(vfs, at, given, form === 'promise');
  },
};

function* readdirWork(
  vfs: FileSystem,
  at: Path,
  options: ReaddirOptions,
  newestFirst: boolean,
): Work<(string | Uint8Array | Dirent)[]> {
  const found: (string | Uint8Array | Dirent)[] = [];
  const queue: Listing[] = [
    { path: at.given, text: at.text, shown: at.given, prefix: new Uint8Array(0) },
  ];
  for (let next = 0; next < queue.length; ) {
    const dir = newestFirst ? queue.pop()! : queue[next++];
    const typed = options.withFileTypes === true || options.recursive === true;
    const entries = yield* listSorted(vfs, dir, typed);
    if (!typed) return decodeNames(entries, options.encoding);
    for (const one of entries) {
      found.push(shownAs(dir, one, options));
      if (options.recursive && one.type === UV_DIRENT_DIR) queue.push(below(dir, one.name));
    }
  }
  return found;
}

function shownAs(dir: Listing, one: Named, options: ReaddirOptions): string | Uint8Array | Dirent {
  const { encoding } = options;
  if (options.withFileTypes) return new Dirent(decodeName(one.name, encoding), one.type, dir.shown);
  return decodeName(joinBytes(dir.prefix, one.name), encoding);
}

function below(dir: Listing, name: Uint8Array): Listing {
  const shown = joinNames(
    dir.shown,
    typeof dir.shown === 'string' ? (decodeName(name) as string) : name,
  );
  return {
    path: joinBytes(dir.path, name),
    text: typeof shown === 'string' ? shown : (decodeName(shown) as string),
    shown,
    prefix: joinBytes(dir.prefix, name),
  };
}

/** All names of a directory in byte order; types where the entry has none are looked up when `typed`. */
function* listSorted(vfs: FileSystem, dir: Listing, typed: boolean): Work<Named[]> {
  const cursor = yield* ask(vfs.openDir(dir.path), 'scandir', dir.text);
  const entries: Named[] = [];
  for (;;) {
    const batch = yield* ask(vfs.readDir(cursor), 'scandir', dir.text);
    if (batch.length === 0) break;
    for (const entry of batch) entries.push(named(entry));
  }
  if (typed) yield* lookUpTypes(vfs, dir.path, entries);
  return sorted(entries);
}

function named({ name, type }: DirEntry): Named {
  return { name, type: direntOfEntry(type) };
}

function* lookUpTypes(vfs: FileSystem, dir: string | Uint8Array, entries: Named[]): Work<void> {
  for (const entry of entries) {
    if (entry.type !== UV_DIRENT_UNKNOWN) continue;
    const path = joinBytes(dir, entry.name);
    const { mode } = yield* ask(vfs.stat(path, false), 'lstat', decodeName(path) as string);
    entry.type = direntOfMode(mode);
  }
}

/** In byte order. What tells names apart soonest, four to six bytes behind all they have in common, sorts as a number
 *  with the entry's place in its low bits; names that these leave equal are compared whole. */
function sorted(entries: Named[]): Named[] {
  const from = commonLength(entries);
  const indexBits = entries.length <= 2 ** 16 ? 16 : entries.length <= 2 ** 24 ? 24 : 32;
  const keys = new BigUint64Array(entries.length);
  const words = new Uint32Array(keys.buffer);
  for (let i = 0; i < entries.length; i++) {
    const { name } = entries[i];
    words[2 * i] = (indexBits < 32 ? (wordAt(name, from + 4) >>> indexBits) << indexBits : 0) | i;
    words[2 * i + 1] = wordAt(name, from);
  }
  keys.sort();
  const mask = indexBits < 32 ? 2 ** indexBits - 1 : -1;
  const found: Named[] = [];
  for (let i = 0; i < entries.length; ) {
    const [low, high] = [words[2 * i] & ~mask, words[2 * i + 1]];
    const start = i;
    while (i < entries.length && words[2 * i + 1] === high && (words[2 * i] & ~mask) === low) {
      found.push(entries[(words[2 * i++] & mask) >>> 0]);
    }
    if (i - start > 1) sortRun(found, start, entries.length);
  }
  return found;
}

/** Sorts what stands in `found` from `start` on: what has more in common than all `of` them. */
function sortRun(found: Named[], start: number, of: number): void {
  const run = found.splice(start);
  const few = run.length < FEW || run.length === of;
  const order = few ? run.sort((a, b) => compareBytes(a.name, b.name)) : sorted(run);
  for (const entry of order) found.push(entry);
}

/** Bytes that all names begin with. */
function commonLength(entries: Named[]): number {
  if (entries.length === 0) return 0;
  const first = entries[0].name;
  let common = first.length;
  for (let i = 1; i < entries.length && common > 0; i++) {
    const { name } = entries[i];
    let at = 0;
    while (at < common && at < name.length && name[at] === first[at]) at++;
    common = at;
  }
  return common;
}

/** Four bytes from `from` on as a number; a name that ends before sorts first. */
function wordAt(name: Uint8Array, from: number): number {
  let word = 0;
  for (let at = from; at < from + 4; at++) word = (word << 8) | (at < name.length ? name[at] : 0);
  return word >>> 0;
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const len = Math.min(a.length, b.length);
  for (let i = 0; i < len; i++) if (a[i] !== b[i]) return a[i] - b[i];
  return a.length - b.length;
}

interface OpendirOptions extends EncodingOptions {
  bufferSize?: number;
  recursive?: boolean;
}

export const opendir: Operation = {
  arity: 2,
  callback: 'callback',
  begin(call: Call, path: unknown, options?: unknown) {
    const at = toPath(path);
    const given = readOptions<OpendirOptions>(options, { encoding: 'utf8' });
    checkInteger(given.bufferSize ?? DIR_BUFFER, 'options.bufferSize', 1, 4294967295);
    return opendirWork(call, at, given);
  },
};

function* opendirWork(call: Call, path: Path, options: OpendirOptions): Work<object> {
  const cursor = yield* ask(call.vfs.openDir(path.given), 'opendir', path.text);
  const { encoding = 'utf8', recursive = false } = options;
  return call.makeDir({ cursor, path, encoding, recursive });
}

/** The next entries of an opened directory, [] at the end; what Dir reads with. */
export function* nextEntries(vfs: FileSystem, cursor: DirCursor, path: Path): Work<Named[]> {
  const batch = yield* ask(vfs.readDir(cursor), 'scandir', path.text);
  const entries = batch.map(named);
  yield* lookUpTypes(vfs, path.given, entries);
  return entries;
}

/** An entry of `dir` opened in its turn, for a recursive Dir. */
export function openBelow(vfs: FileSystem, path: Path): Work<DirCursor> {
  return ask(vfs.openDir(path.given), 'opendir', path.text);
}
