// Goal: the commands that write data change what they are told to and nothing else: a file that is replaced keeps what
// is its own, an archive reaches nothing outside its directory, an interrupt or a failure leaves a sound image and the
// right code. truncate and fallocate do what GNU's and util-linux' do. Method: hostile and broken input by hand; the
// same command lines on the kernel's mount of a copy.

import { execFileSync, spawn, spawnSync } from 'node:child_process';
import nodefs from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { mountSync } from '../../ts/index.ts';
import { pack, type TarEntry, type TarMember } from '../../ts/tar/index.ts';
import { need, which } from '../need.ts';
import { buildMain, MAIN } from './built.ts';
import { ext4, ext4On, onKernel, temporary } from './harness.ts';

const dir = temporary();
let count = 0;

function makeImage(size = '16M'): string {
  const image = join(dir, `image-${count++}`);
  execFileSync(which('mke2fs'), ['-q', '-F', '-t', 'ext4', '-b', '4096', image, size]);
  return image;
}

function checkImage(image: string): void {
  const { status, stdout } = spawnSync(which('e2fsck'), ['-fn', image], { encoding: 'utf8' });
  expect(status, stdout).toBe(0);
}

const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');
const cat = async (address: string) => (await ext4('cat', address)).out;
const put = (text: string, ...argv: string[]) =>
  ext4On({ input: [bytes(text)] }, 'cp', '-', ...argv);
const facts = async (address: string) => JSON.parse((await ext4('stat', '--json', address)).out);

need.describe('cp into an image', [need.tool('mke2fs', 'e2fsck')], () => {
  test('makes a file from standard input, and replaces what is in it only', async () => {
    const image = makeImage();
    expect(await put('one\n', `${image}:/f`)).toMatchObject({ code: 0, out: '', err: '' });
    await ext4('chmod', '640', `${image}:/f`);
    await ext4('chown', '12:34', `${image}:/f`);
    await ext4('xattr', '-s', 'mine', `${image}:/f`, 'user.note');
    expect(await put('second', `${image}:/f`)).toMatchObject({ code: 0, err: '' });
    expect(await cat(`${image}:/f`)).toBe('second');
    expect((await ext4('ls', '-ln', `${image}:/f`)).out).toMatch(/^-rw-r-----\S* 1 12 34 +6 /);
    expect((await ext4('xattr', `${image}:/f`, 'user.note')).out).toBe('mine');
    checkImage(image);
  });

  test('writes through links: all names of a file, and the end of a symbolic one', async () => {
    const image = makeImage();
    await put('one', `${image}:/f`);
    await ext4('ln', `${image}:/f`, `${image}:/other`);
    await ext4('ln', '-s', 'f', `${image}:/soft`);
    await ext4('ln', '-s', 'nowhere', `${image}:/dangling`);
    expect(await put('two', `${image}:/soft`)).toMatchObject({ code: 0, err: '' });
    expect([await cat(`${image}:/other`), await cat(`${image}:/f`)]).toEqual(['two', 'two']);
    expect((await ext4('ls', '-l', `${image}:/soft`)).out).toContain('soft -> f');
    expect(await put('x', `${image}:/dangling`)).toMatchObject({
      code: 1,
      err: "ext4: cp -: '/dangling' is a symbolic link to nowhere\n",
    });
    checkImage(image);
  });

  test('puts files into a directory, and goes on after one that fails', async () => {
    const image = makeImage();
    for (const name of ['a', 'b']) nodefs.writeFileSync(join(dir, name), name);
    await ext4('mkdir', '-p', `${image}:/d/a`);
    const made = await ext4('cp', join(dir, 'a'), join(dir, 'none'), join(dir, 'b'), `${image}:/d`);
    expect(made.code).toBe(1);
    expect(made.err.split('\n')).toEqual([
      `ext4: cp ${dir}/a: a directory is in its place`,
      `ext4: cp ${dir}/none: no such file or directory`,
      '',
    ]);
    expect(await cat(`${image}:/d/b`)).toBe('b');
    expect((await ext4('cp', join(dir, 'a'), join(dir, 'b'), `${image}:/new`)).code).toBe(2);
    expect((await ext4('cp', dir, `${image}:/`)).err).toContain('is a directory (-r copies it)');
    expect((await ext4('cp', '-r', `${image}:/d`, `${image}:/d/a`)).err).toContain('into itself');
    expect(await put('x', `${image}:/d`)).toMatchObject({ code: 1 });
    checkImage(image);
  });

  test('leaves nothing of what there is no room for', async () => {
    const image = makeImage('8M');
    await put('kept', `${image}:/f`);
    const large = [new Uint8Array(4 << 20).fill(1), new Uint8Array(4 << 20).fill(2)];
    const made = await ext4On({ input: large }, 'cp', '-', `${image}:/f`);
    expect(made).toMatchObject({ code: 1, err: 'ext4: cp -: no space left on device\n' });
    expect(await cat(`${image}:/f`)).toBe('kept');
    expect((await ext4('ls', '-a', `${image}:/`)).out.split('\n')).not.toContain('.ext4');
    expect((await ext4('find', `${image}:/`, '-name', '*.part')).out).toBe('');
    checkImage(image);
  });
});

const entry = (path: string, more: Partial<TarEntry>): TarEntry => ({
  type: 'file',
  path: bytes(path),
  mode: 0o644,
  uid: 0,
  gid: 0,
  size: 0,
  mtime: { sec: 1, nsec: 0 },
  ...more,
});
const file = (path: string, text = 'bad'): TarMember => ({
  entry: entry(path, { size: text.length }),
  data: [bytes(text)],
});
const link = (path: string, to: string, type: 'link' | 'symlink' = 'symlink'): TarMember => ({
  entry: entry(path, { type, link: bytes(to) }),
});
const folder = (path: string): TarMember => ({ entry: entry(path, { type: 'dir', mode: 0o755 }) });

/** Paths below a directory with their types, and where links lead. */
function treeOf(image: string, root: string): string[] {
  const fs = mountSync(memoryDevice(nodefs.readFileSync(image)), { ro: true });
  const names = fs.readdirSync(root, { recursive: true }) as string[];
  const lines = names.map((name) => {
    const stats = fs.lstatSync(`${root}/${name}`);
    if (stats.isSymbolicLink()) return `${name} -> ${fs.readlinkSync(`${root}/${name}`)}`;
    return stats.isDirectory() ? `${name}/` : name;
  });
  fs.unmountSync();
  return lines.sort();
}

async function tarOf(...members: TarMember[]): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const chunk of pack(members)) parts.push(Uint8Array.from(chunk));
  return Buffer.concat(parts);
}

need.describe('tar -x', [need.tool('mke2fs', 'e2fsck')], () => {
  async function extracted(tar: Uint8Array, target = '/in', ...more: string[]) {
    const image = makeImage();
    await ext4('mkdir', '-p', `${image}:/in`, `${image}:/out`);
    await put('safe', `${image}:/out/f`);
    const result = await ext4On({ input: [tar] }, 'tar', '-x', ...more, `${image}:${target}`);
    checkImage(image);
    expect(await cat(`${image}:/out/f`)).toBe('safe');
    expect((await ext4('ls', `${image}:/out`)).out).toBe('f\n');
    return { ...result, image, tree: treeOf(image, '/in') };
  }

  test('reaches nothing outside its directory', async () => {
    const tar = await tarOf(
      file('../out/f'),
      file('a/../../out/g'),
      file('/out/g', 'good'),
      link('up', '../out'),
      file('up/f'),
      link('away', '/out'),
      file('away/new'),
      link('hard', '../out/f', 'link'),
      link('hard2', 'away/f', 'link'),
      link('inner', 'sub'),
      folder('sub'),
      file('inner/good', 'good'),
      file('last', 'good'),
    );
    const { code, err, image, tree } = await extracted(tar);
    expect(code).toBe(1);
    expect(err.split('\n').filter((line) => line.startsWith('ext4: tar '))).toHaveLength(7);
    expect(tree.sort()).toEqual([
      'away -> /out',
      'inner -> sub',
      'last',
      'out/',
      'out/g',
      'sub/',
      'sub/good',
      'up -> ../out',
    ]);
    for (const path of ['out/g', 'sub/good', 'last'])
      expect(await cat(`${image}:/in/${path}`)).toBe('good');
  });

  test('replaces files, and keeps a link to a directory', async () => {
    const tar = await tarOf(
      folder('usr/lib'),
      link('lib', 'usr/lib'),
      folder('lib'),
      file('lib/a', 'one'),
      file('lib/a', 'two'),
      link('lib/b', 'a', 'symlink'),
      file('lib/b', 'three'),
      link('lib/c', 'lib/a', 'link'),
    );
    const { code, err, image, tree } = await extracted(tar);
    expect([code, err]).toEqual([0, '']);
    expect(tree).toContain('lib -> usr/lib');
    expect(await cat(`${image}:/in/usr/lib/a`)).toBe('two');
    expect(await cat(`${image}:/in/lib/b`)).toBe('three');
    expect(
      (await facts(`${image}:/in/lib/c`)).nlink ?? (await facts(`${image}:/in/lib/c`)).links,
    ).toBe(2);
  });

  test('leaves out names from the front', async () => {
    const tar = await tarOf(folder('top'), file('top/a', 'one'), link('top/b', 'top/a', 'link'));
    const { code, tree } = await extracted(tar, '/in', '--strip-components=1');
    expect([code, tree.sort()]).toEqual([0, ['a', 'b']]);
  });

  test('says what is wrong with an archive, and keeps what came before', async () => {
    const good = await tarOf(file('first', 'good'), file('second', 'x'.repeat(3000)));
    const damaged = Buffer.from(good);
    damaged[1024 + 20] ^= 1;
    const cases: [Buffer, string][] = [
      [good.subarray(0, 2600), 'the archive ends too early'],
      [damaged, 'a header is damaged'],
      [Buffer.alloc(5000, 1), 'this is no tar archive'],
      [Buffer.alloc(0), 'this is no tar archive: it is empty'],
    ];
    for (const [tar, why] of cases) {
      const { code, err, tree } = await extracted(tar);
      expect([code, err]).toEqual([1, expect.stringContaining(`the archive: ${why}\n`)]);
      expect(tree).toEqual(tar.length > 2000 && tar[0] !== 1 ? ['first'] : []);
    }
  });

  test('survives any damage to a header', async () => {
    const tar = await tarOf(
      {
        entry: entry('s', { size: 9000, segments: [{ pos: 512, len: 512 }] }),
        data: [new Uint8Array(512)],
      },
      { entry: entry('x'.repeat(300), { xattrs: [{ name: bytes('user.a'), value: bytes('b') }] }) },
    );
    const image = makeImage();
    for (let off = 0; off < tar.length; off += 29) {
      const odd = Buffer.from(tar);
      odd[off] ^= 0xff;
      const { code, err } = await ext4On({ input: [resummed(odd)] }, 'tar', '-x', `${image}:/`);
      expect(code).toBeLessThan(2);
      expect(err).not.toContain('internal error');
    }
    checkImage(image);
  }, 60_000);
});

/** With sums that fit, so that damage gets past them. */
function resummed(tar: Buffer): Buffer {
  for (let at = 0; at + 512 <= tar.length; at += 512) {
    const block = tar.subarray(at, at + 512);
    if (block.toString('latin1', 257, 262) !== 'ustar') continue;
    block.fill(0x20, 148, 156);
    const sum = block.reduce((total, byte) => total + byte, 0);
    block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  }
  return tar;
}

const KERNEL = [need.root(), need.loop(), need.tool('mke2fs', 'e2fsck', 'mount', 'umount')];

const COMMANDS = `
truncate -s 10000 @/new
truncate -s +1K @/new
truncate -s -1KB @/new
truncate -s <5000 @/new
truncate -s >6000 @/new
truncate -s /4096 @/new
truncate -s %10000 @/new
truncate -c -s 5 @/none
truncate -s 3 @/none/x
truncate -r @/data @/new
truncate -r @/data -s +7 @/new
truncate -s 12345 @/data
truncate -s 1Q @/data
fallocate -l 100000 @/data
fallocate -l 1M -n @/data
fallocate -o 1M -l 64KiB @/made
fallocate -p -o 8192 -l 20000 @/data
fallocate -z -o 30000 -l 5000 @/data
fallocate -z -n -o 200000 -l 5000 @/data
fallocate -c -o 4096 -l 8192 @/data
fallocate -i -o 4096 -l 4096 @/data
fallocate -c -o 100 -l 4096 @/data
fallocate -p -l 10 @/none2
fallocate -d @/zeros
fallocate -l 0 @/data
fallocate @/data
`
  .trim()
  .split('\n')
  .map((line) => line.split(' '));

need.describe('truncate and fallocate', KERNEL, () => {
  test('do what the others do, with the same success', { timeout: 60_000 }, async () => {
    const base = makeImage();
    onKernel(dir, base, (root) => {
      nodefs.writeFileSync(join(root, 'data'), Buffer.alloc(50_000, 7));
      const zeros = Buffer.alloc(100_000);
      zeros.fill(1, 0, 5000).fill(2, 60_000, 60_001);
      nodefs.writeFileSync(join(root, 'zeros'), zeros);
    });
    const ours = join(dir, 'ours.img');
    nodefs.copyFileSync(base, ours);
    const wanted: unknown[] = [];
    onKernel(dir, base, (root) => {
      for (const [name, ...args] of COMMANDS) {
        const real = args.map((arg) => arg.replace(/^@\//, `${root}/`));
        wanted.push([spawnSync(name, real).status === 0, look(root)]);
      }
    });
    const found: unknown[] = [];
    for (const [name, ...args] of COMMANDS) {
      const real = args.map((arg) => arg.replace(/^@\//, `${ours}:/`));
      const { code } = await ext4(name, ...real);
      checkImage(ours);
      found.push([code === 0, onKernel(dir, ours, look)]);
    }
    for (const [i, one] of found.entries()) expect(one, COMMANDS[i].join(' ')).toEqual(wanted[i]);
  });
});

/** Names, sizes, blocks and contents. */
function look(root: string): string[] {
  const names = nodefs.readdirSync(root).filter((name) => name !== 'lost+found');
  return names.map((name) => {
    execFileSync('sync', ['-f', join(root, name)]);
    const { size, blocks } = nodefs.statSync(join(root, name));
    const sum = execFileSync('sha256sum', [join(root, name)], { encoding: 'utf8' }).slice(0, 16);
    return `${name} ${size} ${blocks} ${sum}`;
  });
}

describe('an interrupt', () => {
  beforeAll(buildMain, 120_000);

  need.describe('while data comes', [need.tool('mke2fs', 'e2fsck')], () => {
    test('leaves the old file, a sound image, and ends with 130', async () => {
      const image = makeImage('64M');
      await put('old', `${image}:/f`);
      const child = spawn(process.execPath, [MAIN, 'cp', '-', `${image}:/f`]);
      let err = '';
      child.stderr.on('data', (text) => (err += text));
      child.stdin.on('error', () => undefined);
      const timer = setInterval(() => child.stdin.write(Buffer.alloc(100_000, 5)), 20);
      setTimeout(() => child.kill('SIGINT'), 1500);
      const ended = await new Promise((done) => child.once('exit', (code) => done(code)));
      clearInterval(timer);
      expect([ended, err]).toEqual([130, 'ext4: cp: interrupted\n']);
      checkImage(image);
      expect(await cat(`${image}:/f`)).toBe('old');
      expect((await ext4('ls', '-A', `${image}:/`)).out).toBe('f\nlost+found\n');
    });
  });
});
