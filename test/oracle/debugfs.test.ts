// Goal: what this machine's kernel cannot mount reads right too: blocks of 8 to 64 KiB, casefolded directories,
// verity files. Method: mke2fs -d makes images from a tree, e2fsck -D indexes their directories; the tree itself and
// debugfs (rdump, stat, ex) are the references; casefold and verity bits are set by debugfs.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openFile } from '../../ts/block/node.ts';
import { type Ext4, mountSync } from '../../ts/index.ts';
import { need, ORACLES } from '../need.ts';
import { mke2fs, run } from './make.ts';
import { differences, dumpTree, type FileState, type State, syncFace } from './state.ts';

const NEEDS = [need.root(), need.oracles(), need.tool('mke2fs', 'debugfs', 'e2fsck', 'python3')];

const dir = mkdtempSync(join(tmpdir(), 'debugfs-'));
const source = join(dir, 'source');
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function fsdump(folder: string): State {
  const out = join(dir, 'dump.json');
  run('python3', [join(ORACLES, 'tools/fsdump.py'), folder, out]);
  return JSON.parse(readFileSync(out, 'utf8'));
}

let sourceState: State | undefined;

/** The state of the source tree, made at the first call. */
function reference(): State {
  if (sourceState === undefined) {
    mkdirSync(source, { recursive: true });
    run('python3', [join(import.meta.dirname, 'tree.py'), source]);
    sourceState = fsdump(source);
  }
  return sourceState;
}

/** An image with the source tree in it; `commands` are debugfs's, before the directories are indexed. */
function make(name: string, options: string, size: string, commands: string[] = []): string {
  reference();
  const path = join(dir, `${name}.img`);
  mke2fs(path, size, `${options} -d ${source}`);
  if (commands.length > 0) {
    const file = join(dir, `${name}.cmd`);
    writeFileSync(file, commands.join('\n'));
    run('debugfs', ['-w', '-f', file, path]);
  }
  run('e2fsck', ['-fyD', path], [0, 1]);
  run('e2fsck', ['-fn', path]);
  return path;
}

function open(path: string): Ext4 {
  return mountSync(openFile(path, { readOnly: true }), { ro: true });
}

/** What the image has from its source; mke2fs -d keeps no link counts of directories and makes lost+found. */
const KEYS: (keyof FileState)[] = ['t', 'mode', 'uid', 'gid', 'size', 'sha', 'link', 'rdev', 'xa'];

function comparable(state: State): State {
  const { '/lost+found': _made, ...rest } = state;
  return rest;
}

/** A record as rdump makes it: hard links become files of their own, chown clears the set-id bits. */
function apart(state: State, path: string): FileState {
  const record = state[path] ?? {};
  const first = record.hl === undefined ? record : state[record.hl];
  return { ...first, mode: (first.mode ?? 0) & 0o777 };
}

/** debugfs's record of an inode, field by field. */
function debugfsStat(path: string, inos: number[]): Map<number, Record<string, string>> {
  const file = join(dir, 'stat.cmd');
  writeFileSync(file, inos.map((ino) => `stat <${ino}>`).join('\n'));
  const blocks = run('debugfs', ['-f', file, path]).split(/^debugfs: .*$/m);
  const found = new Map<number, Record<string, string>>();
  for (const text of blocks) {
    const ino = /^Inode: (\d+)/m.exec(text);
    if (ino === null) continue;
    const grab = (re: RegExp): string => re.exec(text)?.[1] ?? '';
    found.set(Number(ino[1]), {
      mode: grab(/Mode:\s+0*(\d+)/),
      uid: grab(/User:\s+(\d+)/),
      gid: grab(/Group:\s+(\d+)/),
      size: grab(/ Size: (\d+)\n/),
      nlink: grab(/Links: (\d+)/),
      blocks: grab(/Blockcount: (\d+)/),
      mtime: timeOf(grab(/mtime: 0x([0-9a-f:]+)/)),
      crtime: timeOf(grab(/crtime: 0x([0-9a-f:]+)/)),
    });
  }
  return found;
}

/** Nanoseconds from debugfs's `seconds:extra`. */
function timeOf(text: string): string {
  const [sec, extra = '0'] = text.split(':');
  if (sec === '') return '';
  const [low, high] = [BigInt.asIntN(32, BigInt(`0x${sec}`)), BigInt(`0x${extra}`)];
  return String((low + ((high & 3n) << 32n)) * 1_000_000_000n + (high >> 2n));
}

function ourStat(fs: Ext4, path: string): Record<string, string> {
  const st = fs.lstatSync(path, { bigint: true });
  return {
    mode: (Number(st.mode) & 0o7777).toString(8),
    uid: String(st.uid),
    gid: String(st.gid),
    size: String(st.size),
    nlink: String(st.nlink),
    blocks: String(st.blocks),
    mtime: String(st.mtimeNs),
    crtime: String(st.birthtimeNs),
  };
}

const BIG_BLOCKS: Record<string, [options: string, size: string]> = {
  '8k': ['-t ext4 -b 8192 -O metadata_csum,64bit', '128M'],
  '8k-no-extents': ['-t ext4 -b 8192 -O ^extent,^64bit,^metadata_csum', '128M'],
  '16k-inline': ['-t ext4 -b 16384 -I 512 -O inline_data', '256M'],
  '32k-bigalloc': ['-t ext4 -b 32768 -C 131072 -O bigalloc', '512M'],
  '64k': ['-t ext4 -b 65536 -O metadata_csum,64bit', '1G'],
  '64k-ext2': ['-t ext2 -b 65536 -I 128', '512M'],
  '64k-meta-bg': ['-t ext4 -b 65536 -O meta_bg,^resize_inode,ea_inode,metadata_csum_seed', '1G'],
};

need.describe('blocks larger than a page', NEEDS, () => {
  describe.each(Object.entries(BIG_BLOCKS))('%s', (name, [options, size]) => {
    let path: string;
    let fs: Ext4;

    beforeAll(() => {
      path = make(name, options, size);
      fs = open(path);
    });
    afterAll(() => fs.unmountSync());

    test('has the tree that mke2fs put in', async () => {
      const ours = comparable(await dumpTree(syncFace(fs)));
      expect(differences(ours, comparable(reference()), { keys: KEYS })).toEqual([]);
    });

    // debugfs 1.47 writes inline files 60 bytes long: there the source tree is the only reference.
    const dumpable = options.includes('inline') ? [] : [name];
    test.each(dumpable)('%s has the tree that debugfs takes out', async () => {
      const out = join(dir, `${name}.out`);
      mkdirSync(out);
      run('debugfs', ['-R', `rdump / ${out}`, path]);
      const theirs = comparable(fsdump(out));
      const kept = Object.keys(theirs);
      expect(kept.length).toBeGreaterThan(1400);
      const ours = await dumpTree(syncFace(fs));
      const same = Object.fromEntries(kept.map((one) => [one, apart(ours, one)]));
      expect(
        differences(same, theirs, { keys: ['t', 'mode', 'uid', 'gid', 'size', 'sha', 'link'] }),
      ).toEqual([]);
      rmSync(out, { recursive: true });
    });

    test('has the inodes that debugfs shows', () => {
      const paths = Object.keys(reference()).filter(
        (one) => !one.includes('/Many/') && !one.includes('/many/'),
      );
      const inos = paths.map((one) => fs.lstatSync(one).ino);
      const theirs = debugfsStat(path, inos);
      const faults = paths.flatMap((one, i) => {
        const [ours, want] = [ourStat(fs, one), theirs.get(inos[i]) ?? {}];
        if (want.crtime === '') ours.crtime = ''; // 128-byte inodes have none
        // As the kernel does, we count sectors for inline data.
        if (options.includes('inline')) ours.blocks = want.blocks;
        const wrong = Object.keys(ours).filter((key) => ours[key] !== want[key]);
        return wrong.map((key) => `${one}: ${key} is ${ours[key]}, debugfs ${want[key]}`);
      });
      expect(faults).toEqual([]);
    });

    test('finds a name in an indexed directory and misses one that is not there', () => {
      const names = fs.readdirSync('/dirs/many') as string[];
      expect(names.length).toBe(700);
      expect(fs.statSync(`/dirs/many/${names[350]}`).isFile()).toBe(true);
      expect(() => fs.statSync('/dirs/many/absent')).toThrow(/ENOENT/);
    });
  });
});

const FOLD = ['sif /fold flags 0x40080000', 'sif /fold/Many flags 0x40080000'];
const CASEFOLD: Record<string, string> = {
  'linear and htree, 4 KiB': '-t ext4 -b 4096 -O casefold -E encoding=utf8',
  'strict, metadata_csum, 1 KiB':
    '-t ext4 -b 1024 -O casefold,metadata_csum -E encoding=utf8,encoding_flags=strict',
  'half-inline': '-t ext4 -b 4096 -O casefold,inline_data -E encoding=utf8',
};

need.describe('casefolded directories', NEEDS, () => {
  describe.each(Object.entries(CASEFOLD))('%s', (name, options) => {
    let fs: Ext4;
    beforeAll(() => {
      const flags = name === 'half-inline' ? [FOLD[1]] : FOLD;
      fs = open(make(`fold-${name.replace(/\W+/g, '-')}`, options, '64M', flags));
    });
    afterAll(() => fs.unmountSync());

    test('keep the names as they were given', async () => {
      const ours = comparable(await dumpTree(syncFace(fs)));
      expect(differences(ours, comparable(reference()), { keys: KEYS })).toEqual([]);
    }, 120_000);

    test('find a name in any case through the index', () => {
      const names = (fs.readdirSync('/fold/Many') as string[]).filter((_, i) => i % 25 === 0);
      expect(names.length).toBe(28);
      for (const one of names) {
        const { ino } = fs.statSync(`/fold/Many/${one}`);
        expect(fs.statSync(`/fold/Many/${one.toUpperCase()}`).ino).toBe(ino);
        expect(fs.statSync(`/fold/Many/${one.toLowerCase()}`).ino).toBe(ino);
        expect(fs.statSync(`/fold/Many/${one.normalize('NFD')}`).ino).toBe(ino);
      }
      expect(() => fs.statSync('/fold/Many/absent')).toThrow(/ENOENT/);
    });

    test.each(name === 'half-inline' ? [] : [name])(
      '%s: find what folds and normalizes to the same name',
      () => {
        const same: [string, string][] = [
          ['plain', 'Plain'],
          ['ÄPFEL', 'äpfel'],
          ['a\u0308pfel', 'äpfel'],
          ['STRASSE', 'Straße'],
          ['σίσυφος', 'ΣΊΣΥΦΟΣ'],
          ['FIN', 'ﬁn'],
          ['Étude', 'e\u0301tude'],
        ];
        const read = (one: string): string => fs.readFileSync(`/fold/${one}`, 'utf8') as string;
        expect(same.map(([asked]) => read(asked))).toEqual(same.map(([, stored]) => stored));
        expect(() => read('plai')).toThrow(/ENOENT/);
      },
    );

    test('leave other directories as they are', () => {
      expect(() => fs.statSync('/REG')).toThrow(/ENOENT/);
      expect(() => fs.statSync('/reg/SIZE0')).toThrow(/ENOENT/);
    });
  });
});

need.describe('verity files', NEEDS, () => {
  let fs: Ext4;
  beforeAll(() => {
    // The Merkle tree and its descriptor lie in blocks past the end: here a longer file, cut to 65,537 bytes.
    const commands = ['sif /reg/size300001 flags 0x180000', 'sif /reg/size65536 flags 0x180000'];
    fs = open(make('verity', '-t ext4 -b 4096 -O verity,metadata_csum', '64M', commands));
  });
  afterAll(() => fs.unmountSync());

  test('read as any file does', async () => {
    const ours = comparable(await dumpTree(syncFace(fs)));
    expect(differences(ours, comparable(reference()), { keys: KEYS })).toEqual([]);
  });

  test('show nothing past their end', () => {
    const into = new Uint8Array(8192);
    const fd = fs.openSync('/reg/size65536', 'r');
    expect(fs.readSync(fd, into, 0, 8192, 65536)).toBe(0);
    expect(fs.readSync(fd, into, 0, 8192, 65530)).toBe(6);
    fs.closeSync(fd);
  });
});
