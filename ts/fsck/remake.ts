// What a repair had to take away and can make again once it is known which blocks are free: a journal that could not be
// believed, as an empty one of the same size, and the inode that keeps the reserve of descriptors. In pass 5, before
// the bitmaps are compared.

import * as F from '../../assembly/format/ext4.ts';
import { type Flow, flushDevice, writeDevice } from '../flow.ts';
import { journalSuper } from '../jbd2/newlog.ts';
import { allocCluster } from './alloc.ts';
import { descriptorBlocks } from './groups.ts';
import { buildMap, type MapRun } from './mapwrite.ts';
import { backupGroups } from './pass0.ts';
import type { Record } from './record.ts';
import type { Volume } from './volume.ts';

/** Extra bytes of a record that are in use. */
const EXTRA_ISIZE = 32;
/** Of so many blocks of a log with fast commits one is theirs. */
const FAST_COMMIT_SHARE = 65;

/** Makes again what is noted as lost. What finds no room is given up, and said. */
export function* remakeLost(vol: Volume): Flow<void> {
  const { lost } = vol.hooks;
  if (vol.report.mode !== 'all') return;
  if (lost.resize >= 0) yield* remakeResize(vol, lost.resize);
  if (lost.journal !== null) yield* remakeJournal(vol, lost.journal.blocks, lost.journal.goal);
  lost.resize = -1;
  lost.journal = null;
}

function setCompat(vol: Volume, bit: number, on: boolean): void {
  const word = vol.sb.dv.getUint32(F.S_FEATURE_COMPAT, true);
  vol.putSuper32(F.S_FEATURE_COMPAT, (on ? word | bit : word & ~bit) >>> 0);
}

/** A record of a regular file of root's that only this system knows, without blocks yet. */
function* freshRecord(vol: Volume, ino: number): Flow<Record | null> {
  const record = yield* vol.inode(ino);
  if (record === null) return null;
  record.clear();
  const now = Math.floor(Date.now() / 1000) % 2 ** 32;
  record.put16(F.I_MODE, F.S_IFREG + 0o600);
  record.put16(F.I_LINKS_COUNT, 1);
  for (const field of [F.I_ATIME, F.I_CTIME, F.I_MTIME]) record.put32(field, now);
  if (vol.sb.inodeSize > F.EXT4_GOOD_OLD_INODE_SIZE) {
    record.put16(F.I_EXTRA_ISIZE, EXTRA_ISIZE);
    record.put32(F.I_CRTIME, now);
  }
  return record;
}

// ---- the journal

function* remakeJournal(vol: Volume, blocks: number, goal: number): Flow<void> {
  const { report, disk, sb } = vol;
  const ino = F.EXT4_JOURNAL_INO;
  const where = { ino };
  const extents = vol.incompat(F.INCOMPAT_EXTENTS) || sb.clusterBlocks > 1;
  const runs = takeRuns(vol, blocks, goal);
  const seed = vol.sums.inodeSeed(ino, 0);
  const map = runs === null ? null : yield* buildMap(vol, ino, seed, runs, extents);
  if (runs === null || map === null) {
    const text = `no room for a new journal of ${blocks} blocks: there is none from now on`;
    report.report('journal-lost', where, text);
    return;
  }
  if (!report.report('journal-remade', where, `the journal is made anew: ${blocks} blocks`)) return;
  const fast = vol.compat(F.COMPAT_FAST_COMMIT) ? Math.floor(blocks / FAST_COMMIT_SHARE) : 0;
  const { blockSize, uuid } = sb;
  const head = disk.fresh(runs[0].pblk);
  const spec = { blockSize, blocks, first: 1, uuid, users: 1, fastCommit: fast };
  disk.u8.set(journalSuper(spec), head);
  yield* disk.write(runs[0].pblk, head);
  for (const run of runs) yield* zeroRun(vol, run);
  yield* flushDevice(disk.device);
  const record = yield* freshRecord(vol, ino);
  if (record === null) return;
  disk.u8.set(map.root, record.ptr + F.I_BLOCK);
  if (extents) record.put32(F.I_FLAGS, F.EXT4_EXTENTS_FL);
  record.setSize(blocks * blockSize);
  const clusters = Math.ceil(blocks / sb.clusterBlocks) + map.nodes;
  record.setBlocks((clusters * sb.clusterBlocks * blockSize) / 512);
  yield* vol.save(record);
  nameJournal(vol, map.root, blocks * blockSize);
}

/** The superblock names the journal and keeps a copy of where it is. */
function nameJournal(vol: Volume, root: Uint8Array, size: number): void {
  setCompat(vol, F.COMPAT_HAS_JOURNAL, true);
  vol.putSuper32(F.S_JOURNAL_INUM, F.EXT4_JOURNAL_INO);
  vol.sb.raw.set(root, F.S_JNL_BLOCKS);
  vol.putSuper32(F.S_JNL_BLOCKS + 60, Math.floor(size / 2 ** 32));
  vol.putSuper32(F.S_JNL_BLOCKS + 64, size % 2 ** 32);
  vol.sb.dv.setUint8(F.S_JNL_BACKUP_TYPE, 1);
}

/** Free clusters for so many blocks: in one piece if there is one, from `goal` or the middle on; null: too few. */
function takeRuns(vol: Volume, blocks: number, goal: number): MapRun[] | null {
  const { sb } = vol;
  const per = sb.clusterBlocks;
  const total = vol.cluster(sb.blocks - 1) + 1;
  const middle = sb.groupStart(Math.max(0, Math.floor(sb.groups / 2) - 1));
  const start = vol.cluster(goal > 0 ? goal : middle);
  const want = Math.ceil(blocks / per);
  const pieces = findPieces(vol, want, start, total);
  if (pieces === null) return null;
  let lblk = 0;
  return pieces.map(({ first, count }) => {
    vol.used.addRange(first, count);
    const len = Math.min(count * per, blocks - lblk);
    const run = { lblk, len, pblk: sb.firstDataBlock + first * per, unwritten: false };
    lblk += len;
    return run;
  });
}

interface Piece {
  first: number;
  count: number;
}

function findPieces(vol: Volume, want: number, start: number, total: number): Piece[] | null {
  const scattered: Piece[] = [];
  let sum = 0;
  for (const [from, end] of [
    [start, total],
    [0, start],
  ]) {
    let at = vol.used.nextClear(from, end);
    while (at < end) {
      let count = 1;
      while (count < want && at + count < end && !vol.used.has(at + count)) count++;
      if (count === want) return [{ first: at, count }];
      const take = Math.min(count, want - sum);
      if (take > 0) scattered.push({ first: at, count: take });
      sum += take;
      at = vol.used.nextClear(at + count, end);
    }
  }
  return sum === want ? scattered : null;
}

/** Zeroes a run but for the log's first block: no block of an old log is taken for one of the new one. */
function* zeroRun(vol: Volume, { lblk, pblk, len }: MapRun): Flow<void> {
  const { disk } = vol;
  disk.drop();
  // The scan window holds nothing between the passes.
  const most = Math.floor(disk.windowBytes / disk.blockSize);
  for (let i = lblk === 0 ? 1 : 0; i < len; i += most) {
    const bytes = Math.min(most, len - i) * disk.blockSize;
    disk.kernels.exports.zero(disk.window, bytes);
    const from = disk.u8.subarray(disk.window, disk.window + bytes);
    yield* writeDevice(disk.device, from, (pblk + i) * disk.blockSize);
  }
}

// ---- the reserve of descriptors

/** Its double indirect block names the reserved blocks of group 0, each of which names its copies. */
function* remakeResize(vol: Volume, before: number): Flow<void> {
  const { disk, report, sb } = vol;
  const ino = F.EXT4_RESIZE_INO;
  const old = before > 0 && vol.inFs(before) && !vol.used.has(vol.cluster(before));
  if (old) vol.used.add(vol.cluster(before));
  const top = old ? before : allocCluster(vol, ino);
  if (top < 0 || top >= 2 ** 32) {
    setCompat(vol, F.COMPAT_RESIZE_INODE, false);
    vol.putSuper16(F.S_RESERVED_GDT_BLOCKS, 0);
    report.report('resize-inode-lost', { ino }, 'no room for a new resize inode: it is given up');
    return;
  }
  const reserve = sb.u16(F.S_RESERVED_GDT_BLOCKS);
  const table = descriptorBlocks(vol);
  const perBlock = sb.blockSize / 4;
  const backups = [...backupGroups(vol)];
  for (let i = 0; i < reserve; i++) {
    const pblk = vol.superBlock + 1 + table + i;
    const ptr = disk.fresh(pblk);
    for (const [k, group] of backups.entries()) {
      const copy = pblk - sb.firstDataBlock + sb.groupStart(group);
      disk.dv.setUint32(ptr + 4 * k, copy, true);
    }
    yield* disk.write(pblk, ptr);
  }
  const bytes = new Uint8Array(sb.blockSize);
  const numbers = new DataView(bytes.buffer);
  for (let i = 0; i < reserve; i++) {
    numbers.setUint32(4 * ((table + i) % perBlock), vol.superBlock + 1 + table + i, true);
  }
  const at = disk.fresh(top);
  disk.u8.set(bytes, at);
  yield* disk.write(top, at);
  yield* putResizeRecord(vol, top, 1 + reserve * (1 + backups.length));
  report.report('resize-inode-remade', { ino }, 'the resize inode is made anew');
}

function* putResizeRecord(vol: Volume, top: number, owned: number): Flow<void> {
  const { sb } = vol;
  const record = yield* freshRecord(vol, F.EXT4_RESIZE_INO);
  if (record === null) return;
  const perBlock = sb.blockSize / 4;
  record.put32(F.I_BLOCK + 4 * (F.EXT4_NDIR_BLOCKS + 1), top);
  record.setSize((F.EXT4_NDIR_BLOCKS + perBlock + perBlock ** 2) * sb.blockSize);
  record.setBlocks(owned * sb.clusterBlocks * (sb.blockSize / 512));
  yield* vol.save(record);
}
