// A file of 256 MiB from end to end in calls of 1 MiB into one Buffer: our cache empty, the host's warm.

import fs from 'node:fs';
import { join } from 'node:path';
import { bennySuite, race } from '../harness.mjs';
import { MIB, SEQUENTIAL } from './image.mjs';
import { check, ours, timed } from './ours.mjs';
import { compare, rate } from './report.mjs';

const CALL = MIB;

function readAll(read, fd, into) {
  for (let pos = 0; pos < SEQUENTIAL; pos += CALL) {
    if (read(fd, into, 0, CALL, pos) !== CALL) throw new Error('short read');
  }
}

/** Opens, reads to the end, closes. `fresh` mounts anew each time, else the cache is emptied. */
function subject(name, image, into, { shared, fresh }) {
  let mounted = ours(image, { shared });
  const again = () => {
    if (!fresh) return mounted.drop();
    mounted.close();
    mounted = ours(image, { shared });
  };
  const work = () => {
    const fd = mounted.img.openSync('/sequential', 'r');
    readAll(mounted.img.readSync, fd, into);
    mounted.img.closeSync(fd);
  };
  return { ...timed(name, work, again), close: () => mounted.close() };
}

function fileSubject(name, path, into) {
  const fd = fs.openSync(path, 'r');
  const work = () => readAll(fs.readSync, fd, into);
  return { ...timed(name, work), close: () => fs.closeSync(fd) };
}

/** What is read is what is there: the last call of each subject left the same bytes. */
function checkSame(subjects, into) {
  let first = null;
  for (const { name, fn } of subjects) {
    if (name === RAW) continue; // the image's own bytes, not the file's
    into.fill(0);
    fn();
    first ??= Buffer.from(into);
    check(first.equals(into) && into.some((byte) => byte !== 0), `${name} reads something else`);
  }
}

const RAW = 'raw `fs.readSync` of the image';

export async function sequentialLines({ image, kernel, quick }) {
  const into = Buffer.alloc(CALL);
  const subjects = [
    fileSubject(RAW, image, into),
    subject('shared', image, into, { shared: true }),
    subject('plain', image, into, { shared: false }),
    subject('fresh', image, into, { shared: true, fresh: true }),
    ...(kernel ? [fileSubject("the kernel's ext4", join(kernel, 'sequential'), into)] : []),
  ];
  checkSame(subjects, into);
  const times = await race(subjects, { rounds: quick ? 9 : 31 });
  const show = (ns) => rate(SEQUENTIAL, ns);
  const line = (what, name, peer, target) =>
    compare(`read 256 MiB by 1 MiB, ${what}`, times, { ours: name, peer, target, show });
  line('shared, cache emptied', 'shared', RAW, 0.9);
  line('plain, cache emptied', 'plain', RAW, 0.9);
  line('shared, mounted anew', 'fresh', RAW);
  line('shared, cache emptied', 'shared', "the kernel's ext4");
  if (!quick) await bennySuite('read 256 MiB by 1 MiB', subjects);
  for (const { close } of subjects) close();
}
