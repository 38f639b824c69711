// Changing the data of open files: write, truncate, fsync, the fallocate family. Each takes the inode's turn,
// zeroes the old end when the file grows past it, and goes on in steps; what some of them did stays and is told, as
// the kernel does.

import * as F from '../../assembly/format/ext4.ts';
import { Ext4Error } from '../errno.ts';
import { type FallocateMode, fallocateRange } from '../ext4/fallocate.ts';
import { type Inode, refuseEncrypted } from '../ext4/inode.ts';
import { mayGoDirect, writeDirect } from '../ext4/path/direct.ts';
import { convertInline, inlineCapacity, mayBeInline, writeInline } from '../ext4/path/inline.ts';
import { type Bytes, writePath } from '../ext4/path/write.ts';
import { maxFileSize } from '../ext4/size.ts';
import { truncateFile } from '../ext4/truncate.ts';
import type { Ext4Volume } from '../ext4/volume.ts';
import { zeroEof } from '../ext4/zerorange.ts';
import { attempt, commit, type Flow, flushDevice, lock, step, writeBackFile } from '../flow.ts';
import { dropRange } from '../iomap/fault.ts';
import { dirtyLimit } from '../iomap/write.ts';
import type { OpenFile } from './file.ts';
import { O_ACCMODE, O_APPEND, O_DIRECT, O_DSYNC, O_RDONLY, O_SYNC, READ_STEP } from './file.ts';
import type { FileSystem } from './filesystem.ts';
import type { Path } from './names.ts';

/** Bytes that one step writes. */
const WRITE_STEP = 1 << 20;
/** Bytes of a long stream that are written to the device at a time. */
const STREAM_PIECE = 8 << 20;
/** Bytes of a write of a stream that go past the cache. */
const DIRECT_MIN = 1 << 18;

export class DataOps {
  readonly #fs: FileSystem;
  readonly #vol: Ext4Volume;

  constructor(fs: FileSystem) {
    this.#fs = fs;
    this.#vol = fs.vol;
  }

  /** Writes at `pos`, or at the file's own position, which moves; at the end of a file open for appending. Fewer
   *  bytes than asked when space ended half way. EBADF, EFBIG, ENOSPC, EPERM, EROFS. */
  *write(fd: number, from: Uint8Array, pos: number | null): Flow<number> {
    return yield* this.writev(fd, [from], pos);
  }

  /** As write(), of the parts one behind the other: nobody else writes in between. */
  *writev(fd: number, parts: Uint8Array[], pos: number | null): Flow<number> {
    const file = this.#writable(fd);
    const { inode } = file;
    yield* lock(inode.ino);
    const total = parts.reduce((sum, part) => sum + part.length, 0);
    const append = (file.flags & O_APPEND) !== 0;
    const start = append ? inode.size : (pos ?? file.pos);
    if (total === 0) return 0;
    const most = checkLimit(inode, start);
    yield* this.#prepare(inode, start, Math.min(start + total, most));
    const direct = (file.flags & O_DIRECT) !== 0;
    if (direct) yield* this.#clear(inode, start, start + total);
    let at = start;
    for (const part of parts) {
      const place = { pos: at, most, soft: at > start, direct };
      const n = yield* this.#writePart(inode, part, place);
      at += n;
      if (n < part.length) break;
    }
    if (pos === null) file.pos = at;
    if (streams(inode, start, at - start)) yield* flushStream(inode);
    yield* this.#durable(file);
    return at - start;
  }

  /** What comes before the first byte: room inline or none, and zeroes behind the old end. */
  *#prepare(inode: Inode, start: number, end: number): Flow<void> {
    if (inode.path === 'inline' && end > (yield* step(capacity, inode)))
      yield* convertInline(inode);
    if (inode.path !== 'inline' && start > inode.size) yield* zeroEof(inode, start);
  }

  *#writePart(
    inode: Inode,
    part: Uint8Array,
    { pos, most, soft, direct }: { pos: number; most: number; soft: boolean; direct: boolean },
  ): Flow<number> {
    const len = Math.min(part.length, most - pos);
    if (inode.path === 'inline' || (yield* step(mayBeInline, inode))) {
      if (yield* step(writeInline, inode, part.subarray(0, len), pos)) return len;
      yield* convertInline(inode);
    }
    const past = direct || (len >= DIRECT_MIN && isLong(inode, pos));
    // A direct write moves the size on disk: what is dirty below it, its old end above all, goes first.
    if (past && this.#vol.dirtyInodes.has(inode)) yield { op: 'writeback', ino: inode.ino };
    if (past && (yield* step(mayGoDirect, inode, pos, len))) {
      return yield* writeDirect(inode, part.subarray(0, len), pos);
    }
    for (let done = 0; done < len; ) {
      const bytes: Bytes = { from: part, at: done, len: Math.min(WRITE_STEP, len - done) };
      const n = yield* attempt(writePath, inode, bytes, pos + done);
      if (n instanceof Ext4Error) {
        if (done > 0 || soft) return done;
        throw n;
      }
      done += n;
    }
    return len;
  }

  /** What the cache has of the range goes to the device, and out of the cache. */
  *#clear(inode: Inode, pos: number, end: number): Flow<void> {
    if (this.#vol.dirtyInodes.has(inode)) yield { op: 'writeback', ino: inode.ino };
    yield* step(dropPart, inode, pos, end);
  }

  /** As writev() inside the call, to cached files without a generator. */
  writeSync(fd: number, from: Uint8Array, at: number, len: number, pos: number | null): number {
    const file = this.#writable(fd);
    const { inode } = file;
    const start = (file.flags & O_APPEND) !== 0 ? inode.size : (pos ?? file.pos);
    const plain = (file.flags & (O_SYNC | O_DSYNC | O_DIRECT)) === 0 && !inode.has(F.EXT4_SYNC_FL);
    const past = len >= DIRECT_MIN && isLong(inode, start);
    if (plain && !past && start <= inode.size && len > 0 && len <= WRITE_STEP) {
      const n = this.#fs.writeNow(inode, { from, at, len }, start);
      if (n === len) {
        if (pos === null) file.pos = start + n;
        if (streams(inode, start, n)) this.#fs.runSync(flushStream(inode));
        return n;
      }
    }
    const part = len === from.length ? from : from.subarray(at, at + len);
    return this.#fs.runSync(this.writev(fd, [part], pos));
  }

  /** Makes a regular file `size` bytes long. By path: EISDIR, EINVAL; by descriptor it must be writable: EINVAL.
   *  EFBIG, EPERM, EROFS. */
  *truncate(target: Path | number, size: number): Flow<void> {
    const inode = yield* this.#truncatable(target);
    if (!(size >= 0)) throw new Ext4Error('EINVAL', `size ${size}`);
    if (size > maxFileSize(inode)) throw new Ext4Error('EFBIG');
    if (inode.has(F.EXT4_IMMUTABLE_FL | F.EXT4_APPEND_FL)) throw new Ext4Error('EPERM');
    refuseEncrypted(inode);
    yield* lock(inode.ino);
    yield* truncateFile(this.#vol, inode.ino, size);
    if (inode.has(F.EXT4_SYNC_FL)) yield* this.#flushInode(inode, false);
  }

  *#truncatable(target: Path | number): Flow<Inode> {
    if (typeof target === 'number') {
      const { inode, flags } = this.#fs.file(target);
      if ((flags & O_ACCMODE) === O_RDONLY || !inode.isFile) throw new Ext4Error('EINVAL');
      this.#check();
      return inode;
    }
    const inode = yield* step(inodeOf, this.#vol, yield* this.#fs.resolve(target, true));
    if (inode.isDir) throw new Ext4Error('EISDIR');
    if (!inode.isFile) throw new Ext4Error('EINVAL');
    this.#check();
    return inode;
  }

  /** What was written to the file is durable, with `dataOnly` without its times. EIO once for what was lost
   *  before. */
  *fsync(fd: number, dataOnly: boolean): Flow<void> {
    const file = this.#fs.file(fd);
    const { inode } = file;
    if (this.#vol.journal === null) return;
    if (this.#vol.down) throw new Ext4Error('EIO', 'the file system was shut down');
    yield* lock(inode.ino);
    yield* this.#flushInode(inode, dataOnly);
    if (file.errors === inode.writeErrors) return;
    file.errors = inode.writeErrors;
    if (inode.writeError !== null) throw new Ext4Error('EIO', inode.writeError.message);
  }

  /** What was announced in views of a file is durable. EIO, EROFS. */
  *syncInode(inode: Inode): Flow<void> {
    yield* lock(inode.ino);
    yield* this.#flushInode(inode, true);
  }

  *#flushInode(inode: Inode, dataOnly: boolean): Flow<void> {
    const { journal } = this.#vol;
    if (this.#vol.dirtyInodes.has(inode)) yield { op: 'writeback', ino: inode.ino };
    this.#checkLive();
    const commits = journal!.commits;
    if (!dataOnly || inode.dataTid > journal!.durableTid) yield* commit();
    if (journal!.commits > commits) this.#vol.dataWritten = false;
    if (!this.#vol.dataWritten || !journal!.barrier) return;
    this.#vol.dataWritten = false;
    yield* flushDevice(this.#vol.device);
  }

  /** Data and metadata of all files are durable. */
  *syncAll(): Flow<void> {
    const vol = this.#vol;
    if (vol.journal === null) return;
    this.#checkLive();
    yield* writeBackFile(0);
    const busy = [...vol.dirtyInodes]
      .filter(({ ino }) => vol.frozen.has(ino))
      .map(({ ino }) => ino);
    if (busy.length > 0) {
      yield* lock(...busy);
      for (const ino of busy) yield* writeBackFile(ino);
    }
    yield* commit();
    if (!vol.dataWritten) return;
    vol.dataWritten = false;
    yield* flushDevice(vol.device);
  }

  /** One of the fallocate family. EBADF, EINVAL, EFBIG, ENOSPC, EOPNOTSUPP, EPERM. */
  *fallocate(
    fd: number,
    mode: FallocateMode,
    pos: number,
    len: number,
    keepSize: boolean,
  ): Flow<void> {
    const file = this.#writable(fd);
    yield* lock(file.inode.ino);
    yield* fallocateRange(this.#vol, file.inode.ino, mode, pos, len, keepSize);
    yield* this.#durable(file);
  }

  /** Copies bytes from one file to another, or within one; returns how many. EINVAL when they overlap. */
  *copyRange(
    fdIn: number,
    posIn: number | null,
    fdOut: number,
    posOut: number | null,
    len: number,
  ): Flow<number> {
    const source = this.#fs.file(fdIn);
    const target = this.#writable(fdOut);
    const from = posIn ?? source.pos;
    const to = posOut ?? target.pos;
    const same = source.inode === target.inode;
    const total = Math.max(0, Math.min(len, source.inode.size - from));
    if (same && from < to + total && to < from + total)
      throw new Ext4Error('EINVAL', 'overlapping');
    const piece = new Uint8Array(Math.min(READ_STEP, total));
    let done = 0;
    while (done < total) {
      const part = piece.subarray(0, Math.min(piece.length, total - done));
      const got = yield* this.#fs.read(fdIn, part, from + done);
      if (got === 0) break;
      const put = yield* this.write(fdOut, part.subarray(0, got), to + done);
      done += put;
      if (put < got) break;
    }
    if (posIn === null) source.pos = from + done;
    if (posOut === null) target.pos = to + done;
    return done;
  }

  #checkLive(): void {
    if (this.#vol.journal!.aborted !== null)
      throw new Ext4Error('EROFS', 'the journal has aborted');
  }

  #check(): void {
    const { journal, down } = this.#vol;
    if (down) throw new Ext4Error('EIO', 'the file system was shut down');
    if (journal === null || journal.aborted !== null) throw new Ext4Error('EROFS');
  }

  #writable(fd: number): OpenFile {
    const file = this.#fs.file(fd);
    if ((file.flags & O_ACCMODE) === O_RDONLY) throw new Ext4Error('EBADF');
    if (!file.inode.isFile) throw new Ext4Error('EINVAL');
    this.#check();
    if (file.inode.has(F.EXT4_IMMUTABLE_FL)) throw new Ext4Error('EPERM');
    return file;
  }

  /** Files that are open or marked so are durable after each change. */
  *#durable({ inode, flags }: OpenFile): Flow<void> {
    const sync = (flags & O_SYNC) === O_SYNC || inode.has(F.EXT4_SYNC_FL);
    if (sync || (flags & O_DSYNC) !== 0) yield* this.#flushInode(inode, !sync);
  }
}

function capacity(inode: Inode): number {
  inode.at();
  return inlineCapacity(inode);
}

function inodeOf(vol: Ext4Volume, ino: number): Inode {
  const inode = vol.inodes.get(ino);
  inode.at();
  return inode;
}

/** Counts a write; true when so much was written in order that the cache will not keep it anyway: then a piece
 *  goes to the device at a time and its memory, still in the processor's cache, is used again. */
function streams(inode: Inode, pos: number, len: number): boolean {
  const { cache } = inode.vol;
  if (pos !== inode.streamNext) inode.streamed = 0;
  inode.streamNext = pos + len;
  inode.streamed += len;
  if (inode.streamed <= dirtyLimit(cache) * cache.blockSize) return false;
  inode.streamDirty += len;
  return inode.streamDirty >= STREAM_PIECE;
}

/** Writes back what a stream left in the cache, and lets go of it. Errors stay with the inode. */
function* flushStream(inode: Inode): Flow<void> {
  const { streamNext, streamDirty } = inode;
  inode.streamDirty = 0;
  yield { op: 'writeback', ino: inode.ino };
  yield* step(dropPart, inode, streamNext - streamDirty, streamNext);
}

/** Whether a write at `pos` continues a stream that the cache would not keep. */
function isLong(inode: Inode, pos: number): boolean {
  const { cache } = inode.vol;
  return pos === inode.streamNext && inode.streamed > dirtyLimit(cache) * cache.blockSize;
}

/** Lets go of clean folios. */
function dropPart(inode: Inode, from: number, to: number): void {
  const { blockSize } = inode.vol.sb;
  dropRange(inode.vol.cache, inode, Math.floor(from / blockSize), Math.ceil(to / blockSize));
}

/** The largest size this write may make. EFBIG when it begins there. */
function checkLimit(inode: Inode, start: number): number {
  const most = maxFileSize(inode);
  if (start >= most) throw new Ext4Error('EFBIG');
  return most;
}
