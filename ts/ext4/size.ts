// Sizes and times of a file that data operations change. The size in memory is what everybody sees; the one on disk
// follows when the data below it is there.

import * as F from '../../assembly/format/ext4.ts';
import { MAX_LBLK } from './extentwrite.ts';
import { hasBit } from './features.ts';
import { maxIndirectBlocks } from './indirect.ts';
import type { Inode } from './inode.ts';
import { superPlace } from './lifecycle.ts';
import { touch } from './namei.ts';

/** Milliseconds that one setting of the times serves: a tick of the kernel. */
const TICK = 4;

/** Sets mtime and ctime to now, once a tick, in a handle of its own. Throws Missing. */
export function touchForWrite(inode: Inode): void {
  const time = Date.now();
  if (time - inode.touched < TICK) return;
  const { journal } = inode.vol;
  journal!.start(1);
  touch(inode, true);
  journal!.stop();
  inode.touched = time;
}

/** The largest size that a file of this kind can have, bytes. */
export function maxFileSize(inode: Inode): number {
  const { blockSize } = inode.vol.sb;
  const extents = inode.path === 'inline' || inode.has(F.EXT4_EXTENTS_FL);
  return (extents ? MAX_LBLK : maxIndirectBlocks(blockSize)) * blockSize;
}

/** Everybody sees the size from now on. The disk gets it at once when nothing has to be written first. Needs no handle;
 *  throws Missing. */
export function publishSize(inode: Inode, size: number): void {
  const { vol } = inode;
  inode.at();
  const waits = inode.folios.dirty.size > 0 || inode.growPending;
  vol.journal!.start(2);
  touch(inode, true);
  if (!waits) inode.setSize(size);
  else {
    vol.journal!.onUndo(restoreSize, inode, inode.size);
    vol.dirtyInodes.add(inode);
    inode.size = size;
  }
  setLargeFile(inode, size);
  vol.journal!.stop();
  inode.touched = Date.now();
}

function restoreSize(inode: Inode, size: number): void {
  inode.size = size;
}

/** The feature that says there are files of 2 GiB and more. Needs a handle. */
export function setLargeFile({ vol }: Inode, size: number): void {
  const { sb, dv, journal } = vol;
  if (size < 2 ** 31 || hasBit(sb.roCompat, F.RO_COMPAT_LARGE_FILE)) return;
  const { pblk, off } = superPlace(vol);
  const ptr = journal!.write(vol.cache.get(pblk), off, F.SB_SIZE);
  const bits = dv.getUint32(ptr + F.S_FEATURE_RO_COMPAT, true) | F.RO_COMPAT_LARGE_FILE;
  dv.setUint32(ptr + F.S_FEATURE_RO_COMPAT, bits >>> 0, true);
}
