// Ext4: a mounted file system. It has node:fs's surface as own properties, so that it can be passed wherever a library
// takes an `fs` and its methods taken off it, and what only a file system knows: info, counters, trace, unmount.

import type { TraceListener } from '../trace.ts';
import type { ShutdownMode } from '../vfs/exclusive.ts';
import type { FileSystem } from '../vfs/filesystem.ts';
import type { VolumeInfo } from '../vfs/info.ts';
import type { ExtraFs, ExtraPromises } from './extratypes.ts';
import { type FileSystemDirectoryHandle, rootHandle } from './handles.ts';
import { invalidValue } from './invalid.ts';
import type { NodeFs, NodePromises } from './nodetypes.ts';
import type { StreamOptions } from './streams.ts';
import { makeSurface } from './surface.ts';
import { checkFunction, checkString } from './validate.ts';
import { nameError } from './work.ts';

export type { ShutdownMode } from '../vfs/exclusive.ts';

interface Own extends NodeFs, ExtraFs {
  readonly promises: NodePromises & ExtraPromises;
  /** A web stream of a file's bytes, on every platform. */
  stream(path: string | Uint8Array | URL, options?: StreamOptions): ReadableStream<Uint8Array>;
}

/** Fills an object with the functions of a mount; its type is what they are. */
const Filled = class {
  constructor(parts: object) {
    Object.assign(this, parts);
  }
} as unknown as new (
  parts: object,
) => Own;

const cores = new WeakMap<Ext4, FileSystem>();

/** The core under a mount: for the command line and for tests; users have no way to it. */
export function coreOf(fs: Ext4): FileSystem {
  return cores.get(fs) as FileSystem;
}

export class Ext4 extends Filled {
  /** The root directory as a FileSystemDirectoryHandle. */
  readonly root: FileSystemDirectoryHandle;
  readonly #vfs: FileSystem;
  readonly #released: () => void;
  #unmounting: Promise<void> | undefined;

  /** Users call mount() or mountSync(); `released` is told when the mount has ended. */
  constructor(vfs: FileSystem, released: () => void) {
    const { own, promises, ops } = makeSurface(vfs);
    super({ ...own, promises });
    this.#vfs = vfs;
    this.#released = released;
    this.root = rootHandle({ ops, vfs });
    cores.set(this, vfs);
  }

  /** The superblock, features, free counts and the state of the journal. */
  readonly info = (): VolumeInfo => this.#vfs.info();

  /** Mapping calls, device reads and bytes, cache use, open files and leases, since the mount. */
  readonly counters = (): Record<string, number> => this.#vfs.counters();

  /** Calls `listener` for each event of a trace point, '*' for all. Returns a function that stops it. */
  readonly trace = (name: string, listener: TraceListener): (() => void) => {
    checkString(name, 'name');
    checkFunction(listener, 'fn');
    return this.#vfs.trace.listen(name, listener);
  };

  /** Resolves when everything written is durable. */
  readonly sync = (): Promise<void> =>
    this.#named('sync', () => this.#vfs.run(this.#vfs.syncAll()));

  /** Ends the mount: open files and leases with it. The device stays open. A second call waits for the first. */
  readonly unmount = (): Promise<void> => {
    this.#unmounting ??= this.#named('umount', async () => {
      await this.#vfs.run(this.#vfs.unmount());
      this.#released();
    });
    return this.#unmounting;
  };

  /** The same inside the call. EOPNOTSUPP on an asynchronous mount. */
  readonly unmountSync = (): void => {
    if (this.#unmounting) return;
    try {
      this.#vfs.runSync(this.#vfs.unmount());
    } catch (error) {
      throw nameError(error, { syscall: 'umount' });
    }
    this.#unmounting = Promise.resolve();
    this.#released();
  };

  /** Tells the device which blocks are free; resolves to bytes. EROFS; EOPNOTSUPP on a device without discard. */
  readonly trim = (): Promise<number> => this.#named('trim', () => this.#vfs.run(this.#vfs.trim()));

  /**
   * Many changes, one commit: `fn` gets a file system of its own to change, everybody else waits (synchronous calls are
   * EBUSY). When it throws, all is as it was before. ENOSPC for more than one transaction holds, ENOMEM for more data
   * than the cache does. EROFS.
   */
  readonly transaction = <T>(fn: (fs: Ext4) => Promise<T>): Promise<T> => {
    checkFunction(fn, 'fn');
    return this.#named('transaction', () =>
      this.#vfs.transaction((inner) => fn(new Ext4(inner, () => {}))),
    );
  };

  /** Stops all writing, as a crash would: every later call but unmount is EIO. EROFS on a read-only mount. */
  readonly shutdown = (mode: ShutdownMode = 'default'): Promise<void> => {
    if (!['default', 'logflush', 'nologflush'].includes(mode)) throw invalidValue('mode', mode);
    return this.#named('shutdown', () => this.#vfs.run(this.#vfs.shutdown(mode)));
  };

  async [Symbol.asyncDispose](): Promise<void> {
    await this.unmount();
  }

  [Symbol.dispose](): void {
    this.unmountSync();
  }

  async #named<T>(syscall: string, fn: () => Promise<T>): Promise<T> {
    try {
      return await fn();
    } catch (error) {
      throw nameError(error, { syscall });
    }
  }
}
