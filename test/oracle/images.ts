// The oracles' images as the tests use them: lists, reference states, and expansion into sparse files or devices.

import {
  closeSync,
  createReadStream,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  writeSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { createGunzip, gunzipSync } from 'node:zlib';
import { ORACLES } from '../need.ts';
import type { State } from './state.ts';

export interface ManifestRow {
  name: string;
  size: number;
  blockSize: number;
  needsRecovery: boolean;
  class: string;
  /** `ok`, `ok/Nerr` or an errno, of the kernel's read-only mount. */
  ro: string;
  noload: string;
  replay: string;
}

export interface KernelState {
  ro?: State;
  noload?: State;
  replay?: State;
}

/** Per image that needs recovery: home block -> first 12 hex digits of the SHA-1 of what replay leaves there. */
export interface Vector {
  name: string;
  bs: number;
  k_rc: string;
  d_rc: string;
  vec: Record<string, string>;
}

export function manifest(): ManifestRow[] {
  const [head, ...rows] = readFileSync(join(ORACLES, 'images/manifest.tsv'), 'utf8')
    .trim()
    .split('\n');
  const columns = head.split('\t');
  return rows.map((row) => {
    const cells = row.split('\t');
    const cell = (name: string): string => cells[columns.indexOf(name)];
    return {
      name: cell('name'),
      size: Number(cell('size')),
      blockSize: Number(cell('block_size')),
      needsRecovery: cell('needs_recovery') === '1',
      class: cell('class'),
      ro: cell('k6.18_ro'),
      noload: cell('k6.18_noload'),
      replay: cell('k6.18_replay'),
    };
  });
}

/** The states that the kernel read, by image; those of `names` only, for they are large. */
export async function kernelStates(): Promise<Map<string, KernelState>> {
  const file = createReadStream(join(ORACLES, 'images/kernel-state.jsonl.gz'));
  const states = new Map<string, KernelState>();
  for await (const line of createInterface({ input: file.pipe(createGunzip()) })) {
    const { name, ...state } = JSON.parse(line);
    states.set(name, state);
  }
  return states;
}

export function vectors(folder: 'images' | 'crash'): Vector[] {
  const text = readFileSync(join(ORACLES, folder, 'replay-vectors.jsonl'), 'utf8');
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

export function readJson<T>(...path: string[]): T {
  const bytes = readFileSync(join(ORACLES, ...path));
  const text = path[path.length - 1].endsWith('.gz') ? gunzipSync(bytes) : bytes;
  return JSON.parse(text.toString('utf8')) as T;
}

/** Names without `.img.gz` of a folder's images. */
export function imageNames(folder: string): string[] {
  const files = readdirSync(join(ORACLES, folder)).filter((file) => file.endsWith('.img.gz'));
  return files.map((file) => basename(file, '.img.gz')).sort();
}

/** The bytes of an image of the oracles, `name` without `.gz`. */
export function imageBytes(folder: string, name: string): Buffer {
  return gunzipSync(readFileSync(join(ORACLES, folder, `${name}.gz`)));
}

const PAGE = 4096;
const ZEROES = Buffer.alloc(PAGE);

/** Calls `each` with every page that holds something. */
export function nonZeroPages(bytes: Buffer, each: (page: Buffer, pos: number) => void): void {
  for (let pos = 0; pos < bytes.length; pos += PAGE) {
    const page = bytes.subarray(pos, pos + PAGE);
    if (!page.equals(page.length === PAGE ? ZEROES : ZEROES.subarray(0, page.length)))
      each(page, pos);
  }
}

/** Writes a sparse file; the size is rounded up to whole sectors, as a loop device would round it down. */
export function writeSparse(path: string, bytes: Buffer): void {
  const fd = openSync(path, 'w');
  ftruncateSync(fd, Math.ceil(bytes.length / 512) * 512);
  nonZeroPages(bytes, (page, pos) => writeSync(fd, page, 0, page.length, pos));
  closeSync(fd);
}
