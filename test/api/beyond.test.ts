// Goal: what a mount has beyond node:fs answers for paths, descriptors and FileHandles alike, in every form:
// views, holes, extents, data paths, extended attributes, chattr flags. Method: an image whose files debugfs and
// chattr-like tools of e2fsprogs have given attributes; values against what was put in, and forms against each
// other.

import { execFileSync } from 'node:child_process';
import nodefs from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Ext4, View } from '../../ts/index.ts';
import { need, which } from '../need.ts';
import { type Fixture, KINDS, makeFixture, pattern } from './fixture.ts';

const VALUE = Buffer.from([0, 1, 2, 0xfe, 0xff, 10]);

function decorate({ image, tree }: Fixture): void {
  const value = join(tree, '../value');
  nodefs.writeFileSync(value, VALUE);
  const commands = [
    `ea_set -f ${value} /file user.bytes`,
    'ea_set /file user.text plain',
    'ea_set /dir user.dir yes',
    'set_inode_field /file flags 0x80030', // extents, immutable, append
  ];
  for (const command of commands)
    execFileSync(which('debugfs'), ['-w', '-R', command, image], { stdio: 'ignore' });
}

need.describe('beyond node:fs', [need.tool('mke2fs', 'debugfs')], () => {
  let fixture: Fixture;
  beforeAll(() => {
    fixture = makeFixture();
    decorate(fixture);
  });
  afterAll(() => fixture.remove());

  describe.each(KINDS)('$name', (kind) => {
    let fs: Ext4;
    beforeAll(async () => {
      fs = await kind.open(fixture.image);
    });
    afterAll(async () => {
      const { openFiles, pins, leases } = fs.counters();
      expect({ openFiles, pins, leases }).toEqual({ openFiles: 0, pins: 0, leases: 0 });
      await fs.unmount();
    });

    /** A call in all its forms and on all kinds of files: one answer. */
    async function everyForm(name: string, path: string, ...args: unknown[]): Promise<unknown> {
      type Any = Record<string, (...args: unknown[]) => unknown>;
      const any = fs as unknown as Any;
      const handle = await fs.promises.open(path);
      const answers = [
        await (fs.promises as unknown as Any)[name](path, ...args),
        await (fs.promises as unknown as Any)[name](handle.fd, ...args),
        await (handle as unknown as Any)[name](...args),
        await any[name](handle, ...args),
        await new Promise((resolve, reject) =>
          any[name](path, ...args, (error: unknown, value: unknown) =>
            error ? reject(error) : resolve(value),
          ),
        ),
        ...(kind.sync ? [any[`${name}Sync`](path, ...args)] : []),
        ...(kind.sync ? [any[`${name}Sync`](handle.fd, ...args)] : []),
      ];
      await handle.close();
      for (const answer of answers) expect(answer).toEqual(answers[0]);
      return answers[0];
    }

    test('extended attributes are bytes', async () => {
      expect(await everyForm('getxattr', '/file', 'user.bytes')).toEqual(VALUE);
      expect(Buffer.isBuffer(await fs.promises.getxattr('/file', 'user.text'))).toBe(true);
      expect(String(await everyForm('getxattr', '/file', Buffer.from('user.text')))).toBe('plain');
      expect(await everyForm('listxattr', '/file')).toEqual(['user.bytes', 'user.text']);
      expect(await everyForm('listxattr', '/dir')).toEqual(['user.dir']);
      expect(await everyForm('listxattr', '/empty')).toEqual([]);
      expect(await fs.promises.getxattr('/link', 'user.bytes')).toEqual(VALUE);
      expect(await fs.promises.llistxattr('/link')).toEqual([]);
    });

    test('extended attributes that are not there are ENODATA', async () => {
      const none = { code: 'ENODATA', syscall: 'getxattr', path: '/dir' };
      await expect(fs.promises.getxattr('/dir', 'user.no')).rejects.toMatchObject(none);
      const link = { code: 'ENODATA', syscall: 'lgetxattr', path: '/link' };
      await expect(fs.promises.lgetxattr('/link', 'user.bytes')).rejects.toMatchObject(link);
      const lost = { code: 'ENOENT', syscall: 'listxattr', path: '/nowhere' };
      await expect(fs.promises.listxattr('/nowhere')).rejects.toMatchObject(lost);
      await expect(fs.promises.getxattr('/dir', 5 as never)).rejects.toThrow(/"name" argument/);
    });

    test('chattr’s flags have names', async () => {
      const flags = (await everyForm('getFlags', '/file')) as Record<string, boolean>;
      const set = Object.keys(flags).filter((name) => flags[name]);
      expect(set.sort()).toEqual(['append', 'extents', 'immutable']);
    });

    test('extents cover the data and say where it lies', async () => {
      const found = (await everyForm('extents', '/sparse')) as { lblk: number; count: number }[];
      const { blockSize } = fs.info();
      expect(found.map(({ lblk }) => lblk)).toEqual([0, Math.floor(1_000_000 / blockSize)]);
      const image = nodefs.readFileSync(fixture.image);
      const [first] = await fs.promises.extents('/big.bin');
      const start = first.pblk * blockSize;
      const bytes = image.subarray(start, start + 1000);
      expect(bytes.equals(pattern(1000))).toBe(true);
    });

    test('holes and data follow each other', async () => {
      const { blockSize } = fs.info();
      const tail = Math.floor(1_000_000 / blockSize) * blockSize;
      expect(await everyForm('seekData', '/sparse', 0)).toBe(0);
      expect(await everyForm('seekHole', '/sparse', 0)).toBe(blockSize);
      expect(await everyForm('seekData', '/sparse', 5000n)).toBe(tail);
      expect(await everyForm('seekHole', '/sparse', tail)).toBe(1_000_004);
      const end = { code: 'ENXIO', syscall: 'lseek' };
      await expect(fs.promises.seekData('/sparse', 1_000_004)).rejects.toMatchObject(end);
      await expect(fs.promises.seekHole('/empty', 0)).rejects.toMatchObject(end);
    });

    test('the data path of a file is told', async () => {
      expect(await everyForm('dataPath', '/file')).toBe('iomap');
    });

    test('a view is the file’s bytes until it is released', async () => {
      const whole = pattern(300_001);
      const check = (view: View, from: number, len: number) => {
        expect(Buffer.from(view.copy()).equals(whole.subarray(from, from + len))).toBe(true);
        expect(view.length).toBe(len);
        expect(Buffer.concat(view.segments as Uint8Array[]).length).toBe(len);
        expect(view.zeroCopy).toBe(true);
        expect(view.ptrs.length).toBe(view.segments.length);
        const at = new Uint8Array(view.memory.buffer, view.ptrs[0], view.segments[0].length);
        expect(Buffer.from(at).equals(Buffer.from(view.segments[0]))).toBe(true);
        view.release();
        view.release();
      };
      check(await fs.promises.view('/big.bin', 5000, 10_000), 5000, 10_000);
      check(await fs.promises.view('/big.bin'), 0, 300_001);
      check(await fs.view('/big.bin', 299_000n, 5000), 299_000, 1001);
      const handle = await fs.promises.open('/big.bin');
      check(await handle.view(0, 4096), 0, 4096);
      if (kind.sync) {
        check(fs.viewSync(handle.fd, 1024, 100), 1024, 100);
        check(fs.viewSync('/big.bin', 1024, 100), 1024, 100);
      }
      const kept = await handle.view(7, 9);
      await handle.close();
      check(kept, 7, 9);
    });

    test('a view gives its pages back at the end of its block', async () => {
      {
        using view = await fs.promises.view('/big.bin', 0, 8192);
        expect(fs.counters().leases).toBe(1);
        expect(view.bytes?.length ?? 8192).toBe(8192);
      }
      expect(fs.counters().leases).toBe(0);
    });

    test('a view cannot be written, nor be had of nothing', async () => {
      const readOnly = { code: 'EROFS', syscall: 'open', path: '/file' };
      await expect(fs.promises.view('/file', 0, 1, { write: true })).rejects.toMatchObject(
        readOnly,
      );
      await expect(fs.promises.view('/dir')).rejects.toMatchObject({ code: 'EISDIR' });
      await expect(fs.promises.view('/empty')).rejects.toMatchObject({ code: 'EINVAL' });
      const lost = { code: 'ENOENT', syscall: 'open', path: '/nowhere' };
      await expect(fs.promises.view('/nowhere')).rejects.toMatchObject(lost);
      await expect(fs.promises.view('/file', -1)).rejects.toThrow(/"pos" is out of range/);
      using view = await fs.promises.view('/file');
      expect(() => view.dirty(0, 1)).toThrow(/EBADF/);
      await view.sync();
    });

    test('what changes a file is refused', async () => {
      const { promises } = fs;
      const handle = await promises.open('/file');
      const refused: [Promise<unknown>, string, string?][] = [
        [promises.setxattr('/file', 'user.x', VALUE), 'EROFS', '/file'],
        [promises.lsetxattr('/link', 'user.x', VALUE), 'EROFS', '/link'],
        [handle.setxattr('user.x', VALUE, { create: true }), 'EROFS'],
        [promises.removexattr('/file', 'user.text'), 'EROFS', '/file'],
        [promises.lremovexattr('/nowhere', 'user.text'), 'ENOENT', '/nowhere'],
        [handle.removexattr('user.text'), 'EROFS'],
        [promises.setFlags('/file', { immutable: false }), 'EROFS', '/file'],
        [handle.setFlags({ append: true }), 'EROFS'],
        [promises.mknod('/dev', 0o20600, 259), 'EROFS', '/dev'],
        [promises.mknod('/file', 0o100600), 'EEXIST', '/file'],
        [handle.zeroRange(0, 4, { keepSize: true }), 'EBADF'],
        [handle.fallocate(0, 4096), 'EBADF'],
        [handle.punchHole(0, 4096), 'EBADF'],
        [handle.collapseRange(0, 4096), 'EBADF'],
        [handle.insertRange(0, 4096), 'EBADF'],
        [promises.copyRange(handle, 0, handle, 4, 4), 'EBADF'],
        [fs.trim(), 'EROFS'],
        [fs.transaction(async () => expect.unreachable('not called')), 'EROFS'],
        [fs.shutdown('nologflush'), 'EROFS'],
      ];
      for (const [call, code, path] of refused)
        await expect(call).rejects.toMatchObject(path ? { code, path } : { code });
      await handle.close();
    });

    test('wrong arguments are refused', async () => {
      const { promises } = fs;
      const wrong = [
        promises.setxattr('/file', 'user.x', 'text' as never),
        promises.setxattr('/file', 'user.x', VALUE, { create: 1 as never }),
        promises.setFlags('/file', { bold: true } as never),
        promises.zeroRange('/file' as never, 0, 1),
        promises.punchHole(3, -1, 1 as never),
        promises.copyRange('/file' as never, 0, 3, 0, 1),
        promises.mknod('/x', 'rw' as never),
        promises.rename('/a', '/b', { noReplace: true, exchange: true }),
      ];
      for (const call of wrong)
        await expect(call).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_/) });
      expect(() => fs.shutdown('now' as never)).toThrow(/ERR_INVALID_ARG_VALUE|mode/);
      expect(() => fs.transaction(5 as never)).toThrow(/"fn" argument/);
    });

    test('watching waits: nothing changes here', async () => {
      const control = new AbortController();
      const events: string[] = [];
      const watcher = fs.watch('/dir', { signal: control.signal }, (event) => events.push(event));
      const closed = new Promise<void>((resolve) => watcher.once('close', resolve));
      const changes = fs.promises.watch('/dir', { signal: control.signal });
      const waiting = (changes as AsyncIterableIterator<unknown>).next();
      const rejected = expect(waiting).rejects.toMatchObject({ name: 'AbortError' });
      await fs.promises.readFile('/dir/.hidden');
      control.abort();
      await closed;
      await rejected;
      expect(events).toEqual([]);
      const lost = { code: 'ENOENT', syscall: 'watch', path: '/nowhere' };
      const iterator = fs.promises.watch('/nowhere') as AsyncIterableIterator<unknown>;
      await expect(iterator.next()).rejects.toMatchObject(lost);
      if (kind.sync) expect(() => fs.watch('/nowhere')).toThrow(/ENOENT/);
      else {
        const failed = new Promise((resolve) => fs.watch('/nowhere').once('error', resolve));
        expect(await failed).toMatchObject(lost);
      }
    });

    test('info, counters and trace tell of the mount', async () => {
      expect(fs.info()).toMatchObject({ readOnly: true, blocks: expect.any(Number) });
      expect(fs.counters().deviceReads).toBeGreaterThan(0);
      const stop = fs.trace('*', () => {});
      expect(typeof stop).toBe('function');
      stop();
      expect(() => fs.trace(5 as never, () => {})).toThrow(/"name" argument/);
      await fs.sync();
    });
  });
});
