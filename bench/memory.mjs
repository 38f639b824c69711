// Memory: what mounts of 15 TiB (a sparse file) and 16 TiB (a sparse memory device) cost, and that the cache keeps to
// cacheBytes while everything that a mount can read of its descriptors goes through it. Resident memory is the
// process's, its growth counted from before the mount.

import fs from 'node:fs';
import { openFile } from '../build/ts/block/node.js';
import { mountSync } from '../build/ts/index.js';
import { MIB, readImage, SEQUENTIAL, sparseImage, TIB } from './lib/image.mjs';
import { finish, state, time } from './lib/report.mjs';
import { formattedMemory } from './lib/sparse.mjs';

const quick = process.argv.includes('--quick');
const CACHE = 8 * MIB;

function resident() {
  globalThis.gc?.();
  const status = fs.readFileSync('/proc/self/status', 'latin1');
  return Number(/VmRSS:\s+(\d+)/.exec(status)[1]) * 1024;
}

const mib = (bytes) => `${(bytes / MIB).toFixed(1)} MiB`;

/** Mounts with a small cache, does `work`, and says what it took. */
function measure(what, device, work) {
  const before = resident();
  const start = performance.now();
  const img = mountSync(device, { cacheBytes: CACHE });
  const ns = (performance.now() - start) * 1e6;
  work(img);
  const { cacheBytes, freeBytes, evictions } = img.counters();
  const limit = `≤ ${mib(CACHE)}`;
  state(`${what}: cache`, mib(cacheBytes), { limit, passed: cacheBytes <= CACHE });
  state(`${what}: in use of it, dropped blocks and folios`, mib(cacheBytes - freeBytes), {
    against: `${evictions} dropped`,
  });
  state(`${what}: growth of the process`, mib(Math.max(0, resident() - before)));
  state(`${what}: mount`, time(ns));
  img.unmountSync();
}

/** statfs reads every group descriptor: 8 MiB of them in 16 TiB. */
const wholeTable = (img) => {
  img.statfsSync('/');
  img.readdirSync('/');
};

const image = openFile(sparseImage('15t.img', 15 * TIB), { readOnly: true });
measure('15 TiB in a sparse file', image, wholeTable);
image.closeSync();
measure('16 TiB in a sparse memory device', formattedMemory(), wholeTable);
if (!quick) {
  const device = openFile(readImage(), { readOnly: true });
  measure('256 MiB read by 64 KiB', device, (img) => {
    const fd = img.openSync('/sequential', 'r');
    const into = Buffer.alloc(65536);
    for (let pos = 0; pos < SEQUENTIAL; pos += into.length) img.readSync(fd, into, 0, 65536, pos);
    img.closeSync(fd);
  });
  device.closeSync();
}
finish(`npm run bench -- ${quick ? '--quick ' : ''}memory`);
