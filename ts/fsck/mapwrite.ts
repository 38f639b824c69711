// A new map for an inode: extents or block numbers, laid out from a list of runs, its own blocks allocated afresh. The
// caller puts the sixty bytes that come back into the record, last of all.

import * as F from '../../assembly/format/ext4.ts';
import type { Flow } from '../flow.ts';
import { allocCluster } from './alloc.ts';
import type { Volume } from './volume.ts';

export interface MapRun {
  lblk: number;
  len: number;
  pblk: number;
  unwritten: boolean;
}

/** The sixty bytes of i_block, and how many blocks the map itself takes. */
export interface NewMap {
  root: Uint8Array;
  nodes: number;
}

const ENTRY = F.EXT4_EXT_ENTRY_SIZE;
const ROOT_ENTRIES = 4;

/** Lays out a map; null when there is no room for it. `seed` sums its blocks. */
export function* buildMap(
  vol: Volume,
  ino: number,
  seed: number,
  runs: MapRun[],
  extents: boolean,
): Flow<NewMap | null> {
  return extents
    ? yield* buildExtents(vol, ino, seed, merged(runs))
    : yield* buildBlocks(vol, ino, runs);
}

/** Neighbours joined, and none longer than an extent may be. */
function merged(runs: MapRun[]): MapRun[] {
  const out: MapRun[] = [];
  for (const run of runs) {
    const last = out[out.length - 1];
    const joins =
      last !== undefined &&
      last.lblk + last.len === run.lblk &&
      last.pblk + last.len === run.pblk &&
      last.unwritten === run.unwritten &&
      last.len + run.len < F.EXT_INIT_MAX_LEN;
    if (joins) last.len += run.len;
    else out.push({ ...run });
  }
  return out;
}

function* buildExtents(
  vol: Volume,
  ino: number,
  seed: number,
  runs: MapRun[],
): Flow<NewMap | null> {
  let entries = runs.map(leafEntry);
  let nodes = 0;
  let depth = 0;
  const room = Math.floor((vol.sb.blockSize - F.EH_SIZE) / ENTRY);
  while (entries.length > ROOT_ENTRIES) {
    const above: Uint8Array[] = [];
    for (let i = 0; i < entries.length; i += room) {
      const pblk = allocCluster(vol, ino);
      if (pblk < 0) return null;
      nodes++;
      yield* writeNode(vol, pblk, seed, entries.slice(i, i + room), room, depth);
      above.push(indexEntry(entries[i], pblk));
    }
    entries = above;
    depth++;
  }
  const root = new Uint8Array(F.I_BLOCK_SIZE);
  putNode(root, entries, ROOT_ENTRIES, depth);
  return { root, nodes };
}

function leafEntry(run: MapRun): Uint8Array {
  const bytes = new Uint8Array(ENTRY);
  const dv = new DataView(bytes.buffer);
  dv.setUint32(F.EE_BLOCK, run.lblk, true);
  dv.setUint16(F.EE_LEN, run.unwritten ? run.len + F.EXT_INIT_MAX_LEN : run.len, true);
  dv.setUint16(F.EE_START_HI, Math.floor(run.pblk / 2 ** 32), true);
  dv.setUint32(F.EE_START_LO, run.pblk % 2 ** 32, true);
  return bytes;
}

/** An index entry for a node whose first entry is `first`. */
function indexEntry(first: Uint8Array, pblk: number): Uint8Array {
  const bytes = new Uint8Array(ENTRY);
  bytes.set(first.subarray(0, 4));
  const dv = new DataView(bytes.buffer);
  dv.setUint32(F.EI_LEAF_LO, pblk % 2 ** 32, true);
  dv.setUint16(F.EI_LEAF_HI, Math.floor(pblk / 2 ** 32), true);
  return bytes;
}

function putNode(bytes: Uint8Array, entries: Uint8Array[], max: number, depth: number): void {
  const dv = new DataView(bytes.buffer, bytes.byteOffset);
  dv.setUint16(F.EH_MAGIC, F.EXT4_EXT_MAGIC, true);
  dv.setUint16(F.EH_ENTRIES, entries.length, true);
  dv.setUint16(F.EH_MAX, max, true);
  dv.setUint16(F.EH_DEPTH, depth, true);
  entries.forEach((entry, i) => {
    bytes.set(entry, F.EH_SIZE + i * ENTRY);
  });
}

function* writeNode(
  vol: Volume,
  pblk: number,
  seed: number,
  entries: Uint8Array[],
  max: number,
  depth: number,
): Flow<void> {
  const { disk, sums } = vol;
  const ptr = disk.fresh(pblk);
  putNode(disk.u8.subarray(ptr, ptr + disk.blockSize), entries, max, depth);
  const tail = F.EH_SIZE + max * ENTRY;
  if (sums.on) disk.dv.setUint32(ptr + tail, sums.run(seed, ptr, tail), true);
  yield* disk.write(pblk, ptr);
}

/** A block map: twelve numbers, then trees of one, two and three levels. */
function* buildBlocks(vol: Volume, ino: number, runs: MapRun[]): Flow<NewMap | null> {
  const numbers = new Map<number, number>();
  for (const { lblk, len, pblk } of runs) {
    for (let i = 0; i < len; i++) numbers.set(lblk + i, pblk + i);
  }
  const slots = new Uint32Array(F.EXT4_N_BLOCKS);
  for (let i = 0; i < F.EXT4_NDIR_BLOCKS; i++) {
    slots[i] = numbers.get(i) ?? 0;
    numbers.delete(i);
  }
  const per = vol.sb.blockSize / 4;
  let nodes = 0;
  let base = F.EXT4_NDIR_BLOCKS;
  let span = per;
  for (let level = 1; level <= 3 && numbers.size > 0; level++) {
    let tree = take(numbers, base, base + span);
    for (let step = 0; step < level; step++) {
      const above = new Map<number, number>();
      for (const [key, children] of grouped(tree, per)) {
        const pblk = allocCluster(vol, ino);
        if (pblk < 0) return null;
        nodes++;
        yield* writeNumbers(vol, pblk, children);
        above.set(key, pblk);
      }
      tree = above;
    }
    slots[F.EXT4_NDIR_BLOCKS + level - 1] = tree.get(0) ?? 0;
    base += span;
    span *= per;
  }
  return { root: new Uint8Array(slots.buffer), nodes };
}

/** The numbers in [from, end), counted from `from`. */
function take(numbers: Map<number, number>, from: number, end: number): Map<number, number> {
  const out = new Map<number, number>();
  for (const [lblk, pblk] of numbers) {
    if (lblk < from || lblk >= end) continue;
    out.set(lblk - from, pblk);
    numbers.delete(lblk);
  }
  return out;
}

function grouped(tree: Map<number, number>, per: number): Map<number, [number, number][]> {
  const groups = new Map<number, [number, number][]>();
  for (const [at, pblk] of tree) {
    const key = Math.floor(at / per);
    const list = groups.get(key) ?? [];
    list.push([at % per, pblk]);
    groups.set(key, list);
  }
  return groups;
}

function* writeNumbers(vol: Volume, pblk: number, children: [number, number][]): Flow<void> {
  const ptr = vol.disk.fresh(pblk);
  for (const [at, child] of children) vol.disk.dv.setUint32(ptr + 4 * at, child, true);
  yield* vol.disk.write(pblk, ptr);
}
