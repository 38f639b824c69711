// What the tests of mkfs share: one recipe made by mke2fs and by us, with the same UUID, seed and times, and what
// dumpe2fs and e2fsck say about the two.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { openFile } from '../../ts/block/node.ts';
import { type MkfsOptions, type MkfsResult, mkfsSync } from '../../ts/index.ts';
import { which } from '../need.ts';

export const UUID = '01234567-89ab-cdef-0123-456789abcdef';
export const SEED = '0a1b2c3d-0000-1111-2222-333344445555';
export const NOW = 1700000000;

/** The defaults of e2fsprogs 1.47's own mke2fs.conf; a distribution's may differ. */
const CONF = `[defaults]
	base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
	default_mntopts = acl,user_xattr
	enable_periodic_fsck = 0
	blocksize = 4096
	inode_size = 256
	inode_ratio = 16384
[fs_types]
	ext3 = {
		features = has_journal
	}
	ext4 = {
		features = has_journal,extent,huge_file,flex_bg,metadata_csum,metadata_csum_seed,64bit,\
dir_nlink,extra_isize,orphan_file
	}
	small = {
		blocksize = 1024
		inode_ratio = 4096
	}
	floppy = {
		blocksize = 1024
		inode_ratio = 8192
	}
	big = {
		inode_ratio = 32768
	}
	huge = {
		inode_ratio = 65536
	}
	news = {
		inode_ratio = 4096
	}
	largefile = {
		inode_ratio = 1048576
		blocksize = -1
	}
	largefile4 = {
		inode_ratio = 4194304
		blocksize = -1
	}
`;

/** A directory that is removed after the file's tests. */
export function temporary(): string {
  const dir = mkdtempSync(join(tmpdir(), 'ext4-mkfs-'));
  writeFileSync(join(dir, 'mke2fs.conf'), CONF);
  afterAll(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

export interface Said {
  status: number;
  out: string;
}

export function say(tool: string, args: string[], env: Record<string, string> = {}): Said {
  const { status, stdout, stderr } = spawnSync(which(tool), args, {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C', TZ: 'UTC', ...env },
    maxBuffer: 1 << 30,
  });
  return { status: status ?? -1, out: stdout + stderr };
}

/** A recipe: mke2fs's words, and the same for us. */
export interface Recipe {
  size: number;
  words: string[];
  options: MkfsOptions;
}

/** mke2fs on a fresh sparse file. */
export function theirs(dir: string, path: string, recipe: Recipe): Said {
  rmSync(path, { force: true });
  writeFileSync(path, '');
  truncateSync(path, recipe.size);
  // Only the last -E counts.
  const at = recipe.words.indexOf('-E');
  const extended = at < 0 ? '' : `,${recipe.words[at + 1]}`;
  const rest = recipe.words.filter((_, i) => at < 0 || (i !== at && i !== at + 1));
  const words = ['-q', '-F', '-U', UUID, '-E', `hash_seed=${SEED}${extended}`, ...rest, path];
  const env = { MKE2FS_CONFIG: join(dir, 'mke2fs.conf'), E2FSPROGS_FAKE_TIME: String(NOW) };
  return say('mke2fs', words, env);
}

/** Ours on a fresh sparse file, which is known to be zero. Throws as mkfs does. */
export function ours(path: string, recipe: Recipe): MkfsResult {
  rmSync(path, { force: true });
  const device = openFile(path, { create: true, size: recipe.size });
  try {
    const fixed = { uuid: UUID, hashSeed: SEED, now: NOW, zeroed: true };
    return mkfsSync(device, { ...fixed, ...recipe.options });
  } finally {
    device.closeSync();
  }
}

export function fsck(path: string): Said {
  return say('e2fsck', ['-fn', path]);
}

/** Lines of dumpe2fs that may differ, and why. */
const ALLOWED: readonly (readonly [RegExp, string])[] = [
  [/^Lifetime writes:/, 'each counts what it wrote itself, and mke2fs writes some blocks twice'],
  [/^Checksum: /, "the superblock's checksum covers the line above"],
  [/^\s*mmp_(update_|node_name|device_name)/, 'mke2fs names the host and the real time'],
];

/** What mke2fs cannot make and we can, and why. */
export const MORE_THAN_MKE2FS: readonly (readonly [RegExp, string])[] = [
  [
    /Cannot create filesystem with requested number of inodes/,
    'with bigalloc mke2fs does not make groups smaller when their inodes are too many for a bitmap',
  ],
];

/** What mke2fs makes and we refuse, by what it says meanwhile, and why. */
export const LESS_THAN_MKE2FS: readonly (readonly [RegExp, string])[] = [
  [/Filesystem too small for a journal/, 'mke2fs leaves out a journal whose size was asked for'],
  [/Illegal block number passed/, 'mke2fs takes a location of the journal behind the end'],
];

/** The lines of dumpe2fs in which two images differ, without those that may. */
export function dumpDifference(a: string, b: string): string[] {
  const [left, right] = [a, b].map((path) => lines(say('dumpe2fs', [path]).out));
  const found: string[] = [];
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    if (left[i] !== right[i]) found.push(`mke2fs: ${left[i]}`, `ours:   ${right[i]}`);
  }
  return found;
}

function lines(text: string): string[] {
  return text
    .split('\n')
    .filter((line) => !/^dumpe2fs /.test(line) && !ALLOWED.some(([what]) => what.test(line)));
}
