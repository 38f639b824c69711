// Images made here, by mke2fs and the kernel: the recipes of kernel.test.ts and the commands that carry them out.

import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ORACLES, which } from '../need.ts';
import type { State } from './state.ts';

export interface Recipe {
  /** mke2fs's arguments. */
  mkfs: string;
  /** What populate.py may rely on. */
  has: string;
  size?: string;
  /** tune2fs's arguments before and after the kernel fills the image. */
  before?: string;
  after?: string;
  scale?: number;
}

export interface Extra {
  ino: number;
  blocks: number;
  blksize: number;
  atime: string;
  mtime: string;
  ctime: string;
  btime?: string;
  flags?: number;
  /** Bytes: logical, physical, length, and FIEMAP's flags. */
  fiemap?: [number, number, number, number][];
}

export interface KernelReading {
  state: State;
  extra: Record<string, Extra>;
  statfs: {
    bsize: number;
    blocks: number;
    bfree: number;
    bavail: number;
    files: number;
    ffree: number;
  };
}

/** Runs a command of e2fsprogs or Python; its output, or an error that carries it. */
export function run(tool: string, args: string[], okay: number[] = [0]): string {
  try {
    return execFileSync(which(tool), args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    const { status, stdout, stderr } = error as { status: number; stdout: string; stderr: string };
    if (okay.includes(status)) return stdout;
    throw new Error(`${tool} ${args.join(' ')}: ${status}\n${stdout}${stderr}`);
  }
}

/** A fresh image of `size` at `path`. */
export function mke2fs(path: string, size: string, options: string): void {
  rmSync(path, { force: true });
  const fixed =
    'hash_seed=0a1b2c3d-0000-1111-2222-333344445555,lazy_itable_init=0,lazy_journal_init=0';
  const uuid = '01234567-89ab-cdef-0123-456789abcdef';
  const args = ['-q', '-F', '-U', uuid, '-E', fixed, ...options.split(' ').filter(Boolean)];
  writeFileSync(path, '');
  truncateSync(path, bytesOf(size));
  run('mke2fs', [...args, path]);
}

function bytesOf(size: string): number {
  const unit = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 }[size.slice(-1)];
  return unit ? Number(size.slice(0, -1)) * unit : Number(size);
}

const POPULATE = join(import.meta.dirname, 'populate.py');
const TOOLS = join(ORACLES, 'tools');

/** Makes and fills the image of a recipe; what the kernel reads in it afterwards. */
export function makeImage(
  dir: string,
  name: string,
  recipe: Recipe,
): { path: string; kernel: KernelReading } {
  const path = join(dir, `${name}.img`);
  const [mountpoint, out] = [join(dir, `${name}.mnt`), join(dir, `${name}.json`)];
  mkdirSync(mountpoint, { recursive: true });
  mke2fs(path, recipe.size ?? '192M', recipe.mkfs);
  if (recipe.before) run('tune2fs', [...recipe.before.split(' '), path]);
  run('python3', [
    POPULATE,
    'fill',
    TOOLS,
    path,
    mountpoint,
    String(recipe.scale ?? 1),
    recipe.has,
  ]);
  if (recipe.after) run('tune2fs', [...recipe.after.split(' '), path]);
  run('python3', [POPULATE, 'read', TOOLS, path, mountpoint, out]);
  return { path, kernel: JSON.parse(readFileSync(out, 'utf8')) };
}

const EXT2 = 'ext_attr';
const EXT4 = 'ext_attr,extents';

/** Every feature that decides how something is read, each with and without its neighbours. */
export const RECIPES: Record<string, Recipe> = {
  'ext2-1k': { mkfs: '-t ext2 -b 1024 -I 128', has: EXT2 },
  'ext2-4k': { mkfs: '-t ext2 -b 4096 -I 256', has: EXT2 },
  'ext2-no-filetype': {
    mkfs: '-t ext2 -b 2048 -I 128 -O ^filetype,^sparse_super,^large_file,^resize_inode',
    has: EXT2,
  },
  'ext3-1k-dir-index': { mkfs: '-t ext3 -b 1024 -I 256 -O dir_index', has: EXT2 },
  'ext3-4k-linear': { mkfs: '-t ext3 -b 4096 -I 128 -O ^dir_index', has: EXT2 },
  'ext4-default': { mkfs: '-t ext4', has: EXT4 },
  'ext4-1k-csum-64bit': { mkfs: '-t ext4 -b 1024 -O metadata_csum,64bit', has: EXT4 },
  'ext4-2k-seed-no-flex': {
    mkfs: '-t ext4 -b 2048 -I 512 -O metadata_csum,metadata_csum_seed,^flex_bg',
    has: EXT4,
  },
  'ext4-1k-meta-bg': { mkfs: '-t ext4 -b 1024 -O meta_bg,^resize_inode,64bit -g 2048', has: EXT4 },
  'ext4-4k-meta-bg-32bit': {
    mkfs: '-t ext4 -b 4096 -O meta_bg,^resize_inode,^64bit,^metadata_csum -g 1024',
    has: EXT4,
  },
  'ext4-no-extents': { mkfs: '-t ext4 -b 4096 -O ^extent,^64bit', has: EXT2 },
  'ext4-no-extents-csum': {
    mkfs: '-t ext4 -b 1024 -O ^extent,^64bit,metadata_csum -I 1024',
    has: EXT2,
  },
  'ext4-uninit-bg': { mkfs: '-t ext4 -b 1024 -O ^metadata_csum,uninit_bg,^64bit', has: EXT4 },
  'ext4-nothing': {
    mkfs:
      '-t ext4 -b 4096 -I 128 -O ^has_journal,^metadata_csum,^64bit,^flex_bg,^dir_index,' +
      '^huge_file,^extra_isize',
    has: `${EXT4},no_huge_file`,
  },
  'ext4-bigalloc-4k': {
    mkfs: '-t ext4 -b 4096 -C 16384 -O bigalloc',
    has: `${EXT4},bigalloc`,
    size: '256M',
  },
  'ext4-bigalloc-1k': {
    mkfs: '-t ext4 -b 1024 -C 8192 -O bigalloc,metadata_csum',
    has: `${EXT4},bigalloc`,
    size: '256M',
  },
  'ext4-inline-4k': { mkfs: '-t ext4 -b 4096 -O inline_data,metadata_csum', has: EXT4 },
  'ext4-inline-1k-1024': { mkfs: '-t ext4 -b 1024 -I 1024 -O inline_data', has: EXT4 },
  'ext4-inline-no-csum': {
    mkfs: '-t ext4 -b 2048 -I 512 -O inline_data,^metadata_csum',
    has: EXT4,
  },
  'ext4-ea-inode-1k': { mkfs: '-t ext4 -b 1024 -O ea_inode', has: `${EXT4},ea_inode` },
  'ext4-ea-inode-csum-512': {
    mkfs: '-t ext4 -b 4096 -I 512 -O ea_inode,metadata_csum,inline_data',
    has: `${EXT4},ea_inode`,
  },
  'ext4-large-dir': {
    mkfs: '-t ext4 -b 1024 -O large_dir,ea_inode,inline_data',
    has: `${EXT4},ea_inode,large_dir`,
  },
  'ext4-orphan-file': { mkfs: '-t ext4 -b 4096 -O orphan_file,fast_commit', has: EXT4 },
  'ext4-quota-project': { mkfs: '-t ext4 -b 4096', has: EXT4, after: '-O quota,project' },
  'ext4-encrypt': { mkfs: '-t ext4 -b 4096 -O encrypt', has: `${EXT4},encrypt` },
  'ext4-encrypt-1k-inline': {
    mkfs: '-t ext4 -b 1024 -O encrypt,inline_data,metadata_csum',
    has: `${EXT4},encrypt`,
  },
  'ext4-mmp-stable': { mkfs: '-t ext4 -b 2048 -O mmp,stable_inodes,sparse_super2', has: EXT4 },
  'ext4-hash-tea': { mkfs: '-t ext4 -b 1024', has: EXT4, before: '-E hash_alg=tea' },
  'ext4-hash-legacy': {
    mkfs: '-t ext4 -b 1024 -O ^metadata_csum',
    has: EXT4,
    before: '-E hash_alg=legacy',
  },
  'ext4-small-groups': { mkfs: '-t ext4 -b 1024 -g 512 -G 4 -O ^resize_inode', has: EXT4 },
  'ext4-packed': { mkfs: '-t ext4 -b 4096 -E packed_meta_blocks=1 -O 64bit', has: EXT4 },
};

/** The long ones: trees of three levels. */
export const DEEP_RECIPES: Record<string, Recipe> = {
  'deep-extents-1k': {
    mkfs: '-t ext4 -b 1024 -O metadata_csum',
    has: EXT4,
    scale: 2,
    size: '256M',
  },
  'deep-large-dir': {
    mkfs: '-t ext4 -b 1024 -N 40000 -O large_dir,ea_inode,^metadata_csum',
    has: `${EXT4},ea_inode,large_dir`,
    scale: 2,
    size: '400M',
  },
};
