// The tree as the web's file system handles: root is a duck-typed FileSystemDirectoryHandle (WHATWG File System). Names
// are single ones, links are followed where they lead to a file or directory, and errors are DOMExceptions.
// Files are read when asked for, never before. A read-only mount rejects changes with NoModificationAllowedError,
// any mount what would write data with NotSupportedError: not yet.

import type { FileSystem } from '../vfs/filesystem.ts';
import type { Operations } from './filehandle.ts';
import { LazyFile } from './lazyfile.ts';
import type { Dirent, Stats } from './stats.ts';

type Kind = 'file' | 'directory';
type Permission = 'granted' | 'denied';

/** What the handles of one mount share. */
export interface Tree {
  readonly ops: Operations;
  readonly vfs: FileSystem;
}

const MESSAGES = {
  NotFoundError: 'A requested file or directory could not be found.',
  TypeMismatchError: 'The path supplied exists, but was not an entry of the requested type.',
  NoModificationAllowedError: 'The file system is mounted read-only.',
  InvalidModificationError: 'The object can not be modified in this way.',
  NotSupportedError: 'Writing file data comes with the next version.',
  QuotaExceededError: 'The file system is full.',
  NotAllowedError: 'The request is not allowed.',
  NotReadableError: 'The requested file could not be read.',
} as const;

function domError(name: keyof typeof MESSAGES, cause?: unknown): DOMException {
  const error = new DOMException(MESSAGES[name], name);
  if (cause !== undefined) Object.defineProperty(error, 'cause', { value: cause });
  return error;
}

/** The web's name for an error of the file system. */
function toDomError(error: unknown): unknown {
  const { code } = error as { code?: string };
  if (code === 'ENOENT' || code === 'ENOTDIR') return domError('NotFoundError', error);
  if (code === 'ENOTEMPTY') return domError('InvalidModificationError', error);
  if (code === 'ENOSPC' || code === 'EDQUOT') return domError('QuotaExceededError', error);
  if (code === 'EOPNOTSUPP') return domError('NotSupportedError', error);
  if (code === 'EROFS') return domError('NoModificationAllowedError', error);
  if (code === 'EACCES' || code === 'EPERM') return domError('NotAllowedError', error);
  return code === undefined ? error : domError('NotReadableError', error);
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
async function removePath({ ops, vfs }: Tree, path: string, o: RemoveOptions): Promise<void> {
  if (vfs.readOnly) throw domError('NoModificationAllowedError');
  const stats: Stats = await ops.lstat(path).catch(rethrow);
  if (!stats.isDirectory()) await ops.unlink(path).catch(rethrow);
  else if (o.recursive) await ops.rm(path, { recursive: true }).catch(rethrow);
  else await ops.rmdir(path).catch(rethrow);
}

/** The error of what cannot be done yet. */
function notWritten({ vfs }: Tree): DOMException {
  return domError(vfs.readOnly ? 'NoModificationAllowedError' : 'NotSupportedError');
}

abstract class Handle {
  abstract readonly kind: Kind;
  readonly name: string;
  protected readonly tree: Tree;
  /** Absolute, '/' for the root. */
  protected readonly path: string;

  constructor(tree: Tree, path: string) {
    this.tree = tree;
    this.path = path;
    this.name = path.slice(path.lastIndexOf('/') + 1);
    for (const hidden of ['tree', 'path'])
      Object.defineProperty(this, hidden, { enumerable: false });
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

  async move(): Promise<never> {
    throw notWritten(this.tree);
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

  async createWritable(): Promise<never> {
    throw notWritten(this.tree);
  }

  async createSyncAccessHandle(): Promise<never> {
    throw notWritten(this.tree);
  }

  get [Symbol.toStringTag](): string {
    return 'FileSystemFileHandle';
  }
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
    return this.path === '/' ? `/${name}` : `${this.path}/${name}`;
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

function rethrow(error: unknown): never {
  throw toDomError(error);
}

/** The root directory of a mount. */
export function rootHandle(tree: Tree): FileSystemDirectoryHandle {
  return new FileSystemDirectoryHandle(tree, '/');
}
