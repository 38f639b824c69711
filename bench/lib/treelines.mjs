// The lines of bench tree. A tree is a directory on one side: ours, the kernel's, ext2fs's. Every operation is timed in
// slices of names one behind the other; commits and checkpoints fall where they fall.

import fs from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { openFile } from '../../build/ts/block/node.js';
import { mountSync } from '../../build/ts/index.js';
import { benchDir, GIB, hasTool, onExit, tool } from './image.mjs';
import { check } from './ours.mjs';
import { compare, state, time } from './report.mjs';

const FILES = 10_000;
const SLICE = 500;
const OURS = 'ours';
const KERNEL = "the kernel's ext4";
const PEER = 'npm ext2fs';
/** The peer takes a fraction of a millisecond a file; `--quick` gives it fewer. */
const QUICK_FILES = 500;

/** An empty file system for `inodes` files. */
function emptyImage(name, size, inodes, options = []) {
  const path = join(benchDir(), name);
  fs.writeFileSync(path, '');
  fs.truncateSync(path, size);
  const ready = 'lazy_itable_init=0,lazy_journal_init=0,nodiscard';
  const args = ['-q', '-F', '-t', 'ext4', '-b', '4096', '-N', `${inodes}`, ...options];
  tool('mke2fs', [...args, '-E', ready, path]);
  return path;
}

function openOurs() {
  const device = openFile(emptyImage('ours.img', GIB, 65536));
  const img = mountSync(device, { dax: 'never' });
  const close = () => {
    img.unmountSync();
    device.closeSync();
  };
  return { name: OURS, api: img, root: '', files: FILES, close };
}

/** Null without root or loop devices. */
function openKernel() {
  if (process.getuid?.() !== 0 || !hasTool('mount') || !fs.existsSync('/dev/loop-control')) {
    console.log("not run: the comparisons with the kernel's ext4 (run as root, with loop devices)");
    return null;
  }
  const root = join(benchDir(), 'tree');
  fs.mkdirSync(root);
  tool('mount', ['-o', 'loop', emptyImage('kernel.img', GIB, 65536), root]);
  let mounted = true;
  const close = () => {
    if (mounted) tool('umount', [root]);
    mounted = false;
  };
  onExit(close);
  return { name: KERNEL, api: fs, root, files: FILES, close };
}

/** Null when it is not installed. Its disk answers on the spot: its best case. */
async function openPeer(quick) {
  let ext2fs;
  try {
    ({ default: ext2fs } = await import('ext2fs'));
  } catch {
    console.log('not run: the comparisons with ext2fs (npm install)');
    return null;
  }
  const handle = await open(emptyImage('ext2fs.img', GIB, 65536), 'r+');
  const { fd } = handle;
  const mounted = await ext2fs.mount({
    read: (...args) => ({ bytesRead: fs.readSync(fd, ...args), buffer: args[0] }),
    write: (...args) => ({ bytesWritten: fs.writeSync(fd, ...args), buffer: args[0] }),
    discard: async () => {},
    flush: async () => {},
  });
  const close = async () => {
    await ext2fs.umount(mounted);
    await handle.close();
  };
  return {
    name: PEER,
    promises: mounted.promises,
    root: '',
    files: quick ? QUICK_FILES : FILES,
    close,
  };
}

/** Runs `work` on the numbers of a slice, slice by slice; nanoseconds a call of each. */
function slices(count, work, into) {
  for (let from = 0; from < count; from += SLICE) {
    const start = performance.now();
    for (let i = from; i < from + SLICE; i++) work(i);
    into.push(((performance.now() - start) * 1e6) / SLICE);
  }
}

/** The four operations in one directory. Both sides run the same code, each in a copy of its own. */
const roundOf = () =>
  new Function(
    'slices',
    `return (api, dir, files, times) => {
      api.mkdirSync(dir);
      slices(files, (i) => api.closeSync(api.openSync(dir + '/file-' + i, 'w')), times.create);
      slices(files, (i) => api.statSync(dir + '/file-' + i), times.stat);
      const start = performance.now();
      const found = api.readdirSync(dir).length;
      times.readdir.push(((performance.now() - start) * 1e6) / files);
      slices(files, (i) => api.unlinkSync(dir + '/file-' + i), times.unlink);
      api.rmdirSync(dir);
      return found;
    };`,
  )(slices);

async function peerRound({ promises, files }, dir, times) {
  await promises.mkdir(dir);
  const all = async (work, into) => {
    const start = performance.now();
    for (let i = 0; i < files; i++) await work(`${dir}/file-${i}`);
    into.push(((performance.now() - start) * 1e6) / files);
  };
  await all(async (path) => (await promises.open(path, 'w')).close(), times.create);
  await all((path) => promises.stat(path), times.stat);
  const start = performance.now();
  const found = (await promises.readdir(dir)).length;
  times.readdir.push(((performance.now() - start) * 1e6) / files);
  await all((path) => promises.unlink(path), times.unlink);
  await promises.rmdir(dir);
  return found;
}

const newTimes = () => ({ create: [], stat: [], readdir: [], unlink: [] });

function summary(times) {
  times.sort((a, b) => a - b);
  return { min: times[0], median: times[times.length >> 1] };
}

/** Create, stat, readdir, unlink on each side in turn. */
export async function nameLines(quick) {
  const sides = [openOurs(), openKernel(), await openPeer(quick)].filter((side) => side !== null);
  for (const side of sides) Object.assign(side, { times: newTimes(), round: roundOf() });
  const rounds = quick ? 5 : 15;
  for (let round = -1; round < rounds; round++) {
    for (const side of sides) {
      if (side.promises && round > 1) continue; // half a minute a round
      const dir = `${side.root}/names-${round}`;
      const found = side.promises
        ? await peerRound(side, dir, side.times)
        : side.round(side.api, dir, side.files, side.times);
      check(found === side.files, `${side.name}: all files are listed`);
      if (round < 0) side.times = newTimes(); // the first round warms up
    }
  }
  report(sides, quick);
  for (const side of sides) await side.close();
}

/** The peer's cost grows with the directory: with the few files of a quick run it only informs. */
function report(sides, quick) {
  const lines = {
    create: { kernel: 3, peer: quick ? undefined : 50 },
    stat: {},
    readdir: {},
    unlink: {},
  };
  for (const [what, target] of Object.entries(lines)) {
    const times = new Map(sides.map((side) => [side.name, summary(side.times[what])]));
    const text = `${what} of 10,000 files, each`;
    compare(text, times, { ours: OURS, peer: KERNEL, target: target.kernel });
    compare(text, times, { ours: OURS, peer: PEER, target: target.peer });
  }
}

const MILLION_CACHE = 512 * 2 ** 20;
/** Of the many, those that are timed. */
const LAST = 40_000;

/** Creates in one directory until it has a million entries: of the last 40,000 each slice is timed, in turn with one in
 *  a directory that ends with 10,000. */
export function createLines(quick) {
  const count = quick ? 200_000 : 1_000_000;
  const path = emptyImage('many.img', 4 * GIB, count + 6 * FILES, ['-J', 'size=512']);
  const device = openFile(path);
  const img = mountSync(device, { dax: 'never', cacheBytes: MILLION_CACHE });
  const create = (dir, from, to, times) =>
    slices(to - from, (i) => img.closeSync(img.openSync(`${dir}/file-${from + i}`, 'w')), times);
  const [small, large] = [[], []];
  img.mkdirSync('/large');
  create('/large', 0, count - LAST, []);
  for (let i = 0; i < LAST; i += SLICE) {
    const dir = `/small-${Math.floor(i / FILES)}`;
    if (i % FILES === 0) img.mkdirSync(dir);
    create(dir, i % FILES, (i % FILES) + SLICE, small);
    create('/large', count - LAST + i, count - LAST + i + SLICE, large);
  }
  const entries = img.readdirSync('/large').length;
  check(entries === count, `${count} files are listed`);
  img.unmountSync();
  device.closeSync();
  const [a, b] = [summary(small), summary(large)];
  const ratio = b.median / a.median;
  const from = `among 10,000: ${time(a.min)} (${time(a.median)})`;
  const what = `create among ${count.toLocaleString('en')} files`;
  const ratios = `ratio ${(b.min / a.min).toFixed(2)} (${ratio.toFixed(2)})`;
  const figure = `${time(b.min)} (${time(b.median)}), ${ratios}`;
  state(what, figure, { against: from, limit: 'ratio of medians ≤ 1.5', passed: ratio <= 1.5 });
}
