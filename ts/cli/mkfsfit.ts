// How large a file system must be to hold a tree: `ext4 mkfs -d TREE IMAGE fit`. Counted before anything is made:
// blocks of data without their holes, of directories as they split, of extent trees and of attributes, and what ext4
// keeps back.

import {
  closeSync,
  createReadStream,
  lstatSync,
  openSync,
  readdirSync,
  readSync,
  statSync,
} from 'node:fs';
import type { MkfsOptions } from '../mkfs/options.ts';
import { Failure, UsageError } from './errors.ts';
import { hostAttributes } from './hostattrs.ts';
import { withoutHoles } from './source.ts';
import type { Attribute } from './xattr.ts';

/** What a tree takes, in the units that matter. */
export interface Need {
  inodes: number;
  /** Bytes of each file's data, and in how many pieces they lie. */
  files: { bytes: number; runs: number }[];
  /** Bytes of entries by directory. */
  names: number[];
  /** Files whose attributes need a block. */
  attributes: number;
}

/** Bytes that entries for "." and ".." take. */
const DOTS = 24;
/** An entry under which a file is written before it has its name. */
const TEMPORARY = 56;
/** Bytes of attributes that surely fit into an inode of the usual size. */
const INSIDE = 88;
/** A target this short lies in the inode. */
const SHORT_TARGET = 60;
const CHUNK = 1 << 20;

/** What a directory of the host, or an archive in a file, needs. */
export async function measure(tree: string): Promise<Need> {
  const need: Need = { inodes: 0, files: [], names: [], attributes: 0 };
  if (tree === '-')
    throw new UsageError('fit needs a directory or a file: standard input is read once');
  if (!statSync(tree).isDirectory()) await measureArchive(tree, need);
  else measureDirectory(tree, need, new Set(), hostAttributes(tree));
  return need;
}

type AttributesOf = (path: string) => Attribute[];

function measureDirectory(path: string, need: Need, seen: Set<number>, of: AttributesOf): void {
  let names = DOTS;
  for (const name of readdirSync(path)) {
    const below = `${path}/${name}`;
    const stat = lstatSync(below);
    names += entryBytes(Buffer.byteLength(name));
    if (stat.isDirectory()) measureDirectory(below, need, seen, of);
    else if (stat.nlink === 1 || !seen.has(stat.ino)) {
      seen.add(stat.ino);
      need.inodes++;
      countAttributes(need, of(below));
      const holes = stat.isFile() && stat.blocks * 512 < stat.size;
      if (holes) need.files.push(sparse(below));
      else if (stat.isFile()) addFile(need, stat.size, 1);
      else if (stat.isSymbolicLink() && stat.size >= SHORT_TARGET) addFile(need, stat.size, 1);
    }
  }
  need.inodes++;
  countAttributes(need, of(path));
  need.names.push(names);
}

function entryBytes(length: number): number {
  return 8 + Math.ceil(length / 4) * 4;
}

function addFile(need: Need, bytes: number, runs: number): void {
  if (bytes > 0) need.files.push({ bytes, runs });
}

function countAttributes(need: Need, attributes: { name: unknown; value: Uint8Array }[]): void {
  let bytes = 0;
  for (const { name, value } of attributes) {
    const length = (name as string | Uint8Array).length;
    bytes += 16 + Math.ceil(length / 4) * 4 + Math.ceil(value.length / 4) * 4;
  }
  if (bytes > INSIDE) need.attributes += Math.ceil(bytes / 1024);
}

/** What is left of a file without its holes, found as the copy finds it. */
function sparse(path: string): { bytes: number; runs: number } {
  const fd = openSync(path, 'r');
  const found = { bytes: 0, runs: 0 };
  const buffer = Buffer.allocUnsafeSlow(CHUNK);
  try {
    for (let pos = 0; ; ) {
      const count = readSync(fd, buffer, 0, CHUNK, pos);
      if (count === 0) return found;
      for (const { bytes } of withoutHoles(pos, buffer.subarray(0, count))) {
        found.bytes += bytes.length;
        found.runs++;
      }
      pos += count;
    }
  } finally {
    closeSync(fd);
  }
}

async function measureArchive(tree: string, need: Need): Promise<void> {
  const { unpack } = await import('../tar/index.ts');
  const input = createReadStream(tree) as AsyncIterable<Uint8Array>;
  const directories = new Map<string, number>([['', DOTS]]);
  for await (const { entry } of unpack(input)) {
    const path = Buffer.from(entry.path)
      .toString('latin1')
      .replace(/^(\.?\/)+|\/+$/g, '');
    const cut = path.lastIndexOf('/');
    const parent = cut < 0 ? '' : path.slice(0, cut);
    directories.set(parent, (directories.get(parent) ?? DOTS) + entryBytes(path.length - cut - 1));
    if (entry.type === 'dir') directories.set(path, directories.get(path) ?? DOTS);
    if (entry.type === 'link') continue;
    need.inodes++;
    countAttributes(need, entry.xattrs ?? []);
    const { segments, size, link } = entry;
    const stored = segments ? segments.reduce((sum, { len }) => sum + len, 0) : size;
    if (entry.type === 'file') addFile(need, stored, Math.max(1, segments?.length ?? 1));
    else if (link && link.length >= SHORT_TARGET) addFile(need, link.length, 1);
  }
  need.names.push(...directories.values());
}

/** Bytes of the least file system that holds it, as far as can be told beforehand. EINVAL when none does. */
export async function fitting(need: Need, options: MkfsOptions): Promise<number> {
  const { checkMkfs } = await import('../api/mkfs.ts');
  const holds = (size: number): boolean => {
    try {
      const made = checkMkfs(size, { ...options, size });
      const { blocks, blockSize, freeBlocks, freeInodes } = made;
      const cluster = options.clusterSize ?? blockSize;
      // What ext4 never gives to files: a fiftieth, at most 4,096 clusters.
      const kept = Math.min(blocks / 50, (4096 * cluster) / blockSize);
      return freeInodes >= need.inodes && freeBlocks - kept >= blocksOf(need, blockSize, cluster);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EINVAL') return false;
      throw error;
    }
  };
  let high = 2 ** 16;
  while (!holds(high)) {
    high *= 2;
    if (high > 2 ** 50) throw new Failure('no size fits');
  }
  let low = high / 2;
  while (high - low > Math.max(16384, high / 256)) {
    const middle = low + Math.floor((high - low) / 2 / 4096) * 4096;
    if (holds(middle)) high = middle;
    else low = middle;
  }
  return high;
}

/** Blocks of data, directories, attributes and trees. */
function blocksOf(need: Need, blockSize: number, cluster: number): number {
  const per = cluster / blockSize;
  let clusters = Math.ceil(8 / per);
  for (const { bytes, runs } of need.files) {
    // Pieces begin and end within clusters that are larger than they.
    clusters += Math.ceil(bytes / cluster) + (cluster > 4096 && runs > 1 ? runs : 0);
    clusters += treeBlocks(Math.max(runs, Math.ceil(bytes / (64 << 20))), blockSize);
  }
  for (const bytes of need.names) clusters += Math.ceil(directoryBlocks(bytes, blockSize) / per);
  return (clusters + need.attributes) * per;
}

/** Blocks of an extent tree: four extents are in the inode; others fill blocks by half at least. */
function treeBlocks(extents: number, blockSize: number): number {
  return extents <= 4 ? 0 : Math.ceil(extents / Math.floor((blockSize - 16) / 24)) + 1;
}

/** Blocks of a directory: those that split are half full at first, two thirds in the long run. */
function directoryBlocks(bytes: number, blockSize: number): number {
  if (bytes + TEMPORARY <= blockSize - 12) return 1;
  const full = (bytes + TEMPORARY) / (blockSize - 24);
  return full < 16 ? Math.ceil(2 * full) + 1 : Math.ceil(full * 1.5) + 4;
}
