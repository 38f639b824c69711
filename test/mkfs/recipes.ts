// The product that mkfs is tested on: block size × inode size × features × size, and options that change the layout.
// Each part carries mke2fs's words and the same for us.

import type { MkfsOptions } from '../../ts/index.ts';
import type { Recipe } from './images.ts';

interface Part {
  words: string[];
  options: MkfsOptions;
}

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const TIB = 2 ** 40;

export const BLOCK_SIZES = [1024, 2048, 4096, 8192, 16384, 32768, 65536];
export const INODE_SIZES = [128, 256, 512, 1024];
/** 1.47.0 makes the orphan file of blocks of 32 and 64 KiB larger than the kernel reads when there are many. */
export const SIZES = [
  MIB,
  2 * MIB,
  3 * MIB + 5000,
  8 * MIB,
  33 * MIB,
  64 * MIB,
  129 * MIB,
  300 * MIB,
  513 * MIB,
  GIB,
  5 * GIB,
  17 * GIB,
];
export const LARGE_SIZES = [100 * GIB, TIB, 2 * TIB, 15 * TIB];

/** Feature lists as -O takes them; the second is what mke2fs needs to be told besides. */
const FEATURES: readonly (readonly [ours: string, more?: string])[] = [
  [''],
  ['^has_journal', '^orphan_file'],
  ['^resize_inode'],
  ['^flex_bg'],
  ['^64bit'],
  ['^64bit,^extent'],
  ['^metadata_csum', '^metadata_csum_seed'],
  ['^metadata_csum,uninit_bg', '^metadata_csum_seed'],
  ['^metadata_csum,uninit_bg,^flex_bg', '^metadata_csum_seed'],
  ['^metadata_csum_seed,^orphan_file'],
  ['sparse_super2'],
  ['sparse_super2,^resize_inode'],
  ['meta_bg,^resize_inode'],
  ['meta_bg,^resize_inode,^flex_bg,^64bit'],
  ['^sparse_super,^resize_inode'],
  ['^huge_file,^dir_nlink,^extra_isize'],
  ['^filetype,^dir_index,^ext_attr,^large_file'],
  ['fast_commit'],
  ['mmp'],
  ['inline_data'],
  ['ea_inode,large_dir,stable_inodes'],
  ['encrypt,project'],
  ['verity'],
  ['casefold'],
  ['bigalloc'],
  ['bigalloc,^resize_inode,^has_journal', '^orphan_file'],
];

const MORE: Part[] = [
  part([], {}),
  part(['-t', 'ext2'], { type: 'ext2' }),
  part(['-t', 'ext3'], { type: 'ext3' }),
  part(['-N', '3000'], { inodes: 3000 }),
  part(['-N', '16'], { inodes: 16 }),
  part(['-i', '2048'], { inodeRatio: 2048 }),
  part(['-T', 'largefile4'], { usage: 'largefile4' }),
  part(['-T', 'news'], { usage: 'news' }),
  part(['-m', '0'], { reservedPercent: 0 }),
  part(['-m', '33.3'], { reservedPercent: 33.3 }),
  part(['-G', '4'], { flexBgSize: 4 }),
  part(['-G', '64'], { flexBgSize: 64 }),
  part(['-g', '2048'], { blocksPerGroup: 2048 }),
  part(['-L', 'a label', '-M', '/mnt/x'], { label: 'a label', lastMounted: '/mnt/x' }),
  part(['-e', 'remount-ro'], { errors: 'remount-ro' }),
  part(['-E', 'packed_meta_blocks=1'], { packedMetaBlocks: true }),
  part(['-E', 'stride=4,stripe_width=16'], { stride: 4, stripeWidth: 16 }),
  part(['-E', 'stride=9', '-t', 'ext3'], { stride: 9, type: 'ext3' }),
  part(['-E', 'lazy_itable_init=0'], { lazyItableInit: false }),
  part(['-E', 'root_owner=5:70000'], { rootOwner: { uid: 5, gid: 70000 } }),
  part(['-E', 'desc_size=128'], { descSize: 128 }),
  part(['-E', 'resize=100000'], { resize: 100000 }),
  part(['-E', 'resize=40000000'], { resize: 40000000 }),
  part(['-E', 'num_backup_sb=1', '-O', 'sparse_super2'], {
    numBackupSb: 1,
    features: 'sparse_super2',
  }),
  part(['-J', 'location=5000'], { journal: { location: 5000 } }),
  part(['-J', 'size=4'], { journal: { size: 4 * MIB } }),
];

function part(words: string[], options: MkfsOptions): Part {
  return { words, options };
}

/** The recipe of a point in the product. */
export function recipe(
  blockSize: number | undefined,
  inodeSize: number | undefined,
  features: number,
  size: number,
  more: number,
): Recipe {
  const [own, besides] = FEATURES[features];
  const extra = MORE[more];
  const words = [...extra.words];
  const options: MkfsOptions = { ...extra.options };
  if (!extra.words.includes('-t')) words.push('-t', 'ext4');
  if (own) {
    words.push('-O', besides ? `${own},${besides}` : own);
    options.features = own;
  }
  if (blockSize) {
    words.push('-b', String(blockSize));
    options.blockSize = blockSize;
  }
  if (inodeSize) {
    words.push('-I', String(inodeSize));
    options.inodeSize = inodeSize;
  }
  return { size, words, options };
}

const option = (text: string) => MORE.findIndex(({ words }) => words[1] === text);
/** The option that says where the log is to lie. */
export const LOCATION = option('location=5000');
/** The option that leaves inode 11 in a later group. */
export const FEW = option('16');
/** The option that brings all tables to the front. */
export const PACKED = option('packed_meta_blocks=1');
/** Options that say how far it is to grow. */
export const GROWTH = [option('resize=100000'), option('resize=40000000')];
export const COUNTS = { features: FEATURES.length, more: MORE.length };

/** Numbers from a seed (mulberry32): the same list on every machine. */
export function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

/** `count` points of the product, chosen by a seed. */
export function sample(seed: number, count: number, sizes = SIZES): Recipe[] {
  const pick = random(seed);
  const of = <T>(list: readonly T[]): T => list[pick(list.length)];
  return Array.from({ length: count }, () => {
    const blockSize = of([undefined, ...BLOCK_SIZES, 1024, 4096, 4096]);
    const inodeSize = of([undefined, undefined, ...INODE_SIZES]);
    const more = pick(3) === 0 ? pick(COUNTS.more) : 0;
    const { type, features: own } = MORE[more].options;
    const features = type || own ? 0 : pick(COUNTS.features);
    return recipe(blockSize, inodeSize, features, of(sizes), more);
  });
}
