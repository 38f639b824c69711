// `ext4 truncate` and `ext4 fallocate`: sizes of files, and the space under them.

import type { Ext4 } from '../index.ts';
import { parseAddress } from './address.ts';
import type { Call, Command } from './args.ts';
import { Failure, UsageError } from './errors.ts';
import { isZero } from './source.ts';
import { bytesOf, dataSegments, factsOf, optionalFacts, type Readable, readRange } from './tree.ts';
import { changeEach, withVolumes } from './volume.ts';

export const truncate: Command = {
  usage: 'truncate [-c] (-s SIZE | -r ADDR) ADDR…',
  about: `Makes files as long as SIZE says: what is behind it goes, what is missing is a hole. A
file that is not there is made. SIZE is a number with K, M, G, T (1024) or KB, MB, GB, TB (1000);
+ and - change the size by it, < and > limit it from above and below, / and % round to it.`,
  options: [
    { name: 'size', short: 's', value: 'SIZE', help: 'the new size' },
    { name: 'reference', short: 'r', value: 'ADDR', help: 'the size of this file' },
    { name: 'no-create', short: 'c', help: 'make no files' },
  ],
  examples: ['ext4 truncate -s 1G disk.img:/swapfile', 'ext4 truncate -s -4K disk.img:/log'],
  async run(call) {
    const operands = call.expect(1);
    const change = await sizeChange(call);
    await changeEach(call, operands, async ({ img, path }) => {
      const facts = await optionalFacts(img, path, true);
      if (facts === null && call.has('no-create')) return;
      const size = change(facts?.size ?? 0);
      const handle = await img.promises.open(bytesOf(path), facts === null ? 'w' : 'r+');
      try {
        await handle.truncate(size);
      } finally {
        await handle.close();
      }
    });
    return undefined;
  },
};

type Change = (size: number) => number;

async function sizeChange(call: Call): Promise<Change> {
  const reference = call.value('reference');
  const text = call.value('size');
  if (text === undefined && reference === undefined) throw new UsageError('say -s or -r');
  if (reference === undefined) return parseChange(text as string);
  const base = await withVolumes(call, async (volumes) => {
    const address = parseAddress(reference);
    const { img } = await volumes.volume(address);
    return (await factsOf(img, address.path ?? '/', true)).size;
  });
  if (text === undefined) return () => base;
  if (!/^\s*[-+<>/%]/.test(text)) throw new UsageError('with -r, -s needs one of + - < > / %');
  const change = parseChange(text);
  return () => change(base);
}

const CHANGES: Record<string, (size: number, by: number) => number> = {
  '': (_, by) => by,
  '+': (size, by) => size + by,
  '-': (size, by) => Math.max(0, size - by),
  '<': Math.min,
  '>': Math.max,
  '/': (size, by) => size - (size % by),
  '%': (size, by) => Math.ceil(size / by) * by,
};

/** A size as truncate(1) takes it. */
export function parseChange(text: string): Change {
  const match = /^\s*([-+<>/%]?)\s*([0-9]+[a-z]*)$/i.exec(text);
  if (!match) throw new UsageError(`'${text}' is no size`);
  const by = parseBytes(match[2], text);
  if (by === 0 && '/%'.includes(match[1]) && match[1] !== '')
    throw new UsageError('division by zero');
  return (size) => {
    const next = CHANGES[match[1]](size, by);
    if (!Number.isSafeInteger(next)) throw new Failure('the size is too large');
    return next;
  };
}

/** Bytes of a number with a unit: K, KiB is 1024, KB is 1000. */
export function parseBytes(text: string, shown = text): number {
  const match = /^([0-9]+)(?:([KMGTPE])(iB|B)?)?$/i.exec(text);
  const unit = match?.[2]?.toUpperCase() ?? '';
  const base = match?.[3] === 'B' ? 1000 : 1024;
  const value = match ? Number(match[1]) * base ** ' KMGTPE'.indexOf(unit || ' ') : -1;
  if (!Number.isSafeInteger(value) || value < 0) throw new UsageError(`'${shown}' is no size`);
  return value;
}

const MODES = ['punch-hole', 'zero-range', 'collapse-range', 'insert-range', 'dig-holes'] as const;

export const fallocate: Command = {
  usage: 'fallocate [-n] [-p | -z | -c | -i | -d] [-o OFFSET] -l LENGTH ADDR',
  about: `Reserves space for a range of a file, which is made where it is not there; or makes a hole
(-p), zeroes (-z), cuts the range out (-c), makes room for it (-i), or turns blocks of zeros into
holes (-d), as fallocate(1) does. OFFSET and LENGTH are bytes, or have a unit as in truncate.`,
  options: [
    { name: 'from', short: 'o', value: 'OFFSET', help: 'where the range begins, 0 without it' },
    { name: 'length', short: 'l', value: 'LENGTH', help: 'how long it is' },
    { name: 'keep-size', short: 'n', help: 'the file keeps its size' },
    { name: 'punch-hole', short: 'p', help: 'free what is in the range; the size stays' },
    { name: 'zero-range', short: 'z', help: 'zeros, without writing them where possible' },
    { name: 'collapse-range', short: 'c', help: 'take the range out, whole blocks' },
    { name: 'insert-range', short: 'i', help: 'put a hole in, whole blocks' },
    { name: 'dig-holes', short: 'd', help: 'free blocks of zeros' },
    { name: 'verbose', short: 'v', help: 'say what was done' },
  ],
  examples: ['ext4 fallocate -l 2G disk.img:/swapfile', 'ext4 fallocate -d disk.img:/vm.raw'],
  async run(call) {
    const [operand] = call.expect(1, 1);
    const modes = MODES.filter((name) => call.has(name));
    if (modes.length > 1)
      throw new UsageError(`--${modes[0]} and --${modes[1]} exclude each other`);
    const pos = parseBytes(call.value('from') ?? '0');
    const length = call.value('length');
    const len = length === undefined ? undefined : parseBytes(length);
    if (len === undefined && modes[0] !== 'dig-holes') throw new UsageError('-l LENGTH is missing');
    if (len === 0) throw new UsageError('a length is more than 0');
    await changeEach(call, [operand], async ({ img, path, text }) => {
      await change(call, img, path, { mode: modes[0], pos, len });
      if (call.has('verbose')) await call.io.out.line(`${text}: done`);
    });
    return undefined;
  },
};

interface Range {
  mode: (typeof MODES)[number] | undefined;
  pos: number;
  len: number | undefined;
}

async function change(call: Call, img: Ext4, path: string, range: Range): Promise<void> {
  const { mode, pos, len = 0 } = range;
  const keepSize = call.has('keep-size');
  // As fallocate(1): only where space is reserved is a file made.
  const flags = mode === undefined || mode === 'zero-range' ? O_RDWR | O_CREAT : O_RDWR;
  const handle = await img.promises.open(bytesOf(path), flags);
  try {
    if (mode === 'dig-holes') await dig(call, handle, pos, range.len);
    else if (mode === 'punch-hole') await handle.punchHole(pos, len);
    else if (mode === 'collapse-range') await handle.collapseRange(pos, len);
    else if (mode === 'insert-range') await handle.insertRange(pos, len);
    else if (mode === 'zero-range') await handle.zeroRange(pos, len, { keepSize });
    else await handle.fallocate(pos, len, { keepSize });
  } finally {
    await handle.close();
  }
}

const O_RDWR = 2;
const O_CREAT = 0o100;

type Handle = Awaited<ReturnType<Ext4['promises']['open']>>;

/** Frees the whole blocks of zeros that hold data. */
async function dig(call: Call, handle: Handle, from: number, len?: number): Promise<void> {
  const { size, blksize } = await handle.stat();
  const end = Math.min(size, len === undefined ? size : from + len);
  const readable = handle as unknown as Readable;
  for await (const segment of dataSegments(handle, end)) {
    let at = Math.max(segment.pos, Math.ceil(from / blksize) * blksize);
    const stop = Math.min(end, segment.pos + segment.len);
    for await (const bytes of readRange(readable, at, stop)) {
      for (let off = 0; off < bytes.length; off += blksize) {
        const last = Math.min(off + blksize, bytes.length);
        const whole = last - off === blksize || at + last === size;
        if (whole && isZero(bytes, off, last)) await handle.punchHole(at + off, blksize);
      }
      at += bytes.length;
      await call.io.breathe();
    }
  }
}
