// Putting inodes on the list of orphans and taking them off: what a crash leaves there is finished at the next mount.
// They get a slot of the orphan file where there is one; else, and when it is full, the chain from the superblock.

import * as F from '../../assembly/format/ext4.ts';
import type { Buffer } from '../cache/buffer.ts';
import { corrupt } from '../errno.ts';
import { FREE_INODE_CREDITS, freeInode } from './ialloc.ts';
import type { Inode } from './inode.ts';
import { superPlace } from './lifecycle.ts';
import { ON_CHAIN, orphanBlock, slotsPerBlock } from './orphan.ts';
import type { Ext4Volume } from './volume.ts';

/** Changed blocks: the superblock and the inode before in the chain, or a block of the orphan file. */
export const ORPHAN_CREDITS = 3;
const MAX_CHAIN = 1 << 20;

function superBuffer(vol: Ext4Volume): { buffer: Buffer; off: number } {
  const { pblk, off } = superPlace(vol);
  return { buffer: vol.cache.get(pblk), off };
}

function lastOrphan(vol: Ext4Volume): number {
  const { buffer, off } = superBuffer(vol);
  return vol.dv.getUint32(buffer.ptr + off + F.S_LAST_ORPHAN, true);
}

function setLastOrphan(vol: Ext4Volume, ino: number): void {
  const { buffer, off } = superBuffer(vol);
  const ptr = vol.journal!.write(buffer, off, F.SB_SIZE);
  vol.dv.setUint32(ptr + F.S_LAST_ORPHAN, ino, true);
}

/** Puts an inode on the list of orphans; it is kept in memory with its place. Needs a handle. */
export function addOrphan(inode: Inode): void {
  const { vol, ino } = inode;
  if (vol.orphans.has(ino)) return;
  const slot = takeSlot(vol, ino);
  if (slot === ON_CHAIN) {
    const next = lastOrphan(vol);
    inode.put32(F.I_DTIME, next);
    setLastOrphan(vol, ino);
  }
  vol.orphans.set(ino, slot);
  vol.journal!.onUndo(forgetOrphan, vol, ino);
}

function forgetOrphan(vol: Ext4Volume, ino: number): void {
  const slot = vol.orphans.get(ino) as number;
  vol.orphans.delete(ino);
  freed(vol, slot);
}

function freed({ orphanFile }: Ext4Volume, slot: number): void {
  if (orphanFile !== null && slot < orphanFile.firstFree && slot !== ON_CHAIN) {
    orphanFile.firstFree = slot;
  }
}

/** Writes a number into the first free slot of the orphan file; ON_CHAIN when there is none. */
function takeSlot(vol: Ext4Volume, ino: number): number {
  const { orphanFile: file, dv, journal } = vol;
  if (file === null) return ON_CHAIN;
  const per = slotsPerBlock(vol);
  for (let slot = file.firstFree; slot < file.blocks.length * per; ) {
    const index = Math.floor(slot / per);
    const buffer = orphanBlock(vol, file, index);
    for (; slot < (index + 1) * per; slot++) {
      const off = 4 * (slot % per);
      if (dv.getUint32(buffer.ptr + off, true) !== 0) continue;
      dv.setUint32(journal!.write(buffer, off, 4), ino, true);
      file.firstFree = slot + 1;
      return slot;
    }
  }
  file.firstFree = file.blocks.length * per;
  return ON_CHAIN;
}

function clearSlot(vol: Ext4Volume, slot: number, ino: number): void {
  const file = vol.orphanFile!;
  const per = slotsPerBlock(vol);
  const buffer = orphanBlock(vol, file, Math.floor(slot / per));
  const off = 4 * (slot % per);
  if (vol.dv.getUint32(buffer.ptr + off, true) !== ino)
    throw corrupt('orphan file', 'lost an inode', { ino, block: buffer.pblk });
  vol.dv.setUint32(vol.journal!.write(buffer, off, 4), 0, true);
  freed(vol, slot);
}

/** Takes an inode off the list. Needs a handle. EUCLEAN when it is not on it. */
export function removeOrphan(inode: Inode): void {
  const { vol, ino } = inode;
  const slot = vol.orphans.get(ino);
  if (slot === undefined) return;
  if (slot === ON_CHAIN) unchain(inode);
  else clearSlot(vol, slot, ino);
  vol.orphans.delete(ino);
  vol.journal!.onUndo(rememberOrphan, inode, slot);
}

function rememberOrphan({ vol, ino }: Inode, slot: number): void {
  vol.orphans.set(ino, slot);
}

function unchain(inode: Inode): void {
  const { vol } = inode;
  const next = inode.u32(F.I_DTIME);
  let at = lastOrphan(vol);
  if (at === inode.ino) setLastOrphan(vol, next);
  else {
    for (let i = 0; ; i++) {
      if (at === 0 || i > MAX_CHAIN)
        throw corrupt('orphan list', 'lost an inode', { ino: inode.ino });
      const before = vol.inodes.known(at) ?? vol.inodes.raw(at);
      const following = before.u32(F.I_DTIME);
      if (following === inode.ino) {
        before.put32(F.I_DTIME, next);
        break;
      }
      at = following;
    }
  }
  inode.put32(F.I_DTIME, 0);
}

/** An inode of the list of orphans, in memory. Throws Missing. */
export function orphanOf(vol: Ext4Volume, ino: number): Inode {
  const inode = vol.inodes.known(ino) ?? vol.inodes.raw(ino);
  inode.at();
  vol.inodes.adopt(inode);
  return inode;
}

/** A step: an orphan that has nothing any more is free, and off the list. */
export function freeOrphanStep(inode: Inode): void {
  const { vol } = inode;
  inode.at();
  vol.journal!.start(FREE_INODE_CREDITS + ORPHAN_CREDITS + 2);
  removeOrphan(inode);
  freeInode(vol, inode);
  vol.journal!.stop();
}

/** Takes all numbers out of one block of the orphan file. A step. */
export function emptyOrphanBlock(vol: Ext4Volume, index: number): void {
  const buffer = orphanBlock(vol, vol.orphanFile!, index);
  vol.journal!.start(1);
  const ptr = vol.journal!.write(buffer, 0, vol.sb.blockSize);
  vol.cache.kernels.exports.zero(ptr, vol.sb.blockSize - F.OB_TAIL_SIZE);
  vol.journal!.stop();
}
