// Goal: `root` is a FileSystemDirectoryHandle as far as reading goes: kinds, names, errors by DOMException name, files
// that are read lazily. Method: walks and reads against the tree; what writes must reject.

import nodefs from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Ext4, FileSystemDirectoryHandle } from '../../ts/index.ts';
import { need } from '../need.ts';
import { type Fixture, KINDS, makeFixture, pattern } from './fixture.ts';

const dom = (name: string) => expect.objectContaining({ name, constructor: DOMException });

/** Paths of everything below, with kinds: what is neither file nor directory does not show. */
async function walk(dir: FileSystemDirectoryHandle, at = ''): Promise<string[]> {
  const found: string[] = [];
  for await (const [name, handle] of dir) {
    expect(handle.name).toBe(name);
    found.push(`${handle.kind} ${at}/${name}`);
    // Links to directories are shown; going through them is left to the tree itself.
    if (handle.kind === 'directory' && !name.includes('link') && name !== 'chain')
      found.push(...(await walk(handle as FileSystemDirectoryHandle, `${at}/${name}`)));
  }
  return found;
}

/** The same from node:fs. */
function walkTree(tree: string, at = ''): string[] {
  return nodefs.readdirSync(join(tree, at)).flatMap((name): string[] => {
    const path = `${at}/${name}`;
    const stats = nodefs.statSync(tree + path, { throwIfNoEntry: false });
    if (stats === undefined || !(stats.isFile() || stats.isDirectory())) return [];
    if (stats.isFile()) return [`file ${path}`];
    const through = name.includes('link') || name === 'chain';
    return [`directory ${path}`, ...(through ? [] : walkTree(tree, path))];
  });
}

need.describe('root', [need.tool('mke2fs')], () => {
  let fixture: Fixture;
  beforeAll(() => {
    fixture = makeFixture();
    // node:fs throws on links in a ring, which the handles leave out.
    for (const name of ['loop', 'loopa', 'loopb']) nodefs.rmSync(join(fixture.tree, name));
    nodefs.rmSync(Buffer.concat([Buffer.from(`${fixture.tree}/raw-`), Buffer.of(0xff, 0xfe)]));
  });
  afterAll(() => fixture.remove());

  describe.each(KINDS)('$name', (kind) => {
    let fs: Ext4;
    let root: FileSystemDirectoryHandle;
    beforeAll(async () => {
      fs = await kind.open(fixture.image);
      root = fs.root;
    });
    afterAll(async () => {
      expect(fs.counters().openFiles).toBe(0);
      await fs.unmount();
    });

    test('shows every file and directory, and links to them', async () => {
      const mine = (await walk(root)).filter((line) => !line.includes('\ufffd'));
      expect(mine.sort()).toEqual(walkTree(fixture.tree).sort());
    });

    test('has kinds, names and tags', async () => {
      const dir = await root.getDirectoryHandle('dir');
      const file = await dir.getFileHandle('text.txt');
      expect([root.kind, root.name, dir.kind, dir.name]).toEqual([
        'directory',
        '',
        'directory',
        'dir',
      ]);
      expect([file.kind, file.name]).toEqual(['file', 'text.txt']);
      expect(String(root)).toBe('[object FileSystemDirectoryHandle]');
      expect(String(file)).toBe('[object FileSystemFileHandle]');
      expect(Object.keys(file).sort()).toEqual(['kind', 'name']);
    });

    test('lists keys and values', async () => {
      const dir = await root.getDirectoryHandle('dir');
      const keys: string[] = [];
      for await (const key of dir.keys()) keys.push(key);
      expect(keys).toEqual(nodefs.readdirSync(join(fixture.tree, 'dir')));
      const names: string[] = [];
      for await (const handle of dir.values()) names.push(handle.name);
      expect(names).toEqual(keys);
    });

    test('resolves what lies below it', async () => {
      const dir = await root.getDirectoryHandle('dir');
      const deep = await (await dir.getDirectoryHandle('sub')).getDirectoryHandle('deep');
      const file = await deep.getFileHandle('file');
      expect(await root.resolve(file)).toEqual(['dir', 'sub', 'deep', 'file']);
      expect(await dir.resolve(file)).toEqual(['sub', 'deep', 'file']);
      expect(await dir.resolve(dir)).toEqual([]);
      expect(await deep.resolve(dir)).toBe(null);
      expect(await dir.resolve({} as never)).toBe(null);
      expect(await file.isSameEntry(await deep.getFileHandle('file'))).toBe(true);
      expect(await file.isSameEntry(dir)).toBe(false);
      const other = await kind.open(fixture.image);
      expect(await root.isSameEntry(other.root)).toBe(false);
      await other.unmount();
    });

    test('names its errors as the web does', async () => {
      await expect(root.getFileHandle('nowhere')).rejects.toEqual(dom('NotFoundError'));
      await expect(root.getDirectoryHandle('broken')).rejects.toEqual(dom('NotFoundError'));
      await expect(root.getFileHandle('dir')).rejects.toEqual(dom('TypeMismatchError'));
      await expect(root.getDirectoryHandle('file')).rejects.toEqual(dom('TypeMismatchError'));
      await expect(root.getFileHandle('fifo')).rejects.toEqual(dom('TypeMismatchError'));
      await expect(root.getFileHandle('loop')).rejects.toEqual(dom('NotReadableError'));
      for (const name of ['', '.', '..', 'a/b', 'a\0b'])
        await expect(root.getFileHandle(name)).rejects.toThrow(TypeError);
    });

    test('cannot be written', async () => {
      const readOnly = dom('NoModificationAllowedError');
      const file = await root.getFileHandle('file');
      await expect(root.getFileHandle('new', { create: true })).rejects.toEqual(readOnly);
      await expect(root.getDirectoryHandle('new', { create: true })).rejects.toEqual(readOnly);
      await expect(root.removeEntry('file')).rejects.toEqual(readOnly);
      await expect(file.createWritable()).rejects.toEqual(readOnly);
      await expect(file.createSyncAccessHandle()).rejects.toEqual(readOnly);
      await expect(file.remove()).rejects.toEqual(readOnly);
      expect((await root.getFileHandle('file', { create: true })).name).toBe('file');
      expect(await root.queryPermission()).toBe('granted');
      expect(await root.requestPermission({ mode: 'readwrite' })).toBe('denied');
    });

    test('gives files that are read in part', async () => {
      const handle = await root.getFileHandle('big.bin');
      const before = fs.counters().deviceReadBytes;
      const file = await handle.getFile();
      expect([file.size, file.type, file.name]).toEqual([300_001, '', 'big.bin']);
      expect(file.lastModified).toBe(nodefs.statSync(join(fixture.tree, 'big.bin')).mtimeMs);
      expect(fs.counters().deviceReadBytes - before).toBeLessThan(100_000);
      const whole = pattern(300_001);
      expect(Buffer.from(await file.arrayBuffer()).equals(whole)).toBe(true);
      const real = new Blob([new Uint8Array(whole)]);
      const cuts: [number?, number?][] = [[], [5], [10, 20], [-3], [-10, -5], [20, 10], [0, 9e9]];
      for (const cut of cuts) {
        const mine = file.slice(...cut);
        const theirs = real.slice(...cut);
        expect(mine.size).toBe(theirs.size);
        expect(await mine.arrayBuffer()).toEqual(await theirs.arrayBuffer());
      }
      const part = file.slice(1000, 200_000).slice(10, -10);
      const streamed = Buffer.from(await new Response(part.stream()).arrayBuffer());
      expect(streamed.equals(whole.subarray(1010, 199_990))).toBe(true);
      expect(file.slice(0, 1, 'Text/Plain').type).toBe('text/plain');
    });

    test('gives text as a Blob does, without a mark', async () => {
      const dir = await root.getDirectoryHandle('dir');
      const file = await (await dir.getFileHandle('text.txt')).getFile();
      const bytes = nodefs.readFileSync(join(fixture.tree, 'dir/text.txt'));
      expect(await file.text()).toBe(await new Blob([bytes]).text());
      const empty = await (await root.getFileHandle('empty')).getFile();
      expect([await empty.text(), (await empty.bytes()).length]).toEqual(['', 0]);
      expect((await new Response(empty.stream()).arrayBuffer()).byteLength).toBe(0);
    });
  });
});
