// Checking a file system: `fsck` of 1 GiB with 100,000 files in 100 directories must not take more than three times
// what e2fsck -fn takes, its process start taken off. Both read what the host has in memory. `--quick`: fewer rounds.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { openFile } from '../build/ts/block/node.js';
import { fsckSync } from '../build/ts/index.js';
import { race } from './harness.mjs';
import { benchDir, hasTool, tool, warm } from './lib/image.mjs';
import { check } from './lib/ours.mjs';
import { compare, finish } from './lib/report.mjs';

const quick = process.argv.includes('--quick');
if (!hasTool('e2fsck')) throw new Error('not run: install e2fsprogs');

/** Half of the files are empty, the others have up to 5,000 bytes. */
function makeImage() {
  const tree = join(benchDir(), 'files');
  const path = join(benchDir(), 'fsck.img');
  for (let d = 0; d < 100; d++) {
    const dir = join(tree, `dir-${d}`);
    fs.mkdirSync(dir, { recursive: true });
    for (let i = 0; i < 1000; i++) {
      fs.writeFileSync(join(dir, `file-${i}`), Buffer.alloc(i % 2 ? (i * 7) % 5000 : 0, i % 251));
    }
  }
  tool('mke2fs', ['-q', '-F', '-t', 'ext4', '-N', '110000', '-d', tree, path, '1G']);
  tool('e2fsck', ['-fyD', path], [0, 1]);
  fs.rmSync(tree, { recursive: true });
  warm(path);
  return path;
}

/** Nanoseconds that a process takes. */
function timed(name, args) {
  const start = performance.now();
  const { status } = spawnSync(name, args, {
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
    stdio: 'ignore',
  });
  const took = (performance.now() - start) * 1e6;
  check(status === 0, `${name} ends with 0, not ${status}`);
  return took;
}

const path = makeImage();
const device = openFile(path, { readOnly: true });
let startUp = Number.POSITIVE_INFINITY;
for (let i = 0; i < 11; i++) startUp = Math.min(startUp, timed('e2fsck', ['-V']));

const subjects = [
  {
    name: 'fsck',
    fn: () => {
      const { exitCode, inodes } = fsckSync(device);
      check(exitCode === 0, 'the image is clean');
      return inodes.used;
    },
  },
  {
    name: 'e2fsck -fn',
    run: async (count) => {
      let sum = 0;
      for (let i = 0; i < count; i++) sum += timed('e2fsck', ['-fn', path]) - startUp;
      return sum;
    },
  },
];
const times = await race(subjects, { rounds: quick ? 5 : 15, slice: 1 });
compare('fsck of 100,000 files', times, { ours: 'fsck', peer: 'e2fsck -fn', target: 1 / 3 });
device.closeSync();
finish(`npm run bench -- ${quick ? '--quick ' : ''}fsck`);
