// Goal: values of xattrs in inodes of their own, as the kernel has them. Method: the same operations by the kernel and
// by us, then every entry's place, the counts of references, blocks and free inodes compared; one image that both
// change in turn; a power cut after every device write and flush, no room at any point, misses at every block: what is
// left is a state before or after an operation, and e2fsck finds nothing.

import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import * as F from '../../assembly/format/ext4.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import { record } from '../../ts/block/record.ts';
import { blockXattrs, inodeXattrs, type XattrEntry, xattrBlock } from '../../ts/ext4/xattr.ts';
import type { Flow } from '../../ts/flow.ts';
import { runFsckSync } from '../../ts/fsck/run.ts';
import { mount } from '../../ts/index.ts';
import { type FileSystem, mountVfsSync } from '../../ts/vfs/filesystem.ts';
import type { MountOptions } from '../../ts/vfs/options.ts';
import { apply as applyData, type Op } from '../data/oracleops.ts';
import { DEEP, need, ORACLES } from '../need.ts';
import { apply, bytes, treeOf } from './driver.ts';
import { contents, fsck, makeImage, recover, scratch, tool } from './images.ts';

/** The journals are large: the kernel has no room for a value of 64 blocks in one transaction of a small one. */
const IMAGES: Record<string, { args: string; size: number }> = {
  '4 KiB': { args: '-t ext4 -b 4096 -O ea_inode', size: 32 },
  '1 KiB': { args: '-t ext4 -b 1024 -O ea_inode -J size=4', size: 24 },
  'large inodes': { args: '-t ext4 -b 1024 -I 1024 -O ea_inode,orphan_file -J size=4', size: 24 },
  '128-byte inodes': {
    args: '-t ext4 -b 1024 -I 128 -O ea_inode,^metadata_csum -J size=4',
    size: 24,
  },
  bigalloc: { args: '-t ext4 -b 1024 -O ea_inode,bigalloc -C 4096 -J size=4', size: 24 },
  'no extents, no journal': {
    args: '-t ext4 -b 1024 -O ea_inode,^extent,^64bit,^has_journal',
    size: 24,
  },
  inline_data: { args: '-t ext4 -b 2048 -O ea_inode,inline_data', size: 24 },
};
const SMALL = { args: '-t ext4 -b 1024 -O ea_inode -J size=1 -N 128', size: 4 };

// ---- what is where

const holderOf = (fs: FileSystem, inum: number) => fs.vol.inodes.get(inum);

/** An entry without what differs from run to run: numbers of inodes. */
function shownEntry(fs: FileSystem, where: string, e: XattrEntry): string {
  const name = `${where} ${e.index}.${String.fromCharCode(...e.name)} ${e.size}`;
  if (e.inum === 0) return name;
  const holder = holderOf(fs, e.inum);
  const refs = holder.u32(F.I_CTIME) * 2 ** 32 + holder.u32(F.I_VERSION);
  const mode = holder.mode.toString(8);
  const flags = holder.flags.toString(16);
  const sectors = holder.u32(F.I_BLOCKS_LO);
  return `${name} elsewhere: ${refs} refs, ${mode}, ${flags}, ${holder.links}, ${sectors}`;
}

/** Each file of the root with the places of its xattrs, and what is free. */
function layout(image: Uint8Array): string[] {
  const device = memoryDevice(image, { sparse: true, readOnly: true });
  const fs = mountVfsSync(device);
  const cursor = fs.runSync(fs.openDir(bytes('/')));
  const lines: string[] = [];
  for (let more = fs.runSync(fs.readDir(cursor)); more.length > 0; ) {
    for (const { name } of more) {
      const path = String.fromCharCode(...name);
      const inode = fs.vol.inodes.get(fs.runSync(fs.resolve(bytes(`/${path}`), false)));
      const entries = [
        ...inodeXattrs(inode).map((e) => shownEntry(fs, 'inode', e)),
        ...blockXattrs(inode).map((e) => shownEntry(fs, 'block', e)),
      ];
      const block = xattrBlock(inode);
      const sharers =
        block && fs.vol.dv.getUint32(fs.vol.cache.get(block).ptr + F.H_REFCOUNT, true);
      const sectors = inode.u32(F.I_BLOCKS_LO);
      lines.push(`${path}: ${sectors} sectors, ${sharers} with its block`, ...entries.sort());
    }
    more = fs.runSync(fs.readDir(cursor));
  }
  const free = fs.runSync(fs.statfs(bytes('/')));
  fs.runSync(fs.unmount());
  return [...lines.sort(), `free: ${free.bfree} blocks, ${free.ffree} inodes`];
}

function ourFsck(image: Uint8Array): string[] {
  const device = memoryDevice(image, { sparse: true, readOnly: true });
  return runFsckSync(device, { force: true }).problems.map((p) => p.message);
}

function checkAll(image: Uint8Array, where: string): void {
  expect(fsck(image), where).toBe('');
  expect(ourFsck(image), where).toEqual([]);
}

// ---- the kernel and us

function byKernel(image: Uint8Array, ops: Op[]): { results: unknown[]; image: Uint8Array } {
  const path = scratch('ea-kernel.img');
  writeFileSync(path, image);
  const args = [join(import.meta.dirname, 'kernel.py'), ORACLES, path];
  const input = JSON.stringify({ ops });
  const out = execFileSync('python3', args, { input, encoding: 'utf8', maxBuffer: 64 << 20 });
  const { results, fsck: code } = JSON.parse(out);
  const after = new Uint8Array(readFileSync(path));
  rmSync(path);
  expect(code, 'e2fsck after the kernel').toBe(0);
  return { results, image: after };
}

function byUs(
  image: Uint8Array,
  ops: Op[],
  o: MountOptions = {},
): { results: unknown[]; image: Uint8Array } {
  const device = memoryDevice(image, { sparse: true });
  const fs = mountVfsSync(device, o);
  const results = ops.map((op) => applyData(fs, op));
  fs.runSync(fs.unmount());
  expect(fs.vol.cache.pinCount()).toBe(0);
  return { results, image: contents(device) };
}

const make = (path: string): Op => ['mknod', path, 0o100644, 0, 0];
const set = (path: string, name: string, size: number, from = size): Op =>
  [...(['setxattr', path, name, size, from, 0] as Op)] as Op;

/** Values of every size about the edges, alone in their file. */
function edges(): Op[] {
  const ops: Op[] = [];
  const sizes = [
    0, 1, 40, 60, 100, 500, 836, 837, 840, 841, 844, 848, 892, 896, 897, 960, 968, 969,
  ];
  const more = [1000, 1536, 1700, 1792, 1793, 1990, 2048, 3000, 3580, 3584, 3585, 4036, 4040, 4041];
  for (const size of [...sizes, ...more, 4096, 8192, 12_289, 30_000, 49_153, 65_535, 65_536]) {
    ops.push(make(`/size${size}`), set(`/size${size}`, 'user.a', size));
  }
  return ops;
}

/** Many names on one file, until no more fit; equal values; replaced and removed ones; several links; owners gone. */
function mixture(): Op[] {
  const ops: Op[] = [make('/many'), make('/few')];
  for (let i = 0; i < 60; i++) ops.push(set('/many', `user.${i}`, 100, i));
  for (let i = 0; i < 120; i++) ops.push(set('/few', `user.${i}`, 2000, i));
  for (const name of ['/x', '/y', '/z']) {
    ops.push(make(name), set(name, 'user.fill', 60));
    for (const size of [5000, 6000, 7000]) ops.push(set(name, `user.${size}`, size));
  }
  ops.push(set('/y', 'user.small', 3), set('/z', 'user.5000', 5001), [
    'rmxattr',
    '/x',
    'user.6000',
  ]);
  ops.push(make('/r'));
  // Blocks that say the same are shared, and left again.
  const sharing = ['/s1', '/s2', '/s3', '/s4', '/s5', '/s6'];
  for (const name of sharing) {
    ops.push(make(name), set(name, 'user.fill', 60), set(name, 'user.fill2', 60));
    for (const size of [5000, 6000, 7000, 8000]) ops.push(set(name, `user.${size}`, size));
  }
  ops.push(set('/s1', 'user.small', 3), set('/s2', 'user.5000', 9), [
    'rmxattr',
    '/s3',
    'user.6000',
  ]);
  ops.push(make('/t'), set('/t', 'user.fill', 60), set('/t', 'user.7000', 7000), ['unlink', '/t']);
  ops.push(['unlink', '/s6']);
  for (const size of [5000, 10, 6000, 300, 7000, 20_000, 0]) ops.push(set('/r', 'user.a', size));
  ops.push(make('/gone'), set('/gone', 'user.a', 5000), set('/gone', 'user.b', 60_000));
  ops.push(
    ['link', '/gone', '/gone2'],
    ['unlink', '/gone'],
    ['unlink', '/gone2'],
    ['unlink', '/few'],
  );
  ops.push(['mkdir', '/d', 0o755], set('/d', 'user.a', 9000), set('/d', 'trusted.b', 9000));
  ops.push(
    ['mkdir', '/e', 0o755],
    set('/e', 'user.a', 9000),
    ['rmdir', '/e'],
    ['rmxattr', '/d', 'user.a'],
  );
  return ops;
}

const kernel = [need.root(), need.loop(), need.oracles(), need.tool('mke2fs', 'e2fsck')];

need.describe('large values by the kernel and by us', kernel, () => {
  for (const [name, spec] of Object.entries(IMAGES)) {
    test(`${name}: each has the same place, count and result`, () => {
      const ops = [...edges(), ...mixture()];
      const image = makeImage(spec);
      const theirs = byKernel(image, ops);
      const misses = { forceMiss: true, cacheBytes: 6 << 20 };
      for (const o of DEEP ? [{}, misses] : [name.startsWith('1 KiB') ? misses : {}]) {
        const ours = byUs(image, ops, o);
        expect(ours.results).toEqual(theirs.results);
        expect(layout(ours.image)).toEqual(layout(theirs.image));
        checkAll(ours.image, name);
      }
      checkAll(theirs.image, `${name}, the kernel's`);
    }, 60_000);
  }

  test('each removes and replaces what the other made: nothing stays', () => {
    for (const name of DEEP ? Object.keys(IMAGES) : ['large inodes']) {
      const start = makeImage(IMAGES[name]);
      const empty = layout(start).at(-1);
      const ops = mixture();
      const files = ['/many', '/x', '/y', '/z', '/r', '/s1', '/s2', '/s3', '/s4', '/s5'];
      const change = ['/x', '/y', '/z', '/s4'].map((path): Op => set(path, 'user.7000', 50_000, 1));
      const remove = [...files.map((path): Op => ['unlink', path]), ['rmdir', '/d'] as Op];
      for (const [first, second] of [
        [byKernel, byUs],
        [byUs, byKernel],
      ]) {
        const made = first(start, ops).image;
        const changed = second(made, change);
        expect(changed.results).toEqual([0, 0, 0, 0]);
        checkAll(changed.image, name);
        const { results, image } = first(changed.image, [...change, ['sync']]);
        expect(results).toEqual([0, 0, 0, 0, 0]);
        const end = second(image, remove);
        expect(end.results).toEqual(remove.map(() => 0));
        checkAll(end.image, name);
        expect(layout(end.image).at(-1), `${name}: what is free in the end`).toBe(empty);
      }
    }
  }, 60_000);
});

// ---- ACLs

/** A default ACL of many users, in the form of the system call. */
function wireAcl(users: number): Uint8Array {
  const rows = [[1, 7, -1], ...Array.from({ length: users }, (_, i) => [2, 5, 1000 + i])];
  rows.push([4, 5, -1], [16, 7, -1], [32, 5, -1]);
  const dv = new DataView(new ArrayBuffer(4 + 8 * rows.length));
  dv.setUint32(0, 2, true);
  for (const [i, [tag, perm, id]] of rows.entries()) {
    dv.setUint16(4 + 8 * i, tag, true);
    dv.setUint16(6 + 8 * i, perm, true);
    dv.setInt32(8 + 8 * i, id, true);
  }
  return new Uint8Array(dv.buffer);
}

const tools = [need.tool('mke2fs', 'e2fsck', 'debugfs')];

need.describe('large ACLs', tools, () => {
  for (const users of [100, 400, 1400]) {
    test(`one of ${users} users is inherited, follows chmod, and goes`, () => {
      const device = memoryDevice(makeImage(IMAGES['1 KiB']), { sparse: true });
      const fs = mountVfsSync(device);
      const name = bytes('system.posix_acl_default');
      const acl = wireAcl(users);
      const dir = fs.runSync(fs.change.mkdir(bytes('/d'), 0o755));
      fs.runSync(fs.change.setxattr(dir, name, acl, {}));
      fs.runSync(fs.change.mkdir(bytes('/d/s'), 0o750));
      expect(fs.runSync(fs.getxattr(bytes('/d/s'), name, false))).toEqual(acl);
      const file = fs.runSync(fs.change.mknod(bytes('/d/f'), 0o100640));
      const access = bytes('system.posix_acl_access');
      expect(fs.runSync(fs.getxattr(bytes('/d/f'), access, false)).length).toBe(acl.length);
      fs.runSync(fs.change.setAttributes(file, { mode: 0o600 }));
      const after = fs.runSync(fs.getxattr(bytes('/d/f'), access, false));
      const mask = new DataView(after.buffer).getUint16(4 + 8 * (users + 2) + 2, true);
      expect(mask, 'the mask is the group of the mode').toBe(0);
      fs.runSync(fs.change.removexattr(dir, name));
      fs.runSync(fs.change.unlink(bytes('/d/f')));
      fs.runSync(fs.syncAll());
      fs.runSync(fs.unmount());
      checkAll(contents(device), `${users} users`);
    });
  }
});

// ---- nothing half done

const VALUE = (size: number, mark: string) =>
  mark.repeat(Math.ceil(size / mark.length)).slice(0, size);
const CUTS: [string, ...(string | number)[]][] = [
  ['mknod', '/a', 0o100644],
  ['setxattr', '/a', 'user.v', VALUE(65_536, 'first '), 0],
  ['mknod', '/b', 0o100644],
  ['setxattr', '/b', 'user.v', VALUE(65_536, 'first '), 0],
  ['setxattr', '/a', 'user.v', VALUE(9000, 'second '), 0],
  ['setxattr', '/a', 'user.w', VALUE(20_000, 'third '), 0],
  ['setxattr', '/b', 'user.v', 'small', 0],
  ['sync'],
  ['rmxattr', '/a', 'user.w'],
  ['unlink', '/a'],
  ['setxattr', '/b', 'user.x', VALUE(3000, '\xc0\x3b\x39\x98'), 0],
  ['unlink', '/b'],
];

const textOf = (fs: FileSystem) => treeOf(fs, { wide: true }).join('\n');

/** The operations recorded, each synced; the trees before and after each. */
function taken() {
  const image = makeImage(SMALL);
  const recorder = record(memoryDevice(image, { sparse: true }));
  const fs = mountVfsSync(recorder);
  const states = [textOf(fs)];
  for (const op of CUTS) {
    expect(apply(fs, op), JSON.stringify(op).slice(0, 60)).toBe('');
    fs.runSync(fs.syncAll());
    states.push(textOf(fs));
  }
  fs.runSync(fs.unmount());
  return { image, recorder, states };
}

/** What e2fsck may say of the orphans that a cut leaves. */
const HARMLESS = [
  /^e2fsck \d|recovering journal|^Pass \d|^Fix\? yes|^$|[Oo]rphan|FILE SYSTEM WAS MODIFIED/,
  /Superblock last (mount|write) time|Free (blocks|inodes) count wrong|Setting free/,
  /files \(.*non-contiguous\).*blocks$/,
];

/** Of an orphan that has such values e2fsck frees all but those, and finds them afterwards; the kernel leaves such
 *  orphans too. */
const OF_REMOVED =
  /^Unattached inode|^Connect to .lost.found|^Inode \d+ ref count is 2, should be 1/;

function e2fsckAfter(at: Uint8Array, states: string[], where: string, removed = false): void {
  const { code, text, after } = tool('e2fsck', ['-fy'], at);
  const harmless = removed ? [...HARMLESS, OF_REMOVED] : HARMLESS;
  const said = text.split('\n').filter((line) => !harmless.some((known) => known.test(line)));
  expect(said, `${where}\n${text}`).toEqual([]);
  expect(code, where).toBeLessThan(2);
  expect(fsck(after()), where).toBe('');
  expect(states, where).toContain(recover(after(), textOf).seen);
}

need.describe('a power cut between any two writes', tools, () => {
  test('leaves a tree before or after an operation', () => {
    const { image, recorder, states } = taken();
    const reached = new Set<string>();
    const every = DEEP ? 1 : 31;
    let cuts = 0;
    for (let clock = 0; clock <= recorder.clock; clock++) {
      const { pending } = recorder.cut(clock);
      for (const all of pending.length > 0 ? [false, true] : [false]) {
        const device = memoryDevice(image, { sparse: true });
        recorder.replaySync(device, (left) => (all ? left : []), clock);
        const where = `cut at ${clock} of ${recorder.clock}, last writes ${all ? 'done' : 'lost'}`;
        const at = contents(device);
        const { seen, image: after } = recover(at, textOf);
        expect(states, where).toContain(seen);
        reached.add(seen);
        if (cuts++ % every !== 0) continue;
        checkAll(after, where);
        e2fsckAfter(at, states, where, CUTS[states.lastIndexOf(seen) - 1]?.[0] === 'unlink');
      }
    }
    expect(reached.size, 'states reached').toBeGreaterThan(8);
  }, 120_000);
});

/** The first requests of a flow; what comes after them never happens. */
function* begun(flow: Flow<unknown>, requests: number): Flow<boolean> {
  let r = flow.next();
  for (let i = 0; i < requests && !r.done; i++) r = flow.next(yield r.value);
  return r.done === true;
}

/** An image with an operation stopped behind so many requests, all before that durable; null when it was through. */
function stopped(op: (fs: FileSystem, ino: number) => Flow<unknown>, requests: number) {
  const device = memoryDevice(makeImage(SMALL), { sparse: true });
  const fs = mountVfsSync(device);
  for (const first of CUTS.slice(0, 2)) expect(apply(fs, first)).toBe('');
  const before = textOf(fs);
  const ino = fs.runSync(fs.resolve(bytes('/a'), false));
  const through = fs.runSync(begun(op(fs, ino), requests));
  fs.runSync(fs.syncAll());
  if (through) return null;
  return { image: contents(device), states: [before, textOf(fs)], orphans: fs.vol.orphans.size };
}

const STOPPED: Record<string, (fs: FileSystem, ino: number) => Flow<unknown>> = {
  'setting a large value': (fs, ino) =>
    fs.change.setxattr(ino, bytes('user.new'), bytes(VALUE(60_000, 'x')), {}),
  'replacing one': (fs, ino) => fs.change.setxattr(ino, bytes('user.v'), bytes('y'), {}),
  'removing its owner': (fs) => fs.change.unlink(bytes('/a')),
};

need.describe('an operation that stopped between two steps', kernel, () => {
  for (const [name, op] of Object.entries(STOPPED)) {
    test(`${name}: the kernel, e2fsck and we free what it left`, () => {
      let orphans = 0;
      for (let n = 1; ; n++) {
        const left = stopped(op, n);
        if (left === null) break;
        const ours = recover(left.image, textOf);
        expect(left.states, `stopped after ${n}`).toContain(ours.seen);
        checkAll(ours.image, `stopped after ${n}`);
        if (left.orphans === 0 || (orphans++ > 1 && !DEEP)) continue;
        e2fsckAfter(left.image, left.states, `stopped after ${n}`, name === 'removing its owner');
        const theirs = byKernel(left.image, []).image;
        expect(layout(theirs), `stopped after ${n}`).toEqual(layout(ours.image));
      }
      expect(orphans, 'steps that leave an orphan').toBeGreaterThan(0);
    }, 60_000);
  }
});

need.describe('a transaction of the user’s', tools, () => {
  test.each([true, false])(
    'taken back, its values are gone (direct memory: %s)',
    async (direct) => {
      const device = memoryDevice(makeImage(IMAGES['1 KiB']), { sparse: !direct });
      const fs = await mount(device);
      const [first, second] = [VALUE(60_000, 'first'), VALUE(9000, 'second')].map(bytes);
      await fs.promises.writeFile('/a', 'data');
      await fs.promises.setxattr('/a', 'user.v', first);
      const { bfree, ffree } = await fs.promises.statfs('/');
      const failing = fs.transaction(async (tx) => {
        await tx.promises.setxattr('/a', 'user.w', second);
        await tx.promises.setxattr('/a', 'user.v', second);
        await tx.promises.writeFile('/b', '');
        await tx.promises.setxattr('/b', 'user.v', second);
        throw new Error('no');
      });
      await expect(failing).rejects.toThrow('no');
      expect(new Uint8Array(await fs.promises.getxattr('/a', 'user.v'))).toEqual(first);
      expect(await fs.promises.statfs('/')).toMatchObject({ bfree, ffree });
      await fs.promises.setxattr('/a', 'user.w', second);
      await fs.transaction(async (tx) => tx.promises.setxattr('/a', 'user.v', second));
      expect(new Uint8Array(await fs.promises.getxattr('/a', 'user.v'))).toEqual(second);
      await fs.unmount();
      checkAll(contents(device as never), 'afterwards');
    },
  );
});

/** A file system whose free blocks lie apart, `left` of them; and one with none. */
function crowded(left: number): ReturnType<typeof memoryDevice> {
  const device = memoryDevice(makeImage(SMALL), { sparse: true });
  const fs = mountVfsSync(device);
  const free = fs.runSync(fs.statfs(bytes('/'))).bfree;
  const block = new Uint8Array(1024).fill(7);
  const fds: number[] = [];
  for (const path of ['/keep', '/holes']) fds.push(fs.runSync(fs.open(bytes(path), 0o102, 0o644)));
  for (let i = 0; i < free; i++) {
    const fd = fds[i % 2];
    try {
      fs.runSync(fs.data.write(fd, block, Math.floor(i / 2) * 1024));
      fs.runSync(fs.data.fsync(fd, true));
    } catch {
      break;
    }
  }
  for (const fd of fds) fs.runSync(fs.close(fd));
  const { size } = fs.runSync(fs.stat(bytes('/holes'), false));
  fs.runSync(fs.data.truncate(bytes('/holes'), Math.max(0, size - left * 1024)));
  fs.runSync(fs.syncAll());
  fs.runSync(fs.unmount());
  return device;
}

need.describe('too little room', tools, () => {
  test('with any number of blocks left a value is set whole, or nothing changes', () => {
    let done = 0;
    let full = 0;
    const device = crowded(90);
    const base = contents(device);
    for (let spare = 0; spare < 90; spare += DEEP ? 1 : 11) {
      const copy = memoryDevice(base.slice(), { sparse: true });
      const fs = mountVfsSync(copy, { forceMiss: spare % 4 === 0 });
      expect(apply(fs, ['mknod', '/f', 0o100644])).toBe('');
      expect(apply(fs, ['setxattr', '/f', 'user.old', VALUE(1500, 'old'), 0])).toBe('');
      const fd = fs.runSync(fs.open(bytes('/filler'), 0o102, 0o644));
      fs.runSync(fs.data.write(fd, new Uint8Array(spare * 1024).fill(1), 0));
      fs.runSync(fs.close(fd));
      fs.runSync(fs.syncAll());
      const before = textOf(fs);
      const inodes = fs.runSync(fs.statfs(bytes('/'))).ffree;
      const code = apply(fs, ['setxattr', '/f', 'user.new', VALUE(64_000, 'new'), 0]);
      if (code === '') done++;
      else {
        expect(code).toBe('ENOSPC');
        full++;
        expect(textOf(fs)).toBe(before);
        expect(fs.runSync(fs.statfs(bytes('/'))).ffree, 'no inode is lost').toBe(inodes);
        expect(fs.vol.orphans.size).toBe(0);
      }
      fs.runSync(fs.unmount());
      checkAll(contents(copy), `${spare} blocks filled`);
    }
    expect([done > 0, full > 0], `${done} done, ${full} full`).toEqual([true, true]);
  }, 60_000);
});
