// Checks that a mounted tree reads exactly as its manifest says: names, types, modes, owners, times, links, contents.
// Each is run on the promise form and, on a synchronous mount, on the synchronous one too.

import type { Ext4 } from 'ext4-wasm';
import type { Entry, Manifest } from './manifest.ts';
import { type Check, equal, fromHex, pathText, sha256, sharedCopy, toHex } from './report.ts';

/** The calls that the checks need, by their promise names. */
export interface Calls {
  readdir(path: string, options: object): Promise<DirentLike[]>;
  lstat(path: Uint8Array): Promise<StatsLike>;
  readFile(path: Uint8Array): Promise<Uint8Array>;
  readlink(path: Uint8Array, encoding: 'buffer'): Promise<Uint8Array>;
}

interface DirentLike extends TypeTests {
  name: Uint8Array;
  parentPath: string;
}

interface TypeTests {
  isFile(): boolean;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
  isFIFO(): boolean;
}

interface StatsLike extends TypeTests {
  mode: number;
  uid: number;
  gid: number;
  nlink: number;
  size: number;
  mtimeMs: number;
}

/** The promise form of a mount, or its synchronous form behind promises. */
export function callsOf(fs: Ext4, form: 'promises' | 'sync'): Calls {
  if (form === 'promises') return fs.promises as unknown as Calls;
  const own = fs as unknown as Record<string, (...args: unknown[]) => unknown>;
  const call =
    (name: string) =>
    async (...args: unknown[]) =>
      own[`${name}Sync`](...args);
  return Object.fromEntries(
    ['readdir', 'lstat', 'readFile', 'readlink'].map((name) => [name, call(name)]),
  ) as unknown as Calls;
}

export function typeOf(of: TypeTests): Entry['type'] | 'other' {
  if (of.isFile()) return 'file';
  if (of.isDirectory()) return 'directory';
  if (of.isSymbolicLink()) return 'symlink';
  return of.isFIFO() ? 'fifo' : 'other';
}

/** All checks of one tree. Contents are read once; returns nothing, emits results. */
export async function checkTree(check: Check, calls: Calls, manifest: Manifest): Promise<void> {
  const { entries } = manifest;
  await check('lists the tree: names and types', () => checkNames(calls, entries));
  await check('shows modes, owners, links, sizes, times', () => checkStats(calls, entries));
  await check('reads every file: SHA-256', () => checkContents(calls, entries));
  await check('reads symlinks', () => checkLinks(calls, entries));
}

async function checkNames(calls: Calls, entries: Entry[]): Promise<string> {
  const found: string[] = [];
  const visit = async (dir: string, hex: string): Promise<void> => {
    const options = { withFileTypes: true, encoding: 'buffer' };
    for (const entry of await calls.readdir(dir, options)) {
      const path = `${hex}2f${toHex(entry.name)}`;
      found.push(`${path} ${typeOf(entry)}`);
      if (entry.isDirectory()) await visit(pathText(path), path);
    }
  };
  await visit('/', '');
  const wanted = entries.map((e) => `${e.path} ${e.type}`);
  wanted.push(`2f${toHex(new TextEncoder().encode('lost+found'))} directory`);
  equal(found.sort(), wanted.sort());
  return `${found.length} entries`;
}

async function checkStats(calls: Calls, entries: Entry[]): Promise<void> {
  for (const e of entries) {
    // A path that other threads could change: browsers refuse to decode such bytes.
    const s = await calls.lstat(sharedCopy(fromHex(e.path)));
    const { mode, uid, gid, nlink, mtimeMs } = s;
    const size = e.type === 'directory' ? 0 : s.size;
    const shown = { mode, uid, gid, nlink, size, mtime: mtimeMs / 1000 };
    const wanted = { ...shown, mode: e.mode, uid: e.uid, gid: e.gid, nlink: e.nlink, size: e.size };
    equal(shown, { ...wanted, mtime: e.mtime }, pathText(e.path));
  }
}

async function checkContents(calls: Calls, entries: Entry[]): Promise<string> {
  let total = 0;
  for (const { path, type, size, sha256: wanted } of entries) {
    if (type !== 'file') continue;
    const bytes = await calls.readFile(fromHex(path));
    equal([bytes.length, await sha256(bytes)], [size, wanted], pathText(path));
    total += size;
  }
  return `${(total / 2 ** 20).toFixed(1)} MiB`;
}

async function checkLinks(calls: Calls, entries: Entry[]): Promise<void> {
  for (const { path, type, target } of entries) {
    if (type !== 'symlink') continue;
    equal(toHex(await calls.readlink(fromHex(path), 'buffer')), target, pathText(path));
  }
}
