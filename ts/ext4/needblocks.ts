// Several blocks asked for at once, so that a device that waits is asked once for all of them.

import { missing } from '../cache/missing.ts';
import type { Ext4Volume } from './volume.ts';

/** Blocks named in one Missing: what a turn holds must fit the smallest cache. */
const MAX_NAMED = 128;

/** Throws Missing for those of the blocks that the cache does not have; EUCLEAN for one beyond the end. Nothing where
 *  blocks are filled on the spot. */
export function needBlocks({ cache }: Ext4Volume, blocks: Iterable<number>): void {
  if (cache.fill !== null) return;
  const away = new Set<number>();
  for (const pblk of blocks) {
    if (cache.has(pblk)) continue;
    cache.checkBlock(pblk);
    away.add(pblk);
    if (away.size === MAX_NAMED) break;
  }
  if (away.size === 0) return;
  for (const pblk of away) missing.block(pblk);
  throw missing;
}
