// Goal: a mount has every name that users and API.md count on, with Node's names and argument counts, and each works
// taken off its object. Method: names against the list and against node:fs itself; calls without a receiver.

import nodefs from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openFile } from '../../ts/block/node.ts';
import * as index from '../../ts/index.ts';
import { need } from '../need.ts';
import { asyncOnly, type Fixture, KINDS, makeFixture } from './fixture.ts';

type AnyFs = Record<string, ((...args: unknown[]) => unknown) & { native?: unknown }> & {
  promises: Record<string, (...args: unknown[]) => Promise<unknown>>;
};

const words = (text: string): string[] => text.trim().split(/\s+/);

const BOTH = words(`access appendFile chmod chown close copyFile cp exists fchmod fchown fdatasync
  fstat fsync ftruncate futimes lchown link lstat lutimes mkdir mkdtemp open opendir read readFile
  readdir readlink readv realpath rename rm rmdir stat statfs symlink truncate unlink utimes write
  writeFile writev`);
const ASYNC_ONLY = words('createReadStream createWriteStream watch');
const PROMISES = words(`access appendFile chmod chown copyFile cp lchown link lstat lutimes mkdir
  mkdtemp open opendir readFile readdir readlink realpath rename rm rmdir stat statfs symlink
  truncate unlink utimes watch writeFile`);
const BEYOND = words(`collapseRange copyRange dataPath extents fallocate getFlags getxattr
  insertRange lgetxattr listxattr llistxattr lremovexattr lsetxattr mknod punchHole removexattr
  seekData seekHole setFlags setxattr view zeroRange`);
const ON_HANDLE = words(`appendFile chmod chown close collapseRange createReadStream
  createWriteStream dataPath datasync extents fallocate getFlags getxattr insertRange listxattr
  punchHole read readFile readLines readableWebStream readv removexattr seekData seekHole setFlags
  setxattr stat sync truncate utimes view write writeFile writev zeroRange`);
const ON_MOUNT = words(`info sync unmount unmountSync trim transaction trace counters shutdown`);

/** Node counts no argument that has a default; here all are counted. */
const DEFAULTED = new Set(
  words('access close fstat ftruncate lstat opendir stat statfs truncate watch').flatMap((name) => [
    name,
    `${name}Sync`,
  ]),
);

need.describe('a mount', [need.tool('mke2fs')], () => {
  let fixture: Fixture;
  let fs: index.Ext4;
  let any: AnyFs;
  const node = nodefs as unknown as AnyFs;
  beforeAll(async () => {
    fixture = makeFixture();
    fs = await KINDS[0].open(fixture.image);
    any = fs as unknown as AnyFs;
  });
  afterAll(async () => {
    await fs.unmount();
    fixture.remove();
  });

  test('has every function of the list in its forms', () => {
    const sync = [...BOTH, ...BEYOND].map((name) => `${name}Sync`);
    const names = [...BOTH, ...sync, ...ASYNC_ONLY, ...BEYOND, ...ON_MOUNT, 'stream'];
    expect(names.filter((name) => typeof any[name] !== 'function')).toEqual([]);
    const promises = [...PROMISES, ...BEYOND];
    expect(promises.filter((name) => typeof any.promises[name] !== 'function')).toEqual([]);
    expect(typeof any.realpath.native).toBe('function');
    expect(typeof any.realpathSync.native).toBe('function');
  });

  test('has a FileHandle with every method of the list', async () => {
    const handle = await fs.promises.open('/file');
    const methods = handle as unknown as Record<string | symbol, unknown>;
    expect(ON_HANDLE.filter((name) => typeof methods[name] !== 'function')).toEqual([]);
    expect(typeof methods[Symbol.asyncDispose]).toBe('function');
    expect(handle).toBeInstanceOf((fs as unknown as { FileHandle: () => void }).FileHandle);
    await handle.close();
  });

  test('names its functions and counts their arguments as Node does', () => {
    const shape = (from: AnyFs, name: string) => [from[name].name, from[name].length];
    const promise = (from: AnyFs, name: string) => [name, from.promises[name].length];
    const names = [...BOTH, ...BOTH.map((name) => `${name}Sync`)].filter(
      (name) => !DEFAULTED.has(name),
    );
    expect(names.map((name) => shape(any, name))).toEqual(names.map((name) => shape(node, name)));
    const promises = PROMISES.filter((name) => !DEFAULTED.has(name));
    expect(promises.map((name) => promise(any, name))).toEqual(
      promises.map((name) => promise(node, name)),
    );
    for (const name of DEFAULTED)
      if (name in node) expect(any[name].length).toBeGreaterThanOrEqual(node[name].length);
  });

  test('has Linux’s constants, on the mount and on its promises', () => {
    const {
      EXTENSIONLESS_FORMAT_JAVASCRIPT: _,
      EXTENSIONLESS_FORMAT_WASM: __,
      ...linux
    } = nodefs.constants as typeof nodefs.constants & Record<string, number>;
    expect(fs.constants).toEqual(linux);
    expect(fs.promises.constants).toBe(fs.constants);
    expect([fs.F_OK, fs.R_OK, fs.W_OK, fs.X_OK]).toEqual([0, 4, 2, 1]);
  });

  test('shows its classes, and results are of them', () => {
    expect(fs.statSync('/file')).toBeInstanceOf(fs.Stats);
    expect(fs.readdirSync('/', { withFileTypes: true })[0]).toBeInstanceOf(fs.Dirent);
    const dir = fs.opendirSync('/');
    expect(dir).toBeInstanceOf(fs.Dir);
    dir.closeSync();
  });

  test('works function by function, without the object', async () => {
    const { readFileSync, statSync, readFile, existsSync, createReadStream } = fs;
    const { readFile: promised, stat } = fs.promises;
    const { info, counters } = fs;
    expect(readFileSync('/file', 'utf8')).toBe('hello world\n');
    expect(statSync('/file').size).toBe(12);
    expect(existsSync('/file')).toBe(true);
    expect(await promised('/file', 'utf8')).toBe('hello world\n');
    expect((await stat('/file')).size).toBe(12);
    expect(info().blockSize).toBe(fs.statfsSync('/').bsize);
    expect(counters().openFiles).toBe(0);
    const data = await new Promise((resolve) => readFile('/file', (_, bytes) => resolve(bytes)));
    expect(String(data)).toBe('hello world\n');
    const chunks: Buffer[] = [];
    for await (const chunk of createReadStream('/file')) chunks.push(chunk as Buffer);
    expect(String(Buffer.concat(chunks))).toBe('hello world\n');
  });

  test('can be copied and wrapped as an object of functions', async () => {
    const copy = { ...fs } as typeof fs;
    expect(copy.readFileSync('/file', 'utf8')).toBe('hello world\n');
    const proxy = new Proxy(fs, {});
    expect(await proxy.promises.readFile('/file', 'utf8')).toBe('hello world\n');
  });

  test('takes relative paths from the root', () => {
    expect(fs.readFileSync('dir/sub/deep/file', 'utf8')).toBe('deep');
    expect(fs.realpathSync('dirlink/../link')).toBe('/file');
    expect(fs.readdirSync('.').length).toBe(fs.readdirSync('/').length);
    expect(fs.realpathSync('..')).toBe('/');
  });

  test('gives Buffers of their own memory', async () => {
    for (const bytes of [fs.readFileSync('/big.bin'), await fs.promises.readFile('/big.bin')]) {
      expect(Buffer.isBuffer(bytes)).toBe(true);
      expect(bytes.buffer).toBeInstanceOf(ArrayBuffer);
      expect(bytes.buffer.byteLength).toBe(bytes.length);
    }
  });

  test('delivers to callbacks later, and never what they throw to itself', async () => {
    let during = true;
    const seen = await new Promise<boolean>((resolve) => {
      fs.stat('/file', () => resolve(during));
      during = false;
    });
    expect(seen).toBe(false);
    const thrown = new Error('of the callback');
    const [listener] = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    const caught = new Promise((resolve) => process.once('uncaughtException', resolve));
    fs.access('/file', () => {
      throw thrown;
    });
    expect(await caught).toBe(thrown);
    if (listener) process.on('uncaughtException', listener);
  });

  test('closes without a callback', async () => {
    const fd = fs.openSync('/file', 'r');
    fs.close(fd);
    await new Promise((resolve) => setImmediate(resolve));
    expect(fs.counters().openFiles).toBe(0);
  });

  test('throws errors whose stack says what they say', () => {
    const stackOf = (call: () => unknown): string => {
      try {
        call();
      } catch (error) {
        return (error as Error).stack ?? '';
      }
      return '';
    };
    expect(stackOf(() => fs.readFileSync('/nowhere'))).toMatch(
      /^Error: ENOENT: no such file or directory, open '\/nowhere'\n.*surface\.test/s,
    );
    expect(stackOf(() => fs.readFileSync(undefined as never))).toMatch(
      /^TypeError \[ERR_INVALID_ARG_TYPE\]: The "path" argument/,
    );
  });

  test('has an end: afterwards every call says so, and a second end is none', async () => {
    const other = await KINDS[0].open(fixture.image);
    const fd = other.openSync('/file', 'r');
    other.unmountSync();
    other.unmountSync();
    await other.unmount();
    expect(() => other.readFileSync('/file')).toThrow(/ENODEV.*unmounted/);
    expect(() => other.readSync(fd, Buffer.alloc(1), 0, 1, 0)).toThrow(/EBADF|ENODEV/);
    await expect(other.promises.stat('/')).rejects.toMatchObject({ code: 'ENODEV' });
  });

  test('ends with its block', async () => {
    let fds = -1;
    {
      await using one = await KINDS[3].open(fixture.image);
      using two = await KINDS[0].open(fixture.image);
      fds = two.openSync('/file', 'r') + (await one.promises.open('/file')).fd;
    }
    expect(fds).toBeGreaterThan(5);
  });
});

describe('the entry point', () => {
  test('gives what API.md names and nothing by the way', () => {
    const names =
      words(`Ext4 Ext4Error fsck fsckSync mkfs mkfsSync mount mountSync parseMountOptions
      partition partitionSync partitions partitionsSync`);
    expect(Object.keys(index).sort()).toEqual(names);
  });
});

need.describe('a device', [need.tool('mke2fs')], () => {
  let fixture: Fixture;
  beforeAll(() => {
    fixture = makeFixture();
  });
  afterAll(() => fixture.remove());

  test('is mounted read-only as often as one likes, never beside a writable mount', async () => {
    const device = openFile(fixture.image, { readOnly: false });
    const first = index.mountSync(device, { ro: true });
    const second = await index.mount(device, { ro: true });
    const busy = { code: 'EBUSY', syscall: 'mount' };
    await expect(index.mount(device)).rejects.toMatchObject(busy);
    first.unmountSync();
    await expect(index.mount(device)).rejects.toMatchObject(busy);
    await second.unmount();
    const writable = index.mountSync(device);
    expect(() => index.mountSync(device, { ro: true })).toThrow(/EBUSY.*the device is mounted/);
    writable.unmountSync();
    index.mountSync(device, { ro: true }).unmountSync();
    await device.close();
  });

  test('that cannot be mounted stays free', async () => {
    const device = openFile(fixture.image, { readOnly: true });
    const broken = { ...asyncOnly(device), read: () => Promise.reject(new Error('broken')) };
    await expect(index.mount(broken)).rejects.toThrow('broken');
    await expect(index.mount(broken)).rejects.toThrow('broken');
    expect(() => index.mountSync(asyncOnly(device))).toThrow(/EINVAL.*mount$/);
    await device.close();
  });
});
