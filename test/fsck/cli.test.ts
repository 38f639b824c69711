// Goal: `ext4 fsck` has e2fsck's exit codes, says what it found on a line each, and changes nothing unless told to.
// Method: the command line in this process on small images, good, damaged, and none at all.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import * as F from '../../assembly/format/ext4.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import { mkfsSync } from '../../ts/index.ts';
import { ext4, ext4On, temporary } from '../cli/harness.ts';

const dir = temporary();

/** A clean image, and a way to change bytes of its superblock. */
function image(name: string, patch: (sb: DataView, bytes: Uint8Array) => void = () => undefined) {
  const device = memoryDevice(4 << 20, { sparse: true });
  mkfsSync(device, { blockSize: 1024, features: '^metadata_csum' });
  const bytes = new Uint8Array(4 << 20);
  device.readSync(bytes, 0);
  patch(new DataView(bytes.buffer, F.SB_OFFSET), bytes);
  const path = join(dir, name);
  writeFileSync(path, bytes);
  return path;
}

/** Links of the root directory that are not there. */
const wrongLinks = (sb: DataView, bytes: Uint8Array): void => {
  const view = new DataView(bytes.buffer);
  const block = 1024 * (sb.getUint32(F.S_FIRST_DATA_BLOCK, true) + 1);
  const table = view.getUint32(block + F.BG_INODE_TABLE_LO, true) * 1024;
  view.setUint16(table + sb.getUint16(F.S_INODE_SIZE, true) + F.I_LINKS_COUNT, 77, true);
};

describe('ext4 fsck', () => {
  test('ends with 0 on a clean image and says how full it is', async () => {
    const { code, out, err } = await ext4('fsck', '-fn', image('clean.img'));
    expect(err).toBe('');
    expect(out).toMatch(/clean, \d+ of [\d,]+ inodes/);
    expect(code).toBe(0);
  });

  test('does not look at an image marked clean unless forced', async () => {
    const path = image('marked.img', wrongLinks);
    const lazy = await ext4('fsck', path);
    expect(lazy.out).toContain('not checked');
    expect(lazy.code).toBe(0);
    expect((await ext4('fsck', '-f', path)).code).toBe(4);
  });

  test('ends with 4 on errors, and changes nothing', async () => {
    const path = image('errors.img', wrongLinks);
    const before = readFileSync(path);
    const { code, out } = await ext4('fsck', '-fn', path);
    expect(out).toContain('inode 2 counts 77 links');
    expect(out).toContain('ERRORS ARE LEFT');
    expect(code).toBe(4);
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  test('mends with -y, ends with 1, and with 0 the next time', async () => {
    const path = image('mend.img', wrongLinks);
    const { code, out } = await ext4('fsck', '-fy', path);
    expect(out).toContain('(mended)');
    expect(code).toBe(1);
    expect((await ext4('fsck', '-fn', path)).code).toBe(0);
  });

  test('-p mends what loses nothing, and gives up at anything else', async () => {
    expect((await ext4('fsck', '-fp', image('preen.img', wrongLinks))).code).toBe(1);
    const path = image('noroot.img', (sb, bytes) => {
      wrongLinks(sb, bytes);
      const view = new DataView(bytes.buffer);
      const table = view.getUint32(2048 + F.BG_INODE_TABLE_LO, true) * 1024;
      view.setUint16(table + sb.getUint16(F.S_INODE_SIZE, true) + F.I_MODE, 0x8000, true);
    });
    expect((await ext4('fsck', '-fp', path)).code).toBe(4);
  });

  test('prints a JSON object a line', async () => {
    const { out, code } = await ext4('fsck', '-fn', '--json', image('json.img', wrongLinks));
    const lines = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines[0]).toMatchObject({ code: 'link-count', pass: 4, ino: 2, fixed: false });
    expect(lines.at(-1)).toMatchObject({ clean: false, exitCode: 4 });
    expect(code).toBe(4);
  });

  test('ends with 8 on what is no file system, and where there is nothing', async () => {
    const path = join(dir, 'noise');
    writeFileSync(path, Buffer.alloc(1 << 20, 'noise'));
    const { code, out } = await ext4('fsck', path);
    expect(out).toContain('cannot be checked');
    expect(code).toBe(8);
    expect((await ext4('fsck', join(dir, 'missing'))).code).toBe(8);
  });

  test('ends with 16 on wrong usage', async () => {
    expect((await ext4('fsck')).code).toBe(16);
    expect((await ext4('fsck', '-n', '-y', image('both.img'))).code).toBe(16);
    expect((await ext4('fsck', '--nonsense', image('none.img'))).code).toBe(16);
  });

  test('wipes what it showed of its progress on a terminal', async () => {
    const { err } = await ext4On({ tty: true }, 'fsck', '-fn', image('tty.img'));
    expect(err === '' || err.endsWith('\r\x1b[K')).toBe(true);
  });
});
