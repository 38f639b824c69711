// Goal: of two mounts that want to write one waits, sees the other and gives up. Method: mounts of ours against
// each other with timers moved by hand, against the kernel through a loop device, and the block as debugfs sees it.

import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import * as F from '../../assembly/format/ext4.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import { openFile } from '../../ts/block/node.ts';
import { type Ext4, mount, mountSync } from '../../ts/index.ts';
import { DEEP, need, which } from '../need.ts';
import { slowDevice } from '../slow.ts';
import { contents, fsck, makeImage, scratch, tool } from './images.ts';

const MMP = { args: '-t ext4 -b 4096 -O mmp -E mmp_update_interval=1', size: 16 };
const BUSY = expect.objectContaining({ code: 'EBUSY' });

const fresh = () => memoryDevice(makeImage(MMP), { sparse: true });
type Device = ReturnType<typeof fresh>;

/** The block as it is on the device: its number, and what is counted. */
function block(device: Device): { dpos: number; dv: DataView } {
  const image = contents(device);
  const sb = new DataView(image.buffer, F.SB_OFFSET);
  const dpos = sb.getUint32(F.S_MMP_BLOCK, true) * 4096;
  return { dpos, dv: new DataView(image.buffer, dpos, 1024) };
}
const seqOf = (device: Device) => block(device).dv.getUint32(F.MMP_SEQ, true);

/** The same device to somebody else. */
const beside = (device: Device) => slowDevice(device, { sync: true });

/** A device as a crash leaves it: the block says that somebody has it. */
function crashed(): Device {
  const device = fresh();
  const fs = mountSync(device);
  fs.mkdirSync('/before');
  fs.fsyncSync(fs.openSync('/before', 'r'));
  return memoryDevice(contents(device), { sparse: true });
}

need.describe('the multi-mount block', [need.tool('mke2fs', 'e2fsck', 'debugfs')], () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] }));
  afterEach(() => {
    vi.restoreAllMocks();
    vi.useRealTimers();
  });

  test('says so while a mount writes, counts every second, and is clean afterwards', async () => {
    const device = fresh();
    expect(seqOf(device)).toBe(F.EXT4_MMP_SEQ_CLEAN);
    const fs = mountSync(device);
    expect(fs.info().readOnly).toBe(false);
    const first = seqOf(device);
    expect(first).toBeLessThan(F.EXT4_MMP_SEQ_FSCK);
    await vi.advanceTimersByTimeAsync(3100);
    expect(seqOf(device)).toBe(first + 3);
    const { text } = tool('debugfs', ['-R', 'dump_mmp'], contents(device));
    expect(text).toMatch(/^magic: 0x4d4d50$/m);
    expect(text).toMatch(/node_name: ext4-wasm/);
    expect(text).not.toMatch(/wrong|invalid|error|match/i);
    fs.unmountSync();
    expect(seqOf(device)).toBe(F.EXT4_MMP_SEQ_CLEAN);
    expect(vi.getTimerCount()).toBe(0);
    expect(fsck(contents(device))).toBe('');
  });

  test('is left alone by mounts that do not write', () => {
    const device = fresh();
    const before = contents(device).slice();
    mountSync(device, { ro: true }).unmountSync();
    mountSync(device, { noload: true }).unmountSync();
    expect(Buffer.compare(contents(device), before)).toBe(0);
    const held = mountSync(device);
    const reader = mountSync(beside(device), { ro: true });
    expect(reader.readdirSync('/')).toContain('lost+found');
    held.unmountSync();
  });

  test('keeps a second mount out, which waits until it has seen the first one count', async () => {
    const memory = fresh();
    const first = await mount(slowDevice(memory, { order: 'random', seed: 1 }));
    const second = mount(memory).catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(10_000);
    await vi.advanceTimersByTimeAsync(2000);
    expect(await second).toEqual(BUSY);
    await first.promises.mkdir('/still');
    await first.unmount();
    const third = await mount(memory);
    await third.promises.access('/still');
    await third.unmount();
    expect(fsck(contents(memory))).toBe('');
  });

  test('that a crash left in use is taken after two waits in which nobody counted', async () => {
    const device = crashed();
    let fs: Ext4 | null = null;
    const mounting = mount(device).then((done) => {
      fs = done;
    });
    await vi.advanceTimersByTimeAsync(21_900);
    expect(fs).toBe(null);
    await vi.advanceTimersByTimeAsync(200);
    await mounting;
    await fs!.promises.access('/before');
    await fs!.unmount();
    expect(fsck(contents(device))).toBe('');
  });

  test('that a crash left is waited for inside the call, or taken at once when the caller says so', () => {
    const device = crashed();
    const waits: number[] = [];
    vi.spyOn(Atomics, 'wait').mockImplementation(((...a: unknown[]) => {
      waits.push(Number(a[3]));
      return 'timed-out';
    }) as typeof Atomics.wait);
    mountSync(memoryDevice(contents(device), { sparse: true }), { clearMmp: true }).unmountSync();
    expect(waits).toEqual([]);
    mountSync(device).unmountSync();
    expect(waits).toEqual([11_000, 11_000]);
  });

  test('that cannot be waited for is refused in words', () => {
    const device = crashed();
    vi.spyOn(Atomics, 'wait').mockImplementation(() => {
      throw new TypeError('Atomics.wait cannot be called in this context');
    });
    expect(() => mountSync(device)).toThrow(/asynchronous mount/);
    expect(seqOf(device)).not.toBe(F.EXT4_MMP_SEQ_CLEAN);
  });

  test('is given back by a mount that fails', () => {
    const device = fresh();
    const image = contents(device);
    const sb = new DataView(image.buffer, F.SB_OFFSET);
    const table = new DataView(image.buffer, 4096).getUint32(F.BG_INODE_TABLE_LO, true);
    image.fill(0, table * 4096 + sb.getUint16(F.S_INODE_SIZE, true), table * 4096 + 1024);
    const broken = memoryDevice(image);
    expect(() => mountSync(broken)).toThrow();
    expect(seqOf(broken as Device)).toBe(F.EXT4_MMP_SEQ_CLEAN);
  });

  test('taken by another mount in a long pause ends the first one, which writes nothing more', async () => {
    const device = fresh();
    const fs = mountSync(device);
    fs.mkdirSync('/mine');
    const other = mountSync(beside(device), { clearMmp: true });
    vi.setSystemTime(Date.now() + 60_000);
    const before = contents(device).slice();
    expect(() => fs.fsyncSync(fs.openSync('/mine', 'r'))).toThrow(BUSY);
    expect(() => fs.mkdirSync('/more')).toThrow(expect.objectContaining({ code: 'EROFS' }));
    fs.unmountSync();
    expect(Buffer.compare(contents(device), before)).toBe(0);
    other.unmountSync();
    expect(fsck(contents(device))).toBe('');
  });

  test('taken by another mount keeps old data of the first one off the device', () => {
    const device = fresh();
    const fs = mountSync(device);
    fs.writeFileSync('/f', new Uint8Array(5000).fill(1));
    fs.fsyncSync(fs.openSync('/f', 'r+'));
    const fd = fs.openSync('/f', 'r+');
    fs.writeSync(fd, new Uint8Array(5000).fill(2), 0, 5000, 0);
    const other = mountSync(beside(device), { clearMmp: true, dax: 'never' });
    vi.setSystemTime(Date.now() + 60_000);
    expect(() => fs.fsyncSync(fd)).toThrow(BUSY);
    expect(other.readFileSync('/f')).toEqual(Buffer.alloc(5000, 1));
    fs.unmountSync();
    other.unmountSync();
    expect(fsck(contents(device))).toBe('');
  });

  test('is given back by a mount whose journal has aborted, and not by one that was shut down', async () => {
    const memory = fresh();
    const device = slowDevice(memory, { sync: true });
    const fs = mountSync(device);
    fs.mkdirSync('/a');
    device.fail('write', 1, { count: 1 });
    expect(() => fs.fsyncSync(fs.openSync('/a', 'r'))).toThrow();
    expect(() => fs.mkdirSync('/b')).toThrow(expect.objectContaining({ code: 'EROFS' }));
    const before = seqOf(memory);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(seqOf(memory), 'nothing is counted any more').toBe(before);
    fs.unmountSync();
    expect(seqOf(memory)).toBe(F.EXT4_MMP_SEQ_CLEAN);
    const next = mountSync(memory);
    await next.shutdown('nologflush');
    const last = seqOf(memory);
    await vi.advanceTimersByTimeAsync(20_000);
    next.unmountSync();
    expect(seqOf(memory)).toBe(last);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('after a short pause, or with nobody else, is counted on', () => {
    const device = fresh();
    const fs = mountSync(device);
    for (const pause of [3000, 60_000]) {
      const before = seqOf(device);
      vi.setSystemTime(Date.now() + pause);
      fs.mkdirSync(`/d${pause}`);
      fs.fsyncSync(fs.openSync('/', 'r'));
      expect(seqOf(device)).toBe(before + 1);
    }
    expect(block(device).dv.getUint16(F.MMP_CHECK_INTERVAL, true)).toBe(120);
    fs.unmountSync();
  });

  test('of e2fsck is busy, one that is broken is an error', () => {
    const device = fresh();
    const { dpos, dv } = block(device);
    const bytes = new Uint8Array(dv.buffer, dpos, 4096).slice();
    bytes[F.MMP_SEQ] ^= 1;
    device.writeSync(bytes, dpos);
    expect(() => mountSync(device)).toThrow(expect.objectContaining({ code: 'EBADMSG' }));
    bytes[0] = 0;
    device.writeSync(bytes, dpos);
    expect(() => mountSync(device)).toThrow(expect.objectContaining({ code: 'EUCLEAN' }));
    const plain = memoryDevice(makeImage({ ...MMP, args: `${MMP.args} -O ^metadata_csum` }));
    const at = block(plain as Device);
    at.dv.setUint32(F.MMP_SEQ, F.EXT4_MMP_SEQ_FSCK, true);
    plain.writeSync(new Uint8Array(at.dv.buffer, at.dpos, 4096), at.dpos);
    expect(() => mountSync(plain)).toThrow(BUSY);
  });
});

const say = (name: string, args: string[]) => spawnSync(which(name), args, { encoding: 'utf8' });

need.describe('the kernel beside us', [need.root(), need.loop(), need.tool('mke2fs')], () => {
  const path = scratch('mmp.img');
  const dir = scratch('mmp-mount');

  test('mounts at once what we left, and keeps us out while it has it', () => {
    writeFileSync(path, makeImage(MMP));
    mkdirSync(dir, { recursive: true });
    const device = openFile(path);
    const fs = mountSync(device);
    fs.writeFileSync('/ours', 'x');
    fs.unmountSync();
    const start = Date.now();
    execFileSync(which('mount'), ['-o', 'loop', path, dir]);
    expect(Date.now() - start, 'milliseconds that the kernel waited').toBeLessThan(5000);
    const real = Atomics.wait;
    const spy = vi.spyOn(Atomics, 'wait');
    spy.mockImplementation(((a: Int32Array, i: number, v: number) =>
      real(a, i, v, 2500)) as typeof Atomics.wait);
    expect(() => mountSync(device)).toThrow(BUSY);
    spy.mockRestore();
    execFileSync(which('umount'), [dir]);
    const again = mountSync(device);
    expect(again.readFileSync('/ours', 'utf8')).toBe('x');
    again.unmountSync();
    device.closeSync();
    expect(say('e2fsck', ['-fn', path]).status).toBe(0);
  }, 60_000);

  // The kernel waits for 11 seconds.
  if (DEEP) {
    test('is kept out while we have it', async () => {
      writeFileSync(path, makeImage(MMP));
      mkdirSync(dir, { recursive: true });
      const device = openFile(path);
      const fs = await mount(device);
      const child = spawn(which('mount'), ['-o', 'loop', path, dir]);
      const code = await new Promise((done) => child.on('exit', done));
      expect(code).not.toBe(0);
      await fs.promises.mkdir('/still');
      await fs.unmount();
      device.closeSync();
      expect(say('e2fsck', ['-fn', path]).status).toBe(0);
    }, 60_000);
  }
});
