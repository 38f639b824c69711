// The block map of a file that mkfs lays out: runs of blocks taken from the free ones in order, as an extent tree or
// as direct and indirect blocks. Blocks of the tree itself come from the same place and are returned as bytes.

import * as F from '../../assembly/format/ext4.ts';
import { assert } from '../assert.ts';
import { FLEX_BG } from './features.ts';
import { type Geometry, groupStart } from './plan.ts';
import type { Runs } from './runs.ts';
import { refuse } from './settle.ts';
import type { Sums } from './sums.ts';

export interface Run {
  lblk: number;
  pblk: number;
  count: number;
}

export interface BlockMap {
  runs: Run[];
  /** The 60 bytes of I_BLOCK. */
  root: Uint8Array;
  /** Blocks of the tree, with their bytes. */
  nodes: { pblk: number; bytes: Uint8Array }[];
}

/** Where the blocks of an inode are looked for: from the start of its group on, or of its flex group. */
export function homeOf(g: Geometry, ino: number): number {
  const group = Math.floor((ino - 1) / g.inodesPerGroup);
  return groupStart(g, g.features.has(FLEX_BG) ? group - (group % g.flexSize) : group);
}

/** Takes `count` blocks for a file, first fit from `goal` on, then from the front. Refuses when there are too few. */
export function takeBlocks(g: Geometry, used: Runs, goal: number, count: number): Run[] {
  const runs: Run[] = [];
  let at = goal;
  let wrapped = false;
  for (let lblk = 0; lblk < count; ) {
    const found = used.free(at, g.blocks);
    if (found.count === 0) {
      if (wrapped) throw refuse('there is no room for the journal');
      wrapped = true;
      at = g.firstDataBlock;
      continue;
    }
    const taken = Math.min(found.count, count - lblk);
    append(runs, { lblk, pblk: found.start, count: taken });
    used.mark(found.start, taken);
    at = found.start + taken;
    lblk += taken;
  }
  return runs;
}

function append(runs: Run[], run: Run): void {
  const last = runs[runs.length - 1];
  if (last && last.pblk + last.count === run.pblk) last.count += run.count;
  else runs.push(run);
}

/** The extent tree of `runs`; a second level takes blocks from `used` behind the file. */
export function extentMap(
  g: Geometry,
  used: Runs,
  runs: Run[],
  sums: { sums: Sums; seed: number } | null,
): BlockMap {
  const extents = runs.flatMap(split);
  const root = new Uint8Array(F.I_BLOCK_SIZE);
  if (extents.length <= 4) {
    writeHeader(root, extents.length, 4, 0);
    extents.forEach((extent, i) => {
      writeExtent(root, i, extent);
    });
    return { runs, root, nodes: [] };
  }
  const perNode = Math.floor((g.blockSize - F.EH_SIZE - 4) / F.EXT4_EXT_ENTRY_SIZE);
  const count = Math.ceil(extents.length / perNode);
  assert(count <= 4, 'a file of mkfs needs one level of extent blocks');
  const places = nodePlaces(g, used, runs, count);
  writeHeader(root, count, 4, 1);
  const nodes = places.map((pblk, n) => {
    const bytes = new Uint8Array(g.blockSize);
    const own = extents.slice(n * perNode, (n + 1) * perNode);
    writeHeader(bytes, own.length, perNode, 0);
    own.forEach((extent, i) => {
      writeExtent(bytes, i, extent);
    });
    if (sums) sealNode(bytes, perNode, sums);
    writeIndex(root, n, own[0].lblk, pblk);
    return { pblk, bytes };
  });
  return { runs, root, nodes };
}

/** Blocks for the tree: the one in front of the file if it is free, else behind it. */
function nodePlaces(g: Geometry, used: Runs, runs: Run[], count: number): number[] {
  const last = runs[runs.length - 1];
  const front = runs[0].pblk - 1;
  const goal = used.has(front) ? last.pblk + last.count : front;
  return takeBlocks(g, used, goal, count).flatMap(blocksOf);
}

function sealNode(
  bytes: Uint8Array,
  entries: number,
  { sums, seed }: { sums: Sums; seed: number },
) {
  const tail = F.EH_SIZE + entries * F.EXT4_EXT_ENTRY_SIZE;
  const sum = sums.crc32c(seed, bytes.subarray(0, tail));
  new DataView(bytes.buffer).setUint32(tail, sum, true);
}

function blocksOf({ pblk, count }: Run): number[] {
  return Array.from({ length: count }, (_, i) => pblk + i);
}

function split({ lblk, pblk, count }: Run): Run[] {
  const parts: Run[] = [];
  for (let at = 0; at < count; at += F.EXT_INIT_MAX_LEN) {
    const len = Math.min(F.EXT_INIT_MAX_LEN, count - at);
    parts.push({ lblk: lblk + at, pblk: pblk + at, count: len });
  }
  return parts;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function writeHeader(node: Uint8Array, entries: number, max: number, depth: number): void {
  const dv = viewOf(node);
  dv.setUint16(F.EH_MAGIC, F.EXT4_EXT_MAGIC, true);
  dv.setUint16(F.EH_ENTRIES, entries, true);
  dv.setUint16(F.EH_MAX, max, true);
  dv.setUint16(F.EH_DEPTH, depth, true);
}

function writeExtent(node: Uint8Array, index: number, { lblk, pblk, count }: Run): void {
  const dv = viewOf(node);
  const at = F.EH_SIZE + index * F.EXT4_EXT_ENTRY_SIZE;
  dv.setUint32(at + F.EE_BLOCK, lblk, true);
  dv.setUint16(at + F.EE_LEN, count, true);
  dv.setUint16(at + F.EE_START_HI, Math.floor(pblk / 2 ** 32), true);
  dv.setUint32(at + F.EE_START_LO, pblk % 2 ** 32, true);
}

function writeIndex(node: Uint8Array, index: number, lblk: number, pblk: number): void {
  const dv = viewOf(node);
  const at = F.EH_SIZE + index * F.EXT4_EXT_ENTRY_SIZE;
  dv.setUint32(at + F.EI_BLOCK, lblk, true);
  dv.setUint32(at + F.EI_LEAF_LO, pblk % 2 ** 32, true);
  dv.setUint16(at + F.EI_LEAF_HI, Math.floor(pblk / 2 ** 32), true);
}

/** Takes `count` blocks and the indirect blocks that lead to them, in the order in which a write would need them. */
export function indirectMap(g: Geometry, used: Runs, goal: number, count: number): BlockMap {
  const perBlock = g.blockSize / 4;
  const root = new Uint8Array(F.I_BLOCK_SIZE);
  const map: BlockMap = { runs: [], root, nodes: [] };
  let at = goal;
  const one = (): number => {
    const [run] = takeBlocks(g, used, at, 1);
    if (run.pblk >= 2 ** 32) throw refuse('block maps reach 2^32 blocks only');
    at = run.pblk + 1;
    return run.pblk;
  };
  const node = (): { pblk: number; bytes: Uint8Array } => {
    const made = { pblk: one(), bytes: new Uint8Array(g.blockSize) };
    map.nodes.push(made);
    return made;
  };
  let lblk = 0;
  const data = (into: Uint8Array, index: number): void => {
    const pblk = one();
    viewOf(into).setUint32(4 * index, pblk, true);
    append(map.runs, { lblk: lblk++, pblk, count: 1 });
  };
  const fill = (into: Uint8Array, slot: number, depth: number): void => {
    if (depth === 0) return data(into, slot);
    const { pblk, bytes } = node();
    viewOf(into).setUint32(4 * slot, pblk, true);
    for (let i = 0; i < perBlock && lblk < count; i++) fill(bytes, i, depth - 1);
  };
  for (let i = 0; i < F.EXT4_N_BLOCKS && lblk < count; i++) {
    fill(root, i, Math.max(0, i - F.EXT4_NDIR_BLOCKS + 1));
  }
  return map;
}

/** Blocks of the file and of its tree. */
export function mapBlocks(map: BlockMap): number {
  return map.nodes.length + map.runs.reduce((sum, run) => sum + run.count, 0);
}
