// Goal: `cp` into an image and `tar -x` leave in it all that was in the source: contents, names, modes, owners, times
// to the nanosecond, links, devices, attributes, ACLs, holes; and a sound image. Method: a
// tree with some of everything on an ext4 of the kernel; it is copied by us; the kernel mounts the result, and GNU
// tar's archives of both trees, attributes included, must be the same bytes.

import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import nodefs from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { need, which } from '../need.ts';

import { ext4, ext4On, onKernel, temporary } from './harness.ts';

const NEEDS = [
  need.root(),
  need.loop(),
  need.tool('mke2fs', 'e2fsck', 'mount', 'umount', 'python3'),
];
const dir = temporary();
let count = 0;

function makeImage(...options: string[]): string {
  const image = join(dir, `image-${count++}`);
  execFileSync(which('mke2fs'), ['-q', '-F', '-t', 'ext4', ...options, image, '64M']);
  return image;
}

function checkImage(image: string): void {
  const { status, stdout } = spawnSync(which('e2fsck'), ['-fn', image], { encoding: 'utf8' });
  expect(status, stdout).toBe(0);
}

const TAR = ['--xattrs', '--xattrs-include=*', '--acls', '--numeric-owner', '--sort=name'];
const PAX = ['--format=pax', '--pax-option=exthdr.name=%d/x/%f,delete=atime,delete=ctime'];

/** Everything that GNU tar sees of a tree, as bytes. */
function archive(root: string, ...more: string[]): Buffer {
  const args = ['-C', root, '-c', ...TAR, ...PAX, ...more, '--exclude=./lost+found', '.'];
  return execFileSync('tar', args, { maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'ignore'] });
}

/** A tree of the kernel's with what is hard to copy. */
const MAKE = `
set -e
umask 022
mkdir -p deep/er/est empty 'odd name' "$(printf 'raw-\\377')"
printf 'hello\\n' > file
printf 'more\\n' > 'odd name/tab	and "quote'
: > none
head -c 300001 /dev/urandom > big
ln file hard
ln file deep/hard
ln -s file soft
ln -s /nowhere/at/all dangling
ln -s "$(printf '%0300d' 0)" longlink
mknod null c 1 3
mknod disk b 259 70000
mkfifo pipe
truncate -s 5M sparse
printf 'middle' | dd of=sparse bs=1 seek=2000000 conv=notrunc status=none
truncate -s 1M holes
chmod 4755 file
chmod 2770 deep
chmod 1777 empty
chmod 000 none
chown 1000:100 big
chown 4000000000:3000000000 none
chown -h 7:8 soft
touch -d '2001-02-03 04:05:06.123456789Z' file
touch -d '1969-12-31 23:59:58.25Z' big
touch -h -d '2010-01-01 00:00:00.000000001Z' soft
touch -d '2038-02-01 00:00:00Z' sparse
python3 - <<'PY'
import os
os.setxattr('big', 'user.binary', bytes(range(256)))
os.setxattr('big', 'user.empty', b'')
os.setxattr('big', 'trusted.a=b%c', b'odd')
os.setxattr('deep', 'user.dir', b'd' * 600)
os.setxattr('file', 'security.capability', bytes.fromhex('0100000200200000' + '00' * 12))
acl = '02000000 01000700ffffffff 02000600e8030000 04000500ffffffff '
acl += '10000700ffffffff 20000400ffffffff'
os.setxattr('big', 'system.posix_acl_access', bytes.fromhex(acl))
os.setxattr('empty', 'system.posix_acl_default', bytes.fromhex(acl))
PY
touch -d '2002-03-04 05:06:07.5Z' deep/er
touch -d '2003-03-04 05:06:07.5Z' deep empty .
`;

need.describe('a tree goes into an image', NEEDS, () => {
  const source = join(dir, 'source');
  let expected: Buffer;
  beforeAll(() => {
    nodefs.mkdirSync(source);
    const image = makeImage();
    execFileSync('mount', ['-o', 'loop', image, source]);
    nodefs.rmdirSync(join(source, 'lost+found'));
    execFileSync('bash', ['-c', MAKE], { cwd: source });
    expected = archive(source);
  }, 60_000);
  afterAll(() => void execFileSync('umount', [source]));

  /** What the kernel shows of an image is the source. */
  function same(image: string, below = ''): void {
    checkImage(image);
    onKernel(dir, image, (root) => {
      const found = archive(join(root, below));
      if (!found.equals(expected)) expect(listing(found)).toEqual(listing(expected));
      expect(records(found)).toEqual(records(expected));
      const { blocks, size } = nodefs.statSync(join(root, below, 'sparse'));
      expect([size, blocks < 64]).toEqual([5 << 20, true]);
      expect(nodefs.statSync(join(root, below, 'holes')).blocks).toBe(0);
    });
  }

  /** A hash over the lines of an archive, sorted: attributes have no order that must be kept. */
  function records(tar: Buffer): string {
    const lines = tar.toString('latin1').split('\n').sort();
    return createHash('sha256').update(lines.join('\n'), 'latin1').digest('hex');
  }

  function listing(tar: Buffer): string[] {
    return execFileSync('tar', ['-tvv', '--full-time', '--xattrs', '--acls', '--numeric-owner'], {
      input: tar,
      encoding: 'utf8',
    }).split('\n');
  }

  const FORMATS: Record<string, string[]> = {
    'pax, sparse 1.0': ['-S', ...PAX],
    'pax, sparse 0.1': ['-S', '--sparse-version=0.1', ...PAX],
    'pax, sparse 0.0': ['-S', '--sparse-version=0.0', ...PAX],
    pax: PAX,
  };

  test.each(Object.entries(FORMATS))('by GNU tar (%s) and tar -x', async (_, options) => {
    const args = ['-C', source, '-c', ...TAR, ...options, '--exclude=./lost+found', '.'];
    const tar = execFileSync('tar', args, {
      maxBuffer: 1 << 28,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const image = makeImage();
    const made = await ext4On({ input: [tar] }, 'tar', '-x', `${image}:/`);
    expect(made).toMatchObject({ code: 0, err: '', out: '' });
    // A hole that tar did not know of is zeros.
    if (options.includes('-S')) same(image);
    else onKernel(dir, image, (root) => expect(archive(root).equals(expected)).toBe(true));
  });

  test('by GNU tar’s own format, which has no more than it has', async () => {
    const args = ['-C', source, '-c', '-S', '--numeric-owner', '--format=gnu', '.'];
    const tar = execFileSync('tar', args, {
      maxBuffer: 1 << 28,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const image = makeImage();
    const gz = gzipSync(tar);
    const input = Array.from({ length: Math.ceil(gz.length / 777) }, (_, i) =>
      gz.subarray(i * 777, (i + 1) * 777),
    );
    expect(await ext4On({ input }, 'tar', '-x', `${image}:/`)).toMatchObject({ code: 0, err: '' });
    checkImage(image);
    const plain = ['-C', source, '-c', '--format=gnu', '--numeric-owner', '--sort=name', '.'];
    const wanted = execFileSync('tar', plain, {
      maxBuffer: 1 << 28,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    onKernel(dir, image, (root) => {
      nodefs.rmdirSync(join(root, 'lost+found'));
      const args = ['-C', root, ...plain.slice(2)];
      execFileSync('touch', ['-r', source, root]);
      expect(
        execFileSync('tar', args, {
          maxBuffer: 1 << 28,
          stdio: ['ignore', 'pipe', 'ignore'],
        }).equals(wanted),
      ).toBe(true);
    });
  });

  test('by cp -a from an image, and out again by tar -c', async () => {
    const first = makeImage();
    expect(
      await ext4On({ input: [archive(source, '-S')] }, 'tar', '-x', `${first}:/`),
    ).toMatchObject({ code: 0 });
    const second = makeImage('-b', '1024');
    const made = await ext4('cp', '-a', `${first}:/.`, `${second}:/copy`);
    expect(made).toMatchObject({ err: '', code: 0 });
    await ext4('rm', '-r', `${second}:/copy/lost+found`);
    await ext4('touch', '-d', '2003-03-04 05:06:07.5Z', `${second}:/copy`);
    same(second, 'copy');
    const { bytes } = await ext4('tar', '-c', `${second}:/copy`);
    const back = join(dir, 'back');
    nodefs.mkdirSync(back);
    execFileSync('tar', ['-x', ...TAR, '-C', back], { input: bytes });
    expect(listing(archive(back))).toEqual(listing(expected));
    expect(records(archive(back))).toEqual(records(expected));
  });

  test('by cp -a from the host: all but attributes where getfattr is missing', async () => {
    const image = makeImage();
    const made = await ext4('cp', '-a', `${source}/.`, `${image}:/`);
    expect(made.code).toBe(0);
    if (which('getfattr') !== '') return same(image);
    expect(made.err).toBe(
      'ext4: cp read no extended attributes on this host: getfattr(1) is missing\n',
    );
    checkImage(image);
    const without = (root: string) =>
      execFileSync(
        'tar',
        [
          '-C',
          root,
          '-c',
          '--numeric-owner',
          '--sort=name',
          ...PAX,
          '--exclude=./lost+found',
          '--exclude=./big',
          '.',
        ],
        {
          maxBuffer: 1 << 28,
          stdio: ['ignore', 'pipe', 'ignore'],
        },
      );
    onKernel(dir, image, (root) => expect(without(root).equals(without(source))).toBe(true));
  });
});
