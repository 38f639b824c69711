// mkfs of 20 GiB and of 1 TiB in sparse files against mke2fs with the same defaults, in turns; at most twice its wall
// time. mke2fs's process start is measured by one that only prints its version, and taken off. `--quick`: fewer rounds.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { openFile } from '../build/ts/block/node.js';
import { mkfsSync } from '../build/ts/index.js';
import { race } from './harness.mjs';
import { benchDir, GIB, TIB, tool } from './lib/image.mjs';
import { check, timed } from './lib/ours.mjs';
import { compare, finish } from './lib/report.mjs';

const quick = process.argv.includes('--quick');
const rounds = quick ? 3 : 9;
const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };

/** A sparse file without a block, as both sides begin. */
function fresh(path, size) {
  fs.rmSync(path, { force: true });
  fs.writeFileSync(path, '');
  fs.truncateSync(path, size);
}

function ours(path, size) {
  const device = openFile(path);
  mkfsSync(device, { features: '^metadata_csum_seed,^orphan_file', zeroed: true });
  device.closeSync();
  check(fs.statSync(path).size === size, 'the file keeps its size');
}

const mke2fs = (args) => execFileSync('mke2fs', args, { env, stdio: 'ignore' });

/** Nanoseconds of a process of mke2fs that makes nothing, the least of several. */
function startTime() {
  const times = Array.from({ length: 15 }, () => {
    const start = performance.now();
    mke2fs(['-V']);
    return performance.now() - start;
  });
  return Math.min(...times) * 1e6;
}

for (const [name, size] of [
  ['20 GiB', 20 * GIB],
  ['1 TiB', TIB],
]) {
  const [a, b] = ['ours.img', 'mke2fs.img'].map((file) => join(benchDir(), file));
  const start = startTime();
  const peer = timed(
    'mke2fs',
    () => mke2fs(['-q', '-F', '-t', 'ext4', '-O', '^metadata_csum_seed,^orphan_file', b]),
    () => fresh(b, size),
  );
  const bare = { name: 'mke2fs', run: async (count) => (await peer.run(count)) - count * start };
  const mine = timed(
    'ours',
    () => ours(a, size),
    () => fresh(a, size),
  );
  const times = await race([mine, bare], { rounds });
  compare(`mkfs of ${name}`, times, { ours: 'ours', peer: 'mke2fs', target: 0.5 });
  tool('e2fsck', ['-fn', a]);
  for (const path of [a, b]) fs.rmSync(path, { force: true });
}
finish(`npm run bench -- ${quick ? '--quick ' : ''}mkfs`);
