// Mount options, the kernel's names, and their defaults.

import type { BlockDevice } from '../block/device.ts';
import type { CopyBytes } from '../cache/cache.ts';
import type { JournalMode } from '../ext4/recover.ts';

export interface MountOptions {
  ro?: boolean;
  /** Shows the tree as it is on disk, without the journal: read-only, and maybe stale or torn. */
  noload?: boolean;
  data?: 'ordered' | 'journal' | 'writeback';
  /** Default 'always': a device that is directly addressable is read in place. */
  dax?: 'always' | 'inode' | 'never';
  bufferedIomap?: boolean;
  delalloc?: boolean;
  barrier?: boolean;
  /** Seconds. */
  commit?: number;
  errors?: 'remount-ro' | 'continue' | 'panic';
  dataErrAbort?: boolean;
  relatime?: boolean;
  noatime?: boolean;
  /** Default 'replay' on a writable device that is not mounted `ro`, else 'memory'. */
  journal?: JournalMode;
  journalDevice?: BlockDevice;
  /** Takes the multi-mount block (mmp) for clean: whoever has it marked is gone. As of tune2fs. */
  clearMmp?: boolean;
  /** Bytes of linear memory for folios and buffers; default 64 MiB. */
  cacheBytes?: number;
  /** Default: where a SharedArrayBuffer may be used. */
  shared?: boolean;
  uid?: number;
  gid?: number;
  umask?: number;
  /** Seconds: the time of everything that changes. Random numbers repeat then, and commits come when asked for: the
   *  same calls make the same bytes. */
  now?: number;
  /** Tests: nothing is filled on the spot; everything misses first, as on an asynchronous device. */
  forceMiss?: boolean;
  /** Tests: false takes the build without SIMD. */
  simd?: boolean;
}

/** With what the api lends. */
export interface LentOptions extends MountOptions {
  /** How the platform copies many bytes into shared memory and out of it; default: set(). */
  bulkCopy?: CopyBytes;
}

export const DEFAULT_CACHE = 64 << 20;
export const MAX_CACHE = 3 * 2 ** 30;
/** Metadata buffers of one step at most. */
export const STEP_BUFFERS = 64;

/** The least linear memory that a mount works in. */
export function minCache(blockSize: number): number {
  return 4 * STEP_BUFFERS * blockSize + (4 << 20);
}
