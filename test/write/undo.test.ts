// A step that is undone while a commit is under way: what it moved forward goes back, and the
// commit's bytes stay.

import { expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import type { Inode } from '../../ts/ext4/inode.ts';
import { step } from '../../ts/flow.ts';
import { mountVfs } from '../../ts/vfs/filesystem.ts';
import { need } from '../need.ts';
import { slowDevice } from '../slow.ts';
import { applyAsync } from './driver.ts';
import { contents, fsck, makeImage, SETS } from './images.ts';

const turn = () => new Promise((resolve) => setImmediate(resolve));

function breakOff(inode: Inode): void {
  inode.at();
  inode.vol.journal!.start(2);
  inode.put32(0, 0);
  throw new RangeError('on purpose');
}

need.describe('a step undone during a commit', [need.tool('mke2fs', 'e2fsck')], () => {
  test('its block may be changed again once the commit is through', async () => {
    const memory = memoryDevice(makeImage(SETS.ext2), { sparse: true });
    const device = slowDevice(memory, { order: 'manual', stable: true });
    let idle = false;
    const pump = async () => {
      while (!idle) await (device.queue.length > 0 ? device.complete() : turn());
    };
    let pumping = pump();
    const fs = await mountVfs(device);
    expect(await applyAsync(fs, ['mkdir', '/a', 0o755])).toBe('');
    idle = true;
    await pumping;
    const syncing = fs.run(fs.syncAll());
    while (device.queue.length === 0 || device.queue[0].kind !== 'write') {
      if (device.queue.length > 0) await device.complete();
      else await turn();
    }
    const root = fs.vol.inodes.get(2);
    await expect(fs.run(step(breakOff, root))).rejects.toThrow('on purpose');
    idle = false;
    pumping = pump();
    await syncing;
    expect(await applyAsync(fs, ['mkdir', '/b', 0o755])).toBe('');
    await fs.run(fs.unmount());
    idle = true;
    await pumping;
    expect(fsck(contents(memory))).toBe('');
  });
});
