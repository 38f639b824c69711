// `ext4 du` and `ext4 df`: space that trees take, each inode counted once, and what the file system has left.

import type { Ext4 } from '../index.ts';
import { parseAddress } from './address.ts';
import { type Call, type Command, JSON_LINES } from './args.ts';
import { humanSize, table } from './format.ts';
import { shown } from './names.ts';
import { walk } from './tree.ts';
import { eachFile, type Operand, withVolumes } from './volume.ts';

export const du: Command = {
  usage: 'du [-shabk] [-d DEPTH] ADDR…',
  about: 'Adds up the space that trees take, in units of 1024 bytes. Hard links count once.',
  options: [
    { name: 'summarize', short: 's', help: 'only the total of each operand' },
    { name: 'all', short: 'a', help: 'files too, not only directories' },
    { name: 'human', short: 'h', help: 'sizes as 1.5K, 234M' },
    { name: 'bytes', short: 'b', help: 'the lengths of files in bytes, not the space they take' },
    { name: 'kilobytes', short: 'k', help: 'units of 1024 bytes (which is the default)' },
    { name: 'max-depth', short: 'd', value: 'DEPTH', help: 'lines for so deep directories only' },
    JSON_LINES,
  ],
  examples: ['ext4 du -sh disk.img:/usr disk.img:/var'],
  async run(call) {
    const seen = new Map<Ext4, Set<number>>();
    await eachFile(call, call.expect(1), async (operand) => {
      const inos = seen.get(operand.img) ?? new Set();
      seen.set(operand.img, inos);
      await addUp(call, operand, inos);
    });
    return undefined;
  },
};

async function addUp(call: Call, operand: Operand, seen: Set<number>): Promise<void> {
  const sums: number[] = [];
  const deepest = call.has('summarize') ? 0 : call.number('max-depth');
  const { complain, img, path } = operand;
  for await (const visit of walk(img, call.io, path, { complain })) {
    const { depth, facts, type } = visit;
    if (!visit.leave) {
      const again = seen.has(facts.ino);
      seen.add(facts.ino);
      const size = call.has('bytes') ? facts.size : facts.blocks * 512;
      sums[depth] = again ? 0 : size;
      if (again && type !== 'd') continue;
    }
    if (type === 'd' && !visit.leave) continue;
    const name = operand.addressOf(visit.path);
    const listed = depth === 0 || type === 'd' || call.has('all');
    if (listed && depth <= (deepest ?? depth)) await printSum(call, sums[depth], name);
    if (depth > 0) sums[depth - 1] += sums[depth];
  }
}

async function printSum(call: Call, bytes: number, name: string): Promise<void> {
  const { out } = call.io;
  if (call.has('json')) return out.line(JSON.stringify({ path: name, bytes }));
  const plain = call.has('bytes') ? bytes : Math.ceil(bytes / 1024);
  const size = call.has('human') ? humanSize(bytes) : String(plain);
  await out.line(`${size}\t${out.isTTY ? shown(name) : name}`);
}

export const df: Command = {
  usage: 'df [-hi] IMAGE[:PARTITION]…',
  about: 'Shows how much space a file system has, in units of 1024 bytes.',
  options: [
    { name: 'human', short: 'h', help: 'sizes as 1.5K, 234M' },
    { name: 'inodes', short: 'i', help: 'inodes instead of blocks' },
    JSON_LINES,
  ],
  examples: ['ext4 df -h raspios.img:2'],
  async run(call) {
    const rows: string[][] = [];
    await withVolumes(call, async (volumes) => {
      for (const operand of call.expect(1)) {
        try {
          const { img, name } = await volumes.volume(parseAddress(operand));
          rows.push(await row(call, img, name));
        } catch (error) {
          await call.complain(operand, error);
        }
      }
    });
    if (call.has('json') || rows.length === 0) return undefined;
    const kinds = call.has('inodes') ? 'Inodes IUsed IFree IUse%' : '1K-blocks Used Available Use%';
    const sizes = call.has('human')
      ? kinds.replace('1K-blocks', 'Size').replace('Available', 'Avail')
      : kinds;
    const heading = ['Filesystem', ...sizes.split(' '), 'Label'];
    for (const line of table([heading, ...rows], [1, 2, 3, 4])) await call.io.out.line(line);
    return undefined;
  },
};

async function row(call: Call, img: Ext4, name: string): Promise<string[]> {
  const s = await img.promises.statfs('/');
  const [bsize, blocks, free, available] = [s.bsize, s.blocks, s.bfree, s.bavail].map(Number);
  const [files, ffree] = [s.files, s.ffree].map(Number);
  const { label } = img.info();
  if (call.has('json')) {
    const bytes = {
      size: blocks * bsize,
      used: (blocks - free) * bsize,
      available: available * bsize,
    };
    const inodes = { total: files, used: files - ffree, free: ffree };
    await call.io.out.line(JSON.stringify({ filesystem: name, label, ...bytes, inodes }));
  }
  const shownLabel = label ? shown(label) : '-';
  if (call.has('inodes')) {
    const numbers = [files, files - ffree, ffree].map(String);
    return [name, ...numbers, share(files - ffree, files), shownLabel];
  }
  const unit = (count: number) =>
    call.has('human') ? humanSize(count * bsize) : String(Math.round((count * bsize) / 1024));
  const used = blocks - free;
  return [
    name,
    unit(blocks),
    unit(used),
    unit(available),
    share(used, used + available),
    shownLabel,
  ];
}

/** Rounded up, as df(1) does. */
const share = (part: number, whole: number): string =>
  whole === 0 ? '-' : `${Math.ceil((part * 100) / whole)}%`;
