// The images that data tests write to: one for each path of data and block size, small, so that a copy is cheap.

import type { DataPath } from '../../ts/ext4/datapath.ts';
import type { MountOptions } from '../../ts/vfs/options.ts';
import { DEEP } from '../need.ts';

export interface Kind {
  args: string;
  /** MiB. */
  size: number;
  /** Bytes. */
  block: number;
  options: MountOptions;
  /** The path of a file that has blocks. */
  path: DataPath;
  /** Whether files have extents; else block maps. */
  extents: boolean;
  /** Bytes of what is allocated at once. */
  cluster: number;
}

type Part = Partial<Kind> & { path: DataPath };

function kind(block: number, { args = '', ...rest }: Part): Kind {
  const journal = block / 1024;
  const size = block === 4096 ? 12 : 8;
  const more = `-b ${block} -J size=${journal} -N 256${args && ` ${args}`}`;
  const options = { dax: 'never' as const, ...rest.options };
  const base = { size, block, cluster: block, extents: true };
  return { ...base, ...rest, options, args: `-t ext4 ${more}` };
}

const NO_EXTENTS = '-O ^extent,^64bit,^metadata_csum';

export const KINDS = {
  'iomap 1k': kind(1024, { path: 'iomap' }),
  'iomap 2k': kind(2048, { path: 'iomap' }),
  'iomap 4k': kind(4096, { path: 'iomap' }),
  'nodelalloc 4k': kind(4096, { path: 'iomap', options: { delalloc: false } }),
  'nodelalloc 1k': kind(1024, { path: 'iomap', options: { delalloc: false } }),
  'bufferhead 1k': kind(1024, { path: 'bufferhead', options: { bufferedIomap: false } }),
  'bufferhead 2k': kind(2048, { path: 'bufferhead', options: { bufferedIomap: false } }),
  'bufferhead 4k': kind(4096, { path: 'bufferhead', options: { bufferedIomap: false } }),
  'indirect 1k': kind(1024, { path: 'bufferhead', extents: false, args: NO_EXTENTS }),
  'indirect 4k': kind(4096, { path: 'bufferhead', extents: false, args: NO_EXTENTS }),
  'journalled 1k': kind(1024, { path: 'journalled', options: { data: 'journal' } }),
  'journalled 4k': kind(4096, { path: 'journalled', options: { data: 'journal' } }),
  'dax 1k': kind(1024, { path: 'dax', options: { dax: 'always' } }),
  'dax 4k': kind(4096, { path: 'dax', options: { dax: 'always' } }),
  'inline 4k': kind(4096, { path: 'bufferhead', args: '-O inline_data -I 256' }),
  bigalloc: kind(4096, { path: 'iomap', args: '-O bigalloc -C 16384', cluster: 16384 }),
  'bigalloc bufferhead': kind(4096, {
    path: 'bufferhead',
    args: '-O bigalloc -C 16384',
    cluster: 16384,
    options: { bufferedIomap: false },
  }),
} satisfies Record<string, Kind>;

export type KindName = keyof typeof KINDS;

export const NAMES = Object.keys(KINDS) as KindName[];

/** Those that fulfil a condition. */
export function kindsWith(wanted: (kind: Kind, name: KindName) => boolean): KindName[] {
  return NAMES.filter((name) => wanted(KINDS[name], name));
}

/** Those with extents and no clusters: all of the fallocate family in units of blocks. */
export const EXTENTS = kindsWith((k) => k.extents && k.cluster === k.block);
/** Block by block, of 4 KiB. */
export const FOUR = kindsWith((k) => k.block === 4096 && k.cluster === 4096);
/** One of each way that data goes, for power cuts: hundreds of mounts each. */
export const CUT: KindName[] = DEEP
  ? NAMES
  : [
      ...(['iomap 1k', 'iomap 4k', 'nodelalloc 4k', 'bufferhead 4k', 'indirect 4k'] as const),
      ...(['journalled 4k', 'dax 4k', 'inline 4k', 'bigalloc'] as const),
    ];
/** One of each path, for what takes its time. */
export const PATHS: KindName[] = [
  ...(['iomap 1k', 'iomap 4k', 'bufferhead 4k', 'indirect 4k'] as const),
  ...(['journalled 4k', 'dax 4k'] as const),
];
