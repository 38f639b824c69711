// Looking at where a file's blocks lie, and at raw records.

import * as F from '../../assembly/format/ext4.ts';
import { Ext4Error } from '../errno.ts';
import { describeGroup } from '../ext4/describe.ts';
import type { Inode } from '../ext4/inode.ts';
import { ext4Iomap } from '../ext4/iomap.ts';
import type { Ext4Volume } from '../ext4/volume.ts';
import { type Flow, step } from '../flow.ts';
import { FIEMAP_EXTENT_LAST, fiemap, seekIn } from '../iomap/seek.ts';
import type { Session } from './mount.ts';

export interface ExtentRecord {
  lblk: number;
  pblk: number;
  /** Blocks. */
  count: number;
  /** FIEMAP_EXTENT_*. */
  flags: number;
}

/** All extents of a file, as FIEMAP gives them. */
export function* extentsOf(inode: Inode): Flow<ExtentRecord[]> {
  const { blockSize } = inode.vol.sb;
  const end = maxPos(inode);
  const found: ExtentRecord[] = [];
  for (let pos = 0; pos < end; ) {
    const batch = yield* step(fiemapStep, inode, pos, end);
    for (const e of batch.extents) {
      found.push({
        lblk: e.pos / blockSize,
        pblk: e.dpos / blockSize,
        count: Math.ceil(e.len / blockSize),
        flags: e.flags,
      });
    }
    pos = batch.next;
  }
  const last = found.at(-1);
  if (last) last.flags |= FIEMAP_EXTENT_LAST;
  return found;
}

/** The next position at or behind `pos` with data, or with a hole. ENXIO when there is none. */
export function* seekFrom(inode: Inode, pos: number, hole: boolean): Flow<number> {
  if (!(pos >= 0 && pos < inode.size)) throw new Ext4Error('ENXIO');
  for (let at = pos; at < inode.size; ) {
    const r = yield* step(seekStep, inode, at, hole);
    if (r.found) return r.pos;
    at = r.pos;
  }
  if (hole) return inode.size;
  throw new Ext4Error('ENXIO');
}

/** A group descriptor, with the kernel's field names. EINVAL. */
export function* dumpGroup(vol: Ext4Volume, group: number): Flow<Record<string, unknown>> {
  if (!(group >= 0 && group < vol.sb.groups)) throw new Ext4Error('EINVAL', `group ${group}`);
  return yield* step(describeGroup, vol, group);
}

function fiemapStep(inode: Inode, pos: number, end: number): ReturnType<typeof fiemap> {
  inode.at();
  return fiemap(inode, ext4Iomap, pos, end);
}

function seekStep(inode: Inode, pos: number, hole: boolean): ReturnType<typeof seekIn> {
  inode.at();
  return seekIn(inode, ext4Iomap, pos, inode.size, hole);
}

/** A copy of a block. Throws Missing; EUCLEAN beyond the end. */
export function blockStep(vol: Ext4Volume, pblk: number): Uint8Array {
  const { ptr } = vol.cache.get(pblk);
  return vol.u8.slice(ptr, ptr + vol.sb.blockSize);
}

/** Where extents can end: blocks may be allocated beyond the size. */
function maxPos(inode: Inode): number {
  const { blockSize } = inode.vol.sb;
  if (inode.path === 'inline') return inode.size;
  const size = Math.ceil(inode.size / blockSize) * blockSize;
  return inode.has(F.EXT4_EXTENTS_FL) ? (2 ** 32 - 1) * blockSize : size;
}

/** What the mount did since it began, and what it holds. */
export function countersOf({ vol, driver }: Session, openFiles: number): Record<string, number> {
  const { cache, mappingCalls, leases } = vol;
  return {
    mappingCalls,
    mappings: vol.mappings,
    deviceReads: driver.deviceReads,
    deviceReadBytes: driver.deviceReadBytes,
    deviceWrites: driver.deviceWrites,
    deviceWriteBytes: driver.deviceWriteBytes,
    deviceFlushes: driver.deviceFlushes,
    commits: vol.journal?.commits ?? 0,
    dirtyBytes: cache.dirtyBlocks * cache.blockSize,
    reserved: vol.reserved,
    reruns: driver.reruns,
    evictions: cache.evictions,
    slots: cache.clock.count,
    cacheBytes: cache.kernels.u8.length,
    freeBytes: cache.arena.freeUnits * cache.blockSize,
    pins: cache.pinCount(),
    openFiles,
    leases,
  };
}
