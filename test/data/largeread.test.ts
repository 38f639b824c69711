// Large reads of a file that the cache could not hold go past it. Goal: they see what was written, dirty or home, over
// holes, unwritten blocks and moved extents. Method: random calls beside a plain array; SEED chooses the seed.

import { expect, test } from 'vitest';
import { mountSync } from '../../ts/api/mount.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import { need } from '../need.ts';
import { makeImage } from '../write/images.ts';

const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const SIZE = 12 << 20;
const CALLS = 600;
const KINDS = {
  'iomap 4k': { args: '-t ext4 -b 4096', o: {} },
  'iomap 1k': { args: '-t ext4 -b 1024', o: {} },
  'bufferhead 4k': { args: '-t ext4 -b 4096', o: { bufferedIomap: false } },
  'indirect 1k': { args: '-t ext3 -b 1024', o: {} },
};

function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

need.describe('large reads', [need.tool('mke2fs')], () => {
  for (const [name, { args, o }] of Object.entries(KINDS)) {
    test(`${name}: past the cache is what was written (seed ${SEED})`, { timeout: 60_000 }, () => {
      const device = memoryDevice(makeImage({ args, size: 48 }), { sparse: true });
      const img = mountSync(device, { dax: 'never', cacheBytes: 6 << 20, ...o });
      const random = randomOf(SEED);
      const model = new Uint8Array(SIZE);
      const fd = img.openSync('/f', 'w+');
      img.ftruncateSync(fd, SIZE);
      const into = new Uint8Array(SIZE);
      const read = (at: number, pos: number, len: number, i: number) => {
        expect(img.readSync(fd, into, at, len, pos)).toBe(Math.min(len, SIZE - pos));
        const equal = Buffer.compare(into.subarray(at, at + len), model.subarray(pos, pos + len));
        expect(equal, `call ${i}: ${len} from ${pos}`).toBe(0);
      };
      for (let i = 0; i < CALLS; i++) {
        const kind = random(12);
        const len = (1 + random(4)) << 18;
        const unit = random(4) === 0 ? 1 : 65_536;
        const pos = Math.floor(random(SIZE - len) / unit) * unit;
        if (kind < 3) {
          const bytes = model.subarray(pos, pos + (kind === 0 ? 5000 : len)).fill(1 + random(255));
          img.writeSync(fd, bytes, 0, bytes.length, pos);
        } else if (kind === 3) img.fsyncSync(fd);
        else if (kind === 4 && name.startsWith('i') && !args.includes('ext3')) {
          img.punchHoleSync(fd, pos, len);
          model.fill(0, pos, pos + len);
        } else read(random(4096), pos, len, i);
        // On from there, as a reader of the whole file does.
        for (let at = pos; kind > 8 && at + (1 << 20) <= SIZE; at += 1 << 20)
          read(0, at, 1 << 20, i);
      }
      const { deviceReadBytes } = img.counters();
      expect(deviceReadBytes).toBeGreaterThan(64 << 20);
      img.unmountSync();
    });
  }

  for (const [name, o] of Object.entries({ kept: {}, missed: { forceMiss: true } })) {
    test(`a dirty block here and there leaves room for reading and names, ${name}`, () => {
      const image = makeImage({ args: '-t ext4 -b 4096 -N 2000', size: 48 });
      const device = memoryDevice(image, { sparse: true });
      const first = mountSync(device, { dax: 'never' });
      for (const [i, path] of ['/a', '/b'].entries()) {
        first.writeFileSync(path, new Uint8Array(5 << 20).fill(i + 1));
      }
      first.unmountSync();
      const img = mountSync(device, { dax: 'never', cacheBytes: 6 << 20, ...o });
      const fd = img.openSync('/a', 'r+');
      const into = new Uint8Array(1 << 20);
      // All of it in few large folios; then a byte in each, so that none can be dropped.
      for (let at = 0; at < 5 << 20; at += into.length) img.readSync(fd, into, 0, into.length, at);
      for (let at = 0; at < 5 << 20; at += 1 << 18) img.writeSync(fd, Uint8Array.of(9), 0, 1, at);
      const other = img.openSync('/b', 'r');
      for (let at = 0; at < 5 << 20; at += into.length) {
        expect(img.readSync(other, into, 0, into.length, at)).toBe(into.length);
        expect(into.every((byte) => byte === 2)).toBe(true);
      }
      for (let i = 0; i < 1000; i++) img.closeSync(img.openSync(`/file-${i}`, 'w'));
      const a = img.readFileSync('/a');
      expect(a.filter((byte) => byte === 9)).toHaveLength(20);
      expect(a.filter((byte) => byte === 1)).toHaveLength((5 << 20) - 20);
      // And all of what is cached written over.
      for (let at = 0; at < 5 << 20; at += into.length) {
        img.writeSync(fd, into.fill(7), 0, into.length, at);
      }
      img.unmountSync();
      const again = mountSync(device, { dax: 'never' });
      expect(again.readFileSync('/a').every((byte) => byte === 7)).toBe(true);
      again.unmountSync();
    });
  }
});
