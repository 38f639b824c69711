// A file as one JSON object: ls, find, tree and stat print the same fields.

import { deviceNumbers, isoTime, modeOctal, typeLetter } from './format.ts';
import type { Facts } from './tree.ts';

export interface Described {
  name: string;
  path: string;
  facts?: Facts;
  target?: string;
}

/** Sizes in bytes, blocks in units of 512 bytes, times in UTC with nanoseconds, the mode in octal. */
export function jsonOf(row: Described): Record<string, unknown> {
  const { name, path, facts, target } = row;
  if (!facts) return { name, path };
  const { ino, mode, nlink, uid, gid, size, blocks } = facts;
  const device = 'bc'.includes(typeLetter(mode)) ? deviceNumbers(facts.rdev) : undefined;
  return {
    name,
    path,
    type: typeLetter(mode),
    mode: modeOctal(mode),
    ino,
    nlink,
    uid,
    gid,
    size,
    blocks,
    mtime: isoTime(facts.mtime),
    atime: isoTime(facts.atime),
    ctime: isoTime(facts.ctime),
    birthtime: isoTime(facts.birthtime),
    ...(device && { device }),
    ...(target !== undefined && { target }),
  };
}
