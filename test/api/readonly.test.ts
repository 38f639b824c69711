// Goal: a read-only mount refuses every change as the kernel's read-only mount of the same image does: same code, same
// syscall, same paths, and what would change nothing succeeds. Method: the kernel mounts the image read-only through a
// loop device, and node:fs and a mount make the same calls; then the image is what it was.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import nodefs from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Ext4 } from '../../ts/index.ts';
import { need, which } from '../need.ts';
import { type Fixture, KINDS, makeFixture } from './fixture.ts';
import { attempt, attemptAsync, attemptCallback, type Outcome } from './outcome.ts';

type AnyFs = Record<string, (...args: unknown[]) => unknown> & {
  promises: Record<string, (...args: unknown[]) => Promise<unknown>>;
};
type Call = [name: string, ...args: unknown[]];

const PLACES = [
  '/file',
  '/dir',
  '/dir/',
  '/link',
  '/dirlink',
  '/broken',
  '/loop',
  '/nowhere',
  '/nowhere/deeper',
  '/file/below',
  '/dir/new',
  '',
];
const each = (name: string, ...rest: unknown[]): Call[] =>
  PLACES.map((path) => [name, path, ...rest]);
const pairs = (name: string, ...rest: unknown[]): Call[] =>
  PLACES.filter(Boolean).flatMap((path): Call[] => [
    [name, path, '/dir/new', ...rest],
    [name, '/file', path, ...rest],
  ]);

const CALLS: Record<string, Call[]> = {
  'modes, owners and times': [
    ...each('chmod', 0o600),
    ...each('chown', 1, 1),
    ...each('lchown', 1, 1),
    ...each('utimes', 1, 2),
    ...each('lutimes', 1, 2),
  ],
  names: [
    ...each('unlink'),
    ...each('rmdir'),
    ...each('mkdir'),
    ...each('mkdir', 0o700),
    ...each('mkdtemp').filter(([, path]) => path !== ''),
    ...pairs('rename'),
    ...pairs('link'),
    ...PLACES.map((path): Call => ['symlink', 'target', path]),
  ],
  'contents by path': [
    ...each('truncate'),
    ...each('truncate', 5),
    ...each('writeFile', 'data'),
    ...each('writeFile', 'data', { flag: 'wx' }),
    ...each('writeFile', 'data', { flag: 'r+' }),
    ...each('appendFile', Buffer.from('data')),
    ...pairs('copyFile'),
    ...pairs('copyFile', 1),
  ],
  access: [...each('access', 2), ...each('access', 6), ['access', '/fifo', 2]],
  'opening for writing': ['r+', 'w', 'wx', 'w+', 'a', 'ax', 'a+', 'rs+'].flatMap((flag) =>
    each('open', flag),
  ),
  'removal and directories, recursive': [
    ...each('rm', { force: true }),
    ...['/file', '/dir', '/nowhere', '/emptydir'].map((path): Call => ['rm', path]),
    ...['/file', '/dir', '/link'].map((path): Call => ['rm', path, { recursive: true }]),
    ...['/dir', '/dir/sub', '/', '/dirlink'].map(
      (path): Call => ['mkdir', path, { recursive: true }],
    ),
    ['mkdir', '/file', { recursive: true }],
  ],
};

const show = ([name, ...args]: Call): string =>
  `${name}(${args.map((arg) => JSON.stringify(arg)).join(', ')})`;

const rooted = (arg: unknown, root: string): unknown =>
  typeof arg === 'string' && arg.startsWith('/') ? root + arg : arg;

const digest = (path: string): string =>
  createHash('sha256').update(nodefs.readFileSync(path)).digest('hex');

const NEEDS = [need.root(), need.loop(), need.tool('mke2fs', 'umount')];

need.describe('a read-only mount and the kernel', NEEDS, () => {
  let fixture: Fixture;
  let root: string;
  let before: string;
  beforeAll(() => {
    fixture = makeFixture();
    before = digest(fixture.image);
    root = join(fixture.tree, '../kernel');
    nodefs.mkdirSync(root);
    execFileSync(which('mount'), ['-o', 'loop,ro', fixture.image, root]);
  });
  afterAll(() => {
    execFileSync(which('umount'), [root]);
    fixture.remove();
  });

  describe.each(KINDS)('$name', (kind) => {
    let fs: Ext4;
    beforeAll(async () => {
      fs = await kind.open(fixture.image);
    });
    afterAll(async () => {
      expect(fs.counters().openFiles).toBe(0);
      await fs.unmount();
      expect(digest(fixture.image)).toBe(before);
    });

    const forms = kind.sync ? ['sync', 'promise', 'callback'] : ['promise', 'callback'];
    describe.each(forms)('%s', (form) => {
      for (const [name, calls] of Object.entries(CALLS)) {
        test(`refuse alike: ${name}`, async () => {
          const mine: Record<string, Outcome> = {};
          const theirs: Record<string, Outcome> = {};
          for (const call of calls) {
            const args = call.slice(1).map((arg) => rooted(arg, root));
            mine[show(call)] = await FORMS[form](fs as unknown as AnyFs, call, call.slice(1), '');
            theirs[show(call)] = await FORMS[form](nodefs as unknown as AnyFs, call, args, root);
            if (call[0] === 'mkdtemp') theirs[show(call)] = hideRandom(theirs[show(call)]);
          }
          expect(mine).toEqual(theirs);
        });
      }
    });

    test.each(['/dir/fresh', '/new/newer', '/new'])('%s cannot be made: EROFS', async (path) => {
      const error = { code: 'EROFS', syscall: 'mkdir', path };
      await expect(fs.promises.mkdir(path, { recursive: true })).rejects.toMatchObject(error);
    });

    if (kind.sync) {
      test('refuse alike what is asked of an open file', () => {
        const nodeFd = nodefs.openSync(`${root}/file`, 'r');
        const fd = fs.openSync('/file', 'r');
        const mine = onDescriptor(fs as unknown as typeof nodefs, fd);
        const theirs = onDescriptor(nodefs, nodeFd);
        nodefs.closeSync(nodeFd);
        fs.closeSync(fd);
        expect(mine).toEqual(theirs);
      });
    }

    test('refuse alike what is asked of a FileHandle', async () => {
      const mine = await onHandle(await fs.promises.open('/file'));
      const theirs = await onHandle(await nodefs.promises.open(`${root}/file`));
      expect(mine).toEqual(theirs);
    });
  });

  test('stat, statfs and the order of an opened directory are the kernel’s', async () => {
    const fs = await KINDS[0].open(fixture.image);
    for (const path of ['/', '/file', '/dir', '/sparse', '/fifo', '/big.bin', '/many']) {
      const mine = fs.lstatSync(path, { bigint: true });
      const theirs = nodefs.lstatSync(root + path, { bigint: true });
      expect({ ...mine, dev: 0n }).toEqual({ ...theirs, dev: 0n });
      expect(Object.keys(mine)).toEqual(Object.keys(theirs));
      expect({ ...fs.statSync(path), dev: 0 }).toEqual({ ...nodefs.statSync(root + path), dev: 0 });
    }
    expect(fs.statfsSync('/')).toEqual({ ...nodefs.statfsSync(root) });
    const names = (from: typeof nodefs, path: string) => {
      const dir = from.opendirSync(path);
      const found: string[] = [];
      for (let entry = dir.readSync(); entry; entry = dir.readSync()) found.push(entry.name);
      dir.closeSync();
      return found;
    };
    expect(names(fs as unknown as typeof nodefs, '/many')).toEqual(names(nodefs, `${root}/many`));
    await fs.unmount();
  });
});

/** Node shows the name that mkdtemp drew, or the template: either way the template. */
function hideRandom(outcome: Outcome): Outcome {
  if (!('error' in outcome)) return outcome;
  const { path, message } = outcome.error as { path: string; message: string };
  const template = path.replace(/.{6}$/, 'XXXXXX');
  return { error: { ...outcome.error, path: template, message: message.replace(path, template) } };
}

function onDescriptor(fs: typeof nodefs, fd: number): Outcome[] {
  const data = Buffer.from('data');
  return [
    () => fs.writeSync(fd, data),
    () => fs.writeSync(fd, data, 1, 2, 3),
    () => fs.writeSync(fd, data, 5),
    () => fs.writeSync(fd, data, 0, 5),
    () => fs.writeSync(fd, 'text', 0, 'utf8'),
    () => fs.writeSync(fd, 'text', 0, 'klingon' as never),
    () => fs.writeSync(fd, 5 as never),
    () => fs.writevSync(fd, [data]),
    () => fs.writevSync(fd, []),
    () => fs.writeFileSync(fd, data),
    () => fs.appendFileSync(fd, 'text'),
    () => fs.ftruncateSync(fd, 0),
    () => fs.ftruncateSync(fd, 'x' as never),
    () => fs.fchmodSync(fd, 0o600),
    () => fs.fchmodSync(fd, 'x'),
    () => fs.fchownSync(fd, 1, 1),
    () => fs.futimesSync(fd, 1, 1),
    () => fs.futimesSync(fd, 'x', 1),
    () => fs.fsyncSync(fd),
    () => fs.fdatasyncSync(fd),
  ].map((call) => attempt(call));
}

async function onHandle(handle: object): Promise<Outcome[]> {
  const methods = handle as Record<string, (...args: unknown[]) => Promise<unknown>>;
  const calls: [string, ...unknown[]][] = [
    ['write', Buffer.from('data')],
    ['write', 'text'],
    ['writev', [Buffer.from('data')]],
    ['writeFile', 'text'],
    ['appendFile', 'text'],
    ['truncate', 3],
    ['truncate', 'x'],
    ['chmod', 0o600],
    ['chown', 1, 1],
    ['utimes', 1, 1],
    ['sync'],
    ['datasync'],
  ];
  const found: Outcome[] = [];
  for (const [name, ...args] of calls) found.push(await attemptAsync(() => methods[name](...args)));
  await methods.close();
  return found;
}

type Run = (fs: AnyFs, call: Call, args: unknown[], root: string) => Promise<Outcome>;

const FORMS: Record<string, Run> = {
  sync: async (fs, [name], args, root) => attempt(() => fs[`${name}Sync`](...args), root),
  promise: (fs, [name], args, root) => attemptAsync(() => fs.promises[name](...args), root),
  callback: (fs, [name], args, root) => attemptCallback((done) => fs[name](...args, done), root),
};
