// The DAX path: the whole device lies in one memory, so a read copies straight out of the image, a write into it,
// and a view is the image itself. No cache, no readahead, no delayed blocks: data is there before a handle maps it.

import type { ReadRequest } from '../../iomap/buffered.ts';
import { clip, IOMAP_MAPPED, IOMAP_UNWRITTEN, newIomap } from '../../iomap/iter.ts';
import type { Zeroed } from '../../iomap/write.ts';
import { createKernels } from '../../wasm.ts';
import { convertBlocks } from '../extentchange.ts';
import type { Inode } from '../inode.ts';
import { ext4Iomap } from '../iomap.ts';
import { allocRun } from '../mapwrite.ts';
import { touch } from '../namei.ts';
import { setLargeFile, touchForWrite } from '../size.ts';
import type { Ext4Volume } from '../volume.ts';

/** The memory that holds the image. */
function imageOf({ device }: Ext4Volume): ArrayBufferLike {
  return device.direct!.memory.buffer;
}

/** One mapping at a time: steps do not nest. */
const map = newIomap();

/** Copies the whole request. Throws Missing; EUCLEAN, EBADMSG. */
export function daxRead(inode: Inode, r: ReadRequest): void {
  const image = imageOf(inode.vol);
  const { ptr } = inode.vol.device.direct!;
  const end = r.pos + r.len;
  for (let pos = r.pos; pos < end; pos += map.len) {
    mapAt(inode, pos, end);
    const at = r.at + pos - r.pos;
    if (map.type !== IOMAP_MAPPED) r.into.fill(0, at, at + map.len);
    else inode.vol.cache.copyBytes(r.into, at, new Uint8Array(image, ptr + map.dpos, map.len));
  }
}

/** Views on the image for [pos, pos + len), or null when part of it is a hole. Throws Missing. */
export function daxView(inode: Inode, from: number, len: number): Uint8Array[] | null {
  const image = imageOf(inode.vol);
  const { ptr } = inode.vol.device.direct!;
  const segments: Uint8Array[] = [];
  const end = from + len;
  let start = -1; // of the segment that grows
  let stop = -1;
  for (let pos = from; pos < end; pos += map.len) {
    mapAt(inode, pos, end);
    if (map.type !== IOMAP_MAPPED) return null;
    const at = ptr + map.dpos;
    if (at === stop) segments.pop();
    else start = at;
    stop = at + map.len;
    segments.push(new Uint8Array(image, start, stop - start));
  }
  return segments;
}

/** One step: copies bytes into the image, up to the end of a mapping; returns how many. Blocks come within its
 *  handle, which stops when the data is there. Throws Missing; ENOSPC, EUCLEAN. */
export function daxWrite(
  inode: Inode,
  from: Uint8Array,
  at: number,
  pos: number,
  len: number,
): number {
  const { vol } = inode;
  inode.at();
  mapAt(inode, pos, pos + Math.min(len, STEP_BYTES));
  if (map.type !== IOMAP_MAPPED || pos + map.len > inode.size) {
    vol.journal!.start(64);
    if (map.type !== IOMAP_MAPPED) fill(inode, pos);
    if (pos + map.len > inode.size) inode.setSize(pos + map.len);
    setLargeFile(inode, inode.size);
    touch(inode, true);
    put(vol, from.subarray(at, at + map.len), map.dpos);
    vol.journal!.stop();
  } else {
    touchForWrite(inode);
    put(vol, from.subarray(at, at + map.len), map.dpos);
  }
  return map.len;
}

/** Bytes that one step maps. */
const STEP_BYTES = 1 << 20;

function put(vol: Ext4Volume, bytes: Uint8Array, dpos: number): void {
  const { memory, ptr, persist } = vol.device.direct!;
  vol.cache.copyBytes(new Uint8Array(memory.buffer, ptr + dpos, bytes.length), 0, bytes);
  persist?.call(vol.device.direct, dpos, bytes.length);
}

/** The hole or unwritten range of the mapping gets written blocks, zeroed where the write will not reach. The mapping
 *  is then as long as they are. Needs a handle. */
function fill(inode: Inode, pos: number): void {
  const { vol } = inode;
  const { blockSize } = vol.sb;
  const lblk = Math.floor(pos / blockSize);
  const want = Math.ceil((pos + map.len) / blockSize) - lblk;
  let dpos = map.dpos - (pos % blockSize);
  let count = want;
  if (map.type === IOMAP_UNWRITTEN) count = convertBlocks(inode, lblk, want, true);
  else {
    const run = allocRun(inode, lblk, want, false);
    dpos = run.pblk * blockSize;
    count = run.count;
  }
  const end = Math.min(pos + map.len, (lblk + count) * blockSize);
  const head = pos - lblk * blockSize;
  const tail = (lblk + count) * blockSize - end;
  if (head > 0) zeroImage(vol, dpos, head);
  if (tail > 0) zeroImage(vol, dpos + count * blockSize - tail, tail);
  map.dpos = dpos + head;
  map.len = end - pos;
  inode.dataTid = vol.journal!.tid;
}

function zeroImage(vol: Ext4Volume, dpos: number, len: number): void {
  const { memory, ptr, persist } = vol.device.direct!;
  vol.directKernels ??= createKernels(memory);
  vol.directKernels.exports.zero(ptr + dpos, len);
  persist?.call(vol.device.direct, dpos, len);
}

/** One step: blocks for the start of a range that is about to be mapped for stores; returns how many bytes have
 *  them. */
export function daxFault(inode: Inode, pos: number, len: number): number {
  inode.at();
  mapAt(inode, pos, pos + Math.min(len, STEP_BYTES));
  if (map.type === IOMAP_MAPPED) return map.len;
  const { blockSize } = inode.vol.sb;
  const start = pos - (pos % blockSize);
  const end = Math.ceil((pos + map.len) / blockSize) * blockSize;
  mapAt(inode, start, end);
  inode.vol.journal!.start(64);
  fill(inode, start);
  zeroImage(inode.vol, map.dpos, map.len);
  inode.vol.journal!.stop();
  return Math.min(start + map.len - pos, len);
}

/** Stores to [pos, pos + len) of a view are told to the device. */
export function persistDax(inode: Inode, segments: Uint8Array[], pos: number, len: number): void {
  const { ptr, persist } = inode.vol.device.direct!;
  let start = 0;
  for (const part of segments) {
    const from = Math.max(pos, start);
    const to = Math.min(pos + len, start + part.length);
    if (from < to) {
      persist?.call(inode.vol.device.direct, part.byteOffset - ptr + from - start, to - from);
    }
    start += part.length;
  }
}

/** Zeroes bytes of one block in the image; holes and unwritten blocks are zero already. Throws Missing. */
export function zeroDax(inode: Inode, pos: number, len: number): Zeroed {
  mapAt(inode, pos, pos + len);
  if (map.type !== IOMAP_MAPPED) return { didZero: false, zeroWritten: false };
  zeroImage(inode.vol, map.dpos, map.len);
  return { didZero: true, zeroWritten: false };
}

/** The mapping at `pos`, cut to [pos, end). */
function mapAt(inode: Inode, pos: number, end: number): void {
  ext4Iomap.begin(inode, pos, end - pos, 0, map);
  clip(map, pos, end);
}
