// Goal: recovery may be cut anywhere and done again. Method: the writes and flushes of one recovery are recorded; for
// every cut, what had been flushed is on the disk, and of what had not any part may be: the writes up to the cut, and
// random ones torn into 512-byte sectors. Recovering again must end in the image of the uncut run.

import { expect, test } from 'vitest';
import type { BlockDevice } from '../../ts/block/device.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import type { IoRequest } from '../../ts/flow.ts';
import { finishRecovery, readLog, writeHome } from '../../ts/jbd2/recovery.ts';
import { DEEP, need } from '../need.ts';
import { contents, type Image, imageBytes, openImage, run, same, sourceOf } from './image.ts';
import { random, seedOf } from './random.ts';

const SECTOR = 512;

interface Write {
  readonly dpos: number;
  readonly bytes: Uint8Array;
  /** How many flushes came before. */
  readonly epoch: number;
}

/** Replays into the device as a mount does; `watch` sees each request before it is served. */
function recover(
  image: Image,
  device: BlockDevice,
  watch: (r: IoRequest) => void = () => {},
): void {
  const source = sourceOf(image, device, 8 * image.blockSize);
  const recovery = run(readLog(source), watch);
  run(writeHome(source, recovery), watch);
  run(finishRecovery(source, recovery), watch);
}

function recordOf(image: Image, device: BlockDevice): Write[] {
  const writes: Write[] = [];
  let epoch = 0;
  recover(image, device, (r) => {
    if (r.op === 'flush') epoch++;
    if (r.op === 'write') writes.push({ dpos: r.dpos, bytes: r.from.slice(), epoch });
  });
  return writes;
}

/** The sectors of a write that reached the disk: all, or by coin. */
function land(device: BlockDevice, w: Write, coin: () => boolean): void {
  for (let off = 0; off < w.bytes.length; off += SECTOR) {
    if (coin()) device.writeSync!(w.bytes.subarray(off, off + SECTOR), w.dpos + off);
  }
}

function checkCuts(name: string, sample: number): void {
  const seed = seedOf();
  const rnd = random(seed);
  const image = openImage(imageBytes('crash', name));
  const device = memoryDevice(image.bytes);
  const writes = recordOf(image, device);
  const final = contents(device);
  expect(writes.length).toBeGreaterThan(2);

  const again = (label: string, state: () => void): void => {
    for (const w of writes) {
      device.writeSync!(image.bytes.subarray(w.dpos, w.dpos + w.bytes.length), w.dpos);
    }
    state();
    recover(image, device);
    if (!same(contents(device), final)) throw new Error(`${label} ends otherwise, seed ${seed}`);
  };
  const step = Math.max(1, Math.floor(writes.length / sample));
  for (let cut = 0; cut <= writes.length; cut += cut < writes.length - 3 ? step : 1) {
    const epoch = writes[Math.min(cut, writes.length - 1)].epoch;
    again(`a cut before write ${cut}`, () => {
      for (const w of writes.slice(0, cut)) land(device, w, () => true);
    });
    again(`a torn cut before write ${cut}`, () => {
      for (const w of writes) {
        if (w.epoch < epoch) land(device, w, () => true);
        else if (w.epoch === epoch) land(device, w, () => rnd() < 0.5);
      }
    });
  }
}

need.describe('order of recovery', [need.oracles()], () => {
  test('home blocks, then one flush, then the superblock by a forced write', () => {
    const image = openImage(imageBytes('crash', 'ordered_1k.img'));
    const seen: string[] = [];
    recover(image, memoryDevice(image.bytes), (r) => {
      if (r.op === 'write') seen.push(r.o?.fua ? `forced ${r.dpos}` : 'write');
      if (r.op === 'flush') seen.push('flush');
    });
    const last = `forced ${image.journal[0] * image.blockSize}`;
    expect(seen.slice(-2)).toEqual(['flush', last]);
    expect(new Set(seen.slice(0, -2))).toEqual(new Set(['write']));
  });
});

need.describe('recovery cut and done again', [need.oracles()], () => {
  const all = Number.POSITIVE_INFINITY;
  for (const [name, sample] of [
    ['ordered_1k.img', all],
    ['ordered_2k_nocsum64.img', all],
    ['revoke_lf.img', all],
    ['revoke_indirect.img', DEEP ? all : 12],
    ['journal_falloc.img', DEEP ? all : 12],
    ['async_csum1.img', DEEP ? all : 12],
  ] as const) {
    test(`${name} ends in the same image after a cut at every write`, { timeout: 120_000 }, () => {
      checkCuts(name, sample);
    });
  }
});
