// 256 MiB written in order and made durable, by 64 KiB and 1 MiB: the iomap path against the same bytes written raw to
// an image file with fsync, in pairs that take turns; and a smaller piece against npm ext2fs. Gated by the medians.

import fs from 'node:fs';
import { KIB, MIB } from './image.mjs';
import { check } from './ours.mjs';
import { ext2fsMount } from './peers.mjs';
import { compare, rate, state } from './report.mjs';
import { rawFile, writeImage, writer } from './writeimage.mjs';

const TOTAL = 256 * MIB;

function elapsed(fn) {
  const start = performance.now();
  fn();
  return (performance.now() - start) * 1e6;
}

function rawPass(fd, buffer, size) {
  return elapsed(() => {
    for (let pos = 0; pos < TOTAL; pos += size) fs.writeSync(fd, buffer, 0, size, pos);
    fs.fsyncSync(fd);
  });
}

function ourPass({ img, fd }, buffer, size) {
  img.ftruncateSync(fd, 0);
  img.fsyncSync(fd);
  return elapsed(() => {
    for (let pos = 0; pos < TOTAL; pos += size) img.writeSync(fd, buffer, 0, size, pos);
    img.fsyncSync(fd);
  });
}

function summary(times) {
  const sorted = [...times].sort((a, b) => a - b);
  return { min: sorted[0], median: sorted[sorted.length >> 1] };
}

export async function sequentialWriteLines({ quick }) {
  const image = writeImage('write.img', 512);
  const raw = fs.openSync(rawFile('raw.img', 256), 'r+');
  const buffer = Buffer.alloc(MIB, 7);
  for (const size of [64 * KIB, MIB]) {
    const ours = writer(image);
    const bufferhead = [];
    const iomap = [];
    const plain = [];
    const pairs = quick ? 9 : 15;
    ourPass(ours, buffer, size);
    const before = ours.counters();
    for (let i = 0; i < pairs; i++) {
      plain.push(rawPass(raw, buffer, size));
      iomap.push(ourPass(ours, buffer, size));
    }
    const after = ours.counters();
    ours.close();
    const old = writer(image, { bufferedIomap: false });
    for (let i = 0; i < 3; i++) bufferhead.push(ourPass(old, buffer, size));
    old.close();
    const times = new Map([
      ['ours', summary(iomap)],
      ['raw', summary(plain)],
      ['bufferhead', summary(bufferhead)],
    ]);
    const what = `write 256 MiB by ${size / KIB} KiB, fsync`;
    const show = (ns) => rate(TOTAL, ns);
    compare(what, times, { ours: 'ours', peer: 'raw', target: 0.8, show, by: 'median' });
    compare(what, times, { ours: 'ours', peer: 'bufferhead', show });
    const count = (name) => ((after[name] - before[name]) / pairs).toFixed(1);
    const bytes = ((after.deviceWriteBytes - before.deviceWriteBytes) / pairs / MIB).toFixed(1);
    state(
      `${what}: a pass`,
      `${bytes} MiB in ${count('deviceWrites')} writes, ${count('deviceFlushes')} flushes, ` +
        `${count('commits')} commits, ${(count('mappings') / 256).toFixed(1)} mappings a MiB`,
    );
  }
  fs.closeSync(raw);
  await peerLines(image, quick);
}

async function peerLines(image, quick) {
  const peer = await ext2fsMount(image, { sync: false });
  if (peer === null) return;
  const len = (quick ? 4 : 16) * MIB;
  const buffer = Buffer.alloc(64 * KIB, 7);
  const theirs = [];
  const mine = [];
  for (let round = 0; round < 3; round++) {
    const start = performance.now();
    const file = await peer.promises.open(`/peer-${round}`, 'w');
    for (let pos = 0; pos < len; pos += buffer.length) {
      const { bytesWritten } = await file.write(buffer, 0, buffer.length, pos);
      check(bytesWritten === buffer.length, 'a short write');
    }
    await file.close();
    theirs.push((performance.now() - start) * 1e6);
    const ours = writer(image);
    mine.push(
      elapsed(() => {
        for (let pos = 0; pos < len; pos += buffer.length) {
          ours.img.writeSync(ours.fd, buffer, 0, buffer.length, pos);
        }
        ours.img.fsyncSync(ours.fd);
      }),
    );
    ours.close();
  }
  await peer.close();
  const times = new Map([
    ['ours', summary(mine)],
    ['npm ext2fs', summary(theirs)],
  ]);
  const what = `write ${len / MIB} MiB by 64 KiB, ours with fsync`;
  const show = (ns) => rate(len, ns);
  compare(what, times, { ours: 'ours', peer: 'npm ext2fs', target: 20, show });
}
