// Inline data: a small file or directory whose bytes lie in the inode, 60 of them in place of the block map and
// the rest as the value of the xattr system.data.

import * as F from '../../assembly/format/ext4.ts';
import { corrupt } from '../errno.ts';
import type { Inode } from './inode.ts';
import { findXattr } from './xattr.ts';

/** The name of system.data without its prefix. */
export const INLINE_NAME = new Uint8Array([0x64, 0x61, 0x74, 0x61]);

/** The pieces of an inline inode's contents, in order; addresses are valid until the step ends. Throws
 *  Missing; EUCLEAN. */
export function inlineAreas(inode: Inode): { ptr: number; len: number }[] {
  const head = { ptr: inode.at() + F.I_BLOCK, len: F.I_BLOCK_SIZE };
  const entry = findXattr(inode, F.EXT4_XATTR_INDEX_SYSTEM, INLINE_NAME);
  if (entry === null || entry.valuePtr === 0) return [head];
  return [head, { ptr: entry.valuePtr, len: entry.size }];
}

/** Copies [pos, pos + len) of an inline file, clipped to its size, to `into` from `at` on; returns how many. */
export function readInline(
  inode: Inode,
  into: Uint8Array,
  at: number,
  pos: number,
  len: number,
): number {
  const areas = inlineAreas(inode);
  const room = areas.reduce((sum, area) => sum + area.len, 0);
  if (inode.size > room) {
    const reason = `${inode.size} bytes in room for ${room}`;
    throw corrupt('inline data', reason, { ino: inode.ino, field: 'i_size' });
  }
  const end = Math.min(pos + len, inode.size);
  let start = 0;
  for (const { ptr, len: bytes } of areas) {
    const from = Math.max(pos, start);
    const to = Math.min(end, start + bytes);
    if (from < to) {
      const piece = inode.vol.u8.subarray(ptr + from - start, ptr + to - start);
      into.set(piece, at + from - pos);
    }
    start += bytes;
  }
  return Math.max(0, end - pos);
}
