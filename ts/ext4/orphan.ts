// Orphans: inodes that were unlinked while open, or whose truncation was under way. Two lists are known: the chain
// from the superblock through the inodes' dtime, and the orphan file, whose blocks are arrays of inode numbers. Here
// they are read, not worked off.

import * as F from '../../assembly/format/ext4.ts';
import type { Buffer } from '../cache/buffer.ts';
import { badChecksum, corrupt } from '../errno.ts';
import { type Flow, step } from '../flow.ts';
import { hasBit } from './features.ts';
import { mapBlocks } from './iomap.ts';
import type { Ext4Volume } from './volume.ts';

/** A buffer that is a block of the orphan file. */
export const KIND_ORPHANS = 8;
/** The slot of an orphan that is on the chain. */
export const ON_CHAIN = -1;
/** A chain longer than this goes in circles. */
const MAX_CHAIN = 1 << 20;
/** The kernel reads 8 MiB at most. */
const MAX_FILE_BLOCKS = 8192;

/** The orphan file of a mount that writes. Its blocks never move. */
export interface OrphanFile {
  /** Of its checksums. */
  readonly seed: number;
  /** Where its blocks are, in order. */
  readonly blocks: number[];
  /** No slot before this one is free. */
  firstFree: number;
}

/** The orphans by inode number, each with its slot in the orphan file or ON_CHAIN; `stray` says that the file has
 *  numbers twice. */
export interface Orphans {
  slots: Map<number, number>;
  stray: boolean;
}

/** All orphans; the orphan file is open for changes afterwards. EUCLEAN, EBADMSG when a list is broken. */
export function* readOrphans(vol: Ext4Volume): Flow<Orphans> {
  const slots = new Map<number, number>();
  let stray = false;
  for (let ino = vol.sb.lastOrphan; ino !== 0; ino = yield* step(nextOrphan, vol, ino)) {
    if (slots.has(ino) || slots.size > MAX_CHAIN) {
      throw corrupt('orphan list', 'goes in circles', { ino });
    }
    slots.set(ino, ON_CHAIN);
  }
  if (!hasBit(vol.sb.compat, F.COMPAT_ORPHAN_FILE) || vol.sb.orphanFileIno === 0) {
    return { slots, stray };
  }
  const file = yield* step(openFile, vol);
  vol.orphanFile = file;
  for (let i = 0; i < file.blocks.length; i++) {
    for (const { ino, slot } of yield* step(orphansIn, vol, file, i)) {
      if (slots.has(ino)) stray = true;
      else slots.set(ino, slot);
    }
  }
  return { slots, stray };
}

function nextOrphan(vol: Ext4Volume, ino: number): number {
  return vol.inodes.raw(ino).u32(F.I_DTIME);
}

function openFile(vol: Ext4Volume): OrphanFile {
  const { sb } = vol;
  const inode = vol.inodes.raw(sb.orphanFileIno);
  const { ino } = inode;
  const count = Math.floor(inode.size / sb.blockSize);
  if (!inode.isFile || count > MAX_FILE_BLOCKS) throw corrupt('orphan file', 'its size', { ino });
  const blocks: number[] = [];
  while (blocks.length < count) {
    const map = mapBlocks(inode, blocks.length);
    if (map.pblk === 0) throw corrupt('orphan file', 'has a hole', { ino });
    const skip = blocks.length - map.lblk;
    const end = Math.min(count - blocks.length, map.len - skip);
    for (let i = 0; i < end; i++) blocks.push(map.pblk + skip + i);
  }
  return { seed: inode.seed, blocks, firstFree: 0 };
}

/** Whether the orphan file has no numbers, as far as this mount knows. */
export function orphanFileEmpty(vol: Ext4Volume): boolean {
  for (const slot of vol.orphans.values()) if (slot !== ON_CHAIN) return false;
  return true;
}

/** Slots of a block of the orphan file. */
export function slotsPerBlock(vol: Ext4Volume): number {
  return (vol.sb.blockSize - F.OB_TAIL_SIZE) / 4;
}

/** A block of the orphan file, checked. Throws Missing; EUCLEAN, EBADMSG. */
export function orphanBlock(vol: Ext4Volume, file: OrphanFile, index: number): Buffer {
  const { sb, dv, sums } = vol;
  const buffer = vol.cache.get(file.blocks[index]);
  if (buffer.kind === KIND_ORPHANS) return buffer;
  const { ptr, pblk } = buffer;
  const where = { ino: sb.orphanFileIno, block: pblk };
  const tail = ptr + sb.blockSize - F.OB_TAIL_SIZE;
  if (dv.getUint32(tail + F.OB_MAGIC, true) !== F.EXT4_ORPHAN_BLOCK_MAGIC) {
    throw corrupt('orphan file', 'bad magic', where);
  }
  if (sums.on && sumOf(vol, ptr, pblk, file.seed) !== dv.getUint32(tail + F.OB_CHECKSUM, true)) {
    throw badChecksum('orphan file', where);
  }
  buffer.kind = KIND_ORPHANS;
  buffer.seed = file.seed;
  return buffer;
}

function orphansIn(
  vol: Ext4Volume,
  file: OrphanFile,
  index: number,
): { ino: number; slot: number }[] {
  const { ptr } = orphanBlock(vol, file, index);
  const count = slotsPerBlock(vol);
  const found: { ino: number; slot: number }[] = [];
  for (let i = 0; i < count; i++) {
    const ino = vol.dv.getUint32(ptr + 4 * i, true);
    if (ino !== 0) found.push({ ino, slot: index * count + i });
  }
  return found;
}

function sumOf({ sums, sb }: Ext4Volume, ptr: number, pblk: number, seed: number): number {
  return sums.run(sums.u64(seed, pblk), ptr, sb.blockSize - F.OB_TAIL_SIZE);
}

/** Writes the checksum of a block of the orphan file. */
export function sealOrphans(vol: Ext4Volume, { ptr, pblk, seed }: Buffer): void {
  const tail = ptr + vol.sb.blockSize - F.OB_TAIL_SIZE;
  vol.dv.setUint32(tail + F.OB_CHECKSUM, sumOf(vol, ptr, pblk, seed), true);
}
