// The letters of `ext4 mkfs` as options of the library: lists with commas behind -E and -J, sizes as mke2fs reads them.

import type { JournalOptions, MkfsOptions } from '../mkfs/options.ts';
import type { Call } from './args.ts';
import { UsageError } from './errors.ts';

const UNITS: Record<string, number> = { k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40, s: 512 };

/** A size in bytes: KiB without a unit, or blocks when the block size was given. UsageError. */
export function sizeOf(text: string, blockSize?: number): number {
  const match = /^(\d+)([kmgts]?)$/i.exec(text);
  const unit = match?.[2] ? UNITS[match[2].toLowerCase()] : (blockSize ?? 1024);
  const bytes = match ? Number(match[1]) * unit : Number.NaN;
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  throw new UsageError(`'${text}' is no size`);
}

/** What the command line asks for. UsageError for what cannot be read; what cannot be made is mkfs's to say. */
export function optionsOf(call: Call): MkfsOptions {
  const number = (name: string) => numberOf(call.value(name), `-${name}`);
  const options: MkfsOptions = {
    type: call.value('t') as MkfsOptions['type'],
    usage: call.value('T'),
    preset: call.value('preset') as MkfsOptions['preset'],
    features: call.value('O'),
    blockSize: number('b'),
    clusterSize: number('C'),
    inodeSize: number('I'),
    inodeRatio: number('i'),
    inodes: number('N'),
    label: call.value('L'),
    lastMounted: call.value('M'),
    uuid: call.value('U') === 'time' ? 'random' : call.value('U'),
    reservedPercent: number('m'),
    blocksPerGroup: number('g'),
    flexBgSize: number('G'),
    errors: call.value('e') as MkfsOptions['errors'],
    now: epoch(call.io.env.SOURCE_DATE_EPOCH),
    ...extended(call.value('E')),
  };
  if (call.has('j') || call.has('J')) options.journal = journal(call.value('J'));
  return defined(options);
}

/** The path of -J device=, if there is one. */
export function journalPathOf(call: Call): string | undefined {
  for (const [name, value] of pairs(call.value('J'))) if (name === 'device') return value;
  return undefined;
}

function epoch(text: string | undefined): number | undefined {
  if (!text) return undefined;
  if (!/^\d+$/.test(text)) throw new UsageError(`SOURCE_DATE_EPOCH '${text}' is no time`);
  return Number(text);
}

/** Without what was not given: the defaults are the library's. */
function defined(options: MkfsOptions): MkfsOptions {
  return Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined),
  ) as MkfsOptions;
}

function numberOf(text: string | undefined, what: string): number | undefined {
  if (text === undefined) return undefined;
  const match = /^(\d+(?:\.\d+)?)([kmg]?)$/i.exec(text);
  if (!match) throw new UsageError(`${what}: '${text}' is no number`);
  return Number(match[1]) * (match[2] ? UNITS[match[2].toLowerCase()] : 1);
}

function* pairs(text: string | undefined): Generator<[string, string | undefined]> {
  for (const token of (text ?? '').split(',')) {
    if (token === '') continue;
    const at = token.indexOf('=');
    yield at < 0 ? [token, undefined] : [token.slice(0, at), token.slice(at + 1)];
  }
}

type Reader = (value: string | undefined, what: string) => Partial<MkfsOptions>;

const whole =
  (key: keyof MkfsOptions): Reader =>
  (value, what) => {
    if (value === undefined) throw new UsageError(`${what} needs a value`);
    return { [key]: numberOf(value, what) };
  };
const words =
  (key: keyof MkfsOptions): Reader =>
  (value, what) => {
    if (value === undefined) throw new UsageError(`${what} needs a value`);
    return { [key]: value };
  };
const flag =
  (key: keyof MkfsOptions, on = true): Reader =>
  (value) => ({ [key]: value === undefined ? on : value !== '0' });

const EXTENDED: Record<string, Reader> = {
  stride: whole('stride'),
  stripe_width: whole('stripeWidth'),
  'stripe-width': whole('stripeWidth'),
  resize: whole('resize'),
  hash_seed: words('hashSeed'),
  hash_alg: words('hashAlg'),
  lazy_itable_init: flag('lazyItableInit'),
  lazy_journal_init: flag('lazyJournalInit'),
  num_backup_sb: whole('numBackupSb'),
  packed_meta_blocks: flag('packedMetaBlocks'),
  desc_size: whole('descSize'),
  'desc-size': whole('descSize'),
  orphan_file_size: whole('orphanFileSize'),
  mmp_update_interval: whole('mmpUpdateInterval'),
  offset: whole('offset'),
  discard: flag('discard'),
  nodiscard: flag('discard', false),
  assume_storage_prezeroed: flag('zeroed'),
  root_owner: owner,
  root_perms: (value) => ({ rootPerms: Number.parseInt(value ?? '', 8) }),
};

function owner(value: string | undefined): Partial<MkfsOptions> {
  const match = /^(\d+):(\d+)$/.exec(value ?? '0:0');
  if (!match) throw new UsageError(`-E root_owner: '${value}' is no UID:GID`);
  return { rootOwner: { uid: Number(match[1]), gid: Number(match[2]) } };
}

function extended(text: string | undefined): Partial<MkfsOptions> {
  const options: Partial<MkfsOptions> = {};
  for (const [name, value] of pairs(text)) {
    if (!Object.hasOwn(EXTENDED, name)) throw new UsageError(`-E: there is no option '${name}'`);
    Object.assign(options, EXTENDED[name](value, `-E ${name}`));
  }
  return options;
}

function journal(text: string | undefined): JournalOptions {
  const options: JournalOptions = {};
  for (const [name, value] of pairs(text)) {
    if (name === 'device') continue;
    const number = numberOf(value ?? '', `-J ${name}`);
    if (name === 'size') options.size = number! * 2 ** 20;
    else if (name === 'location') options.location = number;
    else if (name === 'fast_commit_size') options.fastCommitSize = number! * 2 ** 10;
    else throw new UsageError(`-J: there is no option '${name}'`);
  }
  return options;
}
