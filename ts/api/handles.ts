// The tree as the web's file system handles: root is a duck-typed FileSystemDirectoryHandle (WHATWG File System). Names
// are single ones, links are followed where they lead to a file or directory, and errors are DOMExceptions.
// Files are read when asked for, never before. A read-only mount rejects changes with NoModificationAllowedError.

import type { FileSystem } from '../vfs/filesystem.ts';
import { FileSystemSyncAccessHandle } from './accesshandle.ts';
import { constants } from './constants.ts';
import { domError, rethrow, toDomError } from './domerrors.ts';
import type { Operations } from './filehandle.ts';
import { FileLocks, type LockKind } from './filelocks.ts';
import { LazyFile } from './lazyfile.ts';
import type { Dirent, Stats } from './stats.ts';
import { FileSystemWritableFileStream } from './writable.ts';

type Kind = 'file' | 'directory';
type Permission = 'granted' | 'denied';

/** What the handles of one mount share. */
export interface Tree {
  readonly ops: Operations;
  readonly vfs: FileSystem;
  readonly locks: FileLocks;
  /** Paths of files that are being written and have no name for users yet. */
  readonly swaps: Set<string>;
}

function checkName(name: unknown): string {
  const text = String(name);
  if (text === '' || text === '.' || text === '..' || /[/\0]/.test(text))
    throw new TypeError('Name is not allowed.');
  return text;
}

interface RemoveOptions {
  recursive?: boolean;
}

/** What a link leads to is not removed, the link is. */
async function removePath(tree: Tree, path: string, o: RemoveOptions): Promise<void> {
  const { locks, ops, vfs } = tree;
  if (vfs.readOnly) throw domError('NoModificationAllowedError');
  locks.checkFree(path);
  const stats: Stats = await ops.lstat(path).catch(rethrow);
  if (!stats.isDirectory()) await ops.unlink(path).catch(rethrow);
  else if (o.recursive) await ops.rm(path, { recursive: true }).catch(rethrow);
  else await ops.rmdir(path).catch(rethrow);
}

abstract class Handle {
  abstract readonly kind: Kind;
  declare readonly name: string;
  protected readonly tree: Tree;
  /** Absolute, '/' for the root. */
  protected path: string;

  constructor(tree: Tree, path: string) {
    this.tree = tree;
    this.path = path;
    for (const hidden of ['tree', 'path'])
      Object.defineProperty(this, hidden, { enumerable: false, writable: true });
    const name = () => this.path.slice(this.path.lastIndexOf('/') + 1);
    Object.defineProperty(this, 'name', { get: name, enumerable: true });
  }

  /** Whether both are the same path of the same mount. */
  async isSameEntry(other: unknown): Promise<boolean> {
    return other instanceof Handle && other.tree.vfs === this.tree.vfs && other.path === this.path;
  }

  async queryPermission(o: { mode?: 'read' | 'readwrite' } = {}): Promise<Permission> {
    return o.mode === 'readwrite' && this.tree.vfs.readOnly ? 'denied' : 'granted';
  }

  requestPermission(o: { mode?: 'read' | 'readwrite' } = {}): Promise<Permission> {
    return this.queryPermission(o);
  }

  /** Removes the file or directory, a directory that is not empty only with `recursive`. */
  async remove(o: RemoveOptions = {}): Promise<void> {
    await removePath(this.tree, this.path, o);
  }

  /** (name), (directory) or (directory, name): a file that has the new name is replaced. */
  async move(target: unknown, newName?: unknown): Promise<void> {
    const dir = target instanceof FileSystemDirectoryHandle ? target : null;
    const name = checkName(dir === null ? target : (newName ?? this.name));
    const to = join(dir === null ? dirOf(this.path) : Handle.placeOf(dir, this.tree), name);
    const { locks, ops, vfs } = this.tree;
    if (vfs.readOnly) throw domError('NoModificationAllowedError');
    for (const path of [this.path, to]) locks.checkFree(path);
    await ops.rename(this.path, to).catch(rethrow);
    this.path = to;
  }

  /** The path of a directory, which must be of this mount. */
  protected static placeOf(dir: Handle, tree: Tree): string {
    if (dir.tree.vfs !== tree.vfs) throw domError('InvalidModificationError');
    return dir.path;
  }

  /** The path seen from `ancestor`: names, or null when it does not lie below. */
  protected static namesBelow(ancestor: Handle, other: unknown): string[] | null {
    if (!(other instanceof Handle) || other.tree.vfs !== ancestor.tree.vfs) return null;
    if (other.path === ancestor.path) return [];
    const prefix = ancestor.path === '/' ? '/' : `${ancestor.path}/`;
    return other.path.startsWith(prefix) ? other.path.slice(prefix.length).split('/') : null;
  }
}

export class FileSystemFileHandle extends Handle {
  readonly kind = 'file';

  /** The file as it is now: size and time are taken here, bytes when they are read. */
  async getFile(): Promise<LazyFile> {
    const stats: Stats = await this.tree.ops.stat(this.path).catch(rethrow);
    if (!stats.isFile()) throw domError('TypeMismatchError');
    const read = { ops: this.tree.ops, path: this.path };
    return new LazyFile(read, 0, stats.size, { name: this.name, lastModified: stats.mtimeMs });
  }

  /** A stream whose writes appear in the file when it is closed, all at once. */
  async createWritable(o: WritableOptions = {}): Promise<FileSystemWritableFileStream> {
    const { locks, ops, swaps } = this.tree;
    const path = await this.#lock(o.mode === 'exclusive' ? 'exclusive' : 'siloed');
    const swap = join(dirOf(path), swapName());
    const done = () => {
      swaps.delete(swap);
      locks.release(path);
    };
    try {
      swaps.add(swap);
      if (o.keepExistingData) await ops.copyFile(path, swap, constants.COPYFILE_EXCL);
      const fd: number = await ops.openFd(swap, o.keepExistingData ? 'r+' : 'wx+', 0o600);
      return new FileSystemWritableFileStream({ ops, path, swap, fd, done });
    } catch (error) {
      // Where it was made; the first error is the one to tell.
      await ops.unlink(swap).catch(() => {});
      done();
      throw toDomError(error);
    }
  }

  /** Reads and writes inside the call. NotSupportedError on a mount that is asynchronous. */
  async createSyncAccessHandle(o: AccessOptions = {}): Promise<FileSystemSyncAccessHandle> {
    const { locks, ops, vfs } = this.tree;
    const { mode = 'readwrite' } = o;
    const path = await this.#lock(mode);
    const done = () => locks.release(path);
    try {
      if (!vfs.sync) throw domError('NotSupportedError');
      const fd: number = await ops.openFd(path, mode === 'read-only' ? 'r' : 'r+');
      return new FileSystemSyncAccessHandle({ vfs, fd, mode, done });
    } catch (error) {
      done();
      throw toDomError(error);
    }
  }

  /** Takes a lock on the file that the path leads to; where that is. */
  async #lock(kind: LockKind): Promise<string> {
    const { locks, ops, vfs } = this.tree;
    if (vfs.readOnly && kind !== 'read-only') throw domError('NoModificationAllowedError');
    const path: string = await ops.realpath(this.path).catch(rethrow);
    const stats: Stats = await ops.stat(path).catch(rethrow);
    if (!stats.isFile()) throw domError('TypeMismatchError');
    locks.take(path, kind);
    return path;
  }

  get [Symbol.toStringTag](): string {
    return 'FileSystemFileHandle';
  }
}

interface WritableOptions {
  keepExistingData?: boolean;
  mode?: 'siloed' | 'exclusive';
}

interface AccessOptions {
  mode?: 'readwrite' | 'read-only' | 'readwrite-unsafe';
}

interface GetOptions {
  create?: boolean;
}

export class FileSystemDirectoryHandle extends Handle {
  readonly kind = 'directory';

  async getDirectoryHandle(name: string, o: GetOptions = {}): Promise<FileSystemDirectoryHandle> {
    const path = await this.#child(name, 'directory', o);
    return new FileSystemDirectoryHandle(this.tree, path);
  }

  async getFileHandle(name: string, o: GetOptions = {}): Promise<FileSystemFileHandle> {
    return new FileSystemFileHandle(this.tree, await this.#child(name, 'file', o));
  }

  /** Removes an entry: a directory that is not empty only with `recursive` (InvalidModificationError). */
  async removeEntry(name: string, o: RemoveOptions = {}): Promise<void> {
    await removePath(this.tree, this.#join(checkName(name)), o);
  }

  async resolve(possibleDescendant: unknown): Promise<string[] | null> {
    return Handle.namesBelow(this, possibleDescendant);
  }

  /** Files and directories, links to them included; devices, sockets, pipes and dead links are left out. */
  async *entries(): AsyncGenerator<
    [string, FileSystemFileHandle | FileSystemDirectoryHandle],
    void,
    undefined
  > {
    const names: Dirent[] = await this.tree.ops
      .readdir(this.path, { withFileTypes: true })
      .catch(rethrow);
    for (const entry of names) {
      const name = entry.name as string;
      const kind = await this.#kindOf(entry);
      const path = this.#join(name);
      if (this.tree.swaps.has(path)) continue;
      if (kind === 'directory') yield [name, new FileSystemDirectoryHandle(this.tree, path)];
      else if (kind === 'file') yield [name, new FileSystemFileHandle(this.tree, path)];
    }
  }

  async *keys(): AsyncGenerator<string, void, undefined> {
    for await (const [name] of this.entries()) yield name;
  }

  async *values(): AsyncGenerator<
    FileSystemFileHandle | FileSystemDirectoryHandle,
    void,
    undefined
  > {
    for await (const [, handle] of this.entries()) yield handle;
  }

  [Symbol.asyncIterator]() {
    return this.entries();
  }

  get [Symbol.toStringTag](): string {
    return 'FileSystemDirectoryHandle';
  }

  #join(name: string): string {
    return join(this.path, name);
  }

  async #child(name: string, kind: Kind, { create }: GetOptions): Promise<string> {
    const path = this.#join(checkName(name));
    let stats: Stats;
    try {
      stats = await this.tree.ops.stat(path);
    } catch (error) {
      const named = toDomError(error) as Error;
      if (!create || named.name !== 'NotFoundError') throw named;
      await this.#make(path, kind);
      return path;
    }
    if (kind === 'file' ? !stats.isFile() : !stats.isDirectory())
      throw domError('TypeMismatchError');
    return path;
  }

  /** Makes an entry that is not there. What turns up meanwhile is taken when it is of the kind. */
  async #make(path: string, kind: Kind): Promise<void> {
    const { ops, vfs } = this.tree;
    if (vfs.readOnly) throw domError('NoModificationAllowedError');
    try {
      if (kind === 'directory') await ops.mkdir(path);
      else await ops.writeFile(path, '', { flag: 'a' });
    } catch (error) {
      const found = await ops.stat(path).then(kindOf, () => null);
      if (found === null) throw toDomError(error);
      if (found !== kind) throw domError('TypeMismatchError');
    }
  }

  async #kindOf(entry: Dirent): Promise<Kind | null> {
    if (!entry.isSymbolicLink()) return kindOf(entry);
    const path = this.#join(entry.name as string);
    return this.tree.ops.stat(path).then(kindOf, () => null);
  }
}

function kindOf(of: Pick<Stats, 'isDirectory' | 'isFile'>): Kind | null {
  return of.isDirectory() ? 'directory' : of.isFile() ? 'file' : null;
}

function join(dir: string, name: string): string {
  return dir === '/' ? `/${name}` : `${dir}/${name}`;
}

/** A name that nobody else has. randomUUID() is for secure pages only. */
function swapName(): string {
  const drawn = crypto.getRandomValues(new Uint32Array(4));
  return `.${Array.from(drawn, (n) => n.toString(36)).join('')}.swap`;
}

function dirOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/';
}

/** The root directory of a mount. */
export function rootHandle(parts: Pick<Tree, 'ops' | 'vfs'>): FileSystemDirectoryHandle {
  return new FileSystemDirectoryHandle({ ...parts, locks: new FileLocks(), swaps: new Set() }, '/');
}
