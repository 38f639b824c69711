// Which path a file's data takes, decided once, when the inode enters memory. Inline data is a state before the
// choice. The rules are those of the kernel series "ext4: use iomap for regular file's buffered I/O path".

import * as F from '../../assembly/format/ext4.ts';
import { hasBit } from './features.ts';
import type { Inode } from './inode.ts';

export type DataPath = 'dax' | 'journalled' | 'iomap' | 'bufferhead' | 'inline';

/** Features that keep every inode of a file system off the iomap path. */
const NOT_IOMAP = F.INCOMPAT_INLINE_DATA | F.INCOMPAT_ENCRYPT;

export function choosePath(inode: Inode): DataPath {
  const { options, sb } = inode.vol;
  if (inode.has(F.EXT4_INLINE_DATA_FL)) return 'inline';
  if (!inode.isFile) return 'bufferhead';
  if (usesDax(inode)) return 'dax';
  if (options.data === 'journal' || inode.has(F.EXT4_JOURNAL_DATA_FL | F.EXT4_EA_INODE_FL)) {
    return 'journalled';
  }
  const plain = !hasBit(sb.incompat, NOT_IOMAP) && !hasBit(sb.roCompat, F.RO_COMPAT_VERITY);
  return options.bufferedIomap && plain && inode.has(F.EXT4_EXTENTS_FL) ? 'iomap' : 'bufferhead';
}

function usesDax(inode: Inode): boolean {
  const { options, device } = inode.vol;
  if (device.direct === undefined || options.dax === 'never') return false;
  if (options.data === 'journal' || inode.has(F.EXT4_JOURNAL_DATA_FL)) return false;
  if (inode.has(F.EXT4_ENCRYPT_FL | F.EXT4_VERITY_FL)) return false;
  return options.dax === 'always' || inode.has(F.EXT4_DAX_FL);
}
