// The entry point `ext4-wasm`: mounting, the mounted file system, partitions, errors and types. Importing it
// instantiates nothing; back ends have entry points of their own.

export type { Dir } from './api/dir.ts';
export type { Flags } from './api/extraops.ts';
export type { ExtraFs, ExtraPromises } from './api/extratypes.ts';
export type { FileHandle } from './api/filehandle.ts';
export { Ext4, type ShutdownMode } from './api/fs.ts';
export { fsck, fsckSync } from './api/fsck.ts';
export type { FileSystemDirectoryHandle, FileSystemFileHandle } from './api/handles.ts';
export type { LazyFile } from './api/lazyfile.ts';
export type { View } from './api/lease.ts';
export { mkfs, mkfsSync } from './api/mkfs.ts';
export { mount, mountSync } from './api/mount.ts';
export type { NodeFs, NodePromises } from './api/nodetypes.ts';
export { parseMountOptions } from './api/options.ts';
export type { BigIntStats, Dirent, StatFs, Stats } from './api/stats.ts';
export type { StreamOptions } from './api/streams.ts';
export type { BlockDevice, Partition, SyncBlockDevice } from './block/index.ts';
export { partition, partitionSync, partitions, partitionsSync } from './block/index.ts';
export { type ErrorCode, type ErrorDetail, Ext4Error } from './errno.ts';
export type { FsckOptions, FsckResult } from './fsck/check.ts';
export type { Problem } from './fsck/report.ts';
export type { JournalOptions, MkfsOptions, MkfsResult, Tree, TreeEntry } from './mkfs/options.ts';
export type { TraceListener } from './trace.ts';
export type { ExtentRecord } from './vfs/filesystem.ts';
export type { VolumeInfo } from './vfs/info.ts';
export type { MountOptions } from './vfs/options.ts';
