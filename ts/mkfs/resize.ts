// The resize inode: a file that owns the reserved descriptor blocks, so that nobody else takes them. Its only tree
// block (double indirect) names the primary reserved blocks; each of those names its copies in the backup groups.

import * as F from '../../assembly/format/ext4.ts';
import type { BlockMap } from './blockmap.ts';
import { takeBlocks } from './blockmap.ts';
import { descriptors, hasSuper } from './geometry.ts';
import type { Image } from './image.ts';
import { makeInode } from './inodes.ts';
import { descriptorsAt } from './layout.ts';
import { refuse } from './settle.ts';

/** Makes inode 7. Only with the feature resize_inode. */
export function makeResizeInode(img: Image): void {
  const { g, layout } = img;
  const perBlock = g.blockSize / 4;
  const size = (F.EXT4_NDIR_BLOCKS + perBlock + perBlock * perBlock) * g.blockSize;
  // Where the first free block would be if the tables were not packed together.
  const goal = g.firstDataBlock + g.gdtBlocks + g.reservedGdt + 2 + g.tableBlocks;
  const [{ pblk }] = takeBlocks(g, layout.used, goal, 1);
  if (pblk >= 2 ** 32) throw refuse('the resize inode reaches 2^32 blocks only');
  const root = new Uint8Array(F.I_BLOCK_SIZE);
  new DataView(root.buffer).setUint32(4 * (F.EXT4_NDIR_BLOCKS + 1), pblk, true);
  const top = new Uint8Array(g.blockSize);
  const dv = new DataView(top.buffer);
  const first = descriptorsAt(g, 0) + g.gdtBlocks;
  const backups = backupStarts(img);
  for (let i = 0; i < g.reservedGdt; i++) {
    // Block number i of the whole table stands in slot (table block) modulo the slots.
    dv.setUint32(4 * ((g.gdtBlocks + i) % perBlock), first + i, true);
    img.put(first + i, copies(img, backups, i));
  }
  img.put(pblk, top);
  img.countFile(1);
  // Each of its blocks counts as a cluster.
  const owned = (1 + g.reservedGdt * (1 + backups.length)) * g.clusterBlocks;
  const map: BlockMap = { runs: [{ lblk: 0, pblk, count: owned }], root, nodes: [] };
  makeInode(img, F.EXT4_RESIZE_INO, {
    mode: F.S_IFREG + 0o600,
    size,
    links: 1,
    map,
    extents: false,
  });
}

/** First reserved descriptor block of every group with a backup. */
function backupStarts(img: Image): number[] {
  const { g } = img;
  const starts: number[] = [];
  for (let group = 1; group < g.groups; group++) {
    if (!hasSuper(g, group) || descriptors(g, group).count === 0) continue;
    starts.push(descriptorsAt(g, group) + g.gdtBlocks);
  }
  return starts;
}

function copies(img: Image, backups: number[], index: number): Uint8Array {
  const bytes = new Uint8Array(img.g.blockSize);
  const dv = new DataView(bytes.buffer);
  backups.forEach((start, i) => {
    dv.setUint32(4 * i, start + index, true);
  });
  return bytes;
}
