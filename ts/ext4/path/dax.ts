// The DAX path: the whole device lies in one memory, so a read copies straight out of the image and a view is the
// image itself. No cache, no readahead.

import type { ReadRequest } from '../../iomap/buffered.ts';
import { IOMAP_MAPPED, mappings } from '../../iomap/iter.ts';
import type { Inode } from '../inode.ts';
import { ext4Iomap } from '../iomap.ts';
import type { Ext4Volume } from '../volume.ts';

const images = new WeakMap<WebAssembly.Memory, Uint8Array>();

/** The memory that holds the image, as one view: made once. */
function imageOf(vol: Ext4Volume): Uint8Array {
  const { memory } = vol.device.direct!;
  let view = images.get(memory);
  if (view === undefined || view.buffer !== memory.buffer) {
    view = new Uint8Array(memory.buffer);
    images.set(memory, view);
  }
  return view;
}

/** Copies the whole request. Throws Missing; EUCLEAN, EBADMSG. */
export function daxRead(inode: Inode, r: ReadRequest): void {
  const { vol } = inode;
  const image = imageOf(vol);
  const { ptr } = vol.device.direct!;
  for (const map of mappings(inode, ext4Iomap, r.pos, r.len, 0)) {
    const at = r.at + map.pos - r.pos;
    if (map.type !== IOMAP_MAPPED) r.into.fill(0, at, at + map.len);
    else r.into.set(image.subarray(ptr + map.dpos, ptr + map.dpos + map.len), at);
  }
}

/** Views on the image for [pos, pos + len), or null when part of it is a hole. Throws Missing. */
export function daxView(
  inode: Inode,
  pos: number,
  len: number,
): { segments: Uint8Array[]; ptrs: number[] } | null {
  const { vol } = inode;
  const image = imageOf(vol);
  const { ptr } = vol.device.direct!;
  const segments: Uint8Array[] = [];
  const ptrs: number[] = [];
  let end = -1;
  for (const map of mappings(inode, ext4Iomap, pos, len, 0)) {
    if (map.type !== IOMAP_MAPPED) return null;
    const from = ptr + map.dpos;
    const last = segments.length - 1;
    if (from === end) segments[last] = image.subarray(ptrs[last], from + map.len);
    else {
      segments.push(image.subarray(from, from + map.len));
      ptrs.push(from);
    }
    end = from + map.len;
  }
  return { segments, ptrs };
}
