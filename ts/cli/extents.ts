// `ext4 extents`: where the blocks of a file lie, in filefrag's columns.

import type { Ext4 } from '../index.ts';
import { type Call, type Command, JSON_LINES } from './args.ts';
import { table } from './format.ts';
import { shown } from './names.ts';
import { bytesOf } from './tree.ts';
import { eachFile } from './volume.ts';

export const extents: Command = {
  usage: 'extents ADDR…',
  about: 'Shows which blocks of the file system hold a file, in units of its block size.',
  options: [JSON_LINES],
  examples: ['ext4 extents disk.img:/var/log/syslog'],
  async run(call) {
    await eachFile(call, call.expect(1), ({ img, path, text }) => print(call, img, path, text));
    return undefined;
  },
};

/** FIEMAP_EXTENT_* bits, as filefrag names them. */
const FLAGS: [number, string][] = [
  [0x1, 'last'],
  [0x2, 'unknown_loc'],
  [0x4, 'delalloc'],
  [0x8, 'encoded'],
  [0x80, 'encrypted'],
  [0x100, 'not_aligned'],
  [0x200, 'inline'],
  [0x400, 'tail_packed'],
  [0x800, 'unwritten'],
  [0x1000, 'merged'],
  [0x2000, 'shared'],
];

async function print(call: Call, img: Ext4, path: string, text: string): Promise<void> {
  const { out } = call.io;
  const handle = await img.promises.open(bytesOf(path), 'r');
  try {
    const list = await handle.extents();
    const facts = await handle.stat();
    if (call.has('json')) {
      for (const one of list) {
        await out.line(JSON.stringify({ ...one, flags: flagNames(one.flags) }));
      }
      return;
    }
    const unit = img.info().blockSize;
    const name = out.isTTY ? shown(text) : text;
    const count = Math.ceil(Number(facts.size) / unit);
    await out.line(`File size of ${name} is ${facts.size} (${count} blocks of ${unit} bytes)`);
    const rows = extentRows(list, count);
    if (rows.length > 1) {
      for (const line of table(rows, [0, 1, 2, 3, 4])) await out.line(line.trimEnd());
    }
    await out.line(`${name}: ${list.length} ${list.length === 1 ? 'extent' : 'extents'} found`);
  } finally {
    await handle.close();
  }
}

interface Extent {
  lblk: number;
  pblk: number;
  count: number;
  flags: number;
}

function extentRows(list: Extent[], blocks: number): string[][] {
  const rows = [['ext:', 'logical_offset:', 'physical_offset:', 'length:', 'expected:', 'flags:']];
  let expected = 0;
  for (const [i, { lblk, pblk, count, flags }] of list.entries()) {
    const jump = i > 0 && pblk !== expected ? `${expected}:` : '';
    const names = flagNames(flags);
    if (lblk + count >= blocks) names.push('eof');
    const range = (from: number) => `${from}..${from + count - 1}:`;
    rows.push([`${i}:`, range(lblk), range(pblk), `${count}:`, jump, names.join(',')]);
    expected = pblk + count;
  }
  return rows;
}

function flagNames(flags: number): string[] {
  return FLAGS.filter(([bit]) => (flags & bit) !== 0).map(([, name]) => name);
}
