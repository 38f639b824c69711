// Range operations cost what they touch: zeroing 1 GiB and punching a file of nearly 16 TiB change extents, not data.

import { openFile } from '../../build/ts/block/node.js';
import { mountSync } from '../../build/ts/index.js';
import { GIB, MIB, sparseImage, TIB } from './image.mjs';
import { state } from './report.mjs';

/** Runs `fn` and states its time and what it wrote. */
function measured(img, what, fn, mostMiB) {
  const before = img.counters();
  const start = performance.now();
  fn();
  const ms = performance.now() - start;
  const after = img.counters();
  const mib = (after.deviceWriteBytes - before.deviceWriteBytes) / MIB;
  const mappings = after.mappings - before.mappings;
  state(what, `${ms.toFixed(1)} ms, ${mib.toFixed(2)} MiB written, ${mappings} mappings`, {
    limit: `≤ ${mostMiB} MiB written`,
    passed: mib <= mostMiB,
  });
}

export function sparseLines() {
  const device = openFile(sparseImage('sparse-write.img', 64 * GIB));
  const img = mountSync(device, { dax: 'never' });
  const fd = img.openSync('/file', 'w+');
  img.fallocateSync(fd, 0, GIB);
  img.fsyncSync(fd);
  measured(
    img,
    'zero range of 1 GiB',
    () => {
      img.zeroRangeSync(fd, 0, GIB);
      img.fsyncSync(fd);
    },
    1,
  );
  const size = 16 * TIB - 4096;
  img.ftruncateSync(fd, size);
  for (let i = 1; i <= 8; i++) img.writeSync(fd, Buffer.alloc(4096, i), 0, 4096, i * TIB);
  img.fsyncSync(fd);
  measured(
    img,
    'punch of 16 TiB with 8 extents',
    () => {
      img.punchHoleSync(fd, 4096, size - 8192);
      img.fsyncSync(fd);
    },
    1,
  );
  measured(img, 'seek over 16 TiB of hole', () => void img.seekHoleSync(fd, 0), 1);
  img.closeSync(fd);
  img.unmountSync();
  device.closeSync();
}
