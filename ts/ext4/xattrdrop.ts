// The xattrs of an inode that is being removed: its block is let go of, and the inodes of values lose their references,
// some in each step, so that entries and counts agree whenever it ends.

import { type Flow, step } from '../flow.ts';
import { blocksOfValue, dropValue } from './eainode.ts';
import { removeValue } from './eainodeflow.ts';
import type { Inode } from './inode.ts';
import { addBlocks } from './mapspace.ts';
import { ORPHAN_CREDITS } from './orphanwrite.ts';
import { blockIsShared, packBlock, unpackBlock, XATTR_BLOCK_CREDITS } from './xattrblock.ts';
import { type PackedXattr, packInode, unpackInode } from './xattrpack.ts';

/** Values let go of in one step. */
const STEP_VALUES = 8;
/** The inode, its block; of each value its inode, and for what becomes an orphan a block of the list. */
const DROP_CREDITS = 2 + XATTR_BLOCK_CREDITS + STEP_VALUES * 2 + ORPHAN_CREDITS;

/** Lets go of all xattrs of an inode that is being removed: its block, and the inodes of its values. */
export function* dropXattrs(inode: Inode): Flow<void> {
  for (let more = true; more; ) {
    const r = yield* step(dropStep, inode);
    for (const inum of r.unnamed) yield* removeValue(inode.vol, inum);
    more = r.more;
  }
}

/** Some xattrs less. What lies in the inode without values elsewhere stays: it goes with the inode. */
function dropStep(inode: Inode): { unnamed: number[]; more: boolean } {
  inode.at();
  const inside = unpackInode(inode);
  const outside = unpackBlock(inode);
  const far = [...outside, ...inside].filter((x) => x.inum !== 0);
  if (outside.length === 0 && far.length === 0) return { unnamed: [], more: false };
  const { journal } = inode.vol;
  journal!.start(DROP_CREDITS);
  const r = outside.length > 0 ? dropOutside(inode, outside) : dropInside(inode, inside);
  journal!.stop();
  return r;
}

function dropOutside(inode: Inode, list: PackedXattr[]): { unnamed: number[]; more: boolean } {
  const far = list.filter((x) => x.inum !== 0);
  if (!blockIsShared(inode)) return dropSome(inode, far, list, packBlock);
  for (const { size } of far) addBlocks(inode, -blocksOfValue(inode.vol, size));
  packBlock(inode, []);
  return { unnamed: [], more: true };
}

function dropInside(inode: Inode, list: PackedXattr[]): { unnamed: number[]; more: boolean } {
  return dropSome(
    inode,
    list.filter((x) => x.inum !== 0),
    list,
    packInode,
  );
}

/** Entries of the first few values go; the whole list with the last of them. */
function dropSome(
  inode: Inode,
  far: PackedXattr[],
  list: PackedXattr[],
  pack: (inode: Inode, list: PackedXattr[]) => void,
): { unnamed: number[]; more: boolean } {
  const now = far.slice(0, STEP_VALUES);
  pack(inode, now.length === far.length ? [] : list.filter((x) => !now.includes(x)));
  for (const { size } of now) addBlocks(inode, -blocksOfValue(inode.vol, size));
  const unnamed = now.map(({ inum }) => dropValue(inode, inum)).filter((inum) => inum !== 0);
  return { unnamed, more: true };
}
