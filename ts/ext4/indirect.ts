// Block-mapped files of ext2 and ext3: twelve direct pointers, then one, two and three levels of pointer blocks.
// Runs of consecutive pointers come back as one mapping.

import { MAP_HOLE, MAP_WRITTEN } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/ext4.ts';
import { corrupt, Ext4Error } from '../errno.ts';
import type { Inode, MapMemo } from './inode.ts';

/** Pointers looked at in one call: a run is not followed further. */
const MAX_RUN = 2048;

/** Looks `lblk` up; writes the mapping from there on to `map`. Throws Missing; EUCLEAN; EFBIG past the last block. */
export function lookupIndirect(inode: Inode, lblk: number, map: MapMemo): void {
  const place = locate(inode, lblk);
  map.lblk = lblk;
  let table = inode.at() + F.I_BLOCK + 4 * place.root;
  let span = place.span;
  let rest = place.rest;
  let room = place.levels === 0 ? F.EXT4_NDIR_BLOCKS - place.root : 1;
  for (let level = place.levels; level > 0; level--) {
    const pblk = pointer(inode, table);
    if (pblk === 0) return emptyRun(map, span - rest);
    span /= pointers(inode);
    const index = Math.floor(rest / span);
    rest %= span;
    table = inode.vol.cache.get(pblk).ptr + 4 * index;
    room = pointers(inode) - index;
  }
  run(inode, table, Math.min(room, MAX_RUN), map);
}

/** How many pointers a block holds. */
export function pointers(inode: Inode): number {
  return inode.vol.sb.blockSize / 4;
}

/** The pointer in the inode that leads to a block, how many levels lie under it, and how many blocks it spans.
 *  EFBIG past the last one. */
export function locate(
  inode: Inode,
  lblk: number,
): { root: number; levels: number; span: number; rest: number } {
  if (lblk < F.EXT4_NDIR_BLOCKS) return { root: lblk, levels: 0, span: 1, rest: 0 };
  let rest = lblk - F.EXT4_NDIR_BLOCKS;
  for (let levels = 1; levels <= 3; levels++) {
    const span = pointers(inode) ** levels;
    if (rest < span) return { root: F.EXT4_NDIR_BLOCKS + levels - 1, levels, span, rest };
    rest -= span;
  }
  throw new Ext4Error('EFBIG', { record: 'block map', ino: inode.ino, reason: `block ${lblk}` });
}

/** Blocks that a block-mapped file can have at most. */
export function maxIndirectBlocks(blockSize: number): number {
  const per = blockSize / 4;
  return F.EXT4_NDIR_BLOCKS + per + per ** 2 + per ** 3;
}

function emptyRun(map: MapMemo, len: number): void {
  map.kind = MAP_HOLE;
  map.pblk = 0;
  map.len = len;
}

/** The pointer at an address, checked; 0 for a hole. EUCLEAN. */
export function pointer(inode: Inode, table: number): number {
  const { dv, sb } = inode.vol;
  const pblk = dv.getUint32(table, true);
  if (pblk === 0 || (pblk > sb.firstDataBlock && pblk < sb.blocks)) return pblk;
  throw corrupt('block map', `points to ${pblk} of ${sb.blocks}`, { ino: inode.ino, block: pblk });
}

function run(inode: Inode, table: number, room: number, map: MapMemo): void {
  const { dv, sb } = inode.vol;
  const first = pointer(inode, table);
  const step = first === 0 ? 0 : 1;
  let n = 1;
  while (n < room && dv.getUint32(table + 4 * n, true) === first + step * n) n++;
  if (first + step * n > sb.blocks)
    throw corrupt('block map', `run past the end`, { ino: inode.ino });
  map.kind = first === 0 ? MAP_HOLE : MAP_WRITTEN;
  map.pblk = first;
  map.len = n;
}
