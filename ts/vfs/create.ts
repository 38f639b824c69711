// Opening by path, as far as the inode: with O_CREAT the file is made where the path leads, through a symlink to
// nowhere too. The kernel's order of errors.

import * as F from '../../assembly/format/ext4.ts';
import { Ext4Error } from '../errno.ts';
import { readLink } from '../ext4/stat.ts';
import type { Ext4Volume } from '../ext4/volume.ts';
import { type Flow, step } from '../flow.ts';
import type { Changes } from './change.ts';
import { O_CREAT, O_EXCL, O_NOFOLLOW } from './file.ts';
import { endsInDot, type Path, splitPath } from './names.ts';
import { child, MAX_LINKS, walk, walkSteps } from './path.ts';

interface Opening {
  change: Changes;
  flags: number;
  mode: number;
}

/** The inode to open, made or emptied as `flags` say. EEXIST, EISDIR, ELOOP and what walking and making throw. */
export function* inodeForOpen(vol: Ext4Volume, path: Path, o: Opening): Flow<number> {
  const { change, flags } = o;
  const found = { ino: 0, made: false };
  if ((flags & O_CREAT) !== 0) Object.assign(found, yield* findOrCreate(vol, path, o));
  else found.ino = (yield* walk(vol, path, (flags & O_NOFOLLOW) === 0)).ino;
  if (!found.made) yield* change.truncateForOpen(found.ino, flags);
  return found.ino;
}

function* findOrCreate(
  vol: Ext4Volume,
  path: Path,
  { change, flags, mode }: Opening,
): Flow<{ ino: number; made: boolean }> {
  let start: string[] = [];
  let rest: Path = path;
  for (let links = 0; links <= MAX_LINKS; links++) {
    const { parts, dir } = splitPath(rest);
    const key = endsInDot(rest) ? undefined : parts.pop();
    const up = key === '..' ? [key] : [];
    const way = yield* walkSteps(vol, [...start, ...parts, ...up], { follow: true, dir: true });
    if (key === undefined || key === '..') {
      throw new Ext4Error((flags & O_EXCL) !== 0 ? 'EEXIST' : 'EISDIR');
    }
    if (dir) throw new Ext4Error('EISDIR');
    const ino = yield* child(vol, way.ino, key);
    if (ino === 0) return { ino: yield* change.createFile(way.ino, key, mode), made: true };
    if ((flags & O_EXCL) !== 0) throw new Ext4Error('EEXIST');
    const target = (flags & O_NOFOLLOW) !== 0 ? null : yield* step(targetOf, vol, ino);
    if (target === null) return { ino, made: false };
    start = target[0] === 0x2f ? [] : way.keys;
    rest = target;
  }
  throw new Ext4Error('ELOOP');
}

function targetOf(vol: Ext4Volume, ino: number): Uint8Array | null {
  const inode = vol.inodes.get(ino);
  inode.at();
  return inode.type === F.S_IFLNK ? readLink(inode) : null;
}
