// Between a mount and its journal: finds the journal, replays it into the image or over it in memory, and says what
// was done. A stale tree is never shown: what cannot be replayed refuses the mount.

import * as F from '../../assembly/format/ext4.ts';
import type { BlockDevice } from '../block/device.ts';
import { type Remapped, remap } from '../block/remap.ts';
import { corrupt, Ext4Error } from '../errno.ts';
import { type Flow, flushDevice, step, writeDevice } from '../flow.ts';
import {
  finishRecovery,
  type Recovery,
  readLog,
  replayFastCommits,
  writeHome,
} from '../jbd2/recovery.ts';
import type { JournalSource } from '../jbd2/source.ts';
import { superChecksum } from './checksum.ts';
import { FastOverlay, overlayOps } from './fastcommit.ts';
import { hasBit } from './features.ts';
import { mapBlocks } from './iomap.ts';
import { Super } from './super.ts';
import type { Ext4Volume } from './volume.ts';

/** Bytes of linear memory lent to recovery. */
const WINDOW = 1 << 20;
const SECTORS_MAX = 2 ** 31;

export type JournalMode = 'replay' | 'memory' | 'refuse';

/** What the mount did with the journal. */
export interface JournalState {
  /** none: the file system has no journal; clean: nothing was in it. */
  state: 'none' | 'clean' | 'replayed' | 'memory' | 'ignored';
  transactions: number;
  blocks: number;
  fastCommits: number;
  errno: number;
}

export const NO_JOURNAL: JournalState = {
  state: 'none',
  transactions: 0,
  blocks: 0,
  fastCommits: 0,
  errno: 0,
};

/** Finds and reads the journal. EUCLEAN, EBADMSG, EOPNOTSUPP; ENODEV when it lies on a device that was not given. */
export function* openJournal(vol: Ext4Volume, external?: BlockDevice): Flow<JournalSource> {
  const { sb } = vol;
  if (sb.journalIno === 0) return externalJournal(vol, external);
  const runs: Run[] = [];
  let blocks = yield* step(journalLength, vol);
  for (let lblk = 0; lblk < blocks; ) {
    const run = yield* step(journalRun, vol, lblk);
    runs.push({ ...run, len: Math.min(run.len, blocks - lblk) });
    lblk += run.len;
    if (runs.length > MAX_RUNS) throw corrupt('journal inode', 'is in too many pieces');
  }
  blocks = Math.min(blocks, SECTORS_MAX);
  return sourceOf(vol, vol.device, blocks, 0, (jblk) => locate(runs, jblk, sb.blockSize));
}

interface Run {
  lblk: number;
  len: number;
  pblk: number;
}
const MAX_RUNS = 1 << 20;

function locate(runs: Run[], jblk: number, blockSize: number): number {
  let low = 0;
  let high = runs.length;
  while (low < high) {
    const mid = Math.floor((low + high) / 2);
    if (runs[mid].lblk > jblk) high = mid;
    else low = mid + 1;
  }
  const run = runs[low - 1];
  return run.pblk === 0 ? -1 : (run.pblk + jblk - run.lblk) * blockSize;
}

function journalLength(vol: Ext4Volume): number {
  const inode = vol.inodes.get(vol.sb.journalIno);
  if (!inode.isFile || inode.size === 0)
    throw corrupt('journal inode', 'not a file', { ino: inode.ino });
  return Math.min(Math.floor(inode.size / vol.sb.blockSize), vol.sb.blocks);
}

function journalRun(vol: Ext4Volume, lblk: number): Run {
  const map = mapBlocks(vol.inodes.get(vol.sb.journalIno), lblk);
  const skip = lblk - map.lblk;
  return { lblk, len: map.len - skip, pblk: map.pblk === 0 ? 0 : map.pblk + skip };
}

/** The superblock of a journal device follows the file-system superblock that it also has. */
function externalJournal(vol: Ext4Volume, device?: BlockDevice): JournalSource {
  if (device === undefined) throw new Ext4Error('ENODEV', 'the journal lies on another device');
  const { blockSize } = vol.sb;
  const at = blockSize === 1024 ? 2 : 1;
  const blocks = Math.floor(device.size / blockSize);
  return sourceOf(vol, device, blocks, at, (jblk) => jblk * blockSize);
}

function sourceOf(
  vol: Ext4Volume,
  device: BlockDevice,
  length: number,
  superBlock: number,
  locateBlock: (jblk: number) => number,
): JournalSource {
  const { cache, sb } = vol;
  return {
    device,
    blockSize: sb.blockSize,
    length,
    superBlock,
    locate: locateBlock,
    home: { device: vol.device, blocks: sb.blocks },
    kernels: cache.kernels,
    window: { ptr: 0, bytes: 0 },
  };
}

/** The source with a window of linear memory, taken from the cache until giveWindow(). */
export function lendWindow(
  vol: Ext4Volume,
  source: JournalSource,
): JournalSource & { unit: number } {
  const { cache, sb } = vol;
  const n = Math.floor(WINDOW / sb.blockSize);
  const unit = cache.allocUnits(n);
  return { ...source, unit, window: { ptr: cache.arena.ptr(unit), bytes: n * sb.blockSize } };
}

export function giveWindow(vol: Ext4Volume, unit: number): void {
  vol.cache.arena.free(unit, Math.floor(WINDOW / vol.sb.blockSize));
}

export interface Replayed {
  recovery: Recovery;
  source: JournalSource;
  /** The device to mount on: with the replayed blocks over it, for 'memory'. */
  device: BlockDevice;
  state: JournalState;
  /** The fast commits are to be written home too: nothing is written yet. */
  pending: boolean;
}

/** Replays the journal if it holds anything. 'replay' writes home and marks the file system clean. */
export function* replayJournal(
  vol: Ext4Volume,
  lent: JournalSource,
  mode: JournalMode,
): Flow<Replayed> {
  const recovery = yield* readLog(lent);
  const fast = recovery.fastCommits;
  // Fast commits change structures, not blocks: they are written by a mount of what the rest of the log leaves.
  const kind = mode === 'replay' && fast !== null ? 'memory' : mode;
  const state: JournalState = {
    state: recovery.needed ? (kind === 'replay' ? 'replayed' : 'memory') : 'clean',
    transactions: recovery.transactions,
    blocks: recovery.blocks.size,
    fastCommits: fast?.commits ?? 0,
    errno: recovery.errno,
  };
  if (kind === 'refuse' && recovery.needed) {
    throw new Ext4Error('EROFS', 'the journal holds changes that were not replayed');
  }
  if (kind === 'memory') {
    const map = recovery.blocks as ReadonlyMap<number, Remapped>;
    const over = remap(vol.device, lent.device, vol.sb.blockSize, map);
    const device = map.size > 0 ? over : vol.device;
    return { recovery, source: lent, state, device, pending: kind !== mode };
  }
  if (recovery.needed) yield* writeHome(lent, recovery);
  yield* finishRecovery(lent, recovery);
  yield* clearNeedsRecovery(vol);
  return { recovery, source: lent, state, device: vol.device, pending: false };
}

/** Lays the fast commits of a replay in memory over the volume that was mounted on it. */
export function* showFastCommits(vol: Ext4Volume, replayed: Replayed): Flow<void> {
  const { recovery, source } = replayed;
  if (recovery.fastCommits === null || replayed.state.state !== 'memory') return;
  const lent = lendWindow(vol, source);
  const fast = new FastOverlay(vol.cache);
  yield* replayFastCommits(lent, recovery, overlayOps(vol, fast));
  giveWindow(vol, lent.unit);
  vol.fast = fast;
  vol.inodes.dropAll();
}

/** Takes needs_recovery out of the superblock on disk, the last write of a replay. */
export function* clearNeedsRecovery(vol: Ext4Volume): Flow<void> {
  const { device } = vol;
  const { raw, into, dpos } = yield* readRawSuper(device);
  const sb = new Super(raw);
  sb.dv.setUint32(F.S_FEATURE_INCOMPAT, (sb.incompat & ~F.INCOMPAT_RECOVER) >>> 0, true);
  if (sb.metadataCsum) sb.dv.setUint32(F.S_CHECKSUM, superChecksum(vol.sums, sb), true);
  yield* writeDevice(device, into, dpos, { fua: true });
  yield* flushDevice(device);
}

/** Reads the superblock: `raw` is its 1,024 bytes inside the device blocks read `into`, which begin at `dpos`. */
export function* readRawSuper(
  device: BlockDevice,
): Flow<{ raw: Uint8Array; into: Uint8Array; dpos: number }> {
  const unit = Math.max(device.blockSize, F.SB_SIZE);
  const dpos = Math.floor(F.SB_OFFSET / unit) * unit;
  if (device.size < F.SB_OFFSET + F.SB_SIZE || device.size < dpos + unit) {
    throw new Ext4Error('EINVAL', { record: 'superblock', reason: 'the device is too small' });
  }
  const into = new Uint8Array(unit);
  yield { op: 'read', device, ranges: [{ into, dpos }] };
  return { raw: into.subarray(F.SB_OFFSET - dpos, F.SB_OFFSET - dpos + F.SB_SIZE), into, dpos };
}

/** True when the file system asks for a replay before anyone looks at it. */
export function needsReplay(sb: Super): boolean {
  return sb.hasJournal && hasBit(sb.incompat, F.INCOMPAT_RECOVER);
}
