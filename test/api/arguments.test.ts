// Goal: a wrong argument gives the error that Node gives, from the same form and at the same time (thrown, or a
// rejection), and touches nothing. Method: calls with wrong arguments on node:fs and on a mount, compared with class,
// code and message. Nothing here names a file that is there, so that node:fs has nothing to harm.

import nodefs from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Ext4 } from '../../ts/index.ts';
import { need } from '../need.ts';
import { type Fixture, KINDS, makeFixture } from './fixture.ts';
import { attempt, attemptAsync, attemptCallback } from './outcome.ts';

type AnyFs = Record<string, (...args: unknown[]) => unknown> & {
  promises: Record<string, (...args: unknown[]) => Promise<unknown>>;
};
type Call = [name: string, ...args: unknown[]];

class Odd {}
const NOWHERE = '/nowhere-at-all/x';

/** Nothing that is a path. */
const NOT_PATHS = [
  undefined,
  null,
  {},
  [],
  true,
  () => {},
  new Odd(),
  Object.create(null),
  Symbol('s'),
  'a\0b',
  `it's\0`,
  Buffer.from('a\0b'),
  new Uint16Array(2),
  new URL('http://host/x'),
  new URL('file://host/x'),
  new URL('file:///a%2Fb'),
  new URL('file:///a%00b'),
];

const ONE_PATH: Call[] = [
  ['access'],
  ['chmod', 0o644],
  ['chown', 1, 1],
  ['lchown', 1, 1],
  ['lstat'],
  ['lutimes', 1, 1],
  ['mkdir'],
  ['mkdtemp'],
  ['open'],
  ['opendir'],
  ['readFile'],
  ['readdir'],
  ['readlink'],
  ['rm'],
  ['rmdir'],
  ['stat'],
  ['statfs'],
  ['truncate'],
  ['unlink'],
  ['utimes', 1, 1],
  ['writeFile', 'data'],
  ['appendFile', 'data'],
].map(([name, ...rest]) => [name as string, undefined, ...rest]);

const TWO_PATHS = ['copyFile', 'cp', 'link', 'rename', 'symlink'];

/** Where a descriptor will do, Node tries to make a number of these, which it cannot. */
const ODD_NUMBER = (name: string, path: unknown): boolean =>
  /File$/.test(name) && (typeof path === 'symbol' || (!!path && !Object.getPrototypeOf(path)));

const onePath = (wrong: unknown[]): Call[] =>
  ONE_PATH.flatMap(([name, , ...rest]) =>
    wrong.filter((path) => !ODD_NUMBER(name, path)).map((path): Call => [name, path, ...rest]),
  );
const twoPaths = (wrong: unknown[]): Call[] =>
  TWO_PATHS.flatMap((name) =>
    wrong.flatMap((path): Call[] => [
      [name, path, NOWHERE],
      [name, NOWHERE, path],
    ]),
  );

const rest = (name: string, ...lists: unknown[][]): Call[] =>
  lists.map((args) => [name, NOWHERE, ...args]);

const MODES = ['', '8', 'x', -1, 1.5, 2 ** 32, {}, true, null];
const IDS = [-2, 1.5, '1', 2 ** 32, null, undefined, Number.NaN];
const TIMES = [undefined, null, {}, 'soon', true, Number.NaN];
const OPTIONS = [true, 5, Symbol('o'), 'klingon', { encoding: 'klingon' }, { signal: 1 }];

const CALLS: Record<string, Call[]> = {
  'paths that are none': onePath(NOT_PATHS),
  'two paths of which one is none': twoPaths(NOT_PATHS.slice(0, 10)),
  modes: [
    ...MODES.flatMap((mode) => [...rest('chmod', [mode]), ...rest('open', ['r', mode])]),
    ...MODES.map((mode): Call => ['mkdir', NOWHERE, { mode }]),
  ].filter(([name, , mode]) => !(name === 'chmod' && mode === null)),
  'owners and times': [
    ...IDS.flatMap((id) => [...rest('chown', [id, 1], [1, id]), ...rest('lchown', [id, 1])]),
    ...TIMES.flatMap((time) => [
      ...rest('utimes', [time, 1], [1, time]),
      ...rest('lutimes', [time, 1]),
    ]),
  ],
  options: [
    ...OPTIONS.flatMap((options) =>
      ['readFile', 'readdir', 'readlink', 'opendir', 'mkdtemp'].map(
        (name): Call => [name, NOWHERE, options],
      ),
    ),
    ['readdir', NOWHERE, { recursive: 'yes' }],
    ['mkdir', NOWHERE, { recursive: 1 }],
    ...[{ force: 1 }, { recursive: 'x' }, { maxRetries: -1 }, { retryDelay: 'x' }, 5].map(
      (options): Call => ['rm', NOWHERE, options],
    ),
    ['rmdir', NOWHERE, { maxRetries: 1.5 }],
    ['cp', NOWHERE, NOWHERE, { recursive: 1 }],
    ['cp', NOWHERE, NOWHERE, { dereference: true, verbatimSymlinks: true }],
    ['cp', NOWHERE, NOWHERE, { filter: 5 }],
    ['cp', NOWHERE, NOWHERE, 5],
  ],
  flags: [
    ...['x', '', 'rw', {}, [], true, 1.5].flatMap((flag): Call[] => [
      ['open', NOWHERE, flag],
      ['readFile', NOWHERE, { flag }],
    ]),
  ].filter(([name, , flag]) => !(name === 'readFile' && (flag as { flag: unknown }).flag === '')),
  data: [undefined, null, 5, {}, [], true, Symbol('d')].flatMap((data): Call[] => [
    ['writeFile', NOWHERE, data],
    ['appendFile', NOWHERE, data],
  ]),
  lengths: ['1', 1.5, {}, null, Number.NaN].map((len): Call => ['truncate', NOWHERE, len]),
};

const show = ([name, ...args]: Call): string =>
  `${name}(${args.map((arg) => (arg instanceof URL ? arg.href : describe(arg))).join(', ')})`;

function describe(arg: unknown): string {
  if (typeof arg === 'object' && arg !== null && Object.getPrototypeOf(arg) === null)
    return 'null {}';
  return typeof arg === 'object' ? JSON.stringify(arg) : String(arg);
}

need.describe('wrong arguments', [need.tool('mke2fs')], () => {
  let fixture: Fixture;
  let fs: Ext4;
  beforeAll(async () => {
    fixture = makeFixture();
    fs = await KINDS[0].open(fixture.image);
  });
  afterAll(async () => {
    await fs.unmount();
    fixture.remove();
  });

  const both = () => [fs as unknown as AnyFs, nodefs as unknown as AnyFs];

  for (const [name, calls] of Object.entries(CALLS)) {
    test(`are refused as Node refuses them, synchronously: ${name}`, () => {
      const [mine, theirs] = both().map((one) =>
        calls.map((call) => [show(call), attempt(() => one[`${call[0]}Sync`](...call.slice(1)))]),
      );
      expect(mine).toEqual(theirs);
    });

    test(`are refused as Node refuses them, by rejection: ${name}`, async () => {
      const seen: unknown[][] = [[], []];
      for (const call of calls.filter((one) => !iterableData(one))) {
        for (const [i, one] of both().entries())
          seen[i].push([
            show(call),
            await attemptAsync(() => one.promises[call[0]](...call.slice(1))),
          ]);
      }
      expect(seen[0]).toEqual(seen[1]);
    });
  }

  test('are thrown at the call in the callback form', async () => {
    const calls: Call[] = [...onePath([undefined, 'a\0b']), ...twoPaths([5])];
    const seen: unknown[][] = [[], []];
    for (const call of calls) {
      for (const [i, one] of both().entries())
        seen[i].push([
          show(call),
          await attemptCallback((done) => one[call[0]](...call.slice(1), done)),
        ]);
    }
    expect(seen[0]).toEqual(seen[1]);
  });

  // Node's rm misses it when it is too late, its symlink takes the last argument for it.
  test('a missing callback is one', () => {
    const two = TWO_PATHS.filter((name) => name !== 'symlink');
    const one = onePath([NOWHERE]).filter(([name]) => name !== 'rm');
    const calls: Call[] = [...one, ...two.map((name): Call => [name, '/x', '/y'])];
    const [mine, theirs] = both().map((one) =>
      calls.map((call) => [show(call), attempt(() => one[call[0]](...call.slice(1)))]),
    );
    expect(mine).toEqual(theirs);
  });
});

/** The promise forms of Node take iterables as data. */
function iterableData([name, , data]: Call): boolean {
  return /^(write|append)File$/.test(name) && Array.isArray(data);
}
