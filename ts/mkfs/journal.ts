// The journal: an inode of its own in the middle of the file system, or a device of its own. Its superblock is the
// only block that must be written; the others are zeroed, so that no old log can be taken for one of this journal.

import * as F from '../../assembly/format/ext4.ts';
import { defaultJournalBlocks, journalSuper } from '../jbd2/newlog.ts';
import { extentMap, indirectMap, takeBlocks } from './blockmap.ts';
import { EXTENTS, FAST_COMMIT, FLEX_BG, JOURNAL, ORPHAN_FILE } from './features.ts';
import type { Image } from './image.ts';
import { makeInode } from './inodes.ts';
import { type Geometry, groupEnd, groupStart } from './plan.ts';
import type { Runs } from './runs.ts';
import { refuse } from './settle.ts';

interface JournalSize {
  blocks: number;
  fastCommit: number;
}

/** How large the journal will be, or null: the file system is too small for the one it would get by default. */
export function journalSize(g: Geometry): JournalSize | null {
  const plan = g.journal;
  if (plan === null || g.journalDevice) return null;
  const base = plan.blocks || defaultJournalBlocks(g.blocks);
  if (base === 0) return tooSmall(g);
  let fastCommit = 0;
  if (g.features.has(FAST_COMMIT)) {
    fastCommit = plan.fastCommit >= 0 ? plan.fastCommit : Math.floor(base / 64);
  }
  return { blocks: base + fastCommit, fastCommit };
}

function tooSmall(g: Geometry): null {
  g.features.drop(JOURNAL, 'the file system is too small for a journal');
  g.features.drop(ORPHAN_FILE, 'the file system is too small for a journal and its orphan_file');
  g.notes.push('the file system is too small for a journal: it has none');
  return null;
}

/** Makes inode 8 and the log in it. */
export function makeJournal(img: Image, size: JournalSize): void {
  const { g, layout } = img;
  const { used } = layout;
  const free = g.blocks - g.firstDataBlock - used.count(g.firstDataBlock, g.blocks);
  if (size.blocks > free / 2 && size.blocks > (g.journal?.asked ? free : free * 0.9)) {
    throw refuse(`a journal of ${size.blocks} blocks, ${free} blocks are free`);
  }
  const goal = goalOf(g, used);
  const seed = img.summed ? { sums: img.sums, seed: img.inodeSeed(F.EXT4_JOURNAL_INO) } : null;
  const map = g.features.has(EXTENTS)
    ? extentMap(g, used, takeBlocks(g, used, goal, size.blocks), seed)
    : indirectMap(g, used, g.firstDataBlock, size.blocks);
  img.countFile(map.nodes.length);
  for (const { pblk, bytes } of map.nodes) img.put(pblk, bytes);
  img.put(map.runs[0].pblk, superblock(img, size));
  if (!g.lazyJournal) {
    map.runs.forEach(({ pblk, count }, i) => {
      const skip = i === 0 ? 1 : 0;
      if (count > skip) img.zero(pblk + skip, count - skip);
    });
  }
  img.journalBlocks = size.blocks;
  img.journalRuns = map.runs.map(({ pblk, count }) => ({ block: pblk, count }));
  img.journalInode = makeInode(img, F.EXT4_JOURNAL_INO, {
    mode: F.S_IFREG + 0o600,
    size: size.blocks * g.blockSize,
    links: 1,
    map,
  });
}

/** The block from which on room for the log is looked for: half way through the file system. */
function goalOf(g: Geometry, used: Runs): number {
  const { location } = g.journal!;
  if (location >= g.blocks) throw refuse(`the journal's location ${location} is behind the end`);
  if (location >= 0) return location - ((location - g.firstDataBlock) % g.clusterBlocks);
  if (g.packed) return groupStart(g, 0);
  const half = Math.floor((g.blocks - g.firstDataBlock) / 2);
  const middle = Math.max(0, Math.floor((half - g.firstDataBlock) / g.blocksPerGroup));
  const flexible = g.features.has(FLEX_BG) && middle > g.flexSize;
  const from = flexible
    ? notFull(g, used, middle - (middle % g.flexSize))
    : Math.max(0, middle - 1);
  const to = flexible ? from + 1 : middle + 1;
  let best = from;
  for (let group = from + 1; group <= Math.min(to, g.groups - 1); group++) {
    if (freeIn(g, used, group) > freeIn(g, used, best)) best = group;
  }
  return groupStart(g, best);
}

/** The first group, from one on, that its flex group's tables leave room in. */
function notFull(g: Geometry, used: Runs, from: number): number {
  let group = from;
  while (group < g.groups - 1 && freeIn(g, used, group) === 0) group++;
  return group;
}

function freeIn(g: Geometry, used: Runs, group: number): number {
  const [start, end] = [groupStart(g, group), groupEnd(g, group)];
  return end - start - used.count(start, end);
}

function superblock(img: Image, { blocks, fastCommit }: JournalSize): Uint8Array {
  return journalSuper({
    blockSize: img.g.blockSize,
    blocks,
    first: 1,
    uuid: img.g.uuid,
    users: 1,
    fastCommit,
  });
}
