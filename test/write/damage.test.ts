// A broken record met by a mount that writes: errors=continue notes it in the superblock and goes on, remount-ro lets
// nothing change from then on, panic lets nothing be done at all; without the option the superblock says which. The
// operation that met it fails either way. dumpe2fs reads the note; a mount that only reads writes none.

import { expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { Ext4Error } from '../../ts/errno.ts';
import { type FileSystem, mountVfs, mountVfsSync } from '../../ts/vfs/filesystem.ts';
import type { MountOptions } from '../../ts/vfs/options.ts';
import { need } from '../need.ts';
import { slowDevice } from '../slow.ts';
import { apply, applyAsync, bytes } from './driver.ts';
import { contents, makeImage, tool } from './images.ts';

const SPECS = {
  checksums: { args: '-t ext4 -b 1024 -J size=1 -N 256', size: 6, code: 'EBADMSG' },
  'no checksums': { args: '-t ext3 -b 4096 -N 256', size: 24, code: 'EUCLEAN' },
  'no journal': { args: '-t ext4 -b 1024 -O ^has_journal -N 256', size: 6, code: 'EBADMSG' },
};

type Spec = { args: string; size: number; code: string };

/** An image whose directory /d has a broken block, beside a sound one /e. */
function broken({ args, size, code }: Spec, more = ''): Uint8Array {
  const device = memoryDevice(makeImage({ args: args + more, size }), { sparse: true });
  const fs = mountVfsSync(device);
  for (const dir of ['/d', '/e']) {
    expect(apply(fs, ['mkdir', dir, 0o755])).toBe('');
    expect(apply(fs, ['mknod', `${dir}/x`, 0o100644])).toBe('');
  }
  const { blockSize } = fs.vol.sb;
  fs.runSync(fs.unmount());
  const image = contents(device);
  const block = Number(tool('debugfs', ['-R', 'blocks /d'], image).text.match(/^(\d+)\s*$/m)?.[1]);
  expect(block).toBeGreaterThan(0);
  // A letter of the third entry's name, which only a checksum tells; or the length of the second entry.
  if (code === 'EBADMSG') image[block * blockSize + 24 + 8] = 0x79;
  else image[block * blockSize + 12 + 4] = 3;
  return image;
}

function codeOf(act: () => unknown): string {
  try {
    act();
    return '';
  } catch (error) {
    if (error instanceof Ext4Error) return error.code;
    throw error;
  }
}

const meet = (fs: FileSystem): string => codeOf(() => fs.runSync(fs.stat(bytes('/d/x'), false)));
const other = (fs: FileSystem): string => codeOf(() => fs.runSync(fs.stat(bytes('/e/x'), false)));

function note(image: Uint8Array): Record<string, string> {
  const { text } = tool('dumpe2fs', ['-h'], image);
  const lines = [...text.matchAll(/^([A-Z][\w #]+?):\s+(.*)$/gm)];
  return Object.fromEntries(lines.map(([, key, value]) => [key, value.trim()]));
}

const tools = need.tool('mke2fs', 'debugfs', 'dumpe2fs');

need.describe('a broken record on a mount that writes', [tools], () => {
  for (const [name, spec] of Object.entries(SPECS)) {
    test(`${name}: errors=continue notes it in the superblock, and goes on`, () => {
      const device = memoryDevice(broken(spec), { sparse: true });
      const fs = mountVfsSync(device, { errors: 'continue' });
      const seen: unknown[] = [];
      fs.trace.listen('damage', (_, event) => seen.push(event.policy));
      expect(meet(fs)).toBe(spec.code);
      expect(apply(fs, ['mkdir', '/e/new', 0o755])).toBe('');
      expect(apply(fs, ['unlink', '/d/x'])).toBe(spec.code);
      fs.runSync(fs.syncAll());
      expect(seen).toEqual(['continue', 'continue']);
      expect(fs.readOnly).toBe(false);
      fs.runSync(fs.unmount());
      const after = note(contents(device));
      expect(after['Filesystem state']).toBe('clean with errors');
      expect(after['FS Error count']).toBe('2');
      expect(after['First error function']).toBe('directory');
      const err = spec.code === 'EBADMSG' ? 'EFSBADCRC' : 'EFSCORRUPTED';
      expect(after['Last error err']).toBe(err);
      expect(Number(after['Last error inode #'])).toBeGreaterThan(10);
    });

    test(`${name}: errors=remount-ro lets nothing change any more`, () => {
      const device = memoryDevice(broken(spec), { sparse: true });
      const fs = mountVfsSync(device, { errors: 'remount-ro' });
      expect(apply(fs, ['mkdir', '/e/before', 0o755])).toBe('');
      fs.runSync(fs.syncAll());
      expect(apply(fs, ['mkdir', '/e/lost', 0o755])).toBe('');
      expect(meet(fs)).toBe(spec.code);
      expect(fs.readOnly).toBe(true);
      expect(apply(fs, ['mkdir', '/e/new', 0o755])).toBe('EROFS');
      expect(apply(fs, ['sync'])).toBe('EROFS');
      expect(other(fs)).toBe('');
      fs.runSync(fs.unmount());
      const again = mountVfsSync(device, { errors: 'continue' });
      expect(codeOf(() => again.runSync(again.stat(bytes('/e/before'), false)))).toBe('');
      expect(codeOf(() => again.runSync(again.stat(bytes('/e/lost'), false)))).toBe('ENOENT');
      again.runSync(again.unmount());
      if (again.vol.sb.hasJournal) {
        expect(note(contents(device))['Filesystem state']).toBe('clean with errors');
      }
    });
  }

  test('errors=panic: every call is EIO', () => {
    const fs = mountVfsSync(memoryDevice(broken(SPECS.checksums)), { errors: 'panic' });
    expect(other(fs)).toBe('');
    expect(meet(fs)).toBe('EBADMSG');
    expect(other(fs)).toBe('EIO');
    expect(apply(fs, ['mkdir', '/e/new', 0o755])).toBe('EIO');
    fs.runSync(fs.unmount());
  });

  test('without the option the superblock says', () => {
    for (const policy of ['continue', 'remount-ro']) {
      const image = broken(SPECS.checksums, ` -e ${policy}`);
      for (const errors of [undefined, 'continue'] as MountOptions['errors'][]) {
        const fs = mountVfsSync(memoryDevice(image), { errors });
        expect(meet(fs)).toBe('EBADMSG');
        expect(fs.readOnly, `${policy}, option ${errors}`).toBe(
          policy === 'remount-ro' && errors === undefined,
        );
        fs.runSync(fs.unmount());
      }
    }
  });

  test('a mount that only reads writes nothing', () => {
    const image = broken(SPECS.checksums);
    const device = memoryDevice(image, { sparse: true });
    const fs = mountVfsSync(device, { ro: true, errors: 'continue' });
    expect(meet(fs)).toBe('EBADMSG');
    fs.runSync(fs.unmount());
    expect(Buffer.compare(contents(device), image)).toBe(0);
  });

  for (const errors of ['continue', 'remount-ro', 'panic'] as const) {
    test(`errors=${errors} on a device that lets one wait`, async () => {
      const memory = memoryDevice(broken(SPECS.checksums), { sparse: true });
      const device = slowDevice(memory, { order: 'random', stable: true });
      const fs = await mountVfs(device, { errors });
      const stat = (path: string) =>
        fs.run(fs.stat(bytes(path), false)).then(() => '', codeOfError);
      expect(await stat('/d/x')).toBe('EBADMSG');
      expect(await stat('/e/x')).toBe(errors === 'panic' ? 'EIO' : '');
      const wanted = { continue: '', 'remount-ro': 'EROFS', panic: 'EIO' }[errors];
      expect(await applyAsync(fs, ['mkdir', '/e/new', 0o755])).toBe(wanted);
      await fs.run(fs.unmount());
      const state = note(contents(memory))['FS Error count'];
      expect(state).toBe(errors === 'continue' ? '1' : undefined);
      expect(fs.vol.cache.pinCount()).toBe(0);
    });
  }
});

function codeOfError(error: unknown): string {
  if (error instanceof Ext4Error) return error.code;
  throw error;
}
