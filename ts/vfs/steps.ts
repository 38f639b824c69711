// Steps of the file system's operations: what an open needs, what stat and readlink look at.

import * as F from '../../assembly/format/ext4.ts';
import { Ext4Error } from '../errno.ts';
import { type Inode, refuseEncrypted } from '../ext4/inode.ts';
import { readPath } from '../ext4/path/read.ts';
import { readLink, type StatRecord, statInode } from '../ext4/stat.ts';
import type { Ext4Volume } from '../ext4/volume.ts';
import type { ReadRequest } from '../iomap/buffered.ts';
import * as O from './file.ts';
import type { FileSystem } from './filesystem.ts';
import { walkKnown } from './path.ts';
import { makeKnown } from './quick.ts';

export function checkReadable(file: O.OpenFile): void {
  if ((file.flags & O.O_ACCMODE) === O.O_WRONLY) throw new Ext4Error('EBADF');
  if (file.inode.isDir) throw new Ext4Error('EISDIR');
  if (!file.inode.isFile) throw new Ext4Error('EINVAL');
}

export function openStep(fs: FileSystem, ino: number, flags: number): O.OpenFile {
  const inode = fs.vol.inodes.get(ino);
  inode.at();
  const write = (flags & O.O_ACCMODE) !== 0;
  if (inode.isLink) throw new Ext4Error('ELOOP');
  if ((flags & O.O_DIRECTORY) !== 0 && !inode.isDir) throw new Ext4Error('ENOTDIR');
  if (inode.isDir && (write || (flags & O.O_CREAT) !== 0)) throw new Ext4Error('EISDIR');
  if ((write || (flags & O.O_TRUNC) !== 0) && fs.readOnly) throw new Ext4Error('EROFS');
  if (write && inode.has(F.EXT4_IMMUTABLE_FL)) throw new Ext4Error('EPERM');
  const append = (flags & O.O_APPEND) !== 0 && (flags & O.O_TRUNC) === 0;
  if (write && !append && inode.has(F.EXT4_APPEND_FL)) throw new Ext4Error('EPERM');
  if (!inode.isDir && !inode.isFile) throw new Ext4Error('ENXIO', 'a device, fifo or socket');
  if (inode.isFile) refuseEncrypted(inode);
  return fs.addFile(ino, flags);
}

export function openKnown(fs: FileSystem, path: string): number {
  const ino = walkKnown(fs.vol, path);
  return ino === 0 ? 0 : openStep(fs, ino, 0).fd;
}

/** A new file, open: what it needs after its creation is at hand, so that the turn does not run again. */
export function openNew(fs: FileSystem, path: string, how: { flags: number; mode: number }) {
  const ino = makeKnown(fs.vol, path, F.S_IFREG + (how.mode & 0o7777));
  return ino > 0 ? openStep(fs, ino, how.flags).fd : 0;
}

export function statStep(vol: Ext4Volume, ino: number): StatRecord {
  return statInode(vol.inodes.get(ino));
}

export function statKnown(vol: Ext4Volume, path: string): StatRecord | null {
  const ino = walkKnown(vol, path);
  return ino === 0 ? null : statInode(vol.inodes.get(ino));
}

export function inodeStep(vol: Ext4Volume, ino: number): Inode {
  const inode = vol.inodes.get(ino);
  inode.at();
  return inode;
}

export function readLinkStep(vol: Ext4Volume, ino: number): Uint8Array {
  const inode = vol.inodes.get(ino);
  if (!inode.isLink) throw new Ext4Error('EINVAL');
  return readLink(inode);
}

export function needReadableDir(vol: Ext4Volume, ino: number): Inode {
  const dir = vol.inodes.get(ino);
  if (!dir.isDir) throw new Ext4Error('ENOTDIR');
  return dir;
}

/** Copies what of the request lies within the file, whose end may have moved since it was asked for; bytes. */
export function readStep(inode: Inode, request: ReadRequest): number {
  inode.at();
  const len = Math.max(0, Math.min(request.len, inode.size - request.pos));
  if (len === 0) return 0;
  readPath(inode, len === request.len ? request : { ...request, len });
  return len;
}
