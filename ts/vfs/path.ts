// Walking a path: one component at a time, symlinks followed, names remembered a directory. ".." goes back along
// the way that was walked, so that it means the same after a symlink as in the kernel.

import * as F from '../../assembly/format/ext4.ts';
import { Ext4Error } from '../errno.ts';
import { lookupName } from '../ext4/dir.ts';
import { isIndexed } from '../ext4/dirwrite.ts';
import type { Inode } from '../ext4/inode.ts';
import { hashesOf } from '../ext4/namehashes.ts';
import { readLink } from '../ext4/stat.ts';
import type { Ext4Volume } from '../ext4/volume.ts';
import { type Flow, step } from '../flow.ts';
import { bytesOf, type Path, splitPath } from './names.ts';

/** Symlinks followed in one walk, as in the kernel. */
export const MAX_LINKS = 40;
/** Names remembered a directory; then it starts afresh. */
const MAX_NAMES = 65536;

/** Where a walk ended: the inode, and the way to it from the root. */
export interface Walked {
  ino: number;
  inos: number[];
  keys: string[];
}

/** Follows a path to its inode. ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG; EUCLEAN, EBADMSG. */
export function* walk(vol: Ext4Volume, path: Path, follow: boolean): Flow<Walked> {
  const { parts, dir } = splitPath(path);
  return yield* walkSteps(vol, parts, { follow, dir });
}

/** As walk(), by components. `dir`: the end must be a directory. */
export function* walkSteps(
  vol: Ext4Volume,
  parts: string[],
  { follow, dir }: { follow: boolean; dir: boolean },
): Flow<Walked> {
  const rest = [...parts].reverse();
  const way: Walked = { ino: F.EXT4_ROOT_INO, inos: [], keys: [] };
  let links = 0;
  while (rest.length > 0) {
    const key = rest.pop() as string;
    if (key === '..') {
      yield* step(needDir, vol, way.ino);
      up(way);
      continue;
    }
    const ino = yield* child(vol, way.ino, key);
    if (ino === 0) throw new Ext4Error('ENOENT');
    const last = rest.length === 0;
    const target = last && !follow && !dir ? null : yield* step(linkTarget, vol, ino);
    if (target === null) {
      way.inos.push(way.ino);
      way.keys.push(key);
      way.ino = ino;
      continue;
    }
    if (++links > MAX_LINKS) throw new Ext4Error('ELOOP');
    if (target[0] === 0x2f) Object.assign(way, { ino: F.EXT4_ROOT_INO, inos: [], keys: [] });
    const inner = splitPath(target);
    if (inner.dir && last) rest.push('.');
    rest.push(...inner.parts.reverse());
  }
  if (dir) yield* step(needDir, vol, way.ino);
  return way;
}

/** The inode at the end of a path whose every name is remembered, or 0: the walk then goes the long way. One step. */
export function walkKnown(vol: Ext4Volume, path: string): number {
  if (path.charCodeAt(path.length - 1) === 0x2f) return 0;
  const ino = walkTo(vol, path, path.length);
  return ino === 0 || vol.inodes.get(ino).isLink ? 0 : ino;
}

/** What the names before byte `end` of a path lead to, if every one is remembered; else 0. */
export function walkTo(vol: Ext4Volume, path: string, end: number): number {
  let ino = F.EXT4_ROOT_INO;
  for (let from = 0; from < end; ) {
    let to = path.indexOf('/', from);
    if (to < 0) to = end;
    if (to > from) {
      const found = vol.inodes.get(ino).names?.get(path.slice(from, to));
      if (found === undefined || found === 0) return 0;
      ino = found;
    }
    from = to + 1;
  }
  return ino;
}

function up(way: Walked): void {
  way.ino = way.inos.pop() ?? F.EXT4_ROOT_INO;
  way.keys.pop();
}

/** The inode number of a name in a directory, 0 when it is not there; remembered either way. */
export function* child(vol: Ext4Volume, ino: number, key: string): Flow<number> {
  if (key === '.') return ino;
  const known = yield* step(knownChild, vol, ino, key);
  if (known.ino >= 0) return known.ino;
  const found = yield* lookupName(known.dir, bytesOf(key));
  yield* step(rememberName, known.dir, key, found);
  return found;
}

function knownChild(vol: Ext4Volume, ino: number, key: string): { dir: Inode; ino: number } {
  const dir = needDir(vol, ino);
  return { dir, ino: dir.names?.get(key) ?? -1 };
}

/** Keeps in mind what a name leads to, 0 for nothing. Part of a step. */
export function rememberName(dir: Inode, key: string, ino: number): void {
  if (dir.has(F.EXT4_CASEFOLD_FL)) return;
  if (dir.names === null || dir.names.size >= MAX_NAMES) {
    const { allNames, names } = dir;
    dir.names = new Map();
    dir.allNames = false;
    if (allNames && names !== null && isIndexed(dir)) dir.hashes = hashesOf(dir, bytesIn(names));
  }
  dir.names.set(key, ino);
}

function* bytesIn(names: Map<string, number>): Generator<Uint8Array> {
  for (const [key, ino] of names) if (ino !== 0) yield bytesOf(key);
}

function needDir(vol: Ext4Volume, ino: number): Inode {
  const dir = vol.inodes.get(ino);
  if (!dir.isDir) throw new Ext4Error('ENOTDIR');
  return dir;
}

function linkTarget(vol: Ext4Volume, ino: number): Uint8Array | null {
  const inode = vol.inodes.get(ino);
  return inode.isLink ? readLink(inode) : null;
}
