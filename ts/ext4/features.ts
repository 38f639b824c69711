// Features by name, as mke2fs and dumpe2fs spell them, and which of them this library can read.

import * as F from '../../assembly/format/ext4.ts';

type Names = readonly (readonly [bit: number, name: string])[];

export const COMPAT_NAMES: Names = [
  [F.COMPAT_DIR_PREALLOC, 'dir_prealloc'],
  [F.COMPAT_IMAGIC_INODES, 'imagic_inodes'],
  [F.COMPAT_HAS_JOURNAL, 'has_journal'],
  [F.COMPAT_EXT_ATTR, 'ext_attr'],
  [F.COMPAT_RESIZE_INODE, 'resize_inode'],
  [F.COMPAT_DIR_INDEX, 'dir_index'],
  [F.COMPAT_LAZY_BG, 'lazy_bg'],
  [F.COMPAT_EXCLUDE_BITMAP, 'snapshot_bitmap'],
  [F.COMPAT_SPARSE_SUPER2, 'sparse_super2'],
  [F.COMPAT_FAST_COMMIT, 'fast_commit'],
  [F.COMPAT_STABLE_INODES, 'stable_inodes'],
  [F.COMPAT_ORPHAN_FILE, 'orphan_file'],
];

export const INCOMPAT_NAMES: Names = [
  [F.INCOMPAT_COMPRESSION, 'compression'],
  [F.INCOMPAT_FILETYPE, 'filetype'],
  [F.INCOMPAT_RECOVER, 'needs_recovery'],
  [F.INCOMPAT_JOURNAL_DEV, 'journal_dev'],
  [F.INCOMPAT_META_BG, 'meta_bg'],
  [F.INCOMPAT_EXTENTS, 'extent'],
  [F.INCOMPAT_64BIT, '64bit'],
  [F.INCOMPAT_MMP, 'mmp'],
  [F.INCOMPAT_FLEX_BG, 'flex_bg'],
  [F.INCOMPAT_EA_INODE, 'ea_inode'],
  [F.INCOMPAT_DIRDATA, 'dirdata'],
  [F.INCOMPAT_CSUM_SEED, 'metadata_csum_seed'],
  [F.INCOMPAT_LARGEDIR, 'large_dir'],
  [F.INCOMPAT_INLINE_DATA, 'inline_data'],
  [F.INCOMPAT_ENCRYPT, 'encrypt'],
  [F.INCOMPAT_CASEFOLD, 'casefold'],
];

export const RO_COMPAT_NAMES: Names = [
  [F.RO_COMPAT_SPARSE_SUPER, 'sparse_super'],
  [F.RO_COMPAT_LARGE_FILE, 'large_file'],
  [F.RO_COMPAT_BTREE_DIR, 'btree_dir'],
  [F.RO_COMPAT_HUGE_FILE, 'huge_file'],
  [F.RO_COMPAT_GDT_CSUM, 'uninit_bg'],
  [F.RO_COMPAT_DIR_NLINK, 'dir_nlink'],
  [F.RO_COMPAT_EXTRA_ISIZE, 'extra_isize'],
  [F.RO_COMPAT_HAS_SNAPSHOT, 'snapshot'],
  [F.RO_COMPAT_QUOTA, 'quota'],
  [F.RO_COMPAT_BIGALLOC, 'bigalloc'],
  [F.RO_COMPAT_METADATA_CSUM, 'metadata_csum'],
  [F.RO_COMPAT_REPLICA, 'replica'],
  [F.RO_COMPAT_READONLY, 'read-only'],
  [F.RO_COMPAT_PROJECT, 'project'],
  [F.RO_COMPAT_SHARED_BLOCKS, 'shared_blocks'],
  [F.RO_COMPAT_VERITY, 'verity'],
  [F.RO_COMPAT_ORPHAN_PRESENT, 'orphan_present'],
];

/** Incompatible features without which a reader would show wrong things. */
const INCOMPAT_READABLE =
  F.INCOMPAT_FILETYPE |
  F.INCOMPAT_RECOVER |
  F.INCOMPAT_META_BG |
  F.INCOMPAT_EXTENTS |
  F.INCOMPAT_64BIT |
  F.INCOMPAT_MMP |
  F.INCOMPAT_FLEX_BG |
  F.INCOMPAT_EA_INODE |
  F.INCOMPAT_CSUM_SEED |
  F.INCOMPAT_LARGEDIR |
  F.INCOMPAT_INLINE_DATA |
  F.INCOMPAT_ENCRYPT |
  F.INCOMPAT_CASEFOLD;

/** Read-only-compatible features that a writer of this library honours. */
const RO_COMPAT_WRITABLE =
  F.RO_COMPAT_SPARSE_SUPER |
  F.RO_COMPAT_LARGE_FILE |
  F.RO_COMPAT_HUGE_FILE |
  F.RO_COMPAT_GDT_CSUM |
  F.RO_COMPAT_DIR_NLINK |
  F.RO_COMPAT_EXTRA_ISIZE |
  F.RO_COMPAT_BIGALLOC |
  F.RO_COMPAT_METADATA_CSUM |
  F.RO_COMPAT_PROJECT |
  F.RO_COMPAT_VERITY |
  F.RO_COMPAT_ORPHAN_PRESENT;

/** Names of the set bits; a bit without a name is `prefix` and its number. */
export function featureNames(names: Names, bits: number, prefix: string): string[] {
  const found: string[] = [];
  for (let bit = 0; bit < 32; bit++) {
    const mask = 2 ** bit;
    if (!hasBit(bits, mask)) continue;
    const known = names.find(([value]) => value === mask);
    found.push(known?.[1] ?? `${prefix}_${mask.toString(16)}`);
  }
  return found;
}

/** The incompatible features that forbid reading. */
export function unreadable(incompat: number): string[] {
  return featureNames(INCOMPAT_NAMES, (incompat & ~INCOMPAT_READABLE) >>> 0, 'FEATURE_I');
}

/** The features that forbid writing; of encrypted directories and files each change is judged by itself. */
export function unwritable(roCompat: number): string[] {
  return featureNames(RO_COMPAT_NAMES, (roCompat & ~RO_COMPAT_WRITABLE) >>> 0, 'FEATURE_R');
}

export function hasBit(bits: number, mask: number): boolean {
  return (bits & mask) !== 0;
}
