// Fast commits made part of the tree, in one transaction that stays open meanwhile: what they amount to is worked out
// first (fastmodel), then inodes, blocks, mappings and names follow. Whoever calls drops everything when this throws:
// EUCLEAN for records that do not fit the tree, ENOSPC when they do not fit into one transaction.

import { MAP_HOLE, MAP_UNWRITTEN, MAP_WRITTEN } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/ext4.ts';
import { corrupt } from '../errno.ts';
import { type Flow, step } from '../flow.ts';
import { findEntry } from './dir.ts';
import type { Place } from './dirblock.ts';
import { DIR_CREDITS, findRoom, initDir, insertEntry, removeEntry, setEntry } from './dirwrite.ts';
import { CONVERT_CREDITS, convertBlocks } from './extentchange.ts';
import { MAX_LBLK } from './extentwrite.ts';
import {
  checkClusters,
  claimRun,
  lacking,
  ownedBlocks,
  type Stretch,
  stretches,
} from './fastclaim.ts';
import { makeStep, updateStep } from './fastinode.ts';
import {
  type FastLife,
  type FastModel,
  type FastName,
  type FastPiece,
  settle,
} from './fastmodel.ts';
import { maxIndirectBlocks } from './indirect.ts';
import type { Inode } from './inode.ts';
import { removeInode } from './inoderemove.ts';
import { mapBlocks } from './iomap.ts';
import { superPlace } from './lifecycle.ts';
import { addBlocks, type Run } from './mapspace.ts';
import { insertRun, MAX_RUN, punchBlocksStep, RUN_CREDITS } from './mapwrite.ts';
import { addSubdir, dropSubdir, entryType, touch } from './namei.ts';
import { ON_CHAIN, readOrphans } from './orphan.ts';
import { addOrphan, ORPHAN_CREDITS, orphanOf, removeOrphan } from './orphanwrite.ts';
import { readLink } from './stat.ts';
import type { Ext4Volume } from './volume.ts';

const NAME_CREDITS = Math.min(64, DIR_CREDITS + 4);

/** What is under way. */
interface Task {
  readonly vol: Ext4Volume;
  readonly model: FastModel;
  readonly lives: readonly FastLife[];
  /** Files and directories that are there in the end. */
  readonly works: readonly Work[];
  /** Inodes that lost their last name and are free already. */
  readonly gone: Set<number>;
}

interface Work {
  readonly life: FastLife;
  readonly pieces: readonly FastPiece[];
  /** Blocks that it gets. */
  blocks: number;
}

/** Makes the tree what the model says. The journal holds. */
export function* applyModel(vol: Ext4Volume, model: FastModel): Flow<void> {
  const { slots } = yield* readOrphans(vol);
  for (const [ino, slot] of slots) vol.orphans.set(ino, slot);
  const lives = [...model.lives.values()];
  // One that had no name before and has none now is nobody's business.
  const stays = lives.filter((life) => life.links > 0);
  const works = stays.map((life) => ({ life, pieces: settle(life.pieces), blocks: 0 }));
  const task: Task = { vol, model, lives, works, gone: new Set() };
  const parents = checkParents(task);
  for (const { ino, reborn } of lives) if (reborn) yield* removeOld(vol, ino);
  for (const { life } of works) yield* step(life.fresh ? makeStep : updateStep, vol, life);
  yield* moveBlocks(task);
  for (const { life } of works) {
    if (life.fresh && life.isDir) yield* step(initStep, vol, life.ino, parents.get(life.ino)!);
  }
  for (const [ino, names] of model.names) {
    if (model.isThere(ino)) for (const name of names.values()) yield* putName(task, ino, name);
  }
  for (const { life } of works) yield* finish(vol, life);
  for (const life of lives) {
    if (isLeft(life) && !task.gone.has(life.ino)) yield* step(leaveStep, vol, life.ino);
  }
}

/** What was there lost its last name. */
function isLeft(life: FastLife): boolean {
  return life.removes && !life.reborn;
}

// ---- directories

/** The directory of each name, by inode: one that can be got to from those that were there. */
function checkParents({ model, lives }: Task): Map<number, number> {
  const parents = new Map<number, number>();
  for (const [parent, names] of model.names) {
    for (const { now } of names.values()) {
      if (now === 0) continue;
      if (!model.isThere(parent)) throw corrupt('fast commit', 'no directory', { ino: parent });
      parents.set(now, parent);
    }
  }
  const known = new Set<number>();
  for (const { ino } of lives) {
    const way = new Set<number>();
    for (let at = ino; !known.has(at) && model.lives.get(at)?.fresh; at = parents.get(at) ?? 0) {
      if (way.has(at)) throw corrupt('fast commit', 'directories in a circle', { ino: at });
      way.add(at);
    }
    for (const at of way) known.add(at);
  }
  return parents;
}

function initStep(vol: Ext4Volume, ino: number, parent: number): void {
  const dir = orphanOf(vol, ino);
  vol.journal!.start(NAME_CREDITS);
  initDir(dir, parent);
  vol.journal!.stop();
}

/** A name becomes what it is in the end. */
function* putName({ vol, model }: Task, ino: number, entry: FastName): Flow<void> {
  const { before, now, name } = entry;
  const again = now !== 0 && model.lives.get(now)?.reborn === true;
  if (before === now && !again) return;
  const dir = yield* step(orphanOf, vol, ino);
  const place = yield* findEntry(dir, name);
  if (place.ino !== before) throw corrupt('fast commit', 'a name comes twice', { ino });
  const room = before === 0 ? yield* findRoom(dir, name) : -1;
  const wasDir = before !== 0 && model.lives.get(before)?.old?.isDir === true;
  yield* step(nameStep, dir, entry, { place, room, wasDir });
}

function nameStep(
  dir: Inode,
  { before, now, name }: FastName,
  { place, room, wasDir }: { place: Place; room: number; wasDir: boolean },
): void {
  const { vol } = dir;
  dir.at();
  const inode = now === 0 ? null : orphanOf(vol, now);
  vol.journal!.start(NAME_CREDITS);
  if (inode === null) removeEntry(dir, place.lblk, name);
  else if (before === 0) insertEntry(dir, name, now, entryType(inode), room);
  else setEntry(dir, place.lblk, name, now, entryType(inode));
  const isDir = inode?.isDir === true;
  if (wasDir && !isDir) dropSubdir(dir);
  if (isDir && !wasDir) addSubdir(dir);
  touch(dir, true);
  vol.journal!.stop();
}

// ---- blocks

/** Block bits, then mappings: what is free is taken first, so that nothing else gets it; then what is given up is
 *  freed, and the rest taken, which must be free by then. */
function* moveBlocks(task: Task): Flow<void> {
  const { vol, works, lives, gone } = task;
  let busy: Run[] = [];
  for (const work of works) {
    const runs = yield* lacking(vol, work.life.ino, work.pieces);
    for (const run of runs) work.blocks += run.count;
    for (const run of yield* claimAll(vol, runs)) busy.push(run);
  }
  if (vol.sb.clusterBlocks > 1) for (const work of works) yield* mapOwned(vol, work);
  for (const work of works) yield* giveUp(vol, work);
  busy = yield* claimAll(vol, busy);
  // Where data is not ordered, blocks of what is removed are given out before the removal is durable.
  for (const life of busy.length > 0 ? lives.filter(isLeft) : []) {
    yield* removeOld(vol, life.ino);
    gone.add(life.ino);
  }
  busy = yield* claimAll(vol, busy);
  if (busy.length > 0) throw corrupt('fast commit', 'a block in use', { block: busy[0].pblk });
  for (const work of works) yield* mapAll(vol, work);
}

function* claimAll(vol: Ext4Volume, runs: Run[]): Flow<Run[]> {
  const busy: Run[] = [];
  for (const run of runs) for (const rest of yield* claimRun(vol, run)) busy.push(rest);
  return busy;
}

/** Maps what comes to lie in clusters that the file has, lest they are freed with the last block that they have now. */
function* mapOwned(vol: Ext4Volume, { life, pieces }: Work): Flow<void> {
  for (const piece of pieces) {
    if (piece.kind === MAP_HOLE) continue;
    for (const part of yield* stretches(vol, life.ino, piece)) {
      for (let done = 0; part.state === 'hole' && done < part.len; ) {
        done += yield* step(mapOwnedStep, vol, life.ino, rest(part, done));
      }
    }
  }
}

/** Maps the start of a stretch where it lies in clusters of the file, else passes a cluster over; how many blocks. */
function mapOwnedStep(vol: Ext4Volume, ino: number, part: Stretch): number {
  const inode = orphanOf(vol, ino);
  if (inode.path === 'inline') return part.len;
  const owned = ownedBlocks(inode, part);
  if (owned > 0) return mapStep(vol, ino, { ...part, len: owned });
  return vol.sb.clusterBlocks - (part.lblk % vol.sb.clusterBlocks);
}

/** The blocks of a file that are not its own in the end. */
function* giveUp(vol: Ext4Volume, { life, pieces }: Work): Flow<void> {
  if (life.fresh) return;
  for (const piece of pieces) {
    if (piece.kind === MAP_HOLE) yield* punch(vol, life.ino, piece);
    else {
      for (const part of yield* stretches(vol, life.ino, piece)) {
        if (part.state === 'other') yield* punch(vol, life.ino, part);
      }
    }
  }
}

function* punch(vol: Ext4Volume, ino: number, { lblk, len }: FastPiece): Flow<void> {
  const inode = yield* step(orphanOf, vol, ino);
  while (yield* step(punchBlocksStep, inode, lblk, lblk + len)) {}
}

function* mapAll(vol: Ext4Volume, { life, pieces, blocks }: Work): Flow<void> {
  if (blocks > 0) yield* step(countStep, vol, life.ino, blocks);
  for (const piece of pieces) {
    if (piece.kind === MAP_HOLE) continue;
    for (const part of yield* stretches(vol, life.ino, piece)) {
      for (let done = 0; done < part.len; )
        done += yield* step(mapStep, vol, life.ino, rest(part, done));
    }
  }
}

function rest(part: Stretch, done: number): Stretch {
  return { ...part, lblk: part.lblk + done, pblk: part.pblk + done, len: part.len - done };
}

function countStep(vol: Ext4Volume, ino: number, blocks: number): void {
  const inode = orphanOf(vol, ino);
  vol.journal!.start(1);
  addBlocks(inode, blocks);
  vol.journal!.stop();
}

/** Maps the beginning of a stretch; how many blocks of it. */
function mapStep(vol: Ext4Volume, ino: number, part: Stretch): number {
  if (part.state === 'same') return part.len;
  const inode = orphanOf(vol, ino);
  const { lblk, pblk, len, kind } = part;
  if (part.state === 'other') throw corrupt('fast commit', 'mapped twice', { ino, block: pblk });
  if (kind === MAP_UNWRITTEN && !inode.has(F.EXT4_EXTENTS_FL)) {
    throw corrupt('fast commit', 'a block map with unwritten blocks', { ino });
  }
  vol.journal!.start(Math.max(RUN_CREDITS, CONVERT_CREDITS));
  let done = Math.min(len, MAX_RUN);
  if (part.state === 'hole') checkClusters(inode, part, done);
  if (part.state === 'hole') insertRun(inode, lblk, pblk, done, kind === MAP_UNWRITTEN);
  else done = convertBlocks(inode, lblk, len, kind === MAP_WRITTEN);
  vol.journal!.stop();
  return done;
}

// ---- what comes last

/** What has a name again is no orphan. A file with blocks behind its end is one until they are gone. */
function* finish(vol: Ext4Volume, life: FastLife): Flow<void> {
  if (life.isDir) return;
  yield* step(checkStep, vol, life);
  if (!(yield* reachesPast(vol, life.ino))) return;
  yield* step(orphanStep, vol, life.ino);
}

function checkStep(vol: Ext4Volume, { ino, old }: FastLife): void {
  const inode = orphanOf(vol, ino);
  const short = inode.isLink && !inode.has(F.EXT4_ENCRYPT_FL) ? readLink(inode).length : inode.size;
  if (short !== inode.size) throw corrupt('fast commit', 'a target that was not written', { ino });
  if (old?.links !== 0 || !vol.orphans.has(ino)) return;
  vol.journal!.start(ORPHAN_CREDITS + 1);
  removeOrphan(inode);
  vol.journal!.stop();
}

/** Whether written blocks lie behind the end of a regular file. */
function* reachesPast(vol: Ext4Volume, ino: number): Flow<boolean> {
  const inode = yield* step(orphanOf, vol, ino);
  if (!inode.isFile || inode.path === 'inline') return false;
  const extents = inode.has(F.EXT4_EXTENTS_FL);
  const end = extents ? MAX_LBLK : Math.min(maxIndirectBlocks(vol.sb.blockSize), MAX_LBLK);
  for (let at = Math.ceil(inode.size / vol.sb.blockSize); at < end; ) {
    const map = yield* step(mapCopy, vol, ino, at);
    if (map.kind === MAP_WRITTEN) return true;
    at = map.lblk + map.len;
  }
  return false;
}

function mapCopy(vol: Ext4Volume, ino: number, lblk: number): FastPiece {
  return { ...mapBlocks(orphanOf(vol, ino), lblk) };
}

function orphanStep(vol: Ext4Volume, ino: number): void {
  const inode = orphanOf(vol, ino);
  vol.journal!.start(ORPHAN_CREDITS + 2);
  putOrphan(inode);
  vol.journal!.stop();
}

/** The mount that goes on from here removes it, or cuts it off at its end. */
function putOrphan(inode: Inode): void {
  const { vol } = inode;
  addOrphan(inode);
  if (vol.orphans.get(inode.ino) === ON_CHAIN) return;
  const { pblk, off } = superPlace(vol);
  const ptr = vol.journal!.write(vol.cache.get(pblk), off, F.SB_SIZE);
  const bits = vol.dv.getUint32(ptr + F.S_FEATURE_RO_COMPAT, true) | F.RO_COMPAT_ORPHAN_PRESENT;
  vol.dv.setUint32(ptr + F.S_FEATURE_RO_COMPAT, bits >>> 0, true);
}

/** Nothing leads to it any more. */
function leaveStep(vol: Ext4Volume, ino: number): void {
  const inode = orphanOf(vol, ino);
  vol.journal!.start(ORPHAN_CREDITS + 3);
  dropLinks(inode);
  putOrphan(inode);
  vol.journal!.stop();
}

function dropLinks(inode: Inode): void {
  inode.setLinks(0);
  if (inode.isDir) inode.setSize(0);
}

/** What lost its last name goes at once: its number, or its blocks, are in use again. */
function* removeOld(vol: Ext4Volume, ino: number): Flow<void> {
  yield* step(unlinkStep, vol, ino);
  yield* removeInode(vol, ino);
}

function unlinkStep(vol: Ext4Volume, ino: number): void {
  const inode = orphanOf(vol, ino);
  vol.journal!.start(2);
  dropLinks(inode);
  vol.journal!.stop();
}
