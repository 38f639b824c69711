// Writes past the cache: whole blocks go from the caller's memory to the device, into unwritten extents that count
// once the data is there. For files open with O_DIRECT, and for long streams that the cache would not keep. The
// caller has the inode's turn, has zeroed the old end, and nothing of the range is in the cache.

import { Ext4Error } from '../../errno.ts';
import { attempt, attemptWrite, type Flow, step } from '../../flow.ts';
import { IOMAP_DELALLOC, IOMAP_HOLE, IOMAP_UNWRITTEN, newIomap } from '../../iomap/iter.ts';
import { delayedIn } from '../delayed.ts';
import { convertBlocks } from '../extentchange.ts';
import type { Inode } from '../inode.ts';
import { ext4Iomap } from '../iomap.ts';
import { allocRun, MAP_CREDITS } from '../mapwrite.ts';
import { touch } from '../namei.ts';
import { setLargeFile } from '../size.ts';

/** The longest unwritten extent. */
const MOST = 32767;

interface Place {
  lblk: number;
  count: number;
  pblk: number;
  unwritten: boolean;
}

const map = newIomap();

/** Whether a range can be written so: whole blocks, mapped by extents, nothing of it cached or delayed. Throws
 *  Missing. */
export function mayGoDirect(inode: Inode, pos: number, len: number): boolean {
  const { blockSize } = inode.vol.sb;
  if (inode.path !== 'iomap' || inode.growPending || len === 0) return false;
  if (pos % blockSize !== 0 || len % blockSize !== 0) return false;
  const from = pos / blockSize;
  const to = from + len / blockSize;
  return inode.folios.next(from, to) === to && !delayedIn(inode, from, to);
}

/** Writes the bytes; returns how many, fewer when space or the device ended half way. ENOSPC, EIO. */
export function* writeDirect(inode: Inode, from: Uint8Array, pos: number): Flow<number> {
  const { vol } = inode;
  const { blockSize } = vol.sb;
  let done = 0;
  while (done < from.length) {
    const place = yield* attempt(placeStep, inode, pos + done, from.length - done);
    if (place instanceof Ext4Error) return shortOr(done, place);
    const bytes = from.subarray(done, done + place.count * blockSize);
    const failed = yield* attemptWrite(vol.device, [bytes], place.pblk * blockSize);
    if (failed !== undefined) return shortOr(done, failed);
    vol.dataWritten = true;
    for (let at = 0; at < place.count; ) at += yield* step(countStep, inode, place, at);
    done += bytes.length;
  }
  return done;
}

function shortOr(done: number, error: Ext4Error): number {
  if (done > 0) return done;
  throw error;
}

/** Where the bytes from `pos` on go; a hole gets unwritten blocks in a handle of its own. */
function placeStep(inode: Inode, pos: number, len: number): Place {
  const { vol } = inode;
  const { blockSize } = vol.sb;
  inode.at();
  ext4Iomap.begin(inode, pos, len, 0, map);
  const lblk = pos / blockSize;
  const most = Math.min(len, map.pos + map.len - pos, MOST * blockSize) / blockSize;
  if (map.type === IOMAP_DELALLOC) throw new Ext4Error('EIO', 'delayed data under a direct write');
  if (map.type !== IOMAP_HOLE) {
    const pblk = (map.dpos + pos - map.pos) / blockSize;
    return { lblk, count: most, pblk, unwritten: map.type === IOMAP_UNWRITTEN };
  }
  vol.journal!.start(MAP_CREDITS);
  const { pblk, count } = allocRun(inode, lblk, most, true);
  vol.journal!.stop();
  return { lblk, count, pblk, unwritten: true };
}

/** The data is there: it counts, and the size too. Returns how many blocks of the place were done. */
function countStep(inode: Inode, { lblk, count, unwritten }: Place, at: number): number {
  const { vol } = inode;
  inode.at();
  vol.journal!.start(64);
  const n = unwritten ? convertBlocks(inode, lblk + at, count - at, true) : count - at;
  const end = (lblk + at + n) * vol.sb.blockSize;
  if (end > inode.size) {
    inode.setSize(end);
    setLargeFile(inode, end);
  }
  touch(inode, true);
  inode.dataTid = vol.journal!.tid;
  vol.journal!.stop();
  inode.touched = Date.now();
  return n;
}
