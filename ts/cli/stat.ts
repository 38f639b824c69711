// `ext4 stat`: coreutils' text with nanoseconds, and two lines that only ext4 has: flags and the data path.

import type { Ext4 } from '../index.ts';
import { type Call, type Command, JSON_LINES } from './args.ts';
import { deviceNumbers, fullDate, modeOctal, modeText, typeWord } from './format.ts';
import { jsonOf } from './json.ts';
import { shown } from './names.ts';
import { Owners } from './owners.ts';
import { baseOf, bytesOf, type Facts, factsOf, linkOf } from './tree.ts';
import { eachFile } from './volume.ts';

export const stat: Command = {
  usage: 'stat [-L] ADDR…',
  about: 'Shows everything that an inode says about a file, times to the nanosecond.',
  options: [{ name: 'dereference', short: 'L', help: 'follow a symbolic link' }, JSON_LINES],
  examples: ['ext4 stat disk.img:/etc/passwd', 'ext4 stat --json disk.img:/var | jq .mtime'],
  async run(call) {
    await eachFile(call, call.expect(1), async ({ img, path, text }) => {
      const facts = await factsOf(img, path, call.has('dereference'));
      const link = modeText(facts.mode)[0] === 'l';
      const target = link ? await linkOf(img, path) : undefined;
      const flags = await flagsOf(img, path, link);
      if (call.has('json')) {
        const json = jsonOf({ name: baseOf(path), path, facts, target });
        await call.io.out.line(JSON.stringify({ ...json, flags }));
      } else await print(call, img, text, facts, target, flags);
    });
    return undefined;
  },
};

/** Names of the flags that are set; undefined for a symlink, which a path cannot name here. */
async function flagsOf(img: Ext4, path: string, link: boolean): Promise<string[] | undefined> {
  if (link) return undefined;
  const flags = await img.promises.getFlags(bytesOf(path));
  return Object.entries(flags).flatMap(([name, set]) => (set === true ? [name] : []));
}

async function print(
  call: Call,
  img: Ext4,
  text: string,
  facts: Facts,
  target: string | undefined,
  flags: string[] | undefined,
): Promise<void> {
  const owners = new Owners(img, false);
  const name = (value: string) => (call.io.out.isTTY ? shown(value) : value);
  const { major, minor } = deviceNumbers(facts.rdev);
  const device = 'bc'.includes(modeText(facts.mode)[0])
    ? `     Device type: ${major},${minor}`
    : '';
  const arrow = target === undefined ? '' : ` -> ${name(target)}`;
  const user = `(${pad(facts.uid, 5)}/${pad(await owners.user(facts.uid), 8)})`;
  const group = `(${pad(facts.gid, 5)}/${pad(await owners.group(facts.gid), 8)})`;
  const size = String(facts.size).padEnd(10);
  const blocks = String(facts.blocks).padEnd(10);
  const io = String(facts.blksize).padEnd(6);
  const born = facts.birthtime.sec !== 0 || facts.birthtime.nsec !== 0;
  const lines = [
    `  File: ${name(text)}${arrow}`,
    `  Size: ${size}\tBlocks: ${blocks} IO Block: ${io} ${typeWord(facts.mode, facts.size)}`,
    ` Inode: ${String(facts.ino).padEnd(10)}\tLinks: ${facts.nlink}${device}`,
    `Access: (${modeOctal(facts.mode)}/${modeText(facts.mode)})  Uid: ${user}   Gid: ${group}`,
    `Access: ${fullDate(facts.atime)}`,
    `Modify: ${fullDate(facts.mtime)}`,
    `Change: ${fullDate(facts.ctime)}`,
    ` Birth: ${born ? fullDate(facts.birthtime) : '-'}`,
    ...(flags?.length ? [` Flags: ${flags.join(' ')}`] : []),
  ];
  for (const line of lines) await call.io.out.line(line);
}

const pad = (value: number | string, columns: number): string => String(value).padStart(columns);
