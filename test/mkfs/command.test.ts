// Goal: `ext4 mkfs` makes what its letters ask, fills it, fits it, and fails in one line leaving no file behind.
// Method: the command line in this process; e2fsck and our own reading judge.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ext4, ext4On } from '../cli/harness.ts';
import { need } from '../need.ts';
import { fsck, say, temporary, UUID } from './images.ts';

const EPOCH = '1700000000';
const FIXED = ['-q', '-U', UUID, '-E', `hash_seed=${UUID}`];

/** A host without getfattr says that it reads no attributes. */
const remarks = (err: string) => err.replace(/^.*getfattr.*\n/m, '');

let trees = 0;

function fixedTree(dir: string, backwards = false): string {
  const tree = join(dir, `tree-${trees++}`);
  const names = Array.from({ length: 300 }, (_, i) => `file-${i}`);
  mkdirSync(join(tree, 'sub/deeper'), { recursive: true });
  for (const name of backwards ? names.reverse() : names) {
    writeFileSync(join(tree, 'sub', name), name.repeat(200));
  }
  writeFileSync(join(tree, 'large'), Buffer.alloc(3_000_000, 'large'));
  symlinkSync('sub/file-1', join(tree, 'link'));
  execFileSync('find', [tree, '-exec', 'touch', '-h', '-d', `@${EPOCH}`, '{}', '+']);
  return tree;
}

need.describe('ext4 mkfs', [need.tool('e2fsck', 'dumpe2fs', 'tar')], () => {
  const dir = temporary();
  const path = join(dir, 'made.img');

  test('makes a file of the size asked for, sparse, and says what it made', async () => {
    const { code, out, err } = await ext4(
      'mkfs',
      '-L',
      'data',
      '-m',
      '1',
      '-b',
      '4096',
      path,
      '1g',
    );
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toContain('262144 blocks of 4096 bytes');
    expect(statSync(path).size).toBe(2 ** 30);
    expect(statSync(path).blocks * 512).toBeLessThan(4 << 20);
    expect(fsck(path).status).toBe(0);
    expect(say('dumpe2fs', ['-h', path]).out).toMatch(/Reserved block count: +2621\n/);
  });

  test('the letters reach the superblock', async () => {
    const words = [
      '-t',
      'ext3',
      '-b',
      '1024',
      '-I',
      '128',
      '-N',
      '2048',
      '-e',
      'panic',
      '-M',
      '/x',
    ];
    const extra = ['-E', 'stride=8,stripe_width=32,root_owner=5:6,hash_alg=tea', '-J', 'size=2'];
    const { code } = await ext4('mkfs', ...words, ...extra, '-O', 'dir_index', path, '64m');
    expect(code).toBe(0);
    const { out } = say('dumpe2fs', ['-h', path]);
    for (const line of [
      /Inode size:\s+128/,
      /Inode count: +2048/,
      /Errors behavior: +Panic/,
      /Last mounted on: +\/x/,
      /RAID stride: +8/,
      /RAID stripe width: +32/,
      /Default directory hash: +tea/,
      /Total journal size: +2048k/,
    ]) {
      expect(out).toMatch(line);
    }
    expect((await ext4('ls', '-ld', `${path}:/`)).out).toMatch(/ 5 +6 /);
    expect(fsck(path).status).toBe(0);
  });

  test('-n writes nothing, and what cannot be made leaves no file', async () => {
    const none = join(dir, 'none.img');
    expect((await ext4('mkfs', '-n', none, '1g')).out).toContain('would make');
    const { code, err } = await ext4('mkfs', '-O', 'foo', none, '1g');
    expect({ code, err }).toEqual({ code: 1, err: "ext4: mkfs: there is no feature 'foo'\n" });
    expect((await ext4('mkfs', '-E', 'foo', none, '1g')).code).toBe(2);
    expect((await ext4('mkfs', none)).code).toBe(2);
    expect(existsSync(none)).toBe(false);
  });

  test('what cannot be made leaves an image that is there as it was', async () => {
    const path = join(dir, 'kept.img');
    await ext4('mkfs', path, '4m');
    const before = readFileSync(path);
    expect((await ext4('mkfs', '-b', '3000', path)).code).toBe(1);
    expect(before.equals(readFileSync(path))).toBe(true);
  });

  test('-d fills it from a directory, and fit makes it no larger than it must be', async () => {
    const tree = fixedTree(dir);
    const { code, err } = await ext4('mkfs', '-q', '-d', tree, path, 'fit');
    expect({ code, err: remarks(err) }).toEqual({ code: 0, err: '' });
    expect(fsck(path)).toMatchObject({ status: 0 });
    const { bytes } = await ext4('cat', `${path}:/large`);
    expect(bytes.equals(readFileSync(join(tree, 'large')))).toBe(true);
    expect((await ext4('cat', `${path}:/link`)).out).toBe('file-1'.repeat(200));
    const used = 300 * 2048 + 3_000_000;
    expect(statSync(path).size).toBeGreaterThan(used);
    expect(statSync(path).size).toBeLessThan(used * 2.2);
  });

  test('-d fills it from an archive in a file', async () => {
    const tree = fixedTree(dir);
    const archive = join(dir, 'tree.tar');
    execFileSync('tar', ['-cf', archive, '-C', tree, '.']);
    const { code, err } = await ext4('mkfs', '-q', '-d', archive, path, 'fit');
    expect({ code, err: remarks(err) }).toEqual({ code: 0, err: '' });
    expect(fsck(path)).toMatchObject({ status: 0 });
    const { bytes } = await ext4('cat', `${path}:/large`);
    expect(bytes.equals(readFileSync(join(tree, 'large')))).toBe(true);
  });

  test.each(['directory', 'archive'])(
    'with SOURCE_DATE_EPOCH the same %s gives the same bytes',
    async (kind) => {
      const sums: string[] = [];
      for (const backwards of [false, true]) {
        const tree = fixedTree(dir, backwards);
        const archive = join(dir, 'sorted.tar');
        const sorted = ['--sort=name', '--owner=0', '--group=0', '-cf', archive];
        execFileSync('tar', [...sorted, '-C', tree, '.']);
        const env = { SOURCE_DATE_EPOCH: EPOCH };
        const from = kind === 'archive' ? archive : tree;
        const { code, err } = await ext4On({ env }, 'mkfs', ...FIXED, '-d', from, path, 'fit');
        expect({ code, err: remarks(err) }).toEqual({ code: 0, err: '' });
        sums.push(createHash('sha256').update(readFileSync(path)).digest('hex'));
        await new Promise((resolve) => setTimeout(resolve, 1100));
      }
      expect(sums[1]).toBe(sums[0]);
      expect(fsck(path).status).toBe(0);
    },
  );
});
