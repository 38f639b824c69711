// Orphans, which a repair works off before the passes: inodes deleted while they were open, and truncations that were
// cut short. Two lists: the chain from the superblock, and the orphan file. A check looks at the file's blocks only.

import * as F from '../../assembly/format/ext4.ts';
import type { Flow } from '../flow.ts';
import { ExtentWalk } from './extents.ts';
import { dirBlocksOf } from './locate.ts';
import type { Record } from './record.ts';
import type { Volume } from './volume.ts';

const NOTHING = { data: () => undefined, node: () => undefined };

/** Works both lists off; in a check, looks at the orphan file. */
export function* checkOrphans(vol: Volume): Flow<void> {
  if (vol.report.mode !== 'check') yield* workOffChain(vol);
  yield* checkOrphanFile(vol);
}

function* workOffChain(vol: Volume): Flow<void> {
  const { sb, report } = vol;
  const seen = new Set<number>();
  let ino = sb.lastOrphan;
  if (ino === 0) return;
  while (ino !== 0) {
    const record = seen.has(ino) || ino < sb.firstIno ? null : yield* vol.inode(ino);
    if (record === null) {
      report.report('orphan-list', { ino }, `the list of orphans is broken at inode ${ino}`);
      break;
    }
    seen.add(ino);
    const next = record.u32(F.I_DTIME);
    yield* release(vol, record);
    ino = next;
  }
  vol.putSuper32(F.S_LAST_ORPHAN, 0);
}

/** Finishes what was begun: the inode is gone, or has no blocks behind its end. */
function* release(vol: Volume, record: Record): Flow<void> {
  const { ino } = record;
  const what = record.links === 0 ? 'deleted' : 'truncated';
  if (!vol.report.report('orphan', { ino }, `inode ${ino} was being ${what}`)) return;
  if (record.links === 0) record.put32(F.I_DTIME, Math.floor(Date.now() / 1000) % 2 ** 32);
  else {
    record.put32(F.I_DTIME, 0);
    yield* vol.save(record);
    yield* cutBehindEnd(vol, ino);
    return;
  }
  yield* vol.save(record);
}

function* cutBehindEnd(vol: Volume, ino: number): Flow<void> {
  const record = yield* vol.inode(ino);
  const plain = record?.type === F.S_IFREG && !record.has(F.EXT4_INLINE_DATA_FL);
  if (record === null || !plain || !record.has(F.EXT4_EXTENTS_FL)) return;
  const limit = Math.ceil(record.size / vol.sb.blockSize);
  yield* new ExtentWalk(vol, record, NOTHING, false, true, limit).run();
  yield* vol.save(record);
}

/** Blocks of the orphan file: magic, checksum, and numbers only while orphan_present says so. */
function* checkOrphanFile(vol: Volume): Flow<void> {
  const { sb, disk, report } = vol;
  const ino = sb.orphanFileIno;
  if (!vol.compat(F.COMPAT_ORPHAN_FILE) || ino === 0) return;
  const file = yield* vol.inode(ino);
  if (file === null || file.links === 0 || file.type !== F.S_IFREG) {
    report.complain('orphan-file', { ino }, `the orphan file ${ino} is no file`);
    return;
  }
  const { seed } = file;
  const present = vol.roCompat(F.RO_COMPAT_ORPHAN_PRESENT);
  let held = false;
  for (const { pblk } of yield* dirBlocksOf(vol, ino)) {
    const ptr = yield* disk.get(pblk);
    const tail = ptr + sb.blockSize - F.OB_TAIL_SIZE;
    const magic = disk.dv.getUint32(tail + F.OB_MAGIC, true) === F.EXT4_ORPHAN_BLOCK_MAGIC;
    const sum = blockSum(vol, ptr, pblk, seed);
    const summed = !vol.sums.on || sum === disk.dv.getUint32(tail + F.OB_CHECKSUM, true);
    const inos = numbers(vol, ptr, tail);
    if (inos.length > 0) held = true;
    const wrong = !magic ? 'has no magic number' : !summed ? 'has a wrong checksum' : '';
    const stale = inos.length > 0 && !present ? 'holds orphans and should not' : '';
    if (wrong === '' && inos.length > 0 && present && report.mode !== 'check') {
      for (const orphan of inos) {
        const record = orphan < sb.firstIno ? null : yield* vol.inode(orphan);
        if (record !== null) yield* release(vol, record);
      }
    } else if (wrong === '' && stale === '') continue;
    const text = `block ${pblk} of the orphan file ${wrong || stale || 'holds orphans'}`;
    if (report.report('orphan-file', { ino, block: pblk }, text)) yield* empty(vol, pblk, seed);
  }
  if (!present || (report.mode === 'check' && held)) return;
  const text = 'orphan_present is set, and the orphan file is empty';
  if (held || report.report('orphan-present', {}, text))
    vol.putSuper32(F.S_FEATURE_RO_COMPAT, (sb.roCompat & ~F.RO_COMPAT_ORPHAN_PRESENT) >>> 0);
}

function numbers(vol: Volume, ptr: number, tail: number): number[] {
  const found: number[] = [];
  for (let at = ptr; at < tail; at += 4) {
    const ino = vol.disk.dv.getUint32(at, true);
    if (ino !== 0) found.push(ino);
  }
  return found;
}

function blockSum(vol: Volume, ptr: number, pblk: number, seed: number): number {
  const { sums, sb } = vol;
  return sums.on ? sums.run(sums.u64(seed, pblk), ptr, sb.blockSize - F.OB_TAIL_SIZE) : 0;
}

function* empty(vol: Volume, pblk: number, seed: number): Flow<void> {
  const { disk, sb } = vol;
  const ptr = disk.fresh(pblk);
  const tail = ptr + sb.blockSize - F.OB_TAIL_SIZE;
  disk.dv.setUint32(tail + F.OB_MAGIC, F.EXT4_ORPHAN_BLOCK_MAGIC, true);
  disk.dv.setUint32(tail + F.OB_CHECKSUM, blockSum(vol, ptr, pblk, seed), true);
  yield* disk.write(pblk, ptr);
}
