// Mount options as users give them: an object with the kernel's names, or the text of `mount -o`. Unknown names and
// wrong types are refused; what depends on the image (the least cache, a journal) is the mount's to check.

import { Ext4Error } from '../errno.ts';
import type { MountOptions } from '../vfs/options.ts';
import { invalidType, invalidValue } from './invalid.ts';
import { checkBoolean, checkInteger } from './validate.ts';

type Check = (value: unknown, name: string) => void;

function oneOf(...allowed: string[]): Check {
  return (value, name) => {
    if (typeof value !== 'string') throw invalidType(name, 'string', value);
    if (allowed.includes(value)) return;
    throw invalidValue(name, value, `must be one of: ${allowed.map((a) => `'${a}'`).join(', ')}`);
  };
}

function whole(max: number): Check {
  return (value, name) => checkInteger(value, name, 0, max);
}

const MAX_ID = 4294967294;
const CHECKS: Record<keyof MountOptions, Check> = {
  ro: checkBoolean,
  noload: checkBoolean,
  data: oneOf('ordered', 'journal', 'writeback'),
  dax: oneOf('always', 'inode', 'never'),
  bufferedIomap: checkBoolean,
  delalloc: checkBoolean,
  barrier: checkBoolean,
  commit: whole(900),
  errors: oneOf('remount-ro', 'continue', 'panic'),
  dataErrAbort: checkBoolean,
  relatime: checkBoolean,
  noatime: checkBoolean,
  journal: oneOf('replay', 'memory', 'refuse'),
  journalDevice: checkDevice,
  clearMmp: checkBoolean,
  cacheBytes: whole(Number.MAX_SAFE_INTEGER),
  shared: checkBoolean,
  now: whole(2 ** 34 - 2 ** 31 - 1),
  uid: whole(MAX_ID),
  gid: whole(MAX_ID),
  umask: whole(0o777),
  forceMiss: checkBoolean,
  simd: checkBoolean,
};

function checkDevice(value: unknown, name: string): void {
  const device = value as { size?: unknown; read?: unknown } | null;
  if (typeof device?.size === 'number' && typeof device.read === 'function') return;
  throw invalidType(name, 'BlockDevice', value);
}

/** The options, checked: names, types, ranges. An option that is undefined is not set. */
export function checkMountOptions(options: unknown): MountOptions {
  if (options === undefined) return {};
  if (typeof options !== 'object' || options === null)
    throw invalidType('options', 'Object', options);
  const checked: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    const check = Object.hasOwn(CHECKS, name) ? CHECKS[name as keyof MountOptions] : undefined;
    if (!check) throw new Ext4Error('EINVAL', `unknown mount option '${name}'`);
    check(value, `options.${name}`);
    checked[name] = value;
  }
  return checked as MountOptions;
}

/** Words without a value, as mount(8) has them. */
const WORDS: Record<string, MountOptions> = {
  defaults: {},
  ro: { ro: true },
  rw: { ro: false },
  noload: { noload: true },
  norecovery: { noload: true },
  load: { noload: false },
  dax: { dax: 'always' },
  nodax: { dax: 'never' },
  buffered_iomap: { bufferedIomap: true },
  nobuffered_iomap: { bufferedIomap: false },
  delalloc: { delalloc: true },
  nodelalloc: { delalloc: false },
  barrier: { barrier: true },
  nobarrier: { barrier: false },
  relatime: { relatime: true },
  norelatime: { relatime: false },
  noatime: { noatime: true },
  atime: { noatime: false },
  shared: { shared: true },
  noshared: { shared: false },
  clear_mmp: { clearMmp: true },
};

const TEXT: Record<string, keyof MountOptions> = {
  data: 'data',
  dax: 'dax',
  errors: 'errors',
  journal: 'journal',
};
const NUMBERS: Record<string, { name: keyof MountOptions; radix: 8 | 10 }> = {
  commit: { name: 'commit', radix: 10 },
  now: { name: 'now', radix: 10 },
  uid: { name: 'uid', radix: 10 },
  gid: { name: 'gid', radix: 10 },
  umask: { name: 'umask', radix: 8 },
};
const UNITS: Record<string, number> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

/**
 * The options of `-o`: words and name=value pairs, separated by commas; the last one counts. cache_bytes takes
 * K, M and G, umask is octal. EINVAL names the one that is not understood.
 */
export function parseMountOptions(text: string): MountOptions {
  const words = text.split(',').map((word) => word.trim());
  const options = Object.assign({}, ...words.filter(Boolean).map(parseOne)) as MountOptions;
  try {
    return checkMountOptions(options);
  } catch (error) {
    throw new Ext4Error('EINVAL', `mount options '${text}': ${(error as Error).message}`);
  }
}

function parseOne(word: string): MountOptions {
  const at = word.indexOf('=');
  if (at < 0) return Object.hasOwn(WORDS, word) ? WORDS[word] : unknown(word);
  const name = word.slice(0, at);
  const value = word.slice(at + 1);
  if (Object.hasOwn(TEXT, name)) return { [TEXT[name]]: value };
  if (Object.hasOwn(NUMBERS, name)) {
    const { name: option, radix } = NUMBERS[name];
    return { [option]: parseNumber(word, value, radix) };
  }
  if (name === 'barrier') return { barrier: parseSwitch(word, value) };
  if (name === 'data_err') return { dataErrAbort: parseDataErr(word, value) };
  if (name === 'cache_bytes' || name === 'cacheBytes')
    return { cacheBytes: parseBytes(word, value) };
  return unknown(word);
}

function unknown(word: string): never {
  throw new Ext4Error('EINVAL', `unknown mount option '${word}'`);
}

function bad(word: string): never {
  throw new Ext4Error('EINVAL', `mount option '${word}' has no valid value`);
}

function parseNumber(word: string, value: string, radix: 8 | 10): number {
  const digits = radix === 8 ? /^[0-7]+$/ : /^[0-9]+$/;
  return digits.test(value) ? Number.parseInt(value, radix) : bad(word);
}

function parseSwitch(word: string, value: string): boolean {
  return value === '1' ? true : value === '0' ? false : bad(word);
}

function parseDataErr(word: string, value: string): boolean {
  return value === 'abort' ? true : value === 'ignore' ? false : bad(word);
}

function parseBytes(word: string, value: string): number {
  const match = /^([0-9]+)([kmg]?)$/i.exec(value);
  return match ? Number(match[1]) * UNITS[match[2].toLowerCase()] : bad(word);
}
