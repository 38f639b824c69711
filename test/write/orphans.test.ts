// What has no name but is open: it lives until its last close, a crash or the unmount removes it,
// and nothing is lost.

import { expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { mountVfsSync } from '../../ts/vfs/filesystem.ts';
import { need } from '../need.ts';
import { apply, bytes } from './driver.ts';
import { contents, fsck, makeImage, recover, SETS } from './images.ts';
import type { Op } from './model.ts';

need.describe('unlinked while open', [need.tool('mke2fs', 'e2fsck')], () => {
  for (const name of ['ext2', 'ext3', 'ext4 1k', 'orphan_file', 'bigalloc']) {
    test(`${name}: removed by the last close, by recovery, by the unmount`, () => {
      const device = memoryDevice(makeImage(SETS[name]), { sparse: true });
      const fs = mountVfsSync(device);
      const must = (op: Op) => expect(apply(fs, op), JSON.stringify(op)).toBe('');
      const fds = ['/a', '/b', '/c', '/d'].map((path) => {
        must(['mknod', path, 0o100644]);
        must(['setxattr', path, 'user.big', path.repeat(300), 0]);
        return fs.runSync(fs.open(path, 0));
      });
      for (const path of ['/a', '/b', '/c']) must(['unlink', path]);
      must(['mknod', '/e', 0o100644]);
      must(['rename', '/e', '/d', 0]);
      expect(fs.runSync(fs.fstat(fds[1])).nlink).toBe(0);
      fs.runSync(fs.close(fds[1]));
      fs.runSync(fs.syncAll());
      const journal = fs.vol.sb.hasJournal;
      if (journal) {
        const { seen, image } = recover(contents(device), (copy) => ({ ...copy.vol.free }));
        expect(fsck(image)).toBe('');
        expect(seen.inodes, 'three orphans removed').toBe((fs.vol.free?.inodes ?? 0) + 3);
      }
      fs.runSync(fs.unmount());
      expect(fsck(contents(device))).toBe('');
      const again = mountVfsSync(memoryDevice(contents(device), { sparse: true }));
      expect(again.runSync(again.stat(bytes('/d'), false)).nlink).toBe(1);
    });
  }
});
