// Quota files against what was found: pass 1 counts what each owner uses, the files say what they think. Where they
// differ the file is written anew, with the limits it has, into free blocks, and only then takes the old one's place.

import * as F from '../../assembly/format/ext4.ts';
import { type Flow, flushDevice } from '../flow.ts';
import { allocBlocks } from './alloc.ts';
import { walkBlocks } from './locate.ts';
import { buildMap } from './mapwrite.ts';
import { QUOTAS } from './pass0.ts';
import {
  idOf,
  QUOTA_BLOCK,
  type QuotaFile,
  quotaFile,
  readQuota,
  type Usage,
  usageOf,
} from './quotafile.ts';
import type { Record } from './record.ts';
import type { Volume } from './volume.ts';

/** Counts an inode for its owners. `values` are those of its xattrs that have inodes of their own. */
export function countUsage(vol: Volume, record: Record, blocks: number, values: number): void {
  if (!vol.roCompat(F.RO_COMPAT_QUOTA) || record.has(F.EXT4_EA_INODE_FL)) return;
  const { ino } = record;
  const { sb } = vol;
  if (ino < sb.firstIno && ino !== F.EXT4_ROOT_INO) return;
  if (ino === sb.orphanFileIno || QUOTAS.some(({ field }) => sb.u32(field) === ino)) return;
  const wide = F.I_PROJID + 4 <= F.EXT4_GOOD_OLD_INODE_SIZE + record.extraSize;
  const owners = [
    record.u16(F.I_UID_HIGH) * 65536 + record.u16(F.I_UID),
    record.u16(F.I_GID_HIGH) * 65536 + record.u16(F.I_GID),
    wide ? record.u32(F.I_PROJID) : 0,
  ];
  owners.forEach((id, type) => {
    const usage = vol.usage[type].get(id) ?? { space: 0, inodes: 0 };
    usage.space += blocks * sb.blockSize;
    usage.inodes += 1 + values;
    vol.usage[type].set(id, usage);
  });
}

/** Checks the quota files, where a round of a repair has nothing else left to mend. */
export function* checkQuotas(vol: Volume): Flow<void> {
  if (!vol.roCompat(F.RO_COMPAT_QUOTA) || vol.report.mended > 0) return;
  for (const [type, { field, name }] of QUOTAS.entries()) {
    const ino = vol.sb.u32(field);
    if (ino === 0 || vol.inodeType(ino) !== F.EXT4_FT_REG_FILE) continue;
    const size = (yield* vol.inode(ino))?.size ?? 0;
    const file = yield* readQuota(type, size, yield* blocksOf(vol, ino));
    const wrong = typeof file === 'string' ? file : difference(file, vol.usage[type]);
    if (wrong === '') continue;
    if (!vol.report.report('quota-usage', { ino }, `the ${name} quota ${wrong}`)) continue;
    const old = typeof file === 'string' ? null : file;
    yield* install(vol, ino, quotaFile(type, vol.usage[type], old));
  }
}

/** Reads blocks of a quota file by their number. */
function* blocksOf(vol: Volume, ino: number): Flow<(n: number) => Flow<DataView | null>> {
  const { disk, sb } = vol;
  const places = new Map<number, number>();
  const data = (lblk: number, len: number, pblk: number) => {
    for (let i = 0; i < len; i++) places.set(lblk + i, pblk + i);
  };
  yield* walkBlocks(vol, ino, { data, node: () => undefined });
  return function* read(n: number): Flow<DataView | null> {
    const pos = n * QUOTA_BLOCK;
    const pblk = places.get(Math.floor(pos / sb.blockSize));
    if (pblk === undefined) return null;
    const ptr = (yield* disk.get(pblk)) + (pos % sb.blockSize);
    return new DataView(disk.u8.slice(ptr, ptr + QUOTA_BLOCK).buffer);
  };
}

/** The first of the ids whose record does not say what they use; '' when all do. */
function difference({ records }: QuotaFile, found: ReadonlyMap<number, Usage>): string {
  const known = new Set<number>();
  for (const record of records) {
    const id = idOf(record);
    known.add(id);
    const says = usageOf(record);
    const uses = found.get(id) ?? { space: 0, inodes: 0 };
    if (says.space === uses.space && says.inodes === uses.inodes) continue;
    return `says ${text(says)} for ${id}, which uses ${text(uses)}`;
  }
  for (const [id, uses] of found) {
    if (!known.has(id)) return `has nothing for ${id}, which uses ${text(uses)}`;
  }
  return '';
}

function text({ space, inodes }: Usage): string {
  return `${space} bytes and ${inodes} inodes`;
}

/** Writes the bytes, then has the inode name them. What it named before is free in the next round. */
function* install(vol: Volume, ino: number, bytes: Uint8Array): Flow<void> {
  const { disk, sb } = vol;
  const record = yield* vol.inode(ino);
  if (record === null) return;
  const { seed } = record;
  const count = Math.ceil(bytes.length / sb.blockSize);
  const places = allocBlocks(vol, ino, count);
  const extents = record.has(F.EXT4_EXTENTS_FL);
  const runs = (places ?? []).map((pblk, lblk) => ({ lblk, len: 1, pblk, unwritten: false }));
  const map = places === null ? null : yield* buildMap(vol, ino, seed, runs, extents);
  if (map === null || places === null) {
    return vol.report.complain('no-space', { ino }, 'no room to write a quota file anew');
  }
  for (const [i, pblk] of places.entries()) {
    const ptr = disk.fresh(pblk);
    disk.u8.set(bytes.subarray(i * sb.blockSize, (i + 1) * sb.blockSize), ptr);
    yield* disk.write(pblk, ptr);
  }
  yield* flushDevice(disk.device);
  const fresh = yield* vol.inode(ino);
  if (fresh === null) return;
  disk.u8.set(map.root, fresh.ptr + F.I_BLOCK);
  fresh.setSize(bytes.length);
  const clusters = Math.ceil(count / sb.clusterBlocks) + map.nodes;
  fresh.setBlocks(clusters * sb.clusterBlocks * (sb.blockSize / 512));
  yield* vol.save(fresh);
}
