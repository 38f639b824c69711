// The life of a read-write mount: what is written when it begins and when it ends, the checksums that a commit brings
// up to date, and the superblock. Between the two the superblock says needs_recovery (or, without a journal, "not
// clean").

import * as F from '../../assembly/format/ext4.ts';
import type { BlockDevice } from '../block/device.ts';
import type { Buffer } from '../cache/buffer.ts';
import { commit, type Flow, flushDevice, step, writeDevice } from '../flow.ts';
import { Journal, type JournalHooks, type LogArea } from '../jbd2/journal.ts';
import { openLog, writeEmpty, writeErrno } from '../jbd2/start.ts';
import { hasBit } from './features.ts';
import { groupChecksum } from './group.ts';
import { sealInode } from './inodesum.ts';
import { orphanFileEmpty } from './orphan.ts';
import { lendWindow, openJournal } from './recover.ts';
import { sealBuffer } from './seal.ts';
import type { Ext4Volume } from './volume.ts';

/** Begins writing: the journal is opened, the superblock marked. The journal must be empty: it was replayed. */
export function* startWriting(vol: Ext4Volume): Flow<Journal> {
  const { sb } = vol;
  const hooks = journalHooks(vol, vol.device);
  let area: LogArea | null = null;
  let tid = 1;
  let failed = false;
  if (sb.hasJournal) {
    const source = lendWindow(vol, yield* openJournal(vol, vol.options.journalDevice));
    const opened = yield* openLog(source, sb.metadataCsum, hasBit(sb.incompat, F.INCOMPAT_64BIT));
    area = opened.area;
    tid = opened.nextTid;
    failed = opened.errno !== 0;
  }
  const journal = new Journal(vol.cache, hooks, area, tid);
  vol.journal = journal;
  yield* writeSuper(vol, failed ? markFailed : markStarted);
  if (area !== null && failed) yield* writeErrno(area, 0);
  return journal;
}

/** What a journal whose blocks are at home on `device` is told of the file system. */
export function journalHooks(vol: Ext4Volume, device: BlockDevice): JournalHooks {
  return {
    device,
    clock: () => vol.clock.milliseconds(),
    seal: (buffers) => seal(vol, buffers),
    sealRecord: (pblk, off, ino) => sealRecord(vol, vol.cache.get(pblk).ptr + off, ino),
  };
}

/** Writes the checksum of an inode's record. */
function sealRecord(vol: Ext4Volume, ptr: number, ino: number): void {
  sealInode(vol, ptr, vol.sums.inodeSeed(ino, vol.dv.getUint32(ptr + F.I_GENERATION, true)));
}

/** Ends writing, all being committed and home: the journal empty, the superblock clean, others let in. */
export function* endWriting(vol: Ext4Volume): Flow<void> {
  const { journal, mmp } = vol;
  const alive = journal !== null && journal.aborted === null;
  if (alive) {
    if (journal.area !== null) yield* writeEmpty(journal.area, journal.nextTid);
    yield* writeSuper(vol, markEnded);
  }
  if (mmp === null || mmp.ended) return;
  mmp.stop();
  // A last update may be on its way: it comes before this.
  if (alive) yield* commit();
  if (!vol.down) yield* mmp.release();
}

function markStarted(vol: Ext4Volume, ptr: number): void {
  const { dv, sb } = vol;
  const now = vol.clock.now().sec;
  if (hasBit(sb.compat, F.COMPAT_ORPHAN_FILE)) setOrphanPresent(vol, ptr, true);
  if (sb.hasJournal) {
    const incompat = dv.getUint32(ptr + F.S_FEATURE_INCOMPAT, true) | F.INCOMPAT_RECOVER;
    dv.setUint32(ptr + F.S_FEATURE_INCOMPAT, incompat >>> 0, true);
  } else {
    const state = dv.getUint16(ptr + F.S_STATE, true) & ~F.EXT4_VALID_FS;
    dv.setUint16(ptr + F.S_STATE, state, true);
  }
  dv.setUint16(ptr + F.S_MNT_COUNT, dv.getUint16(ptr + F.S_MNT_COUNT, true) + 1, true);
  dv.setUint32(ptr + F.S_MTIME, now % 2 ** 32, true);
  dv.setUint8(ptr + F.S_MTIME_HI, Math.floor(now / 2 ** 32));
}

/** The mount before this one gave up: the superblock keeps that from now on, until a check. */
function markFailed(vol: Ext4Volume, ptr: number): void {
  const state = vol.dv.getUint16(ptr + F.S_STATE, true) | F.EXT4_ERROR_FS;
  vol.dv.setUint16(ptr + F.S_STATE, state, true);
  markStarted(vol, ptr);
}

function markEnded(vol: Ext4Volume, ptr: number): void {
  const { dv } = vol;
  if (orphanFileEmpty(vol)) setOrphanPresent(vol, ptr, false);
  const incompat = dv.getUint32(ptr + F.S_FEATURE_INCOMPAT, true) & ~F.INCOMPAT_RECOVER;
  dv.setUint32(ptr + F.S_FEATURE_INCOMPAT, incompat >>> 0, true);
  const state = dv.getUint16(ptr + F.S_STATE, true);
  if ((vol.startState & F.EXT4_VALID_FS) !== 0) dv.setUint16(ptr + F.S_STATE, state | 1, true);
}

/** Says that the orphan file may have numbers: from the first change until a clean end, as the kernel does. */
function setOrphanPresent({ dv }: Ext4Volume, ptr: number, on: boolean): void {
  const others = dv.getUint32(ptr + F.S_FEATURE_RO_COMPAT, true) & ~F.RO_COMPAT_ORPHAN_PRESENT;
  const bits = others | (on ? F.RO_COMPAT_ORPHAN_PRESENT : 0);
  dv.setUint32(ptr + F.S_FEATURE_RO_COMPAT, bits >>> 0, true);
}

/** Where the superblock lies: its block, and the byte in it. */
export function superPlace(vol: Ext4Volume): { pblk: number; off: number } {
  const { blockSize } = vol.sb;
  return { pblk: Math.floor(F.SB_OFFSET / blockSize), off: F.SB_OFFSET % blockSize };
}

/** Writes the superblock at once, past the journal: `change` edits it first; counts, time and checksum follow. */
export function* writeSuper(
  vol: Ext4Volume,
  change: (vol: Ext4Volume, ptr: number) => void,
): Flow<void> {
  const buffer = yield* step(editSuper, vol, change);
  const bytes = vol.u8.subarray(buffer.ptr, buffer.ptr + vol.sb.blockSize);
  yield* writeDevice(vol.device, bytes, buffer.pblk * vol.sb.blockSize, { fua: true });
  yield* flushDevice(vol.device);
}

function editSuper(vol: Ext4Volume, change: (vol: Ext4Volume, ptr: number) => void): Buffer {
  const { pblk, off } = superPlace(vol);
  const buffer = vol.cache.get(pblk);
  change(vol, buffer.ptr + off);
  stampSuper(vol, buffer.ptr + off);
  return buffer;
}

/** Free counts as the mount knows them, the time of writing, the checksum. */
function stampSuper(vol: Ext4Volume, ptr: number): void {
  const { dv, sb, sums } = vol;
  const now = vol.clock.now().sec;
  dv.setUint32(ptr + F.S_WTIME, now % 2 ** 32, true);
  dv.setUint8(ptr + F.S_WTIME_HI, Math.floor(now / 2 ** 32));
  if (vol.free !== null) {
    const blocks = vol.free.clusters * sb.clusterBlocks;
    dv.setUint32(ptr + F.S_FREE_BLOCKS_COUNT_LO, blocks % 2 ** 32, true);
    if (hasBit(sb.incompat, F.INCOMPAT_64BIT)) {
      dv.setUint32(ptr + F.S_FREE_BLOCKS_COUNT_HI, Math.floor(blocks / 2 ** 32), true);
    }
    dv.setUint32(ptr + F.S_FREE_INODES_COUNT, vol.free.inodes, true);
  }
  if (sums.on) dv.setUint32(ptr + F.S_CHECKSUM, sums.run(0xffffffff, ptr, F.S_CHECKSUM), true);
}

/** Brings the checksums of a transaction's blocks up to date. The groups' bitmaps first: their sums lie
 *  in descriptors. */
function seal(vol: Ext4Volume, buffers: Iterable<Buffer>): void {
  const { sb, dv } = vol;
  for (const [group, dirty] of vol.dirtyGroups) dirty.seal(group);
  const place = superPlace(vol);
  for (const buffer of buffers) {
    sealBuffer(vol, buffer);
    if (buffer.pblk === place.pblk) stampSuper(vol, buffer.ptr + place.off);
  }
  for (const [group, { buffer, off }] of vol.dirtyGroups) {
    if (!sb.metadataCsum && !sb.gdtCsum) break;
    const ptr = buffer.ptr + off;
    dv.setUint16(ptr + F.BG_CHECKSUM, groupChecksum(vol, ptr, group), true);
  }
  vol.dirtyGroups.clear();
}
