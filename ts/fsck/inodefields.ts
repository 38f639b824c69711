// The fields of one inode in use: flags against features, values that must be zero, the size of the extra part. No
// device is read here; what is mended is mended in the record.

import * as F from '../../assembly/format/ext4.ts';
import { hasBit } from '../ext4/features.ts';
import type { Record } from './record.ts';
import type { Volume } from './volume.ts';

/** The type that a directory entry has for an inode's mode; 0 when the mode has none. */
export function entryType(mode: number): number {
  switch (mode & F.S_IFMT) {
    case F.S_IFREG:
      return F.EXT4_FT_REG_FILE;
    case F.S_IFDIR:
      return F.EXT4_FT_DIR;
    case F.S_IFCHR:
      return F.EXT4_FT_CHRDEV;
    case F.S_IFBLK:
      return F.EXT4_FT_BLKDEV;
    case F.S_IFIFO:
      return F.EXT4_FT_FIFO;
    case F.S_IFSOCK:
      return F.EXT4_FT_SOCK;
    case F.S_IFLNK:
      return F.EXT4_FT_SYMLINK;
    default:
      return F.EXT4_FT_UNKNOWN;
  }
}

/** Checks the fields that every inode in use has. */
export function checkFields(vol: Volume, record: Record): void {
  const { ino } = record;
  const { report } = vol;
  if (record.u32(F.I_DTIME) !== 0) {
    const text = `inode ${ino} is in use and has a time of deletion`;
    if (report.report('inode-dtime', { ino }, text)) record.put32(F.I_DTIME, 0);
  }
  checkExtra(vol, record);
  if (record.flags !== 0) checkFlags(vol, record);
  checkZeroes(vol, record);
}

function checkExtra(vol: Volume, record: Record): void {
  const { sb } = vol;
  if (sb.inodeSize === F.EXT4_GOOD_OLD_INODE_SIZE) return;
  const extra = record.u16(F.I_EXTRA_ISIZE);
  const room = sb.inodeSize - F.EXT4_GOOD_OLD_INODE_SIZE;
  if (extra === 0 || (extra >= 4 && extra <= room && extra % 4 === 0)) return;
  const { ino } = record;
  const text = `inode ${ino} has ${extra} bytes of extra fields`;
  if (!vol.report.report('inode-extra-size', { ino }, text)) return;
  const want = sb.u16(F.S_WANT_EXTRA_ISIZE);
  record.put16(F.I_EXTRA_ISIZE, want >= 4 && want <= room && want % 4 === 0 ? want : 28);
}

const JUDGED =
  F.EXT4_INDEX_FL |
  F.EXT4_CASEFOLD_FL |
  F.EXT4_VERITY_FL |
  F.EXT4_IMMUTABLE_FL |
  F.EXT4_APPEND_FL |
  F.EXT4_IMAGIC_FL;

/** Flags that need a feature, or a type. */
function checkFlags(vol: Volume, record: Record): void {
  const isDir = record.type === F.S_IFDIR;
  if ((record.flags & JUDGED) === 0) return;
  const drop = (flag: number, name: string, why: string) => {
    if (!record.has(flag)) return;
    const { ino } = record;
    const text = `inode ${ino} has the flag ${name} ${why}`;
    if (vol.report.report(`flag-${name.replace('_', '-')}`, { ino }, text)) record.clearFlag(flag);
  };
  if (!isDir) drop(F.EXT4_INDEX_FL, 'index', 'but is no directory');
  else if (!vol.compat(F.COMPAT_DIR_INDEX)) drop(F.EXT4_INDEX_FL, 'index', 'without the feature');
  if (!isDir) drop(F.EXT4_CASEFOLD_FL, 'casefold', 'but is no directory');
  else if (!vol.incompat(F.INCOMPAT_CASEFOLD))
    drop(F.EXT4_CASEFOLD_FL, 'casefold', 'without the feature');
  if (!vol.roCompat(F.RO_COMPAT_VERITY)) drop(F.EXT4_VERITY_FL, 'verity', 'without the feature');
  if (!vol.compat(F.COMPAT_IMAGIC_INODES)) drop(F.EXT4_IMAGIC_FL, 'imagic', 'without the feature');
  const special = record.type !== F.S_IFREG && !isDir;
  const fixed = F.EXT4_IMMUTABLE_FL | F.EXT4_APPEND_FL;
  if (special && hasBit(record.flags, fixed)) {
    const { ino } = record;
    const text = `inode ${ino} is special and marked immutable or append-only`;
    if (vol.report.report('flag-immutable', { ino }, text)) record.clearFlag(fixed);
  }
}

/** Fields that must be zero unless a feature gives them a meaning. */
function checkZeroes(vol: Volume, record: Record): void {
  if (
    record.u32(F.I_OBSO_FADDR) === 0 &&
    record.u16(F.I_FILE_ACL_HIGH) === 0 &&
    record.u16(F.I_BLOCKS_HIGH) === 0 &&
    record.u32(F.I_SIZE_HIGH) === 0 &&
    record.u32(F.I_FILE_ACL_LO) === 0
  ) {
    return;
  }
  const { ino } = record;
  const zero = (code: string, value: number, put: () => void) => {
    if (value === 0) return;
    if (vol.report.report(code, { ino }, `inode ${ino}: ${code} is ${value}, not zero`)) put();
  };
  zero('i_obso_faddr', record.u32(F.I_OBSO_FADDR), () => record.put32(F.I_OBSO_FADDR, 0));
  if (!vol.has64)
    zero('i_file_acl_high', record.u16(F.I_FILE_ACL_HIGH), () =>
      record.put16(F.I_FILE_ACL_HIGH, 0),
    );
  if (!vol.roCompat(F.RO_COMPAT_HUGE_FILE))
    zero('i_blocks_high', record.u16(F.I_BLOCKS_HIGH), () => record.put16(F.I_BLOCKS_HIGH, 0));
  const sized =
    record.type === F.S_IFREG || (record.type === F.S_IFDIR && vol.incompat(F.INCOMPAT_LARGEDIR));
  if (!sized) zero('i_size_high', record.u32(F.I_SIZE_HIGH), () => record.put32(F.I_SIZE_HIGH, 0));
  if (!vol.compat(F.COMPAT_EXT_ATTR) && record.u32(F.I_FILE_ACL_LO) !== 0)
    zero('i_file_acl', record.fileAcl, () => record.setFileAcl(0));
}
