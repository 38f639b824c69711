// What concerns the whole mount: transaction, trim, shutdown; and views for writing. Goal: a transaction is one
// commit or nothing; trim tells exactly the free blocks; after a shutdown the image is what a crash leaves. Method:
// fresh images, read again by another mount, e2fsck.

import { describe, expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { mount, mountSync } from '../../ts/index.ts';
import { contents, makeImage, tool } from '../write/images.ts';

const image = () => memoryDevice(makeImage({ args: '-t ext4 -b 1024', size: 16 }));
const sound = (device: ReturnType<typeof image>) =>
  expect(tool('e2fsck', ['-fn'], contents(device as never))).toMatchObject({ code: 0 });

describe.each([
  ['synchronous', async (d: ReturnType<typeof image>) => mountSync(d, { dax: 'never' })],
  ['asynchronous', (d: ReturnType<typeof image>) => mount(d, { dax: 'never' })],
])('%s', (_name, open) => {
  test('a transaction is one commit', async () => {
    const device = image();
    const fs = await open(device);
    await fs.promises.writeFile('/before', 'x');
    await fs.sync();
    const before = fs.counters().commits;
    const result = await fs.transaction(async (tx) => {
      await tx.promises.mkdir('/d');
      for (let i = 0; i < 20; i++) await tx.promises.writeFile(`/d/${i}`, 'y'.repeat(3000));
      await tx.promises.rm('/before');
      return 5;
    });
    expect(result).toBe(5);
    expect(fs.counters().commits).toBe(before + 1);
    await fs.unmount();
    sound(device);
    const again = mountSync(device, { ro: true });
    expect(again.readdirSync('/d').length).toBe(20);
    expect(again.readFileSync('/d/19', 'utf8')).toBe('y'.repeat(3000));
    expect(again.existsSync('/before')).toBe(false);
  });

  test('a throw takes all of it back, data and sizes too', async () => {
    const device = image();
    const fs = await open(device);
    await fs.promises.writeFile('/kept', 'a'.repeat(5000));
    await fs.promises.mkdir('/empty');
    await fs.sync();
    const free = (await fs.promises.statfs('/')).bfree;
    const failing = fs.transaction(async (tx) => {
      await tx.promises.writeFile('/kept', 'b'.repeat(90000));
      await tx.promises.rename('/kept', '/moved');
      await tx.promises.rmdir('/empty');
      await tx.promises.writeFile('/new', 'c');
      await tx.promises.truncate('/moved', 10);
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    expect(await fs.promises.readFile('/kept', 'utf8')).toBe('a'.repeat(5000));
    expect((await fs.promises.readdir('/')).sort()).toEqual(['empty', 'kept', 'lost+found']);
    expect((await fs.promises.statfs('/')).bfree).toBe(free);
    await fs.promises.writeFile('/after', 'd');
    await fs.unmount();
    sound(device);
    const again = mountSync(device, { ro: true });
    expect(again.readFileSync('/kept', 'utf8')).toBe('a'.repeat(5000));
    expect(again.readFileSync('/after', 'utf8')).toBe('d');
  });

  test('more than one transaction holds is ENOSPC, and nothing is changed', async () => {
    const device = image();
    const fs = await open(device);
    const failing = fs.transaction(async (tx) => {
      for (let i = 0; i < 4000; i++) await tx.promises.mkdir(`/d${i}`);
    });
    await expect(failing).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(await fs.promises.readdir('/')).toEqual(['lost+found']);
    await fs.unmount();
    sound(device);
  });

  test('trim discards what is free, and nothing else', async () => {
    const device = image();
    const fs = await open(device);
    await fs.promises.writeFile('/f', Buffer.alloc(300000, 7));
    await fs.promises.writeFile('/gone', Buffer.alloc(300000, 8));
    await fs.promises.rm('/gone');
    await fs.sync();
    const bytes = await fs.trim();
    const { bfree, bsize } = await fs.promises.statfs('/');
    expect(bytes).toBe(bfree * bsize);
    expect(Buffer.compare(await fs.promises.readFile('/f'), Buffer.alloc(300000, 7))).toBe(0);
    await fs.unmount();
    sound(device);
  });

  test.each(['default', 'logflush', 'nologflush'] as const)('shutdown %s', async (mode) => {
    const device = image();
    const fs = await open(device);
    await fs.promises.writeFile('/synced', 'a');
    await fs.sync();
    await fs.promises.writeFile('/later', 'b'.repeat(2000));
    await fs.shutdown(mode);
    await expect(fs.promises.stat('/synced')).rejects.toMatchObject({ code: 'EIO' });
    await expect(fs.promises.mkdir('/x')).rejects.toMatchObject({ code: 'EIO' });
    await fs.unmount();
    const again = mountSync(device, { dax: 'never' });
    expect(again.readFileSync('/synced', 'utf8')).toBe('a');
    expect(again.existsSync('/later')).toBe(mode !== 'nologflush');
    const size = mode === 'nologflush' ? 0 : again.statSync('/later').size;
    expect(size).toBe(mode === 'default' ? 2000 : 0);
    again.unmountSync();
    sound(device);
  });

  test('stores to a view are in the file once they were announced', async () => {
    const device = image();
    const fs = await open(device);
    await fs.promises.writeFile('/f', Buffer.alloc(5000, 1));
    const view = await fs.promises.view('/f', 1000, 3000, { write: true });
    for (const part of view.segments) part.fill(9);
    view.dirty();
    await view.sync();
    view.release();
    await fs.unmount();
    const want = Buffer.alloc(5000, 1).fill(9, 1000, 4000);
    expect(Buffer.compare(mountSync(device, { ro: true }).readFileSync('/f'), want)).toBe(0);
  });
});

test('while a transaction runs, others’ synchronous calls are EBUSY and promises wait', async () => {
  const device = image();
  const fs = mountSync(device, { dax: 'never' });
  const order: string[] = [];
  let go = () => {};
  const running = fs.transaction(async (tx) => {
    tx.mkdirSync('/a');
    await new Promise<void>((done) => {
      go = done;
    });
    order.push('transaction');
  });
  await new Promise((done) => setTimeout(done, 5));
  expect(() => fs.statSync('/')).toThrow(/EBUSY/);
  const other = fs.promises.mkdir('/b').then(() => order.push('other'));
  go();
  await running;
  await other;
  expect(order).toEqual(['transaction', 'other']);
  expect(fs.readdirSync('/').sort()).toEqual(['a', 'b', 'lost+found']);
  fs.unmountSync();
});
