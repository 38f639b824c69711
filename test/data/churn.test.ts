// Files that come and go without a sync in between. Goal: what is deleted or cut before its data found a place
// leaves no trace. Method: random writeFile, truncate, append, rename and unlink over a few names, seed printed,
// contents beside a map of arrays; unmount, e2fsck.

import { expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { mkfsSync, mountSync } from '../../ts/index.ts';
import { contents, tool } from '../write/images.ts';

const seed = Number(process.env.SEED ?? 11);

test.each([1024, 4096])(`no trace is left, blocks of %d (seed ${seed})`, (blockSize) => {
  let x = seed >>> 0;
  const rnd = (below: number) => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return Math.floor((x / 2 ** 32) * below);
  };
  const device = memoryDevice(16 << 20);
  mkfsSync(device, { blockSize });
  const img = mountSync(device, { dax: 'never' });
  const files = new Map<string, Buffer>();
  const pick = () => `/f${rnd(12)}`;
  for (let i = 0; i < 1500; i++) {
    const name = pick();
    const old = files.get(name);
    const kind = rnd(10);
    if (kind < 4) {
      const bytes = Buffer.alloc(rnd(80_000), 1 + rnd(250));
      img.writeFileSync(name, bytes);
      files.set(name, bytes);
    } else if (kind < 6 && old !== undefined) {
      const size = rnd(80_000);
      img.truncateSync(name, size);
      files.set(name, Buffer.concat([old, Buffer.alloc(size)]).subarray(0, size));
    } else if (kind === 6 && old !== undefined) {
      const more = Buffer.alloc(rnd(9000), 7);
      img.appendFileSync(name, more);
      files.set(name, Buffer.concat([old, more]));
    } else if (kind === 7 && old !== undefined) {
      const target = pick();
      img.renameSync(name, target);
      files.delete(name);
      files.set(target, old);
    } else if (old !== undefined) {
      img.unlinkSync(name);
      files.delete(name);
    }
    if (rnd(200) === 0) img.fsyncSync(img.openSync('/', 'r'));
  }
  for (const [name, bytes] of files) {
    expect(Buffer.compare(img.readFileSync(name), bytes), name).toBe(0);
  }
  img.unmountSync();
  expect(tool('e2fsck', ['-fn'], contents(device as never))).toMatchObject({ code: 0 });
  const again = mountSync(device, { ro: true });
  for (const [name, bytes] of files) {
    expect(Buffer.compare(again.readFileSync(name), bytes), name).toBe(0);
  }
  again.unmountSync();
});
