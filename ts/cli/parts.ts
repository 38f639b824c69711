// Which part of an image is meant: the partition that was named, the file system that fills the image, or the only
// partition that holds one. Where several do, the user has to say which.

import {
  EXT4_SUPER_MAGIC,
  S_MAGIC,
  S_VOLUME_NAME,
  SB_OFFSET,
  SB_SIZE,
} from '../../assembly/format/ext4.ts';
import type { BlockDevice } from '../block/device.ts';
import { slice as sliceOf } from '../block/face.ts';
import { type Partition, partition, partitions } from '../block/partition.ts';
import type { Address } from './address.ts';
import { BAD_IMAGE, Failure, UsageError } from './errors.ts';
import { decodeName } from './names.ts';

/** A partition, and whether an ext2, ext3 or ext4 lies in it. */
export interface Found {
  part: Partition;
  ext: boolean;
  /** The label of the file system. */
  label: string;
}

/** Every partition of a disk; none when a file system fills it. */
export async function findAll(disk: BlockDevice): Promise<Found[]> {
  if ((await extLabel(disk)) !== undefined) return [];
  const found: Found[] = [];
  for (const part of await partitions(disk)) {
    const label = await extLabel(disk, part.start, part.size);
    found.push({ part, ext: label !== undefined, label: label ?? '' });
  }
  return found;
}

/** The device that holds the file system of an address. */
export async function findPart(disk: BlockDevice, address: Address): Promise<BlockDevice> {
  if (address.partition !== undefined) return partition(disk, keyOf(address.partition));
  const all = await findAll(disk);
  const holding = all.filter(({ ext }) => ext);
  if (holding.length > 1) {
    const names = holding.map(({ part }) => `${address.image}:${part.number}`).join(', ');
    throw new UsageError(`the disk has several file systems: say ${names} (ext4 info shows them)`);
  }
  if (all.length > 0 && holding.length === 0) {
    const count = all.length === 1 ? 'one partition' : `${all.length} partitions`;
    throw new Failure(`none of the disk's ${count} holds an ext2, ext3 or ext4`, BAD_IMAGE);
  }
  return holding.length === 1 ? partition(disk, holding[0].part) : disk;
}

const keyOf = (text: string): number | string => (/^\d{1,4}$/.test(text) ? Number(text) : text);

/** The image from `offset` on, up to its end. */
export function slice(disk: BlockDevice, offset: number): BlockDevice {
  const size = Math.floor((disk.size - offset) / disk.blockSize) * disk.blockSize;
  if (size <= 0 || offset % disk.blockSize !== 0) {
    const unit = disk.blockSize;
    throw new UsageError(
      `--offset must be a multiple of ${unit} inside the image of ${disk.size} bytes`,
    );
  }
  return sliceOf(disk, offset, size);
}

/** The label of the file system whose magic number is where it belongs; undefined when there is none. */
async function extLabel(
  disk: BlockDevice,
  start = 0,
  size = disk.size,
): Promise<string | undefined> {
  const unit = Math.max(disk.blockSize, SB_OFFSET);
  const first = Math.floor((start + SB_OFFSET) / unit) * unit;
  const len = Math.ceil((start + SB_OFFSET + SB_SIZE - first) / unit) * unit;
  if (size < SB_OFFSET + SB_SIZE || first + len > disk.size) return undefined;
  const bytes = new Uint8Array(len);
  await disk.read(bytes, first);
  const sb = bytes.subarray(start + SB_OFFSET - first);
  if (sb[S_MAGIC] + sb[S_MAGIC + 1] * 256 !== EXT4_SUPER_MAGIC) return undefined;
  const name = sb.subarray(S_VOLUME_NAME, S_VOLUME_NAME + 16);
  const end = name.indexOf(0);
  return decodeName(name.subarray(0, end < 0 ? 16 : end));
}
