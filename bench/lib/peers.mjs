// What the library is measured against: the kernel's ext4 on a loop mount of the same image, and npm ext2fs. Where one
// cannot be had, null and a line that says what to install.

import fs from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { benchDir, hasTool, onExit, tool, warm } from './image.mjs';

/** Folder where the kernel shows the image, read-only; null without root or loop devices. */
export function kernelMount(image) {
  if (process.getuid?.() !== 0 || !hasTool('mount') || !fs.existsSync('/dev/loop-control')) {
    console.log("not run: the comparisons with the kernel's ext4 (run as root, with loop devices)");
    return null;
  }
  const dir = join(benchDir(), 'kernel');
  fs.mkdirSync(dir);
  tool('mount', ['-o', 'ro,loop', image, dir]);
  onExit(() => tool('umount', [dir]));
  return dir;
}

/** A disk as ext2fs wants it. Its README opens one over a FileHandle; `sync` answers without leaving the thread. */
function diskOf(handle, sync) {
  const { fd } = handle;
  const read = (...args) =>
    sync ? { bytesRead: fs.readSync(fd, ...args), buffer: args[0] } : handle.read(...args);
  const write = async (buffer, offset, length, position) => ({
    bytesWritten: fs.writeSync(fd, buffer, offset, length, position),
    buffer,
  });
  return { read, write, discard: async () => {}, flush: async () => {} };
}

/** Mounts a copy of the image (ext2fs writes when it reads) with ext2fs; null when it is not installed. */
export async function ext2fsMount(image, { sync }) {
  let ext2fs;
  try {
    ({ default: ext2fs } = await import('ext2fs'));
  } catch {
    console.log('not run: the comparisons with ext2fs (npm install)');
    return null;
  }
  const copy = join(benchDir(), `ext2fs-${sync ? 'sync' : 'async'}.img`);
  fs.copyFileSync(image, copy);
  warm(copy);
  const handle = await open(copy, 'r+');
  const mounted = await ext2fs.mount(diskOf(handle, sync));
  const close = async () => {
    await ext2fs.umount(mounted);
    await handle.close();
    fs.rmSync(copy);
  };
  return { fs: mounted, promises: mounted.promises, close };
}
