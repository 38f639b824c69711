// Goal: what node:fs does not have or a random sequence does not reach: open files without a name, handles of the web,
// attributes and flags, and what unmounting and syncing leave behind.
// Method: examples on a fresh image, in every way to mount; at the end e2fsck finds nothing.

import { execFileSync, spawnSync } from 'node:child_process';
import nodefs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { type FileDevice, openFile } from '../../ts/block/node.ts';
import { type Ext4, mount, mountSync } from '../../ts/index.ts';
import { need, which } from '../need.ts';
import { asyncOnly } from './fixture.ts';

const WAYS = [
  { name: 'synchronous', open: async (d: FileDevice) => mountSync(d) },
  { name: 'forced misses', open: async (d: FileDevice) => mountSync(d, { forceMiss: true }) },
  { name: 'asynchronous', open: async (d: FileDevice) => mount(asyncOnly(d)) },
];
const bytes = (text: string) => new TextEncoder().encode(text);
const dom = (name: string) => expect.objectContaining({ name, constructor: DOMException });

need.describe('a writable mount', [need.tool('mke2fs', 'e2fsck')], () => {
  let dir: string;
  let fresh: string;
  beforeAll(() => {
    dir = nodefs.mkdtempSync(join(tmpdir(), 'ext4-changed-'));
    fresh = join(dir, 'fresh');
    execFileSync(which('mke2fs'), ['-q', '-F', '-t', 'ext4', fresh, '16M']);
    const tools = ['-w', '-f', '-', fresh];
    const text = join(dir, 'text');
    nodefs.writeFileSync(text, 'contents');
    execFileSync(which('debugfs'), tools, { input: `write ${text} data\n`, stdio: 'pipe' });
  });
  afterAll(() => nodefs.rmSync(dir, { recursive: true, force: true }));

  describe.each(WAYS)('$name', ({ open }) => {
    let image: string;
    let device: FileDevice;
    let fs: Ext4;
    let p: Ext4['promises'];
    beforeEach(async () => {
      image = join(dir, 'image');
      nodefs.copyFileSync(fresh, image);
      device = openFile(image);
      fs = await open(device);
      p = fs.promises;
    });
    afterEach(async () => {
      await fs.unmount();
      await device.close();
      const { status, stdout } = spawnSync(which('e2fsck'), ['-fn', image], { encoding: 'utf8' });
      expect(status, stdout).toBe(0);
    });

    test('keeps what is open when its name goes, until it is closed', async () => {
      const before = (await p.statfs('/')).ffree;
      const file = await p.open('/data');
      await p.unlink('/data');
      await expect(p.stat('/data')).rejects.toMatchObject({ code: 'ENOENT' });
      expect(await file.readFile('utf8')).toBe('contents');
      expect((await file.stat()).nlink).toBe(0);
      await file.chmod(0o600);
      expect((await file.stat()).mode & 0o777).toBe(0o600);
      expect((await p.statfs('/')).ffree).toBe(before);
      await file.close();
      expect((await p.statfs('/')).ffree).toBe(before + 1);
    });

    test('empties what is open and has no name, and removes it at the end', async () => {
      const before = (await p.statfs('/')).ffree;
      const file = await p.open('/data', 'r+');
      await p.unlink('/data');
      await file.truncate(0);
      expect((await file.stat()).size).toBe(0);
      await file.close();
      expect((await p.statfs('/')).ffree).toBe(before + 1);
    });

    test('removes at unmount what was open without a name', async () => {
      const before = (await p.statfs('/')).ffree;
      await p.open('/data');
      await p.unlink('/data');
      await fs.unmount();
      const again = mountSync(memoryDevice(nodefs.readFileSync(image)));
      expect(again.statfsSync('/').ffree).toBe(before + 1);
      again.unmountSync();
    });

    test('empty files can be written, copied, and set to the size they have', async () => {
      await p.writeFile('/empty', '', { mode: 0o640 });
      await p.appendFile('/empty', new Uint8Array(0));
      await p.copyFile('/empty', '/copy');
      await p.copyFile('/empty', '/data');
      expect((await p.stat('/data')).size).toBe(0);
      expect((await p.stat('/copy')).mode & 0o777).toBe(0o640);
      await expect(p.copyFile('/empty', '/copy', 1)).rejects.toMatchObject({ code: 'EEXIST' });
      await p.utimes('/empty', 1, 1);
      await p.truncate('/empty', 0);
      expect((await p.stat('/empty')).mtimeMs).toBeGreaterThan(1e12);
    });

    test('renames without replacing, and exchanges', async () => {
      await p.mkdir('/dir');
      await p.writeFile('/empty', '');
      await expect(p.rename('/empty', '/data', { noReplace: true })).rejects.toMatchObject({
        code: 'EEXIST',
        path: '/empty',
        dest: '/data',
      });
      await p.rename('/data', '/dir', { exchange: true });
      expect((await p.stat('/data')).isDirectory()).toBe(true);
      expect(await p.readFile('/dir', 'utf8')).toBe('contents');
      await expect(p.rename('/data', '/none', { exchange: true })).rejects.toMatchObject({
        code: 'ENOENT',
      });
    });

    test('makes directories of names that nobody guesses', async () => {
      const made = await Promise.all([1, 2, 3].map(() => p.mkdtemp('/tmp-')));
      expect(new Set(made).size).toBe(3);
      for (const path of made) {
        expect(path).toMatch(/^\/tmp-[A-Za-z0-9]{6}$/);
        expect((await p.stat(path)).mode & 0o7777).toBe(0o700);
      }
      expect(Buffer.isBuffer(await p.mkdtemp('/b', 'buffer' as never))).toBe(true);
      await expect(p.mkdtemp('/none/x')).rejects.toMatchObject({
        code: 'ENOENT',
        syscall: 'mkdtemp',
        path: '/none/xXXXXXX',
      });
    });

    test('sets and removes attributes, of links and open files too', async () => {
      await p.symlink('data', '/link');
      await p.setxattr('/link', 'user.a', bytes('1'));
      await p.lsetxattr('/link', 'trusted.l', bytes('2'));
      const file = await p.open('/data');
      await file.setxattr('user.b', bytes('3'));
      expect(await p.listxattr('/data')).toEqual(['user.a', 'user.b']);
      expect(await p.llistxattr('/link')).toEqual(['trusted.l']);
      const fails = (call: Promise<void>, code: string, syscall: string) =>
        expect(call).rejects.toMatchObject({ code, syscall });
      await fails(p.setxattr('/data', 'user.a', bytes(''), { create: true }), 'EEXIST', 'setxattr');
      const replace = { replace: true };
      await fails(p.setxattr('/data', 'user.z', bytes(''), replace), 'ENODATA', 'setxattr');
      await fails(p.lsetxattr('/link', 'user.a', bytes('')), 'EPERM', 'lsetxattr');
      await fails(p.setxattr('/data', 'odd.a', bytes('')), 'EOPNOTSUPP', 'setxattr');
      await fails(file.removexattr('user.z'), 'ENODATA', 'fremovexattr');
      await p.removexattr('/link', 'user.a');
      await p.lremovexattr('/link', 'trusted.l');
      await file.removexattr('user.b');
      expect([await p.listxattr('/data'), await p.llistxattr('/link')]).toEqual([[], []]);
      await file.close();
    });

    test('refuses attributes with too long a name or value before it looks for the file', async () => {
      const [longest, long] = [250, 251].map((len) => `user.${'n'.repeat(len)}`);
      const large = new Uint8Array(65537);
      const calls: [() => Promise<unknown>, string][] = [
        [() => p.setxattr('/data', 'user.a', large), 'E2BIG'],
        [() => p.setxattr('/none', 'user.a', large), 'E2BIG'],
        [() => p.setxattr('/data', long, large), 'ERANGE'],
        [() => p.setxattr('/none', long, bytes('')), 'ERANGE'],
        [() => p.getxattr('/data', long), 'ERANGE'],
        [() => p.removexattr('/none', long), 'ERANGE'],
        [() => p.setxattr('/data', 'user.a', large, { replace: true }), 'E2BIG'],
      ];
      for (const [call, code] of calls) await expect(call()).rejects.toMatchObject({ code });
      await p.setxattr('/data', longest, bytes('1'));
      await p.removexattr('/data', longest);
    });

    test('sets flags by name and obeys them', async () => {
      await p.setFlags('/data', { immutable: true, noDump: true });
      const { immutable, noDump, append, extents } = await p.getFlags('/data');
      expect([immutable, noDump, append, extents]).toEqual([true, true, false, true]);
      for (const call of [p.unlink('/data'), p.chmod('/data', 0), p.open('/data', 'r+')])
        await expect(call).rejects.toMatchObject({ code: 'EPERM' });
      await p.setFlags('/data', { immutable: false });
      expect((await p.getFlags('/data')).noDump).toBe(true);
      await p.unlink('/data');
    });

    test('makes what the umask leaves, and special files', async () => {
      await p.mkdir('/dir', 0o7777);
      expect((await p.stat('/dir')).mode & 0o7777).toBe(0o1777 & ~process.umask());
      await p.mknod('/null', 0o20666, 259);
      const stats = await p.stat('/null');
      expect([stats.isCharacterDevice(), stats.rdev]).toEqual([true, 259]);
      await p.mknod('/pipe', 0o10644);
      expect((await p.stat('/pipe')).isFIFO()).toBe(true);
    });

    test('is durable after fsync and sync, without an unmount', async () => {
      await p.mkdir('/synced');
      const file = await p.open('/data');
      await file.sync();
      await file.close();
      const seen = (path: string) => {
        const copy = mountSync(memoryDevice(nodefs.readFileSync(image)), { ro: true });
        const found = copy.existsSync(path);
        copy.unmountSync();
        return found;
      };
      expect(seen('/synced')).toBe(true);
      await p.rename('/synced', '/renamed');
      await fs.sync();
      expect([seen('/synced'), seen('/renamed')]).toEqual([false, true]);
    });

    test('makes and removes through the handles of the web', async () => {
      const dirHandle = await fs.root.getDirectoryHandle('new', { create: true });
      const fileHandle = await dirHandle.getFileHandle('file', { create: true });
      expect((await fileHandle.getFile()).size).toBe(0);
      expect((await dirHandle.getFileHandle('file', { create: true })).name).toBe('file');
      const mismatch = dom('TypeMismatchError');
      await expect(dirHandle.getDirectoryHandle('file', { create: true })).rejects.toEqual(
        mismatch,
      );
      await expect(fs.root.removeEntry('new')).rejects.toEqual(dom('InvalidModificationError'));
      await expect(fs.root.removeEntry('none')).rejects.toEqual(dom('NotFoundError'));
      expect(await fs.root.queryPermission({ mode: 'readwrite' })).toBe('granted');
      await fileHandle.remove();
      expect(await p.readdir('/new')).toEqual([]);
      await dirHandle.getFileHandle('again', { create: true });
      await fs.root.removeEntry('new', { recursive: true });
      expect(await p.readdir('/')).toEqual(['data', 'lost+found']);
    });

    test('removes deep and wide trees', async () => {
      let path = '/deep';
      await p.mkdir(path);
      for (let i = 0; i < 60; i++) {
        await p.writeFile(`${path}/file`, '');
        path += '/d';
        await p.mkdir(path);
      }
      for (let i = 0; i < 400; i++) await p.writeFile(`/deep/${i}`, '');
      const { ffree } = await p.statfs('/');
      await p.rm('/deep', { recursive: true });
      expect((await p.statfs('/')).ffree).toBe(ffree + 61 + 60 + 400);
      await p.rm('/deep', { recursive: true, force: true });
      await expect(p.rm('/', { recursive: true })).rejects.toMatchObject({ code: 'EBUSY' });
    });
  });
});
