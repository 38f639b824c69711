// Random calls that change the data of files, for two file systems at once, with enough calls between them that change
// names, so that data goes into files that are open, linked, replaced and removed.

import { type Random, random } from '../fuzz/random.ts';
import { path as anyPath, type Call, FLAGS, fd } from './changes.ts';

const NAMES = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'dir'];
const ENCODINGS = ['utf8', 'utf-16le', 'latin1', 'base64', 'hex', 'ascii', 'base64url'];
const EDGES = [0, 1, 59, 60, 61, 159, 160, 511, 1023, 1024, 1025, 4095, 4096, 4097, 8192, 65536];

/** Calls at random; the same seed gives the same ones, their data included. */
export function* dataCalls(seed: number, count: number): Generator<Call> {
  const r = random(seed);
  yield ['mkdir', '/dir'];
  const makers = Object.values(MAKERS);
  for (let i = 0; i < count; i++) yield r.pick(makers)(r);
}

function path(r: Random): string {
  if (r.chance(0.02)) return anyPath(r);
  return r.chance(0.1) ? `/dir/${r.pick(NAMES)}` : `/${r.pick(NAMES)}`;
}

/** At and around the edges of blocks, folios and inline data, or anywhere. */
function size(r: Random): number {
  return r.chance(0.5) ? r.pick(EDGES) + r.int(2) : r.int(r.chance(0.2) ? 300_000 : 20_000);
}

/** Far positions make holes, the farthest is beyond what a file can have. */
function pos(r: Random): unknown {
  if (r.chance(0.3)) return null;
  if (r.chance(0.02)) return 1e15;
  return size(r) + (r.chance(0.05) ? 10_000_000 : 0);
}

function bytes(r: Random, len = size(r)): Buffer {
  const seed = r.u32();
  return Buffer.from(Uint8Array.from({ length: len }, (_, i) => (i * 7 + seed + (i >> 9)) & 255));
}

function text(r: Random): string {
  return Array.from({ length: r.int(40) }, () =>
    r.pick(['x', '0', 'ü', '日', '😀', '=', '\n']),
  ).join('');
}

const MAKERS: Record<string, (r: Random) => Call> = {
  open: (r) => ['open', path(r), r.pick([...FLAGS, 'as', 'rs+']), 0o644],
  openAgain: (r) => ['open', path(r), r.pick(['w+', 'r+', 'a+'])],
  close: (r) => ['close', fd(r)],
  write: (r) => ['write', fd(r), bytes(r)],
  writeAt: (r) => ['write', fd(r), bytes(r), 0, undefined, pos(r)],
  writePart: (r) => ['write', fd(r), bytes(r, 5000), r.int(6000), r.int(6000), pos(r)],
  writeText: (r) => ['write', fd(r), `t${text(r)}`, pos(r), r.pick(ENCODINGS)],
  writev: (r) => ['writev', fd(r), [bytes(r), bytes(r, 0), bytes(r)], pos(r)],
  read: (r) => {
    const room = 1 + size(r);
    return ['read', fd(r), { room }, 0, room, pos(r)];
  },
  readAgain: (r) => ['read', fd(r), { room: 4096 }, 0, 4096, null],
  ftruncate: (r) => ['ftruncate', fd(r), size(r)],
  truncate: (r) => ['truncate', path(r), size(r)],
  fsync: (r) => [r.pick(['fsync', 'fdatasync']), fd(r)],
  writeFile: (r) => ['writeFile', path(r), bytes(r), { flag: r.pick(FLAGS), flush: r.chance(0.2) }],
  writeFileText: (r) => ['writeFile', path(r), `t${text(r)}`, r.pick(ENCODINGS)],
  writeFileFd: (r) => ['writeFile', fd(r), bytes(r)],
  appendFile: (r) => ['appendFile', path(r), bytes(r)],
  appendFileFd: (r) => ['appendFile', fd(r), bytes(r)],
  readFile: (r) => ['readFile', path(r)],
  readFileFd: (r) => ['readFile', fd(r)],
  copyFile: (r) => ['copyFile', path(r), path(r), r.pick([0, 0, 0, 1, 2])],
  stat: (r) => ['access', path(r)],
  rename: (r) => ['rename', path(r), path(r)],
  link: (r) => ['link', path(r), path(r)],
  symlink: (r) => ['symlink', r.pick(NAMES), path(r)],
  unlink: (r) => ['unlink', path(r)],
};
