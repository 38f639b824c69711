// Random 4 KiB of a cached file of 16 MiB: copied into the caller's buffer, and viewed. The bound is one
// Uint8Array.set of the same page out of the mount's own memory, through a view made beforehand.

import fs from 'node:fs';
import { join } from 'node:path';
import { bennySuite, race } from '../harness.mjs';
import { MIB, RANDOM } from './image.mjs';
import { check, ours } from './ours.mjs';
import { compare } from './report.mjs';

const PAGE = 4096;
const PAGES = RANDOM / PAGE;
const KERNEL = "the kernel's ext4";
const BOUND = 'one `Uint8Array.set`';

/** Every page once, in an order that no readahead guesses: a walk with a step prime to the number of pages. */
const order = Array.from({ length: PAGES }, (_, i) => ((i * 1597) % PAGES) * PAGE);

/** A mount with the whole file cached. */
function cached(image, shared) {
  const { img, close } = ours(image, { shared });
  const fd = img.openSync('/random', 'r');
  img.readSync(fd, Buffer.alloc(RANDOM), 0, RANDOM, 0);
  const views = Array.from({ length: PAGES }, (_, i) => {
    const view = img.viewSync(fd, i * PAGE, PAGE);
    const page = new Uint8Array(view.memory.buffer, view.ptrs[0], PAGE);
    view.release();
    return page;
  });
  return { img, fd, views, close };
}

/** The subjects on one mount; each goes its own way through the same order. */
function subjectsOf({ img, fd, views }, kind, into) {
  let a = 0;
  let b = 0;
  let c = 0;
  return [
    {
      name: `read ${kind}`,
      fn: () => img.readSync(fd, into, 0, PAGE, order[a++ % PAGES]),
    },
    {
      name: `bound ${kind}`,
      fn: () => {
        into.set(views[order[b++ % PAGES] / PAGE]);
        return PAGE;
      },
    },
    {
      name: `view ${kind}`,
      fn: () => {
        const view = img.viewSync(fd, order[c++ % PAGES], PAGE);
        const byte = view.bytes.length;
        view.release();
        return byte;
      },
    },
  ];
}

function kernelSubject(path, into) {
  const fd = fs.openSync(path, 'r');
  const warm = Buffer.alloc(MIB);
  for (let pos = 0; pos < RANDOM; pos += MIB) fs.readSync(fd, warm, 0, MIB, pos);
  let at = 0;
  return {
    name: KERNEL,
    fn: () => fs.readSync(fd, into, 0, PAGE, order[at++ % PAGES]),
    close: () => fs.closeSync(fd),
  };
}

function checkPages({ img, fd, views }, into) {
  for (let i = 0; i < PAGES; i += 97) {
    img.readSync(fd, into, 0, PAGE, order[i]);
    check(into.equals(views[order[i] / PAGE]), 'a page read is the page viewed');
  }
}

export async function randomLines({ image, kernel, quick }) {
  const into = Buffer.alloc(PAGE);
  const mounts = [
    [cached(image, true), 'shared', 1.3],
    [cached(image, false), 'plain', 1.6],
  ];
  const peer = kernel && kernelSubject(join(kernel, 'random'), into);
  for (const [mounted, kind, target] of mounts) {
    checkPages(mounted, into);
    const subjects = [...subjectsOf(mounted, kind, into), ...(peer ? [peer] : [])];
    const times = await race(subjects, { rounds: quick ? 201 : 801, slice: 1 });
    const read = `read ${kind}`;
    const what = `random 4 KiB of 16 MiB cached, ${kind}`;
    compare(what, times, { ours: read, peer: KERNEL, target });
    times.set(BOUND, times.get(`bound ${kind}`));
    compare(what, times, { ours: read, peer: BOUND, target: 0.7 });
    compare(`view and release, ${kind}`, times, { ours: `view ${kind}`, peer: KERNEL, target: 4 });
    if (!quick) await bennySuite(what, subjects);
  }
  for (const [mounted] of mounts) mounted.close();
  peer?.close();
}
