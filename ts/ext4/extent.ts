// Extent trees: looking a logical block up, from the root in the inode down to a leaf. Every node is checked whole
// when it is loaded, for the bounds that its parent gives; the searches run in the kernels on the raw records.

import { ABI_RESULT, MAP_LEN, MAP_PBLK_HI, MAP_PBLK_LO } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/ext4.ts';
import type { Buffer } from '../cache/buffer.ts';
import { badChecksum, corrupt } from '../errno.ts';
import type { Inode, MapMemo } from './inode.ts';
import type { Ext4Volume } from './volume.ts';

/** A buffer checked as an extent node of inode `owner`. */
export const KIND_EXTENT = 3;
const MAX_LBLK = 2 ** 32 - 1;

/** Looks `lblk` up; writes the mapping from there on to `map` (kind as MAP_* of abi.ts). Throws
 *  Missing; EUCLEAN, EBADMSG. */
export function lookupExtent(inode: Inode, lblk: number, map: MapMemo): void {
  const { kernels } = inode.vol.cache;
  const { dv } = inode.vol;
  let node = inode.at() + F.I_BLOCK;
  let depth = dv.getUint16(node + F.EH_DEPTH, true);
  let end = MAX_LBLK;
  checkNode(inode, node, F.I_BLOCK_SIZE, depth, 0, end, inode.pblk);
  while (depth > 0) {
    const entry = kernels.exports.indexLookup(node, lblk, ABI_RESULT);
    const gap = dv.getUint32(ABI_RESULT + MAP_LEN, true);
    const next = Math.min(end, lblk + gap);
    if (entry < 0) return hole(map, lblk, next - lblk);
    const first = dv.getUint32(node + F.EH_SIZE + entry * F.EXT4_EXT_ENTRY_SIZE, true);
    depth--;
    node = loadNode(inode, resultBlock(inode), depth, first, next).ptr;
    end = next;
  }
  map.kind = kernels.exports.extentLookup(node, lblk, ABI_RESULT);
  map.lblk = lblk;
  map.pblk = map.kind === 0 ? 0 : resultBlock(inode);
  const len = Math.min(dv.getUint32(ABI_RESULT + MAP_LEN, true), end - lblk);
  if (map.kind !== 0) checkData(inode, map.pblk, len);
  // Last: with a length the memo is believed.
  map.len = len;
}

function hole(map: MapMemo, lblk: number, len: number): void {
  map.kind = 0;
  map.lblk = lblk;
  map.len = len;
  map.pblk = 0;
}

function resultBlock(inode: Inode): number {
  const { dv } = inode.vol;
  const high = dv.getUint32(ABI_RESULT + MAP_PBLK_HI, true);
  return high * 2 ** 32 + dv.getUint32(ABI_RESULT + MAP_PBLK_LO, true);
}

/** The node in a block, checked as `depth` levels above the leaves, its keys in [first, end). Throws
 *  Missing; EUCLEAN,
 *  EBADMSG. */
export function loadNode(
  inode: Inode,
  pblk: number,
  depth: number,
  first: number,
  end: number,
): Buffer {
  const { vol } = inode;
  const buffer = vol.cache.get(pblk);
  const known = buffer.kind === KIND_EXTENT && buffer.owner === inode.ino;
  if (known && vol.dv.getUint16(buffer.ptr + F.EH_DEPTH, true) === depth) return buffer;
  checkNode(inode, buffer.ptr, vol.sb.blockSize, depth, first, end, pblk);
  if (vol.sums.on) checkTail(inode, buffer);
  buffer.kind = KIND_EXTENT;
  buffer.owner = inode.ino;
  buffer.seed = inode.seed;
  return buffer;
}

/** EUCLEAN unless the node at address `node`, in `block`, is sound for what its parent says of it. */
export function checkNode(
  inode: Inode,
  node: number,
  bytes: number,
  depth: number,
  first: number,
  end: number,
  block: number,
): void {
  const { exports } = inode.vol.cache.kernels;
  const where = { ino: inode.ino, block };
  if (depth > F.EXT4_EXT_MAX_DEPTH)
    throw corrupt('extent header', `${depth}`, { ...where, field: 'eh_depth' });
  const fault = exports.extentCheck(node, bytes, depth, first, end);
  if (fault !== 0) throw corrupt('extent node', `fault ${-fault}`, where);
}

/** Writes the checksum of an extent node in a block; its seed is set. */
export function sealExtentNode(vol: Ext4Volume, { ptr, seed }: Buffer): void {
  const tail = extentTail(vol, ptr);
  vol.dv.setUint32(ptr + tail, vol.sums.run(seed, ptr, tail), true);
}

/** Where the checksum of a node lies: behind its last possible entry. */
function extentTail(vol: Ext4Volume, node: number): number {
  const max = vol.dv.getUint16(node + F.EH_MAX, true);
  return F.EH_SIZE + max * F.EXT4_EXT_ENTRY_SIZE;
}

function checkTail(inode: Inode, buffer: Buffer): void {
  const { sums, dv, sb } = inode.vol;
  const tail = extentTail(inode.vol, buffer.ptr);
  const where = { ino: inode.ino, block: buffer.pblk };
  if (tail + 4 > sb.blockSize) throw corrupt('extent header', 'no room for the checksum', where);
  const sum = sums.run(inode.seed, buffer.ptr, tail);
  if (sum !== dv.getUint32(buffer.ptr + tail, true)) throw badChecksum('extent node', where);
}

/** EUCLEAN when a mapping leads outside the file system. */
export function checkData(inode: Inode, pblk: number, len: number): void {
  const { sb } = inode.vol;
  if (pblk > sb.firstDataBlock && pblk + len <= sb.blocks) return;
  const reason = `blocks ${pblk}+${len} of ${sb.blocks}`;
  throw corrupt('extent', reason, { ino: inode.ino, field: 'ee_start' });
}
