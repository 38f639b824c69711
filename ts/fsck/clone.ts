// Pass 1B: blocks that more than one claim. Every inode is walked again; whoever comes first keeps the block, each
// other gets a copy of its own, with a map written anew around it. Nobody reads other bytes afterwards than before.

import * as F from '../../assembly/format/ext4.ts';
import { type Flow, flushDevice } from '../flow.ts';
import { allocCluster } from './alloc.ts';
import { Bits } from './bits.ts';
import { walkBlocks } from './locate.ts';
import { buildMap, type MapRun } from './mapwrite.ts';
import { dropResizeInode } from './pass0.ts';
import type { Volume } from './volume.ts';

interface Walked {
  runs: MapRun[];
  nodes: number[];
  acl: number;
}

/** Names all inodes that share blocks, and with repair gives each its own. */
export function* resolveShared(vol: Volume): Flow<void> {
  if (vol.shared.size() === 0 && vol.misaligned.size === 0) return;
  if (vol.roCompat(F.RO_COMPAT_SHARED_BLOCKS)) return;
  const owned = new Bits();
  if (yield* resizeShares(vol)) return;
  for (const ino of vol.inUse.values()) {
    if (vol.inBadBlock.has(ino) || ino === F.EXT4_RESIZE_INO) continue;
    const walked = yield* walk(vol, ino);
    const many = countShared(vol, walked);
    if (many === 0 && !vol.misaligned.has(ino)) continue;
    const text = `inode ${ino} shares ${many} blocks with others`;
    if (!vol.report.report('shared-blocks', { ino }, text)) continue;
    yield* separate(vol, ino, walked, owned);
    vol.restart = true;
  }
}

/** Blocks of the resize inode have their places: where others claim one, the reserve is given up. */
function* resizeShares(vol: Volume): Flow<boolean> {
  const ino = F.EXT4_RESIZE_INO;
  if (!vol.compat(F.COMPAT_RESIZE_INODE)) return false;
  let many = 0;
  const own = (pblk: number, len: number) => {
    for (let i = 0; i < len; i++) {
      if (!vol.meta.has(pblk + i) && vol.shared.has(vol.cluster(pblk + i))) many++;
    }
  };
  const data = (_: number, len: number, pblk: number) => own(pblk, len);
  yield* walkBlocks(vol, ino, { data, node: (pblk) => own(pblk, 1) });
  const text = `the resize inode shares ${many} blocks with others`;
  if (many === 0 || !vol.report.report('resize-inode', { ino }, text)) return false;
  yield* dropResizeInode(vol);
  vol.restart = true;
  return true;
}

function* walk(vol: Volume, ino: number): Flow<Walked> {
  const walked: Walked = { runs: [], nodes: [], acl: 0 };
  const record = yield* vol.inode(ino);
  if (record === null) return walked;
  walked.acl = vol.compat(F.COMPAT_EXT_ATTR) && vol.inFs(record.fileAcl) ? record.fileAcl : 0;
  const type = vol.inodeType(ino);
  const fast = type === F.EXT4_FT_SYMLINK && record.blocks === 0;
  const mapped =
    type === F.EXT4_FT_REG_FILE || type === F.EXT4_FT_DIR || type === F.EXT4_FT_SYMLINK;
  if (!mapped || fast) return walked;
  const data = (lblk: number, len: number, pblk: number, unwritten: boolean) => {
    walked.runs.push({ lblk, len, pblk, unwritten });
  };
  yield* walkBlocks(vol, ino, { data, node: (pblk) => void walked.nodes.push(pblk) });
  return walked;
}

function countShared(vol: Volume, { runs, nodes, acl }: Walked): number {
  let count = acl !== 0 && vol.shared.has(vol.cluster(acl)) ? 1 : 0;
  for (const pblk of nodes) if (vol.shared.has(vol.cluster(pblk))) count++;
  for (const { pblk, len } of runs) {
    const first = vol.cluster(pblk);
    const last = vol.cluster(pblk + len - 1);
    if (!vol.shared.any(first, last - first + 1)) continue;
    for (let c = first; c <= last; c++) if (vol.shared.has(c)) count++;
  }
  return count;
}

/** Gives an inode copies of what others came first to. */
function* separate(vol: Volume, ino: number, walked: Walked, owned: Bits): Flow<void> {
  const runs: MapRun[] = [];
  let changed = vol.misaligned.has(ino);
  const places = new Map<number, number>();
  for (const piece of pieces(vol, walked.runs)) {
    const moved = yield* ownPiece(vol, ino, piece, owned, places);
    if (moved === null) return noSpace(vol, ino);
    if (moved !== piece.pblk) changed = true;
    runs.push({ ...piece, pblk: moved });
  }
  for (const pblk of walked.nodes) {
    const cluster = vol.cluster(pblk);
    if (vol.shared.has(cluster)) changed = true;
  }
  yield* flushDevice(vol.disk.device);
  if (changed && !(yield* putMap(vol, ino, runs))) return noSpace(vol, ino);
  yield* ownAcl(vol, ino, walked.acl, owned);
}

function noSpace(vol: Volume, ino: number): void {
  vol.report.complain('no-space', { ino }, `no room to copy the shared blocks of inode ${ino}`);
}

/** Runs cut into single blocks where clusters are shared or askew; whole where nothing is wrong. */
function* pieces(vol: Volume, runs: MapRun[]): Generator<MapRun> {
  const per = vol.sb.clusterBlocks;
  for (const run of runs) {
    const first = vol.cluster(run.pblk);
    const count = vol.cluster(run.pblk + run.len - 1) - first + 1;
    if (per === 1 && !vol.shared.any(first, count)) yield run;
    else {
      for (let i = 0; i < run.len; i++) {
        yield { ...run, lblk: run.lblk + i, len: 1, pblk: run.pblk + i };
      }
    }
  }
}

/** The place of a piece from now on; null when there is no room. `places`: logical cluster to new cluster. */
function* ownPiece(
  vol: Volume,
  ino: number,
  piece: MapRun,
  owned: Bits,
  places: Map<number, number>,
): Flow<number | null> {
  const { sb, disk } = vol;
  const per = sb.clusterBlocks;
  const cluster = vol.cluster(piece.pblk);
  const logical = Math.floor(piece.lblk / per);
  const askew = (piece.pblk - sb.firstDataBlock) % per !== piece.lblk % per;
  let place = places.get(logical);
  if (place === undefined) {
    const taken = vol.shared.has(cluster) && (owned.has(cluster) || isFixed(vol, cluster));
    if (piece.len > 1 || (!askew && !taken)) {
      if (piece.len === 1) places.set(logical, sb.firstDataBlock + cluster * per);
      if (vol.shared.has(cluster)) owned.add(cluster);
      return piece.pblk;
    }
    place = allocCluster(vol, ino);
    if (place < 0) return null;
    places.set(logical, place);
  }
  const to = place + (piece.lblk % per);
  if (to === piece.pblk) return to;
  const from = yield* disk.get(piece.pblk);
  const bytes = disk.u8.slice(from, from + sb.blockSize);
  const ptr = disk.fresh(to);
  disk.u8.set(bytes, ptr);
  yield* disk.write(to, ptr);
  return to;
}

function isFixed(vol: Volume, cluster: number): boolean {
  const { firstDataBlock, clusterBlocks } = vol.sb;
  return vol.meta.any(firstDataBlock + cluster * clusterBlocks, clusterBlocks);
}

function* putMap(vol: Volume, ino: number, runs: MapRun[]): Flow<boolean> {
  const before = yield* vol.inode(ino);
  if (before === null) return false;
  const extents = before.has(F.EXT4_EXTENTS_FL) || vol.sb.clusterBlocks > 1;
  const map = yield* buildMap(vol, ino, before.seed, runs, extents);
  const record = yield* vol.inode(ino);
  if (map === null || record === null) return false;
  vol.disk.u8.set(map.root, record.ptr + F.I_BLOCK);
  if (extents) record.put32(F.I_FLAGS, (record.flags | F.EXT4_EXTENTS_FL) >>> 0);
  record.dirty = true;
  yield* vol.save(record);
  return true;
}

/** A shared block of attributes is copied for each inode but the first; the counts follow in the next round. */
function* ownAcl(vol: Volume, ino: number, acl: number, owned: Bits): Flow<void> {
  const { disk } = vol;
  const cluster = acl === 0 ? 0 : vol.cluster(acl);
  if (acl === 0 || !vol.shared.has(cluster)) return;
  if (!owned.has(cluster) && !isFixed(vol, cluster)) {
    owned.add(cluster);
    return;
  }
  const to = allocCluster(vol, ino);
  if (to < 0) return noSpace(vol, ino);
  const from = yield* disk.get(acl);
  const bytes = disk.u8.slice(from, from + disk.blockSize);
  const ptr = disk.fresh(to);
  disk.u8.set(bytes, ptr);
  disk.dv.setUint32(ptr + F.H_REFCOUNT, 1, true);
  yield* disk.write(to, ptr);
  const record = yield* vol.inode(ino);
  record?.setFileAcl(to);
  if (record) yield* vol.save(record);
}
