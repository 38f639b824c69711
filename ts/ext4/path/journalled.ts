// The journalled path: file blocks are metadata to the journal, logged whole and written home at checkpoint. They
// live in buffers by physical block, not in folios, so that reads see what handles have changed.

import { MAP_HOLE, MAP_UNWRITTEN, MAP_WRITTEN } from '../../../assembly/abi.ts';
import type { Buffer } from '../../cache/buffer.ts';
import type { ReadRequest } from '../../iomap/buffered.ts';
import { clip, IOMAP_MAPPED, newIomap } from '../../iomap/iter.ts';
import type { Zeroed } from '../../iomap/write.ts';
import { convertBlocks } from '../extentchange.ts';
import type { Inode } from '../inode.ts';
import { ext4Iomap, mapBlocks } from '../iomap.ts';
import { allocRun } from '../mapwrite.ts';
import { touch } from '../namei.ts';
import { needBlocks } from '../needblocks.ts';
import { setLargeFile } from '../size.ts';

/** Blocks that one handle logs, beside what mapping them takes. */
const STEP_BLOCKS = 16;
/** New ones among them. */
const STEP_NEW = 8;
const CREDITS = 64;

const map = newIomap();

/** Copies a request that lies within the file, out of buffers. Throws Missing; EUCLEAN, EIO. */
export function readJournalled(inode: Inode, r: ReadRequest): void {
  const { vol } = inode;
  const { blockSize } = vol.sb;
  const end = r.pos + r.len;
  for (let pos = r.pos; pos < end; pos += map.len) {
    ext4Iomap.begin(inode, pos, end - pos, 0, map);
    clip(map, pos, end);
    const at = r.at + pos - r.pos;
    if (map.type !== IOMAP_MAPPED) {
      r.into.fill(0, at, at + map.len);
      continue;
    }
    const first = Math.floor(map.dpos / blockSize);
    const last = Math.ceil((map.dpos + map.len) / blockSize);
    needBlocks(vol, range(first, Math.min(last, first + 64)));
    copyBlocks(inode, r.into, at, map.dpos, map.len);
  }
}

function* range(from: number, to: number): Generator<number> {
  for (let at = from; at < to; at++) yield at;
}

function copyBlocks(inode: Inode, into: Uint8Array, at: number, dpos: number, len: number): void {
  const { cache } = inode.vol;
  const { blockSize } = cache;
  for (let done = 0; done < len; ) {
    const off = (dpos + done) % blockSize;
    const n = Math.min(blockSize - off, len - done);
    const { ptr } = cache.get(Math.floor((dpos + done) / blockSize));
    into.set(cache.view(ptr + off, n), at + done);
    done += n;
  }
}

/** One step, one handle: some of the bytes; returns how many. Throws Missing; ENOSPC, EIO, EUCLEAN. */
export function writeJournalled(
  inode: Inode,
  from: Uint8Array,
  at: number,
  pos: number,
  len: number,
): number {
  const { vol } = inode;
  const { blockSize } = vol.sb;
  inode.at();
  const end = Math.min(pos + len, (Math.floor(pos / blockSize) + STEP_BLOCKS) * blockSize);
  needEdges(inode, pos, end);
  vol.journal!.start(CREDITS);
  let to = pos;
  let mapped = 0;
  while (to < end) {
    const off = to % blockSize;
    const n = Math.min(blockSize - off, end - to);
    const lblk = Math.floor(to / blockSize);
    const fresh = mapBlocks(inode, lblk).kind !== MAP_WRITTEN;
    // Mapping takes blocks too: few new ones in a handle.
    if (fresh && ++mapped > STEP_NEW) break;
    const buffer = blockFor(inode, lblk, n === blockSize);
    const ptr = vol.journal!.write(buffer, off, n);
    vol.u8.set(from.subarray(at + to - pos, at + to - pos + n), ptr);
    to += n;
  }
  if (to > inode.size) inode.setSize(to);
  setLargeFile(inode, inode.size);
  touch(inode, true);
  inode.dataTid = vol.journal!.tid;
  vol.journal!.stop();
  return to - pos;
}

/** Blocks that the request covers in part are read before the handle starts. */
function needEdges(inode: Inode, pos: number, end: number): void {
  const { vol } = inode;
  const { blockSize } = vol.sb;
  for (const edge of [pos, end]) {
    if (edge % blockSize === 0) continue;
    const { kind, pblk, lblk } = mapBlocks(inode, Math.floor(edge / blockSize));
    if (kind === MAP_WRITTEN) vol.cache.get(pblk + Math.floor(edge / blockSize) - lblk);
  }
}

/** The buffer of a block of the file, mapped and written in the map; a new one is zeroed. Needs a handle. */
function blockFor(inode: Inode, lblk: number, whole: boolean): Buffer {
  const { vol } = inode;
  const { kind, pblk, lblk: first } = mapBlocks(inode, lblk);
  const at = pblk + lblk - first;
  if (kind === MAP_HOLE) return vol.journal!.create(allocRun(inode, lblk, 1, false).pblk);
  if (kind === MAP_UNWRITTEN) {
    convertBlocks(inode, lblk, 1, true);
    return vol.journal!.create(at);
  }
  return whole ? vol.journal!.create(at) : vol.cache.get(at);
}

/** Zeroes bytes of one block in a handle of its own. Throws Missing; EIO, EUCLEAN. */
export function zeroJournalled(inode: Inode, pos: number, len: number): Zeroed {
  const { vol } = inode;
  const { blockSize } = vol.sb;
  const lblk = Math.floor(pos / blockSize);
  const { kind, pblk, lblk: first } = mapBlocks(inode, lblk);
  if (kind !== MAP_WRITTEN) return { didZero: false, zeroWritten: false };
  const buffer = vol.cache.get(pblk + lblk - first);
  vol.journal!.start(1);
  const ptr = vol.journal!.write(buffer, pos % blockSize, len);
  vol.cache.kernels.exports.zero(ptr, len);
  inode.dataTid = vol.journal!.tid;
  vol.journal!.stop();
  return { didZero: true, zeroWritten: false };
}
