// Goal: an opened directory is Node's fs.Dir: every entry once, in every way of reading, with the errors of a closed or
// busy Dir. Method: the same steps on a tree with node:fs and on its image; names are sorted, since the order of a
// directory is its own.

import nodefs from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Ext4 } from '../../ts/index.ts';
import { need } from '../need.ts';
import { type Fixture, KINDS, makeFixture } from './fixture.ts';
import { attempt, attemptAsync, attemptCallback, type Outcome, plain } from './outcome.ts';

type Fs = typeof nodefs;
type Entry = { name: string };

const sorted = (entries: unknown[], root: string): unknown[] =>
  entries
    .map((entry) => plain(entry, root) as Entry)
    .sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));

async function iterated(fs: Fs, root: string, path: string, options?: object): Promise<unknown> {
  const dir = await fs.promises.opendir(root + path, options);
  const found: unknown[] = [];
  for await (const entry of dir) found.push(entry);
  return [plain(dir.path, root), sorted(found, root), await attemptAsync(() => dir.close())];
}

async function byCallback(fs: Fs, root: string): Promise<unknown> {
  const dir = await new Promise<nodefs.Dir>((resolve, reject) =>
    fs.opendir(`${root}/dir`, (error, opened) => (error ? reject(error) : resolve(opened))),
  );
  const found: unknown[] = [];
  for (;;) {
    const entry = await new Promise((resolve, reject) =>
      dir.read((error, next) => (error ? reject(error) : resolve(next))),
    );
    if (entry === null) break;
    found.push(entry);
  }
  const closed = await attemptCallback((done) => dir.close(done));
  const again = await attemptCallback((done) => dir.close(done));
  return [sorted(found, root), closed, again, attempt(() => dir.read(() => {}))];
}

/** Reads asked for at once come one after another; a synchronous one does not get between. */
async function atOnce(fs: Fs, root: string): Promise<unknown> {
  const dir = await fs.promises.opendir(`${root}/dir`);
  const reads = [dir.read(), dir.read(), dir.read()];
  const between = attempt(() => dir.readSync());
  const close = attempt(() => dir.closeSync());
  const found = await Promise.all(reads);
  await dir.close();
  return [sorted(found, root).length, new Set(found.map((e) => e?.name)).size, between, close];
}

function synchronous(fs: Fs, root: string): unknown {
  const dir = fs.opendirSync(`${root}/many`, { bufferSize: 7 });
  const found: unknown[] = [];
  for (let entry = dir.readSync(); entry !== null; entry = dir.readSync()) found.push(entry);
  dir.closeSync();
  const closed: Outcome[] = [
    attempt(() => dir.readSync()),
    attempt(() => dir.closeSync()),
    attempt(() => dir.read()),
  ];
  return [sorted(found, root), closed];
}

const WRONG = ['/nowhere', '/file', '/loop', '/broken', '/file/below', ''];

async function wrong(fs: Fs, root: string): Promise<unknown> {
  const all: Outcome[] = [];
  for (const path of WRONG) {
    const at = path && root + path;
    all.push(await attemptAsync(() => fs.promises.opendir(at), root));
    all.push(await attemptCallback((done) => fs.opendir(at, done), root));
  }
  return all;
}

need.describe('an opened directory', [need.tool('mke2fs')], () => {
  let fixture: Fixture;
  beforeAll(() => {
    fixture = makeFixture();
  });
  afterAll(() => fixture.remove());

  describe.each(KINDS)('$name', (kind) => {
    let fs: Ext4;
    beforeAll(async () => {
      fs = await kind.open(fixture.image);
    });
    afterAll(() => fs.unmount());
    const both = async (run: (from: Fs, root: string) => unknown) => {
      const mine = await run(fs as unknown as Fs, '');
      expect(mine).toEqual(await run(nodefs, fixture.tree));
    };

    test.each(['/', '/dir', '/dir/', '/many', '/emptydir', '/dirlink'])(
      'gives every entry of %s once',
      (path) => both((from, root) => iterated(from, root, path)),
    );
    test('gives names in an encoding', async () => {
      await both((from, root) => iterated(from, root, '/', { encoding: 'hex' }));
      await both((from, root) => iterated(from, root, '/', { encoding: 'buffer' }));
    });
    test('goes down when recursive', () =>
      both((from, root) => iterated(from, root, '/', { recursive: true, bufferSize: 1000 })));
    test('reads with callbacks', () => both(byCallback));
    test('reads one after another what is asked at once', async () => {
      // A synchronous mount has read when the call returns, and could do it; it refuses all the same.
      await both(atOnce);
    });
    test('is refused as Node refuses it', () => both(wrong));
    if (kind.sync) test('reads synchronously', () => both(synchronous));

    test('is closed when its iteration is left', async () => {
      const dir = await fs.promises.opendir('/many');
      for await (const entry of dir) if (entry.name.endsWith('7')) break;
      await expect(dir.close()).rejects.toThrow('Directory handle was closed');
      const other = await fs.promises.opendir('/many');
      await (other as unknown as AsyncDisposable)[Symbol.asyncDispose]();
      expect(() => other.read()).toThrow('Directory handle was closed');
    });
  });
});
