// What has no name but is open: it lives until its last close, a crash or the unmount removes it,
// and nothing is lost. With an orphan file it has a slot there, with the chain when that is full;
// what a crash leaves is removed by us, by the kernel and by e2fsck.

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import * as F from '../../assembly/format/ext4.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import { record } from '../../ts/block/record.ts';
import { Super } from '../../ts/ext4/super.ts';
import { type FileSystem, mountVfsSync } from '../../ts/vfs/filesystem.ts';
import type { MountOptions } from '../../ts/vfs/options.ts';
import { random } from '../fuzz/random.ts';
import { DEEP, need, ORACLES } from '../need.ts';
import { apply, bytes, treeOf } from './driver.ts';
import { contents, fsck, makeImage, recover, SETS, scratch, tool } from './images.ts';
import type { Op } from './model.ts';

const must = (fs: FileSystem, op: Op) => expect(apply(fs, op), JSON.stringify(op)).toBe('');
const superOf = (image: Uint8Array) => new Super(image.slice(F.SB_OFFSET, F.SB_OFFSET + F.SB_SIZE));
const isPresent = (image: Uint8Array) =>
  (superOf(image).roCompat & F.RO_COMPAT_ORPHAN_PRESENT) !== 0;

/** One block: 254 slots. */
const SMALL = { args: '-t ext4 -b 1024 -O orphan_file -E orphan_file_size=1k -N 1024', size: 16 };
const MANY = 300;

/** Files with data and xattrs of their own, open and without a name. */
function unlinked(fs: FileSystem, count: number): number[] {
  const fds: number[] = [];
  for (let i = 0; i < count; i++) {
    fds.push(fs.runSync(fs.open(bytes(`/open${i}`), 0o102, 0o644)));
    if (i % 10 === 0) must(fs, ['setxattr', `/open${i}`, 'user.big', `${i}`.repeat(300), 0]);
    fs.runSync(fs.data.write(fds[i], bytes(`data of ${i}`), 0));
  }
  fs.runSync(fs.syncAll());
  for (let i = 0; i < count; i++) must(fs, ['unlink', `/open${i}`]);
  return fds;
}

need.describe('unlinked while open', [need.tool('mke2fs', 'e2fsck')], () => {
  for (const name of ['ext2', 'ext3', 'ext4 1k', 'orphan_file', 'bigalloc']) {
    test(`${name}: removed by the last close, by recovery, by the unmount`, () => {
      const device = memoryDevice(makeImage(SETS[name]), { sparse: true });
      const fs = mountVfsSync(device);
      const fds = ['/a', '/b', '/c', '/d'].map((path) => {
        must(fs, ['mknod', path, 0o100644]);
        must(fs, ['setxattr', path, 'user.big', path.repeat(300), 0]);
        return fs.runSync(fs.open(path, 0));
      });
      for (const path of ['/a', '/b', '/c']) must(fs, ['unlink', path]);
      must(fs, ['mknod', '/e', 0o100644]);
      must(fs, ['rename', '/e', '/d', 0]);
      expect(fs.runSync(fs.fstat(fds[1])).nlink).toBe(0);
      fs.runSync(fs.close(fds[1]));
      fs.runSync(fs.syncAll());
      const journal = fs.vol.sb.hasJournal;
      if (journal) {
        const { seen, image } = recover(contents(device), (copy) => ({ ...copy.vol.free }));
        expect(fsck(image)).toBe('');
        expect(seen.inodes, 'three orphans removed').toBe((fs.vol.free?.inodes ?? 0) + 3);
      }
      fs.runSync(fs.unmount());
      expect(fsck(contents(device))).toBe('');
      const again = mountVfsSync(memoryDevice(contents(device), { sparse: true }));
      expect(again.runSync(again.stat(bytes('/d'), false)).nlink).toBe(1);
    });
  }
});

/** A live image with orphans in both places, as a power cut after a sync leaves it. */
function crashed(o: MountOptions = {}): { image: Uint8Array; free: number } {
  const device = memoryDevice(makeImage(SMALL), { sparse: true });
  const fs = mountVfsSync(device, o);
  must(fs, ['mkdir', '/stays', 0o755]);
  fs.runSync(fs.syncAll());
  const free = fs.vol.free?.inodes ?? 0;
  unlinked(fs, MANY);
  fs.runSync(fs.syncAll());
  const slots = [...fs.vol.orphans.values()];
  expect(slots.filter((slot) => slot >= 0).length, 'in the file').toBe(254);
  expect(slots.filter((slot) => slot < 0).length, 'on the chain').toBe(MANY - 254);
  return { image: contents(device), free };
}

need.describe('the orphan file', [need.tool('mke2fs', 'e2fsck', 'debugfs')], () => {
  test('has what is open and unlinked, the chain nothing, and the superblock says so', () => {
    const device = memoryDevice(makeImage(SETS.orphan_file), { sparse: true });
    expect(isPresent(contents(device))).toBe(false);
    const fs = mountVfsSync(device);
    expect(isPresent(contents(device)), 'from the mount on').toBe(true);
    const fds = unlinked(fs, 3);
    const inos = fds.map((fd) => fs.runSync(fs.fstat(fd)).ino);
    fs.runSync(fs.syncAll());
    const { text } = tool('debugfs', ['-R', 'list_deleted_inodes'], contents(device));
    expect(text).not.toMatch(/checksum/i);
    expect(superOf(contents(device)).lastOrphan).toBe(0);
    expect([...fs.vol.orphans.keys()].sort()).toEqual([...inos].sort());
    expect([...fs.vol.orphans.values()].sort()).toEqual([0, 1, 2]);
    fs.runSync(fs.close(fds[1]));
    must(fs, ['mknod', '/next', 0o100644]);
    fs.runSync(fs.open(bytes('/next'), 0));
    must(fs, ['unlink', '/next']);
    expect([...fs.vol.orphans.values()].sort(), 'a free slot is used again').toEqual([0, 1, 2]);
    fs.runSync(fs.unmount());
    expect(isPresent(contents(device)), 'after a clean end').toBe(false);
    expect(fsck(contents(device))).toBe('');
  });

  for (const forceMiss of [false, true]) {
    test(`full, the rest is on the chain; both are removed by recovery (misses: ${forceMiss})`, () => {
      const { image, free } = crashed({ forceMiss });
      const o = { forceMiss };
      const after = recover(image, (fs) => fs.vol.free?.inodes, o);
      expect(after.seen).toBe(free);
      expect(fsck(after.image)).toBe('');
      expect(isPresent(after.image)).toBe(false);
    });
  }

  test('a file that is closed leaves its slot, in any order; nothing is left at the end', () => {
    const device = memoryDevice(makeImage(SMALL), { sparse: true });
    const fs = mountVfsSync(device);
    const fds = unlinked(fs, MANY);
    const r = random(1);
    while (fds.length > 0) fs.runSync(fs.close(fds.splice(r.int(fds.length), 1)[0]));
    expect(fs.vol.orphans.size).toBe(0);
    fs.runSync(fs.unmount());
    expect(fsck(contents(device))).toBe('');
  });

  test('a transaction that is taken back leaves no slot taken', async () => {
    const device = memoryDevice(makeImage(SMALL), { sparse: true });
    const fs = mountVfsSync(device);
    const [open] = unlinked(fs, 1);
    const back = fs.transaction(async (inner) => {
      inner.runSync(inner.close(open));
      const fd = inner.runSync(inner.open(bytes('/gone'), 0o102, 0o644));
      must(inner, ['unlink', '/gone']);
      expect(inner.runSync(inner.fstat(fd)).nlink).toBe(0);
      throw new RangeError('back');
    });
    await expect(back).rejects.toThrow('back');
    expect([...fs.vol.orphans.values()]).toEqual([0]);
    fs.runSync(fs.unmount());
    expect(fsck(contents(device))).toBe('');
  });

  test('e2fsck -fy removes what a crash left in file and chain', () => {
    const { image } = crashed();
    const { code, text, after } = tool('e2fsck', ['-fy'], image);
    expect(code, text).toBeLessThan(2);
    expect(text.match(/Clearing orphaned inode/g)?.length, text).toBe(MANY);
    expect(text).not.toMatch(/checksum|corrupt|invalid/i);
    expect(fsck(after())).toBe('');
  });
});

need.describe('the kernel', [need.root(), need.loop(), need.oracles(), need.tool('mke2fs')], () => {
  test('removes what our crash left in file and chain', () => {
    const { image, free } = crashed();
    const path = scratch('kernel');
    writeFileSync(path, image);
    const args = [join(import.meta.dirname, 'kernel.py'), ORACLES, path];
    const done = execFileSync('python3', args, { input: '{"ops":[]}', encoding: 'utf8' });
    expect(JSON.parse(done).fsck).toBe(0);
    const after = new Uint8Array(readFileSync(path));
    expect(superOf(after).freeInodes).toBe(free);
    expect(superOf(after).lastOrphan).toBe(0);
    expect(isPresent(after)).toBe(false);
  });
});

/** A device recorded while files come, lose their names open, shrink, are closed. */
function recorded(seed: number) {
  const image = makeImage({ ...SMALL, size: 8 });
  const recorder = record(memoryDevice(image, { sparse: true }));
  const fs = mountVfsSync(recorder);
  const r = random(seed);
  const open: number[] = [];
  for (let i = 0; i < 24; i++) {
    const fd = fs.runSync(fs.open(bytes(`/f${i}`), 0o102, 0o644));
    fs.runSync(fs.data.write(fd, new Uint8Array(1 + r.int(5000)), 0));
    if (r.chance(0.7)) must(fs, ['unlink', `/f${i}`]);
    else fs.runSync(fs.data.truncate(fd, r.int(600)));
    open.push(fd);
    if (r.chance(0.4)) fs.runSync(fs.close(open.splice(r.int(open.length), 1)[0]));
    if (r.chance(0.3)) fs.runSync(fs.syncAll());
  }
  fs.runSync(fs.unmount());
  return { image, recorder };
}

need.describe('a power cut among orphans', [need.tool('mke2fs', 'e2fsck')], () => {
  const seed = Number(process.env.EXT4_SEED ?? 1);
  test(`at any moment: recovery leaves none and loses nothing (seed ${seed})`, () => {
    const { image, recorder } = recorded(seed);
    const r = random(seed);
    let orphans = 0;
    for (let clock = 0; clock <= recorder.clock; clock++) {
      const device = memoryDevice(image, { sparse: true });
      recorder.replaySync(device, (pending) => pending.filter(() => r.chance(0.5)), clock);
      const at = contents(device);
      const after = recover(at, (fs) => treeOf(fs, { wide: true }).length);
      expect(isPresent(after.image)).toBe(false);
      if (!DEEP && clock % 6 !== seed % 6) continue;
      const where = `cut at ${clock} of ${recorder.clock}, seed ${seed}`;
      expect(fsck(after.image), where).toBe('');
      const { code, text } = tool('e2fsck', ['-fy'], at);
      expect(code, `${where}\n${text}`).toBeLessThan(2);
      orphans += text.match(/orphaned inode/g)?.length ?? 0;
    }
    expect(orphans, 'orphans seen by e2fsck').toBeGreaterThan(5);
  });
});
