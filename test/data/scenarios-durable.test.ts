// Scenarios 33, 34 and 36: what fsync acknowledged, in whatever order the device works, and data on its way to blocks
// that are taken from it.

import { expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { writeBackFile } from '../../ts/flow.ts';
import { mountVfs } from '../../ts/vfs/filesystem.ts';
import { need } from '../need.ts';
import { slowDevice } from '../slow.ts';
import { bytes } from '../write/driver.ts';
import { contents, fsck, makeImage, recover } from '../write/images.ts';
import { CUT, KINDS } from './kinds.ts';
import { crashScenario, NEEDS } from './scenario.ts';
import { A, B, made, readF, same, store } from './subject.ts';

need.describe('fsync', NEEDS, () => {
  crashScenario('33. what fsync acknowledged survives any later cut', CUT, (c) => {
    const { extents, path } = c.subject.kind;
    c.begin();
    c.op((s) => s.write(0, 3000, A));
    c.fsync();
    c.op((s) => s.write(3000, 5000, B)); // append
    c.fsync(true);
    c.op((s) => s.write(1000, 3000, 0x63)); // overwrite
    c.fsync(true);
    if (extents) {
      c.op((s) => s.alloc(8000, 20000));
      c.op((s) => s.write(12000, 5000, 0x64)); // into prealloc
      c.fsync();
    }
    c.op((s) => s.trunc(60000));
    c.op((s) => s.write(45000, 2000, 0x65)); // into a hole
    c.fsync();
    if (path !== 'journalled') {
      c.op((s) => store(s, 2000, 9000, 0x66));
      c.fsync();
    }
    c.op((s) => s.write(0, 60000, 0x67));
    return undefined;
  });

  crashScenario('34. sizes on disk never go back while a file grows', CUT, (c) => {
    c.begin();
    for (let i = 0; i < 6; i++) {
      c.op((s) => s.write(i * 7000, 5000, A + i));
      c.op((s) => s.run(writeBackFile(i % 2 === 0 ? s.inode.ino : 0)));
      if (i % 3 === 2) c.fsync();
    }
    return (all) => {
      let acked = 0;
      for (const { bytes: b, where } of all) {
        if (where.endsWith('none')) expect(b.length, where).toBeGreaterThanOrEqual(acked);
        if (where.endsWith('none')) acked = b.length;
      }
    };
  });

  test('34. the order in which device calls settle changes nothing', async () => {
    for (const name of ['iomap 1k', 'iomap 4k', 'bufferhead 4k', 'indirect 4k'] as const) {
      const seen: unknown[] = [];
      for (const order of ['fifo', 'lifo', 'random'] as const) {
        const memory = memoryDevice(makeImage(KINDS[name]), { sparse: true });
        const device = slowDevice(memory, { order, seed: 3, stable: true });
        const fs = await mountVfs(device, { ...KINDS[name].options, cacheBytes: 8 << 20 });
        const fd = await fs.run(fs.open(bytes('/f'), 0o102, 0o644));
        const other = await fs.run(fs.open(bytes('/g'), 0o102, 0o644));
        const write = (to: number, pos: number, len: number, byte: number) =>
          fs.run(fs.data.write(to, new Uint8Array(len).fill(byte), pos));
        await write(fd, 0, 100_000, A);
        await Promise.all([
          fs.run(fs.data.fsync(fd, false)),
          write(other, 5000, 70_000, B),
          write(fd, 200_000, 50_000, B),
          fs.run(fs.data.fsync(other, false)),
        ]);
        await Promise.all([fs.run(fs.syncAll()), write(fd, 60_000, 200_000, 0x63)]);
        await fs.run(fs.unmount());
        const image = contents(memory as never);
        expect(fsck(image), `${name}, ${order}`).toBe('');
        seen.push(
          recover(image, (again) => {
            const data = readF(again);
            const file = again.openSync(bytes('/f'), 0);
            const runs = again.runSync(again.extents(file)).map(({ lblk, count }) => [lblk, count]);
            return { data: Buffer.from(data).toString('latin1'), runs, size: data.length };
          }).seen,
        );
      }
      expect(seen[1] === seen[0] || JSON.stringify(seen[1]) === JSON.stringify(seen[0]), name).toBe(
        true,
      );
      expect(JSON.stringify(seen[2]) === JSON.stringify(seen[0]), name).toBe(true);
    }
  });
});

need.describe('stale mappings', NEEDS, () => {
  test('36. blocks are not freed while data is on its way to them, and are not written once freed', async () => {
    for (const name of ['iomap 4k', 'bufferhead 4k'] as const) {
      for (const range of ['truncate', 'punch'] as const) {
        const memory = memoryDevice(makeImage(KINDS[name]), { sparse: true });
        const device = slowDevice(memory, { order: 'manual' });
        const settled = async <T>(what: Promise<T>): Promise<T> => {
          let done = false;
          const end = what.finally(() => {
            done = true;
          });
          end.catch(() => {});
          while (!done) {
            if (device.queue.length > 0) await device.complete(0);
            else await new Promise((resolve) => setImmediate(resolve));
          }
          return end;
        };
        const fs = await settled(mountVfs(device, { ...KINDS[name].options, cacheBytes: 8 << 20 }));
        const fd = await settled(fs.run(fs.open(bytes('/f'), 0o102, 0o644)));
        await settled(fs.run(fs.data.write(fd, new Uint8Array(40_000).fill(A), 0)));
        const sync = fs.run(fs.data.fsync(fd, false));
        for (let i = 0; i < 50 && !device.queue.some((q) => q.kind === 'write'); i++) {
          if (device.queue.length > 0) await device.complete(0);
          await new Promise((resolve) => setImmediate(resolve));
        }
        expect(
          device.queue.some((q) => q.kind === 'write'),
          'data is in flight',
        ).toBe(true);
        let cut = false;
        const change =
          range === 'truncate'
            ? fs.run(fs.data.truncate(fd, 5000))
            : fs.run(fs.data.fallocate(fd, 'punch', 4096, 32768, true));
        change.then(() => {
          cut = true;
        });
        for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
        expect(cut, `${name}, ${range}: waits for what is in flight`).toBe(false);
        await settled(Promise.all([sync, change]));
        const before = device.counts.write;
        await settled(fs.run(fs.data.fsync(fd, false)));
        await settled(fs.run(fs.unmount()));
        expect(before).toBeGreaterThan(0);
        const image = contents(memory as never);
        expect(fsck(image), `${name}, ${range}`).toBe('');
        const want =
          range === 'truncate' ? made([5000, A]) : made([4096, A], [32768, 0], [3136, A]);
        same(recover(image, readF).seen, want, `${name}, ${range}`);
      }
    }
  });
});
