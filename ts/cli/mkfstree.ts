// `ext4 mkfs -d`: what goes into the new file system, and how large it must be to hold it. The copying itself is that
// of `ext4 cp -a` and `ext4 tar -x`. With SOURCE_DATE_EPOCH the clock of the mount stands still and its random numbers
// repeat, so that the same tree gives the same bytes.

import { createReadStream, lstatSync, readdirSync, statSync } from 'node:fs';
import type { Attributes } from '../ext4/setattr.ts';
import type { MkfsOptions, MkfsResult } from '../mkfs/options.ts';
import type { FileSystem } from '../vfs/filesystem.ts';
import { Call, type Command, parseArgs } from './args.ts';
import { Failure, UsageError } from './errors.ts';
import type { Io } from './io.ts';
import { encodeName } from './names.ts';

/** The command that the second mount is part of, for its options. */
const CLAMP: Command = { usage: '', about: '', options: [], run: async () => undefined };

/** What a tree takes, in the units that matter. */
export interface Need {
  inodes: number;
  /** Sizes of files, and bytes of names by directory. */
  sizes: number[];
  names: number[];
}

/** Copies a directory's contents, or a tar archive ('-': from standard input), into the image. */
export async function fill(
  call: Call,
  image: string,
  tree: string,
  made: MkfsResult,
): Promise<void> {
  const epoch = call.io.env.SOURCE_DATE_EPOCH;
  // Commits come when they must, not when time has passed.
  const options = ['-o', epoch ? `commit=900,now=${epoch}` : 'commit=900'];
  if (tree !== '-' && statSync(tree).isDirectory()) {
    const { cp } = await import('./copy.ts');
    await other(call, call.io, cp, ['-a', ...options, `${tree}/.`, `${image}:/`]);
  } else {
    const { tar } = await import('./archive.ts');
    await other(call, archiveIo(call, tree), tar, ['-x', ...options, `${image}:/`]);
  }
  if (!epoch) return;
  const parsed = parseArgs([...options, image], CLAMP);
  await clamp(new Call(call.name, call.io, parsed), image, Number(epoch));
  await forget(image, made);
}

/** No time in the image is later than SOURCE_DATE_EPOCH: reading a directory has changed its own time of access. */
async function clamp(call: Call, image: string, seconds: number): Promise<void> {
  const { walk } = await import('./tree.ts');
  const { changeEach } = await import('./volume.ts');
  const { coreOf } = await import('../api/fs.ts');
  const late = ({ sec, nsec }: { sec: number; nsec: number }) =>
    sec > seconds || (sec === seconds && nsec > 0);
  const end = { sec: seconds, nsec: 0 };
  await changeEach(call, [`${image}:/`], async ({ img, complain }) => {
    const core = coreOf(img);
    for await (const { path, facts, leave } of walk(img, call.io, '/', { complain })) {
      if (leave || (!late(facts.atime) && !late(facts.mtime))) continue;
      const times = {
        atime: late(facts.atime) ? end : facts.atime,
        mtime: late(facts.mtime) ? end : facts.mtime,
      };
      await core.run(setTimes(core, path, times));
    }
  });
}

/** Zeroes what the empty log still holds: blocks with times that are no longer anybody's. */
async function forget(image: string, made: MkfsResult): Promise<void> {
  const { openFile } = await import('../block/node.ts');
  const { runSync } = await import('../mkfs/drive.ts');
  const { zeroLog } = await import('../mkfs/write.ts');
  const device = openFile(image);
  const to = { device, offset: 0, size: device.size, zeroed: false };
  runSync(zeroLog(to, made));
  device.closeSync();
}

function* setTimes(core: FileSystem, path: string, times: Pick<Attributes, 'atime' | 'mtime'>) {
  yield* core.change.setAttributes(yield* core.resolve(encodeName(path), false), times);
}

/** Runs another command's work as part of this one: its complaints and its exit code are ours. */
async function other(call: Call, io: Io, command: Command, argv: string[]): Promise<void> {
  const inner = new Call(call.name, io, parseArgs(argv, command));
  const exit = await command.run(inner);
  call.exit = Math.max(call.exit, exit ?? inner.exit);
}

/** The same command line with the archive as its standard input. */
function archiveIo(call: Call, tree: string): Io {
  if (tree === '-') return call.io;
  const input = createReadStream(tree) as AsyncIterable<Uint8Array>;
  return withInput(call.io, input);
}

function withInput(io: Io, input: AsyncIterable<Uint8Array>): Io {
  return new Proxy(io, {
    get(target, name) {
      if (name === 'input') return input;
      const value = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** What a directory of the host, or an archive in a file, needs. */
export async function measure(tree: string): Promise<Need> {
  const need: Need = { inodes: 0, sizes: [], names: [] };
  if (tree === '-')
    throw new UsageError('fit needs a directory or a file: standard input is read once');
  if (statSync(tree).isDirectory()) measureDirectory(tree, need, new Set());
  else await measureArchive(tree, need);
  return need;
}

function measureDirectory(path: string, need: Need, seen: Set<number>): void {
  let names = 24;
  for (const name of readdirSync(path)) {
    const below = `${path}/${name}`;
    const stat = lstatSync(below);
    names += 12 + Buffer.byteLength(name);
    if (stat.isDirectory()) measureDirectory(below, need, seen);
    else if (stat.nlink === 1 || !seen.has(stat.ino)) {
      seen.add(stat.ino);
      need.inodes++;
      need.sizes.push(stat.isFile() || (stat.isSymbolicLink() && stat.size >= 60) ? stat.size : 0);
    }
  }
  need.inodes++;
  need.names.push(names);
}

async function measureArchive(tree: string, need: Need): Promise<void> {
  const { unpack } = await import('../tar/index.ts');
  const input = createReadStream(tree) as AsyncIterable<Uint8Array>;
  for await (const { entry } of unpack(input)) {
    need.inodes++;
    need.sizes.push(entry.size);
    // Which directory a name is in does not matter much: a block for each, and the bytes of all.
    need.names.push(12 + entry.path.length);
  }
}

/** Bytes of the least file system that holds it, as far as can be told beforehand. EINVAL when none does. */
export async function fitting(need: Need, options: MkfsOptions): Promise<number> {
  const { checkMkfs } = await import('../api/mkfs.ts');
  const holds = (size: number): boolean => {
    try {
      const made = checkMkfs(size, { ...options, size });
      return made.freeInodes >= need.inodes && made.freeBlocks >= blocksOf(need, made.blockSize);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EINVAL') return false;
      throw error;
    }
  };
  let high = 2 ** 20;
  while (!holds(high)) {
    high *= 2;
    if (high > 2 ** 50) throw new Failure('no size fits');
  }
  let low = high / 2;
  while (high - low > Math.max(65536, high / 256)) {
    const middle = low + Math.floor((high - low) / 2 / 4096) * 4096;
    if (holds(middle)) high = middle;
    else low = middle;
  }
  return high;
}

/** Blocks of data and directories, and some for trees and attributes. */
function blocksOf(need: Need, blockSize: number): number {
  let blocks = 16;
  for (const size of need.sizes) blocks += Math.ceil(size / blockSize);
  // Directories that split are half full.
  for (const bytes of need.names)
    blocks += bytes < blockSize - 12 ? 1 : Math.ceil((2 * bytes) / blockSize) + 1;
  return Math.ceil(blocks * 1.02 + need.inodes / 64);
}
