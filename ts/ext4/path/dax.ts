// The DAX path: the whole device lies in one memory, so a read copies straight out of the image and a view is the
// image itself. No cache, no readahead.

import type { ReadRequest } from '../../iomap/buffered.ts';
import { clip, IOMAP_MAPPED, newIomap } from '../../iomap/iter.ts';
import type { Inode } from '../inode.ts';
import { ext4Iomap } from '../iomap.ts';
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
    else r.into.set(new Uint8Array(image, ptr + map.dpos, map.len), at);
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

/** The mapping at `pos`, cut to [pos, end). */
function mapAt(inode: Inode, pos: number, end: number): void {
  ext4Iomap.begin(inode, pos, end - pos, 0, map);
  clip(map, pos, end);
}
