// How fast one file reads, measured honestly and briefly: sequential with the library's cache empty, then 4 KiB at
// random out of the cache, by copy and by zero-copy view, beside what node:fs does with the same bytes. For a feeling,
// not for comparisons: `npm run bench` is for those.

import { closeSync, openSync, readSync } from 'node:fs';
import type { Ext4 } from '../index.ts';
import { bytesOf } from './tree.ts';

export interface Speeds {
  /** Bytes a second, in 1 MiB reads. */
  cold: number;
  hostSequential?: number;
  /** Nanoseconds a 4 KiB read; undefined when the file is too small. */
  cached?: number;
  view?: number;
  hostRandom?: number;
}

const CHUNK = 1 << 20;
const PAGE = 4096;
/** Half of the command's cache: all of it stays there. */
const WORKING_SET = 16 << 20;
const CALLS = 20_000;

/** `fresh` mounts the file system anew, three times: the quickest counts. `host` is the same file on the host. */
export async function measure(
  fresh: () => Promise<Ext4>,
  path: string,
  size: number,
  host?: Buffer,
): Promise<Speeds> {
  const len = Math.min(size, 256 << 20);
  const into = Buffer.alloc(CHUNK);
  const speeds: Speeds = { cold: 0 };
  for (let round = 0; round < 3; round++) {
    const img = await fresh();
    const fd = img.openSync(bytesOf(path), 'r');
    const cold = sequential((pos) => img.readSync(fd, into, 0, CHUNK, pos), len);
    speeds.cold = Math.max(speeds.cold, cold);
    if (round === 2) measureCached(speeds, img, fd, size);
    await img.unmount();
  }
  if (host !== undefined) measureHost(speeds, host, len, pagesOf(size));
  return speeds;
}

const pagesOf = (size: number): number => Math.floor(Math.min(size, WORKING_SET) / PAGE);

function measureCached(speeds: Speeds, img: Ext4, fd: number, size: number): void {
  const pages = pagesOf(size);
  if (pages === 0) return;
  const page = Buffer.alloc(PAGE);
  speeds.cached = random((pos) => img.readSync(fd, page, 0, PAGE, pos), pages);
  speeds.view = random((pos) => img.viewSync(fd, pos, PAGE).release(), pages);
}

function measureHost(speeds: Speeds, host: Buffer, len: number, pages: number): void {
  const fd = openSync(host, 'r');
  const into = Buffer.alloc(CHUNK);
  const once = () => sequential((pos) => readSync(fd, into, 0, CHUNK, pos), len);
  speeds.hostSequential = Math.max(once(), once(), once());
  if (pages > 0) {
    speeds.hostRandom = random((pos) => readSync(fd, into, 0, PAGE, pos), pages);
  }
  closeSync(fd);
}

function sequential(read: (pos: number) => number, len: number): number {
  const start = performance.now();
  for (let pos = 0; pos < len; ) {
    const count = read(pos);
    if (count === 0) break;
    pos += count;
  }
  return len / ((performance.now() - start) / 1000);
}

/** Nanoseconds a call: the quickest of five rounds, the first of which fills the cache. */
function random(call: (pos: number) => unknown, pages: number): number {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 5; round++) {
    for (let i = 0; round === 0 && i < pages; i++) call(i * PAGE);
    let at = 12345;
    const start = performance.now();
    for (let i = 0; i < CALLS; i++) {
      at = (Math.imul(at, 1664525) + 1013904223) >>> 0;
      call((at % pages) * PAGE);
    }
    best = Math.min(best, (performance.now() - start) / CALLS);
  }
  return best * 1e6;
}
