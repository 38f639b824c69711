// Names that come and go the short way, in one turn without a generator, beside the same calls with paths as bytes,
// which go the long way: every call has the same outcome, the trees are the same, e2fsck finds nothing. Random calls
// on all sets of features; EXT4_SEED chooses the seed. And what depends on how much one transaction holds.

import { expect, test } from 'vitest';
import { coreOf, type Ext4 } from '../../ts/api/fs.ts';
import { mountSync } from '../../ts/api/mount.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import type { MountOptions } from '../../ts/vfs/options.ts';
import { need } from '../need.ts';
import { contents, fsck, makeImage, SETS } from './images.ts';

const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const CALLS = 1500;

function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const NAMES = ['a', 'b', 'name', 'ä', 'x'.repeat(255), 'y'.repeat(256), '.', '..', '', '\ud800'];
const FLAGS = ['w', 'wx', 'a', 'r', 'r+', 'w+', 'ax'];

type Calls = (path: (text: string) => string | Uint8Array) => unknown;
const bytes = (text: string) => new TextEncoder().encode(text);

/** The outcome of a call: what it returns, or the error's code and path. */
function outcome(call: () => unknown): string {
  try {
    return String(call());
  } catch (error) {
    return (error as { code: string }).code;
  }
}

class Caller {
  readonly random: (below: number) => number;

  constructor(seed: number) {
    this.random = randomOf(seed);
  }

  path(): string {
    const dirs = ['', '/d', '/d/e', '/link', '/a', '/d/a', '//d/.', '/d/'];
    const many = this.random(3) > 0;
    const name = many
      ? `file-${this.random(this.random(2) > 0 ? 300 : 25)}`
      : NAMES[this.random(NAMES.length)];
    return `${dirs[this.random(dirs.length)]}/${name}${this.random(20) === 0 ? '/' : ''}`;
  }

  /** The next call, of a mount. */
  next(): { text: string; call: (img: Ext4) => Calls } {
    const [one, two] = [this.path(), this.path()];
    const flags = FLAGS[this.random(FLAGS.length)];
    const kind = this.random(16);
    const open = (img: Ext4) => (path: (text: string) => string | Uint8Array) => {
      const fd = img.openSync(path(one) as string, flags, 0o640);
      if (kind === 0) img.unlinkSync(path(one) as string);
      const { nlink, mode } = img.fstatSync(fd);
      img.closeSync(fd);
      return `${nlink} ${mode}`;
    };
    if (kind < 7) return { text: `open ${one} ${flags}`, call: open };
    const calls: [string, (img: Ext4) => (p: (text: string) => never) => unknown][] = [
      ['unlink', (img) => (p) => img.unlinkSync(p(one))],
      ['mkdir', (img) => (p) => img.mkdirSync(p(one), 0o1711)],
      ['rmdir', (img) => (p) => img.rmdirSync(p(one))],
      ['rename', (img) => (p) => img.renameSync(p(one), p(two))],
      ['link', (img) => (p) => img.linkSync(p(one), p(two))],
      ['symlink', (img) => (p) => img.symlinkSync('d/e', p(one))],
      ['stat', (img) => (p) => img.statSync(p(one)).mode],
    ];
    const [name, call] = kind > 12 ? calls[0] : calls[this.random(calls.length)];
    return { text: `${name} ${one} ${two}`, call: call as never };
  }
}

function mounted(set: (typeof SETS)[string], o: MountOptions) {
  const device = memoryDevice(makeImage(set), { sparse: true });
  const img = mountSync(device, { umask: 0o22, ...o });
  for (const dir of ['/d', '/d/e']) img.mkdirSync(dir);
  img.symlinkSync('d', '/link');
  return { device, img };
}

function treeOf(img: Ext4): string[] {
  return img
    .readdirSync('/', { recursive: true })
    .map((path) => {
      const { mode, nlink } = img.lstatSync(`/${path}`);
      return `${path} ${mode} ${nlink}`;
    })
    .sort();
}

function runBoth(name: string, seed: number, o: MountOptions): void {
  const [short, long] = [mounted(SETS[name], o), mounted(SETS[name], {})];
  const caller = new Caller(seed);
  for (let i = 0; i < CALLS; i++) {
    const { text, call } = caller.next();
    const found = outcome(() => call(short.img)((path) => path));
    const expected = outcome(() => call(long.img)(bytes));
    expect(found, `${name}, seed ${seed}, call ${i}: ${text}`).toBe(expected);
  }
  expect(treeOf(short.img), `${name}, seed ${seed}`).toEqual(treeOf(long.img));
  for (const { img, device } of [short, long]) {
    img.unmountSync();
    expect(fsck(contents(device)), `${name}, seed ${seed}`).toBe('');
  }
}

need.describe('the short way', [need.tool('mke2fs', 'e2fsck')], () => {
  for (const name of Object.keys(SETS)) {
    test(`${name}: calls end as on the long way (seed ${SEED})`, { timeout: 120_000 }, () => {
      runBoth(name, SEED, {});
    });
  }

  test(`steps that begin again end the same (seed ${SEED})`, { timeout: 120_000 }, () => {
    runBoth('ext4 1k', SEED + 1, { forceMiss: true });
  });

  test('a file that cannot be made leaves nothing behind', () => {
    const set = { args: '-t ext4 -b 1024 -N 64', size: 16 };
    const { img, device } = mounted(set, {});
    const made: string[] = [];
    const fill = () => {
      for (;;) {
        const path = `/d/${made.length}`;
        img.closeSync(img.openSync(path, 'wx'));
        made.push(path);
      }
    };
    expect(fill).toThrow('ENOSPC');
    expect(made.length).toBeGreaterThan(20);
    expect(() => img.mkdirSync('/d/dir')).toThrow('ENOSPC');
    expect(img.readdirSync('/d')).toHaveLength(made.length + 1);
    img.unlinkSync(made[0]);
    img.mkdirSync('/d/dir');
    img.unmountSync();
    expect(fsck(contents(device))).toBe('');
  });

  test('an inode that was changed and is not summed yet can be read again', () => {
    const { img, device } = mounted(SETS.ext4, {});
    const core = coreOf(img);
    img.closeSync(img.openSync('/d/new', 'w'));
    const { ino } = img.statSync('/d/new');
    expect(core.runSync(core.dumpInode(ino))).toMatchObject({ i_links_count: 1 });
    img.linkSync('/d/new', '/d/other');
    expect(core.runSync(core.dumpInode(ino))).toMatchObject({ i_links_count: 2 });
    img.unmountSync();
    expect(fsck(contents(device))).toBe('');
  });

  test('more inodes than are kept in memory', { timeout: 60_000 }, () => {
    const { img, device } = mounted({ args: '-t ext4 -b 4096 -N 40000', size: 64 }, {});
    for (let i = 0; i < 20_000; i++) img.closeSync(img.openSync(`/d/${i}`, 'w'));
    for (let i = 0; i < 20_000; i += 50) expect(img.statSync(`/d/${i}`).nlink).toBe(1);
    for (let i = 0; i < 20_000; i += 3) img.unlinkSync(`/d/${i}`);
    img.unmountSync();
    expect(fsck(contents(device))).toBe('');
  });

  test(`more names than are remembered (seed ${SEED})`, { timeout: 120_000 }, () => {
    const { img, device } = mounted({ args: '-t ext4 -b 4096 -N 100000', size: 128 }, {});
    const core = coreOf(img);
    const make = (name: string) => img.closeSync(img.openSync(`/d/${name}`, 'wx'));
    img.rmdirSync('/d/e');
    img.rmdirSync('/d');
    img.mkdirSync('/d');
    const names = new Set<string>();
    const random = randomOf(SEED);
    const churn = (calls: number) => {
      for (let i = 0; i < calls; i++) {
        const name = `file-${random(80_000)}`;
        const [there, gone] = [names.has(name), random(4) === 0];
        const call = gone ? () => img.unlinkSync(`/d/${name}`) : () => make(name);
        const expected = gone ? (there ? '' : 'ENOENT') : there ? 'EEXIST' : '';
        expect(outcome(call).replace('undefined', ''), `${name}, call ${i}`).toBe(expected);
        if (gone) names.delete(name);
        else names.add(name);
      }
    };
    const known = () => core.vol.inodes.get(img.statSync('/d').ino).hashes !== null;
    for (; names.size < 66_000; names.add(`file-${names.size}`)) make(`file-${names.size}`);
    expect(known()).toBe(true);
    churn(10_000);
    expect(known()).toBe(true);
    // Names that come the long way are not known to be there.
    make('last');
    img.linkSync('/d/last', '/d/linked');
    names.add('last').add('linked');
    expect(known()).toBe(false);
    churn(5000);
    expect(img.readdirSync('/d').sort()).toEqual([...names].sort());
    img.unmountSync();
    expect(fsck(contents(device))).toBe('');
  });

  test('a log may be larger than the cache', () => {
    const set = { args: '-t ext4 -b 4096 -N 40000 -J size=32', size: 128 };
    const { img, device } = mounted(set, { cacheBytes: 6 * 2 ** 20 });
    for (let i = 0; i < 30_000; i++) img.closeSync(img.openSync(`/d/${i}`, 'w'));
    img.unmountSync();
    expect(fsck(contents(device))).toBe('');
  });
});
