// How much space there is for whom, in clusters. Free means free on disk or by handles that have stopped; promises to
// delayed blocks are not free for others, and 2 % (at most 4,096 clusters) is kept for extent trees, so that what was
// accepted can always be written. Every caller is root: the superblock's reserved blocks may be used.

import * as F from '../../assembly/format/ext4.ts';
import { hasBit } from './features.ts';
import type { Ext4Volume } from './volume.ts';

/** Clusters that the kernel keeps for extent trees. */
export function keptClusters({ sb }: Ext4Volume): number {
  if (!hasBit(sb.incompat, F.INCOMPAT_EXTENTS)) return 0;
  return Math.min(Math.floor(Math.floor(sb.blocks / sb.clusterBlocks) / 50), 4096);
}

/** Clusters that new data, directories and xattrs may take. The counts must be summed. */
export function spaceForData(vol: Ext4Volume): number {
  return vol.free!.clusters - vol.reserved - vol.reservedNodes - keptClusters(vol);
}
