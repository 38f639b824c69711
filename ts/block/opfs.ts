// A file of the origin private file system as a device. In a dedicated Worker: a synchronous access handle, which locks
// the file and takes views of shared memory. Elsewhere: see snapshot.ts.

import { Ext4Error } from '../errno.ts';
import { BaseDevice, checkAbort, checkBlockSize, wholeBlocks } from './base.ts';
import type { BlockDevice, DeviceOptions, ReadRange, WriteOptions } from './device.ts';
import { asExt4Error, type OpfsOptions, openSnapshot } from './snapshot.ts';

export type { OpfsOptions } from './snapshot.ts';

/** What this file uses of FileSystemSyncAccessHandle, which TypeScript knows in workers only. */
interface AccessHandle {
  read(into: Uint8Array, o: { at: number }): number;
  write(from: Uint8Array, o: { at: number }): number;
  truncate(size: number): void;
  getSize(): number;
  flush(): void;
  close(): void;
}

interface WorkerFileHandle extends FileSystemFileHandle {
  createSyncAccessHandle?(o?: { mode: 'readwrite' | 'read-only' }): Promise<AccessHandle>;
}

/**
 * The file's whole blocks as a device; synchronous too where access handles are (a dedicated Worker). EBUSY when
 * another tab or worker has it open, ENOSPC beyond the quota, ENOENT when it is gone.
 */
export async function opfsDevice(
  handle: FileSystemFileHandle,
  o: OpfsOptions = {},
): Promise<BlockDevice> {
  const blockSize = checkBlockSize(o.blockSize);
  if (o.size !== undefined && !(Number.isSafeInteger(o.size) && o.size >= 0)) {
    throw new Ext4Error('EINVAL', `size ${o.size}`).at('open', handle.name);
  }
  if (o.readOnly && o.size !== undefined) {
    throw new Ext4Error('EINVAL', 'a read-only file is not grown').at('open', handle.name);
  }
  try {
    const inWorker = (handle as WorkerFileHandle).createSyncAccessHandle !== undefined;
    return await (inWorker ? openAccess(handle, o, blockSize) : openSnapshot(handle, o, blockSize));
  } catch (error) {
    throw asExt4Error(error).at('open', handle.name);
  }
}

async function openAccess(
  file: WorkerFileHandle,
  o: OpfsOptions,
  blockSize: number,
): Promise<BlockDevice> {
  const mode = o.readOnly ? 'read-only' : 'readwrite';
  const access = await file.createSyncAccessHandle?.({ mode });
  if (access === undefined) throw new Ext4Error('ENOTSUP', 'no synchronous access handle');
  try {
    if (o.size !== undefined && o.size > access.getSize()) access.truncate(o.size);
    const size = wholeBlocks(access.getSize(), blockSize);
    return new AccessDevice({ size, blockSize, readOnly: o.readOnly }, file.name, access);
  } catch (error) {
    access.close();
    throw error;
  }
}

/** On an access handle: every form does its work at the call. */
class AccessDevice extends BaseDevice implements BlockDevice {
  readonly fua = false;
  readonly discardZeroes = false;
  readonly #name: string;
  readonly #access: AccessHandle;

  constructor(
    shape: { size: number; blockSize: number; readOnly?: boolean },
    name: string,
    access: AccessHandle,
  ) {
    super(shape);
    this.#name = name;
    this.#access = access;
  }

  readSync(into: Uint8Array, dpos: number): void {
    this.checkRead(dpos, into.length);
    this.#all('read', into, dpos);
  }

  readvSync(ranges: ReadRange[]): void {
    for (const { into, dpos } of ranges) this.checkRead(dpos, into.length);
    for (const { into, dpos } of ranges) this.#all('read', into, dpos);
  }

  writeSync(from: Uint8Array, dpos: number, o?: WriteOptions): void {
    this.checkWrite(dpos, from.length);
    this.#all('write', from, dpos);
    if (o?.fua) this.flushSync();
  }

  flushSync(): void {
    this.checkOpen();
    if (this.readOnly) return;
    try {
      this.#access.flush();
    } catch (error) {
      throw asExt4Error(error, `flush of ${this.#name}`);
    }
  }

  closeSync(): void {
    if (!this.closed) this.#access.close();
    this.closed = true;
  }

  async read(into: Uint8Array, dpos: number, o?: DeviceOptions): Promise<void> {
    checkAbort(o);
    this.readSync(into, dpos);
  }

  async readv(ranges: ReadRange[], o?: DeviceOptions): Promise<void> {
    checkAbort(o);
    this.readvSync(ranges);
  }

  async write(from: Uint8Array, dpos: number, o?: WriteOptions): Promise<void> {
    this.writeSync(from, dpos, o);
  }

  async flush(): Promise<void> {
    this.flushSync();
  }

  async close(): Promise<void> {
    this.closeSync();
  }

  /** Moves the whole view; a call that moves nothing means the file ends. */
  #all(what: 'read' | 'write', view: Uint8Array, dpos: number): void {
    const where = `${what} of ${view.length} bytes at ${dpos} of ${this.#name}`;
    for (let done = 0; done < view.length; ) {
      let count: number;
      try {
        count = this.#access[what](view.subarray(done), { at: dpos + done });
      } catch (error) {
        throw asExt4Error(error, where);
      }
      if (count === 0) throw new Ext4Error('EIO', `${where} ended after ${done}`);
      done += count;
    }
  }
}
