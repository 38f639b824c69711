// Mounting: a file system of 1 TiB must not take twice as long as one of 1 GiB; nothing that grows with the device is
// read or made at mount. Empty images by mke2fs in sparse files. `--quick`: fewer rounds, no benny report.

import { openFile } from '../build/ts/block/node.js';
import { mountSync } from '../build/ts/index.js';
import { bennySuite, race } from './harness.mjs';
import { GIB, sparseImage, TIB } from './lib/image.mjs';
import { check } from './lib/ours.mjs';
import { compare, finish } from './lib/report.mjs';

const quick = process.argv.includes('--quick');

/** Mounts, looks at the root, unmounts. */
function subject(name, size) {
  const device = openFile(sparseImage(`${name.replace(' ', '')}.img`, size), { readOnly: true });
  const fn = () => {
    const img = mountSync(device);
    const { ino } = img.statSync('/');
    img.unmountSync();
    return ino;
  };
  check(fn() === 2, 'the root has number 2');
  return { name, fn, close: () => device.closeSync() };
}

const subjects = [subject('1 GiB', GIB), subject('1 TiB', TIB), subject('15 TiB', 15 * TIB)];
const times = await race(subjects, { rounds: quick ? 31 : 101, slice: 5 });
compare('mount of 1 TiB', times, { ours: '1 TiB', peer: '1 GiB', target: 0.5 });
compare('mount of 15 TiB', times, { ours: '15 TiB', peer: '1 GiB' });
if (!quick) await bennySuite('mount and unmount', subjects);
for (const { close } of subjects) close();
finish(`npm run bench -- ${quick ? '--quick ' : ''}mount`);
