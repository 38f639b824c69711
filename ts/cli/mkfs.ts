// `ext4 mkfs`: mke2fs's letters. A regular file is emptied and made sparse first, once everything asked has been found
// possible: so nothing of it needs zeroing. A block device is zeroed where it must be.

import { rmSync, statSync, truncateSync } from 'node:fs';
import type { BlockDevice } from '../block/device.ts';
import type { MkfsOptions, MkfsResult } from '../mkfs/options.ts';
import { AGAIN, type Call, type Command, JSON_FACTS } from './args.ts';
import { Failure, UsageError } from './errors.ts';
import { deviceNumbers } from './format.ts';
import { mountedOn } from './inuse.ts';
import { journalPathOf, optionsOf, sizeOf } from './mkfsargs.ts';

export const mkfs: Command = {
  usage: 'mkfs [OPTION…] IMAGE [SIZE|fit]',
  about: `Makes an ext4 (ext2, ext3) file system in a file or on a block device, by the letters of
mke2fs. What was there is lost. A missing file is made; SIZE is in KiB, or in blocks when -b is
given, or with k, m, g, t or s (sectors); fit: as large as -d needs. With SOURCE_DATE_EPOCH, -U and
-E hash_seed the same options give the same bytes.`,
  options: [
    { name: 'b', short: 'b', value: 'BYTES', help: 'block size, 1024 to 65536' },
    {
      name: 'd',
      short: 'd',
      value: 'TREE',
      help: 'fill it from a directory, a tar archive or - (a tar stream)',
    },
    { name: 'C', short: 'C', value: 'BYTES', help: 'cluster size, with -O bigalloc' },
    { name: 'e', short: 'e', value: 'WHAT', help: 'on errors: continue, remount-ro, panic' },
    {
      name: 'E',
      short: 'E',
      value: 'LIST',
      help: 'stride=, stripe_width=, resize=, hash_seed=, …',
    },
    { name: 'F', short: 'F', help: 'twice: even where the system has it mounted' },
    { name: 'g', short: 'g', value: 'BLOCKS', help: 'blocks a group' },
    { name: 'G', short: 'G', value: 'GROUPS', help: 'groups of a flex group' },
    { name: 'i', short: 'i', value: 'BYTES', help: 'bytes an inode' },
    { name: 'I', short: 'I', value: 'BYTES', help: 'inode size, 128 to 1024 and more' },
    { name: 'j', short: 'j', help: 'a journal' },
    {
      name: 'J',
      short: 'J',
      value: 'LIST',
      help: 'size=MIB, location=BLOCK, fast_commit_size=KIB',
    },
    { name: 'L', short: 'L', value: 'LABEL', help: 'label' },
    { name: 'm', short: 'm', value: 'PERCENT', help: 'blocks that only root may use' },
    { name: 'M', short: 'M', value: 'DIR', help: 'where it was last mounted' },
    { name: 'n', short: 'n', help: 'only say what would be made' },
    { name: 'N', short: 'N', value: 'COUNT', help: 'number of inodes' },
    { name: 'O', short: 'O', value: 'LIST', help: 'features, ^ takes one away' },
    { name: 'preset', value: 'NAME', help: 'whose defaults: upstream or debian' },
    { name: 'q', short: 'q', help: 'say nothing' },
    { name: 't', short: 't', value: 'TYPE', help: 'ext2, ext3 or ext4' },
    { name: 'T', short: 'T', value: 'LIST', help: 'small, floppy, news, largefile, …' },
    { name: 'U', short: 'U', value: 'UUID', help: 'UUID, random, time or clear' },
    JSON_FACTS,
  ],
  examples: [
    'ext4 mkfs disk.img 1g',
    'ext4 mkfs -O ^has_journal -L data -m 0 disk.img 256m',
    'ext4 mkfs -d rootfs rootfs.img fit',
    'ext4 mkfs --preset debian -b 4096 /dev/sdx1',
  ],
  image: false,
  async run(call) {
    const [image, size] = call.expect(1, 2);
    refuseMounted(call, image);
    const options = optionsOf(call);
    const tree = call.value('d');
    const bytes = await bytesFor(size, tree, options);
    const result = await withJournal(call, options, () => make(call, image, bytes, options)).catch(
      plainly,
    );
    if (tree !== undefined && !call.has('n'))
      await (await import('./mkfstree.ts')).fill(call, image, tree, result);
    if (call.has('json')) await call.io.out.line(JSON.stringify(result, null, 2));
    else if (!call.has('q')) await describe(call, image, result);
    return undefined;
  },
};

/** As mke2fs: what the system has mounted is not made anew, unless told twice. */
function refuseMounted(call: Call, image: string): void {
  const point = call.has('n') || call.value('F') === AGAIN ? '' : mountedOn(image);
  if (point !== '') throw new Failure(`'${image}' is mounted on ${point}: unmount it first`);
}

/** The size in bytes that was asked for; `fit` looks at what will be in it, and makes inodes for that. */
async function bytesFor(
  size: string | undefined,
  tree: string | undefined,
  options: MkfsOptions,
): Promise<number | undefined> {
  if (size === undefined) return undefined;
  if (size !== 'fit') return sizeOf(size, options.blockSize);
  if (tree === undefined) throw new UsageError('fit needs -d TREE');
  const { fitting, measure } = await import('./mkfsfit.ts');
  const need = await measure(tree);
  if (options.inodes === undefined && options.inodeRatio === undefined) {
    options.inodes = Math.ceil(need.inodes * 1.05) + 16;
  }
  return fitting(need, options);
}

/** What cannot be made is said by the line in brackets alone. */
function plainly(error: unknown): never {
  const { code, message } = error as NodeJS.ErrnoException;
  const why = code === 'EINVAL' && /\((.*)\)(?:, mkfs)?$/s.exec(message)?.[1];
  throw why ? new Failure(why) : error;
}

/** Opens the journal device for as long as the work takes. */
async function withJournal<T>(
  call: Call,
  options: MkfsOptions,
  work: () => Promise<T>,
): Promise<T> {
  const path = journalPathOf(call);
  if (path === undefined) return work();
  const { openFile } = await import('../block/node.ts');
  const device = openFile(path);
  options.journalDevice = device;
  options.journalDeviceNumber = deviceNumber(statSync(path).rdev);
  return work().finally(() => device.close());
}

/** A device number as the kernel keeps it on disk: 8 bits of the minor number, 12 of the major, 12 more. */
function deviceNumber(rdev: number): number {
  const { major, minor } = deviceNumbers(rdev);
  return (minor % 256) + major * 256 + Math.floor(minor / 256) * 2 ** 20;
}

/** Checks, prepares the file, makes. */
async function make(
  call: Call,
  image: string,
  size: number | undefined,
  options: MkfsOptions,
): Promise<MkfsResult> {
  const { checkMkfs, mkfsSync } = await import('../api/mkfs.ts');
  const { openFile } = await import('../block/node.ts');
  const before = statSync(image, { throwIfNoEntry: false });
  if (before?.isBlockDevice() || call.has('n')) {
    const device = before ? openFile(image, { readOnly: call.has('n') }) : null;
    const given = size === undefined ? options : { ...options, size };
    return finish(device, () =>
      call.has('n') ? checkMkfs(device?.size ?? size ?? 0, given) : mkfsSync(device!, given),
    );
  }
  if (before && !before.isFile()) throw new Failure(`'${image}' is neither a file nor a device`);
  const bytes = size ?? before?.size;
  if (bytes === undefined) throw new UsageError(`'${image}' does not exist: it needs a SIZE`);
  const begin = options.offset ?? 0;
  // A file is as long as it was, if that is longer: what is behind the file system is somebody else's.
  const given = size === undefined ? options : { ...options, size };
  checkMkfs(Math.max(bytes + begin, before?.size ?? 0), given);
  // What fits is all there shall be.
  const fresh = begin === 0 && (call.operands[1] === 'fit' || bytes >= (before?.size ?? 0));
  if (fresh && before) truncateSync(image, 0);
  const device = openFile(image, { create: true, size: bytes + begin });
  return finish(device, () => mkfsSync(device, { ...given, zeroed: fresh })).catch((error) => {
    if (!before) rmSync(image, { force: true });
    throw error;
  });
}

async function finish(device: BlockDevice | null, fn: () => MkfsResult): Promise<MkfsResult> {
  try {
    return fn();
  } finally {
    await device?.close();
  }
}

async function describe(call: Call, image: string, made: MkfsResult): Promise<void> {
  for (const note of made.notes) await call.note(`${image}: ${note}`);
  const { out } = call.io;
  const head = call.has('n') ? 'would make' : 'made';
  await out.line(`${head} ${image}: ${made.blocks} blocks of ${made.blockSize} bytes`);
  await out.line(`inodes: ${made.inodes}, groups: ${made.groups}`);
  await out.line(`journal: ${made.journalBlocks ? `${made.journalBlocks} blocks` : 'none'}`);
  await out.line(`UUID: ${made.uuid}${made.label ? `, label: ${made.label}` : ''}`);
  await out.line(`features: ${made.features.join(' ')}`);
}
