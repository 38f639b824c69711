// The data path is chosen once, when an inode enters memory. Goal: chattr +j and -j count at the next opening, and no
// copy of a block in the log ever overwrites what was written past it (H39). Method: both directions, power cuts by
// copies of the device, e2fsck.

import { expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { mountVfsSync } from '../../ts/vfs/filesystem.ts';
import { contents, makeImage, tool } from '../write/images.ts';

const JOURNAL_DATA = 0x4000;

test('a change of flags counts when the file is opened anew, and loses nothing', () => {
  const device = memoryDevice(makeImage({ args: '-t ext4 -b 1024', size: 16 }));
  const fs = mountVfsSync(device, { dax: 'never' });
  const write = (fd: number, byte: number) =>
    fs.writeSync(fd, new Uint8Array(20000).fill(byte), 0, 20000, 0);
  let fd = fs.runSync(fs.open('/f', 0o102, 0o644));
  const { inode } = fs.file(fd);
  const flags = inode.flags;
  write(fd, 1);
  expect(fs.dataPath(fd)).toBe('iomap');
  fs.runSync(fs.change.setFlags(inode.ino, flags | JOURNAL_DATA));
  write(fd, 2);
  expect(fs.dataPath(fd)).toBe('iomap');
  fs.closeSync(fd);
  fd = fs.runSync(fs.open('/f', 2));
  expect(fs.dataPath(fd)).toBe('journalled');
  write(fd, 3);
  fs.runSync(fs.syncAll());
  fs.runSync(fs.change.setFlags(inode.ino, flags));
  write(fd, 4);
  expect(fs.dataPath(fd)).toBe('journalled');
  fs.closeSync(fd);
  fd = fs.runSync(fs.open('/f', 2));
  expect(fs.dataPath(fd)).toBe('iomap');
  write(fd, 5);
  fs.runSync(fs.data.fsync(fd, false));
  const crashed = memoryDevice(contents(device as never));
  const after = mountVfsSync(crashed, { dax: 'never' });
  const got = new Uint8Array(20000);
  after.readSync(after.runSync(after.open('/f', 0)), got, 0, 20000, 0);
  expect(got.every((byte) => byte === 5)).toBe(true);
  after.runSync(after.unmount());
  expect(tool('e2fsck', ['-fn'], contents(crashed as never))).toMatchObject({ code: 0 });
  fs.runSync(fs.unmount());
  expect(tool('e2fsck', ['-fn'], contents(device as never))).toMatchObject({ code: 0 });
});
