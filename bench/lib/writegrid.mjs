// The table of the kernel series, on ours: every workload by every size, iomap beside bufferhead beside a raw file (and
// for cached writes beside one bare copy into linear memory). A subject runs `setup` off the clock and `work` on it.

import fs from 'node:fs';
import { KIB, MIB } from './image.mjs';
import { state } from './report.mjs';
import { rawFile, writeImage, writer } from './writeimage.mjs';

const SIZES = [KIB, 4 * KIB, 64 * KIB, MIB];
const LEN = 16 * MIB;
/** Gains that the kernel series published for its version 2 (64 KiB, 1 MiB …), percent, by workload and size. */
const PUBLISHED = {
  'hole read': [1.3, 4.4, 3.3, 11],
  'cached read': [-1.2, 1.5, 0.8, 6.2],
  'cold read': [-0.5, -2.6, -0.5, 1.4],
  'cached write': [-4.7, 2.4, 50.2, 59],
  'uncached write': [57, 4.5, 38.8, 52.6],
};

const SHARED = new Uint8Array(
  new WebAssembly.Memory({ initial: 512, maximum: 512, shared: true }).buffer,
);

function through(size, len, call) {
  for (let pos = 0; pos < len; pos += size) call(pos);
}

/** Workloads: setup and work on one of ours, and on a raw file. `len` is how much one round moves. */
const WORK = {
  'hole read': {
    setup: ({ img, fd }) => {
      img.ftruncateSync(fd, 0);
      img.ftruncateSync(fd, LEN);
      img.fsyncSync(fd);
    },
    again: ({ drop }) => drop(),
    ours: ({ img, fd }, b, size) => through(size, LEN, (p) => img.readSync(fd, b, 0, size, p)),
    raw: (fd, b, size) => through(size, LEN, (p) => fs.readSync(fd, b, 0, size, p)),
  },
  'cached read': {
    setup: (w, b) => {
      through(MIB, LEN, (p) => w.img.writeSync(w.fd, b, 0, MIB, p));
      w.img.fsyncSync(w.fd);
    },
    ours: ({ img, fd }, b, size) => through(size, LEN, (p) => img.readSync(fd, b, 0, size, p)),
    raw: (fd, b, size) => through(size, LEN, (p) => fs.readSync(fd, b, 0, size, p)),
  },
  'cold read': {
    again: ({ drop }) => drop(),
    ours: ({ img, fd }, b, size) => through(size, LEN, (p) => img.readSync(fd, b, 0, size, p)),
    raw: (fd, b, size) => through(size, LEN, (p) => fs.readSync(fd, b, 0, size, p)),
  },
  'cached write': {
    again: ({ img, fd }) => img.ftruncateSync(fd, 0),
    ours: ({ img, fd }, b, size) => through(size, LEN, (p) => img.writeSync(fd, b, 0, size, p)),
    raw: (fd, b, size) => through(size, LEN, (p) => fs.writeSync(fd, b, 0, size, p)),
    copy: true,
    gated: true,
  },
  'cached overwrite': {
    ours: ({ img, fd }, b, size) => through(size, LEN, (p) => img.writeSync(fd, b, 0, size, p)),
    raw: (fd, b, size) => through(size, LEN, (p) => fs.writeSync(fd, b, 0, size, p)),
    copy: true,
  },
  'write + fsync': {
    len: (size) => 16 * size,
    again: ({ img, fd }) => {
      img.ftruncateSync(fd, 0);
      img.fsyncSync(fd);
    },
    ours: ({ img, fd }, b, size, len) =>
      through(size, len, (p) => {
        img.writeSync(fd, b, 0, size, p);
        img.fsyncSync(fd);
      }),
    raw: (fd, b, size, len) =>
      through(size, len, (p) => {
        fs.writeSync(fd, b, 0, size, p);
        fs.fsyncSync(fd);
      }),
  },
  'overwrite + fsync': {
    len: (size) => 16 * size,
    ours: ({ img, fd }, b, size, len) =>
      through(size, len, (p) => {
        img.writeSync(fd, b, 0, size, p);
        img.fsyncSync(fd);
      }),
    raw: (fd, b, size, len) =>
      through(size, len, (p) => {
        fs.writeSync(fd, b, 0, size, p);
        fs.fsyncSync(fd);
      }),
  },
  'uncached write': {
    again: ({ img, fd }) => {
      img.ftruncateSync(fd, 0);
      img.fsyncSync(fd);
    },
    ours: ({ img, fd }, b, size) => {
      through(size, LEN, (p) => img.writeSync(fd, b, 0, size, p));
      img.fsyncSync(fd);
    },
    raw: (fd, b, size) => {
      through(size, LEN, (p) => fs.writeSync(fd, b, 0, size, p));
      fs.fsyncSync(fd);
    },
  },
};

function best(rounds, subjects) {
  const times = subjects.map(() => []);
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < subjects.length; i++) {
      const k = (i + round) % subjects.length;
      subjects[k].again?.();
      const start = performance.now();
      subjects[k].work();
      times[k].push(performance.now() - start);
    }
  }
  return times.map((list) => Math.min(...list));
}

/** Prints one line: MiB/s of each, iomap over bufferhead, mappings a MiB. */
function line(name, size, { iomap, bufferhead, raw, copy }, len, mappings) {
  const speed = (ms) => `${Math.round(len / MIB / (ms / 1000)).toLocaleString('en')} MiB/s`;
  const gain = (bufferhead / iomap - 1) * 100;
  const published = PUBLISHED[name]?.[SIZES.indexOf(size)];
  const bare = copy === undefined ? '' : `, bare copy ${speed(copy)}`;
  const text =
    `iomap ${speed(iomap)}, bufferhead ${speed(bufferhead)}, raw ${speed(raw)}${bare}; ` +
    `gain ${gain.toFixed(0)} %${published === undefined ? '' : ` (series: ${published} %)`}; ` +
    `mappings a MiB ${mappings.map((n) => n.toFixed(1)).join(' : ')}`;
  const limit = WORK[name].gated && size >= 4 * KIB ? (size >= 64 * KIB ? 20 : -5) : undefined;
  const passed = limit === undefined ? undefined : gain >= limit;
  state(`${name}, ${size / KIB} KiB`, text, {
    limit: limit === undefined ? '' : `gain ≥ ${limit} %${limit < 0 ? ' (0, but for noise)' : ''}`,
    passed,
  });
}

export function gridLines({ quick }) {
  const rawFd = fs.openSync(rawFile('grid.raw', LEN / MIB), 'r+');
  const a = writer(writeImage('grid-a.img', 96));
  const b = writer(writeImage('grid-b.img', 96), { bufferedIomap: false });
  const buffer = Buffer.alloc(MIB, 7);
  for (const [name, job] of Object.entries(WORK)) {
    for (const size of SIZES) {
      for (const one of [a, b]) job.setup?.(one, buffer);
      const len = job.len?.(size) ?? LEN;
      const subject = (one) => ({
        again: job.again && (() => job.again(one)),
        work: () => job.ours(one, buffer, size, len),
      });
      const subjects = [subject(a), subject(b), { work: () => job.raw(rawFd, buffer, size, len) }];
      if (job.copy) {
        const part = buffer.subarray(0, size);
        subjects.push({ work: () => through(size, LEN, (p) => SHARED.set(part, p)) });
      }
      best(2, subjects);
      const mappings = [a, b].map((one) => {
        job.again?.(one);
        const before = one.counters().mappings;
        job.ours(one, buffer, size, len);
        return ((one.counters().mappings - before) * MIB) / len;
      });
      const [iomap, bufferhead, raw, copy] = best(quick ? 5 : 15, subjects);
      line(name, size, { iomap, bufferhead, raw, copy }, len, mappings);
    }
  }
  a.close();
  b.close();
  fs.closeSync(rawFd);
}
