// `ext4-wasm/device`: the contract of a block device, and devices made of devices. Back ends have entry points of
// their own, so that importing this loads none of them.

export type {
  BlockDevice,
  DeviceOptions,
  ReadRange,
  SyncBlockDevice,
  WriteOptions,
} from './device.ts';
export { checkRange, isSyncDevice } from './device.ts';
export type { FaceOptions } from './face.ts';
export { readOnlyFace, slice } from './face.ts';
export type { Change, OverlayDevice, OverlayOptions } from './overlay.ts';
export { overlay } from './overlay.ts';
export type { Partition, PartitionKey, PartitionOptions } from './partition.ts';
export { partition, partitionSync, partitions, partitionsSync } from './partition.ts';
export type {
  ChangeRecord,
  Choose,
  Cut,
  DiscardRecord,
  Epoch,
  FlushRecord,
  LogRecord,
  Recorder,
  WriteRecord,
} from './record.ts';
export { record, tear } from './record.ts';
