// The defaults that e2fsprogs' mke2fs.conf gives: features by type, block size and inode ratio by usage and size.

import { Ext4Error } from '../errno.ts';
import type { MkfsOptions } from './options.ts';

export interface Profile {
  features: string;
  /** Undefined: chosen by the size of the device. */
  blockSize: number | undefined;
  inodeSize: number;
  inodeRatio: number;
}

const MIB = 2 ** 20;
const TIB = 2 ** 40;

const BASE = 'sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr';
const EXT4 = 'has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize';
const TYPES: Record<string, Record<string, string>> = {
  ext2: { upstream: '', debian: '' },
  ext3: { upstream: 'has_journal', debian: 'has_journal' },
  ext4: { upstream: `${EXT4},metadata_csum_seed,orphan_file`, debian: EXT4 },
};

const USAGES: Record<string, Partial<Profile>> = {
  default: {},
  small: { blockSize: 1024, inodeRatio: 4096 },
  floppy: { blockSize: 1024, inodeRatio: 8192 },
  big: { inodeRatio: 32768 },
  huge: { inodeRatio: 65536 },
  news: { inodeRatio: 4096 },
  largefile: { inodeRatio: 1048576, blockSize: undefined },
  largefile4: { inodeRatio: 4194304, blockSize: undefined },
  hurd: { blockSize: 4096, inodeSize: 128 },
};

/** The usage that a size stands for when none was asked for. */
function usageOf(size: number): string {
  if (size < 3 * MIB) return 'floppy';
  if (size < 512 * MIB) return 'small';
  if (size < 4 * TIB) return 'default';
  return size < 16 * TIB ? 'big' : 'huge';
}

/** The profile for a file system of `size` bytes. EINVAL for a type, preset or usage that there is not. */
export function profileOf(o: MkfsOptions, size: number): Profile {
  const type = TYPES[o.type ?? 'ext4'];
  if (type === undefined) throw new Ext4Error('EINVAL', `no file system type '${o.type}'`);
  const own = type[o.preset ?? 'upstream'];
  if (own === undefined) throw new Ext4Error('EINVAL', `no preset '${o.preset}'`);
  const profile: Profile = {
    features: own ? `${BASE},${own}` : BASE,
    blockSize: 4096,
    inodeSize: 256,
    inodeRatio: 16384,
  };
  for (const name of (o.usage ?? usageOf(size)).split(',')) {
    if (!Object.hasOwn(USAGES, name)) throw new Ext4Error('EINVAL', `no usage type '${name}'`);
    Object.assign(profile, USAGES[name]);
  }
  return profile;
}
