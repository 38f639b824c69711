// A mounted file system as the api floor sees it: every operation by path or descriptor, as a flow that run() or
// runSync() drives. Errors carry no syscall or path yet: the api floor knows them.

import * as F from '../../assembly/format/ext4.ts';
import type { BlockDevice } from '../block/device.ts';
import { Ext4Error } from '../errno.ts';
import type { DataPath } from '../ext4/datapath.ts';
import { describeInode, describeSuper } from '../ext4/describe.ts';
import { type DirCursor, type DirEntry, readEntries } from '../ext4/dir.ts';
import type { Inode } from '../ext4/inode.ts';
import { endWriting } from '../ext4/lifecycle.ts';
import { overwriteDirty } from '../ext4/path/cached.ts';
import { directPosition } from '../ext4/path/read.ts';
import { type Bytes, writePath } from '../ext4/path/write.ts';
import { maxFileSize } from '../ext4/size.ts';
import { type StatRecord, statInode } from '../ext4/stat.ts';
import { type StatfsRecord, statfs } from '../ext4/statfs.ts';
import { trimVolume } from '../ext4/trim.ts';
import type { Ext4Volume } from '../ext4/volume.ts';
import { getXattr, listXattrs } from '../ext4/xattr.ts';
import { type Flow, step, writeBack } from '../flow.ts';
import { bufferedRead, copyCached } from '../iomap/buffered.ts';
import { MIN_DIRECT } from '../iomap/direct.ts';
import type { Trace } from '../trace.ts';
import { Changes } from './change.ts';
import { inodeForOpen } from './create.ts';
import { DataOps } from './data.ts';
import { exclusively, type ShutdownMode, shutDown } from './exclusive.ts';
import * as O from './file.ts';
import { type VolumeInfo, volumeInfo } from './info.ts';
import {
  blockStep,
  countersOf,
  dumpGroup,
  type ExtentRecord,
  extentsOf,
  seekFrom,
} from './inspect.ts';
import { type Lease, lease, leaseCached, leaseDirect, leaseForWrite } from './lease.ts';
import { mountSession, mountSessionSync, type Session } from './mount.ts';
import { joinPath, type Path } from './names.ts';
import type { MountOptions } from './options.ts';
import { walk } from './path.ts';
import { LONG_WAY, makeKnown, unlinkKnown } from './quick.ts';
import {
  checkReadable,
  inodeStep,
  needReadableDir,
  openKnown,
  openNew,
  openStep,
  readLinkStep,
  readStep,
  statKnown,
  statStep,
} from './steps.ts';
import type { Driver } from './turn.ts';

export type { ExtentRecord } from './inspect.ts';

/** A path, or an open descriptor. */
export type Target = Path | number;

export async function mountVfs(device: BlockDevice, o: MountOptions = {}): Promise<FileSystem> {
  return new FileSystem(await mountSession(device, o), o);
}

export function mountVfsSync(device: BlockDevice, o: MountOptions = {}): FileSystem {
  return new FileSystem(mountSessionSync(device, o), o);
}

export class FileSystem {
  readonly sync: boolean;
  readonly trace: Trace;
  readonly vol: Ext4Volume;
  readonly options: MountOptions;
  /** Everything that changes the tree. */
  readonly change: Changes;
  /** Everything that changes the data of files. */
  readonly data: DataOps;
  readonly #session: Session;
  readonly #driver: Driver;
  readonly #files: O.Files;
  /** Within a transaction: others wait until it ends. */
  readonly #inside: boolean;
  #mounted = true;
  /** The flow that ends the mount: it runs even after a shutdown. */
  #last: Flow<void> | null = null;

  constructor(session: Session, options: MountOptions, inside?: O.Files) {
    this.#session = session;
    this.#files = inside ?? new O.Files();
    this.#inside = inside !== undefined;
    this.#driver = session.driver;
    this.vol = session.vol;
    this.trace = session.vol.trace;
    this.sync = session.driver.sync;
    this.options = options;
    this.change = new Changes(session.vol);
    this.data = new DataOps(this);
  }

  /** Mounted so, or since the journal aborted. */
  get readOnly(): boolean {
    return this.#session.readOnly || this.vol.journal?.aborted != null;
  }

  /** Runs a flow; on a synchronous mount all of it happens before this returns. */
  run<T>(flow: Flow<T>): Promise<T> {
    if (!this.#mounted) return Promise.reject(unmounted());
    if (this.vol.down && (flow as unknown) !== this.#last) return Promise.reject(down());
    const { gate } = this.#session;
    return gate === null || this.#inside ? this.#driver.run(flow) : gate.then(() => this.run(flow));
  }

  /** Runs a flow inside the call. EOPNOTSUPP on an asynchronous mount. */
  runSync<T>(flow: Flow<T>): T {
    this.#checkSync(flow);
    return this.#driver.runSync(flow);
  }

  #checkSync(flow?: unknown): void {
    if (!this.#mounted) throw unmounted();
    if (this.vol.down && flow !== this.#last) throw down();
    if (this.#session.gate !== null && !this.#inside)
      throw new Ext4Error('EBUSY', 'a transaction runs');
  }

  /** Whether work can be done at the call: a synchronous mount that nothing keeps callers out of. */
  get immediate(): boolean {
    return this.sync && this.#open;
  }

  /** True when calls need not go through run(): nothing keeps them out. */
  get #open(): boolean {
    return this.#mounted && !this.vol.down && (this.#session.gate === null || this.#inside);
  }

  /** Many changes, one commit, nobody beside them; all taken back when `fn` throws. EROFS. */
  transaction<T>(fn: (fs: FileSystem) => Promise<T>): Promise<T> {
    if (this.readOnly) return Promise.reject(new Ext4Error('EROFS'));
    if (this.#inside) return Promise.reject(new Ext4Error('EBUSY', 'within a transaction'));
    const inner = new FileSystem(this.#session, this.options, this.#files);
    return exclusively(this.#session, async () => {
      try {
        return await fn(inner);
      } finally {
        inner.#mounted = false;
      }
    });
  }

  /** Stops all writing, as EXT4_IOC_SHUTDOWN: every later call is EIO. EROFS. */
  *shutdown(mode: ShutdownMode): Flow<void> {
    yield* shutDown(this.vol, mode);
  }

  /** Tells the device which blocks are free; bytes. EROFS, EOPNOTSUPP. */
  *trim(): Flow<number> {
    if (this.readOnly) throw new Ext4Error('EROFS');
    return yield* trimVolume(this.vol);
  }

  // ---- by path

  *resolve(path: Path, follow: boolean): Flow<number> {
    return (yield* walk(this.vol, path, follow)).ino;
  }

  *stat(path: Path, follow: boolean): Flow<StatRecord> {
    return yield* step(statStep, this.vol, yield* this.resolve(path, follow));
  }

  /** As stat() run to its end; the names on the way being known, without a generator. */
  statSync(path: Path, follow: boolean): StatRecord {
    if (this.sync && this.#open && typeof path === 'string') {
      const known = this.#driver.turnSync(statKnown, this.vol, path, undefined);
      if (known !== null) return known;
    }
    return this.runSync(this.stat(path, follow));
  }

  /** Every caller is root: reading always may, writing not on a read-only mount, executing where any x bit is set. */
  *access(path: Path, mode: number): Flow<void> {
    const stat = yield* this.stat(path, true);
    const type = stat.mode & F.S_IFMT;
    const special = type === F.S_IFCHR || type === F.S_IFBLK || type === F.S_IFIFO;
    if ((mode & 2) !== 0 && this.readOnly && !special) throw new Ext4Error('EROFS');
    if ((mode & 1) !== 0 && type !== F.S_IFDIR && (stat.mode & 0o111) === 0) {
      throw new Ext4Error('EACCES');
    }
  }

  *readlink(path: Path): Flow<Uint8Array> {
    return yield* step(readLinkStep, this.vol, yield* this.resolve(path, false));
  }

  *realpath(path: Path): Flow<Uint8Array> {
    return joinPath((yield* walk(this.vol, path, true)).keys);
  }

  *statfs(path: Path): Flow<StatfsRecord> {
    yield* this.resolve(path, true);
    return yield* statfs(this.vol);
  }

  // ---- directories

  *openDir(path: Path): Flow<DirCursor> {
    const ino = yield* this.resolve(path, true);
    yield* step(needReadableDir, this.vol, ino);
    return { ino, lblk: 0 };
  }

  /** The next entries, without "." and ".."; none at the end. */
  *readDir(cursor: DirCursor): Flow<DirEntry[]> {
    return yield* readEntries(yield* step(needReadableDir, this.vol, cursor.ino), cursor);
  }

  // ---- open files

  /** A descriptor. Writing needs a writable mount: EROFS. */
  *open(path: Path, flags: number, mode = 0o666): Flow<number> {
    const ino = yield* inodeForOpen(this.vol, path, { change: this.change, flags, mode });
    return (yield* step(openStep, this, ino, flags)).fd;
  }

  /** As open() run to its end; without a generator for reading and for a new file, the names on the way being
   *  known. */
  openSync(path: Path, flags: number, mode = 0o666): number {
    if (this.sync && this.#open && typeof path === 'string') {
      let fd = 0;
      if (flags === 0) fd = this.#driver.turnSync(openKnown, this, path, undefined);
      else if ((flags & O.O_CREAT) !== 0)
        fd = this.#driver.turnSync(openNew, this, path, { flags, mode });
      if (fd !== 0) return fd;
    }
    return this.runSync(this.open(path, flags, mode));
  }

  /** As change.mkdir() or mknod() run to its end, `mode` with the type; LONG_WAY when only they can. */
  makeNow(path: string, mode: number): number {
    if (!this.sync || !this.#open) return LONG_WAY;
    return this.#driver.turnSync(makeKnown, this.vol, path, mode);
  }

  /** As change.unlink() run to its end; LONG_WAY when only that can. */
  unlinkNow(path: string): number {
    if (!this.sync || !this.#open) return LONG_WAY;
    const rest = this.#driver.turnSync(unlinkKnown, this.vol, path, undefined);
    if (rest > 0) this.runSync(this.change.removeUnused(rest));
    return rest;
  }

  /** Called by open's step. */
  addFile(ino: number, flags: number): O.OpenFile {
    return this.#files.add(this.vol.inodes.get(ino), flags);
  }

  *close(fd: number): Flow<void> {
    const { inode } = this.#files.get(fd);
    this.#files.remove(fd);
    yield* this.change.closed(inode);
  }

  /** As close() run to its end. */
  closeSync(fd: number): void {
    const { inode } = this.#files.get(fd);
    if (this.vol.orphans.has(inode.ino) || inode.reopen) this.runSync(this.close(fd));
    else this.#files.remove(fd);
  }

  /** The open file of a descriptor. EBADF. */
  file(fd: number): O.OpenFile {
    return this.#files.get(fd);
  }

  *fstat(fd: number): Flow<StatRecord> {
    return yield* step(statInode, this.#files.get(fd).inode);
  }

  /** Reads at `pos`, or at the file's own position, which moves; returns bytes, 0 at the end. EISDIR, EBADF. */
  *read(fd: number, into: Uint8Array, pos: number | null): Flow<number> {
    const file = this.#files.get(fd);
    checkReadable(file);
    const from = pos ?? file.pos;
    const len = Math.max(0, Math.min(into.length, file.inode.size - from));
    let done = 0;
    while (done < len) {
      const n = yield* step(readStep, file.inode, {
        ...file.request,
        into,
        at: done,
        pos: from + done,
        len: Math.min(O.READ_STEP, len - done),
      });
      if (n === 0) break;
      done += n;
    }
    if (pos === null) file.pos = from + done;
    return done;
  }

  /** As read() inside the call, to `length` bytes of `into` from `at` on; cached bytes go straight from
   *  their folio. */
  readSync(fd: number, into: Uint8Array, at: number, length: number, pos: number | null): number {
    if (this.vol.down || this.#session.gate !== null) this.#checkSync();
    const file = this.#files.get(fd);
    const { cache } = this.vol;
    const cached = file.cached && cache.fill !== null && isCached(file.inode);
    if (!cached && (!this.sync || length > O.READ_STEP)) {
      const part = length === into.length ? into : into.subarray(at, at + length);
      return this.runSync(this.read(fd, part, pos));
    }
    if (!cached) checkReadable(file);
    const { inode } = file;
    const from = pos ?? file.pos;
    const len = Math.min(length, inode.size - from);
    if (!(len > 0)) return 0;
    const dpos = cached && len >= MIN_DIRECT ? directPosition(inode, from, len) : -1;
    if (dpos >= 0) this.#driver.readAt(into, at, len, dpos);
    else if (!cached || !copyCached(cache, inode.folios, into, at, from, len)) {
      const { request } = file;
      request.into = into;
      request.at = at;
      request.pos = from;
      request.len = len;
      if (cached) bufferedRead(cache, request);
      else this.#driver.turnSync(readStep, inode, request, undefined);
    }
    if (pos === null) file.pos = from + len;
    return len;
  }

  /** Writes in one step, without a generator, when nothing has to be done before; returns how many bytes, 0 when
   *  it is not so simple. */
  writeNow(inode: Inode, bytes: Bytes, pos: number): number {
    if (this.vol.cache.fill === null || !isCached(inode) || inode.mayInline) return 0;
    const { from, at, len } = bytes;
    if (pos + len > maxFileSize(inode)) return 0;
    if (pos + len <= inode.size && overwriteDirty(inode, from, at, pos, len)) return len;
    return this.#driver.turnSync(writePath, inode, bytes, pos);
  }

  /** As data.write() inside the call, of `length` bytes of `from` from `at` on. */
  writeSync(fd: number, from: Uint8Array, at: number, length: number, pos: number | null): number {
    if (this.vol.down || this.#session.gate !== null) this.#checkSync();
    return this.data.writeSync(fd, from, at, length, pos);
  }

  /** All extents, as FIEMAP gives them. */
  *extents(fd: number): Flow<ExtentRecord[]> {
    return yield* extentsOf(this.#files.get(fd).inode);
  }

  *seekData(fd: number, pos: number): Flow<number> {
    return yield* seekFrom(this.#files.get(fd).inode, pos, false);
  }

  *seekHole(fd: number, pos: number): Flow<number> {
    return yield* seekFrom(this.#files.get(fd).inode, pos, true);
  }

  dataPath(fd: number): DataPath {
    return this.#files.get(fd).inode.path;
  }

  /** A zero-copy lease of [pos, pos + len), clipped to the file. For `write` the file is open for that: EBADF;
   *  EROFS. */
  *view(fd: number, pos: number, len: number, write: boolean): Flow<Lease> {
    const file = this.#files.get(fd);
    checkReadable(file);
    if (write) {
      if (this.readOnly) throw new Ext4Error('EROFS');
      if ((file.flags & O.O_ACCMODE) !== O.O_RDWR) throw new Ext4Error('EBADF');
      return yield* leaseForWrite(file.inode, pos, len);
    }
    return yield* lease(file.inode, pos, len);
  }

  /** As view() inside the call; a range in one cached folio costs no device call. */
  viewSync(fd: number, pos: number, len: number, write: boolean): Lease {
    if (this.vol.down || this.#session.gate !== null) this.#checkSync();
    const file = this.#files.get(fd);
    const { inode } = file;
    const { fill } = this.vol.cache;
    if (
      file.cached &&
      isCached(inode) &&
      fill !== null &&
      !write &&
      pos >= 0 &&
      len > 0 &&
      pos + len <= inode.size
    ) {
      const found = leaseCached(inode, pos, len);
      if (found !== null) return found;
    }
    if (inode.path === 'dax' && this.sync && !write) {
      checkReadable(file);
      const found = this.#driver.turnSync(leaseDirect, inode, pos, len);
      if (found !== null) return found;
    }
    return this.runSync(this.view(fd, pos, len, write));
  }

  // ---- attributes

  *getxattr(target: Target, name: Uint8Array, follow: boolean): Flow<Uint8Array> {
    return yield* getXattr(yield* this.#target(target, follow), name);
  }

  *listxattr(target: Target, follow: boolean): Flow<Uint8Array[]> {
    return yield* step(listXattrs, yield* this.#target(target, follow));
  }

  /** The raw flags of the inode, EXT4_*_FL. */
  *getFlags(target: Target): Flow<number> {
    return (yield* this.#target(target, true)).flags;
  }

  *#target(target: Target, follow: boolean): Flow<Inode> {
    if (typeof target === 'number') return this.#files.get(target).inode;
    return yield* step(inodeStep, this.vol, yield* this.resolve(target, follow));
  }

  // ---- the whole

  info(): VolumeInfo {
    return volumeInfo(this.#session);
  }

  counters(): Record<string, number> {
    return countersOf(this.#session, this.#files.count);
  }

  *dumpSuper(): Flow<Record<string, unknown>> {
    return describeSuper(this.vol.sb);
  }

  *dumpGroup(group: number): Flow<Record<string, unknown>> {
    return yield* dumpGroup(this.vol, group);
  }

  *dumpInode(ino: number): Flow<Record<string, unknown>> {
    return yield* step(describeInode, this.vol, ino);
  }

  *readBlock(pblk: number): Flow<Uint8Array> {
    return yield* step(blockStep, this.vol, pblk);
  }

  *syncAll(): Flow<void> {
    yield* this.data.syncAll();
  }

  /** Open files and leases end with the mount. The device stays open: it is the caller's. */
  unmount(): Flow<void> {
    this.#last = this.#unmount();
    return this.#last;
  }

  *#unmount(): Flow<void> {
    this.#files.closeAll();
    const alive = this.vol.journal !== null && this.vol.journal.aborted === null;
    if (alive) yield* this.change.allClosed();
    const error = alive ? yield* lastSync() : undefined;
    if (alive) yield* writeBack();
    yield* endWriting(this.vol);
    this.#end();
    if (error !== undefined) throw error;
  }

  #end(): void {
    this.vol.inodes.dropAll();
    this.#mounted = false;
  }
}

/** All data written, as far as the device can; what it cannot does not keep the mount from ending. */
function* lastSync(): Flow<Ext4Error | undefined> {
  return yield { op: 'writeback', ino: 0 };
}

function down(): Ext4Error {
  return new Ext4Error('EIO', 'the file system was shut down');
}

function unmounted(): Ext4Error {
  return new Ext4Error('ENODEV', 'the file system is unmounted');
}

/** Whether data goes through folios: decided anew, since inline data may have moved out. */
function isCached({ path }: Inode): boolean {
  return path === 'iomap' || path === 'bufferhead';
}
