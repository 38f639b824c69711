// Readers beside a file that shrinks. Goal: a read that is overtaken ends, with the bytes that are left. Method: an
// asynchronous mount, reads and truncations of one file at once.

import { expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { mkfsSync, mount } from '../../ts/index.ts';

test('a read that is overtaken by a truncation ends', async () => {
  const device = memoryDevice(16 << 20);
  mkfsSync(device, { blockSize: 1024 });
  const img = await mount(device, { dax: 'never', cacheBytes: 6 << 20 });
  const file = await img.promises.open('/f', 'w+');
  for (let round = 0; round < 30; round++) {
    await file.write(Buffer.alloc(700_000, round + 1), 0, 700_000, 0);
    await file.sync();
    const into = Buffer.alloc(700_000);
    const [read] = await Promise.all([file.read(into, 0, 700_000, 0), file.truncate(1000 * round)]);
    expect(read.bytesRead).toBeLessThanOrEqual(700_000);
    for (let i = 0; i < read.bytesRead; i++) {
      if (into[i] !== round + 1 && into[i] !== 0) throw new Error(`byte ${i} is ${into[i]}`);
    }
  }
  await file.close();
  await img.unmount();
});
