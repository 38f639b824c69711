// A check from beginning to end, as one flow: open, passes 0 to 5, and with repair again until a round finds nothing or
// mends nothing more. The verdict is that of the last round, which has mended nothing.

import * as F from '../../assembly/format/ext4.ts';
import type { BlockDevice } from '../block/device.ts';
import { Ext4Error } from '../errno.ts';
import { hasBit } from '../ext4/features.ts';
import type { Super } from '../ext4/super.ts';
import { type Flow, flushDevice } from '../flow.ts';
import { resolveShared } from './clone.ts';
import { adoptCopies, checkGroups, checkTable, readGroups, writeGroups } from './groups.ts';
import { checkJournal } from './journal.ts';
import { rebuildDirectories } from './makedir.ts';
import { needsRecovery, type Opened, openImage } from './open.ts';
import { checkOrphans } from './orphans.ts';
import { checkResizeInode, checkSuper } from './pass0.ts';
import { checkInodes } from './pass1.ts';
import { checkDirectories } from './pass2.ts';
import { checkTree } from './pass3.ts';
import { checkLinks } from './pass4.ts';
import { checkBitmaps } from './pass5.ts';
import { checkQuotas } from './quota.ts';
import { remakeLost } from './remake.ts';
import { type Problem, type RepairMode, Report } from './report.ts';
import { markClean, markUnclean, writeSuper } from './superwrite.ts';
import { findTables, moveTables } from './tables.ts';
import { type FsckHooks, Volume } from './volume.ts';

export interface FsckOptions {
  /** Mend: everything (true), what loses nothing ('preen'), or nothing (false, the default). */
  repair?: boolean | 'preen';
  /** False: a file system that says it was left clean is not looked at. True by default. */
  force?: boolean;
  /** Bytes of memory for blocks; 32 MiB by default. */
  cacheBytes?: number;
  /** The device of an external journal. */
  journalDevice?: BlockDevice;
  /** Called as a pass goes on, with how much of how much is done. */
  progress?: (pass: number, done: number, total: number) => void;
  /** Called for each problem when it is found. */
  onProblem?: (problem: Problem) => void;
}

export interface FsckResult {
  /** Nothing is wrong, or nothing any more. */
  clean: boolean;
  /** As e2fsck's: 0 clean, 1 repaired, 4 errors are left, 8 the check could not run. */
  exitCode: 0 | 1 | 4 | 8;
  problems: Problem[];
  /** Problems found, also those beyond the list's limit. */
  problemCount: number;
  /** Why the check could not run; '' when it did. */
  reason: string;
  inodes: { used: number; total: number };
  blocks: { used: number; total: number };
  directories: number;
  /** The superblock says clean, and nothing more was looked at. */
  skipped?: boolean;
}

/** Rounds of a repair: one that needs more goes in circles. */
const MAX_ROUNDS = 14;
/** Times that a replayed or dropped journal has the image opened again. */
const MAX_AGAIN = 3;

/** The whole check. Errors of the device pass through; what the image cannot give becomes exit code 8. */
export function* fsckFlow(device: BlockDevice, o: FsckOptions = {}): Flow<FsckResult> {
  const mode: RepairMode = o.repair === 'preen' ? 'preen' : o.repair ? 'all' : 'check';
  const report = new Report(mode, o.onProblem);
  const { journalDevice, progress } = o;
  const hooks: FsckHooks = { journalDevice, progress, lost: { journal: null, resize: -1 } };
  const first = yield* tryOpen(device, o.cacheBytes);
  if (typeof first === 'string') return refused(first);
  if (o.force === false && first.lost === '' && looksClean(first.sb)) {
    const { sb } = first;
    return { ...counts(sb, sb.inodes - sb.freeInodes, 0), ...verdict(report, 0), skipped: true };
  }
  let mended = 0;
  let [opened, vol]: [Opened, Volume | null] = [first, null];
  for (let turn = 0; turn < MAX_ROUNDS; turn++) {
    report.nextRound();
    vol = yield* oneRound(opened, report, hooks);
    mended += report.mended;
    if (report.mended === 0 || report.stopped || vol.fatal !== '') break;
    const again = yield* tryOpen(device, o.cacheBytes, opened);
    if (typeof again === 'string') return { ...refused(again), problems: report.problems };
    opened = again;
  }
  if (vol !== null && vol.fatal !== '') return { ...refused(vol.fatal), problems: report.problems };
  if (report.found === 0 && mended > 0 && vol !== null) yield* markClean(vol);
  const { sb } = opened;
  return {
    ...counts(sb, sb.inodes - sb.freeInodes, vol?.dirs.length ?? 0),
    ...verdict(report, mended),
  };
}

const REFUSED = new Set(['EINVAL', 'EUCLEAN', 'EBADMSG', 'EOPNOTSUPP']);

function* tryOpen(
  device: BlockDevice,
  cacheBytes?: number,
  before?: Opened,
): Flow<Opened | string> {
  try {
    return yield* openImage(device, cacheBytes, before?.disk);
  } catch (error) {
    if (error instanceof Ext4Error && REFUSED.has(error.code)) return error.message;
    throw error;
  }
}

function refused(reason: string): FsckResult {
  const none = { used: 0, total: 0 };
  return {
    clean: false,
    exitCode: 8,
    problems: [],
    problemCount: 0,
    reason,
    inodes: none,
    blocks: none,
    directories: 0,
  };
}

function counts(sb: Super, files: number, directories: number) {
  return {
    reason: '',
    inodes: { used: files, total: sb.inodes },
    blocks: { used: sb.blocks - sb.freeBlocks, total: sb.blocks },
    directories,
  };
}

function verdict(report: Report, mended: number) {
  const clean = report.found === 0;
  const exitCode: 0 | 1 | 4 = clean ? (mended > 0 ? 1 : 0) : 4;
  return { clean, exitCode, problems: report.problems, problemCount: report.found + mended };
}

/** What e2fsck looks at when it is not forced. */
function looksClean(sb: Super): boolean {
  const state = sb.u16(F.S_STATE);
  const valid = hasBit(state, F.EXT4_VALID_FS) && !hasBit(state, F.EXT4_ERROR_FS);
  const most = sb.u16(F.S_MAX_MNT_COUNT);
  const worn = most > 0 && most < 32768 && sb.u16(F.S_MNT_COUNT) >= most;
  return valid && !needsRecovery(sb) && sb.lastOrphan === 0 && !worn;
}

/** One time through the passes on a volume opened afresh; what was mended is on the device afterwards. */
function* oneRound(first: Opened, report: Report, hooks: FsckHooks): Flow<Volume> {
  let opened = first;
  for (let turn = 0; ; turn++) {
    const vol = new Volume(opened.sb, opened.disk, report, hooks);
    if (report.mode !== 'check') opened.disk.beforeWrite = () => markUnclean(vol);
    if (opened.lost !== '') {
      vol.fromBackup = true;
      const text = `the superblock is lost (${opened.lost})`;
      if (report.report('super-lost', { block: vol.superBlock }, text)) vol.superDirty = true;
    }
    const again = yield* passes(vol);
    opened.disk.beforeWrite = null;
    if (report.mode !== 'check' && vol.fatal === '') {
      yield* writeGroups(vol, vol.fromBackup);
      yield* writeSuper(vol, vol.fromBackup);
      yield* flushDevice(opened.disk.device);
    }
    if (!again || turn === MAX_AGAIN) return vol;
    opened.disk.drop();
    opened = yield* openImage(opened.disk.device, undefined, opened.disk);
  }
}

/** The passes. True when the journal changed the image, and all is to be read again. */
function* passes(vol: Volume): Flow<boolean> {
  const { report } = vol;
  report.pass = 0;
  yield* readGroups(vol);
  if (!(yield* checkSuper(vol))) return false;
  if (report.mode === 'all') {
    yield* adoptCopies(vol);
    yield* findTables(vol);
  }
  checkGroups(vol);
  yield* checkTable(vol);
  if (vol.restart) return false;
  if (vol.fatal !== '') return false;
  const journal = yield* checkJournal(vol);
  if (journal !== 'go') return journal === 'again';
  yield* checkOrphans(vol);
  yield* checkResizeInode(vol);
  report.pass = 1;
  yield* checkInodes(vol);
  yield* resolveShared(vol);
  if (!vol.restart) yield* moveTables(vol);
  if (vol.restart || vol.fatal !== '') return false;
  report.pass = 2;
  yield* checkDirectories(vol);
  yield* rebuildDirectories(vol);
  if (vol.restart) return false;
  report.pass = 3;
  yield* checkTree(vol);
  report.pass = 4;
  yield* checkLinks(vol);
  report.pass = 5;
  yield* remakeLost(vol);
  yield* checkBitmaps(vol);
  yield* checkQuotas(vol);
  return false;
}
