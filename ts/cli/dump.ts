// `ext4 dump`: raw records with the kernel's field names, blocks in hexadecimal.

import { coreOf } from '../api/fs.ts';
import type { Ext4 } from '../index.ts';
import { parseAddress } from './address.ts';
import { type Call, type Command, JSON_FACTS } from './args.ts';
import { UsageError } from './errors.ts';
import { paint } from './format.ts';
import { shown } from './names.ts';
import { withVolumes } from './volume.ts';

export const dump: Command = {
  usage: 'dump IMAGE[:PARTITION] super | group N | inode N | block N',
  about: `Prints one record with the kernel's field names, or a block in hexadecimal. What is only
in the journal counts as if it were home already; -o noload shows what lies there.`,
  options: [JSON_FACTS],
  examples: [
    'ext4 dump disk.img super',
    'ext4 dump disk.img:2 inode 2',
    'ext4 dump disk.img block 0',
  ],
  async run(call) {
    const [image, kind, text] = call.expect(2, 3);
    const number = kind === 'super' ? 0 : recordNumber(kind, text);
    if (kind === 'super' && text !== undefined)
      throw new UsageError(`unexpected operand '${text}'`);
    await withImage(call, image, async (img) => {
      const vfs = coreOf(img);
      if (kind === 'block') return printBlock(call, await vfs.run(vfs.readBlock(number)), number);
      if (kind === 'super') return printRecord(call, await vfs.run(vfs.dumpSuper()));
      if (kind === 'group') return printRecord(call, await vfs.run(vfs.dumpGroup(number)));
      return printRecord(call, await vfs.run(vfs.dumpInode(number)));
    });
    return undefined;
  },
};

function recordNumber(kind: string, text: string | undefined): number {
  if (!['group', 'inode', 'block'].includes(kind)) {
    throw new UsageError(`'${kind}' is none of super, group, inode, block`);
  }
  if (text === undefined) throw new UsageError(`${kind} needs a number`);
  const number = /^(\d+|0x[0-9a-f]+)$/i.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(number)) throw new UsageError(`'${text}' is no ${kind} number`);
  return number;
}

async function withImage(
  call: Call,
  operand: string,
  fn: (img: Ext4) => Promise<void>,
): Promise<void> {
  await withVolumes(call, async (volumes) => {
    try {
      await fn((await volumes.volume(parseAddress(operand))).img);
    } catch (error) {
      await call.complain(operand, error);
    }
  });
}

async function printRecord(call: Call, record: Record<string, unknown>): Promise<void> {
  const { out, colour } = call.io;
  if (call.has('json')) {
    const space = out.isTTY ? 2 : undefined;
    return out.line(JSON.stringify(record, plainBytes, space));
  }
  const wide = Math.max(...Object.keys(record).map((name) => name.length));
  for (const [name, value] of Object.entries(record)) {
    await out.line(`${paint(colour, '2', name.padEnd(wide))}  ${valueText(value)}`);
  }
}

function plainBytes(_: string, value: unknown): unknown {
  return value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value;
}

function valueText(value: unknown): string {
  if (typeof value === 'number')
    return value > 9 ? `${value} (0x${value.toString(16)})` : String(value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (Array.isArray(value)) {
    const plain = value.every((one) => typeof one !== 'object' || one === null);
    return plain ? value.map((one) => shown(String(one))).join(' ') : shown(JSON.stringify(value));
  }
  if (typeof value === 'object' && value !== null) return shown(JSON.stringify(value, plainBytes));
  return shown(String(value));
}

/** `hexdump -C`: position in the block, sixteen bytes, the same as text; equal lines are one `*`. */
async function printBlock(call: Call, block: Uint8Array, number: number): Promise<void> {
  const { out } = call.io;
  const bytes = Buffer.from(block);
  if (call.has('json')) {
    return out.line(JSON.stringify({ block: number, hex: bytes.toString('hex') }));
  }
  let before = '';
  for (let off = 0; off < bytes.length; off += 16) {
    const row = bytes.subarray(off, off + 16);
    const hex = row.toString('hex');
    if (hex !== before) await out.line(hexLine(off, row));
    else if (hex !== '' && !bytes.subarray(off - 32, off - 16).equals(row)) await out.line('*');
    before = hex;
  }
  await out.line(bytes.length.toString(16).padStart(8, '0'));
}

function hexLine(off: number, row: Buffer): string {
  const pairs = row.toString('hex').match(/../g) ?? [];
  const text = row.toString('latin1').replace(/[^\x20-\x7e]/g, '.');
  const halves = [pairs.slice(0, 8), pairs.slice(8)].map((half) => half.join(' ').padEnd(23));
  return `${off.toString(16).padStart(8, '0')}  ${halves.join('  ')}  |${text}|`;
}
