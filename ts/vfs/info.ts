// What info() tells of a mounted file system.

import * as F from '../../assembly/format/ext4.ts';
import { type Features, featuresOf, superTime, uuidText } from '../ext4/describe.ts';
import type { JournalState } from '../ext4/recover.ts';
import type { Session } from './mount.ts';

export interface VolumeInfo {
  label: string;
  uuid: string;
  features: Features;
  blockSize: number;
  clusterSize: number;
  blocks: number;
  reservedBlocks: number;
  /** As the superblock counts them; statfs() sums the groups. */
  freeBlocks: number;
  inodes: number;
  freeInodes: number;
  inodeSize: number;
  groups: number;
  blocksPerGroup: number;
  inodesPerGroup: number;
  lastMounted: string;
  /** Seconds since 1970. */
  created: number;
  written: number;
  mounted: number;
  checked: number;
  mountCount: number;
  state: string[];
  errorCount: number;
  readOnly: boolean;
  /** Why it is read-only although that was not asked for; empty otherwise. */
  reason: string;
  journal: JournalState & { ino: number };
  /** First of the orphan list, 0 when it is empty. */
  lastOrphan: number;
  orphanFile: number;
}

export function volumeInfo({ vol, readOnly, reason, journal }: Session): VolumeInfo {
  const { sb } = vol;
  return {
    label: sb.text(F.S_VOLUME_NAME, 16),
    uuid: uuidText(sb.uuid),
    features: featuresOf(sb),
    blockSize: sb.blockSize,
    clusterSize: sb.blockSize * sb.clusterBlocks,
    blocks: sb.blocks,
    reservedBlocks: sb.reservedBlocks,
    freeBlocks: sb.freeBlocks,
    inodes: sb.inodes,
    freeInodes: sb.freeInodes,
    inodeSize: sb.inodeSize,
    groups: sb.groups,
    blocksPerGroup: sb.blocksPerGroup,
    inodesPerGroup: sb.inodesPerGroup,
    lastMounted: sb.text(F.S_LAST_MOUNTED, 64),
    created: superTime(sb, F.S_MKFS_TIME, F.S_MKFS_TIME_HI),
    written: superTime(sb, F.S_WTIME, F.S_WTIME_HI),
    mounted: superTime(sb, F.S_MTIME, F.S_MTIME_HI),
    checked: superTime(sb, F.S_LASTCHECK, F.S_LASTCHECK_HI),
    mountCount: sb.u16(F.S_MNT_COUNT),
    state: stateNames(sb.u16(F.S_STATE)),
    errorCount: sb.u32(F.S_ERROR_COUNT),
    readOnly,
    reason,
    journal: { ...journal, ino: sb.hasJournal ? sb.journalIno : 0 },
    lastOrphan: sb.lastOrphan,
    orphanFile: sb.orphanFileIno,
  };
}

function stateNames(state: number): string[] {
  const names = [(state & F.EXT4_VALID_FS) !== 0 ? 'clean' : 'not clean'];
  if ((state & F.EXT4_ERROR_FS) !== 0) names.push('with errors');
  if ((state & F.EXT4_ORPHAN_FS) !== 0) names.push('orphans');
  return names;
}
