// Mounting: the superblock, the linear memory, the journal, the root. Everything is undone by throwing: nothing is
// kept of a mount that fails, and nothing was written unless the journal was replayed home.

import * as F from '../../assembly/format/ext4.ts';
import { type BlockDevice, isSyncDevice } from '../block/device.ts';
import { Cache } from '../cache/cache.ts';
import type { FileFolios } from '../cache/folio.ts';
import { badChecksum, corrupt, Ext4Error } from '../errno.ts';
import { superChecksum } from '../ext4/checksum.ts';
import { applyFastCommits, writeFastCommits } from '../ext4/fasthome.ts';
import { hasBit, unwritable } from '../ext4/features.ts';
import { countFree } from '../ext4/groupwrite.ts';
import { Inodes } from '../ext4/inode.ts';
import { recoverOrphans } from '../ext4/inoderemove.ts';
import { ext4Iomap } from '../ext4/iomap.ts';
import { startWriting } from '../ext4/lifecycle.ts';
import { MultiMount } from '../ext4/mmp.ts';
import {
  giveWindow,
  type JournalMode,
  type JournalState,
  lendWindow,
  NO_JOURNAL,
  needsReplay,
  openJournal,
  type Replayed,
  readRawSuper,
  replayJournal,
  showFastCommits,
} from '../ext4/recover.ts';
import { Super } from '../ext4/super.ts';
import { stillClock } from '../ext4/time.ts';
import { Ext4Volume } from '../ext4/volume.ts';
import { writeBackAll } from '../ext4/writeback.ts';
import { type Flow, step } from '../flow.ts';
import { planFolios } from '../iomap/buffered.ts';
import { planDirect } from '../iomap/direct.ts';
import { Trace } from '../trace.ts';
import { canShare, createKernels, createMemory, type Kernels } from '../wasm.ts';
import { watchDamage } from './damage.ts';
import { Flusher } from './flusher.ts';
import { keepBeating, wait, waitSync } from './heartbeat.ts';
import { DEFAULT_CACHE, type LentOptions, MAX_CACHE, minCache } from './options.ts';
import { Driver } from './turn.ts';

/** Bytes of a page of WebAssembly memory. */
const PAGE = 65536;

/** A volume and who drives it. */
export interface Session {
  vol: Ext4Volume;
  driver: Driver;
  readOnly: boolean;
  /** Why it is read-only although that was not asked for; empty otherwise. */
  reason: string;
  journal: JournalState;
  /** Settles when the transaction that keeps others out ends; null when there is none. */
  gate: Promise<void> | null;
}

/** Mounts inside the call. EINVAL for a device without synchronous forms. */
export function mountSessionSync(device: BlockDevice, o: LentOptions): Session {
  if (!isSyncDevice(device)) throw new Ext4Error('EINVAL', 'the device has no synchronous forms');
  const flow = mountFlow(device, o, true);
  let r = flow.next();
  while (!r.done) {
    const task: Task = r.value;
    try {
      task.result = 'ms' in task ? waitSync(task.ms) : task.driver.runSync(task.flow);
    } catch (error) {
      r = flow.throw(error);
      continue;
    }
    r = flow.next(task.result);
  }
  return r.value;
}

export async function mountSession(device: BlockDevice, o: LentOptions): Promise<Session> {
  const flow = mountFlow(device, o, false);
  let r = flow.next();
  while (!r.done) {
    const task: Task = r.value;
    try {
      task.result = await ('ms' in task ? wait(task.ms) : task.driver.run(task.flow));
    } catch (error) {
      r = flow.throw(error);
      continue;
    }
    r = flow.next(task.result);
  }
  return r.value;
}

/** A flow to be run by a driver: the mount itself changes drivers on the way. Or time to be waited for. */
type Task = ({ driver: Driver; flow: Flow<unknown> } | { ms: number }) & { result?: unknown };

// biome-ignore lint/suspicious/noExplicitAny: each task comes back with its own type, which run() gives it
type Steps<T> = Generator<Task, T, any>;

function* run<T>(driver: Driver, flow: Flow<T>): Generator<Task, T, T> {
  return yield { driver, flow };
}

function* mountFlow(device: BlockDevice, o: LentOptions, sync: boolean): Steps<Session> {
  const reader = bareDriver(device, sync);
  const sb = new Super((yield* run(reader, readRawSuper(device))).raw);
  checkDevice(sb, device);
  const kernels = makeKernels(sb, o);
  const first = newSession(sb, kernels, device, o, sync);
  if (sb.metadataCsum) checkSuperSum(first);
  const mmp = yield* keepOthersOut(first, o);
  try {
    return yield* mountOn(first, o, mmp);
  } catch (error) {
    if (mmp !== null && !mmp.ended) yield* run(reader, mmp.release());
    throw error;
  }
}

/** With the multi-mount block taken, if there is one and the mount may write. */
function* mountOn(first: Session, o: LentOptions, mmp: MultiMount | null): Steps<Session> {
  const { sb, device } = first.vol;
  const { sync } = first.driver;
  let session = first;
  const ro = o.ro === true || device.readOnly;
  const journal = yield* withJournal(session, o, ro);
  if (journal !== null) {
    const reader = bareDriver(device, sync);
    const fault = journal.pending ? yield* withFastCommits(first, journal, o) : '';
    const again = new Super((yield* run(reader, readRawSuper(journal.device))).raw);
    session = newSession(again, first.vol.cache.kernels, journal.device, o, sync);
    session.journal = journal.state;
    yield* run(session.driver, showFastCommits(session.vol, journal));
    session.reason = fault;
  } else if (sb.hasJournal)
    session.journal = { ...NO_JOURNAL, state: o.noload ? 'ignored' : 'clean' };
  yield* run(session.driver, step(checkRoot, session.vol));
  const names = unwritable(sb.roCompat);
  const memory = session.journal.state === 'memory' || session.journal.state === 'ignored';
  if (names.length > 0) session.reason = `unsupported: ${names.join(', ')}`;
  session.readOnly = ro || o.noload === true || memory || names.length > 0;
  if (!session.readOnly) yield* beginWriting(session, o, mmp);
  else if (mmp !== null) yield* run(session.driver, mmp.release());
  return session;
}

/** Takes the multi-mount block before anything is written, as the kernel does: where it says that somebody has the file
 *  system, twice the time that such a one takes to say it again goes by. EBUSY when there is one. */
function* keepOthersOut({ vol, driver }: Session, o: LentOptions): Steps<MultiMount | null> {
  const { sb, device, sums } = vol;
  const reads = device.readOnly || o.noload || o.journal === 'memory';
  if (!hasBit(sb.incompat, F.INCOMPAT_MMP) || reads || (o.ro && o.journal !== 'replay'))
    return null;
  const mmp = new MultiMount(device, sb, sums);
  const pause = yield* run(driver, mmp.look(o.clearMmp === true));
  if (pause > 0) {
    yield { ms: pause };
    yield* run(driver, mmp.confirm());
  }
  yield* run(driver, mmp.take());
  if (pause > 0) yield { ms: pause };
  yield* run(driver, mmp.confirm());
  return mmp;
}

/** The mount writes from here on; what a crash left half removed is removed first. */
function* beginWriting(
  { driver, vol, journal }: Session,
  o: LentOptions,
  mmp: MultiMount | null,
): Steps<void> {
  vol.mmp = mmp;
  driver.background.journal = yield* run(driver, startWriting(vol));
  vol.journal!.barrier = o.barrier ?? true;
  if (o.commit !== undefined) vol.journal!.interval = (o.commit || 5) * 1000;
  driver.background.writeBackFlow = (ino) => writeBackAll(vol, ino);
  driver.background.dataErrAbort = o.dataErrAbort ?? false;
  watchDamage(driver, vol, o);
  if (o.now === undefined) new Flusher(driver.background, vol.cache, vol.journal!, driver.sync);
  // A crash leaves the superblock's totals behind the groups': they are summed, and written at the end.
  if (journal.state === 'replayed') yield* run(driver, countFree(vol));
  yield* run(driver, recoverOrphans(vol));
  if (mmp !== null) keepBeating(driver.background, mmp, driver.sync);
}

/** Replays what the journal holds; null when there is nothing to replay. Without needs_recovery a journal counts for
 *  nothing, whatever is in it: so the kernel, which then wipes it. */
function* withJournal(
  { vol, driver }: Session,
  o: LentOptions,
  ro: boolean,
): Steps<Replayed | null> {
  if (o.noload || !needsReplay(vol.sb)) return null;
  const mode: JournalMode = o.journal ?? (ro ? 'memory' : 'replay');
  if (mode === 'replay' && vol.device.readOnly) {
    throw new Ext4Error('EROFS', 'the journal cannot be replayed on a read-only device');
  }
  const lent = lendWindow(vol, yield* run(driver, openJournal(vol, o.journalDevice)));
  const result = yield* run(driver, replayJournal(vol, lent, mode));
  giveWindow(vol, lent.unit);
  return result;
}

/** Writes the fast commits home, by a mount of its own; '' then. Where they do not fit the tree nothing is written, and
 *  the reason comes back: they are shown. */
function* withFastCommits(first: Session, journal: Replayed, o: LentOptions): Steps<string> {
  const { vol, driver } = first;
  const { device } = journal;
  if (unwritable(vol.sb.roCompat).length > 0) return '';
  const sb = new Super((yield* run(bareDriver(device, driver.sync), readRawSuper(device))).raw);
  const session = newSession(sb, vol.cache.kernels, device, o, driver.sync);
  const { background } = session.driver;
  try {
    const flow = applyFastCommits(session.vol, journal, (it) => {
      background.journal = it;
    });
    yield* run(session.driver, flow);
  } catch (error) {
    if (error instanceof Ext4Error) return `fast commits cannot be written home: ${error.message}`;
    throw error;
  }
  yield* run(session.driver, writeFastCommits(session.vol, vol, journal));
  return '';
}

function checkDevice(sb: Super, device: BlockDevice): void {
  const bytes = sb.blocks * sb.blockSize;
  if (bytes > device.size) {
    const reason = `${bytes} bytes on a device of ${device.size}`;
    throw corrupt('superblock', reason, { field: 's_blocks_count' });
  }
  if (device.blockSize > sb.blockSize) {
    throw new Ext4Error('EINVAL', `blocks of ${sb.blockSize} on a device with ${device.blockSize}`);
  }
}

function makeKernels(sb: Super, o: LentOptions): Kernels {
  const bytes = o.cacheBytes ?? Math.max(DEFAULT_CACHE, minCache(sb.blockSize));
  const least = minCache(sb.blockSize);
  if (!(bytes >= least && bytes <= MAX_CACHE)) {
    throw new Ext4Error('EINVAL', `cacheBytes ${bytes}: at least ${least}, at most ${MAX_CACHE}`);
  }
  if (o.shared && !canShare()) {
    throw new Ext4Error('ENOTSUP', 'shared memory needs a cross-origin isolated page');
  }
  // Memory comes in whole pages: those that fit, not one more.
  return createKernels(createMemory(bytes - (bytes % PAGE), o.shared ?? canShare()), o.simd);
}

function newSession(
  sb: Super,
  kernels: Kernels,
  device: BlockDevice,
  o: LentOptions,
  sync: boolean,
): Session {
  const cache = new Cache(kernels, sb.blockSize, sb.blocks, kernels.u8.length);
  if (kernels.shared && o.bulkCopy !== undefined) cache.bulkCopy = o.bulkCopy;
  const trace = new Trace();
  const { dax = 'always', data = 'ordered', bufferedIomap = true, delalloc = true } = o;
  const { uid = 0, gid = 0, umask = 0o022, journalDevice, noatime = false } = o;
  const paths = { dax, data, bufferedIomap, delalloc, noatime };
  const options = { ...paths, journalDevice, uid, gid, umask };
  const vol = new Ext4Volume(sb, cache, device, options, trace);
  if (o.now !== undefined) vol.clock = stillClock(o.now);
  vol.inodes = new Inodes(vol);
  const owner = (file: FileFolios) => vol.inodes.get(file.ino);
  const turns = new Set<number>();
  if (!sync) vol.turns = turns;
  const driver = new Driver(cache, device, {
    frozen: vol.frozen,
    turns,
    sync,
    forceMiss: o.forceMiss === true,
    trace,
    plan: (range) => planFolios(cache, owner(range.file), ext4Iomap, range),
    planDirect: (file, pos, into) => planDirect(owner(file), ext4Iomap, pos, into),
  });
  return { vol, driver, readOnly: true, reason: '', journal: NO_JOURNAL, gate: null };
}

/** A driver for the I/O before there is a cache. */
function bareDriver(device: BlockDevice, sync: boolean): Driver {
  const none = { fill: null } as unknown as Cache;
  const plan = () => ({ folios: [], reads: [] });
  const planDirect = () => [];
  return new Driver(none, device, {
    frozen: new Set(),
    turns: new Set(),
    sync,
    forceMiss: true,
    trace: new Trace(),
    plan,
    planDirect,
  });
}

function checkSuperSum({ vol }: Session): void {
  const type = vol.sb.u8(F.S_CHECKSUM_TYPE);
  if (type !== 1) throw corrupt('superblock', `${type}`, { field: 's_checksum_type' });
  if (superChecksum(vol.sums, vol.sb) === vol.sb.u32(F.S_CHECKSUM)) return;
  throw badChecksum('superblock', { field: 's_checksum', block: 0 });
}

function checkRoot(vol: Ext4Volume): void {
  const root = vol.inodes.get(F.EXT4_ROOT_INO);
  if (!root.isDir) throw corrupt('root inode', 'not a directory', { ino: F.EXT4_ROOT_INO });
  const both = hasBit(vol.sb.roCompat, F.RO_COMPAT_GDT_CSUM) && vol.sb.metadataCsum;
  if (both) vol.trace.emit('super.csum', { reason: 'both checksum features are set' });
}
