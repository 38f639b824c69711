// Putting inodes on the list of orphans and taking them off: what a crash leaves there is finished at the next mount.
// The chain from the superblock is used, which every file system has; an orphan file is read and worked off as well.

import * as F from '../../assembly/format/ext4.ts';
import type { Buffer } from '../cache/buffer.ts';
import { corrupt } from '../errno.ts';
import type { Inode } from './inode.ts';
import { superPlace } from './lifecycle.ts';
import type { Ext4Volume } from './volume.ts';

/** Changed blocks: the superblock, and the inode before in the chain. */
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

/** Puts an inode at the head of the chain; it is kept in memory with its place. Needs a handle. */
export function addOrphan(inode: Inode): void {
  const { vol } = inode;
  if (vol.orphans.has(inode.ino)) return;
  const next = lastOrphan(vol);
  inode.put32(F.I_DTIME, next);
  setLastOrphan(vol, inode.ino);
  vol.orphans.add(inode.ino);
  vol.journal!.onUndo(forgetOrphan, vol, inode.ino);
}

function forgetOrphan(vol: Ext4Volume, ino: number): void {
  vol.orphans.delete(ino);
}

function rememberOrphan(vol: Ext4Volume, ino: number): void {
  vol.orphans.add(ino);
}

/** Takes an inode out of the chain. Needs a handle. EUCLEAN when it is not in it. */
export function removeOrphan(inode: Inode): void {
  const { vol } = inode;
  if (!vol.orphans.has(inode.ino)) return;
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
  vol.orphans.delete(inode.ino);
  vol.journal!.onUndo(rememberOrphan, vol, inode.ino);
}
