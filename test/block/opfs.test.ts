// OPFS devices. Goal: the contract on both ways in (access handle, snapshot), and locks, quotas and vanished files as
// clear errors. Method: a small fake of the file system's handles with the browser's rules: exclusive locks, snapshots
// that cannot be read once the file has changed, writables that replace the file when closed. The real one is
// tested in Chromium (test/browser).

import { afterEach, describe, expect, test, vi } from 'vitest';
import { opfsDevice } from '../../ts/block/opfs.ts';
import { deviceContract, expectCode, pattern } from '../contract/device.ts';

const domError = (name: string, message = name) => new DOMException(message, name);

/** One file; `handle('worker')` has access handles, `handle('page')` has not. */
class FakeFile {
  bytes: Uint8Array;
  version = 0;
  locked: 'no' | 'exclusive' | number = 'no';
  quota = Number.POSITIVE_INFINITY;
  copies = 0;
  /** Milliseconds that reading from a snapshot takes. */
  delay = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes.slice();
  }

  handle(where: 'worker' | 'page'): FileSystemFileHandle {
    const handle = {
      name: 'disk.img',
      getFile: async () => this.snapshot(),
      createWritable: async () => this.writable(),
      createSyncAccessHandle: async (o?: { mode: string }) => this.access(o?.mode ?? 'readwrite'),
    };
    if (where === 'worker') return handle as unknown as FileSystemFileHandle;
    const { createSyncAccessHandle: _, ...page } = handle;
    return page as unknown as FileSystemFileHandle;
  }

  resize(size: number): void {
    if (size > this.quota) throw domError('QuotaExceededError');
    const bytes = new Uint8Array(size);
    bytes.set(this.bytes.subarray(0, size));
    this.bytes = bytes;
  }

  snapshot(): File {
    const { version } = this;
    const blob = new Blob([this.bytes as BlobPart]);
    const check = () => {
      if (this.version !== version) throw domError('NotReadableError');
    };
    const wrap = (part: Blob): Blob =>
      Object.assign(Object.create(null), {
        size: part.size,
        slice: (from: number, to: number) => wrap(part.slice(from, to)),
        arrayBuffer: async () => {
          check();
          const bytes = await part.arrayBuffer();
          if (this.delay) await new Promise((resolve) => setTimeout(resolve, this.delay));
          check();
          return bytes;
        },
      });
    return wrap(blob) as File;
  }

  async writable() {
    if (this.locked !== 'no') throw domError('NoModificationAllowedError');
    this.copies++;
    const copy = new FakeFile(this.bytes);
    copy.quota = this.quota;
    return {
      write: async ({ position, data }: { position: number; data: Uint8Array }) => {
        if (data.buffer instanceof SharedArrayBuffer) throw new TypeError('shared');
        if (position + data.length > copy.bytes.length) copy.resize(position + data.length);
        copy.bytes.set(data, position);
        if (copy.quota === 0) throw domError('QuotaExceededError');
      },
      truncate: async (size: number) => copy.resize(size),
      close: async () => {
        this.bytes = copy.bytes;
        this.version++;
      },
      abort: async () => undefined,
    };
  }

  access(mode: string) {
    const readers = mode === 'read-only' && typeof this.locked === 'number';
    if (this.locked !== 'no' && !readers) throw domError('NoModificationAllowedError');
    this.locked =
      mode === 'read-only' ? (typeof this.locked === 'number' ? this.locked : 0) + 1 : 'exclusive';
    let open = true;
    const check = () => {
      if (!open) throw domError('InvalidStateError');
    };
    return {
      read: (into: Uint8Array, { at }: { at: number }) => {
        check();
        const part = this.bytes.subarray(at, at + Math.min(into.length, 100_000));
        into.set(part);
        return part.length;
      },
      write: (from: Uint8Array, { at }: { at: number }) => {
        check();
        if (mode === 'read-only') throw domError('NoModificationAllowedError');
        if (this.quota === 0) throw domError('QuotaExceededError');
        const part = from.subarray(0, 100_000);
        if (at + part.length > this.bytes.length) this.resize(at + part.length);
        this.bytes.set(part, at);
        return part.length;
      },
      truncate: (size: number) => this.resize(size),
      getSize: () => this.bytes.length,
      flush: check,
      close: () => {
        open = false;
        this.locked =
          typeof this.locked === 'number' && this.locked > 1 ? this.locked - 1 : ('no' as const);
      },
    };
  }
}

deviceContract('opfs in a worker', {
  make: (contents, o) => opfsDevice(new FakeFile(contents).handle('worker'), o),
  sync: true,
  writable: 'choice',
});

deviceContract('opfs in a page', {
  make: (contents, o) => opfsDevice(new FakeFile(contents).handle('page'), o),
  sync: false,
  writable: 'choice',
});

describe('opfs device in a worker', () => {
  test('locks the file for writing, lets readers share it, and frees it when closed', async () => {
    const file = new FakeFile(pattern(65536));
    const first = await opfsDevice(file.handle('worker'));
    await expect(opfsDevice(file.handle('worker'))).rejects.toMatchObject({
      code: 'EBUSY',
      syscall: 'open',
      path: 'disk.img',
      message: expect.stringContaining('open in another tab or worker'),
    });
    await first.close();
    const readers = [1, 2].map(() => opfsDevice(file.handle('worker'), { readOnly: true }));
    for (const reader of await Promise.all(readers)) await reader.close();
    await (await opfsDevice(file.handle('worker'))).close();
  });

  test('grows a new file to its size, never shrinks one, frees its lock on failure', async () => {
    const file = new FakeFile(new Uint8Array(0));
    const device = await opfsDevice(file.handle('worker'), { size: 1 << 20 });
    expect(device.size).toBe(1 << 20);
    await device.close();
    const again = await opfsDevice(file.handle('worker'), { size: 4096 });
    expect(again.size).toBe(1 << 20);
    await again.close();
    file.quota = 1 << 20;
    await expectCode(opfsDevice(file.handle('worker'), { size: 1 << 30 }), 'ENOSPC');
    expect(file.locked).toBe('no');
  });

  test('a full quota is ENOSPC and a file cut short is EIO', async () => {
    const file = new FakeFile(pattern(65536));
    const device = await opfsDevice(file.handle('worker'));
    file.quota = 0;
    await expectCode(device.write(new Uint8Array(512), 0), 'ENOSPC');
    file.bytes = file.bytes.subarray(0, 1000);
    await expect(device.read(new Uint8Array(2048), 0)).rejects.toThrow(/EIO.*ended after 1000/);
  });

  test.each([{ size: -1 }, { size: 4096, readOnly: true }, { blockSize: 100 }])(
    'the options %j are EINVAL',
    async (o) => {
      await expectCode(opfsDevice(new FakeFile(pattern(512)).handle('worker'), o), 'EINVAL');
    },
  );
});

describe('opfs device in a page', () => {
  afterEach(() => vi.unstubAllGlobals());

  test('writes reach the file at a flush, in one copy, and only then', async () => {
    const file = new FakeFile(pattern(65536));
    const device = await opfsDevice(file.handle('page'));
    const shared = new Uint8Array(new SharedArrayBuffer(4096));
    shared.set(pattern(4096, 5));
    await device.write(shared, 8192);
    await device.write(pattern(512, 6), 0);
    expect(Buffer.compare(file.bytes, pattern(65536))).toBe(0);
    await device.flush();
    expect(file.copies).toBe(1);
    const expected = pattern(65536);
    expected.set(pattern(4096, 5), 8192);
    expected.set(pattern(512, 6), 0);
    expect(Buffer.compare(file.bytes, expected)).toBe(0);
    await device.flush();
    expect(file.copies).toBe(1); // nothing new
    await device.close();
  });

  test('reads and writes during a flush see and keep everything', async () => {
    const file = new FakeFile(pattern(65536));
    const device = await opfsDevice(file.handle('page'));
    const model = pattern(65536);
    const busy: Promise<unknown>[] = [];
    for (let i = 0; i < 40; i++) {
      const dpos = ((i * 37) % 128) * 512;
      const bytes = pattern(512, i + 2);
      model.set(bytes, dpos);
      await device.write(bytes, dpos, { fua: i % 9 === 0 });
      if (i % 5 === 0) busy.push(device.flush());
      const into = new Uint8Array(65536);
      busy.push(device.read(into, 0));
    }
    await Promise.all(busy);
    const back = new Uint8Array(65536);
    await device.read(back, 0);
    expect(Buffer.compare(back, model)).toBe(0);
    await device.flush();
    expect(Buffer.compare(file.bytes, model)).toBe(0);
    await device.close();
  });

  test('a flush waits for the reads of the snapshot that it replaces', async () => {
    const file = new FakeFile(pattern(65536));
    const device = await opfsDevice(file.handle('page'));
    await device.write(pattern(512, 4), 0);
    file.delay = 20;
    const slow = new Uint8Array(4096);
    const reading = device.read(slow, 8192);
    await device.flush();
    await reading;
    expect(slow).toEqual(pattern(65536).subarray(8192, 12288));
    await device.close();
  });

  test('a flush that fails is ENOSPC, loses nothing, and can be repeated', async () => {
    const file = new FakeFile(pattern(8192));
    const device = await opfsDevice(file.handle('page'));
    await device.write(pattern(512, 3), 512);
    file.quota = 0;
    await expectCode(device.flush(), 'ENOSPC');
    expect(Buffer.compare(file.bytes, pattern(8192))).toBe(0);
    const back = new Uint8Array(512);
    await device.read(back, 512);
    expect(back).toEqual(pattern(512, 3));
    file.quota = Number.POSITIVE_INFINITY;
    await device.flush();
    expect(file.bytes.subarray(512, 1024)).toEqual(pattern(512, 3));
    await device.close();
  });

  test('a Web Lock keeps a second page away until the first closes', async () => {
    const held = new Set<string>();
    const request = async (name: string, _: object, fn: (lock: object | null) => unknown) => {
      if (held.has(name)) return fn(null);
      held.add(name);
      await fn({ name });
      held.delete(name);
    };
    const getDirectory = async () => ({ resolve: async () => ['images', 'disk.img'] });
    vi.stubGlobal('navigator', { locks: { request }, storage: { getDirectory } });
    const file = new FakeFile(pattern(8192));
    const first = await opfsDevice(file.handle('page'));
    expect([...held]).toEqual(['ext4-wasm:images/disk.img']);
    await expectCode(opfsDevice(file.handle('page')), 'EBUSY');
    await (await opfsDevice(file.handle('page'), { readOnly: true })).close();
    await first.close();
    await new Promise((resolve) => setTimeout(resolve, 0));
    await (await opfsDevice(file.handle('page'))).close();
  });

  test('a file locked by a worker cannot be flushed: EBUSY', async () => {
    const file = new FakeFile(pattern(8192));
    const device = await opfsDevice(file.handle('page'));
    await device.write(pattern(512, 3), 0);
    const worker = await opfsDevice(file.handle('worker'));
    await expectCode(device.flush(), 'EBUSY');
    await worker.close();
    await device.flush();
    await device.close();
  });
});
