// Orphans: inodes that were unlinked while open, or whose truncation was under way. Two lists are known: the chain
// from the superblock through the inodes' dtime, and the orphan file. Here they are read, not worked off.

import * as F from '../../assembly/format/ext4.ts';
import type { Buffer } from '../cache/buffer.ts';
import { badChecksum, corrupt } from '../errno.ts';
import { type Flow, step } from '../flow.ts';
import { hasBit } from './features.ts';
import { blockOf } from './iomap.ts';
import type { Ext4Volume } from './volume.ts';

/** A buffer that is a block of the orphan file. */
export const KIND_ORPHANS = 8;
/** A chain longer than this goes in circles. */
const MAX_CHAIN = 1 << 20;

/** The inode numbers of all orphans. EUCLEAN, EBADMSG when a list is broken. */
export function* readOrphans(vol: Ext4Volume): Flow<number[]> {
  const found: number[] = [];
  for (let ino = vol.sb.lastOrphan; ino !== 0; ino = yield* step(nextOrphan, vol, ino)) {
    found.push(ino);
    if (found.length > MAX_CHAIN) throw corrupt('orphan list', 'goes in circles', { ino });
  }
  if (!hasBit(vol.sb.compat, F.COMPAT_ORPHAN_FILE) || vol.sb.orphanFileIno === 0) return found;
  for (let lblk = 0; lblk >= 0; ) {
    const batch = yield* step(orphanBlock, vol, lblk);
    found.push(...batch.inos);
    lblk = batch.next;
  }
  return found;
}

function nextOrphan(vol: Ext4Volume, ino: number): number {
  return vol.inodes.raw(ino).u32(F.I_DTIME);
}

function orphanBlock(vol: Ext4Volume, lblk: number): { inos: number[]; next: number } {
  const { sb, dv, sums } = vol;
  const file = vol.inodes.raw(sb.orphanFileIno);
  const count = Math.min(Math.floor(file.size / sb.blockSize), 1024);
  if (lblk >= count) return { inos: [], next: -1 };
  const pblk = blockOf(file, lblk);
  const where = { ino: file.ino, block: pblk };
  if (pblk === 0) throw corrupt('orphan file', 'has a hole', where);
  const { ptr } = vol.cache.get(pblk);
  const tail = ptr + sb.blockSize - F.OB_TAIL_SIZE;
  if (dv.getUint32(tail + F.OB_MAGIC, true) !== F.EXT4_ORPHAN_BLOCK_MAGIC) {
    throw corrupt('orphan file', 'bad magic', where);
  }
  if (sums.on) {
    const sum = sums.run(sums.u64(file.seed, pblk), ptr, sb.blockSize - F.OB_TAIL_SIZE);
    if (sum !== dv.getUint32(tail + F.OB_CHECKSUM, true)) throw badChecksum('orphan file', where);
  }
  const inos: number[] = [];
  for (let at = ptr; at < tail; at += 4) {
    const ino = dv.getUint32(at, true);
    if (ino !== 0) inos.push(ino);
  }
  return { inos, next: lblk + 1 };
}

/** Writes the checksum of a block of the orphan file. */
export function sealOrphans(vol: Ext4Volume, { ptr, pblk, seed }: Buffer): void {
  const { sb, sums, dv } = vol;
  const tail = ptr + sb.blockSize - F.OB_TAIL_SIZE;
  const sum = sums.run(sums.u64(seed, pblk), ptr, sb.blockSize - F.OB_TAIL_SIZE);
  dv.setUint32(tail + F.OB_CHECKSUM, sum, true);
}
