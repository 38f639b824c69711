// The two directories of a new file system: the root, and lost+found with room for e2fsck to put names in without
// having to allocate.

import * as F from '../../assembly/format/ext4.ts';
import type { BlockMap } from './blockmap.ts';
import { extentMap, homeOf, indirectMap, mapBlocks, takeBlocks } from './blockmap.ts';
import { EXTENTS, FILETYPE, INLINE_DATA } from './features.ts';
import type { Image } from './image.ts';
import { makeInode } from './inodes.ts';

/** Bytes of lost+found; never more blocks than the direct ones. */
const LOST_BYTES = 16384;
export const LOST_INO = F.EXT4_GOOD_OLD_FIRST_INO;
const LOST_NAME = 'lost+found';

interface Entry {
  ino: number;
  name: string;
}

/** Makes both, from the first free block on. */
export function makeDirectories(img: Image): void {
  const { g } = img;
  const root = directory(img, F.EXT4_ROOT_INO, 1, [
    { ino: F.EXT4_ROOT_INO, name: '.' },
    { ino: F.EXT4_ROOT_INO, name: '..' },
    { ino: LOST_INO, name: LOST_NAME },
  ]);
  const { uid, gid, rootPerms } = g;
  const mode = F.S_IFDIR + rootPerms;
  makeInode(img, F.EXT4_ROOT_INO, { mode, size: g.blockSize, links: 3, map: root, uid, gid });
  const wanted = Math.min(Math.floor(LOST_BYTES / g.blockSize), F.EXT4_NDIR_BLOCKS);
  // mke2fs makes one block fewer where its first one would have been inline.
  const count = Math.max(wanted, 2) - (g.features.has(INLINE_DATA) ? 1 : 0);
  const lost = directory(img, LOST_INO, count, [
    { ino: LOST_INO, name: '.' },
    { ino: F.EXT4_ROOT_INO, name: '..' },
  ]);
  const size = count * g.blockSize;
  makeInode(img, LOST_INO, { mode: F.S_IFDIR + 0o700, size, links: 2, map: lost });
  img.directories.push(F.EXT4_ROOT_INO, LOST_INO);
}

/** Lays a directory of `count` blocks out; the entries are in the first. */
function directory(img: Image, ino: number, count: number, entries: Entry[]): BlockMap {
  const { g, layout } = img;
  const goal = homeOf(g, ino);
  const map = g.features.has(EXTENTS)
    ? extentMap(g, layout.used, takeBlocks(g, layout.used, goal, count), null)
    : indirectMap(g, layout.used, goal, count);
  img.countFile(mapBlocks(map));
  for (const run of map.runs) {
    for (let i = 0; i < run.count; i++) {
      img.put(run.pblk + i, block(img, ino, run.lblk + i === 0 ? entries : []));
    }
  }
  return map;
}

/** One directory block; without entries an unused one that fills it. */
function block(img: Image, ino: number, entries: Entry[]): Uint8Array {
  const { blockSize } = img.g;
  const bytes = new Uint8Array(blockSize);
  const dv = new DataView(bytes.buffer);
  const end = blockSize - (img.summed ? F.DE_TAIL_SIZE : 0);
  let at = 0;
  const list = entries.length > 0 ? entries : [{ ino: 0, name: '' }];
  list.forEach((entry, i) => {
    const least = F.DE_HEADER + Math.ceil(entry.name.length / 4) * 4;
    const len = i === list.length - 1 ? end - at : least;
    dv.setUint32(at + F.DE_INODE, entry.ino, true);
    dv.setUint16(at + F.DE_REC_LEN, recLen(len), true);
    dv.setUint8(at + F.DE_NAME_LEN, entry.name.length);
    // Both are directories, and so are "." and "..".
    if (img.g.features.has(FILETYPE) && entry.ino !== 0) {
      dv.setUint8(at + F.DE_FILE_TYPE, F.EXT4_FT_DIR);
    }
    for (let c = 0; c < entry.name.length; c++)
      bytes[at + F.DE_NAME + c] = entry.name.charCodeAt(c);
    at += len;
  });
  if (img.summed) seal(img, ino, bytes, dv);
  return bytes;
}

/** A record of 64 KiB does not fit into 16 bits: all ones stand for it. */
function recLen(len: number): number {
  return len === 65536 ? 65535 : len;
}

function seal(img: Image, ino: number, bytes: Uint8Array, dv: DataView): void {
  const at = bytes.length - F.DE_TAIL_SIZE;
  dv.setUint16(at + F.DE_REC_LEN, F.DE_TAIL_SIZE, true);
  dv.setUint8(at + F.DE_FILE_TYPE, F.EXT4_FT_DIR_CSUM);
  const sum = img.sums.crc32c(img.inodeSeed(ino), bytes.subarray(0, at));
  dv.setUint32(at + F.DE_TAIL_CHECKSUM, sum, true);
}
