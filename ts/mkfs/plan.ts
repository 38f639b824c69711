// A file system that is to be made, as numbers: what settle.ts decided and geometry.ts worked out. Sizes are blocks
// unless a name says bytes. Positions are blocks of the file system.

import type { BlockDevice } from '../block/device.ts';
import type { FeatureSet } from './features.ts';

/** What does not depend on how many groups there are. */
export interface Settings {
  features: FeatureSet;
  notes: string[];
  blockSize: number;
  /** Blocks of an allocation cluster; 1 without bigalloc. */
  clusterBlocks: number;
  inodeSize: number;
  /** Blocks that were asked for; a tail too small for a group of its own is left out later. */
  blocks: number;
  /** Inodes that were asked for. */
  inodes: number;
  /** 0: as many as a bitmap has bits. */
  blocksPerGroup: number;
  flexSize: number;
  descSize: number;
  /** Descriptor blocks that growth to the size asked for takes; 0: a thousandfold growth is prepared. */
  growthGdt: number;
  reservedPercent: number;
  label: Uint8Array;
  lastMounted: Uint8Array;
  uuid: Uint8Array;
  hashSeed: Uint8Array;
  hashVersion: number;
  errors: number;
  stride: number;
  stripeWidth: number;
  journal: JournalPlan | null;
  journalDevice: BlockDevice | null;
  journalDeviceNumber: number;
  /** Blocks asked for; 0: by size. */
  orphanBlocks: number;
  mmpInterval: number;
  backups: number;
  packed: boolean;
  lazyTables: boolean;
  lazyJournal: boolean;
  zeroed: boolean;
  discard: boolean;
  uid: number;
  gid: number;
  rootPerms: number;
  /** Seconds since 1970. */
  now: number;
}

export interface JournalPlan {
  /** Blocks, those of fast commits included. 0: by the size of the file system. */
  blocks: number;
  /** Of these for fast commits; -1: a 64th more, when the feature is there. */
  fastCommit: number;
  /** First block, or -1. */
  location: number;
  /** The caller gave the size: a file system too small for it is an error. */
  asked: boolean;
}

/** Settings with the shape of groups. */
export interface Geometry extends Settings {
  /** Blocks that only root may use. */
  reserved: number;
  firstDataBlock: number;
  groups: number;
  inodesPerGroup: number;
  tableBlocks: number;
  /** Blocks of the whole descriptor table. */
  gdtBlocks: number;
  reservedGdt: number;
  /** Groups with sparse_super2's backups, 0 for none. */
  backupGroups: [number, number];
}

/** First block of a group. */
export function groupStart(g: Geometry, group: number): number {
  return g.firstDataBlock + group * g.blocksPerGroup;
}

/** First block behind a group. */
export function groupEnd(g: Geometry, group: number): number {
  return Math.min(g.blocks, groupStart(g, group + 1));
}
