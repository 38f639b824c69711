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
import { differences, dumpTree, escapeName, promiseFace, type State, syncFace } from './state.ts';

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
    const secret = (one: string): boolean => one.startsWith('/secret/');

    beforeAll(() => {
      ({ path, kernel } = makeImage(dir, name, recipe));
      fs = mountSync(openFile(path, { readOnly: true }), { ro: true });
      names = rawPaths(fs);
    });

    afterAll(() => {
      fs.unmountSync();
      rmSync(path);
    });

    /** Every path that the kernel shows, outside of encrypted directories, with what it says and our name for it. */
    function each(check: (extra: Extra, path: Buffer, shown: string) => string[]): string[] {
      return Object.entries(kernel.extra).flatMap(([shown, extra]) => {
        if (secret(shown)) return [];
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
      expect(differences(without(ours, secret), without(kernel.state, secret))).toEqual([]);
    });

    test('has the same tree when every block misses first, by promises', async () => {
      const device = openFile(path, { readOnly: true });
      const other = await mount(device, { ro: true, forceMiss: true, cacheBytes: 12 << 20 });
      const ours = await dumpTree(promiseFace(other), { maxRecords: 1e6 });
      expect(differences(without(ours, secret), without(kernel.state, secret))).toEqual([]);
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
      const faults = each((_extra, raw, shown) => {
        const parent = fs.readdirSync(dirname(raw), {
          encoding: 'buffer',
          withFileTypes: true,
        }) as unknown as {
          name: Buffer;
          isDirectory(): boolean;
          isFile(): boolean;
          isSymbolicLink(): boolean;
        }[];
        if (shown === '/' || /\/dirs\/(many|huge)\//.test(shown)) return [];
        const entry = parent.find(
          (one) => Buffer.compare(Buffer.from(one.name), basename(raw)) === 0,
        );
        const kind = entry?.isDirectory()
          ? 'd'
          : entry?.isFile()
            ? 'f'
            : entry?.isSymbolicLink()
              ? 'l'
              : 'other';
        const want = kernel.state[shown].t!;
        return kind === want || (kind === 'other' && 'cbps'.includes(want))
          ? []
          : [`${shown}: ${kind}, kernel ${want}`];
      });
      expect(faults).toEqual([]);
    });

    test('has the same chattr flags', () => {
      const faults = each((extra, raw, shown) => {
        if (extra.flags === undefined) return [];
        const ours = rawFlags(fs.getFlagsSync(raw));
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
      test('refuses encrypted contents one by one and shows no ciphertext', () => {
        expect(() => fs.readFileSync('/secret/anything')).toThrow(/ENOENT|ENOKEY/);
        for (const [shown, raw] of names) {
          if (!secret(shown)) continue;
          const type = fs.lstatSync(raw);
          if (type.isFile()) expect(() => fs.readFileSync(raw)).toThrow(/ENOKEY/);
          if (type.isSymbolicLink()) expect(() => fs.readlinkSync(raw)).toThrow(/ENOKEY/);
        }
        expect(fs.readFileSync('/reg/big').length).toBe((1 << 20) + 321);
      });
    }
  });
});

/** What chattr shows and ext4 keeps: s u c S i a d A E I j t D T h e V x N P F. */
const SHOWN_FLAGS = 0x705bdfff & ~0x00000800;

function rawFlags(flags: unknown): number {
  return typeof flags === 'number' ? flags : (flags as { raw: number }).raw;
}

function blockSize(fs: Ext4): number {
  return fs.info().blockSize;
}

function without(state: State, leave: (path: string) => boolean): State {
  return Object.fromEntries(Object.entries(state).filter(([path]) => !leave(path)));
}

/** Our own names of all paths, by the way the kernel's state spells them. */
function rawPaths(fs: Ext4): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  const queue = [Buffer.from('/')];
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    found.set(escapeName(path), path);
    if (!fs.lstatSync(path).isDirectory()) continue;
    const base = path.length === 1 ? path : Buffer.concat([path, Buffer.from('/')]);
    queue.push(...list(fs, path).map((name) => Buffer.concat([base, name])));
  }
  return found;
}

/** Names in a directory; none when it is encrypted. */
function list(fs: Ext4, path: Buffer): Buffer[] {
  try {
    return (fs.readdirSync(path, { encoding: 'buffer' }) as unknown as Buffer[]).map((name) =>
      Buffer.from(name),
    );
  } catch (error) {
    if ((error as { code: string }).code === 'ENOKEY') return [];
    throw error;
  }
}

function dirname(path: Buffer): Buffer {
  return path.subarray(0, Math.max(1, path.lastIndexOf(0x2f)));
}

function basename(path: Buffer): Buffer {
  return path.subarray(path.lastIndexOf(0x2f) + 1);
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
