// npm ext2fs on the same image: a large file in order, and stat of 10,000 files in one directory. Gated against the
// disk that its README shows (a FileHandle); its best case, a disk that answers on the spot, stands beside.

import { race } from '../harness.mjs';
import { FILES, fileName, MIB, SEQUENTIAL } from './image.mjs';
import { check, ours, timed } from './ours.mjs';
import { ext2fsMount } from './peers.mjs';
import { compare, rate } from './report.mjs';

const CALL = MIB;
const PEER = 'npm ext2fs';
const BEST = 'npm ext2fs, synchronous disk';
const O_NOATIME = 0o1000000;

/** Reads the first `len` bytes; the peer has promises only. */
async function readPeer({ promises }, into, len) {
  const file = await promises.open('/sequential', O_NOATIME);
  for (let pos = 0; pos < len; pos += CALL) {
    const { bytesRead } = await file.read(into, 0, CALL, pos);
    check(bytesRead === CALL, 'a short read');
  }
  await file.close();
}

function readOurs({ img }, into, len) {
  const fd = img.openSync('/sequential', 'r');
  for (let pos = 0; pos < len; pos += CALL) img.readSync(fd, into, 0, CALL, pos);
  img.closeSync(fd);
}

async function readLines(mounted, peers, quick) {
  const len = quick ? 8 * MIB : SEQUENTIAL / 4;
  const into = Buffer.alloc(CALL);
  const subjects = [
    timed('ours', () => readOurs(mounted, into, len), mounted.drop),
    ...peers.map(([name, peer]) => timed(name, () => readPeer(peer, into, len))),
  ];
  const times = await race(subjects, { rounds: 3 });
  const what = `read ${len / MIB} MiB by 1 MiB`;
  const show = (ns) => rate(len, ns);
  compare(what, times, { ours: 'ours', peer: PEER, target: 20, show });
  compare(what, times, { ours: 'ours', peer: BEST, show });
}

/** Every subject looks at the same files, spread over the directory. Ours starts with nothing in memory. */
async function statLines(image, peers, quick) {
  const count = quick ? 100 : FILES;
  const names = Array.from({ length: count }, (_, i) => fileName((i * FILES) / count));
  let mounted = ours(image);
  const again = () => {
    mounted.close();
    mounted = ours(image);
  };
  const size = (stats) => check(stats.size === 1000, 'a file of 1,000 bytes');
  const sync = () => {
    for (const name of names) size(mounted.img.statSync(name));
  };
  const promised = async () => {
    for (const name of names) size(await mounted.img.promises.stat(name));
  };
  const theirs = async ({ promises }) => {
    for (const name of names) size(await promises.stat(name));
  };
  const subjects = [
    timed('ours', sync, again),
    timed('promises', promised, again),
    ...peers.map(([name, peer]) => timed(name, () => theirs(peer))),
  ];
  const times = await race(subjects, { rounds: quick ? 3 : 1 });
  const what = quick ? `stat of ${count} in 10,000 files` : 'stat of 10,000 files';
  compare(`${what}, cold`, times, { ours: 'ours', peer: PEER, target: 20 });
  compare(`${what}, cold, promises`, times, { ours: 'promises', peer: PEER, target: 20 });
  compare(`${what}, cold`, times, { ours: 'ours', peer: BEST });
  mounted.close();
}

export async function ext2fsLines({ image, quick }) {
  const handle = await ext2fsMount(image, { sync: false });
  if (handle === null) return;
  const best = await ext2fsMount(image, { sync: true });
  const peers = [
    [PEER, handle],
    [BEST, best],
  ];
  const mounted = ours(image);
  await readLines(mounted, peers, quick);
  await statLines(image, peers, quick);
  mounted.close();
  for (const [, peer] of peers) await peer.close();
}
