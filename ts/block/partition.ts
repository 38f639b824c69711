// Partition tables: what partitions a disk has, and one of them as a device. A disk without a table (a file system
// that fills it) has none. GPT counts only under a protective MBR, as for Linux.

import { EXT4_SUPER_MAGIC, S_MAGIC, S_VOLUME_NAME } from '../../assembly/format/ext4.ts';
import { Ext4Error } from '../errno.ts';
import type { Flow, IoRequest } from '../flow.ts';
import { readDevice, serve, serveSync } from '../flow.ts';
import { wholeBlocks } from './base.ts';
import type { BlockDevice } from './device.ts';
import { isSyncDevice } from './device.ts';
import { type FaceOptions, slice } from './face.ts';
import { gptFlow, isGptHeader } from './gpt.ts';
import { mbrFlow, PROTECTIVE, parseMbr } from './mbr.ts';

export interface Partition {
  /** As Linux counts: the entry of the table from 1 on; logical partitions from 5 on. */
  number: number;
  /** Bytes from the start of the disk. */
  start: number;
  /** Bytes. */
  size: number;
  scheme: 'mbr' | 'gpt';
  /** MBR: the type byte in hexadecimal (`83`). GPT: the type GUID. Lower case. */
  type: string;
  /** Linux's PARTUUID: GPT's GUID, or MBR's disk id and number (`12345678-02`). Lower case. */
  uuid: string;
  /** GPT's name; empty on MBR. */
  label: string;
  bootable: boolean;
  /** The table says more than the disk holds; `size` is what there is. */
  truncated?: true;
}

export interface PartitionOptions extends FaceOptions {
  /** The unit of an MBR, which the table does not tell: 512 unless the device has larger blocks. GPT finds its own. */
  sectorSize?: number;
}

/** The number, the label (GPT's name, the PARTUUID, or the ext4 volume name inside), or an entry of `partitions()`. */
export type PartitionKey = number | string | Partition;

const SECTOR_SIZES = [512, 4096];
const SUPER = 1024;

/**
 * The partitions of a disk in order of their numbers, extended ones included; [] without a table. EUCLEAN or
 * EBADMSG when a GPT is announced and both its copies are damaged.
 */
export function partitions(device: BlockDevice, o?: PartitionOptions): Promise<Partition[]> {
  return drive(tableFlow(device, o));
}

/** As `partitions`, on a synchronous device. */
export function partitionsSync(device: BlockDevice, o?: PartitionOptions): Partition[] {
  return driveSync(device, tableFlow(device, o));
}

/**
 * One partition as a device; closing it closes the disk. ENXIO when there is none of that number or label, EINVAL
 * when it does not begin on a block of the device.
 */
export async function partition(
  device: BlockDevice,
  key: PartitionKey,
  o?: PartitionOptions,
): Promise<BlockDevice> {
  const found = typeof key === 'object' ? key : await drive(findFlow(device, key, o));
  return slice(device, found.start, wholeBlocks(found.size, device.blockSize), o);
}

/** As `partition`, on a synchronous device. */
export function partitionSync(
  device: BlockDevice,
  key: PartitionKey,
  o?: PartitionOptions,
): BlockDevice {
  const found = typeof key === 'object' ? key : driveSync(device, findFlow(device, key, o));
  return slice(device, found.start, wholeBlocks(found.size, device.blockSize), o);
}

async function drive<T>(flow: Flow<T>): Promise<T> {
  let next = flow.next();
  for (; !next.done; next = flow.next()) await serve(next.value as IoRequest);
  return next.value;
}

function driveSync<T>(device: BlockDevice, flow: Flow<T>): T {
  if (!isSyncDevice(device)) throw new Ext4Error('ENOTSUP', 'the device is asynchronous');
  let next = flow.next();
  for (; !next.done; next = flow.next()) serveSync(next.value as IoRequest);
  return next.value;
}

function* tableFlow(device: BlockDevice, o: PartitionOptions = {}): Flow<Partition[]> {
  const first = yield* headFlow(device);
  const mbr = first.length < 512 ? null : parseMbr(first);
  if (mbr === null) return [];
  const sectorSize = o.sectorSize ?? Math.max(512, device.blockSize);
  if (!mbr.entries.some((entry) => entry.type === PROTECTIVE)) {
    return clip(device, yield* mbrFlow(device, mbr, sectorSize));
  }
  return clip(device, yield* anyGptFlow(device, o.sectorSize, first));
}

/** The primary header tells the sector size by its place; when it is lost, the backup's place is looked for. */
function* anyGptFlow(
  device: BlockDevice,
  given: number | undefined,
  first: Uint8Array,
): Flow<Partition[]> {
  const told = given ?? SECTOR_SIZES.find((size) => isGptHeader(first.subarray(size)));
  let found: Partition[] | Ext4Error = [];
  for (const size of told ? [told] : SECTOR_SIZES) {
    found = yield* gptFlow(device, size);
    if (Array.isArray(found)) return found;
  }
  throw found;
}

/** The first bytes of the disk: room for the MBR and a GPT header in sectors of either size. */
function* headFlow(device: BlockDevice): Flow<Uint8Array> {
  const len = Math.min(device.size, Math.max(8192, device.blockSize));
  const into = new Uint8Array(len);
  yield* readDevice(device, [{ into, dpos: 0 }]);
  return into;
}

/** Drops what begins behind the end of the disk, cuts what reaches over it. */
function clip(device: BlockDevice, found: Partition[]): Partition[] {
  return found
    .filter(({ start }) => start < device.size)
    .map((one) => {
      if (one.start + one.size <= device.size) return one;
      const size = wholeBlocks(device.size - one.start, 512);
      return { ...one, size, truncated: true as const };
    });
}

function* findFlow(
  device: BlockDevice,
  key: number | string,
  o?: PartitionOptions,
): Flow<Partition> {
  const all = yield* tableFlow(device, o);
  const found = typeof key === 'number' ? byNumber(all, key) : yield* labelFlow(device, all, key);
  if (found) return found;
  const has = all.length === 0 ? 'no partition table' : `partitions ${listed(all)}`;
  throw new Ext4Error('ENXIO', `no partition '${key}': the disk has ${has}`);
}

function byNumber(all: Partition[], number: number): Partition | undefined {
  return all.find((one) => one.number === number);
}

function listed(all: Partition[]): string {
  return all
    .map((one) => (one.label ? `${one.number} '${one.label}'` : `${one.number}`))
    .join(', ');
}

/** By GPT name or PARTUUID, else by the volume name of the ext4 file system inside: MBR has no names. */
function* labelFlow(
  device: BlockDevice,
  all: Partition[],
  key: string,
): Flow<Partition | undefined> {
  const named = all.find((one) => one.label === key || one.uuid === key.toLowerCase());
  if (named) return named;
  for (const one of all) {
    if ((yield* volumeNameFlow(device, one)) === key) return one;
  }
  return undefined;
}

function* volumeNameFlow(device: BlockDevice, { start, size }: Partition): Flow<string> {
  const len = Math.ceil((SUPER + 512) / device.blockSize) * device.blockSize;
  if (size < len || start % device.blockSize !== 0) return '';
  const into = new Uint8Array(len);
  yield* readDevice(device, [{ into, dpos: start }]);
  const view = new DataView(into.buffer, SUPER);
  if (view.getUint16(S_MAGIC, true) !== EXT4_SUPER_MAGIC) return '';
  const bytes = into.subarray(SUPER + S_VOLUME_NAME, SUPER + S_VOLUME_NAME + 16);
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}
