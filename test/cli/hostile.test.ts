// Goal: no image, however damaged, makes a command print a stack, hang or leave the exit codes.
// Method: every image of the oracles that is not clean, up to 8 MiB (all of them with DEEP), through info, ls, find,
// xattr, tar and dump; what fails says so in single lines and exits 1 or 3.

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { DEEP, need, ORACLES } from '../need.ts';
import { manifest } from '../oracle/images.ts';
import { ext4, type Result, temporary, tool } from './harness.ts';

/** On a loaded machine; that an image takes at most 5 s of processor time is tested elsewhere. */
const LIMIT_MS = 20_000;

need.describe('damaged images', [need.oracles()], () => {
  const dir = temporary();
  const odd = manifest().filter(
    ({ size, class: kind }) => kind !== 'clean' && (DEEP || size <= 8 << 20),
  );

  test.each(odd.map(({ name }) => name))('%s', { timeout: 8 * LIMIT_MS }, async (name) => {
    const image = join(dir, name);
    writeFileSync(image, gunzipSync(readFileSync(join(ORACLES, 'images', `${name}.gz`))));
    for (const argv of [
      ['info', image],
      ['ls', '-laR', `${image}:/`],
      ['find', `${image}:/`, '-name', '*', '-size', '+0'],
      ['du', '-sh', `${image}:/`],
      ['tar', '-c', `${image}:/`],
      ['dump', image, 'group', '0'],
      ['dump', image, 'inode', '8'],
      ['journal', image],
    ]) {
      const began = performance.now();
      const result = await ext4(...argv);
      const what = `ext4 ${argv.join(' ')}`;
      expect(performance.now() - began, what).toBeLessThan(LIMIT_MS);
      expectHonest(result, what);
    }
    rmSync(image);
  });
});

need.describe('a directory inside itself', [need.tool('mke2fs', 'debugfs')], () => {
  const dir = temporary();

  test.each(['ls -R', 'tree', 'find', 'du', 'tar -c', 'cp -r'])('%s ends', async (command) => {
    const tree = join(dir, 'tree');
    mkdirSync(join(tree, 'a/b'), { recursive: true });
    writeFileSync(join(tree, 'a/b/file'), 'x');
    const image = join(dir, 'loop.img');
    writeFileSync(image, '');
    tool('mke2fs', '-q', '-F', '-t', 'ext4', '-d', tree, image, '2M');
    tool('debugfs', '-w', '-R', 'link <2> /a/b/again', image);
    const to = command === 'cp -r' ? [join(dir, 'to')] : [];
    const result = await ext4(...command.split(' '), `${image}:/`, ...to);
    expect(result.code).toBe(3);
    expect(result.err).toBe(
      `ext4: ${command.split(' ')[0]} ${image}:/a/b/again: ` +
        'directory inode 2 is linked more than once: not entered again\n',
    );
    expectHonest(result, command);
  });
});

/** Exit code and messages belong together, and every message is one line of the promised form. */
function expectHonest({ code, err }: Result, what: string): void {
  expect([0, 1, 3], `${what}: ${err}`).toContain(code);
  expect(err.includes('internal error'), `${what}: ${err}`).toBe(false);
  const lines = err.split('\n').slice(0, -1);
  expect(
    lines.filter((line) => !line.startsWith('ext4: ')),
    what,
  ).toEqual([]);
  if (code !== 0) expect(lines.length, `${what} says nothing`).toBeGreaterThan(0);
  expect(/\n\s+at /.test(err), what).toBe(false);
}
