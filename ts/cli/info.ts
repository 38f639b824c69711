// `ext4 info`: what an image is. A disk: its partitions, and each file system on it. A file system: its superblock in
// words, its features, what is free, and what the journal held.

import type { BlockDevice } from '../block/device.ts';
import type { Ext4 } from '../index.ts';
import { type Address, parseAddress } from './address.ts';
import { type Call, type Command, JSON_FACTS } from './args.ts';
import { binarySize, fullDate, grouped, isoTime, paint, table } from './format.ts';
import { shown } from './names.ts';
import type { Found } from './parts.ts';
import { type Volumes, withVolumes } from './volume.ts';

export const info: Command = {
  usage: 'info IMAGE[:PARTITION]…',
  about: 'Shows what an image is: partitions, features, counts, and the state of the journal.',
  options: [JSON_FACTS],
  examples: ['ext4 info raspios.img', 'ext4 info --json disk.img:2 | jq .journal'],
  async run(call) {
    let first = true;
    await withVolumes(call, async (volumes) => {
      for (const operand of call.expect(1)) {
        try {
          const address = parseAddress(operand);
          if (!first && !call.has('json')) await call.io.out.line('');
          first = false;
          await describe(call, volumes, address);
        } catch (error) {
          await call.complain(operand, error);
        }
      }
    });
    return undefined;
  },
};

async function describe(call: Call, volumes: Volumes, address: Address): Promise<void> {
  const table = await partitionsOf(call, volumes, address);
  if (!table) {
    const { img, device, name } = await volumes.volume(address);
    if (call.has('json')) await printJson(call, { image: name, size: device.size, ...facts(img) });
    else await printVolume(call, img, name);
    return;
  }
  if (call.has('json')) return describeJson(call, volumes, address, table.disk, table.found);
  await printTable(call, address.image, table.disk, table.found);
  for (const one of table.found.filter(({ ext }) => ext)) {
    const part = partOf(address, one);
    try {
      const { img, name } = await volumes.volume(part);
      await call.io.out.line('');
      await printVolume(call, img, name);
    } catch (error) {
      await call.complain(part.text, error);
    }
  }
}

interface Disk {
  disk: BlockDevice;
  found: Found[];
}

/** The partitions, when the address names a whole disk that has some. */
async function partitionsOf(
  call: Call,
  volumes: Volumes,
  address: Address,
): Promise<Disk | undefined> {
  if (address.partition !== undefined || call.value('offset') !== undefined) return undefined;
  const disk = await volumes.device(address.image);
  const { findAll } = await import('./parts.ts');
  const found = await findAll(disk);
  return found.length > 0 ? { disk, found } : undefined;
}

function partOf(address: Address, { part }: Found): Address {
  const text = `${address.image}:${part.number}`;
  return { text, image: address.image, partition: String(part.number) };
}

async function describeJson(
  call: Call,
  volumes: Volumes,
  address: Address,
  disk: BlockDevice,
  found: Found[],
): Promise<void> {
  const partitions: Record<string, unknown>[] = [];
  for (const one of found) {
    const entry: Record<string, unknown> = { ...one.part };
    if (one.ext) {
      try {
        entry.filesystem = facts((await volumes.volume(partOf(address, one))).img);
      } catch (error) {
        await call.complain(partOf(address, one).text, error);
      }
    }
    partitions.push(entry);
  }
  await printJson(call, { image: address.image, size: disk.size, partitions });
}

async function printJson(call: Call, value: unknown): Promise<void> {
  await call.io.out.line(JSON.stringify(value, undefined, call.io.out.isTTY ? 2 : undefined));
}

type Facts = Record<string, unknown>;

/** What --json prints of a file system: info(), with the kind and readable times. */
function facts(img: Ext4): Facts {
  const all = img.info();
  const times = Object.fromEntries(
    (['created', 'mounted', 'written', 'checked'] as const).map((name) => [
      name,
      all[name] > 0 ? isoTime({ sec: all[name], nsec: 0 }) : null,
    ]),
  );
  return { kind: kindOf(img), ...all, ...times };
}

/** ext4 has features of its own; of the others, ext3 has a journal. */
export function kindOf(img: Ext4): string {
  const { features, journal } = img.info();
  const known = new Set(['filetype', 'recover', 'sparse_super', 'large_file', 'btree_dir']);
  const newer = [...features.incompat, ...features.roCompat].some(
    (name) => !known.has(name) && name !== 'needs_recovery',
  );
  if (newer) return 'ext4';
  return journal.state === 'none' ? 'ext2' : 'ext3';
}

/** Types of partitions that people meet, by MBR byte or GPT identifier. */
const TYPE_NAMES: Record<string, string> = {
  '05': 'extended',
  '07': 'NTFS/exFAT',
  '0b': 'FAT32',
  '0c': 'FAT32',
  '0e': 'FAT16',
  '0f': 'extended',
  '82': 'Linux swap',
  '83': 'Linux',
  '8e': 'Linux LVM',
  ef: 'EFI system',
  fd: 'Linux RAID',
  '0fc63daf-8483-4772-8e79-3d69d8477de4': 'Linux',
  '0657fd6d-a4ab-43c4-84e5-0933c84b4f4f': 'Linux swap',
  'c12a7328-f81f-11d2-ba4b-00a0c93ec93b': 'EFI system',
  '21686148-6449-6e6f-744e-656564454649': 'BIOS boot',
  'ebd0a0a2-b9e5-4433-87c0-68b6b72699c7': 'basic data',
  'e6d6d379-f507-44c2-a23c-238f2a3df928': 'Linux LVM',
  '4f68bce3-e8cd-4db1-96e7-fbcaf984b709': 'Linux root',
  'bc13c2ff-59e6-4262-a352-b275fd6f7172': 'boot loader',
};

async function printTable(
  call: Call,
  image: string,
  disk: BlockDevice,
  found: Found[],
): Promise<void> {
  const { out, colour } = call.io;
  const scheme = found[0].part.scheme === 'gpt' ? 'GPT' : 'MBR';
  const count = found.length === 1 ? 'one partition' : `${found.length} partitions`;
  const facts = `${binarySize(disk.size)}, ${scheme}, ${count}`;
  await out.line(`${paint(colour, '1', shown(image))}: ${facts}\n`);
  const rows = found.map(({ part, ext, label }) => [
    `  ${part.number}`,
    binarySize(part.start),
    binarySize(part.size),
    TYPE_NAMES[part.type] ?? part.type,
    ext ? 'ext2/3/4' : '-',
    shown(part.label || label || '-'),
  ]);
  const heads = ['  Nr', 'Start', 'Size', 'Type', 'File system', 'Label'];
  const [first, ...others] = table([heads, ...rows], [0, 1, 2], '  ');
  await out.line(paint(colour, '2', first));
  for (const line of others) await out.line(line);
}

async function printVolume(call: Call, img: Ext4, name: string): Promise<void> {
  const { out, colour } = call.io;
  await out.line(paint(colour, '1', shown(name)));
  for (const [label, value] of volumeRows(img)) {
    await out.line(`  ${paint(colour, '2', label.padEnd(13))} ${value}`);
  }
}

/** Facts about a file system in words, line by line. */
export function volumeRows(img: Ext4): [string, string][] {
  const all = img.info();
  const { features } = all;
  const percent = all.blocks > 0 ? Math.round((all.freeBlocks * 100) / all.blocks) : 0;
  const free = `${binarySize(all.freeBlocks * all.blockSize)} free (${percent} %)`;
  const size = `${binarySize(all.blocks * all.blockSize)} (${grouped(all.blocks)} blocks)`;
  const unit = `${binarySize(all.blockSize)} blocks, ${all.inodeSize}-byte inodes`;
  const cluster =
    all.clusterSize > all.blockSize ? `, ${binarySize(all.clusterSize)} clusters` : '';
  const names = [...features.compat, ...features.incompat, ...features.roCompat];
  const rows: [string, string][] = [
    ['File system', `${kindOf(img)}, ${unit}${cluster}`],
    ['Label', shown(all.label) || '-'],
    ['UUID', all.uuid],
    ['Size', `${size}, ${free}`],
    ['Inodes', `${grouped(all.inodes)}, ${grouped(all.freeInodes)} free`],
    ['Groups', `${grouped(all.groups)} of ${grouped(all.blocksPerGroup)} blocks`],
    ['State', stateText(all)],
    ['Journal', journalText(all.journal)],
    ['Created', dateOf(all.created)],
    ['Mounted', mountText(all)],
    ['Written', dateOf(all.written)],
  ];
  wrap(names.join(' '), 80).forEach((line, i) => {
    rows.push([i === 0 ? 'Features' : '', line]);
  });
  return rows;
}

type Info = ReturnType<Ext4['info']>;

function stateText(all: Info): string {
  const errors = all.errorCount > 0 ? [`${all.errorCount} errors recorded`] : [];
  const orphans = all.lastOrphan > 0 ? ['deleted files still to be freed'] : [];
  const why = all.reason ? [`read-only: ${all.reason}`] : [];
  return [...all.state, ...errors, ...orphans, ...why].join(', ');
}

function mountText(all: Info): string {
  const where = all.lastMounted ? ` on ${shown(all.lastMounted)}` : '';
  const count = all.mountCount === 1 ? 'once' : `${all.mountCount} times`;
  return all.mounted > 0
    ? `${dateOf(all.mounted)}${where}, ${count} since it was checked`
    : 'never';
}

const dateOf = (sec: number): string =>
  sec > 0 ? fullDate({ sec, nsec: 0 }).replace('.000000000', '') : 'never';

/** What the journal held, and what was done about it. */
export function journalText(journal: Info['journal']): string {
  const parts = [
    `${journal.transactions} ${journal.transactions === 1 ? 'transaction' : 'transactions'}`,
  ];
  parts.push(`${journal.blocks} ${journal.blocks === 1 ? 'block' : 'blocks'}`);
  if (journal.fastCommits > 0) parts.push(`${journal.fastCommits} fast commits`);
  const errno = journal.errno ? ` (aborted with error ${journal.errno})` : '';
  switch (journal.state) {
    case 'none':
      return 'none';
    case 'clean':
      return `clean${errno}`;
    case 'ignored':
      return `ignored${errno}`;
    default: {
      const done =
        journal.state === 'memory' ? 'replayed in memory, the image is as it was' : 'replayed';
      return `needed recovery: ${parts.join(', ')}: ${done}${errno}`;
    }
  }
}

function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines[lines.length - 1];
    if (last === undefined || last.length + word.length >= columns) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}
