// Inode records: one that mkfs makes, and the checksum that every one in a table carries.

import * as F from '../../assembly/format/ext4.ts';
import type { BlockMap } from './blockmap.ts';
import { mapBlocks } from './blockmap.ts';
import { EXTENTS, LARGE_FILE } from './features.ts';
import type { Image } from './image.ts';

/** Bytes behind the first 128 that mkfs uses of a larger inode. */
export const EXTRA_ISIZE = 32;
const SECTOR = 512;

export interface InodeSpec {
  mode: number;
  size: number;
  links: number;
  map: BlockMap | null;
  /** False for a map of indirect blocks whatever the features say. */
  extents?: boolean;
  uid?: number;
  gid?: number;
  flags?: number;
}

/** Makes inode `ino` and puts it into the table. Blocks are counted in sectors, of whole clusters. */
export function makeInode(img: Image, ino: number, spec: InodeSpec): Uint8Array {
  const { g } = img;
  const raw = new Uint8Array(g.inodeSize);
  const dv = new DataView(raw.buffer);
  const extents = spec.extents !== false && g.features.has(EXTENTS);
  if (spec.size >= 2 ** 31 && (spec.mode & F.S_IFMT) === F.S_IFREG)
    g.features.set(LARGE_FILE, true);
  dv.setUint16(F.I_MODE, spec.mode, true);
  setWide(dv, F.I_UID, F.I_UID_HIGH, spec.uid ?? 0);
  setWide(dv, F.I_GID, F.I_GID_HIGH, spec.gid ?? 0);
  dv.setUint32(F.I_SIZE_LO, spec.size % 2 ** 32, true);
  dv.setUint32(F.I_SIZE_HIGH, Math.floor(spec.size / 2 ** 32), true);
  dv.setUint16(F.I_LINKS_COUNT, spec.links, true);
  dv.setUint32(F.I_FLAGS, (spec.flags ?? 0) + (extents ? F.EXT4_EXTENTS_FL : 0), true);
  if (spec.map) {
    raw.set(spec.map.root, F.I_BLOCK);
    const clusters = Math.ceil(mapBlocks(spec.map) / g.clusterBlocks);
    const sectors = (clusters * g.clusterBlocks * g.blockSize) / SECTOR;
    dv.setUint32(F.I_BLOCKS_LO, sectors % 2 ** 32, true);
    dv.setUint16(F.I_BLOCKS_HIGH, Math.floor(sectors / 2 ** 32), true);
  }
  setTimes(img, dv);
  put(img, ino, raw);
  return raw;
}

/** Inode 1, the list of bad blocks: empty, but dated. */
export function makeBadInode(img: Image): void {
  const raw = new Uint8Array(img.g.inodeSize);
  const dv = new DataView(raw.buffer);
  for (const at of [F.I_ATIME, F.I_CTIME, F.I_MTIME]) dv.setUint32(at, img.g.now % 2 ** 32, true);
  put(img, F.EXT4_BAD_INO, raw);
}

function put(img: Image, ino: number, raw: Uint8Array): void {
  img.inodes.set(ino, raw);
  img.lastInode = Math.max(img.lastInode, ino);
}

function setWide(dv: DataView, low: number, high: number, value: number): void {
  dv.setUint16(low, value % 65536, true);
  dv.setUint16(high, Math.floor(value / 65536), true);
}

function setTimes(img: Image, dv: DataView): void {
  const { now, inodeSize } = img.g;
  const low = now % 2 ** 32;
  for (const at of [F.I_ATIME, F.I_CTIME, F.I_MTIME]) dv.setUint32(at, low, true);
  if (inodeSize <= F.EXT4_GOOD_OLD_INODE_SIZE) return;
  dv.setUint16(F.I_EXTRA_ISIZE, EXTRA_ISIZE, true);
  dv.setUint32(F.I_CRTIME, low, true);
  // Seconds are signed in the old field; two more bits count by 2^32 from there.
  const epoch = Math.floor((now + 2 ** 31) / 2 ** 32) % 4;
  for (const at of [F.I_ATIME_EXTRA, F.I_CTIME_EXTRA, F.I_MTIME_EXTRA, F.I_CRTIME_EXTRA]) {
    dv.setUint32(at, epoch, true);
  }
}

/** Puts the front of the inode tables, up to the last inode in use, checksums written: whole blocks. */
export function putTables(img: Image): void {
  const { inodeSize, blockSize, inodesPerGroup } = img.g;
  for (let group = 0; group * inodesPerGroup < img.lastInode; group++) {
    const first = group * inodesPerGroup + 1;
    const count = Math.min(inodesPerGroup, img.lastInode - first + 1);
    const table = new Uint8Array(Math.ceil((count * inodeSize) / blockSize) * blockSize);
    for (let i = 0; i < count; i++) {
      const raw = table.subarray(i * inodeSize, (i + 1) * inodeSize);
      const made = img.inodes.get(first + i);
      if (made) raw.set(made);
      if (img.summed) sealInode(img, first + i, raw);
    }
    img.put(img.layout.inodeTable[group], table);
  }
}

function sealInode(img: Image, ino: number, raw: Uint8Array): void {
  const dv = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const sum = img.sums.crc32c(img.inodeSeed(ino), raw);
  dv.setUint16(F.I_CHECKSUM_LO, sum % 65536, true);
  const wide = raw.length > F.EXT4_GOOD_OLD_INODE_SIZE && dv.getUint16(F.I_EXTRA_ISIZE, true) >= 4;
  if (wide) dv.setUint16(F.I_CHECKSUM_HI, Math.floor(sum / 65536), true);
}
