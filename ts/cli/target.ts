// Makes files in an image. What has a name there is replaced in one step when the new file is complete, so that an
// interrupt or a failure leaves the old one; a symbolic link in its place is replaced and never followed.

import { coreOf } from '../api/fs.ts';
import type { Flow } from '../flow.ts';
import type { Ext4 } from '../index.ts';
import type { FileSystem } from '../vfs/filesystem.ts';
import type { Call } from './args.ts';
import { Failure } from './errors.ts';
import type { Instant } from './format.ts';
import { Progress } from './progress.ts';
import type { Piece } from './source.ts';
import { bytesOf, type Facts, factsOf } from './tree.ts';
import type { Attribute } from './xattr.ts';

/** What a file gets. What is undefined stays as the file system makes it. */
export interface Wanted {
  /** Permission bits. */
  mode?: number;
  uid?: number;
  gid?: number;
  atime?: Instant;
  mtime?: Instant;
  /** All that it is to have; undefined keeps what it has. */
  xattrs?: Attribute[];
}

const ACL = /^system\.posix_acl_/;

export class ImageTarget {
  readonly img: Ext4;
  readonly progress: Progress;
  readonly #call: Call;
  readonly #core: FileSystem;
  /** Temporary names so far. */
  #made = 0;

  constructor(call: Call, img: Ext4, total?: number) {
    this.#call = call;
    this.img = img;
    this.#core = coreOf(img);
    this.progress = new Progress(call.io, total);
  }

  /** True when the directory is new. Only one that the user named may be reached through a link. */
  async directory(path: string, named: boolean): Promise<boolean> {
    try {
      await this.img.promises.mkdir(bytesOf(path), 0o700);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      if (isDirectory(await factsOf(this.img, path, named))) return false;
      throw new Failure('something that is no directory is in its place');
    }
  }

  /** A regular file of these bytes and this size; without a size it ends where the bytes do. */
  async file(
    path: string,
    pieces: AsyncIterable<Piece>,
    size: number | undefined,
    wanted: Wanted,
  ): Promise<void> {
    const make = async (temporary: string) => {
      const handle = await this.img.promises.open(bytesOf(temporary), 'wx', 0o600);
      try {
        await this.#fill(handle, pieces, size, path);
      } finally {
        await handle.close();
      }
      await this.attributes(temporary, wanted);
    };
    await this.#replace(path, make);
  }

  /** New contents for a file that has more names, or is a link's end: it stays the file that it is. */
  async overwrite(path: string, pieces: AsyncIterable<Piece>, size?: number): Promise<void> {
    const handle = await this.img.promises.open(bytesOf(path), 'r+');
    try {
      await handle.truncate(0);
      await this.#fill(handle, pieces, size, path);
    } finally {
      await handle.close();
    }
  }

  async #fill(
    handle: Writable,
    pieces: AsyncIterable<Piece>,
    size: number | undefined,
    label: string,
  ): Promise<void> {
    let end = 0;
    for await (const { pos, bytes } of pieces) {
      for (let done = 0; done < bytes.length; ) {
        const left = bytes.length - done;
        done += (await handle.write(bytes, done, left, pos + done)).bytesWritten;
      }
      end = pos + bytes.length;
      await this.progress.add(bytes.length, label);
      await this.#call.io.breathe();
    }
    if (size !== undefined && end > size) throw new Failure('the file grew while it was read');
    if (size !== undefined && end < size) await handle.truncate(size);
  }

  async symlink(path: string, target: string, wanted: Wanted): Promise<void> {
    const { mode: _, ...rest } = wanted; // a link's is 777
    await this.#replace(path, async (temporary) => {
      await this.img.promises.symlink(bytesOf(target), bytesOf(temporary));
      await this.attributes(temporary, rest);
    });
  }

  /** A device, fifo or socket; `mode` has the type. */
  async special(path: string, mode: number, rdev: number, wanted: Wanted): Promise<void> {
    await this.#replace(path, async (temporary) => {
      await this.img.promises.mknod(bytesOf(temporary), mode, rdev);
      await this.attributes(temporary, wanted);
    });
  }

  /** One more name for what is at `existing`. */
  async link(path: string, existing: string): Promise<void> {
    await this.#replace(path, (temporary) =>
      this.img.promises.link(bytesOf(existing), bytesOf(temporary)),
    );
  }

  /** Sets all of it on the file itself: owner and mode, then attributes, ACLs last of them. */
  async attributes(path: string, { xattrs, ...wanted }: Wanted): Promise<void> {
    if (Object.keys(wanted).length > 0)
      await this.#core.run(setAll(this.#core, bytesOf(path), wanted));
    if (xattrs === undefined) return;
    const { llistxattr, lremovexattr, lsetxattr } = this.img.promises;
    const at = bytesOf(path);
    const kept = new Set(xattrs.map(({ name }) => name));
    for (const name of await llistxattr(at)) if (!kept.has(name)) await lremovexattr(at, name);
    const sorted = [...xattrs].sort((a, b) => Number(ACL.test(a.name)) - Number(ACL.test(b.name)));
    for (const { name, value } of sorted) await lsetxattr(at, bytesOf(name), value);
  }

  /** What no other name has. Where the same input is to give the same bytes, it counts. */
  #unique(): string {
    if (!this.#call.io.env.SOURCE_DATE_EPOCH) return crypto.randomUUID();
    return `00000000-0000-4000-8000-${(++this.#made).toString(16).padStart(12, '0')}`;
  }

  /** Makes something under a temporary name and puts it in the place of `path`. */
  async #replace(path: string, make: (temporary: string) => Promise<unknown>): Promise<void> {
    const { rename, unlink } = this.img.promises;
    const cut = path.replace(/\/+$/, '').lastIndexOf('/') + 1;
    const temporary = `${path.slice(0, cut)}.ext4-${this.#unique()}.part`;
    try {
      await make(temporary);
      await rename(bytesOf(temporary), bytesOf(path));
    } finally {
      // Still there after an error, and after a rename onto another name of the same file, which does nothing.
      await unlink(bytesOf(temporary)).catch(ignoreMissing);
    }
  }
}

interface Writable {
  write(
    bytes: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ bytesWritten: number }>;
  truncate(size: number): Promise<void>;
}

/** fs.utimes takes seconds as one number, which has no room for all nanoseconds. */
function* setAll(core: FileSystem, path: Uint8Array, wanted: Omit<Wanted, 'xattrs'>): Flow<void> {
  yield* core.change.setAttributes(yield* core.resolve(path, false), wanted);
}

export function isDirectory({ mode }: Facts): boolean {
  return (mode & 0o170000) === 0o040000;
}

export function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}
