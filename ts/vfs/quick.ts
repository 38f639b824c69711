// Changes of names whose way is known: all that leads to the parent is remembered. They do in one turn, without a
// generator, what create.ts and change.ts do with many, and leave everything that is not plain to them. Only for
// synchronous mounts, where nobody else changes the directory in between. Paths are text.

import * as F from '../../assembly/format/ext4.ts';
import { lookupStep } from '../ext4/dir.ts';
import { NOWHERE, type Place } from '../ext4/dirblock.ts';
import { isIndexed, isLongList } from '../ext4/dirwrite.ts';
import { pathTo } from '../ext4/htree.ts';
import type { Inode } from '../ext4/inode.ts';
import type { NameHashes } from '../ext4/namehashes.ts';
import { createStep, unlinkStep } from '../ext4/namei.ts';
import type { Ext4Volume } from '../ext4/volume.ts';
import { PATH_MAX } from './names.ts';
import { rememberName, walkTo } from './path.ts';

/** "It is not that plain: go the long way." Nothing has changed. */
export const LONG_WAY = -1;

/** Directories that only the long way knows about. */
const SPECIAL = F.EXT4_IMMUTABLE_FL | F.EXT4_APPEND_FL | F.EXT4_ENCRYPT_FL | F.EXT4_CASEFOLD_FL;
const MAX_NAME = 255;
const SLASH = 0x2f;

/** One array for names of each length: a name is used within its step and never kept. */
const scratch: Uint8Array[] = [];

/** A step: makes what `mode` says, with its type, if nothing has the name; its inode number. ENOSPC,
 *  EUCLEAN, EBADMSG and what else making an inode may throw. */
export function makeKnown(vol: Ext4Volume, path: string, mode: number): number {
  const dir = parentOf(vol, path);
  if (dir === null) return LONG_WAY;
  const key = path.slice(path.lastIndexOf('/') + 1);
  const name = plainName(key);
  if (name === null || (dir.names?.get(key) ?? 0) !== 0) return LONG_WAY;
  const all = dir.allNames && dir.names !== null;
  const { hashes } = dir;
  const place = all ? leafFor(dir, name) : placeFor(dir, name);
  if (place === null || place.ino !== 0) return LONG_WAY;
  if (place.path === undefined && isLongList(dir)) return LONG_WAY;
  const ino = createStep(dir, name, { mode, room: -1, path: place.path });
  dir.allNames = all;
  dir.hashes = hashes;
  rememberName(dir, key, ino);
  if (dir.hashes !== null) rememberHash(dir, dir.hashes, place);
  if ((mode & F.S_IFMT) === F.S_IFDIR) knowAll(vol.inodes.get(ino));
  return ino;
}

/** Where a name goes that the directory is known not to have. */
function leafFor(dir: Inode, name: Uint8Array): Place {
  const indexed = isIndexed(dir) && dir.size > dir.vol.sb.blockSize;
  const path = indexed ? pathTo(dir, name) : null;
  return path === null ? NOWHERE : { ino: 0, lblk: -1, path };
}

/** Where a name is, or goes. What the hashes of all names do not have is not looked for. */
function placeFor(dir: Inode, name: Uint8Array): Place | null {
  const { hashes } = dir;
  const path = hashes !== null && isIndexed(dir) ? pathTo(dir, name) : null;
  if (path === null || hashes!.has(path.hash)) return lookupStep(dir, name);
  return { ino: 0, lblk: -1, path };
}

function rememberHash(dir: Inode, hashes: NameHashes, { path }: Place): void {
  if (path === undefined || !hashes.add(path.hash)) dir.hashes = null;
}

/** Of a new directory all names are known. */
function knowAll(dir: Inode): void {
  dir.names = new Map();
  dir.allNames = true;
}

/** A step: removes a name that is no directory's; the number of the inode that is to go with it, or 0.
 *  EISDIR, EPERM. */
export function unlinkKnown(vol: Ext4Volume, path: string): number {
  const dir = parentOf(vol, path);
  if (dir === null) return LONG_WAY;
  const key = path.slice(path.lastIndexOf('/') + 1);
  const name = plainName(key);
  if (name === null) return LONG_WAY;
  const place: Place | null = lookupStep(dir, name);
  if (place === null || place.ino === 0) return LONG_WAY;
  const rest = unlinkStep(dir, name, place);
  dir.names?.delete(key);
  return rest;
}

/** The directory that a path's last name lies in, open to changes; null when it is not that plain. */
function parentOf(vol: Ext4Volume, path: string): Inode | null {
  const { journal } = vol;
  if (journal === null || journal.aborted !== null || vol.fast !== null) return null;
  if (path.length >= PATH_MAX) return null;
  const ino = walkTo(vol, path, path.lastIndexOf('/') + 1);
  if (ino === 0) return null;
  const dir = vol.inodes.get(ino);
  dir.at();
  return dir.isDir && !dir.has(SPECIAL) && dir.links > 0 ? dir : null;
}

/** The bytes of a name of plain characters, until the next one is asked for; null for "", "." and "..", and others. */
function plainName(key: string): Uint8Array | null {
  const { length } = key;
  if (length === 0 || length > MAX_NAME || (length <= 2 && key.charCodeAt(0) === 0x2e)) return null;
  scratch[length] ??= new Uint8Array(length);
  const name = scratch[length];
  for (let i = 0; i < length; i++) {
    const code = key.charCodeAt(i);
    if (code >= 0x80 || code === 0 || code === SLASH) return null;
    name[i] = code;
  }
  return name;
}
