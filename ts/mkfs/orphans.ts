// The orphan file: blocks of inode numbers, all zero, each with a tail. And the MMP block, which says that nobody has
// the file system open.

import * as F from '../../assembly/format/ext4.ts';
import { extentMap, indirectMap, mapBlocks, takeBlocks } from './blockmap.ts';
import { EXTENTS } from './features.ts';
import type { Image } from './image.ts';
import { makeInode } from './inodes.ts';
import type { Geometry } from './plan.ts';

const LEAST = 32;
const MOST = 512;
/** The kernel reads no larger one. */
const MOST_BYTES = 8 * 2 ** 20;

/** Blocks of the orphan file: one in 4,096. */
export function orphanBlocks(g: Geometry): number {
  if (g.orphanBlocks > 0) return g.orphanBlocks;
  const most = Math.min(MOST, MOST_BYTES / g.blockSize);
  return Math.min(Math.max(Math.floor(g.blocks / 4096), LEAST), most);
}

/** Makes the orphan file behind the last inode in use. */
export function makeOrphanFile(img: Image): void {
  const { g, layout } = img;
  const count = orphanBlocks(g);
  const ino = img.lastInode + 1;
  const seed = img.inodeSeed(ino);
  const goal = g.firstDataBlock;
  const map = g.features.has(EXTENTS)
    ? extentMap(
        g,
        layout.used,
        takeBlocks(g, layout.used, goal, count),
        img.summed ? { sums: img.sums, seed } : null,
      )
    : indirectMap(g, layout.used, goal, count);
  for (const { pblk, bytes } of map.nodes) img.put(pblk, bytes);
  for (const run of map.runs) {
    for (let i = 0; i < run.count; i++) img.put(run.pblk + i, emptyBlock(img, seed, run.pblk + i));
  }
  img.countFile(mapBlocks(map));
  img.orphanInode = ino;
  const size = count * g.blockSize;
  makeInode(img, ino, { mode: F.S_IFREG + 0o600, size, links: 1, map });
}

function emptyBlock(img: Image, seed: number, pblk: number): Uint8Array {
  const bytes = new Uint8Array(img.g.blockSize);
  const dv = new DataView(bytes.buffer);
  const tail = bytes.length - F.OB_TAIL_SIZE;
  dv.setUint32(tail + F.OB_MAGIC, F.EXT4_ORPHAN_BLOCK_MAGIC, true);
  if (img.summed) {
    const sum = img.sums.crc32c(img.sums.u64(seed, pblk), bytes.subarray(0, tail));
    dv.setUint32(tail + F.OB_CHECKSUM, sum, true);
  }
  return bytes;
}

/** Makes the MMP block, clean. */
export function makeMmp(img: Image): void {
  const { g, layout } = img;
  const [{ pblk }] = takeBlocks(g, layout.used, g.firstDataBlock, 1);
  const bytes = new Uint8Array(g.blockSize);
  const dv = new DataView(bytes.buffer);
  dv.setUint32(F.MMP_MAGIC, F.EXT4_MMP_MAGIC, true);
  dv.setUint32(F.MMP_SEQ, F.EXT4_MMP_SEQ_CLEAN, true);
  dv.setUint32(F.MMP_TIME, g.now % 2 ** 32, true);
  dv.setUint32(F.MMP_TIME + 4, Math.floor(g.now / 2 ** 32), true);
  dv.setUint16(F.MMP_CHECK_INTERVAL, g.mmpInterval, true);
  if (img.summed) {
    const sum = img.sums.crc32c(img.seed, bytes.subarray(0, F.MMP_CHECKSUM));
    dv.setUint32(F.MMP_CHECKSUM, sum, true);
  }
  img.put(pblk, bytes);
  img.mmpBlock = pblk;
  img.countFile(1);
}
