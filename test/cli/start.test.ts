// Goal: the tour ends well on good images, tells of what is wrong with bad ones, and its verification can fail.
// Method: it runs in this process on the embedded image, on copies of it, and on one with a byte changed; the
// comparison is given a wrong list.

import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openFile } from '../../ts/block/node.ts';
import { Call } from '../../ts/cli/args.ts';
import { grouped } from '../../ts/cli/format.ts';
import { embeddedImage, embeddedManifest } from '../../ts/cli/image.ts';
import { Io } from '../../ts/cli/io.ts';
import { compareWith } from '../../ts/cli/verify.ts';
import { mountSync } from '../../ts/index.ts';
import { ext4, smallWorld, temporary } from './harness.ts';

const dir = temporary();
const image = smallWorld(dir);
process.env.TMPDIR = dir; // tours of other test files are not seen
const tours = () => readdirSync(tmpdir()).filter((name) => name.startsWith('ext4-tour-'));

test('the source of the embedded image is small, and the image has what it should', () => {
  const source = new URL('../../ts/cli/image.ts', import.meta.url);
  expect(statSync(source).size).toBeLessThan(60_000);
  expect(embeddedImage().length).toBe(24 << 20);
  const lines = embeddedManifest().trim().split('\n');
  expect(lines.length).toBeGreaterThan(1040);
  expect(lines.filter((line) => line.startsWith('/many/')).length).toBe(1000);
});

test('without an image every check holds and nothing is left behind', {
  timeout: 60_000,
}, async () => {
  const before = tours();
  const { code, out, err } = await ext4('start');
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect(out.match(/✓/g)?.length).toBe(6);
  expect(out).not.toContain('✗');
  expect(out).toContain('replayed in memory');
  expect(out).toContain(`${grouped(embeddedManifest().trim().split('\n').length)} files: names`);
  expect(out).toMatch(/sha256 of 48\.\d MiB/);
  expect(out).toMatch(/4 KiB zero-copy view +[\d.]+ µs/);
  expect(tours()).toEqual(before);
});

test("the user's image is toured without being written to", { timeout: 60_000 }, async () => {
  const before = readFileSync(image);
  const { code, out, err } = await ext4('start', image);
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect(out).toContain('1,022 files have the same sha256');
  expect(readFileSync(image).equals(before)).toBe(true);
});

test('with --keep the files stay, where it says', { timeout: 60_000 }, async () => {
  const { out } = await ext4('start', '--keep', image);
  const kept = /The files are in (\S+)/.exec(out)?.[1] ?? '';
  expect(kept.startsWith(tmpdir())).toBe(true);
  expect(readFileSync(join(kept, 'files/etc/hostname'), 'utf8')).toBe('wonderland\n');
  (await import('node:fs')).rmSync(kept, { recursive: true });
});

test('a damaged directory is told of, and the code is 3', { timeout: 60_000 }, async () => {
  const bytes = embeddedImage();
  const at = bytes.indexOf('os-release'); // in the directory block of /etc
  bytes[at] ^= 1;
  const bad = join(dir, 'bad.img');
  writeFileSync(bad, bytes);
  const { code, err } = await ext4('start', bad);
  expect(code).toBe(3);
  expect(err).toMatch(/^(ext4: start \/etc: the image is damaged: [^\n]*\n)+$/);
});

test('an image that is none ends the tour with one line', async () => {
  const none = join(dir, 'none.img');
  writeFileSync(none, Buffer.alloc(1 << 16));
  const { code, err } = await ext4('start', none);
  expect(code).toBe(3);
  expect(err.split('\n').length).toBe(2);
  expect(existsSync(none)).toBe(true);
});

test('the comparison sees a changed, a missing and an extra file', async () => {
  const silent = { isTTY: false, columns: 80, write: async () => undefined };
  const call = new Call('start', new Io(silent, silent, {}, new AbortController().signal), {
    operands: [],
    values: new Map(),
  });
  const device = openFile(image, { readOnly: true });
  const img = mountSync(device, { journal: 'memory' });
  const lines = embeddedManifest().split('\n');
  const check = async (list: string[]) =>
    (await compareWith(call, img, list.join('\n'))).differences;
  expect(await check(lines)).toEqual([]);
  const hostname = lines.findIndex((line) => line.startsWith('/etc/hostname'));
  const changed = lines.with(hostname, lines[hostname].replace('100644', '100600'));
  expect(await check(changed)).toHaveLength(1);
  expect(await check(lines.toSpliced(hostname, 1))).toHaveLength(1);
  expect(await check([...lines, '/etc/ghost\t100644\t0:0\t1\t0\t0\t\t'])).toEqual([
    '/etc/ghost is missing',
  ]);
  img.unmountSync();
  device.closeSync();
});
