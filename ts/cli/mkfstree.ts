// `ext4 mkfs -d`: what goes into the new file system. The copying itself is that
// of `ext4 cp -a` and `ext4 tar -x`. With SOURCE_DATE_EPOCH the clock of the mount stands still and its random numbers
// repeat, so that the same tree gives the same bytes.

import { createReadStream, statSync } from 'node:fs';
import type { Attributes } from '../ext4/setattr.ts';
import type { MkfsResult } from '../mkfs/options.ts';
import type { FileSystem } from '../vfs/filesystem.ts';
import { Call, type Command, parseArgs } from './args.ts';
import type { Io } from './io.ts';
import { encodeName } from './names.ts';

/** The command that the second mount is part of, for its options. */
const CLAMP: Command = { usage: '', about: '', options: [], run: async () => undefined };

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
