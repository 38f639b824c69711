// The library as the benchmarks use it: the built package, through its public names, with the core's cache in reach for
// the one thing that users have no call for: forgetting what is cached.

import { coreOf } from '../../build/ts/api/fs.js';
import { openFile } from '../../build/ts/block/node.js';
import { mountSync } from '../../build/ts/index.js';

/** A mounted image. `drop()` empties the cache. */
export function ours(image, options = {}) {
  const device = openFile(image, { readOnly: true });
  const img = mountSync(device, options);
  return {
    img,
    drop: () => coreOf(img).vol.cache.dropClean(),
    close() {
      img.unmountSync();
      device.closeSync();
    },
  };
}

/** A subject for race(): `work` once a call, `before` outside of the time. */
export function timed(name, work, before = () => {}) {
  const run = async (count) => {
    let ns = 0;
    for (let i = 0; i < count; i++) {
      await before();
      const start = performance.now();
      await work();
      ns += (performance.now() - start) * 1e6;
    }
    return ns;
  };
  const fn = () => {
    before();
    work();
    return 0;
  };
  return { name, run, fn };
}

/** Stops a benchmark that would measure something else than it says. */
export function check(condition, what) {
  if (!condition) throw new Error(`benchmark: ${what}`);
}
