// What random traces found once, each as short as it can be said.

import { expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { mountVfsSync } from '../../ts/vfs/filesystem.ts';
import { need } from '../need.ts';
import { apply } from './driver.ts';
import { contents, fsck, makeImage, SETS } from './images.ts';

need.describe('found by random traces', [need.tool('mke2fs', 'e2fsck')], () => {
  test('a directory moves into one whose parent directory is indexed', () => {
    const device = memoryDevice(makeImage(SETS['ext4 1k']), { sparse: true });
    const fs = mountVfsSync(device);
    for (const dir of ['/a', '/b', '/b/c']) expect(apply(fs, ['mkdir', dir, 0o755])).toBe('');
    for (let i = 0; i < 200; i++) {
      expect(apply(fs, ['mknod', `/b/c/a-name-of-some-length-${i}`, 0o100644])).toBe('');
    }
    expect(apply(fs, ['rename', '/b', '/b/c/b', 0])).toBe('EINVAL');
    expect(apply(fs, ['rename', '/a', '/b/c/a', 0])).toBe('');
    fs.runSync(fs.unmount());
    expect(fsck(contents(device))).toBe('');
  });
});
