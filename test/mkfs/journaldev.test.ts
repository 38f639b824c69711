// Goal: a journal on a device of its own is made as mke2fs makes it, takes a file system as its user, and serves it.
// Method: the device byte by byte against mke2fs's; e2fsck with -j; our own mount; refusals that change nothing.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openFile } from '../../ts/block/node.ts';
import { mkfsSync, mountSync } from '../../ts/index.ts';
import { need } from '../need.ts';
import { NOW, ours, type Recipe, SEED, say, temporary, theirs, UUID } from './images.ts';

const MIB = 2 ** 20;
const FIXED = { uuid: '11111111-2222-4333-8444-555555555555', hashSeed: SEED, now: NOW };

need.describe('a journal device', [need.tool('mke2fs', 'e2fsck', 'dumpe2fs')], () => {
  const dir = temporary();
  const [log, image] = [join(dir, 'log.img'), join(dir, 'fs.img')];

  /** Makes the journal, and two file systems on it. */
  function make(blockSize: number): void {
    ours(log, { size: 16 * MIB, words: [], options: { blockSize, features: 'journal_dev' } });
    const journalDevice = openFile(log);
    const device = openFile(image, { create: true, size: 64 * MIB });
    mkfsSync(device, { ...FIXED, blockSize, journalDevice, journalDeviceNumber: 0x702 });
    // Once more: it is its user already.
    mkfsSync(device, { ...FIXED, blockSize, journalDevice, journalDeviceNumber: 0x702 });
    const other = { ...FIXED, blockSize, uuid: UUID, journalDevice };
    expect(() => mkfsSync(device, other)).toThrow(/belongs to another file system/);
    device.closeSync();
    journalDevice.closeSync();
  }

  test.each([1024, 4096])('is what mke2fs makes, with blocks of %i bytes', (blockSize) => {
    const size = 16 * MIB;
    const words = ['-t', 'ext4', '-b', String(blockSize), '-O', 'journal_dev', '-L', 'log'];
    const options = { blockSize, features: 'journal_dev', label: 'log' };
    const recipe: Recipe = { size, words, options };
    expect(theirs(dir, image, recipe).status).toBe(0);
    ours(log, recipe);
    const [a, b] = [image, log].map((path) => readFileSync(path));
    // Lifetime writes, and the checksum that covers them.
    for (const bytes of [a, b]) bytes.fill(0, 0x578, 0x580).fill(0, 0x7fc, 0x800);
    expect(a.equals(b)).toBe(true);
  });

  test.each([1024, 4096])(
    'takes one file system as its user, with blocks of %i bytes',
    (blockSize) => {
      make(blockSize);
      expect(say('dumpe2fs', [log]).out).toMatch(
        /Journal users: +11111111-2222-4333-8444-555555555555\n/,
      );
      const { out } = say('dumpe2fs', ['-h', image]);
      expect(out).toMatch(/Journal device:\s+0x0702/);
      expect(out).toMatch(new RegExp(`Journal UUID: +${UUID}`));
      expect(out).toMatch(/has_journal/);
      expect(say('e2fsck', ['-fn', '-j', log, image])).toMatchObject({ status: 0 });
    },
  );

  test('serves a mount of this library', () => {
    make(4096);
    const [device, journalDevice] = [openFile(image), openFile(log)];
    const img = mountSync(device, { journalDevice });
    expect(img.info().readOnly).toBe(false);
    img.mkdirSync('/made');
    img.unmountSync();
    device.closeSync();
    journalDevice.closeSync();
    expect(say('e2fsck', ['-fn', '-j', log, image])).toMatchObject({ status: 0 });
  });

  test('is refused when it is none, or has other blocks; then nothing is written', () => {
    make(1024);
    const [device, journalDevice] = [openFile(image), openFile(log)];
    const before = readFileSync(image);
    const options = { ...FIXED, blockSize: 4096, journalDevice };
    expect(() => mkfsSync(device, options)).toThrow(/blocks of 1024 bytes, not 4096/);
    const none = { ...FIXED, journalDevice: device };
    expect(() => mkfsSync(journalDevice, none)).toThrow(/holds no journal/);
    device.closeSync();
    journalDevice.closeSync();
    expect(before.equals(readFileSync(image))).toBe(true);
    const small = { size: MIB / 2, words: [], options: { features: 'journal_dev' } };
    expect(() => ours(join(dir, 'small.img'), small)).toThrow(/1024 at least/);
  });
});
