// Block maps, growing: pointers are set, one or a run of them, with the pointer blocks that lead to them. Needs an open
// handle; a step that fails is undone whole.

import * as F from '../../assembly/format/ext4.ts';
import type { Buffer } from '../cache/buffer.ts';
import { corrupt, Ext4Error } from '../errno.ts';
import { type AllocOptions, allocBlocks } from './balloc.ts';
import { locate, pointer, pointers } from './indirect.ts';
import type { Inode } from './inode.ts';
import { addBlocks, homeGoal, mappingChanged, newNode, type Run } from './mapspace.ts';

/** A buffer that holds block pointers. */
export const KIND_INDIRECT = 9;

/** A place for a pointer: in a block, or (null) in the inode's record. */
interface Slot {
  buffer: Buffer | null;
  off: number;
}

function slotPtr(inode: Inode, { buffer, off }: Slot): number {
  return (buffer === null ? inode.at() : buffer.ptr) + off;
}

/** Allocates a block and maps it at `lblk`, until now a hole, with the pointer blocks that it takes; all of them are
 *  counted. Returns it. Needs a handle. ENOSPC; EFBIG past the last block; EUCLEAN. */
export function appendIndirect(inode: Inode, lblk: number): number {
  return allocPointers(inode, lblk, 1, {}).pblk;
}

/** As appendIndirect(), of 1 to `want` blocks in a row, as far as one table of pointers and one run of free blocks
 *  go. */
export function allocPointers(inode: Inode, lblk: number, want: number, o: AllocOptions): Run {
  const slot = slotOf(inode, lblk);
  const room = holeAt(inode, slot, lblk, want);
  const found = allocBlocks(inode.vol, goalAt(inode, slot), room, 1, o);
  putPointers(inode, slot, found.pblk, found.count);
  addBlocks(inode, found.count);
  mappingChanged(inode);
  return found;
}

/** Maps [lblk, lblk + count), until now a hole, to blocks from `pblk` on, which are counted already. Needs a handle.
 *  ENOSPC for a pointer block; EFBIG; EUCLEAN. */
export function insertPointers(inode: Inode, lblk: number, pblk: number, count: number): void {
  for (let done = 0; done < count; ) {
    const slot = slotOf(inode, lblk + done);
    const room = holeAt(inode, slot, lblk + done, count - done);
    putPointers(inode, slot, pblk + done, room);
    done += room;
  }
  mappingChanged(inode);
}

/** The place of the pointer to a block; pointer blocks on the way are made. */
function slotOf(inode: Inode, lblk: number): Slot {
  if (inode.vol.sb.clusterBlocks > 1) {
    throw corrupt('inode', 'a block map with bigalloc', { ino: inode.ino, field: 'i_flags' });
  }
  const place = locate(inode, lblk);
  const slot: Slot = { buffer: null, off: F.I_BLOCK + 4 * place.root };
  let { span, rest } = place;
  for (let level = place.levels; level > 0; level--) {
    span /= pointers(inode);
    const buffer = descend(inode, slot);
    slot.buffer = buffer;
    slot.off = 4 * Math.floor(rest / span);
    rest %= span;
  }
  return slot;
}

/** How many pointers of a table are 0 from a slot on, `want` at most. EUCLEAN when the first is not. */
function holeAt(inode: Inode, slot: Slot, lblk: number, want: number): number {
  const end = slot.buffer === null ? F.I_BLOCK + 4 * F.EXT4_NDIR_BLOCKS : inode.vol.sb.blockSize;
  const room = Math.min(want, (end - slot.off) / 4);
  const ptr = slotPtr(inode, slot);
  let count = 0;
  while (count < room && pointer(inode, ptr + 4 * count) === 0) count++;
  if (count > 0) return count;
  throw corrupt('block map', `block ${lblk} is mapped already`, { ino: inode.ino });
}

function putPointers(inode: Inode, { buffer, off }: Slot, pblk: number, count: number): void {
  const { dv, journal } = inode.vol;
  checkLow(pblk + count - 1);
  let ptr = 0;
  if (buffer === null) ptr = inode.edit() + off;
  else {
    buffer.kind = KIND_INDIRECT;
    ptr = journal!.write(buffer, off, 4 * count);
  }
  for (let i = 0; i < count; i++) dv.setUint32(ptr + 4 * i, pblk + i, true);
}

/** The pointer block that a slot leads to; made when there is none. */
function descend(inode: Inode, slot: Slot): Buffer {
  const pblk = pointer(inode, slotPtr(inode, slot));
  if (pblk !== 0) return inode.vol.cache.get(pblk);
  const node = newNode(inode, goalAt(inode, slot), KIND_INDIRECT);
  putPointers(inode, slot, node.pblk, 1);
  return node;
}

/** Pointers have 32 bits. */
function checkLow(pblk: number): void {
  if (pblk >= 2 ** 32) throw new Ext4Error('ENOSPC', 'no free block below 2^32');
}

/** Behind the block that the pointer before leads to, or behind the pointers themselves. */
function goalAt(inode: Inode, slot: Slot): number {
  const first = slot.buffer === null ? F.I_BLOCK : 0;
  if (slot.off > first) {
    const before = pointer(inode, slotPtr(inode, slot) - 4);
    if (before !== 0) return before + 1;
  }
  return slot.buffer === null ? homeGoal(inode) : slot.buffer.pblk + 1;
}
