// Operations of a trace done by the library, and its tree in the form of the model's.

import { Ext4Error } from '../../ts/errno.ts';
import type { Flow } from '../../ts/flow.ts';
import type { FileSystem } from '../../ts/vfs/filesystem.ts';
import { digest, type Node, type Op, shown, TYPE_BITS, timeText } from './model.ts';

export const bytes = (text: string): Uint8Array =>
  Uint8Array.from(text, (c) => c.charCodeAt(0) & 255);
const text = (b: Uint8Array): string => {
  let all = '';
  for (const byte of b) all += String.fromCharCode(byte);
  return all;
};

/** One operation as a flow; throws what the library throws. */
export function* flowOf(fs: FileSystem, [kind, ...a]: Op): Flow<unknown> {
  const { change } = fs;
  const path = bytes(String(a[0] ?? '/'));
  const second = () => bytes(String(a[1]));
  if (kind === 'mkdir') return yield* change.mkdir(path, Number(a[1]));
  if (kind === 'mknod') return yield* change.mknod(path, Number(a[1]), Number(a[2] ?? 0));
  if (kind === 'symlink') return yield* change.symlink(second(), path);
  if (kind === 'link') return yield* change.link(path, second());
  if (kind === 'unlink') return yield* change.unlink(path);
  if (kind === 'rmdir') return yield* change.rmdir(path);
  if (kind === 'sync') return yield* fs.syncAll();
  if (kind === 'rename') {
    const flags = Number(a[2]);
    const o = { noReplace: (flags & 1) !== 0, exchange: (flags & 2) !== 0 };
    return yield* change.rename(path, second(), o);
  }
  return yield* attributeFlow(fs, yield* fs.resolve(path, false), [kind, ...a]);
}

function* attributeFlow(fs: FileSystem, ino: number, [kind, ...a]: Op): Flow<unknown> {
  const { change } = fs;
  if (kind === 'chmod') return yield* change.setAttributes(ino, { mode: Number(a[1]) });
  if (kind === 'chown') {
    return yield* change.setAttributes(ino, { uid: Number(a[1]), gid: Number(a[2]) });
  }
  if (kind === 'utimes') {
    const mtime = { sec: Number(a[1]), nsec: Number(a[2]) };
    return yield* change.setAttributes(ino, { atime: { ...mtime, sec: mtime.sec + 1 }, mtime });
  }
  const name = bytes(String(a[1]));
  if (kind === 'rmxattr') return yield* change.removexattr(ino, name);
  if (kind !== 'setxattr') throw new RangeError(kind);
  const o = { create: a[3] === 1, replace: a[3] === 2 };
  return yield* change.setxattr(ino, name, bytes(String(a[2])), o);
}

/** Does an operation on a synchronous mount: the error's code, or ''. Anything but an Ext4Error is a bug. */
export function apply(fs: FileSystem, op: Op): string {
  try {
    fs.runSync(flowOf(fs, op));
    return '';
  } catch (error) {
    return codeOf(error);
  }
}

export async function applyAsync(fs: FileSystem, op: Op): Promise<string> {
  try {
    await fs.run(flowOf(fs, op));
    return '';
  } catch (error) {
    return codeOf(error);
  }
}

function codeOf(error: unknown): string {
  if (error instanceof Ext4Error) return error.code;
  throw error;
}

const TYPE_OF = new Map(Object.entries(TYPE_BITS).map(([t, bits]) => [bits, t as Node['type']]));

export interface TreeOptions {
  /** Whether times have nanoseconds. */
  wide: boolean;
  /** Paths whose mtime is to be shown: the model knows it. */
  timed?: Set<string>;
}

/** The tree as lines, as Model.lines() gives them; lost+found is left out. */
export function* treeFlow(fs: FileSystem, o: TreeOptions): Flow<string[]> {
  const lines: string[] = [];
  const first = new Map<number, string>();
  const stack = [''];
  for (let path = stack.pop(); path !== undefined; path = stack.pop()) {
    const at = bytes(path === '' ? '/' : path);
    const stat = yield* fs.stat(at, false);
    const type = TYPE_OF.get(stat.mode & 0o170000) as Node['type'];
    const known = first.get(stat.ino);
    if (known !== undefined) {
      lines.push(`${shown(path)} = ${shown(known)}`);
      continue;
    }
    first.set(stat.ino, path);
    const mode = (stat.mode & 0o7777).toString(8);
    const target = type === 'l' ? text(yield* fs.readlink(at)) : '';
    let links = stat.nlink;
    if (path === '') links--;
    const parts: (string | number)[] = [
      ...[shown(path), type, mode, stat.uid, stat.gid, links, stat.rdev, shown(target)],
    ];
    if (type === 'l' && stat.size !== target.length) parts.push(`size ${stat.size}`);
    const names = (yield* fs.listxattr(at, false)).map(text).sort();
    for (const name of names) {
      const value = text(yield* fs.getxattr(at, bytes(name), false));
      parts.push(`${shown(name)}=${digest(value)}`);
    }
    if (o.timed?.has(path)) {
      parts.push(`mtime ${timeText([stat.mtime.sec, stat.mtime.nsec], o.wide)}`);
    }
    lines.push(parts.join(' '));
    if (type === 'd') stack.push(...(yield* childrenOf(fs, path)));
  }
  return lines;
}

/** Paths of a directory's entries, last first. */
function* childrenOf(fs: FileSystem, path: string): Flow<string[]> {
  const cursor = yield* fs.openDir(bytes(path === '' ? '/' : path));
  const names: string[] = [];
  for (;;) {
    const batch = yield* fs.readDir(cursor);
    if (batch.length === 0) break;
    for (const { name } of batch) names.push(text(name));
  }
  const seen = names.filter((name) => path !== '' || name !== 'lost+found');
  return seen
    .sort()
    .reverse()
    .map((name) => `${path}/${name}`);
}

export function treeOf(fs: FileSystem, o: TreeOptions): string[] {
  return fs.runSync(treeFlow(fs, o));
}
