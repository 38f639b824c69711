// Goal: `cp` brings out what is in the image, whole or not at all, and nothing outside its target, whatever names and
// links an image holds. Method: what was copied is compared with the kernel's mount (diff -r, and the facts that diff
// does not see); images with forged names are made by mke2fs and a byte editor; targets are prepared with traps.

import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { place } from '../../ts/cli/extract.ts';
import { need } from '../need.ts';
import { ext4, ext4On, onKernel, smallWorld, temporary, tool } from './harness.ts';

const dir = temporary();
const image = smallWorld(dir);
let count = 0;
const fresh = (): string => {
  const path = join(dir, `to-${count++}`);
  mkdirSync(path);
  return path;
};

describe('cp', () => {
  test('copies a file into a directory, under a new name, and to standard output', async () => {
    const to = fresh();
    expect(await ext4('cp', `${image}:/etc/hostname`, to)).toMatchObject({ code: 0, err: '' });
    expect(await ext4('cp', `${image}:/etc/hostname`, join(to, 'other'))).toMatchObject({
      code: 0,
    });
    expect(readFileSync(join(to, 'hostname'), 'utf8')).toBe('wonderland\n');
    expect(readFileSync(join(to, 'other'), 'utf8')).toBe('wonderland\n');
    expect((await ext4('cp', `${image}:/etc/hostname`, '-')).out).toBe('wonderland\n');
    expect(readdirSync(to).sort()).toEqual(['hostname', 'other']);
  });

  test('replaces a file, and a symlink without following it', async () => {
    const to = fresh();
    writeFileSync(join(to, 'victim'), 'untouched');
    symlinkSync('victim', join(to, 'hostname'));
    expect((await ext4('cp', `${image}:/etc/hostname`, to)).code).toBe(0);
    expect(lstatSync(join(to, 'hostname')).isFile()).toBe(true);
    expect(readFileSync(join(to, 'victim'), 'utf8')).toBe('untouched');
  });

  test('says what it will not do', async () => {
    const to = fresh();
    expect(await ext4('cp', `${image}:/etc`, to)).toMatchObject({
      code: 1,
      err: `ext4: cp ${image}:/etc: is a directory (-r copies it)\n`,
    });
    const twice = await ext4('cp', `${image}:/etc/group`, `${image}:/etc/passwd`, join(to, 'none'));
    expect(twice.code).toBe(2);
    const outside = await ext4('cp', join(dir, 'world.img'), to);
    expect(outside.code).toBe(2);
    expect(outside.err).toMatch(/^ext4: cp: neither '.*' nor '.*' is in an image \(see: .*\)\n$/);
    expect(await ext4('cp', `${image}:/nothing`, to)).toMatchObject({
      code: 1,
      err: `ext4: cp ${image}:/nothing: no such file or directory\n`,
    });
    expect(readdirSync(to)).toEqual([]);
  });

  test('goes on after a file that fails, and leaves no part of it', async () => {
    const to = fresh();
    mkdirSync(join(to, 'group'));
    const result = await ext4('cp', '-r', `${image}:/etc/group`, `${image}:/etc/passwd`, to);
    expect(result.code).toBe(1);
    expect(result.err).toBe(`ext4: cp ${image}:/etc/group: illegal operation on a directory\n`);
    expect(readdirSync(to).sort()).toEqual(['group', 'passwd']);
  });

  test('stops at an interrupt and leaves no temporary file', async () => {
    const to = fresh();
    const stop = new AbortController();
    const running = ext4On({ signal: stop.signal }, 'cp', '-r', `${image}:/`, to);
    setTimeout(() => stop.abort(), 30);
    const { code, err } = await running;
    expect({ code, err }).toEqual({ code: 130, err: 'ext4: cp: interrupted\n' });
    const left = readdirSync(to, { recursive: true }).map(String);
    expect(left.filter((name) => name.includes('.part'))).toEqual([]);
  });
});

describe('a target with traps', () => {
  test('a directory is not entered through a symlink that lies in its place', async () => {
    const to = fresh();
    const outside = fresh();
    symlinkSync(outside, join(to, 'etc'));
    const result = await ext4('cp', '-r', `${image}:/`, to);
    expect(result.code).toBe(1);
    expect(result.err).toContain(`ext4: cp ${image}:/etc: something that is no directory`);
    expect(readdirSync(outside)).toEqual([]);
    expect(existsSync(join(to, 'usr/bin/hello'))).toBe(true);
  });

  test.each(['', '.', '..', 'a/b', '../x', '/etc/passwd', 'nul\0byte'])(
    'the name %j is refused',
    (name) => {
      expect(() => place(Buffer.from('/target'), name)).toThrow('cannot be a file');
    },
  );

  test('an honest name becomes a path, byte for byte', () => {
    expect(Buffer.from(place(Buffer.from('/t'), 'caf\udce9')).toString('latin1')).toBe('/t/café');
  });
});

need.describe('a forged image', [need.tool('mke2fs')], () => {
  /** An image without checksums, made of `tree`, in which each name was replaced by one as long. */
  function forge(name: string, tree: string, names: Record<string, string>): string {
    const path = join(dir, name);
    tool('mke2fs', '-q', '-t', 'ext4', '-O', '^metadata_csum,^has_journal', '-d', tree, path, '2M');
    let bytes = readFileSync(path).toString('latin1');
    for (const [from, to] of Object.entries(names)) bytes = bytes.replaceAll(from, to);
    writeFileSync(path, Buffer.from(bytes, 'latin1'));
    return path;
  }

  test('with .. and / in names writes nothing outside the target', async () => {
    const tree = fresh();
    writeFileSync(join(tree, 'aaaaaaaaaa'), 'evil');
    writeFileSync(join(tree, 'zz-honest'), 'good');
    mkdirSync(join(tree, 'dddddddddd'));
    writeFileSync(join(tree, 'dddddddddd/inner'), 'evil');
    const forged = forge('dots.img', tree, { aaaaaaaaaa: '../escaped', dddddddddd: 'x/../../yy' });
    const to = join(fresh(), 'target');
    mkdirSync(to);
    const result = await ext4('cp', '-r', `${forged}:/`, to);
    expect(result.code).toBe(3);
    expect(result.err).toMatch(/^(ext4: cp .*\n)+$/);
    expect(readdirSync(join(to, '..'))).toEqual(['target']);
  });

  test('with a link and a directory of one name writes nothing through the link', async () => {
    const tree = fresh();
    const outside = fresh();
    symlinkSync(outside, join(tree, 'dupl-1'));
    mkdirSync(join(tree, 'dupl-2'));
    writeFileSync(join(tree, 'dupl-2/evil'), 'evil');
    const forged = forge('twice.img', tree, { 'dupl-2': 'dupl-1' });
    await ext4('cp', '-r', `${forged}:/`, fresh());
    expect(readdirSync(outside)).toEqual([]);
  });

  test('shows control characters on a terminal as escapes, and as they are in a pipe', async () => {
    const tree = fresh();
    writeFileSync(join(tree, 'red\x1b[31m\u202etxt'), '');
    writeFileSync(Buffer.concat([Buffer.from(`${tree}/caf`), Buffer.from([0xe9])]), '');
    const forged = forge('colours.img', tree, {});
    const shown = await ext4On({ tty: true, env: { NO_COLOR: '1' } }, 'ls', '-1', `${forged}:/`);
    expect(shown.out).toBe('caf\\xe9\nlost+found\nred\\x1b[31m\\u202etxt\n');
    const piped = await ext4('ls', `${forged}:/`);
    expect(piped.bytes.toString('latin1').split('\n')[0]).toBe('café');
    expect(piped.out).toContain('red\x1b[31m\u202etxt\n');
    const json = await ext4('ls', '--json', `${forged}:/`);
    expect(JSON.parse(json.out.split('\n')[0]).name).toBe('caf\udce9');
    const failed = await ext4('cat', `${forged}:/red\x1b[31m`);
    expect(failed.err).toBe(`ext4: cat ${forged}:/red\\x1b[31m: no such file or directory\n`);
  });
});

need.describe('a tree copied as root', [need.loop()], () => {
  test('with -rp is what the kernel shows, but for extended attributes', async () => {
    const to = fresh();
    const result = await ext4('cp', '-rp', `${image}:/`, to);
    expect(result.err).toBe(
      'ext4: cp kept no extended attributes (5 files have some; ext4 tar carries them)\n',
    );
    expect(result.code).toBe(0);
    const copy = join(dir, 'kernel.img');
    copyFileSync(image, copy);
    onKernel(dir, copy, (mnt) => {
      expect(tool('diff', '-r', '--no-dereference', '-x', 'dev', mnt, to)).toBe('');
      // Times to the microsecond: Node hands seconds over as one number.
      const facts = (root: string) =>
        tool('find', root, '-mindepth', '1', '-printf', '%P|%m|%U:%G|%n|%T@|%y|%l|%D\n')
          .split('\n')
          .map((line) => line.replace(/(\.\d{6})\d*\|/, '$1|').replace(/\|\d+$/, ''))
          .filter((line) => !/^(home|many|etc|usr|var|dev|pictures|tiles)?\|/.test(line))
          .sort();
      expect(facts(to)).toEqual(facts(mnt));
      for (const name of ['null', 'sda1', 'tty63', 'initctl']) {
        const device = (root: string) => tool('stat', '-c', '%t:%T:%F', join(root, 'dev', name));
        expect(device(to)).toBe(device(mnt));
      }
      const sparse = join(to, 'var/sparse.img');
      expect(statSync(sparse).size).toBe(40 << 20);
      expect(statSync(sparse).blocks).toBeLessThan(64);
    });
    expect(statSync(join(to, 'usr/bin/su')).mode & 0o7777).toBe(0o4755);
    expect(readlinkSync(join(to, 'home/ada/host'))).toBe('/etc/hostname');
    const [a, b] = ['home/ada/wallpaper.png', 'pictures/mandelbrot.png'].map(
      (name) => statSync(join(to, name)).ino,
    );
    expect(a).toBe(b);
  });

  test('without -p takes the umask, and no set-id bits', async () => {
    const to = fresh();
    await ext4('cp', '-r', `${image}:/usr/bin`, to);
    expect(statSync(join(to, 'bin/su')).mode & 0o7777).toBe(0o755 & ~process.umask());
    expect(statSync(join(to, 'bin/su')).mtimeMs).toBeGreaterThan(1.7e12);
  });

  test('tar -c through GNU tar is the tree, with xattrs, ACLs and nanoseconds', async () => {
    const to = fresh();
    const archive = join(dir, 'world.tar');
    writeFileSync(archive, (await ext4('tar', '-c', `${image}:/`)).bytes);
    execFileSync(
      'tar',
      ['-xpf', archive, '-C', to, '--xattrs', '--xattrs-include=*', '--acls', '--numeric-owner'],
      {
        stdio: ['ignore', 'ignore', 'ignore'],
      },
    );
    const copy = join(dir, 'kernel2.img');
    copyFileSync(image, copy);
    onKernel(dir, copy, (mnt) => {
      expect(tool('diff', '-r', '--no-dereference', '-x', 'dev', mnt, to)).toBe('');
      expect(dump(to)).toEqual(dump(mnt));
    });
    expect(statSync(join(to, 'var/sparse.img')).blocks).toBeLessThan(64);
    const again = (await ext4('tar', '-c', `${image}:/`)).bytes;
    expect(again.equals(readFileSync(archive)), 'the same tree gives the same archive').toBe(true);
  });
});

const DUMP = `
import os, sys, stat
root = sys.argv[1]
for base, dirs, files in os.walk(root):
    dirs.sort()
    for name in ['.'] + sorted(dirs + files):
        path = os.path.join(base, name)
        s = os.lstat(path)
        names = sorted(os.listxattr(path, follow_symlinks=False))
        xattrs = {k: os.getxattr(path, k, follow_symlinks=False).hex() for k in names}
        rdev = s.st_rdev if stat.S_ISCHR(s.st_mode) or stat.S_ISBLK(s.st_mode) else 0
        links = 0 if stat.S_ISDIR(s.st_mode) else s.st_nlink
        owner = (s.st_uid, s.st_gid)
        times = (s.st_mtime_ns, rdev)
        print(os.path.relpath(path, root), oct(s.st_mode), owner, links, times, xattrs)
`;

function dump(root: string): string[] {
  return tool('python3', '-c', DUMP, root).split('\n');
}
