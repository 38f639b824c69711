// Reads that no line of the plan demands, for the record: tiny reads, warm stat and readdir, open and close, an image
// in memory (DAX), and the asynchronous way through a Blob.

import fs from 'node:fs';
import { join } from 'node:path';
import { blobDevice } from '../../build/ts/block/blob.js';
import { memoryDevice } from '../../build/ts/block/memory.js';
import { mount, mountSync } from '../../build/ts/index.js';
import { race } from '../harness.mjs';
import { fileName, MIB, RANDOM, SEQUENTIAL } from './image.mjs';
import { check, ours, timed } from './ours.mjs';
import { compare, rate } from './report.mjs';

const OURS = 'ours';
const KERNEL = "the kernel's ext4";

/** Calls of `len` bytes in order, round and round through a cached file. */
function tiny(read, fd, into, len) {
  let pos = 0;
  return () => {
    pos = pos + len > RANDOM ? 0 : pos;
    const count = read(fd, into, 0, len, pos);
    pos += len;
    return count;
  };
}

async function tinyLines({ img }, kernel, rounds) {
  const into = Buffer.alloc(65536);
  const mine = img.openSync('/random', 'r');
  img.readSync(mine, Buffer.alloc(RANDOM), 0, RANDOM, 0);
  const theirs = fs.openSync(join(kernel, 'random'), 'r');
  for (const len of [1, 16, 100, 1000, 65536]) {
    const subjects = [
      { name: OURS, fn: tiny(img.readSync, mine, into, len) },
      { name: KERNEL, fn: tiny(fs.readSync, theirs, into, len) },
    ];
    compare(`cached reads of ${len} bytes`, await race(subjects, { rounds }), {
      ours: OURS,
      peer: KERNEL,
    });
  }
  img.closeSync(mine);
  fs.closeSync(theirs);
}

/** Warm calls by name, the same functions of both sides. */
async function nameLines({ img }, kernel, rounds) {
  const calls = {
    'stat, warm': (api, root) => (i) => api.statSync(`${root}${fileName(i % 1000)}`).size,
    'open and close, warm': (api, root) => (i) => {
      const fd = api.openSync(`${root}${fileName(i % 1000)}`, 'r');
      api.closeSync(fd);
      return fd;
    },
    'readFile of 1,000 bytes, warm': (api, root) => (i) =>
      api.readFileSync(`${root}${fileName(i % 1000)}`).length,
    'readdir of 10,000, warm': (api, root) => () => api.readdirSync(`${root}/many`).length,
  };
  for (const [what, call] of Object.entries(calls)) {
    const subjects = [
      { name: OURS, fn: call(img, '') },
      { name: KERNEL, fn: call(fs, kernel) },
    ];
    compare(what, await race(subjects, { rounds, slice: 1 }), { ours: OURS, peer: KERNEL });
  }
}

function readWhole(img, into) {
  const fd = img.openSync('/sequential', 'r');
  for (let pos = 0; pos < SEQUENTIAL; pos += MIB) img.readSync(fd, into, 0, MIB, pos);
  img.closeSync(fd);
}

/** The image in memory: reads straight out of it, and views that are the image itself. */
async function daxLines(image, rounds) {
  const size = fs.statSync(image).size;
  const device = memoryDevice(size);
  const part = Buffer.alloc(MIB);
  const file = fs.openSync(image, 'r');
  for (let pos = 0; pos < size; pos += MIB) {
    fs.readSync(file, part, 0, MIB, pos);
    device.writeSync(part, pos);
  }
  const img = mountSync(device);
  const fd = img.openSync('/random', 'r');
  check(img.dataPathSync(fd) === 'dax', 'a memory device is read in place');
  const into = Buffer.alloc(4096);
  let [a, b, c] = [0, 0, 0];
  const next = (i) => ((i * 1597) % (RANDOM / 4096)) * 4096;
  const raw = 'raw `fs.readSync` of the image';
  const subjects = [
    { name: 'read', fn: () => img.readSync(fd, into, 0, 4096, next(a++)) },
    {
      name: 'view',
      fn: () => {
        const view = img.viewSync(fd, next(b++), 4096);
        const byte = view.bytes.length;
        view.release();
        return byte;
      },
    },
    { name: raw, fn: () => fs.readSync(file, into, 0, 4096, next(c++)) },
  ];
  const times = await race(subjects, { rounds, slice: 1 });
  compare('random 4 KiB, DAX', times, { ours: 'read', peer: raw });
  compare('view and release, DAX', times, { ours: 'view', peer: raw });
  const whole = await race(
    [
      timed(OURS, () => readWhole(img, part)),
      timed(raw, () => {
        for (let pos = 0; pos < SEQUENTIAL; pos += MIB) fs.readSync(file, part, 0, MIB, pos);
      }),
    ],
    { rounds: 7 },
  );
  const show = (ns) => rate(SEQUENTIAL, ns);
  compare('read 256 MiB by 1 MiB, DAX', whole, { ours: OURS, peer: raw, show });
  img.unmountSync();
  fs.closeSync(file);
}

/** Through a Blob: every miss is a promise. Its peer reads the same Blob in slices of 1 MiB. */
async function blobLines(image, quick) {
  const blob = await fs.openAsBlob(image);
  const len = quick ? SEQUENTIAL / 4 : SEQUENTIAL;
  const img = await mount(blobDevice(blob));
  const into = Buffer.alloc(MIB);
  const handle = await img.promises.open('/sequential', 'r');
  const mine = async () => {
    for (let pos = 0; pos < len; pos += MIB) await handle.read(into, 0, MIB, pos);
  };
  const slices = async () => {
    for (let pos = 0; pos < len; pos += MIB) await blob.slice(pos, pos + MIB).arrayBuffer();
  };
  const peer = 'slices of the Blob';
  const times = await race([timed(OURS, mine), timed(peer, slices)], { rounds: 3 });
  const show = (ns) => rate(len, ns);
  compare(`read ${len / MIB} MiB by 1 MiB, Blob`, times, { ours: OURS, peer, show });
  await handle.close();
  await img.unmount();
}

export async function otherLines({ image, kernel, quick }) {
  const rounds = quick ? 31 : 101;
  const mounted = ours(image);
  if (kernel) await tinyLines(mounted, kernel, rounds);
  if (kernel) await nameLines(mounted, kernel, rounds);
  mounted.close();
  await daxLines(image, rounds);
  await blobLines(image, quick);
}
