// `ext4 mv` and `ext4 ln`: within one file system.

import type { Ext4 } from '../index.ts';
import { type Address, parseAddress } from './address.ts';
import type { Call, Command } from './args.ts';
import { Failure, UsageError } from './errors.ts';
import { join, shown } from './names.ts';
import { baseOf, bytesOf, optionalFacts } from './tree.ts';
import { type Volumes, withVolumes } from './volume.ts';

const VERBOSE = { name: 'verbose', short: 'v', help: 'name what is done' };
const NO_DIRECTORY = {
  name: 'no-target-directory',
  short: 'T',
  help: 'the destination is the new name, even where there is a directory',
};

export const mv: Command = {
  usage: 'mv [-nTv] SOURCE… DESTINATION',
  about: `Renames a file, or moves files into a directory, within one file system. What has the
destination's name is replaced, a directory only when it is empty.`,
  options: [
    { name: 'force', short: 'f', help: 'replace what is there (as without it)' },
    { name: 'no-clobber', short: 'n', help: 'replace nothing: what is there stays' },
    { name: 'exchange', help: 'exchange the two' },
    NO_DIRECTORY,
    VERBOSE,
  ],
  examples: [
    'ext4 mv disk.img:/etc/motd disk.img:/etc/motd.old',
    'ext4 mv d.img:/a d.img:/b d.img:/dir',
  ],
  async run(call) {
    const operands = call.expect(2);
    await eachToTarget(call, operands, operands, async (img, from, to) => {
      await move(call, img, pathOf(from), to);
      await say(call, from.text, to);
    });
    return undefined;
  },
};

async function move(call: Call, img: Ext4, from: string, to: string): Promise<void> {
  const { promises } = img;
  const exchange = call.has('exchange');
  const noReplace = call.has('no-clobber') && !exchange;
  if (!exchange && (await isSame(img, from, to))) throw new Failure('both are the same file');
  try {
    const options = exchange ? { exchange } : { noReplace };
    await promises.rename(bytesOf(from), bytesOf(to), options);
  } catch (error) {
    if (!noReplace || (error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

async function isSame(img: Ext4, a: string, b: string): Promise<boolean> {
  const [one, other] = await Promise.all([a, b].map((path) => optionalFacts(img, path)));
  return one !== null && other !== null && one.ino === other.ino;
}

export const ln: Command = {
  usage: 'ln [-sfnTv] TARGET… LINK',
  about: `Makes a hard link to a file of the same file system, with -s a symbolic link that holds
TARGET as it is written. Where LINK is a directory the links are made in it.`,
  options: [
    { name: 'symbolic', short: 's', help: 'symbolic links; TARGET is text, not an address' },
    { name: 'force', short: 'f', help: 'replace what has the name of the link' },
    { name: 'no-dereference', short: 'n', help: 'a link to a directory is not followed' },
    NO_DIRECTORY,
    VERBOSE,
  ],
  examples: ['ext4 ln -s ../usr/bin disk.img:/bin', 'ext4 ln disk.img:/a disk.img:/b'],
  async run(call) {
    const operands = call.expect(2);
    const addresses = call.has('symbolic') ? operands.slice(-1) : operands;
    await eachToTarget(call, operands, addresses, async (img, from, to) => {
      const target = call.has('symbolic') ? from.text : pathOf(from);
      await makeLink(call, img, target, to);
      await say(call, from.text, to);
    });
    return undefined;
  },
};

async function makeLink(call: Call, img: Ext4, target: string, to: string): Promise<void> {
  const { link, symlink } = img.promises;
  const make = (path: string) =>
    call.has('symbolic')
      ? symlink(bytesOf(target), bytesOf(path))
      : link(bytesOf(target), bytesOf(path));
  try {
    await make(to);
  } catch (error) {
    if (!call.has('force') || (error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    if (!call.has('symbolic') && (await isSame(img, target, to))) return;
    await replace(img, to, make);
  }
}

/** The new link is made beside what it replaces and takes its name in one step. */
async function replace(img: Ext4, to: string, make: (path: string) => Promise<void>) {
  const beside = `${to.replace(/\/+$/, '')}.${crypto.randomUUID().slice(0, 8)}`;
  await make(beside);
  try {
    await img.promises.rename(bytesOf(beside), bytesOf(to));
  } catch (error) {
    await img.promises.unlink(bytesOf(beside));
    throw error;
  }
}

type Act = (img: Ext4, from: Address, to: string) => Promise<void>;

/** Calls `act` for each operand but the last with the name that it is to get. `addresses` must lie in one volume. */
async function eachToTarget(
  call: Call,
  operands: string[],
  addresses: string[],
  act: Act,
): Promise<void> {
  const last = parseAddress(operands[operands.length - 1]);
  const sources = operands.slice(0, -1).map((text) => sourceOf(call, text, last));
  if (last.path === undefined) throw new UsageError(`'${last.text}' is no address IMAGE:/path`);
  for (const text of addresses) checkVolume(parseAddress(text), last);
  const each = async (volumes: Volumes) => {
    const { img } = await volumes.volume(last);
    const into = await isTargetDirectory(call, img, pathOf(last), sources.length > 1);
    for (const from of sources) {
      await call.io.breathe();
      const path = pathOf(last);
      const name = into ? join(path, baseOf(from.path ?? from.text)) : path;
      await act(img, from, name).catch((error) => call.complain(from.text, error));
    }
  };
  await withVolumes(call, each, true);
}

/** What `ln -s` links to is text. */
function sourceOf(call: Call, text: string, last: Address): Address {
  return call.has('symbolic') ? { text, image: last.image } : parseAddress(text);
}

function checkVolume(one: Address, other: Address): void {
  if (one.path === undefined) throw new UsageError(`'${one.text}' is no address IMAGE:/path`);
  if (one.image !== other.image || one.partition !== other.partition)
    throw new UsageError(`'${one.text}' and '${other.text}' are not in one file system`);
}

const pathOf = ({ path }: Address): string => path ?? '/';

async function isTargetDirectory(
  call: Call,
  img: Ext4,
  path: string,
  many: boolean,
): Promise<boolean> {
  const direct = call.has('no-target-directory') || call.has('exchange');
  if (direct && many) throw new UsageError('several files have no place under one name');
  if (direct) return false;
  const facts = await optionalFacts(img, path, !call.has('no-dereference'));
  const directory = facts !== null && (facts.mode & 0o170000) === 0o040000;
  if (many && !directory) throw new Failure(`${path}: not a directory`);
  return directory;
}

async function say(call: Call, from: string, to: string): Promise<void> {
  if (call.has('verbose')) await call.io.out.line(`'${shown(from)}' -> '${shown(to)}'`);
}
