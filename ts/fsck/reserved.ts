// Inodes below the first that users get: bad blocks, root, quota, boot loader, resize, journal. Each has its own rules;
// those that nothing uses must be empty.

import * as F from '../../assembly/format/ext4.ts';
import type { Flow } from '../flow.ts';
import { Bits } from './bits.ts';
import type { Claims } from './claim.ts';
import { BlockMapWalk } from './indirect.ts';
import type { Record } from './record.ts';
import type { Volume } from './volume.ts';

/** Whether an inode is judged even when it counts no links. */
export function isReserved(vol: Volume, ino: number): boolean {
  return ino < vol.sb.firstIno && (ino <= F.EXT4_ROOT_INO || ino >= F.EXT4_RESIZE_INO);
}

/** Judges a reserved inode. True when it is in use and goes the way of all inodes. */
export function* checkSpecial(vol: Volume, claims: Claims, record: Record): Flow<boolean> {
  const { ino } = record;
  switch (ino) {
    case F.EXT4_BAD_INO:
      yield* checkBadBlocks(vol, claims, record);
      return false;
    case F.EXT4_ROOT_INO:
      return checkRoot(vol, record);
    case F.EXT4_RESIZE_INO:
      yield* checkResizeBlocks(vol, claims, record);
      return false;
    case F.EXT4_JOURNAL_INO:
      return checkJournalInode(vol, record);
    default:
      if (record.links > 0) return checkOthers(vol, record);
      checkIdleFlags(vol, record);
      return false;
  }
}

function mapped(record: Record): boolean {
  for (let i = 0; i < F.EXT4_N_BLOCKS; i++) if (record.u32(F.I_BLOCK + 4 * i) !== 0) return true;
  return false;
}

/** The list of bad blocks is a block map without a file. */
function* checkBadBlocks(vol: Volume, claims: Claims, record: Record): Flow<void> {
  const { ino } = record;
  vol.inUse.add(ino);
  vol.links.set(ino, record.links);
  const odd =
    (record.mode !== 0 && record.type !== F.S_IFREG) || (record.size !== 0 && !mapped(record));
  if (odd || record.links > 1 || record.has(F.EXT4_EXTENTS_FL)) {
    if (vol.report.report('bad-blocks-inode', { ino }, 'the inode of bad blocks is invalid')) {
      record.clear();
      return;
    }
  }
  if (!mapped(record)) return;
  claims.begin(record, false);
  // Bad blocks in the fixed metadata are named by both.
  const data = (lblk: number, len: number, pblk: number) => {
    for (let i = 0; i < len; i++) {
      if (!vol.meta.has(pblk + i)) claims.data(lblk + i, 1, pblk + i, false);
    }
  };
  yield* new BlockMapWalk(vol, record, { data, node: (pblk) => claims.node(pblk) }).run();
}

/** Learns which blocks are bad before any table is read: inodes in them count as used, and say nothing. */
export function* readBadBlocks(vol: Volume): Flow<void> {
  const record = yield* vol.inode(F.EXT4_BAD_INO);
  if (record === null || !mapped(record)) return;
  const bad = new Bits();
  const data = (_: number, len: number, pblk: number) => void bad.addRange(pblk, len);
  yield* new BlockMapWalk(vol, record, { data, node: () => undefined }, false).run();
  vol.badBlocks = bad;
}

function checkRoot(vol: Volume, record: Record): boolean {
  if (record.links > 0 && record.type === F.S_IFDIR) return true;
  vol.rootLost = true;
  const ino = F.EXT4_ROOT_INO;
  vol.report.report('root', { ino }, 'the root inode is not a directory');
  return false;
}

/** The resize inode's blocks are those of group descriptors to come: claimed already, all but the top one. */
function* checkResizeBlocks(vol: Volume, claims: Claims, record: Record): Flow<void> {
  const { ino } = record;
  vol.inUse.add(ino);
  vol.links.set(ino, record.links);
  if (record.links === 0 && !mapped(record)) return;
  vol.files++;
  const summed = record.isSummed();
  let blocks = 0;
  claims.begin(record, false);
  const own = (pblk: number, len: number) => {
    blocks += len;
    for (let i = 0; i < len; i++) {
      if (!vol.meta.has(pblk + i)) claims.node(pblk + i);
    }
  };
  const sink = {
    data: (_: number, len: number, pblk: number) => own(pblk, len),
    node: (pblk: number) => own(pblk, 1),
  };
  yield* new BlockMapWalk(vol, record, sink).run();
  const want = blocks * vol.sb.clusterBlocks * (vol.sb.blockSize / 512);
  if (record.blocks !== want) {
    const text = `inode ${ino}: i_blocks is ${record.blocks}, not ${want}`;
    if (vol.report.report('inode-blocks', { ino }, text)) record.setBlocks(want);
  }
  if (!summed && vol.report.report('inode-checksum', { ino }, `inode ${ino}: wrong checksum`))
    record.dirty = true;
}

function checkJournalInode(vol: Volume, record: Record): boolean {
  const { ino } = record;
  vol.inUse.add(ino);
  if (vol.compat(F.COMPAT_HAS_JOURNAL) && vol.sb.journalIno === ino) return record.links > 0;
  if (record.mode === 0 && record.links === 0 && !mapped(record)) return false;
  const text = 'the journal inode is not in use and holds data';
  if (vol.report.report('journal-inode-unwanted', { ino }, text)) record.clear();
  return false;
}

function checkOthers(vol: Volume, record: Record): boolean {
  const { ino } = record;
  if (record.mode === 0) checkIdleFlags(vol, record);
  if (record.mode === 0 || record.type === F.S_IFREG) return record.mode !== 0;
  const text = `reserved inode ${ino} has the mode ${record.mode.toString(8)}`;
  if (vol.report.report('reserved-mode', { ino }, text)) record.clear();
  return false;
}

/** A flag that only directories have shows even in an inode that nobody uses. */
function checkIdleFlags(vol: Volume, record: Record): void {
  const { ino } = record;
  if (!record.has(F.EXT4_CASEFOLD_FL)) return;
  const text = `reserved inode ${ino} has the flag casefold`;
  if (vol.report.report('flag-casefold', { ino }, text)) record.clearFlag(F.EXT4_CASEFOLD_FL);
}

/** All reserved inodes count as in use in the bitmap. */
export function markReserved(vol: Volume): void {
  for (let ino = 1; ino < vol.sb.firstIno; ino++) vol.inUse.add(ino);
}
