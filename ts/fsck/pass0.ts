// Pass 0: the superblock's fields against each other, and what hangs on it directly: multi-mount block, quota inodes,
// the inode that holds room for more descriptors. What cannot be believed is mended or named.

import * as F from '../../assembly/format/ext4.ts';
import type { Flow } from '../flow.ts';
import { descriptorBlocks } from './groups.ts';
import type { Volume } from './volume.ts';

/** Checks the superblock. False when nothing further can be checked. */
export function* checkSuper(vol: Volume): Flow<boolean> {
  const { sb, report, disk } = vol;
  if (sb.blocks * sb.blockSize > disk.device.size) {
    const there = Math.floor(disk.device.size / sb.blockSize);
    const text = `the file system has ${sb.blocks} blocks, the device ${there}`;
    report.complain('device-too-small', {}, text);
    if (report.mode !== 'check') vol.fatal = text;
  }
  checkFields(vol);
  checkQuotaInodes(vol);
  return vol.fatal === '' && (yield* checkMmp(vol));
}

function checkFields(vol: Volume): void {
  const { sb, report } = vol;
  const bad = (field: string, value: number) => {
    vol.fatal = `superblock: ${field} is ${value}`;
    report.complain('super-field', {}, vol.fatal);
  };
  const reserve = sb.u16(F.S_RESERVED_GDT_BLOCKS);
  if (reserve > sb.blockSize / 4) bad('s_reserved_gdt_blocks', reserve);
  if (!vol.compat(F.COMPAT_RESIZE_INODE) && reserve !== 0) {
    const text = `superblock: ${reserve} reserved descriptor blocks without resize_inode`;
    if (report.report('super-reserved-gdt', {}, text)) vol.putSuper16(F.S_RESERVED_GDT_BLOCKS, 0);
  }
  const first = sb.blockSize === 1024 && sb.clusterBlocks === 1 ? 1 : 0;
  if (sb.firstDataBlock !== first) bad('s_first_data_block', sb.firstDataBlock);
  if (sb.reservedBlocks > sb.blocks / 2) bad('s_r_blocks_count', sb.reservedBlocks);
  if (sb.inodeSize > F.EXT4_GOOD_OLD_INODE_SIZE) checkExtraSizes(vol);
  const both = F.RO_COMPAT_GDT_CSUM | F.RO_COMPAT_METADATA_CSUM;
  if ((sb.roCompat & both) === both) {
    const text = 'superblock: metadata_csum and uninit_bg exclude each other';
    if (report.report('super-two-checksums', {}, text)) {
      vol.putSuper32(F.S_FEATURE_RO_COMPAT, (sb.roCompat & ~F.RO_COMPAT_GDT_CSUM) >>> 0);
    }
  }
}

function checkExtraSizes(vol: Volume): void {
  const { sb, report } = vol;
  const room = sb.inodeSize - F.EXT4_GOOD_OLD_INODE_SIZE;
  for (const [field, name] of [
    [F.S_MIN_EXTRA_ISIZE, 's_min_extra_isize'],
    [F.S_WANT_EXTRA_ISIZE, 's_want_extra_isize'],
  ] as const) {
    const value = sb.u16(field);
    if (value === 0 || (value >= 4 && value <= room && value % 4 === 0)) continue;
    const text = `superblock: ${name} is ${value}`;
    if (report.report('super-extra-isize', {}, text)) vol.putSuper16(field, 28);
  }
}

function checkQuotaInodes(vol: Volume): void {
  const { sb, report } = vol;
  for (const { field, name, ino } of QUOTAS) {
    const value = sb.u32(field);
    if (value === 0) continue;
    const right =
      vol.roCompat(F.RO_COMPAT_QUOTA) && (value === ino || (ino === 0 && value >= sb.firstIno));
    if (right && value <= sb.inodes) continue;
    const text = `superblock: ${value} is no inode for the ${name} quota`;
    const idle = !vol.roCompat(F.RO_COMPAT_QUOTA);
    if (report.report(idle ? 'super-quota-unused' : 'super-quota-inode', {}, text))
      vol.putSuper32(field, 0);
  }
}

/** Where the superblock names quota files; the inode each must have, 0 for any that is not reserved. */
export const QUOTAS = [
  { field: F.S_USR_QUOTA_INUM, name: 'user', ino: F.EXT4_USR_QUOTA_INO },
  { field: F.S_GRP_QUOTA_INUM, name: 'group', ino: F.EXT4_GRP_QUOTA_INO },
  { field: F.S_PRJ_QUOTA_INUM, name: 'project', ino: 0 },
] as const;

/** The multi-mount block. False when somebody may be using the file system, or the block says nothing. */
function* checkMmp(vol: Volume): Flow<boolean> {
  if (!vol.incompat(F.INCOMPAT_MMP)) return true;
  const { sb, report, disk, sums } = vol;
  const block = sb.u32(F.S_MMP_BLOCK + 4) * 2 ** 32 + sb.u32(F.S_MMP_BLOCK);
  if (block === 0) return true;
  const where = { block };
  if (!vol.inFs(block)) {
    const text = `superblock: the multi-mount block ${block} lies outside`;
    if (!report.report('mmp-place', where, text)) return false;
    vol.putSuper32(F.S_MMP_BLOCK, 0);
    vol.putSuper32(F.S_MMP_BLOCK + 4, 0);
    return true;
  }
  const ptr = yield* disk.get(block);
  const magic = disk.dv.getUint32(ptr + F.MMP_MAGIC, true);
  const sum = sums.on ? sums.run(sums.seed, ptr, F.MMP_CHECKSUM) : 0;
  const summed = !sums.on || sum === disk.dv.getUint32(ptr + F.MMP_CHECKSUM, true);
  if (magic === F.EXT4_MMP_MAGIC && summed) return true;
  const why = magic === F.EXT4_MMP_MAGIC ? 'a wrong checksum' : 'no magic number';
  if (!report.report('mmp', where, `the multi-mount block has ${why}`)) return false;
  disk.dv.setUint32(ptr + F.MMP_MAGIC, F.EXT4_MMP_MAGIC, true);
  disk.dv.setUint32(ptr + F.MMP_SEQ, F.EXT4_MMP_SEQ_CLEAN, true);
  const right = sums.on ? sums.run(sums.seed, ptr, F.MMP_CHECKSUM) : 0;
  disk.dv.setUint32(ptr + F.MMP_CHECKSUM, right, true);
  yield* disk.write(block, ptr);
  return true;
}

/** Checks the inode that keeps blocks free for more descriptors. */
export function* checkResizeInode(vol: Volume): Flow<void> {
  const record = yield* vol.inode(F.EXT4_RESIZE_INO);
  if (record === null) return;
  const { report } = vol;
  const where = { ino: F.EXT4_RESIZE_INO };
  if (!vol.compat(F.COMPAT_RESIZE_INODE)) {
    if (record.links === 0 && record.mode === 0) return;
    for (let i = 0; i < F.EXT4_N_BLOCKS; i++) {
      if (record.u32(F.I_BLOCK + 4 * i) === 0) continue;
      const text = 'the resize inode is in use without the resize_inode feature';
      if (report.report('resize-inode-unwanted', where, text)) {
        record.clear();
        yield* vol.save(record);
      }
      return;
    }
    return;
  }
  if (vol.hooks.lost.resize >= 0 || (yield* isResizeInodeSound(vol))) return;
  if (report.report('resize-inode', where, 'the resize inode is not valid'))
    yield* dropResizeInode(vol);
}

/** Takes the resize inode away; the round's end makes it anew. */
export function* dropResizeInode(vol: Volume): Flow<void> {
  const record = yield* vol.inode(F.EXT4_RESIZE_INO);
  if (record === null) return;
  if (vol.hooks.lost.resize >= 0) return;
  vol.hooks.lost.resize = record.u32(F.I_BLOCK + 4 * (F.EXT4_NDIR_BLOCKS + 1));
  record.clear();
  yield* vol.save(record);
}

/** Its double indirect block names the reserved blocks of group 0, each of which names its copies. */
function* isResizeInodeSound(vol: Volume): Flow<boolean> {
  const { sb, disk } = vol;
  const record = yield* vol.inode(F.EXT4_RESIZE_INO);
  if (record === null || record.links === 0 || record.type !== F.S_IFREG) return false;
  if (record.has(F.EXT4_EXTENTS_FL)) return false;
  for (let i = 0; i < F.EXT4_N_BLOCKS; i++) {
    const block = record.u32(F.I_BLOCK + 4 * i);
    if ((i === F.EXT4_NDIR_BLOCKS + 1) !== (block !== 0)) return false;
  }
  const dind = record.u32(F.I_BLOCK + 4 * (F.EXT4_NDIR_BLOCKS + 1));
  if (!vol.inFs(dind)) return false;
  // A quarter, as e2fsck looks at: the rest shows in the claims of pass 1.
  const reserve = Math.floor(sb.u16(F.S_RESERVED_GDT_BLOCKS) / 4);
  const old = descriptorBlocks(vol);
  const perBlock = sb.blockSize / 4;
  const groups = [...backupGroups(vol)];
  for (let i = 0; i < reserve; i++) {
    const ptr = yield* disk.get(dind);
    const want = vol.superBlock + 1 + old + i;
    const gdt = disk.dv.getUint32(ptr + ((old + i) % perBlock) * 4, true);
    if (gdt !== want) return false;
    const at = yield* disk.get(gdt);
    let k = 0;
    for (const group of groups) {
      const copy = disk.dv.getUint32(at + 4 * k++, true);
      if (copy !== want - sb.firstDataBlock + sb.groupStart(group)) return false;
    }
  }
  return true;
}

/** Groups whose copies of the descriptors have a reserve, as far as a block has numbers. */
export function* backupGroups(vol: Volume): Generator<number> {
  const most = vol.sb.blockSize / 4;
  let count = 0;
  for (let group = 1; group < vol.sb.groups && count < most; group++) {
    if (!vol.sb.groupHasSuper(group)) continue;
    count++;
    yield group;
  }
}
