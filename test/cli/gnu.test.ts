// Goal: the commands print what GNU's print of the same tree, so that a user's eyes and scripts keep working.
// Method: the embedded image is mounted by the kernel; ls, find, du, stat, df and filefrag look at the mount, ours at
// the image (whose journal still has to be recovered), and the texts are compared.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, mkdtempSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { need } from '../need.ts';
import { ext4, smallWorld, temporary, tool } from './harness.ts';

need.describe('beside GNU', [need.loop(), need.tool('filefrag')], () => {
  const dir = temporary();
  let image = '';
  let mnt = '';

  beforeAll(() => {
    image = smallWorld(dir);
    const copy = join(dir, 'copy.img');
    copyFileSync(image, copy);
    mnt = mkdtempSync(join(dir, 'mnt-'));
    execFileSync('mount', ['-o', 'loop,noatime', copy, mnt]);
  });
  afterAll(() => void execFileSync('umount', [mnt]));

  /** Lines of a text in which the mount point stands for the image. */
  const lines = (text: string): string[] =>
    text
      .replaceAll(`${image}:`, '@')
      .replaceAll(mnt, '@')
      .split(/[\n\0]/);

  test.each([
    ['-ln', '/'],
    ['-lan', '/home/ada'],
    ['-lniA', '/dev'],
    ['-lnh', '/pictures'],
    ['-ln', '/many'],
    ['-ln', '/etc'],
    ['-lnS', '/pictures'],
    ['-lnt', '/home/ada'],
    ['-lnrt', '/usr/share'],
    ['-lnd', '/home'],
    ['-ln', '/home/ada/host'],
    ['-1', '/'],
    ['-a', '/home/ada'],
    ['-R', '/home'],
    ['-lnR', '/usr'],
    ['-i', '/many'],
  ])('ls %s %s', async (flags, path) => {
    const ours = await ext4('ls', flags, `${image}:${path}`);
    const theirs = tool('ls', flags, `${mnt}${path}`);
    expect(ours.err).toBe('');
    expect(lines(ours.out)).toEqual(lines(theirs));
  });

  test('ls -l names root as GNU does where the image has no other owner', async () => {
    const ours = await ext4('ls', '-l', `${image}:/etc`);
    expect(lines(ours.out)).toEqual(lines(tool('ls', '-l', `${mnt}/etc`)));
  });

  test.each([
    [[]],
    [['-name', '*.png']],
    [['-iname', 'README*']],
    [['-name', 'entry-00[1-3]?.txt']],
    [['-name', '[!a-e]*', '-maxdepth', '1']],
    [['-type', 'l']],
    [['-type', 'd', '-mindepth', '2']],
    [['-type', 'f', '-size', '+4k']],
    [['-size', '-1k']],
    [['-size', '11c']],
    [['-perm', '755', '-type', 'f']],
    [['-perm', '-4000']],
    [['-perm', '/111', '-type', 'f']],
    [['-links', '+1', '-type', 'f']],
    [['-uid', '1815']],
    [['-empty', '-type', 'f', '-maxdepth', '3', '!', '-name', 'entry*']],
    [['(', '-name', 'etc', '-o', '-name', 'dev', ')', '-prune', '-o', '-type', 'f', '-print']],
    [['-mtime', '+10000']],
    [['-newermt', '2030-01-01 UTC']],
    [['-path', '*/ada/*', '-not', '-type', 'd']],
    [['-type', 'b,c']],
    [['-name', '*.txt', '-print0', '-name', 'entry-000*']],
  ])('find %j', async (expression: string[]) => {
    const ours = await ext4('find', `${image}:/`, ...expression);
    const theirs = tool('find', `${mnt}/`, ...expression).replaceAll(`${mnt}//`, `${mnt}/`);
    expect(ours.err).toBe('');
    expect(lines(ours.out).sort()).toEqual(lines(theirs).sort());
  });

  test.each([['-k'], ['-ka'], ['-b'], ['-ab'], ['-sh'], ['-kd1']])('du %s', async (flags) => {
    const ours = await ext4('du', flags, `${image}:/`);
    const theirs = tool('du', flags, `${mnt}/`).replaceAll(`${mnt}//`, `${mnt}/`);
    // GNU counts a file with several names where it comes across it first, in the order of the directory.
    const sorted = (text: string) =>
      lines(text)
        .filter((line) => !/wallpaper|mandelbrot/.test(line))
        .sort();
    expect(sorted(ours.out).length).toBe(sorted(theirs).length);
    expect(sorted(ours.out).at(-1)).toEqual(sorted(theirs).at(-1));
    const plain = (text: string) => sorted(text).filter((line) => !/@\/(home|pictures)/.test(line));
    expect(plain(ours.out)).toEqual(plain(theirs));
  });

  test('df gives the blocks and inodes that statfs gives', async () => {
    const ours = (await ext4('df', image)).out.split('\n')[1].split(/ +/).slice(1, 5);
    const theirs = tool('df', '-k', '--output=size,used,avail,pcent', mnt).split('\n')[1].trim();
    expect(ours).toEqual(theirs.split(/ +/));
    const inodes = (await ext4('df', '-i', image)).out.split('\n')[1].split(/ +/).slice(1, 5);
    const itheirs = tool('df', '--output=itotal,iused,iavail,ipcent', mnt).split('\n')[1].trim();
    expect(inodes).toEqual(itheirs.split(/ +/));
  });

  test.each([
    '/etc/hostname',
    '/home/ada/notes.md',
    '/usr/share/words',
    '/home/ada/long-link',
    '/dev/sda1',
    '/home/ada/just-saved.txt',
    '/many',
  ])('stat %s has the facts of stat(1), times to the nanosecond', async (path) => {
    const ours = await ext4('stat', `${image}:${path}`);
    const format = '%s %b %o %i %h %a %A %u %g %t %T %x|%y|%z|%w';
    const theirs = tool('stat', '-c', format, mnt + path).trim();
    const dates = [...ours.out.matchAll(/^(?:Access|Modify|Change| Birth): (\d.*)$/gm)].map(
      (m) => m[1],
    );
    const [size, blocks, io, inode, links, , mode, uid, gid] = theirs.split(' ');
    expect(theirs.endsWith(dates.join('|')), dates.join('|')).toBe(true);
    expect(ours.out).toMatch(new RegExp(`Size: ${size} +\tBlocks: ${blocks} +IO Block: ${io} `));
    expect(ours.out).toMatch(new RegExp(`Inode: ${inode} +\tLinks: ${links}\\b`));
    expect(ours.out).toContain(`/${mode})`);
    expect(ours.out).toMatch(new RegExp(`Uid: \\( *${uid}/.*Gid: \\( *${gid}/`));
  });

  test('stat --json says the same', async () => {
    const ours = JSON.parse((await ext4('stat', '--json', `${image}:/etc/hostname`)).out);
    const s = statSync(`${mnt}/etc/hostname`, { bigint: true });
    expect(ours).toMatchObject({ ino: Number(s.ino), size: 11, type: '-', mode: '0644', uid: 0 });
    expect(ours.mtime).toBe('2023-11-14T22:13:20.123456789Z');
    expect(s.mtimeNs).toBe(1700000000123456789n);
  });

  test.each(['/tiles/world.raw', '/var/sparse.img', '/many', '/var/log/empty.log'])(
    'extents %s lie where filefrag says',
    async (path) => {
      const ours = await ext4('extents', '--json', `${image}:${path}`);
      const mine = ours.out
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line));
      const theirs = tool('filefrag', '-vb4096', mnt + path);
      const rows = [...theirs.matchAll(/^ +\d+: +(\d+)\.\. +\d+: +(\d+)\.\. +\d+: +(\d+):/gm)];
      expect(mine.map(({ lblk, pblk, count }) => [lblk, pblk, count])).toEqual(
        rows.map((row) => row.slice(1, 4).map(Number)),
      );
    },
  );

  test('cat gives the bytes', async () => {
    const sha = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
    for (const path of [
      '/tiles/world.raw',
      '/pictures/mandelbrot.png',
      '/home/ada/just-saved.txt',
    ]) {
      const ours = await ext4('cat', `${image}:${path}`);
      expect(sha(ours.bytes)).toBe(sha(readFileSync(mnt + path)));
    }
  });
});
