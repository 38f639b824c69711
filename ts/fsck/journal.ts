// The journal before the passes: its inode, its superblock, whether it holds anything. With repair what it holds is
// written home first, since everything else is judged by what the blocks say after that.

import * as F from '../../assembly/format/ext4.ts';
import * as J from '../../assembly/format/jbd2.ts';
import type { BlockDevice } from '../block/device.ts';
import { corrupt, Ext4Error } from '../errno.ts';
import type { Flow } from '../flow.ts';
import { defaultJournalBlocks } from '../jbd2/newlog.ts';
import { finishRecovery, type Recovery, readLog, writeHome } from '../jbd2/recovery.ts';
import { type JournalSource, LogWindow } from '../jbd2/source.ts';
import {
  decodeSuper,
  encodeEmpty,
  type JournalSuper,
  journalFeatures,
  superChecksum,
} from '../jbd2/super.ts';
import { walkBlocks } from './locate.ts';
import { needsRecovery } from './open.ts';
import type { Volume } from './volume.ts';

interface Run {
  lblk: number;
  len: number;
  pblk: number;
}

/** What the journal means for the check: go on, read everything again because it was replayed, or stop. */
export type JournalVerdict = 'go' | 'again' | 'stop';

/** Checks the journal and replays it where the mode allows. */
export function* checkJournal(vol: Volume): Flow<JournalVerdict> {
  const { report, sb } = vol;
  if (!vol.compat(F.COMPAT_HAS_JOURNAL)) {
    if (!checkUnwanted(vol)) return 'stop';
    if (!needsRecovery(sb)) return 'go';
    const text = 'the superblock asks for a recovery and there is no journal';
    if (report.report('recovery-without-journal', {}, text)) clearRecovery(vol);
    return 'go';
  }
  const source = sb.journalIno !== 0 ? yield* internalSource(vol) : yield* externalSource(vol);
  if (source === null) return vol.compat(F.COMPAT_HAS_JOURNAL) && vol.superDirty ? 'again' : 'stop';
  const sound = yield* checkLogSuper(vol, source);
  if (sound !== 'go') return sound;
  if (!needsRecovery(sb)) return yield* checkIdle(vol, source);
  return report.mode === 'check' ? 'go' : yield* replay(vol, source);
}

/** A file system without a journal should not name one. False when the check is to stop. */
function checkUnwanted(vol: Volume): boolean {
  const { sb, report } = vol;
  if (sb.journalIno !== 0) {
    const text = `the superblock names journal inode ${sb.journalIno} without the feature`;
    if (report.report('journal-unwanted', {}, text)) vol.putSuper32(F.S_JOURNAL_INUM, 0);
    return true;
  }
  const uuid = sb.raw.subarray(F.S_JOURNAL_UUID, F.S_JOURNAL_UUID + 16);
  if (sb.u32(F.S_JOURNAL_DEV) === 0 && uuid.every((byte) => byte === 0)) return true;
  const text = 'the superblock names a journal device without the feature';
  if (!report.report('journal-unwanted', {}, text)) return false;
  vol.putSuper32(F.S_JOURNAL_DEV, 0);
  for (let i = 0; i < 4; i++) vol.putSuper32(F.S_JOURNAL_UUID + 4 * i, 0);
  return true;
}

/** The source when the journal inode can hold one; null when it cannot. */
function* internalSource(vol: Volume): Flow<JournalSource | null> {
  const { sb, report } = vol;
  const ino = sb.journalIno;
  const wrong = yield* inodeFault(vol, ino);
  if (wrong === '') {
    const runs: Run[] = [];
    const data = (lblk: number, len: number, pblk: number) => runs.push({ lblk, len, pblk });
    yield* walkBlocks(vol, ino, { data: (l, n, p) => void data(l, n, p), node: () => undefined });
    const record = yield* vol.inode(ino);
    const length = Math.min(Math.floor((record?.size ?? 0) / sb.blockSize), sb.blocks);
    const covered = runs.reduce(
      (sum, run) => sum + Math.min(run.len, Math.max(0, length - run.lblk)),
      0,
    );
    if (covered === length && length >= J.JBD2_MIN_JOURNAL_BLOCKS) {
      return sourceOf(vol, vol.disk.device, length, 0, (jblk) => locate(runs, jblk, sb.blockSize));
    }
  }
  const text = `the journal inode ${ino} is invalid${wrong === '' ? '' : `: ${wrong}`}`;
  if (report.report('journal-inode', { ino }, text)) yield* dropJournal(vol);
  return null;
}

function* inodeFault(vol: Volume, ino: number): Flow<string> {
  const record = yield* vol.inode(ino);
  if (record === null) return 'no such inode';
  if (record.links === 0) return 'not in use';
  if (record.type !== F.S_IFREG) return 'no regular file';
  if (record.has(F.EXT4_ENCRYPT_FL)) return 'encrypted';
  if (record.has(F.EXT4_INLINE_DATA_FL)) return 'inline';
  return '';
}

/** A file system without its journal still has everything that is at home. The round's end makes a new one. */
function* dropJournal(vol: Volume): Flow<void> {
  vol.hooks.lost.journal = yield* journalExtent(vol);
  const compat = vol.sb.compat & ~F.COMPAT_HAS_JOURNAL;
  vol.putSuper32(F.S_FEATURE_COMPAT, compat >>> 0);
  vol.putSuper32(F.S_JOURNAL_INUM, 0);
  vol.putSuper32(F.S_JOURNAL_DEV, 0);
  for (let i = 0; i < 4; i++) vol.putSuper32(F.S_JOURNAL_UUID + 4 * i, 0);
  for (let i = 0; i < 17; i++) vol.putSuper32(F.S_JNL_BLOCKS + 4 * i, 0);
  vol.sb.dv.setUint8(F.S_JNL_BACKUP_TYPE, 0);
  clearRecovery(vol);
}

/** Size and place of the journal as far as the inode, its copy in the superblock or the device know them. */
function* journalExtent(vol: Volume): Flow<{ blocks: number; goal: number }> {
  const { sb } = vol;
  const kept = sb.u32(F.S_JNL_BLOCKS + 60) * 2 ** 32 + sb.u32(F.S_JNL_BLOCKS + 64);
  const fault = sb.journalIno === 0 ? 'external' : yield* inodeFault(vol, sb.journalIno);
  const record = fault === '' ? yield* vol.inode(sb.journalIno) : null;
  const most = Math.floor(sb.blocks / 2);
  for (const size of [record?.size ?? 0, kept]) {
    const blocks = Math.floor(size / sb.blockSize);
    if (size % sb.blockSize !== 0 || blocks < J.JBD2_MIN_JOURNAL_BLOCKS || blocks > most) continue;
    const goal = record === null ? 0 : yield* firstBlock(vol, sb.journalIno);
    return { blocks, goal };
  }
  return { blocks: defaultJournalBlocks(sb.blocks), goal: 0 };
}

function* firstBlock(vol: Volume, ino: number): Flow<number> {
  let first = 0;
  const data = (lblk: number, _: number, pblk: number) => {
    if (lblk === 0 && vol.inFs(pblk)) first = pblk;
  };
  yield* walkBlocks(vol, ino, { data, node: () => undefined });
  return first;
}

function clearRecovery(vol: Volume): void {
  const incompat = vol.sb.dv.getUint32(F.S_FEATURE_INCOMPAT, true) & ~F.INCOMPAT_RECOVER;
  vol.putSuper32(F.S_FEATURE_INCOMPAT, incompat >>> 0);
}

function* externalSource(vol: Volume): Flow<JournalSource | null> {
  const device = vol.hooks.journalDevice;
  const { blockSize } = vol.sb;
  if (device === undefined) {
    const uuid = vol.sb.raw.subarray(F.S_JOURNAL_UUID, F.S_JOURNAL_UUID + 16);
    if (vol.sb.u32(F.S_JOURNAL_DEV) === 0 && uuid.every((byte) => byte === 0)) {
      const text = 'the superblock names no journal';
      if (vol.report.report('journal-inode', {}, text)) yield* dropJournal(vol);
      return null;
    }
    vol.report.complain('journal-device', {}, 'the journal lies on a device that was not given');
    return null;
  }
  const length = Math.floor(device.size / blockSize);
  return sourceOf(vol, device, length, blockSize === 1024 ? 2 : 1, (jblk) => jblk * blockSize);
}

function sourceOf(
  vol: Volume,
  device: BlockDevice,
  length: number,
  superBlock: number,
  locateBlock: (jblk: number) => number,
): JournalSource {
  const { disk, sb } = vol;
  return {
    device,
    blockSize: sb.blockSize,
    length,
    superBlock,
    locate: locateBlock,
    home: { device: disk.device, blocks: sb.blocks },
    kernels: disk.kernels,
    window: { ptr: disk.window, bytes: disk.windowBytes },
  };
}

function locate(runs: Run[], jblk: number, blockSize: number): number {
  let [low, high] = [0, runs.length];
  while (low < high) {
    const mid = (low + high) >>> 1;
    if (runs[mid].lblk > jblk) high = mid;
    else low = mid + 1;
  }
  const run = runs[low - 1];
  return run === undefined || jblk >= run.lblk + run.len
    ? -1
    : (run.pblk + jblk - run.lblk) * blockSize;
}

/** Whether the log's superblock can be believed. With repair one that cannot is given up with its log. */
function* checkLogSuper(vol: Volume, source: JournalSource): Flow<JournalVerdict> {
  const { report } = vol;
  try {
    const sb = yield* readLogSuper(source);
    if (sb.s_nr_users <= 1 && !(yield* hasOldFields(source))) return 'go';
    const users = `the journal has ${sb.s_nr_users} users`;
    const old = 'the superblock of a version 1 journal has fields of version 2';
    report.report('journal-super', {}, sb.s_nr_users > 1 ? users : old);
  } catch (error) {
    if (!(error instanceof Ext4Error) || !KINDS.has(error.code)) throw error;
    report.report('journal-super', { ino: vol.sb.journalIno }, `the journal: ${error.message}`);
  }
  if (report.mode !== 'all') return 'stop';
  yield* dropJournal(vol);
  return 'again';
}

/** The log's superblock, checked for what e2fsck checks: whether it can be replayed shows when it has to be. */
function* readLogSuper(source: JournalSource): Flow<JournalSuper> {
  const ptr = yield* new LogWindow(source).load(source.superBlock, 1);
  const { dv } = source.kernels;
  const sb = decodeSuper(source.kernels, ptr);
  const bad = (field: string) => corrupt('journal superblock', 'is not valid', { field });
  if (dv.getUint32(ptr + J.H_MAGIC) !== J.JBD2_MAGIC_NUMBER) throw bad('h_magic');
  const type = sb.h_blocktype;
  if (type !== J.JBD2_SUPERBLOCK_V1 && type !== J.JBD2_SUPERBLOCK_V2) throw bad('h_blocktype');
  const unknown = journalFeatures(sb).some((name) => /^FEATURE_[IR]/.test(name));
  if (unknown) throw bad('s_feature_incompat');
  if (logBlocks(sb) < J.JBD2_MIN_JOURNAL_BLOCKS) throw bad('s_num_fc_blks');
  const summed =
    sb.s_feature_incompat & (J.JBD2_FEATURE_INCOMPAT_CSUM_V2 | J.JBD2_FEATURE_INCOMPAT_CSUM_V3);
  if (summed !== 0) {
    if (sb.s_checksum_type !== J.JBD2_CRC32C_CHKSUM) throw bad('s_checksum_type');
    if (sb.s_checksum !== superChecksum(source.kernels, ptr)) throw bad('s_checksum');
  }
  if (sb.s_blocksize !== source.blockSize) throw bad('s_blocksize');
  if (sb.s_maxlen > source.length) throw bad('s_maxlen');
  return sb;
}

/** Blocks that fast commits leave to the log; of a log without them it is not asked how long it is. */
function logBlocks(sb: JournalSuper): number {
  const fast = (sb.s_feature_incompat & J.JBD2_FEATURE_INCOMPAT_FAST_COMMIT) !== 0;
  if (!fast) return J.JBD2_MIN_JOURNAL_BLOCKS;
  return sb.s_maxlen - (sb.s_num_fc_blks || J.JBD2_DEFAULT_FAST_COMMIT_BLOCKS);
}

const KINDS = new Set(['EUCLEAN', 'EBADMSG', 'EOPNOTSUPP', 'EINVAL']);

function* hasOldFields(source: JournalSource): Flow<boolean> {
  const ptr = yield* new LogWindow(source).load(source.superBlock, 1);
  const { dv } = source.kernels;
  if (dv.getUint32(ptr + J.H_BLOCKTYPE) !== J.JBD2_SUPERBLOCK_V1) return false;
  for (let at = J.JS_FEATURE_COMPAT; at < J.JS_CHECKSUM; at += 4) {
    if (dv.getUint32(ptr + at) !== 0) return true;
  }
  return false;
}

/** A journal that is not asked for should hold nothing. */
function* checkIdle(vol: Volume, source: JournalSource): Flow<JournalVerdict> {
  const sb = yield* readLogSuper(source);
  const { report } = vol;
  if (sb.s_errno !== 0) {
    const text = `the journal remembers the error ${-sb.s_errno}`;
    if (report.report('journal-errno', {}, text)) yield* emptyLog(vol, source);
  }
  return 'go';
}

function* emptyLog(vol: Volume, source: JournalSource): Flow<void> {
  const window = new LogWindow(source);
  const ptr = yield* window.load(source.superBlock, 1);
  source.kernels.dv.setUint32(ptr + J.JS_ERRNO, 0);
  const sequence = source.kernels.dv.getUint32(ptr + J.JS_SEQUENCE);
  encodeEmpty(source.kernels, ptr, sequence, source.kernels.dv.getUint32(ptr + J.JS_HEAD));
  if (source.device !== vol.disk.device) return;
  yield* vol.disk.write(source.locate(source.superBlock) / source.blockSize, ptr);
}

/** Writes home what the log holds. What was damaged in it is left out and said. */
function* replay(vol: Volume, source: JournalSource): Flow<JournalVerdict> {
  const { report } = vol;
  const recovery: Recovery = yield* readLog(source, { damaged: 'skip' });
  if (recovery.fastCommits !== null) {
    const text = 'the journal holds fast commits: mount it once by a system that writes them home';
    report.complain('fast-commits', {}, text);
    return 'stop';
  }
  for (const error of recovery.skipped) report.report('journal-damage', {}, error.message);
  const count = `${recovery.transactions} transactions, ${recovery.blocks.size} blocks`;
  report.report('needs-recovery', {}, `the journal was not replayed: ${count}`);
  if (recovery.needed) yield* writeHome(source, recovery);
  yield* finishRecovery(source, recovery);
  vol.disk.drop();
  // The log may have held a newer superblock.
  const ptr = (yield* vol.disk.get(vol.superBlock)) + vol.superOff;
  vol.sb.raw.set(vol.disk.u8.subarray(ptr, ptr + F.SB_SIZE));
  clearRecovery(vol);
  return 'again';
}
