// Records as plain objects with the kernel's field names: for info, dump, and whoever is curious.

import * as F from '../../assembly/format/ext4.ts';
import { COMPAT_NAMES, featureNames, hasBit, INCOMPAT_NAMES, RO_COMPAT_NAMES } from './features.ts';
import { readGroup } from './group.ts';
import type { Super } from './super.ts';
import type { Ext4Volume } from './volume.ts';

export interface Features {
  compat: string[];
  incompat: string[];
  roCompat: string[];
}

export function featuresOf(sb: Super): Features {
  return {
    compat: featureNames(COMPAT_NAMES, sb.compat, 'FEATURE_C'),
    incompat: featureNames(INCOMPAT_NAMES, sb.incompat, 'FEATURE_I'),
    roCompat: featureNames(RO_COMPAT_NAMES, sb.roCompat, 'FEATURE_R'),
  };
}

export function uuidText(bytes: Uint8Array): string {
  const hex = Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** Seconds since 1970 of a superblock time, whose fifth byte lies elsewhere. */
export function superTime(sb: Super, low: number, high: number): number {
  return sb.u32(low) + sb.u8(high) * 2 ** 32;
}

/** Constants of the format module that are fields of a record: S_*, I_*, with their kernel names and offsets. */
const SUPER_TEXT: Record<string, number> = {
  s_volume_name: 16,
  s_last_mounted: 64,
  s_mount_opts: 64,
  s_first_error_func: 32,
  s_last_error_func: 32,
};

/** Every field of the superblock that says something, by the kernel's name. */
export function describeSuper(sb: Super): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const name of SUPER_U32) out[name] = sb.u32(offset(name));
  for (const name of SUPER_U16) out[name] = sb.u16(offset(name));
  for (const name of SUPER_U8) out[name] = sb.u8(offset(name));
  for (const [name, size] of Object.entries(SUPER_TEXT)) out[name] = sb.text(offset(name), size);
  out['s_uuid'] = uuidText(sb.uuid);
  out['s_journal_uuid'] = uuidText(sb.raw.slice(F.S_JOURNAL_UUID, F.S_JOURNAL_UUID + 16));
  out['s_hash_seed'] = uuidText(sb.raw.slice(F.S_HASH_SEED, F.S_HASH_SEED + 16));
  return { ...out, ...featuresOf(sb) };
}

function offset(name: string): number {
  return (F as unknown as Record<string, number>)[name.toUpperCase()];
}

const SUPER_U32 = (
  's_inodes_count s_blocks_count_lo s_r_blocks_count_lo s_free_blocks_count_lo ' +
  's_free_inodes_count s_first_data_block s_log_block_size s_log_cluster_size ' +
  's_blocks_per_group s_clusters_per_group s_inodes_per_group s_mtime s_wtime s_lastcheck ' +
  's_checkinterval s_creator_os s_rev_level s_first_ino s_feature_compat s_feature_incompat ' +
  's_feature_ro_compat s_journal_inum s_journal_dev s_last_orphan s_default_mount_opts ' +
  's_first_meta_bg s_mkfs_time s_blocks_count_hi s_r_blocks_count_hi s_free_blocks_count_hi ' +
  's_flags s_raid_stripe_width s_error_count s_first_error_time s_last_error_time ' +
  's_usr_quota_inum s_grp_quota_inum s_prj_quota_inum s_overhead_clusters s_lpf_ino ' +
  's_checksum_seed s_orphan_file_inum s_checksum'
).split(' ');
const SUPER_U16 = (
  's_mnt_count s_max_mnt_count s_magic s_state s_errors s_minor_rev_level s_def_resuid ' +
  's_def_resgid s_inode_size s_block_group_nr s_reserved_gdt_blocks s_desc_size ' +
  's_min_extra_isize s_want_extra_isize s_raid_stride s_mmp_update_interval s_encoding ' +
  's_encoding_flags'
).split(' ');
const SUPER_U8 = (
  's_def_hash_version s_log_groups_per_flex s_checksum_type ' +
  's_wtime_hi s_mtime_hi s_mkfs_time_hi'
).split(' ');

/** A group descriptor. Throws Missing; EUCLEAN, EBADMSG. */
export function describeGroup(vol: Ext4Volume, number: number): Record<string, unknown> {
  const group = readGroup(vol, number);
  const names: [number, string][] = [
    [F.EXT4_BG_INODE_UNINIT, 'INODE_UNINIT'],
    [F.EXT4_BG_BLOCK_UNINIT, 'BLOCK_UNINIT'],
    [F.EXT4_BG_INODE_ZEROED, 'ITABLE_ZEROED'],
  ];
  return {
    group: number,
    bg_block_bitmap: group.blockBitmap,
    bg_inode_bitmap: group.inodeBitmap,
    bg_inode_table: group.inodeTable,
    bg_free_blocks_count: group.freeClusters,
    bg_free_inodes_count: group.freeInodes,
    bg_used_dirs_count: group.usedDirs,
    bg_itable_unused: group.itableUnused,
    bg_flags: names.filter(([bit]) => hasBit(group.flags, bit)).map(([, name]) => name),
  };
}

const INODE_U32 = (
  'i_size_lo i_atime i_ctime i_mtime i_dtime i_blocks_lo i_flags i_version i_generation ' +
  'i_file_acl_lo i_size_high'
).split(' ');
const INODE_U16 = (
  'i_mode i_uid i_gid i_links_count i_blocks_high ' +
  'i_file_acl_high i_uid_high i_gid_high i_checksum_lo'
).split(' ');
const INODE_EXTRA_U32 =
  'i_ctime_extra i_mtime_extra i_atime_extra i_crtime i_crtime_extra i_version_hi i_projid'.split(
    ' ',
  );

/** An inode, in use or not. Throws Missing; EUCLEAN, EBADMSG. */
export function describeInode(vol: Ext4Volume, ino: number): Record<string, unknown> {
  const inode = vol.inodes.raw(ino);
  const out: Record<string, unknown> = { inode: ino, block: inode.pblk, offset: inode.off };
  for (const name of INODE_U16) out[name] = inode.u16(offset(name));
  for (const name of INODE_U32) out[name] = inode.u32(offset(name));
  const extra = inode.extraSize;
  if (extra > 0) out['i_extra_isize'] = extra;
  if (inode.hasExtra(F.I_CHECKSUM_HI, 2)) out['i_checksum_hi'] = inode.u16(F.I_CHECKSUM_HI);
  for (const name of INODE_EXTRA_U32) {
    if (inode.hasExtra(offset(name), 4)) out[name] = inode.u32(offset(name));
  }
  const ptr = inode.at() + F.I_BLOCK;
  const raw = vol.u8.slice(ptr, ptr + F.I_BLOCK_SIZE);
  out['i_block'] = Array.from(raw, (b) => b.toString(16).padStart(2, '0')).join('');
  return out;
}
