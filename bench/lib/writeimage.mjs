// An image to write to, all of its blocks allocated on the host, so that no subject pays for that; and the library
// mounted on it, with its data path chosen.

import fs from 'node:fs';
import { join } from 'node:path';
import { coreOf } from '../../build/ts/api/fs.js';
import { openFile } from '../../build/ts/block/node.js';
import { mountSync } from '../../build/ts/index.js';
import { benchDir, MIB, tool, warm } from './image.mjs';

/** The path of a new ext4 image of so many MiB, blocks of 4 KiB. */
export function writeImage(name, mib) {
  const path = join(benchDir(), name);
  rawFile(name, mib);
  const options = 'lazy_itable_init=0,lazy_journal_init=0,nodiscard';
  tool('mke2fs', ['-q', '-F', '-t', 'ext4', '-b', '4096', '-E', options, path]);
  warm(path);
  return path;
}

/** A file of so many MiB, none of them a hole. */
export function rawFile(name, mib) {
  const path = join(benchDir(), name);
  const fd = fs.openSync(path, 'w');
  const part = Buffer.alloc(MIB, 1);
  for (let i = 0; i < mib; i++) fs.writeSync(fd, part, 0, MIB, i * MIB);
  fs.fsyncSync(fd);
  fs.closeSync(fd);
  return path;
}

/** A writable mount with an open file /file. */
export function writer(path, options = {}) {
  const device = openFile(path);
  const img = mountSync(device, { dax: 'never', ...options });
  const fd = img.openSync('/file', 'w+');
  img.fsyncSync(fd);
  return {
    img,
    fd,
    counters: () => img.counters(),
    drop: () => coreOf(img).vol.cache.dropClean(),
    close() {
      img.closeSync(fd);
      img.unmountSync();
      device.closeSync();
    },
  };
}
