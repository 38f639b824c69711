// Changing the tree by path: the way to the parent, then one operation of the ext4 floor; what lost its last name is
// removed afterwards, or when it is closed for the last time. EROFS on a read-only mount, before anything is
// looked up.

import * as F from '../../assembly/format/ext4.ts';
import { type ErrorCode, Ext4Error } from '../errno.ts';
import { type Inode, refuseEncrypted } from '../ext4/inode.ts';
import { removeInode } from '../ext4/inoderemove.ts';
import { createNode, linkNode, type NewNode, unlinkName } from '../ext4/namei.ts';
import { orphanOf } from '../ext4/orphanwrite.ts';
import { type RenameOptions, removeDir, renameName } from '../ext4/rename.ts';
import { type Attributes, leaveMemory, setAttributes, setFlags } from '../ext4/setattr.ts';
import { truncateFile } from '../ext4/truncate.ts';
import type { Ext4Volume } from '../ext4/volume.ts';
import { checkXattrSizes, removeXattr, setXattr, type XattrOptions } from '../ext4/xattrwrite.ts';
import { type Flow, lock, step } from '../flow.ts';
import { O_TRUNC } from './file.ts';
import { bytesOf, endsInDot, type Path, splitPath } from './names.ts';
import { child, walk, walkSteps } from './path.ts';

/** Where a name is or is to be made. */
interface Spot extends Way {
  name: Uint8Array;
}

interface Way {
  parent: number;
  key: string;
  /** The path ends in a slash. */
  slash: boolean;
}

export class Changes {
  readonly #vol: Ext4Volume;

  constructor(vol: Ext4Volume) {
    this.#vol = vol;
  }

  /** EROFS unless the mount writes. */
  #check(): void {
    if (this.#vol.journal === null || this.#vol.journal.aborted !== null)
      throw new Ext4Error('EROFS');
  }

  *mkdir(path: Path, mode: number): Flow<number> {
    return yield* this.#make(path, { mode: F.S_IFDIR + (mode & 0o7777) });
  }

  /** A regular file, fifo, socket or device: `mode` has the type; without one it is a regular file. */
  *mknod(path: Path, mode: number, rdev = 0): Flow<number> {
    const type = mode & F.S_IFMT;
    const device = type === F.S_IFCHR || type === F.S_IFBLK;
    if (type === F.S_IFDIR || type === F.S_IFLNK) throw new Ext4Error('EPERM');
    const whole = (type === 0 ? F.S_IFREG : type) + (mode & 0o7777);
    return yield* this.#make(path, device ? { mode: whole, rdev } : { mode: whole });
  }

  /** An empty file in a directory, for open. EROFS. */
  *createFile(parent: number, key: string, mode: number): Flow<number> {
    this.#check();
    const name = bytesOf(key);
    const node = { mode: F.S_IFREG + (mode & 0o7777) };
    const ino = yield* createNode(this.#vol, parent, name, node);
    yield* step(remember, this.#vol, { parent, key, name, slash: false }, ino);
    return ino;
  }

  *symlink(target: Uint8Array, path: Path): Flow<number> {
    if (target.length === 0) throw new Ext4Error('ENOENT');
    return yield* this.#make(path, { mode: F.S_IFLNK + 0o777, target });
  }

  *#make(path: Path, node: NewNode): Flow<number> {
    const isDir = (node.mode & F.S_IFMT) === F.S_IFDIR;
    const spot = yield* this.#spot(path, 'EEXIST');
    if (spot.slash && !isDir) {
      throw yield* this.#slashError(spot);
    }
    this.#check();
    const ino = yield* createNode(this.#vol, spot.parent, spot.name, node);
    yield* step(remember, this.#vol, spot, ino);
    return ino;
  }

  /** What a slash behind a new name that is no directory's is. */
  *#slashError(spot: Spot): Flow<Ext4Error> {
    return new Ext4Error(
      (yield* child(this.#vol, spot.parent, spot.key)) !== 0 ? 'EEXIST' : 'ENOENT',
    );
  }

  *link(existing: Path, path: Path): Flow<void> {
    const { ino } = yield* walk(this.#vol, existing, false);
    const spot = yield* this.#spot(path, 'EEXIST');
    if (spot.slash) throw yield* this.#slashError(spot);
    this.#check();
    yield* linkNode(this.#vol, ino, spot.parent, spot.name);
    yield* step(remember, this.#vol, spot, ino);
  }

  *unlink(path: Path): Flow<void> {
    const spot = yield* this.#spot(path, 'EISDIR');
    if (spot.slash) {
      const ino = yield* child(this.#vol, spot.parent, spot.key);
      if (ino !== 0)
        throw new Ext4Error((yield* step(isDir, this.#vol, ino)) ? 'EISDIR' : 'ENOTDIR');
    }
    this.#check();
    const rest = yield* unlinkName(this.#vol, spot.parent, spot.name);
    yield* step(forget, this.#vol, spot);
    yield* this.removeUnused(rest);
  }

  *rmdir(path: Path): Flow<void> {
    const root = splitPath(path).parts.length === 0 ? 'EBUSY' : 'ENOTEMPTY';
    const spot = yield* this.#spot(path, endsInDot(path) ? 'EINVAL' : root);
    this.#check();
    const rest = yield* removeDir(this.#vol, spot.parent, spot.name);
    yield* step(forget, this.#vol, spot);
    yield* this.removeUnused(rest);
  }

  *rename(old: Path, next: Path, o: RenameOptions = {}): Flow<void> {
    const start = yield* this.#way(old);
    const end = yield* this.#way(next);
    if (start === null) throw new Ext4Error('EBUSY');
    if (end === null) throw new Ext4Error(o.noReplace ? 'EEXIST' : 'EBUSY');
    const from = named(start, 'EBUSY');
    if ((yield* child(this.#vol, from.parent, from.key)) === 0) throw new Ext4Error('ENOENT');
    const to = named(end, 'EBUSY');
    if (from.slash || to.slash) yield* this.#needDirs(from, to);
    this.#check();
    const rest = yield* renameName(this.#vol, from, to, o);
    yield* step(forget, this.#vol, from);
    yield* step(forget, this.#vol, to);
    yield* this.removeUnused(rest);
  }

  /** With a slash at the end, only a directory is renamed. */
  *#needDirs(from: Spot, to: Spot): Flow<void> {
    const ino = yield* child(this.#vol, from.parent, from.key);
    if (ino === 0) throw new Ext4Error('ENOENT');
    if (!(yield* step(isDir, this.#vol, ino))) throw new Ext4Error('ENOTDIR');
    if (to.parent === 0) throw new Ext4Error('ENOENT');
  }

  *setAttributes(ino: number, attributes: Attributes): Flow<void> {
    this.#check();
    yield* setAttributes(this.#vol, ino, attributes);
  }

  /** ERANGE, E2BIG: what is wrong whatever the file. `value` is null for a removal. */
  checkXattr(name: Uint8Array, value: Uint8Array | null): void {
    checkXattrSizes(name, value);
  }

  *setxattr(ino: number, name: Uint8Array, value: Uint8Array, o: XattrOptions): Flow<void> {
    this.#check();
    yield* setXattr(this.#vol, ino, name, value, o);
  }

  *removexattr(ino: number, name: Uint8Array): Flow<void> {
    this.#check();
    yield* removeXattr(this.#vol, ino, name);
  }

  *setFlags(ino: number, flags: number): Flow<void> {
    this.#check();
    yield* setFlags(this.#vol, ino, flags);
  }

  /** O_TRUNC on an existing regular file: all of its data goes. EROFS, EPERM. */
  *truncateForOpen(ino: number, flags: number): Flow<void> {
    if ((flags & O_TRUNC) === 0) return;
    const inode = yield* step(inodeOf, this.#vol, ino);
    if (!inode.isFile) return;
    this.#check();
    if (inode.has(F.EXT4_IMMUTABLE_FL | F.EXT4_APPEND_FL)) throw new Ext4Error('EPERM');
    refuseEncrypted(inode);
    yield* lock(ino);
    yield* truncateFile(this.#vol, ino, 0);
  }

  /** Removes what has no name, unless it is open: then its last close does. */
  *removeUnused(ino: number): Flow<void> {
    if (ino !== 0 && !(yield* step(isOpen, this.#vol, ino))) yield* this.#remove(ino);
  }

  /** The name is gone whatever happens here: what cannot be freed stays an orphan, which the next mount works off. */
  *#remove(ino: number): Flow<void> {
    try {
      yield* removeInode(this.#vol, ino);
    } catch (error) {
      if (!(error instanceof Ext4Error)) throw error;
      this.#vol.trace.emit('orphan.left', { ino, code: error.code });
    }
  }

  /** After a close: what has no name goes, if nobody has it open. Orphans with a name are files being emptied. */
  *closed(inode: Inode): Flow<void> {
    if (inode.reopen && inode.users === 0) yield* leaveMemory(inode);
    if (!(yield* step(isGone, inode))) return;
    if (this.#vol.journal !== null && this.#vol.journal.aborted === null) {
      yield* this.#remove(inode.ino);
    }
  }

  /** When all is closed: nothing without a name stays behind. */
  *allClosed(): Flow<void> {
    for (const ino of [...this.#vol.orphans.keys()]) {
      yield* this.closed(yield* step(orphanOf, this.#vol, ino));
    }
  }

  /** The parent of a path's last name. `dots`: the error when that is "." or "..", or the path is the root. */
  *#spot(path: Path, dots: ErrorCode): Flow<Spot> {
    return named(yield* this.#way(path), dots);
  }

  /** The parent of a path's last name; without a name when that is "." or "..", or the path is the root. */
  *#way(path: Path): Flow<Way | null> {
    const { parts, dir } = splitPath(path);
    const dot = endsInDot(path);
    const key = dot ? undefined : parts.pop();
    const way = yield* walkSteps(this.#vol, parts, { follow: true, dir: true });
    if (key === undefined || key === '..') return null;
    return { parent: way.ino, key, slash: dir };
  }
}

/** With the bytes of its name. ENAMETOOLONG, after all that walking says. */
function named(way: Way | null, dots: ErrorCode): Spot {
  if (way === null) throw new Ext4Error(dots);
  return { ...way, name: bytesOf(way.key) };
}

function inodeOf(vol: Ext4Volume, ino: number): Inode {
  const inode = vol.inodes.get(ino);
  inode.at();
  return inode;
}

function isDir(vol: Ext4Volume, ino: number): boolean {
  const inode = vol.inodes.get(ino);
  inode.at();
  return inode.isDir;
}

/** Nobody has it open, and it has no name. */
function isGone(inode: Inode): boolean {
  if (inode.users > 0 || !inode.vol.orphans.has(inode.ino)) return false;
  inode.at();
  return inode.links === 0;
}

function isOpen(vol: Ext4Volume, ino: number): boolean {
  return (vol.inodes.known(ino)?.users ?? 0) > 0;
}

function remember(vol: Ext4Volume, spot: Spot, ino: number): void {
  vol.inodes.get(spot.parent).names?.set(spot.key, ino);
}

function forget(vol: Ext4Volume, spot: Spot): void {
  vol.inodes.get(spot.parent).names?.delete(spot.key);
}
