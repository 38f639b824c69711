// What every part of the ext4 floor holds on to: the superblock, the cache, the checksums, the inodes in memory.

import { ABI_SEED } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/ext4.ts';
import type { BlockDevice } from '../block/device.ts';
import type { Buffer } from '../cache/buffer.ts';
import type { Cache } from '../cache/cache.ts';
import type { Journal } from '../jbd2/journal.ts';
import type { Trace } from '../trace.ts';
import type { Kernels } from '../wasm.ts';
import type { PendingFrees } from './balloc.ts';
import { Checksums } from './checksum.ts';
import type { FastOverlay } from './fastcommit.ts';
import { hasBit } from './features.ts';
import type { Inode, Inodes } from './inode.ts';
import type { MultiMount } from './mmp.ts';
import type { OrphanFile } from './orphan.ts';
import type { Super } from './super.ts';
import { type Clock, SYSTEM_CLOCK } from './time.ts';

/** Mount options that the floor acts on; the kernel's names. */
export interface VolumeOptions {
  dax: 'always' | 'inode' | 'never';
  data: 'ordered' | 'journal' | 'writeback';
  bufferedIomap: boolean;
  /** Off: the iomap path allocates at the write. */
  delalloc: boolean;
  noatime: boolean;
  journalDevice?: BlockDevice;
  /** Owner of what is made. */
  uid: number;
  gid: number;
  /** Permission bits that what is made does not get, unless a default ACL says. */
  umask: number;
}

/** A group whose descriptor the running transaction changed. seal() brings its bitmaps' checksums up to date. */
export interface DirtyGroup {
  buffer: Buffer;
  /** Byte of the descriptor in the buffer. */
  off: number;
  seal(group: number): void;
}

let mounts = 0;

export class Ext4Volume {
  readonly sb: Super;
  readonly cache: Cache;
  /** Where file data and metadata are read: the device itself, or with the journal's blocks laid over it. */
  readonly device: BlockDevice;
  readonly options: VolumeOptions;
  /** Where times and random numbers come from. */
  clock: Clock = SYSTEM_CLOCK;
  readonly sums: Checksums;
  readonly u8: Uint8Array;
  readonly dv: DataView;
  /** Names' bytes count as 0 to 255 in hashes; the seed lies at ABI_SEED. */
  readonly unsignedHash: boolean;
  readonly trace: Trace;
  inodes!: Inodes;
  /** Kernels on the memory of a DAX device, once needed. */
  directKernels: Kernels | null = null;
  /** Set while the mount writes. */
  journal: Journal | null = null;
  /** What keeps other mounts out while this one writes; null without mmp. */
  mmp: MultiMount | null = null;
  /** S_STATE when the mount began. */
  startState = 0;
  /** Free counts over all groups, once summed; kept exact while the mount writes. */
  free: { clusters: number; inodes: number } | null = null;
  /** The group where the next directory of the root is tried. */
  spread = 0;
  /** Blocks of xattrs by hash, to share: a hint, checked before it is believed. */
  readonly xattrBlocks = new Map<number, number>();
  /** Inodes of xattrs' values by the values' hashes; as xattrBlocks. */
  readonly valueInodes = new Map<number, number>();
  /** Orphans, each with its slot in the orphan file; -1 for those on the chain. */
  readonly orphans = new Map<number, number>();
  orphanFile: OrphanFile | null = null;
  /** Blocks freed by transactions that are not durable, by group. */
  readonly pending = new Map<number, PendingFrees>();
  /** Shut down: nothing is read or written any more. */
  down = false;
  /** Inodes whose blocks an operation frees or moves: writeback leaves them alone. */
  readonly frozen = new Set<number>();
  /** Inodes whose turn an operation has; null on a synchronous mount, where each call has all of them. */
  turns: Set<number> | null = null;
  /** Inodes with dirty data, or a size in memory that the disk does not have yet. */
  readonly dirtyInodes = new Set<Inode>();
  /** File data was written since the device was last flushed. */
  dataWritten = false;
  /** Clusters promised to delayed blocks. */
  reserved = 0;
  /** Pointer blocks promised beside them, to files with block maps. */
  reservedNodes = 0;
  readonly dirtyGroups = new Map<number, DirtyGroup>();
  /** What fast commits lay over the tree, when they are shown and not written. */
  fast: FastOverlay | null = null;
  /** Tree look-ups, and questions for a mapping. */
  mappingCalls = 0;
  mappings = 0;
  /** Views that were given out and not released. */
  leases = 0;
  /** A number that tells mounts apart, as st_dev. */
  readonly dev = ++mounts;

  constructor(sb: Super, cache: Cache, device: BlockDevice, options: VolumeOptions, trace: Trace) {
    this.sb = sb;
    this.startState = sb.u16(F.S_STATE);
    this.cache = cache;
    this.device = device;
    this.options = options;
    this.trace = trace;
    this.sums = new Checksums(cache.kernels, sb);
    this.u8 = cache.kernels.u8;
    this.dv = cache.kernels.dv;
    this.u8.set(sb.raw.subarray(F.S_HASH_SEED, F.S_HASH_SEED + 16), ABI_SEED);
    this.unsignedHash = hasBit(sb.u32(F.S_FLAGS), F.EXT4_FLAGS_UNSIGNED_HASH);
  }
}
