// A file of 256 MiB in order, in calls of 1 MiB into one Buffer: our cache empty, the host's warm. Every subject goes
// through its file again and again, some calls a turn; ours starts with an empty cache each time, off the clock. They
// begin apart, so that none reads what another has just brought into the processor's cache.

import fs from 'node:fs';
import { join } from 'node:path';
import { bennySuite, race } from '../harness.mjs';
import { MIB, SEQUENTIAL } from './image.mjs';
import { check, ours } from './ours.mjs';
import { compare, rate } from './report.mjs';

const CALL = MIB;
const RAW = 'raw `fs.readSync` of the image';
const KERNEL = "the kernel's ext4";

/** A subject over `read(pos)`; `again` runs before each time through. */
function subject(name, read, again = () => {}) {
  let pos = SEQUENTIAL;
  const begin = (at) => {
    again();
    pos = at;
  };
  const next = () => {
    if (pos === SEQUENTIAL) {
      again();
      pos = 0;
    }
    pos += CALL;
    return pos - CALL;
  };
  const run = (count) => {
    let ns = 0;
    for (let i = 0; i < count; i++) {
      const at = next();
      const start = performance.now();
      const bytes = read(at);
      ns += (performance.now() - start) * 1e6;
      check(bytes === CALL, 'a short read');
    }
    return ns;
  };
  return { name, run, fn: () => read(next()), read, begin };
}

/** `fresh` mounts anew before each time through, else the cache is emptied. */
function mountSubject(name, image, into, { shared, fresh }) {
  let mounted;
  let fd;
  const open = () => {
    mounted = ours(image, { shared });
    fd = mounted.img.openSync('/sequential', 'r');
  };
  const again = () => {
    if (!fresh) return mounted.drop();
    mounted.close();
    open();
  };
  open();
  const read = (pos) => mounted.img.readSync(fd, into, 0, CALL, pos);
  return { ...subject(name, read, again), close: () => mounted.close() };
}

function fileSubject(name, path, into, from = 0) {
  const fd = fs.openSync(path, 'r');
  const read = (pos) => fs.readSync(fd, into, 0, CALL, from + pos);
  return { ...subject(name, read), close: () => fs.closeSync(fd) };
}

/** Each subject but the raw one reads the same bytes, here and there in the file. */
function checkSame(subjects, into) {
  for (let pos = 0; pos < SEQUENTIAL; pos += 37 * CALL) {
    let first = null;
    for (const { name, read } of subjects) {
      if (name === RAW) continue;
      into.fill(0);
      read(pos);
      first ??= Buffer.from(into);
      check(first.equals(into) && into.some((byte) => byte !== 0), `${name} reads something else`);
    }
  }
}

/** Where the file's data begins in the image: the raw reads go over the same bytes, nearly all in one piece. */
function startOf(image) {
  const { img, close } = ours(image);
  const { pblk } = img.extentsSync('/sequential')[0];
  const { bsize } = img.statfsSync('/');
  close();
  return pblk * bsize;
}

export async function sequentialLines({ image, kernel, quick }) {
  const into = Buffer.alloc(CALL);
  const subjects = [
    fileSubject(RAW, image, into, startOf(image)),
    mountSubject('shared', image, into, { shared: true }),
    mountSubject('plain', image, into, { shared: false }),
    mountSubject('fresh', image, into, { shared: true, fresh: true }),
    ...(kernel ? [fileSubject(KERNEL, join(kernel, 'sequential'), into)] : []),
  ];
  checkSame(subjects, into);
  const apart = Math.floor(SEQUENTIAL / CALL / subjects.length) * CALL;
  for (let i = 0; i < subjects.length; i++) subjects[i].begin(i * apart);
  const times = await race(subjects, { rounds: quick ? 101 : 401, slice: 3 });
  const show = (ns) => rate(CALL, ns);
  // By the medians: a best slice is one whose bytes the processor's cache happened to hold.
  const line = (what, name, peer, target) =>
    compare(`read 256 MiB by 1 MiB, ${what}`, times, {
      ours: name,
      peer,
      target,
      show,
      by: 'median',
    });
  line('shared, cache empty', 'shared', RAW, 0.9);
  line('plain, cache empty', 'plain', RAW, 0.9);
  line('shared, mounted anew', 'fresh', RAW, 0.9);
  line('shared, cache empty', 'shared', KERNEL);
  if (!quick) await bennySuite('read 1 MiB of 256 MiB', subjects);
  for (const { close } of subjects) close();
}
