// Images to write to, one for each set of features, made once a process in memory-backed files;
// and what e2fsck and our own recovery say of a state of such an image.

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { memoryDevice } from '../../ts/block/memory.ts';
import { type FileSystem, mountVfsSync } from '../../ts/vfs/filesystem.ts';
import type { MountOptions } from '../../ts/vfs/options.ts';
import { which } from '../need.ts';

export interface FeatureSet {
  /** Arguments of mke2fs, blocks included. */
  args: string;
  /** MiB. */
  size: number;
  inodeSize?: number;
  /** Xattrs may have values up to 64 KiB. */
  large?: boolean;
}

const EXT4 = '-t ext4 -b 4096';

const OLD = '^flex_bg,^huge_file,^dir_nlink,^extra_isize,^resize_inode,sparse_super2';

/** Every set is written to by every test that takes its time. Not here: journals on devices of their own
 *  (journaldev.test.ts); what mounts are read-only with: quota, shared_blocks, read-only; what no mount reads:
 *  compression, dirdata, snapshots. Names that fold and encrypted ones have tests of their own. */
export const SETS: Record<string, FeatureSet> = {
  ext2: { args: '-t ext2 -b 1024', size: 16 },
  ext3: { args: '-t ext3 -b 4096', size: 32 },
  ext4: { args: EXT4, size: 32 },
  'ext4 1k': { args: '-t ext4 -b 1024', size: 24 },
  'ext4 2k, no journal': { args: '-t ext4 -b 2048 -O ^has_journal', size: 24 },
  'no metadata_csum': { args: `${EXT4} -O ^metadata_csum,^uninit_bg`, size: 32 },
  uninit_bg: { args: '-t ext4 -b 1024 -O ^metadata_csum,uninit_bg', size: 24 },
  meta_bg: { args: '-t ext4 -b 1024 -O meta_bg,^resize_inode', size: 24 },
  bigalloc: { args: `${EXT4} -O bigalloc -C 16384`, size: 32 },
  inline_data: { args: `${EXT4} -O inline_data -I 256`, size: 32 },
  ea_inode: { args: '-t ext4 -b 1024 -O ea_inode', size: 32, large: true },
  '128-byte inodes': { args: `${EXT4} -I 128 -O ^metadata_csum`, size: 32, inodeSize: 128 },
  orphan_file: { args: `${EXT4} -O orphan_file`, size: 32 },
  large_dir: { args: '-t ext4 -b 1024 -O large_dir', size: 24 },
  'no dir_index': { args: '-t ext4 -b 1024 -O ^dir_index', size: 24 },
  'no extents': { args: '-t ext4 -b 1024 -O ^extent,^64bit', size: 24 },
  'no 64bit': { args: `${EXT4} -O ^64bit`, size: 32 },
  stripe: { args: '-t ext4 -b 1024 -E stride=16,stripe-width=64', size: 24 },
  'old layout': { args: `${EXT4} -O ${OLD}`, size: 32 },
  'fast_commit, csum_seed': { args: `${EXT4} -O fast_commit,metadata_csum_seed`, size: 32 },
  project: { args: `${EXT4} -I 256 -O project`, size: 32 },
  mmp: { args: `${EXT4} -O mmp`, size: 32 },
  encrypt: { args: `${EXT4} -O encrypt`, size: 32 },
  'casefold, verity': { args: `${EXT4} -E encoding=utf8 -O casefold,verity`, size: 32 },
};

const base = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'ext4-write-'));
process.on('exit', () => rmSync(base, { recursive: true, force: true }));

/** A path for a file that goes when the process ends. */
export function scratch(name: string): string {
  return join(base, name);
}

// Names hash, and checksums begin, with these: a seed that finds a fault finds it again.
const SEED = Number(process.env.EXT4_SEED ?? process.env.SEED ?? 1);
const UUID = `${SEED.toString(16).padStart(8, '0')}-6578-4434-8877-61736d657874`;
const FIXED = 'lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0';

const made = new Map<string, Uint8Array>();

/** A fresh image. Always the same bytes for the same arguments, times aside. */
export function makeImage({ args, size }: FeatureSet): Uint8Array {
  const key = `${args} ${size}`;
  let image = made.get(key);
  if (image === undefined) {
    const path = scratch('made');
    const given = args.split(' ');
    const at = given.indexOf('-E');
    const [, extra] = at < 0 ? [] : given.splice(at, 2);
    // mke2fs takes the last -E only.
    const extended = [FIXED, `hash_seed=${UUID}`, ...(extra === undefined ? [] : [extra])];
    const command = ['-q', '-F', '-U', UUID, '-E', extended.join(), ...given, path, `${size}M`];
    execFileSync(which('mke2fs'), command, { stdio: ['ignore', 'ignore', 'pipe'] });
    image = new Uint8Array(readFileSync(path));
    rmSync(path);
    made.set(key, image);
  }
  return image.slice();
}

export function contents(device: { size: number; readSync(into: Uint8Array, dpos: number): void }) {
  const bytes = new Uint8Array(device.size);
  device.readSync(bytes, 0);
  return bytes;
}

/** What a tool prints about an image, and its exit code. */
export function tool(
  name: string,
  args: string[],
  image: Uint8Array,
): { code: number; text: string; after: () => Uint8Array } {
  const path = scratch('checked');
  writeFileSync(path, image);
  const r = spawnSync('timeout', ['-s', 'KILL', '60', which(name), ...args, path], {
    encoding: 'latin1',
    maxBuffer: 256 << 20,
  });
  return {
    code: r.status ?? -1,
    text: `${r.stdout}${r.stderr}`,
    after: () => new Uint8Array(readFileSync(path)),
  };
}

/** Empty when `e2fsck -fn` finds nothing; else what it says. */
export function fsck(image: Uint8Array): string {
  const { code, text } = tool('e2fsck', ['-fn'], image);
  return code === 0 ? '' : `e2fsck -fn exits ${code}\n${text}`;
}

/** Mounts what a power cut at this moment leaves, reads with `look`, unmounts; the image then. Nobody else has a
 *  copy mounted. */
export function recover<T>(
  image: Uint8Array,
  look: (fs: FileSystem) => T,
  o: MountOptions = {},
): { seen: T; image: Uint8Array } {
  const device = memoryDevice(image, { sparse: true });
  const fs = mountVfsSync(device, { journal: 'replay', cacheBytes: 8 << 20, clearMmp: true, ...o });
  const seen = look(fs);
  fs.runSync(fs.unmount());
  return { seen, image: contents(device) };
}
