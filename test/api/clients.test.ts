// Goal: libraries that take an `fs` work on a mount unmodified, as on the tree itself. Method: fdir, fast-glob,
// tinyglobby and isomorphic-git run on a tree with node:fs and on its image with a mount, and give the same; what
// isomorphic-git wrote into an image (clone, commit, merge) is checked by git itself.

import { execFileSync } from 'node:child_process';
import nodefs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fastGlob from 'fast-glob';
import { fdir } from 'fdir';
import git from 'isomorphic-git';
import { glob, globSync } from 'tinyglobby';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type FileDevice, openFile } from '../../ts/block/node.ts';
import { type Ext4, mount, mountSync } from '../../ts/index.ts';
import { need, which } from '../need.ts';
import { asyncOnly, type Fixture, KINDS, makeFixture } from './fixture.ts';

type Fs = typeof nodefs;

const relative = (paths: string[], root: string): string[] =>
  paths.map((path) => (root === '' ? path : path.replace(root, '') || '/')).sort();

/** Loops and names that are no text are for other tests: these libraries have their own ideas of them. */
const SKIP = ['/loop', '/loopa', '/loopb', '/lost+found'];

need.describe('walkers', [need.tool('mke2fs')], () => {
  let fixture: Fixture;
  beforeAll(() => {
    fixture = makeFixture();
  });
  afterAll(() => fixture.remove());

  describe.each(KINDS)('on a mount: $name', (kind) => {
    let fs: Ext4;
    let ours: Fs;
    beforeAll(async () => {
      fs = await kind.open(fixture.image);
      ours = fs as unknown as Fs;
    });
    afterAll(async () => {
      expect(fs.counters().openFiles).toBe(0);
      await fs.unmount();
    });

    const crawler = (from: Fs, root: string, links: boolean) => {
      const made = new fdir({ fs: from }).withFullPaths().withDirs();
      const skipping = made.filter((path) => !SKIP.includes(path.replace(root, '')));
      return (links ? skipping.withSymlinks({ resolvePaths: false }) : skipping).crawl(root || '/');
    };

    test('fdir finds the same', async () => {
      const mine = await crawler(ours, '', false).withPromise();
      const theirs = await crawler(nodefs, fixture.tree, false).withPromise();
      expect(mine.length).toBeGreaterThan(310);
      expect(relative(mine, '')).toEqual(relative(theirs, fixture.tree));
      if (kind.sync) expect(relative(crawler(ours, '', false).sync(), '')).toEqual(mine.sort());
    });

    test('fast-glob finds the same', async () => {
      const patterns = ['**/*', '!many/entry-2*', '**/.hidden'];
      const options = { objectMode: true, followSymbolicLinks: false } as const;
      const ask = async (from: Fs, cwd: string) => {
        const found = await fastGlob(patterns, { ...options, cwd, fs: from });
        return found.map(({ path, dirent }) => `${path} ${dirent.isFile()}`).sort();
      };
      const mine = await ask(ours, '/');
      expect(mine.length).toBeGreaterThan(190);
      expect(mine).toEqual(await ask(nodefs, fixture.tree));
      if (kind.sync) {
        const real = { cwd: fixture.tree, stats: true, onlyFiles: false } as const;
        const found = fastGlob.sync('dir*/**', {
          cwd: '/',
          fs: ours,
          stats: true,
          onlyFiles: false,
        });
        const sized = (e: fastGlob.Entry) => [e.path, e.stats?.isFile() && e.stats.size];
        expect(found.map(sized)).toEqual(fastGlob.sync('dir*/**', real).map(sized));
      }
    });

    test('tinyglobby finds the same', async () => {
      const options = { ignore: ['**/loop*'], onlyFiles: false, expandDirectories: false };
      const ask = (from: Fs, cwd: string) =>
        glob(['dir/**', 'many/*-2?', '*.bin'], { ...options, cwd, fs: from });
      const mine = (await ask(ours, '/')).sort();
      expect(mine.length).toBeGreaterThan(15);
      expect(mine).toEqual((await ask(nodefs, fixture.tree)).sort());
      if (kind.sync)
        expect(globSync('*.bin', { ...options, cwd: '/', fs: ours })).toEqual(['big.bin']);
    });
  });
});

/** A repository with history, made by git itself: packed and loose objects, a tag, a branch, an ignored file. */
function makeRepository(dir: string): void {
  const run = (...args: string[]) =>
    execFileSync('git', args, {
      cwd: dir,
      stdio: ['ignore', 'ignore', 'ignore'],
      env: { PATH: process.env.PATH, HOME: dir, GIT_CONFIG_NOSYSTEM: '1', ...AUTHOR },
    });
  nodefs.mkdirSync(join(dir, 'src/lib'), { recursive: true });
  run('init', '-q', '-b', 'main');
  for (let i = 0; i < 5; i++) {
    nodefs.writeFileSync(join(dir, `src/file-${i}.txt`), `text ${i}\n`.repeat(50 * i + 1));
    nodefs.writeFileSync(join(dir, 'src/lib/one.js'), `export const version = ${i};\n`);
    run('add', '-A');
    run('commit', '-q', '-m', `change ${i}`);
  }
  nodefs.symlinkSync('src/file-1.txt', join(dir, 'link'));
  nodefs.writeFileSync(join(dir, '.gitignore'), 'ignored\n');
  run('add', '-A');
  run('commit', '-q', '-m', 'a link');
  run('tag', '-a', '-m', 'first', 'v1');
  run('gc', '-q');
  run('checkout', '-q', '-b', 'other');
  nodefs.writeFileSync(join(dir, 'src/loose.txt'), 'loose\n');
  run('add', '-A');
  run('commit', '-q', '-m', 'loose');
  nodefs.writeFileSync(join(dir, 'src/file-0.txt'), 'changed\n');
  nodefs.writeFileSync(join(dir, 'untracked'), 'untracked\n');
  nodefs.writeFileSync(join(dir, 'ignored'), 'ignored\n');
}

const WRITABLE = [
  { name: 'synchronous', open: async (d: FileDevice) => mountSync(d) },
  { name: 'asynchronous', open: async (d: FileDevice) => mount(asyncOnly(d), { forceMiss: true }) },
];

const AUTHOR = {
  GIT_AUTHOR_NAME: 'A',
  GIT_AUTHOR_EMAIL: 'a@example.org',
  GIT_COMMITTER_NAME: 'A',
  GIT_COMMITTER_EMAIL: 'a@example.org',
  GIT_AUTHOR_DATE: '1600000000 +0000',
  GIT_COMMITTER_DATE: '1600000000 +0000',
};

need.describe('isomorphic-git', [need.tool('mke2fs', 'e2fsck', 'git')], () => {
  let base: string;
  beforeAll(() => {
    base = nodefs.mkdtempSync(join(tmpdir(), 'ext4-git-'));
    nodefs.mkdirSync(join(base, 'tree/repo'), { recursive: true });
    makeRepository(join(base, 'tree/repo'));
    const image = join(base, 'image');
    const args = ['-q', '-t', 'ext4', '-d', join(base, 'tree'), image, '16M'];
    execFileSync(which('mke2fs'), args, { stdio: 'ignore' });
  });
  afterAll(() => nodefs.rmSync(base, { recursive: true, force: true }));

  async function history(fs: Fs, dir: string): Promise<unknown> {
    const at = { fs, dir };
    const log = await git.log({ ...at });
    const tip = log[0].oid;
    const { blob } = await git.readBlob({ ...at, oid: tip, filepath: 'src/lib/one.js' });
    const walked = await git.walk({
      ...at,
      trees: [git.TREE({ ref: 'v1' }), git.TREE({ ref: 'HEAD' })],
      map: async (path, [a, b]) => [path, await a?.oid(), await b?.oid(), await b?.mode()],
    });
    return {
      log: log.map(({ oid, commit }) => [oid, commit.message, commit.tree]),
      blob: Buffer.from(blob).toString(),
      walked,
      branch: await git.currentBranch(at),
      branches: await git.listBranches(at),
      tags: await git.listTags(at),
      files: await git.listFiles(at),
      inCommit: await git.listFiles({ ...at, ref: 'HEAD' }),
      root: (await git.findRoot({ fs, filepath: `${dir}/src/lib` })).replace(base, ''),
      name: await git.getConfig({ ...at, path: 'core.bare' }),
    };
  }

  /** Compared by content, since an index does not know the image's times. */
  async function working(fs: Fs, dir: string): Promise<unknown> {
    return git.walk({
      fs,
      dir,
      trees: [git.WORKDIR()],
      map: async (path, [entry]) => {
        if (path.startsWith('.git/')) return undefined;
        const content = await entry?.content();
        return [path, await entry?.type(), content && Buffer.from(content).toString()];
      },
    });
  }

  /** git's own server, asked without a network. */
  const http = {
    async request({ url, body }: { url: string; body?: AsyncIterable<Uint8Array> }) {
      const parts: Uint8Array[] = [];
      for await (const part of body ?? []) parts.push(part);
      const advertise = url.includes('info/refs');
      const args = ['upload-pack', '--stateless-rpc', ...(advertise ? ['--advertise-refs'] : [])];
      const out = execFileSync(
        'git',
        ['-c', 'safe.directory=*', ...args, join(base, 'tree/repo')],
        {
          input: Buffer.concat(parts),
          maxBuffer: 1 << 26,
        },
      );
      const head = Buffer.from('001e# service=git-upload-pack\n0000');
      const type = advertise ? 'advertisement' : 'result';
      return {
        url,
        statusCode: 200,
        statusMessage: 'OK',
        headers: { 'content-type': `application/x-git-upload-pack-${type}` },
        body: (async function* () {
          yield advertise ? Buffer.concat([head, out]) : out;
        })(),
      };
    },
  };

  test.each(WRITABLE)(
    'clones, commits, branches and merges in an image: $name',
    async ({ open }) => {
      const image = join(base, 'written');
      execFileSync(which('mke2fs'), ['-q', '-F', '-t', 'ext4', image, '32M'], { stdio: 'ignore' });
      const device = openFile(image);
      const fs = await open(device);
      const at = { fs: fs as unknown as Fs, dir: '/srv/app' };
      const author = {
        name: 'B',
        email: 'b@example.org',
        timestamp: 1_700_000_000,
        timezoneOffset: 0,
      };
      await git.clone({ ...at, http: http as never, url: 'http://nowhere/repo', ref: 'main' });
      expect(await git.statusMatrix(at)).toSatisfy((rows: unknown[][]) =>
        rows.every(([, ...state]) => state.join() === '1,1,1'),
      );
      await git.branch({ ...at, ref: 'topic', checkout: true });
      await fs.promises.writeFile('/srv/app/src/new.txt', 'new\n');
      await fs.promises.appendFile('/srv/app/src/file-1.txt', 'more\n');
      await fs.promises.unlink('/srv/app/src/file-2.txt');
      await git.add({ ...at, filepath: ['src/new.txt', 'src/file-1.txt'] });
      await git.remove({ ...at, filepath: 'src/file-2.txt' });
      const oid = await git.commit({ ...at, message: 'in an image', author });
      await git.checkout({ ...at, ref: 'main' });
      await expect(fs.promises.access('/srv/app/src/new.txt')).rejects.toMatchObject({
        code: 'ENOENT',
      });
      await git.merge({ ...at, ours: 'main', theirs: 'topic', author });
      await git.checkout({ ...at, ref: 'main' });
      expect(await git.resolveRef({ ...at, ref: 'main' })).toBe(oid);
      await fs.unmount();
      await device.close();
      checkByGit(image, oid);
    },
  );

  /** git itself on what lies in the image, brought out by tar. */
  function checkByGit(image: string, oid: string): void {
    execFileSync(which('e2fsck'), ['-fn', image], { stdio: 'pipe' });
    const seen = mountSync(openFile(image, { readOnly: true }));
    const out = nodefs.mkdtempSync(join(base, 'out-'));
    copyOut(seen as unknown as typeof nodefs, '/srv/app', out);
    seen.unmountSync();
    const run = (...args: string[]) =>
      execFileSync('git', ['-c', 'safe.directory=*', ...args], {
        cwd: out,
        encoding: 'utf8',
        stdio: 'pipe',
      });
    expect(run('fsck', '--full', '--strict')).toBe('');
    expect(run('rev-parse', 'HEAD').trim()).toBe(oid);
    run('update-index', '--refresh', '-q');
    expect(run('status', '--porcelain')).toBe('');
    expect(run('ls-files').split('\n')).toContain('src/new.txt');
  }

  function copyOut(from: typeof nodefs, path: string, to: string): void {
    for (const entry of from.readdirSync(path, { withFileTypes: true })) {
      const [source, target] = [join(path, entry.name), join(to, entry.name)];
      if (entry.isSymbolicLink()) nodefs.symlinkSync(from.readlinkSync(source), target);
      else if (entry.isDirectory()) {
        nodefs.mkdirSync(target);
        copyOut(from, source, target);
      } else nodefs.writeFileSync(target, from.readFileSync(source));
    }
  }

  test.each(KINDS)('reads a repository in an image: $name', async (kind) => {
    const fs = await kind.open(join(base, 'image'));
    const ours = fs as unknown as Fs;
    const theirs = (await history(nodefs, join(base, 'tree/repo'))) as { root: string };
    expect(await history(ours, '/repo')).toEqual({ ...theirs, root: '/repo' });
    expect(await working(ours, '/repo')).toEqual(await working(nodefs, join(base, 'tree/repo')));
    const at = { fs: ours, dir: '/repo' };
    await expect(git.branch({ ...at, ref: 'new' })).rejects.toMatchObject({ code: 'EROFS' });
    expect(fs.counters().openFiles).toBe(0);
    await fs.unmount();
  });
});
