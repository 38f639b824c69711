// Goal: what Node lends for copies to and from shared memory copies the bytes asked for and no other. Method: seeded
// ranges between views of shared and of plain memory, beside set(); then files through a mount, at odd places.

import { expect, test } from 'vitest';
import { bulkCopy } from '../../ts/api/platform.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import { mkfsSync, mountSync } from '../../ts/index.ts';
import { Random, SEED } from '../assembly/builds.ts';

const SIZE = 300_000;
const random = new Random(SEED);

function someBytes(buffer: ArrayBufferLike): Uint8Array {
  const bytes = new Uint8Array(buffer);
  for (let i = 0; i < bytes.length; i++) bytes[i] = random.u32();
  return bytes;
}

const MEMORIES = [() => new SharedArrayBuffer(SIZE), () => new ArrayBuffer(SIZE)];

test(`copies exactly the bytes asked for, between shared and plain memory (seed ${SEED})`, () => {
  const copy = bulkCopy()!;
  for (const into of MEMORIES) {
    for (const out of MEMORIES) {
      for (let i = 0; i < 20; i++) {
        const from = someBytes(out()).subarray(random.below(100), SIZE - random.below(100));
        const whole = someBytes(into());
        const expected = Uint8Array.from(whole);
        const to = whole.subarray(random.below(200));
        const len = 1 + random.below(SIZE / 2);
        const [at, start] = [random.below(SIZE / 3), random.below(SIZE / 3)];
        copy(to, at, from.subarray(start, start + len));
        expected.subarray(to.byteOffset).set(from.subarray(start, start + len), at);
        expect(Buffer.compare(whole, expected)).toBe(0);
      }
    }
  }
});

for (const shared of [true, false]) {
  test(`files keep their bytes, ${shared ? 'shared' : 'plain'} memory (seed ${SEED})`, () => {
    const device = memoryDevice(32 << 20, { shared: !shared });
    mkfsSync(device);
    const img = mountSync(device, { shared, dax: 'never' });
    const bytes = someBytes(new ArrayBuffer(2_000_003));
    const fd = img.openSync('/file', 'w+');
    for (let pos = 0; pos < bytes.length; ) {
      const len = Math.min(1 + random.below(100_000), bytes.length - pos);
      pos += img.writeSync(fd, bytes, pos, len, pos);
    }
    for (let i = 0; i < 50; i++) {
      const pos = random.below(bytes.length - 1);
      const into = new Uint8Array(Math.min(bytes.length - pos, 1 + random.below(300_000)) + 20);
      const n = img.readSync(fd, into, 9, into.length - 20, pos);
      const expected = new Uint8Array(into.length);
      expected.set(bytes.subarray(pos, pos + n), 9);
      expect(Buffer.compare(into, expected)).toBe(0);
    }
    img.closeSync(fd);
    img.unmountSync();
    const again = mountSync(device, { shared, ro: true });
    expect(Buffer.compare(again.readFileSync('/file') as Buffer, bytes)).toBe(0);
    again.unmountSync();
  });
}
