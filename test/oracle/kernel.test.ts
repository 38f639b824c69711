// Goal: what the kernel's own ext4 shows of an image, we show: contents, names, stat with times and sectors, xattrs,
// statfs, extents and segments. Method: images of every combination of features that this kernel mounts are made by
// mke2fs, filled through a loop mount by populate.py, and read by both.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openFile } from '../../ts/block/node.ts';
import { type Ext4, mount, mountSync } from '../../ts/index.ts';
import { DEEP, need } from '../need.ts';
import { DEEP_RECIPES, type Extra, type KernelReading, makeImage, RECIPES } from './make.ts';
import { differences, dumpTree, escapeName, promiseFace, syncFace } from './state.ts';

const recipes = Object.entries(DEEP ? { ...RECIPES, ...DEEP_RECIPES } : RECIPES);
const NEEDS = [need.root(), need.loop(), need.oracles(), need.tool('mke2fs', 'tune2fs', 'python3')];

need.describe('images that the kernel filled', NEEDS, () => {
  const dir = mkdtempSync(join(tmpdir(), 'kernel-'));
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  describe.each(recipes)('%s', (name, recipe) => {
    let path: string;
    let kernel: KernelReading;
    let fs: Ext4;
    let names: Map<string, Buffer>;

    beforeAll(() => {
      ({ path, kernel } = makeImage(dir, name, recipe));
      fs = mountSync(openFile(path, { readOnly: true }), { ro: true });
      names = rawPaths(fs);
    });

    afterAll(() => {
      fs.unmountSync();
      rmSync(path);
    });

    /** Every path that the kernel shows, with what it says and our name for it. */
    function each(check: (extra: Extra, path: Buffer, shown: string) => string[]): string[] {
      return Object.entries(kernel.extra).flatMap(([shown, extra]) => {
        const raw = names.get(shown);
        return raw === undefined ? [`${shown}: missing`] : check(extra, raw, shown);
      });
    }

    test('was filled with every kind of file', () => {
      expect(Object.keys(kernel.state).length).toBeGreaterThan(1600);
      expect(Object.values(kernel.state).filter(({ err }) => err && !/ENOKEY/.test(err))).toEqual(
        [],
      );
    });

    test('has the same tree: names, modes, owners, sizes, contents, xattrs, segments', async () => {
      const ours = await dumpTree(syncFace(fs), { maxRecords: 1e6 });
      expect(differences(ours, kernel.state)).toEqual([]);
    });

    test('has the same tree when every block misses first, by promises', async () => {
      const device = openFile(path, { readOnly: true });
      const other = await mount(device, { ro: true, forceMiss: true, cacheBytes: 12 << 20 });
      const ours = await dumpTree(promiseFace(other), { maxRecords: 1e6 });
      expect(differences(ours, kernel.state)).toEqual([]);
      await other.unmount();
    });

    test('has the same inode numbers, times, sectors and block sizes', () => {
      const faults = each((extra, raw, shown) => {
        const st = fs.lstatSync(raw, { bigint: true });
        const pairs: [string, unknown, unknown][] = [
          ['ino', Number(st.ino), extra.ino],
          ['blocks', Number(st.blocks), extra.blocks],
          ['blksize', Number(st.blksize), extra.blksize],
          ['atime', String(st.atimeNs), extra.atime],
          ['mtime', String(st.mtimeNs), extra.mtime],
          ['ctime', String(st.ctimeNs), extra.ctime],
        ];
        if (extra.btime !== undefined) pairs.push(['btime', String(st.birthtimeNs), extra.btime]);
        return pairs.flatMap(([what, got, want]) =>
          got === want ? [] : [`${shown}: ${what} is ${got}, kernel ${want}`],
        );
      });
      expect(faults).toEqual([]);
    });

    test('has the same extents', () => {
      const bs =
        kernel.statfs.bsize > 4096 || recipe.has.includes('bigalloc')
          ? blockSize(fs)
          : kernel.statfs.bsize;
      const faults = each((extra, raw, shown) => {
        if (extra.fiemap === undefined) return [];
        const fd = fs.openSync(raw, 'r');
        const ours = fs.extentsSync(fd);
        fs.closeSync(fd);
        const [got, want] = [ourRuns(ours), kernelRuns(extra.fiemap, bs)];
        return got === want ? [] : [`${shown}: extents ${got}, kernel ${want}`];
      });
      expect(faults).toEqual([]);
    });

    test('has the same types in directory entries', () => {
      const faults: string[] = [];
      let seen = 0;
      for (const [shown, raw] of names) {
        if (kernel.state[shown]?.t !== 'd') continue;
        for (const entry of entries(fs, raw)) {
          const path = escapeName(join2(raw, Buffer.from(entry.name)));
          const kind = TYPES.find(([, is]) => entry[is]())?.[0];
          if (kind !== kernel.state[path]?.t) faults.push(`${path}: ${kind}`);
          seen++;
        }
      }
      expect(faults).toEqual([]);
      expect(seen).toBe(names.size - 1);
    });

    test('has the same chattr flags', () => {
      const faults = each((extra, raw, shown) => {
        if (extra.flags === undefined) return [];
        const ours = bitsOf(fs.getFlagsSync(raw));
        const want = extra.flags & SHOWN_FLAGS;
        return (ours & SHOWN_FLAGS) === want
          ? []
          : [`${shown}: flags ${ours.toString(16)}, kernel ${want.toString(16)}`];
      });
      expect(faults).toEqual([]);
    });

    test('has the same statfs', () => {
      const { bsize, blocks, bfree, bavail, files, ffree } = fs.statfsSync('/');
      expect({ bsize, blocks, bfree, bavail, files, ffree }).toEqual(kernel.statfs);
    });

    if (recipe.has.includes('encrypt')) {
      test('refuses encrypted contents one by one, and names that are no names', () => {
        const inside = [...names].filter(([shown]) => shown.startsWith('/secret/'));
        expect(inside.length).toBe(5);
        for (const [shown, raw] of inside) {
          if (kernel.state[shown].t === 'f') expect(() => fs.readFileSync(raw)).toThrow(/ENOKEY/);
        }
        expect(() => fs.readFileSync('/secret/file')).toThrow(/ENOENT|ENOKEY/);
        expect(fs.readFileSync('/reg/big').length).toBe((1 << 20) + 321);
      });
    }
  });
});

/** FS_*_FL of linux/fs.h, by our names. */
const FLAG_BITS: Record<string, number> = {
  secureDelete: 0x1,
  undelete: 0x2,
  compressed: 0x4,
  sync: 0x8,
  immutable: 0x10,
  append: 0x20,
  noDump: 0x40,
  noAtime: 0x80,
  encrypted: 0x800,
  index: 0x1000,
  journalData: 0x4000,
  noTail: 0x8000,
  dirSync: 0x10000,
  topDir: 0x20000,
  hugeFile: 0x40000,
  extents: 0x80000,
  verity: 0x100000,
  eaInode: 0x200000,
  dax: 0x2000000,
  inlineData: 0x10000000,
  projectInherit: 0x20000000,
  casefold: 0x40000000,
};
const SHOWN_FLAGS = Object.values(FLAG_BITS).reduce((sum, bit) => sum | bit, 0);

function bitsOf(flags: Record<string, boolean>): number {
  return Object.entries(FLAG_BITS).reduce((sum, [name, bit]) => (flags[name] ? sum | bit : sum), 0);
}

type Is =
  | 'isDirectory'
  | 'isFile'
  | 'isSymbolicLink'
  | 'isFIFO'
  | 'isSocket'
  | 'isBlockDevice'
  | 'isCharacterDevice';
const TYPES: [string, Is][] = [
  ['d', 'isDirectory'],
  ['f', 'isFile'],
  ['l', 'isSymbolicLink'],
  ['p', 'isFIFO'],
  ['s', 'isSocket'],
  ['b', 'isBlockDevice'],
  ['c', 'isCharacterDevice'],
];

function entries(fs: Ext4, path: Buffer): ({ name: Buffer } & Record<Is, () => boolean>)[] {
  const options = { encoding: 'buffer', withFileTypes: true } as const;
  return fs.readdirSync(path, options) as unknown as ReturnType<typeof entries>;
}

function join2(dir: Buffer, name: Buffer): Buffer {
  return Buffer.concat(dir.length === 1 ? [dir, name] : [dir, Buffer.from('/'), name]);
}

function blockSize(fs: Ext4): number {
  return fs.info().blockSize;
}

/** Our own names of all paths, by the way the kernel's state spells them. */
function rawPaths(fs: Ext4): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  const queue: Buffer[] = [Buffer.from('/')];
  for (let path: Buffer | undefined = queue.pop(); path; path = queue.pop()) {
    found.set(escapeName(path), path);
    if (!fs.lstatSync(path).isDirectory()) continue;
    const list = fs.readdirSync(path, { encoding: 'buffer' }) as unknown as Buffer[];
    for (const name of list) queue.push(join2(path, Buffer.from(name)));
  }
  return found;
}

const FIEMAP_EXTENT_LAST = 0x1;
const FIEMAP_EXTENT_DATA_INLINE = 0x200;
const FIEMAP_EXTENT_UNWRITTEN = 0x800;

interface Run {
  lblk: number;
  pblk: number;
  count: number;
  flags: number;
}

/** Extents as text, neighbours that continue each other joined: the kernel may have split them in its own tree. */
function ourRuns(extents: Run[]): string {
  return spell(extents.map((one) => ({ ...one, flags: one.flags & ~FIEMAP_EXTENT_LAST })));
}

function kernelRuns(fiemap: [number, number, number, number][], bs: number): string {
  return spell(
    fiemap.map(([logical, physical, length, flags]) => ({
      lblk: logical / bs,
      pblk: physical / bs,
      count: length / bs,
      flags,
    })),
  );
}

function spell(extents: Run[]): string {
  const runs: Run[] = [];
  for (const { lblk, pblk, count, flags } of extents) {
    const kept = flags & FIEMAP_EXTENT_UNWRITTEN;
    if (flags & FIEMAP_EXTENT_DATA_INLINE) return 'inline';
    const last = runs[runs.length - 1];
    const joins =
      last &&
      last.lblk + last.count === lblk &&
      last.pblk + last.count === pblk &&
      last.flags === kept;
    if (joins) last.count += count;
    else runs.push({ lblk, pblk, count, flags: kept });
  }
  return runs
    .map(({ lblk, pblk, count, flags }) => `${lblk}+${count}@${pblk}${flags ? 'u' : ''}`)
    .join(' ');
}
