// `ext4 journal`: what lies in the journal, record by record, and what a recovery makes of it. The log is read as it
// is, recovery or not; what is damaged in it is said to be so.

import { coreOf } from '../api/fs.ts';
import { lendWindow, openJournal } from '../ext4/recover.ts';
import type { Flow } from '../flow.ts';
import type { Ext4 } from '../index.ts';
import { type DumpRecord, dumpJournal } from '../jbd2/dump.ts';
import { type Address, parseAddress } from './address.ts';
import { type Call, type Command, JSON_LINES } from './args.ts';
import { explain } from './errors.ts';
import { fullDate, paint } from './format.ts';
import { journalText } from './info.ts';
import { decodeName, shown } from './names.ts';
import { type Volumes, withVolumes } from './volume.ts';

export const journal: Command = {
  usage: 'journal IMAGE[:PARTITION]',
  about: `Shows what the journal holds: its superblock, the log from its start to its end with the
blocks that each transaction writes, fast commits, and what a recovery makes of them.`,
  options: [JSON_LINES],
  examples: ['ext4 journal crashed.img', 'ext4 journal --json crashed.img | jq -c .kind'],
  async run(call) {
    const [operand] = call.expect(1, 1);
    await withVolumes(call, async (volumes) => {
      try {
        await print(call, volumes, parseAddress(operand));
      } catch (error) {
        await call.complain(operand, error);
      }
    });
    return undefined;
  },
};

async function print(call: Call, volumes: Volumes, address: Address): Promise<void> {
  const { out } = call.io;
  const { img } = await volumes.mounted(address, { noload: true });
  if (img.info().journal.ino === 0 && !img.info().features.compat.includes('has_journal')) {
    return call.has('json') ? undefined : out.line('The file system has no journal.');
  }
  const records = await read(img);
  for (const record of records) {
    if (call.has('json')) await out.line(JSON.stringify(plain(record), hex));
    else for (const line of describe(record)) await out.line(paintLine(call, line));
  }
  if (!call.has('json')) await printOutcome(call, volumes, address);
}

/** The records of the log; the journal is found as for a recovery, and nothing is replayed. */
function read(img: Ext4): Promise<DumpRecord[]> {
  const core = coreOf(img);
  return core.run(readFlow(core.vol));
}

function* readFlow(vol: Parameters<typeof openJournal>[0]): Flow<DumpRecord[]> {
  const records: DumpRecord[] = [];
  const source = lendWindow(vol, yield* openJournal(vol));
  yield* dumpJournal(source, (record) => records.push(record));
  return records;
}

/** What a mount that replays in memory says, the only one who knows. */
async function printOutcome(call: Call, volumes: Volumes, address: Address): Promise<void> {
  try {
    const { img } = await volumes.mounted(address, { noload: false, journal: 'memory' });
    await call.io.out.line(`recovery     ${journalText(img.info().journal)}`);
  } catch (error) {
    await call.complain(address.text, error);
  }
}

function paintLine(call: Call, line: string): string {
  const head = line.slice(0, 12);
  return paint(call.io.colour, '2', head) + line.slice(12);
}

const TAG_ESCAPE = 1;
const TAG_DELETED = 4;

/** A record in words: twelve columns of its kind, then the rest. */
function describe(record: DumpRecord): string[] {
  const head = (kind: string) => kind.padEnd(12);
  switch (record.kind) {
    case 'super': {
      const { s_blocksize, s_errno, s_maxlen, s_sequence, s_start } = record.sb;
      const features = record.features.length > 0 ? record.features.join(' ') : 'none';
      const where = s_start === 0 ? 'empty' : `starts at block ${s_start}`;
      const error = s_errno === 0 ? '' : `, aborted with error ${-s_errno}`;
      return [
        `${head('journal')} ${s_maxlen} blocks of ${s_blocksize} bytes, features: ${features}`,
        `${head('log')} ${where}, next transaction ${s_sequence}${error}`,
      ];
    }
    case 'descriptor': {
      const odd = record.tags.filter(({ t_flags }) => t_flags & (TAG_ESCAPE | TAG_DELETED)).length;
      const count = record.tags.length === 1 ? '1 block' : `${record.tags.length} blocks`;
      const note = odd > 0 ? ` (${odd} escaped or deleted)` : '';
      const homes = ranges(record.tags.map(({ t_blocknr }) => t_blocknr));
      return [`${head(`tid ${record.tid}`)} ${at(record)}writes ${count}: ${homes}${note}`];
    }
    case 'revoke':
      return [`${head(`tid ${record.tid}`)} ${at(record)}revokes ${ranges(record.blocks)}`];
    case 'commit': {
      const time = fullDate({ sec: record.h_commit_sec, nsec: record.h_commit_nsec });
      return [`${head(`tid ${record.tid}`)} ${at(record)}commit, ${time}`];
    }
    case 'fastCommit':
      return [`${head(`fc ${record.tid}`)} ${fastText(record.record)}`];
    default: {
      const why = record.error ? `: ${explain(record.error).why}` : '';
      return [
        `${head('end')} at block ${record.jblk}, whole transactions: ${record.transactions}${why}`,
      ];
    }
  }
}

function at({ jblk, sound }: { jblk: number; sound: boolean }): string {
  return `block ${jblk}: ${sound ? '' : 'BAD CHECKSUM, '}`;
}

type FastRecord = Extract<DumpRecord, { kind: 'fastCommit' }>['record'];

function fastText(record: FastRecord): string {
  switch (record.op) {
    case 'addRange': {
      const { len, lblk, pblk, unwritten } = record.range;
      const kind = unwritten ? ', unwritten' : '';
      return `inode ${record.ino}: blocks at ${lblk}+${len} are ${pblk}+${len}${kind}`;
    }
    case 'delRange':
      return `inode ${record.ino}: no blocks at ${record.lblk}+${record.len}`;
    case 'inode':
      return `inode ${record.ino}: ${record.raw.length} bytes`;
    default: {
      const name = shown(decodeName(record.name));
      return `${record.op} ${name} in directory ${record.parent}: inode ${record.ino}`;
    }
  }
}

/** `3 7-9 12`: neighbours together, in the order of the list. */
export function ranges(blocks: number[]): string {
  const runs: [number, number][] = [];
  for (const block of blocks) {
    const last = runs[runs.length - 1];
    if (last && last[1] + 1 === block) last[1] = block;
    else runs.push([block, block]);
  }
  const shownRuns = runs.slice(0, 200).map(([a, b]) => (a === b ? String(a) : `${a}-${b}`));
  return shownRuns.join(' ') + (runs.length > 200 ? ` … (${runs.length - 200} more)` : '');
}

/** Errors become their text, names text where they are. */
function plain(record: DumpRecord): unknown {
  if (record.kind !== 'end' || !record.error) return record;
  return { ...record, error: explain(record.error).why };
}

function hex(_: string, value: unknown): unknown {
  return value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value;
}
