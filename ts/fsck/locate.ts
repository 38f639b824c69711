// Where the blocks of an inode lie, asked by repairs: a walk that judges nothing.

import * as F from '../../assembly/format/ext4.ts';
import type { Flow } from '../flow.ts';
import type { Sink } from './claim.ts';
import { ExtentWalk } from './extents.ts';
import { BlockMapWalk } from './indirect.ts';
import type { Volume } from './volume.ts';

/** Walks the map of an inode, judging nothing. */
export function* walkBlocks(vol: Volume, ino: number, sink: Sink): Flow<void> {
  const record = yield* vol.inode(ino);
  if (record === null || record.has(F.EXT4_INLINE_DATA_FL)) return;
  if (record.has(F.EXT4_EXTENTS_FL)) yield* new ExtentWalk(vol, record, sink, false, false).run();
  else yield* new BlockMapWalk(vol, record, sink, false).run();
}

/** Blocks of a directory in logical order, holes left out. */
export function* dirBlocksOf(vol: Volume, ino: number): Flow<{ lblk: number; pblk: number }[]> {
  const found: { lblk: number; pblk: number }[] = [];
  const data = (lblk: number, len: number, pblk: number) => {
    for (let i = 0; i < len; i++) found.push({ lblk: lblk + i, pblk: pblk + i });
  };
  yield* walkBlocks(vol, ino, { data, node: () => undefined });
  return found.sort((a, b) => a.lblk - b.lblk);
}

/** The block with "." and ".."; 0 when it is not there. */
export function* firstDirBlock(vol: Volume, ino: number): Flow<number> {
  const { dirBlocks } = vol;
  let [low, high] = [0, dirBlocks.ino.length];
  while (low < high) {
    const mid = (low + high) >>> 1;
    if (dirBlocks.ino.get(mid) < ino) low = mid + 1;
    else high = mid;
  }
  const listed = low < dirBlocks.ino.length && dirBlocks.ino.get(low) === ino;
  if (listed && dirBlocks.lblk.get(low) === 0) return dirBlocks.pblk.get(low);
  const blocks = yield* dirBlocksOf(vol, ino);
  return blocks.length > 0 && blocks[0].lblk === 0 ? blocks[0].pblk : 0;
}
