// Goal: the commands that change an image do what GNU's do, end with the right code, and leave an image that
// e2fsck finds
// sound, interrupted or not. Method: the built program runs on an image, GNU's commands on a copy that the kernel has
// mounted; then the kernel shows both trees. Modes and dates are also compared with chmod(1) and touch(1) one by one.

import { execFileSync, spawn, spawnSync } from 'node:child_process';
import nodefs from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { openFile } from '../../ts/block/node.ts';
import { parseMode } from '../../ts/cli/modetext.ts';
import { parseDate, parseStamp } from '../../ts/cli/when.ts';
import { mountSync } from '../../ts/index.ts';
import { lines, pathsOf } from '../api/changes.ts';
import { need, which } from '../need.ts';
import { buildMain, MAIN } from './built.ts';
import { onKernel, smallWorld, temporary } from './harness.ts';

const dir = temporary();

const ext4 = (...argv: string[]) =>
  spawnSync(process.execPath, [MAIN, ...argv], { encoding: 'utf8', maxBuffer: 1 << 28 });

/** Commands with paths of the tree; what stands for the image in ours is the mount point in GNU's. */
const COMMANDS = `
mkdir @/a @/b @/a/sub
mkdir @/a
mkdir -p @/p/q/r @/a
mkdir @/none/x
mkdir -m 700 @/private
mkdir -m u=rwx,g=rx,o= @/some
mkdir -p -m 2750 @/deep/er
touch @/f @/g @/a/f
touch -c @/not-made
touch @/none/f
touch -d 2020-02-29T12:34:56.789012345Z @/f
touch -d @1234567890.5 @/g
touch -t 202101020304.05 @/a/f
touch -a -d 2001-02-03T04:05:06Z @/f
touch -m -r @/f @/g
touch -r @/none @/g
ln -s ../f @/a/link
ln -s f @/f
ln -sf g @/link
ln -sf f @/link
ln -s a @/dirlink
ln -sfn b @/dirlink
ln -s f @/b
ln @/f @/hard
ln @/f @/hard
ln -f @/g @/hard
ln @/f @/g @/b
ln @/a @/dirhard
touch -h -d 2002-03-04T05:06:07Z @/link
chmod 640 @/f
chmod u+x,g-r,o=rw @/f
chmod a+s @/some
chmod 755 @/some
chmod 00755 @/some
chmod -R g+w,o= @/p @/a
chmod 600 @/none
chmod 4755 @/hard
chown 1000:100 @/hard
chown 1000 @/g
chown :200 @/g
chown -R 5:6 @/a
chown -h 7:8 @/link
chown 1:1 @/none
mv @/f @/f2
mv @/f2 @/a
mv -n @/g @/a/f
mv -T @/p @/b
mv @/p @/b
mv @/a @/a/sub
mv @/hard @/g
mv @/none @/x
mv @/dirlink @/dirlink2
mv @/link @/dirlink2 @/b
rm @/none
rm -f @/none
rm @/b
rm -d @/a/sub
rm -d @/b
rm @/g
rm -r @/b/p
rm -rf @/private @/none @/deep/er
`
  .trim()
  .split('\n')
  .map((line) => line.split(' '));

const NEEDS = [need.root(), need.loop(), need.tool('mke2fs', 'e2fsck', 'mount', 'umount')];

beforeAll(buildMain, 120_000);

function makeImage(name: string, ...options: string[]): string {
  const image = join(dir, name);
  execFileSync(which('mke2fs'), ['-q', '-F', '-t', 'ext4', ...options, image, '24M']);
  return image;
}

function checkImage(image: string): void {
  const { status, stdout } = spawnSync(which('e2fsck'), ['-fn', image], { encoding: 'utf8' });
  expect(status, stdout).toBe(0);
}

const timesOf = (root: string, paths: string[]): string[] =>
  paths.map((path) => {
    const { atimeNs, mtimeNs } = nodefs.lstatSync(root + path, { bigint: true });
    const recent = BigInt(Date.now() - 600_000) * 1_000_000n;
    return `${path} ${[atimeNs, mtimeNs].map((ns) => (ns > recent ? 'now' : ns)).join(' ')}`;
  });

interface Seen {
  tree: string[];
  times: string[];
}

function look(root: string): Seen {
  const tree = lines(nodefs, root);
  return { tree, times: timesOf(root, pathsOf(tree)) };
}

need.describe('commands that change an image', NEEDS, () => {
  test('do what GNU’s do, with the same success', { timeout: 180_000 }, () => {
    const theirs = makeImage('theirs.img');
    const ours = join(dir, 'ours.img');
    nodefs.copyFileSync(theirs, ours);
    const codes: (number | null)[] = [];
    const expected = onKernel(dir, theirs, (root) => {
      for (const [name, ...args] of COMMANDS) {
        const real = args.map((arg) => arg.replace(/^@\//, `${root}/`));
        codes.push(spawnSync(name, real).status);
      }
      return look(root);
    });
    for (const [i, [name, ...args]] of COMMANDS.entries()) {
      const real = args.map((arg) => arg.replace(/^@\//, `${ours}:/`));
      const { status, stderr } = ext4(name, ...real);
      expect(status, `${name} ${args.join(' ')}: ${stderr}`).toBe(codes[i]);
      expect(stderr).toMatch(status === 0 ? /^$/ : /^(ext4: [^\n]+\n)+$/);
    }
    checkImage(ours);
    expect(onKernel(dir, ours, look)).toEqual(expected);
    expect(expected.tree.length).toBeGreaterThan(8);
  });

  test('replay the journal first, and keep what was only in it', () => {
    const image = smallWorld(dir);
    expect(ext4('info', image).stdout).toContain('replayed in memory');
    const before = ext4('ls', '-R', `${image}:/`).stdout;
    expect(ext4('mkdir', `${image}:/made`)).toMatchObject({ status: 0, stderr: '' });
    expect(ext4('info', image).stdout).not.toContain('replayed in memory');
    expect(ext4('rm', '-d', `${image}:/made`)).toMatchObject({ status: 0, stderr: '' });
    expect(ext4('ls', '-R', `${image}:/`).stdout).toBe(before);
    checkImage(image);
  });

  test('are interrupted between two names: 130, a clean image, the rest still there', async () => {
    const image = makeImage('many.img', '-N', '12000');
    const device = openFile(image);
    const fs = mountSync(device);
    fs.mkdirSync('/many');
    for (let i = 0; i < 10_000; i++) fs.writeFileSync(`/many/file-${i}`, '');
    fs.unmountSync();
    await device.close();
    const child = spawn(process.execPath, [MAIN, 'rm', '-rv', `${image}:/many`]);
    let err = '';
    child.stderr.on('data', (text) => (err += text));
    child.stdout.once('data', () => child.kill('SIGINT'));
    child.stdout.resume();
    const ended = await new Promise((done) => child.once('exit', (code) => done(code)));
    expect([ended, err]).toEqual([130, 'ext4: rm: interrupted\n']);
    checkImage(image);
    const { journal, state } = JSON.parse(ext4('info', '--json', image).stdout);
    expect([journal?.state ?? 'clean', state ?? ['clean']]).toEqual(['clean', ['clean']]);
    const left = ext4('ls', `${image}:/many`).stdout.trim().split('\n').length;
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThan(10_000);
  });

  test('set, replace and remove extended attributes', () => {
    const image = makeImage('xattr.img');
    const file = `${image}:/f`;
    ext4('touch', file);
    const set = (name: string, value: string) => ext4('xattr', file, name, '-s', value).status;
    expect([set('user.a', 'text'), set('user.b', '0x00ff'), set('user.c', '0saGk=')]).toEqual([
      0, 0, 0,
    ]);
    expect(set('user.a', 'other')).toBe(0);
    expect(ext4('xattr', '-x', file, 'user.c')).toMatchObject({ status: 0, stderr: '' });
    expect(ext4('xattr', '-x', file, 'user.c').status).toBe(1);
    expect(set('nonsense', 'x')).not.toBe(0);
    const dump = ext4('xattr', '-d', file).stdout.split('\n').slice(1);
    expect(dump).toEqual(['user.a="other"', 'user.b=0x00ff', '']);
    checkImage(image);
  });

  test('refuse the root, the web, other file systems and what cannot be written', () => {
    const image = makeImage('refuse.img');
    const sha = nodefs.readFileSync(image);
    expect(ext4('rm', '-rf', `${image}:/`)).toMatchObject({
      status: 1,
      stderr: `ext4: rm ${image}:/: the root directory cannot be removed\n`,
    });
    expect(ext4('mkdir', 'http://localhost:1/x.img:/a')).toMatchObject({
      status: 1,
      stderr:
        'ext4: mkdir http://localhost:1/x.img:/a: an image on a web server cannot be written\n',
    });
    expect(ext4('mv', `${image}:/a`, `${image}x:/b`).status).toBe(2);
    expect(ext4('mkdir', '-o', 'ro', `${image}:/a`)).toMatchObject({ status: 2 });
    const encrypted = makeImage('verity.img');
    execFileSync(which('debugfs'), ['-w', '-R', 'feature read-only', encrypted]);
    expect(ext4('mkdir', `${encrypted}:/a`)).toMatchObject({ status: 3 });
    const fresh = nodefs.readFileSync(image);
    expect(fresh.length).toBe(sha.length);
    checkImage(image);
  });
});

describe('modes', () => {
  const MODES =
    `u+x g-w o=r a+X +x -w =r u=g g=u o=u u+s g+s +t a-st ug=rw,o= u+rwx,g-x u=rwxs,g=rxs
    =t o+t u=,g=,o= g=o+w-r ugo+rwX 0 7 644 2755 1777 04000 00755 07777 6711 a= u-s+x`.split(/\s+/);

  test.each(MODES)('%s gives what chmod gives', (text) => {
    const file = join(dir, 'mode-file');
    const folder = join(dir, 'mode-dir');
    nodefs.writeFileSync(file, '');
    nodefs.mkdirSync(folder, { recursive: true });
    const change = parseMode(text);
    for (const from of [0, 0o644, 0o755, 0o7777, 0o6070, 0o2701, 0o1007]) {
      for (const path of [file, folder]) {
        nodefs.chmodSync(path, from);
        execFileSync('chmod', ['--', text, path], { stdio: 'ignore' });
        const wanted = nodefs.statSync(path).mode & 0o7777;
        expect(change(from, path === folder).toString(8), `${path} ${from.toString(8)}`).toBe(
          wanted.toString(8),
        );
      }
    }
  });
});

describe('dates', () => {
  const file = join(dir, 'dated');
  const touched = (...args: string[]): bigint => {
    execFileSync('touch', [...args, file]);
    return nodefs.statSync(file, { bigint: true }).mtimeNs;
  };
  const ns = ({ sec, nsec }: { sec: number; nsec: number }): bigint =>
    BigInt(sec) * 1_000_000_000n + BigInt(nsec);

  test.each([
    '2024-02-29',
    '2024-02-29 12:30',
    '2024-02-29T12:30:45.123456789Z',
    '2024-02-29 12:30:45 +0530',
    '2024-07-01 00:00:00 -03:00',
    '1969-12-31 23:59:59.5 UTC',
    '2100-01-01T00:00:00Z',
    '@0',
    '@1700000000.000000001',
    '@-1.5',
  ])('-d %s is what touch sets', (text) => {
    expect(ns(parseDate(text))).toBe(touched('-d', text));
  });

  test.each(['12312359', '2402291230', '202402291230.59', '6901010000', '6801010000'])(
    '-t %s is what touch sets',
    (text) => {
      expect(ns(parseStamp(text))).toBe(touched('-t', text));
    },
  );

  test.each(['', '2024-02-30', '2024-13-01', '24:00', '2024-01-01 25:00', '@x', 'yesterdayish'])(
    '%j is none',
    (text) => {
      expect(() => parseDate(text)).toThrow('is no date');
    },
  );
});
