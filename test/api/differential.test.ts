// Goal: on a tree and on an image of it, node:fs and a mount say the same, in every form: values, and errors with code,
// errno, syscall, path and message. Method: one list of calls, made synchronously, with promises and with callbacks on
// both sides, on every kind of mount; the tree's place is taken out of what node:fs says.

import nodefs from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Ext4 } from '../../ts/index.ts';
import { need } from '../need.ts';
import { type Fixture, KINDS, makeFixture } from './fixture.ts';
import { attempt, attemptAsync, attemptCallback, type Outcome } from './outcome.ts';

type AnyFs = Record<string, (...args: unknown[]) => unknown> & {
  promises: Record<string, (...args: unknown[]) => Promise<unknown>>;
};
type Call = [name: string, ...args: unknown[]];

/** Paths stand for the tree's: a string that starts with '/', or a Buffer, gets the root put before it. */
function rooted(arg: unknown, root: string): unknown {
  if (typeof arg === 'string' && arg.startsWith('/')) return root + arg;
  if (Buffer.isBuffer(arg)) return Buffer.concat([Buffer.from(root), arg]);
  if (arg instanceof URL) return new URL(`file://${root}${arg.pathname}`);
  return arg;
}

const RAW = Buffer.concat([Buffer.from('/raw-'), Buffer.of(0xff, 0xfe)]);
const LONG = 'n'.repeat(255);
const TOO_LONG = `/${'a/'.repeat(2200)}`;

const PATHS = [
  '/',
  '/file',
  '/empty',
  '/big.bin',
  '/ünï-日本',
  '/dir',
  '/dir/',
  '/file/',
  '/emptydir',
  '/emptydir/.',
  '/dir/../file',
  '//dir//sub/',
  '/link',
  '/dirlink',
  '/dirlink/',
  '/dirlink/up',
  '/chain/deep/../deep/file',
  '/broken',
  '/broken/',
  '/broken/x',
  '/loop',
  '/loop/x',
  '/loopa',
  '/dir/loop',
  '/fifo',
  '/nowhere',
  '/nowhere/deeper',
  '/file/below',
  '/link/below',
  `/${LONG}`,
  `/${LONG}x`,
  TOO_LONG,
  RAW,
  Buffer.from('/nowhere'),
  new URL('file:///dir/%C3%BC'),
  new URL('file:///dir/sub'),
];

const each = (name: string, ...rest: unknown[]): Call[] =>
  PATHS.map((path) => [name, path, ...rest]);
const files = PATHS.filter((path) => path !== '/fifo');

/** Opening a fifo waits for a writer in the kernel. */
const eachFile = (name: string, ...rest: unknown[]): Call[] =>
  files.map((path) => [name, path, ...rest]);

const ENCODINGS = ['utf8', 'buffer', 'latin1', 'hex', 'base64', 'base64url', 'utf16le', 'ascii'];

const CALLS: Record<string, Call[]> = {
  'access and exists': [
    ...each('access'),
    ...[0, 1, 4, 5].flatMap((mode) => each('access', mode)),
    ...each('exists'),
  ],
  readlink: [
    ...each('readlink'),
    ...ENCODINGS.map((encoding): Call => ['readlink', '/link', encoding]),
    ['readlink', '/longlink', { encoding: 'buffer' }],
  ],
  realpath: [
    // The C library walks a path that is too long for the kernel, and says what its first name is.
    ...each('realpath').filter(([, path]) => typeof path === 'string' && path !== TOO_LONG),
    ...ENCODINGS.slice(0, 2).map((encoding): Call => ['realpath', '/file', { encoding }]),
  ],
  readdir: [
    ...each('readdir'),
    ...each('readdir', { withFileTypes: true }),
    ...ENCODINGS.map((encoding): Call => ['readdir', '/dir', encoding]),
    ['readdir', '/', { encoding: 'buffer', withFileTypes: true }],
    ['readdir', '/', { recursive: true, withFileTypes: true }],
    ['readdir', '/dir/', { recursive: true, withFileTypes: true }],
    ['readdir', '/dir', { recursive: true }],
    ['readdir', '/many', { recursive: true }],
    ['readdir', '/nowhere', { recursive: true }],
    ['readdir', '/file', { recursive: true }],
    ['readdir', '/', null],
  ],
  readFile: [
    ...eachFile('readFile'),
    ...eachFile('readFile', 'utf8'),
    ...ENCODINGS.filter((one) => one !== 'buffer').map(
      (encoding): Call => ['readFile', '/dir/text.txt', { encoding }],
    ),
    ['readFile', '/sparse'],
    ['readFile', '/file', { encoding: null, flag: 'r' }],
    ['readFile', '/file', { flag: 'rs' }],
    ['readFile', '/nowhere', { flag: 'r' }],
    ['readFile', Buffer.from('/file'), { encoding: 'latin1' }],
  ],
  statfs: each('statfs', { bigint: true }).filter(([, path]) => path === '/nowhere'),
};

/** Stat calls are compared by what an image made by mke2fs -d keeps, which is nothing of the root. */
const STAT_CALLS: Call[] = [
  ...each('stat'),
  ...each('lstat'),
  ...each('stat', { bigint: true }),
  ...each('lstat', { bigint: true }),
  ...each('stat', { throwIfNoEntry: false }),
  ...each('lstat', { throwIfNoEntry: false, bigint: true }),
].filter(([, path]) => path !== '/') as Call[];

const KEPT = /^(mode|uid|gid|rdev|mtime(Ms|Ns)?|is[A-Z].*)$/;
const KEPT_OF_FILES = /^(nlink|size)$/;

function comparable(outcome: Outcome): Outcome {
  if ('error' in outcome) return outcome;
  const value = Array.isArray(outcome.value) ? outcome.value[1] : outcome.value;
  if (typeof value !== 'object' || value === null) return outcome;
  const isDirectory = (value as { isDirectory: boolean }).isDirectory;
  const kept = Object.entries(value).filter(
    ([key]) => KEPT.test(key) || (!isDirectory && KEPT_OF_FILES.test(key)),
  );
  return { value: { ...Object.fromEntries(kept), keys: Object.keys(value) } };
}

const show = ([name, ...args]: Call): string =>
  `${name}(${args.map((a) => String(JSON.stringify(a)).slice(0, 60)).join(', ')})`;

need.describe('a mount and node:fs', [need.tool('mke2fs')], () => {
  let fixture: Fixture;
  beforeAll(() => {
    fixture = makeFixture();
  });
  afterAll(() => fixture.remove());

  const node = nodefs as unknown as AnyFs;
  const nodeArgs = (args: unknown[]) => args.map((arg) => rooted(arg, fixture.tree));

  describe.each(KINDS)('$name', (kind) => {
    let fs: Ext4;
    let ours: AnyFs;
    beforeAll(async () => {
      fs = await kind.open(fixture.image);
      ours = fs as unknown as AnyFs;
    });
    afterAll(async () => {
      expect(fs.counters().openFiles).toBe(0);
      expect(fs.counters().pins).toBe(0);
      await fs.unmount();
    });

    async function compare(calls: Call[], form: string, view: (o: Outcome) => Outcome = (o) => o) {
      const mine: Record<string, Outcome> = {};
      const theirs: Record<string, Outcome> = {};
      for (const call of calls) {
        mine[show(call)] = view(await FORMS[form](ours, call[0], call.slice(1), ''));
        const args = nodeArgs(call.slice(1));
        theirs[show(call)] = view(await FORMS[form](node, call[0], args, fixture.tree));
      }
      expect(mine).toEqual(theirs);
    }

    const forms = kind.sync ? ['sync', 'promise', 'callback'] : ['promise', 'callback'];
    describe.each(forms)('%s', (form) => {
      for (const [name, calls] of Object.entries(CALLS)) {
        test(`say the same of ${name}`, async () => {
          await compare(
            calls.filter((call) => inForm(call, form)),
            form,
          );
        });
      }

      test('say the same of stat and lstat', async () => {
        await compare(STAT_CALLS, form, comparable);
      });
    });
  });
});

/** Left out: what Node does not have, and its recursive listing with a callback, which throws its errors. */
function inForm([name, path, options]: Call, form: string): boolean {
  const { recursive } = (options ?? {}) as { recursive?: boolean };
  const throws = recursive === true && (path === '/nowhere' || path === '/file');
  if (form === 'callback') return !throws;
  return !(name === 'exists' && form === 'promise');
}

type Run = (fs: AnyFs, name: string, args: unknown[], root: string) => Promise<Outcome>;

const FORMS: Record<string, Run> = {
  sync: async (fs, name, args, root) => attempt(() => fs[`${name}Sync`](...args), root),
  promise: (fs, name, args, root) => attemptAsync(() => fs.promises[name](...args), root),
  callback: (fs, name, args, root) => attemptCallback((done) => fs[name](...args, done), root),
};
