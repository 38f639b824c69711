// OPFS files where there are no synchronous access handles (the main thread, shared workers). Reads come from a
// snapshot of the file; writes stay in memory until a flush writes them out, for which the browser copies the whole
// file: prefer a Worker. A Web Lock keeps other tabs away. Writes wait while a flush runs, reads while snapshots
// change.

import { type ErrorCode, Ext4Error } from '../errno.ts';
import { BaseDevice, checkAbort, type Shape, wholeBlocks } from './base.ts';
import { blobDevice } from './blob.ts';
import type { BlockDevice, DeviceOptions, ReadRange, WriteOptions } from './device.ts';
import { memoryDevice } from './memory.ts';
import { type OverlayDevice, overlay } from './overlay.ts';

export interface OpfsOptions {
  readOnly?: boolean;
  /** Bytes a shorter file is grown to; nothing is ever cut off. */
  size?: number;
  /** Bytes, 512 by default. */
  blockSize?: number;
}

/** The browser's names for what goes wrong, as codes. */
const CODES: Record<string, ErrorCode> = {
  NoModificationAllowedError: 'EBUSY',
  QuotaExceededError: 'ENOSPC',
  NotFoundError: 'ENOENT',
  NotAllowedError: 'EACCES',
  SecurityError: 'EACCES',
  InvalidStateError: 'EBADF',
  NotReadableError: 'EIO',
};

const IN_USE = 'the file is open in another tab or worker';
const CHUNK = 1 << 20; // bytes handed to the browser at once

/** An error of the browser as one of ours; `what` was being done. */
export function asExt4Error(error: unknown, what = ''): Ext4Error {
  if (error instanceof Ext4Error) return error;
  const { name, message } = error as Error;
  const code = CODES[name] ?? 'EIO';
  const why = code === 'EBUSY' ? IN_USE : message;
  return new Ext4Error(code, what ? `${what}: ${why}` : why);
}

/** The file as an asynchronous device. EBUSY when another tab has opened it so. */
export async function openSnapshot(
  file: FileSystemFileHandle,
  o: OpfsOptions,
  blockSize: number,
): Promise<BlockDevice> {
  const release = o.readOnly ? () => undefined : await lock(file);
  try {
    if (o.size !== undefined && o.size > (await file.getFile()).size) await grow(file, o.size);
    const blob = await file.getFile();
    const size = wholeBlocks(blob.size, blockSize);
    return new Snapshot({ size, blockSize, readOnly: o.readOnly }, file, blob, release);
  } catch (error) {
    release();
    throw error;
  }
}

async function grow(file: FileSystemFileHandle, size: number): Promise<void> {
  const writable = await file.createWritable({ keepExistingData: true });
  await writable.truncate(size);
  await writable.close();
}

/** Takes the Web Lock of this file until the function that comes back is called. EBUSY when another holds it. */
async function lock(file: FileSystemFileHandle): Promise<() => void> {
  const { locks, storage } = globalThis.navigator ?? {};
  if (locks === undefined || storage === undefined) return () => undefined;
  const root = await storage.getDirectory();
  const path = (await root.resolve(file))?.join('/') ?? file.name;
  return new Promise((resolve, reject) => {
    const held = (mine: Lock | null): Promise<void> => {
      if (mine === null) throw new Ext4Error('EBUSY', IN_USE);
      return new Promise((release) => resolve(release));
    };
    locks.request(`ext4-wasm:${path}`, { ifAvailable: true }, held).catch(reject);
  });
}

class Snapshot extends BaseDevice implements BlockDevice {
  readonly fua = false;
  readonly discardZeroes = false;
  readonly #file: FileSystemFileHandle;
  readonly #release: () => void;
  /** The snapshot, and over it what was written since. */
  #state: OverlayDevice;
  /** Requests in flight, which a change of snapshots waits for. */
  readonly #busy = new Set<Promise<void>>();
  /** What writes wait for, and what reads wait for. */
  #flushing: Promise<void> | null = null;
  #changing: Promise<void> | null = null;

  constructor(shape: Shape, file: FileSystemFileHandle, blob: Blob, release: () => void) {
    super(shape);
    this.#file = file;
    this.#release = release;
    this.#state = this.#over(blob);
  }

  read(into: Uint8Array, dpos: number, o?: DeviceOptions): Promise<void> {
    return this.readv([{ into, dpos }], o);
  }

  async readv(ranges: ReadRange[], o?: DeviceOptions): Promise<void> {
    checkAbort(o);
    for (const { into, dpos } of ranges) this.checkRead(dpos, into.length);
    while (this.#changing) await this.#changing.catch(() => undefined);
    checkAbort(o);
    await this.#track(this.#state.readv?.(ranges, o));
  }

  async write(from: Uint8Array, dpos: number, o?: WriteOptions): Promise<void> {
    this.checkWrite(dpos, from.length);
    while (this.#flushing) await this.#flushing.catch(() => undefined);
    await this.#track(this.#state.write(from, dpos));
    if (o?.fua) await this.#flush();
  }

  async flush(): Promise<void> {
    this.checkOpen();
    await this.#flush();
  }

  /** What was not flushed is gone, as on any disk without a flush. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await this.#flushing?.catch(() => undefined);
    await Promise.allSettled(this.#busy);
    this.#release();
  }

  #over(blob: Blob): OverlayDevice {
    const { size, blockSize } = this;
    const lower = blobDevice(blob.slice(0, size), { blockSize });
    return overlay(lower, memoryDevice(size, { sparse: true, blockSize }));
  }

  async #track(running: Promise<void> | undefined): Promise<void> {
    if (running === undefined) return;
    this.#busy.add(running);
    const done = () => void this.#busy.delete(running);
    running.then(done, done);
    await running;
  }

  /** One at a time: a flush that comes while one runs covers later writes, so it runs after that. */
  async #flush(): Promise<void> {
    while (this.#flushing) await this.#flushing.catch(() => undefined);
    if (this.readOnly || this.#state.changes().length === 0) return;
    this.#flushing = this.#writeOut();
    try {
      await this.#flushing;
    } catch (error) {
      throw asExt4Error(error, `flush of ${this.#file.name}`);
    } finally {
      this.#flushing = null;
    }
  }

  /** Writes all changes into the browser's copy of the file, then lets that take the file's place. */
  async #writeOut(): Promise<void> {
    await Promise.allSettled(this.#busy);
    const writable = await this.#file.createWritable({ keepExistingData: true });
    try {
      for (const { dpos, len } of this.#state.changes()) {
        for (let at = dpos; at < dpos + len; at += CHUNK) {
          const data = new Uint8Array(Math.min(CHUNK, dpos + len - at));
          await this.#state.read(data, at);
          await writable.write({ type: 'write', position: at, data });
        }
      }
    } catch (error) {
      await writable.abort().catch(() => undefined);
      throw error;
    }
    this.#changing = this.#change(writable);
    try {
      await this.#changing;
    } finally {
      this.#changing = null;
    }
  }

  /** The old snapshot cannot be read any more once the file has changed: no read may be under way. */
  async #change(writable: FileSystemWritableFileStream): Promise<void> {
    await Promise.allSettled(this.#busy);
    await writable.close();
    const blob = await this.#file.getFile();
    if (blob.size < this.size) throw new Ext4Error('EIO', 'the file has become shorter');
    this.#state = this.#over(blob);
  }
}
