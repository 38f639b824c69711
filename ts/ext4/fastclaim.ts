// Blocks that fast commits say are a file's: marked used where they are free. Those in use are looked at again once
// what the records free is free. Flows of steps, each with a handle of its own.

import { MAP_HOLE } from '../../assembly/abi.ts';
import { corrupt, type Ext4Error } from '../errno.ts';
import { type Flow, step } from '../flow.ts';
import { ALLOC_CREDITS, claimHeld } from './balloc.ts';
import { blockIn } from './extentremove.ts';
import { MAX_LBLK } from './extentwrite.ts';
import type { FastPiece } from './fastmodel.ts';
import { readGroup } from './group.ts';
import { blockBitmap } from './groupwrite.ts';
import type { Inode } from './inode.ts';
import { mapBlocks } from './iomap.ts';
import type { Run } from './mapspace.ts';
import { orphanOf } from './orphanwrite.ts';
import type { Ext4Volume } from './volume.ts';
import { refuseSystem } from './zones.ts';

/** A stretch of a piece, and what the tree has there: nothing, the same blocks in the same or the other state, or other
 *  blocks. */
export interface Stretch extends FastPiece {
  state: 'hole' | 'same' | 'changes' | 'other';
}

/** A piece that maps blocks, cut where what the tree has there changes. */
export function* stretches(vol: Ext4Volume, ino: number, piece: FastPiece): Flow<Stretch[]> {
  if (piece.lblk + piece.len > MAX_LBLK) throw corrupt('fast commit', 'beyond any file', { ino });
  const found: Stretch[] = [];
  for (let done = 0; done < piece.len; ) {
    const rest = {
      ...piece,
      lblk: piece.lblk + done,
      pblk: piece.pblk + done,
      len: piece.len - done,
    };
    const next = yield* step(stretchAt, vol, ino, rest);
    found.push(next);
    done += next.len;
  }
  return found;
}

function stretchAt(vol: Ext4Volume, ino: number, p: FastPiece): Stretch {
  const inode = orphanOf(vol, ino);
  if (inode.path === 'inline') return { ...p, state: 'hole' };
  const map = mapBlocks(inode, p.lblk);
  const into = p.lblk - map.lblk;
  const len = Math.min(p.len, map.len - into);
  if (map.kind === MAP_HOLE) return { ...p, len, state: 'hole' };
  if (map.pblk + into !== p.pblk) return { ...p, len, state: 'other' };
  return { ...p, len, state: map.kind === p.kind ? 'same' : 'changes' };
}

/** Runs of whole clusters that an inode lacks to have its pieces. EUCLEAN for pieces that cut clusters otherwise than
 *  the file does. */
export function* lacking(vol: Ext4Volume, ino: number, pieces: readonly FastPiece[]): Flow<Run[]> {
  const { clusterBlocks } = vol.sb;
  const runs: Run[] = [];
  const known = new Set<number>();
  for (const piece of pieces) {
    if (piece.kind === MAP_HOLE) continue;
    for (const s of yield* stretches(vol, ino, piece)) {
      if (s.state === 'same' || s.state === 'changes') continue;
      if (clusterBlocks === 1) runs.push({ pblk: s.pblk, count: s.len });
      else for (const run of yield* step(clustersOf, vol, { ino, s, known })) runs.push(run);
    }
  }
  return runs;
}

/** The clusters of a stretch, but for those that the file has at this place, or a stretch before gets it. What it has
 *  there otherwise must be gone before the stretch is mapped. */
function clustersOf(
  vol: Ext4Volume,
  { ino, s, known }: { ino: number; s: Stretch; known: Set<number> },
): Run[] {
  const { clusterBlocks } = vol.sb;
  const inode = orphanOf(vol, ino);
  const shift = s.pblk - s.lblk;
  if (shift % clusterBlocks !== 0) throw cutClusters(ino, s.pblk);
  const runs: Run[] = [];
  for (let at = s.lblk - (s.lblk % clusterBlocks); at < s.lblk + s.len; at += clusterBlocks) {
    const own = inode.path === 'inline' ? -1 : clusterAt(inode, at);
    if (own === at + shift || known.has(at + shift)) continue;
    known.add(at + shift);
    runs.push({ pblk: at + shift, count: clusterBlocks });
  }
  return runs;
}

/** How many blocks of a stretch, from its first on, lie in clusters that the file has at this place already; 0 for a
 *  stretch that begins in another. */
export function ownedBlocks(inode: Inode, { lblk, pblk, len }: FastPiece): number {
  const { clusterBlocks } = inode.vol.sb;
  let end = lblk;
  while (end < lblk + len && clusterAt(inode, end) === end - (end % clusterBlocks) + pblk - lblk) {
    end += clusterBlocks - (end % clusterBlocks);
  }
  return Math.min(end - lblk, len);
}

/** EUCLEAN when blocks of a stretch would lie in a cluster of which the file has another at this place. */
export function checkClusters(inode: Inode, { lblk, pblk }: FastPiece, count: number): void {
  const { clusterBlocks } = inode.vol.sb;
  const first = lblk - (lblk % clusterBlocks);
  for (let at = first; clusterBlocks > 1 && at < lblk + count; at += clusterBlocks) {
    const own = clusterAt(inode, at);
    if (own >= 0 && own !== at + pblk - lblk) throw cutClusters(inode.ino, pblk);
  }
}

/** The place of the cluster of a block, by what is mapped in it; -1 when nothing is. */
function clusterAt(inode: Inode, lblk: number): number {
  const { clusterBlocks } = inode.vol.sb;
  const first = lblk - (lblk % clusterBlocks);
  return blockIn(inode, first, first + clusterBlocks);
}

function cutClusters(ino: number, block: number): Ext4Error {
  return corrupt('fast commit', 'clusters are cut', { ino, block });
}

/** Marks used what is free of a run; comes back with the rest. EUCLEAN for blocks of the file system itself. */
export function* claimRun(vol: Ext4Volume, { pblk, count }: Run): Flow<Run[]> {
  const end = Math.min(pblk + count, vol.sb.blocks);
  const busy: Run[] = [];
  for (let at = pblk; at < end; ) {
    const part = yield* step(claimPart, vol, at, end);
    if (!part.taken) busy.push({ pblk: at, count: part.end - at });
    at = part.end;
  }
  return busy;
}

/** The first part of [from, to) that is all free, taken then, or all in use. */
function claimPart(vol: Ext4Volume, from: number, to: number): { end: number; taken: boolean } {
  const { sb, journal, cache } = vol;
  const { exports } = cache.kernels;
  const number = Math.floor((from - sb.firstDataBlock) / sb.blocksPerGroup);
  const start = sb.groupStart(number);
  const end = Math.min(to, sb.groupStart(number + 1));
  refuseSystem(vol, from, end);
  const group = readGroup(vol, number);
  journal!.start(ALLOC_CREDITS);
  const bitmap = blockBitmap(vol, group);
  const bit = Math.floor((from - start) / sb.clusterBlocks);
  const last = Math.ceil((end - start) / sb.clusterBlocks);
  const set = exports.bitmapNextSet(bitmap.ptr, bit, last) >>> 0;
  const taken = set > bit;
  const stop = taken ? set : exports.bitmapNextClear(bitmap.ptr, bit, last) >>> 0;
  if (taken) claimHeld(vol, start + bit * sb.clusterBlocks, (set - bit) * sb.clusterBlocks);
  journal!.stop();
  return { end: Math.min(end, start + stop * sb.clusterBlocks), taken };
}
