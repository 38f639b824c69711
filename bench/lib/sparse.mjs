// A file system of 16 TiB in a sparse memory device. No disk file may be that long, but one in tmpfs may; where its
// data lies is asked of the kernel (Python, since Node has no lseek), and only that is copied.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { memoryDevice } from '../../build/ts/block/memory.js';
import { benchDir, MIB, onExit, sparseImage, TIB, tool } from './image.mjs';

const RANGES = `
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
end = 0
try:
    while True:
        start = os.lseek(fd, end, os.SEEK_DATA)
        end = os.lseek(fd, start, os.SEEK_HOLE)
        print(start, end)
except OSError:
    pass
`;

/** A folder whose files may have 16 TiB: /dev/shm, or a tmpfs of our own where one may be mounted. */
function bigFolder() {
  const shm = fs.mkdtempSync('/dev/shm/ext4-bench-');
  onExit(() => fs.rmSync(shm, { recursive: true, force: true }));
  try {
    const probe = join(shm, 'probe');
    fs.writeFileSync(probe, '');
    fs.truncateSync(probe, 16 * TIB);
    fs.rmSync(probe);
    return shm;
  } catch {
    const dir = join(benchDir(), 'tmpfs');
    fs.mkdirSync(dir);
    tool('mount', ['-t', 'tmpfs', 'ext4-bench', dir]);
    onExit(() => tool('umount', [dir]));
    return dir;
  }
}

/** A memory device of 16 TiB that mke2fs has formatted. */
export function formattedMemory() {
  const size = 16 * TIB;
  const path = sparseImage('16t.img', size, bigFolder(), ['-O', 'sparse_super2']);
  const text = execFileSync('python3', ['-c', RANGES, path], { encoding: 'utf8' });
  const device = memoryDevice(size, { sparse: true });
  const fd = fs.openSync(path, 'r');
  const part = Buffer.alloc(MIB);
  for (const line of text.trim().split('\n')) {
    const [from, to] = line.split(' ').map(Number);
    for (let pos = from; pos < to; pos += MIB) {
      const len = Math.min(MIB, to - pos);
      fs.readSync(fd, part, 0, len, pos);
      device.writeSync(part.subarray(0, len), pos);
    }
  }
  fs.closeSync(fd);
  fs.rmSync(path);
  return device;
}
