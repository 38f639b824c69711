// Goal: what is changed reaches the device without another call: the tree after the commit interval, file data after
// half a minute. Method: timers that are moved by hand; then the device is copied, as a power cut would leave it, and
// the copy recovered; e2fsck finds nothing in it.

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { type Ext4, mount, mountSync } from '../../ts/index.ts';
import { need } from '../need.ts';
import { slowDevice } from '../slow.ts';
import { contents, fsck, makeImage, recover, SETS } from './images.ts';

const DATA = new Uint8Array(10_000).fill(7);

need.describe('changes that nobody syncs', [need.tool('mke2fs', 'e2fsck')], () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }));
  afterEach(() => void vi.useRealTimers());

  const fresh = (set = 'ext4') => memoryDevice(makeImage(SETS[set]), { sparse: true });

  /** The device takes its time, which no timer counts. */
  async function until(done: () => boolean): Promise<void> {
    for (let i = 0; i < 10_000 && !done(); i++) await new Promise((go) => setImmediate(go));
    expect(done()).toBe(true);
  }

  /** What recovery shows of the device as it is now: the size of /a, -1 when it is not there. */
  function sizeOf(device: ReturnType<typeof fresh>): number {
    const { image } = recover(contents(device), () => null);
    expect(fsck(image)).toBe('');
    const fs = mountSync(memoryDevice(image), { ro: true });
    const size = fs.existsSync('/a') ? fs.statSync('/a').size : -1;
    if (size > 0) expect(fs.readFileSync('/a')).toEqual(Buffer.from(DATA));
    fs.unmountSync();
    return size;
  }

  test.each(['ext4', 'ext4 2k, no journal'])('reach a synchronous device: %s', async (set) => {
    const device = fresh(set);
    const fs = mountSync(device);
    fs.writeFileSync('/a', DATA);
    const commits = () => fs.counters().commits;
    expect(commits()).toBe(0);
    await vi.advanceTimersByTimeAsync(4900);
    expect(commits()).toBe(0);
    await vi.advanceTimersByTimeAsync(200);
    expect(commits()).toBe(1);
    if (set === 'ext4') expect(sizeOf(device), 'delayed allocation').toBe(0);
    await vi.advanceTimersByTimeAsync(40_000);
    if (set === 'ext4') expect(sizeOf(device)).toBe(DATA.length);
    const { deviceWrites } = fs.counters();
    expect(vi.getTimerCount(), 'timers when nothing waits').toBe(0);
    fs.unmountSync();
    expect(deviceWrites).toBeGreaterThan(0);
  });

  test('reach an asynchronous device, by the interval that was asked for', async () => {
    const memory = fresh();
    const fs = await mount(slowDevice(memory, { order: 'random', seed: 1 }), { commit: 1 });
    const file = await fs.promises.open('/a', 'w');
    await file.write(DATA);
    await vi.advanceTimersByTimeAsync(1100);
    await until(() => fs.counters().commits === 1);
    expect(sizeOf(memory)).toBe(0);
    for (let second = 0; second < 33; second++) {
      await vi.advanceTimersByTimeAsync(1000);
      await until(() => vi.getTimerCount() === 1 || fs.counters().commits === 2);
    }
    await until(() => fs.counters().commits === 2);
    expect(sizeOf(memory)).toBe(DATA.length);
    // What is written over in place waits for nobody either.
    await file.write(DATA, 0, DATA.length, 0);
    expect(vi.getTimerCount()).toBe(1);
    await file.close();
    await fs.unmount();
  });

  describe('are left alone', () => {
    const cases: [string, (fs: Ext4) => Promise<void>][] = [
      ['after a shutdown', async (fs) => await fs.shutdown('nologflush')],
      ['after the unmount', async (fs) => fs.unmountSync()],
    ];
    test.each(cases)('%s', async (_, end) => {
      const device = fresh();
      const fs = mountSync(device);
      fs.writeFileSync('/a', DATA);
      await end(fs);
      const before = contents(device).slice();
      await vi.advanceTimersByTimeAsync(60_000);
      expect(Buffer.compare(contents(device), before)).toBe(0);
      expect(vi.getTimerCount()).toBe(0);
    });
  });

  test('abort the journal when the device fails, and nothing is thrown at nobody', async () => {
    const memory = fresh();
    const slow = slowDevice(memory, { sync: true });
    const fs = mountSync(slow);
    fs.writeFileSync('/a', DATA);
    slow.fail('write', 1, { count: Infinity });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(() => fs.mkdirSync('/b')).toThrow(expect.objectContaining({ code: 'EROFS' }));
    expect(vi.getTimerCount()).toBe(0);
  });
});
