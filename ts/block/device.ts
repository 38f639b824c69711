// The contract of a block device: what every back end promises and everything above relies on.
// dpos and len are bytes, whole multiples of blockSize. A read is whole or fails; after settling, also by
// abort, the device never again touches the memory. `flush` covers the writes that had settled when it was
// called; others are in no order. Nothing beyond 512 bytes is atomic.

import { Ext4Error } from '../errno.ts';

export interface ReadRange {
  into: Uint8Array;
  dpos: number;
}

export interface DeviceOptions {
  signal?: AbortSignal;
}

export interface WriteOptions {
  /** The write is durable when it settles. Without `device.fua` the device does write + flush. */
  fua?: boolean;
}

export interface BlockDevice {
  /** Bytes. */
  readonly size: number;
  /** Bytes; every request is a whole multiple of it. */
  readonly blockSize: number;
  readonly readOnly: boolean;
  readonly fua: boolean;
  readonly discardZeroes: boolean;
  read(into: Uint8Array, dpos: number, o?: DeviceOptions): Promise<void>;
  readv?(ranges: ReadRange[], o?: DeviceOptions): Promise<void>;
  write(from: Uint8Array, dpos: number, o?: WriteOptions): Promise<void>;
  writev?(parts: Uint8Array[], dpos: number): Promise<void>;
  flush(): Promise<void>;
  discard?(dpos: number, len: number): Promise<void>;
  readSync?(into: Uint8Array, dpos: number): void;
  readvSync?(ranges: ReadRange[]): void;
  writeSync?(from: Uint8Array, dpos: number, o?: WriteOptions): void;
  writevSync?(parts: Uint8Array[], dpos: number): void;
  flushSync?(): void;
  discardSync?(dpos: number, len: number): void;
  /** The whole device lies in one memory, from `ptr` on: the DAX path. */
  readonly direct?: {
    memory: WebAssembly.Memory;
    ptr: number;
    persist?(dpos: number, len: number): void;
  };
  close(): Promise<void>;
  closeSync?(): void;
}

/** A device all of whose forms a synchronous mount needs. */
export type SyncBlockDevice = BlockDevice &
  Required<Pick<BlockDevice, 'readSync' | 'writeSync' | 'flushSync'>>;

export function isSyncDevice(device: BlockDevice): device is SyncBlockDevice {
  return device.readSync !== undefined && device.flushSync !== undefined;
}

/** Refuses a request outside the device or not in whole blocks (EINVAL): every back end calls it first. */
export function checkRange(
  device: { size: number; blockSize: number },
  dpos: number,
  len: number,
): void {
  const end = dpos + len;
  const whole = dpos % device.blockSize === 0 && len % device.blockSize === 0;
  if (!whole || dpos < 0 || end > device.size || !Number.isSafeInteger(end)) {
    throw new Ext4Error('EINVAL', `device request ${dpos}+${len} of ${device.size} bytes`);
  }
}
