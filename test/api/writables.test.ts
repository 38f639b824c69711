// Goal: streams and web handles write: Node's WriteStream with its options and events, the writables of
// FileSystemFileHandle (everything appears at close or not at all), and access handles. Method: the same streams on
// node:fs and on a mount; the rules of the WHATWG File System standard by example; e2fsck at the end.

import { execFileSync, spawnSync } from 'node:child_process';
import nodefs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type FileDevice, openFile } from '../../ts/block/node.ts';
import { type Ext4, mount, mountSync } from '../../ts/index.ts';
import { need, which } from '../need.ts';
import { asyncOnly, pattern } from './fixture.ts';

const WAYS = [
  { name: 'synchronous', sync: true, open: async (d: FileDevice) => mountSync(d) },
  {
    name: 'forced misses',
    sync: true,
    open: async (d: FileDevice) => mountSync(d, { forceMiss: true }),
  },
  { name: 'asynchronous', sync: false, open: async (d: FileDevice) => mount(asyncOnly(d)) },
];
const bytes = (text: string) => new TextEncoder().encode(text);
const dom = (name: string) => expect.objectContaining({ name, constructor: DOMException });

need.describe('writables', [need.tool('mke2fs', 'e2fsck')], () => {
  let dir: string;
  beforeAll(() => {
    dir = nodefs.mkdtempSync(join(tmpdir(), 'ext4-writables-'));
    execFileSync(which('mke2fs'), ['-q', '-F', '-t', 'ext4', join(dir, 'fresh'), '32M']);
  });
  afterAll(() => nodefs.rmSync(dir, { recursive: true, force: true }));

  describe.each(WAYS)('$name', ({ sync, open }) => {
    let image: string;
    let device: FileDevice;
    let fs: Ext4;
    let p: Ext4['promises'];
    beforeEach(async () => {
      image = join(dir, 'image');
      nodefs.copyFileSync(join(dir, 'fresh'), image);
      device = openFile(image);
      fs = await open(device);
      p = fs.promises;
    });
    afterEach(async () => {
      expect(fs.counters().openFiles).toBe(0);
      await fs.unmount();
      await device.close();
      const { status, stdout } = spawnSync(which('e2fsck'), ['-fn', image], { encoding: 'utf8' });
      expect(status, stdout).toBe(0);
    });

    const STREAMS: Record<string, object> = {
      plain: {},
      'from a position': { flags: 'r+', start: 3 },
      appending: { flags: 'a' },
      exclusive: { flags: 'wx' },
      'small and flushed': { highWaterMark: 5, flush: true },
      moded: { flags: 'w', mode: 0o600, emitClose: false },
      encoded: { encoding: 'utf16le' },
    };

    test.each(Object.entries(STREAMS))('a WriteStream, %s, does as Node’s', async (_, options) => {
      const host = join(dir, 'host');
      nodefs.rmSync(host, { force: true });
      const seen: unknown[] = [];
      for (const [from, path] of [
        [nodefs, host],
        [fs, '/host'],
      ] as [typeof nodefs, string][]) {
        if (!('flags' in options && 'wx'.includes(options.flags as string)))
          await from.promises.writeFile(path, 'before');
        const events: string[] = [];
        const stream = from.createWriteStream(path, options as never);
        for (const event of ['open', 'ready', 'finish', 'close'])
          stream.on(event, () => events.push(event));
        stream.write('text');
        stream.write(bytes(' and bytes'));
        stream.end('.');
        await finished(stream);
        await new Promise((done) => setTimeout(done, 20));
        const { bytesWritten, pending, closed } = stream;
        const mode = (await from.promises.stat(path)).mode & 0o777;
        seen.push([
          events,
          bytesWritten,
          pending,
          closed,
          mode,
          await from.promises.readFile(path),
        ]);
      }
      expect(seen[1]).toEqual(seen[0]);
    });

    test('a WriteStream takes what a pipe brings, and says what went wrong', async () => {
      const data = pattern(1_000_000);
      const parts = Array.from({ length: 100 }, (_, i) =>
        data.subarray(i * 10_000, (i + 1) * 10_000),
      );
      await pipeline(Readable.from(parts), fs.createWriteStream('/piped'));
      expect(Buffer.compare(await p.readFile('/piped'), data)).toBe(0);
      await expect(
        pipeline(Readable.from(['x']), fs.createWriteStream('/none/x')),
      ).rejects.toMatchObject({
        code: 'ENOENT',
        syscall: 'open',
        path: '/none/x',
      });
      const endless = function* () {
        for (;;) yield new Uint8Array(1 << 20);
      };
      await expect(
        pipeline(Readable.from(endless()), fs.createWriteStream('/full')),
      ).rejects.toMatchObject({
        code: 'ENOSPC',
        syscall: 'write',
      });
      await p.unlink('/full');
    });

    test('a handle’s WriteStream closes the handle', async () => {
      const file = await p.open('/file', 'w');
      await pipeline(Readable.from(['by ', 'handle']), file.createWriteStream());
      expect(file.fd).toBe(-1);
      expect(await p.readFile('/file', 'utf8')).toBe('by handle');
    });

    test('a writable appears at close, with all its forms of chunks', async () => {
      await p.writeFile('/file', 'before', { mode: 0o640 });
      await p.chown('/file', 5, 6);
      await p.setxattr('/file', 'user.a', bytes('kept'));
      const handle = await fs.root.getFileHandle('file');
      const writable = await handle.createWritable();
      await writable.write('hello ');
      await writable.write(bytes('world'));
      await writable.write(bytes('!').buffer as ArrayBuffer);
      await writable.write(new Blob(['?']));
      await writable.write({ type: 'write', data: 'H', position: 0 });
      await writable.seek(6);
      await writable.write('W');
      await writable.truncate(12);
      await writable.write({ type: 'write', position: 14, data: 'end' });
      expect(await p.readFile('/file', 'utf8')).toBe('before');
      const names: string[] = [];
      for await (const name of fs.root.keys()) names.push(name);
      expect(names).toEqual(['file', 'lost+found']);
      await writable.close();
      expect(await p.readFile('/file', 'utf8')).toBe('Hello World!\0\0end');
      const { mode, uid, gid } = await p.stat('/file');
      expect([mode & 0o777, uid, gid]).toEqual([0o640, 5, 6]);
      expect(Buffer.from(await p.getxattr('/file', 'user.a')).toString()).toBe('kept');
      expect((await p.readdir('/')).sort()).toEqual(['file', 'lost+found']);
    });

    test('a writable keeps what was there when asked to, and an abort all of it', async () => {
      await p.writeFile('/file', '0123456789');
      await p.link('/file', '/other');
      const handle = await fs.root.getFileHandle('file');
      const kept = await handle.createWritable({ keepExistingData: true });
      await kept.write({ type: 'write', position: 2, data: 'xx' });
      await kept.close();
      expect(await p.readFile('/other', 'utf8')).toBe('01xx456789');
      const dropped = await handle.createWritable();
      await dropped.write('gone');
      await dropped.abort();
      expect(await p.readFile('/file', 'utf8')).toBe('01xx456789');
      const bad = await handle.createWritable();
      await expect(bad.write({ type: 'seek' })).rejects.toEqual(dom('SyntaxError'));
      await expect(bad.close()).rejects.toBeDefined();
      const odd = await handle.createWritable();
      await expect(odd.write({ type: 'odd' } as never)).rejects.toBeInstanceOf(TypeError);
      const piped = await handle.createWritable();
      await new Blob(['through a pipe']).stream().pipeTo(piped as unknown as WritableStream);
      expect(await p.readFile('/file', 'utf8')).toBe('through a pipe');
      expect((await p.readdir('/')).sort()).toEqual(['file', 'lost+found', 'other']);
    });

    test('what is being written is locked', async () => {
      const handle = await fs.root.getFileHandle('file', { create: true });
      const one = await handle.createWritable();
      const two = await handle.createWritable();
      const locked = dom('NoModificationAllowedError');
      await expect(handle.createWritable({ mode: 'exclusive' })).rejects.toEqual(locked);
      await expect(fs.root.removeEntry('file')).rejects.toEqual(locked);
      await expect(handle.createSyncAccessHandle()).rejects.toEqual(locked);
      await one.close();
      await two.abort();
      const exclusive = await handle.createWritable({ mode: 'exclusive' });
      await expect(handle.createWritable()).rejects.toEqual(locked);
      await exclusive.close();
      await fs.root.removeEntry('file');
    });

    test('an access handle reads and writes inside the call', async () => {
      const handle = await fs.root.getFileHandle('file', { create: true });
      if (!sync) {
        const none = dom('NotSupportedError');
        await expect(handle.createSyncAccessHandle()).rejects.toEqual(none);
        return;
      }
      const access = await handle.createSyncAccessHandle();
      await expect(handle.createSyncAccessHandle()).rejects.toEqual(
        dom('NoModificationAllowedError'),
      );
      expect(access.write(bytes('hello'))).toBe(5);
      expect(access.write(bytes(' you'))).toBe(4);
      expect(access.write(bytes('J'), { at: 0 })).toBe(1);
      expect(access.getSize()).toBe(9);
      const into = new Uint8Array(20);
      expect([access.read(into, { at: 0 }), access.read(into)]).toEqual([9, 0]);
      expect(new TextDecoder().decode(into.subarray(0, 9))).toBe('Jello you');
      access.truncate(4);
      expect(access.read(into)).toBe(0);
      expect(access.write(bytes('y'))).toBe(1);
      access.flush();
      access.close();
      access.close();
      expect(() => access.getSize()).toThrow(
        expect.objectContaining({ name: 'InvalidStateError' }),
      );
      expect(await p.readFile('/file', 'utf8')).toBe('Jelly');
      const [a, b] = [
        await handle.createSyncAccessHandle({ mode: 'read-only' }),
        await handle.createSyncAccessHandle({ mode: 'read-only' }),
      ];
      expect(() => a.write(bytes('x'))).toThrow(dom('NoModificationAllowedError'));
      expect([a.read(into), b.read(into)]).toEqual([5, 5]);
      a.close();
      b.close();
    });

    test('a handle moves, and is then the other file', async () => {
      const handle = await fs.root.getFileHandle('file', { create: true });
      const folder = await fs.root.getDirectoryHandle('folder', { create: true });
      await handle.move('renamed');
      expect([handle.name, await p.readdir('/')]).toEqual([
        'renamed',
        ['folder', 'lost+found', 'renamed'],
      ]);
      await handle.move(folder, 'inside');
      expect(await p.readdir('/folder')).toEqual(['inside']);
      await handle.move(fs.root);
      expect([handle.name, (await handle.getFile()).size]).toEqual(['inside', 0]);
    });
  });
});
