// Goal: reading through descriptors is node:fs's: every shape of read, positions, short reads, closed and foreign
// descriptors. Method: each scenario runs on a tree with node:fs and on its image with a mount, and returns all it saw;
// scenarios on FileHandles run the same way.

import type { EventEmitter } from 'node:events';
import nodefs from 'node:fs';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Ext4 } from '../../ts/index.ts';
import { need } from '../need.ts';
import { type Fixture, KINDS, makeFixture } from './fixture.ts';
import { attempt, attemptAsync, attemptCallback, plain } from './outcome.ts';

type Fs = typeof nodefs;
type At = (path: string) => string;

/** Arguments of read after the descriptor, and of FileHandle.read. */
const READS: unknown[][] = [
  [Buffer.alloc(5), 0, 5, 0],
  [Buffer.alloc(5), 0, 5, null],
  [Buffer.alloc(5), 0, 5, -1],
  [Buffer.alloc(5), 2, 3, 4],
  [Buffer.alloc(20), 3, 17, 6n],
  [Buffer.alloc(20), 3, 17, 100],
  [Buffer.alloc(4), 0, 0, 0],
  [new Uint16Array(3), 0, 6, 0],
  [new DataView(new ArrayBuffer(6), 2, 3), 0, 3, 1],
  [new Uint8Array(new SharedArrayBuffer(8)), 1, 4, 0],
  [Buffer.alloc(6), { offset: 1, length: 3, position: 2 }],
  [Buffer.alloc(6), { position: 5 }],
  [Buffer.alloc(6)],
  [Buffer.alloc(0), 0, 1, 0],
  [Buffer.alloc(5), 6, 1, 0],
  [Buffer.alloc(5), 0, 6, 0],
  [Buffer.alloc(5), -1, 2, 0],
  [Buffer.alloc(5), 1.5, 2, 0],
  [Buffer.alloc(5), 0, -2, 0],
  [Buffer.alloc(5), '0', 2, 0],
  ['text', 0, 2, 0],
];

const SYNC_ONLY: unknown[][] = [
  [Buffer.alloc(5), 0, 5, 1.5],
  [Buffer.alloc(5), 0, 5, '0'],
  [Buffer.alloc(5), 0, 5, -2],
  [Buffer.alloc(5), 0, 5, 2n ** 64n],
  [Buffer.alloc(5), undefined, undefined, undefined],
  [undefined],
];

/** The buffer of a read, and what came back. */
function seen(args: unknown[], outcome: unknown): unknown {
  const [view] = args;
  const bytes = ArrayBuffer.isView(view)
    ? plain(Buffer.from(view.buffer, view.byteOffset, view.byteLength), '')
    : view;
  return { outcome, bytes };
}

const copyOf = (args: unknown[]): unknown[] => {
  const [view, ...rest] = args;
  if (Buffer.isBuffer(view)) return [Buffer.from(view), ...rest];
  return ArrayBuffer.isView(view) ? [structuredClone(view), ...rest] : args;
};

function syncReads(fs: Fs, at: At): unknown[] {
  const fd = fs.openSync(at('/file'), 'r');
  const read = fs.readSync as unknown as (...args: unknown[]) => number;
  const all = [...READS, ...SYNC_ONLY].map((given) => {
    const args = copyOf(given);
    return seen(
      args,
      attempt(() => read(fd, ...args)),
    );
  });
  fs.closeSync(fd);
  return all;
}

async function callbackReads(fs: Fs, at: At): Promise<unknown[]> {
  const fd = fs.openSync(at('/file'), 'r');
  const read = fs.read as unknown as (...args: unknown[]) => void;
  const all: unknown[] = [];
  for (const given of [...READS, [], [{ position: 3 }], [undefined], [null]]) {
    const args = copyOf(given);
    all.push(seen(args, await attemptCallback((done) => read(fd, ...args, done))));
  }
  fs.closeSync(fd);
  return all;
}

async function handleReads(fs: Fs, at: At): Promise<unknown[]> {
  const handle = await fs.promises.open(at('/file'));
  const read = handle.read.bind(handle) as unknown as (...args: unknown[]) => Promise<unknown>;
  const all: unknown[] = [];
  // Node's FileHandle takes no bigint position and no text for a buffer in a way of its own.
  const known = READS.filter((given) => given[3] !== 6n && given[0] !== 'text');
  for (const given of [...known, [], [{ position: 3 }], [null], [{ buffer: Buffer.alloc(3) }]]) {
    const args = copyOf(given);
    all.push(seen(args, await attemptAsync(() => read(...args))));
  }
  await handle.close();
  return all;
}

/** Whole files by small pieces, from the file's own position. */
function pieces(fs: Fs, at: At): unknown[] {
  const fd = fs.openSync(at('/big.bin'), 'r');
  const found: unknown[] = [];
  const buffer = Buffer.alloc(70_001);
  for (let i = 0; i < 6; i++) {
    const count = fs.readSync(fd, buffer, 0, buffer.length, null);
    found.push([count, buffer.subarray(0, count).toString('base64')]);
  }
  fs.closeSync(fd);
  return found;
}

function vectors(fs: Fs, at: At): unknown[] {
  const fd = fs.openSync(at('/file'), 'r');
  const some = () => [Buffer.alloc(3), new Uint16Array(2), Buffer.alloc(0), Buffer.alloc(20)];
  const results = [undefined, null, 0, 2, 100, -1].map((position) => {
    const buffers = some();
    return plain([fs.readvSync(fd, buffers, position as never), buffers], '');
  });
  const bad = [
    attempt(() => fs.readvSync(fd, 'no' as never)),
    attempt(() => fs.readvSync(fd, [Buffer.alloc(1), 'no'] as never)),
    attempt(() => fs.readvSync(fd, [])),
  ];
  fs.closeSync(fd);
  return [...results, ...bad];
}

/** Files read by descriptor go on from where the descriptor stands. */
function readRest(fs: Fs, at: At): unknown[] {
  const fd = fs.openSync(at('/file'), 'r');
  fs.readSync(fd, Buffer.alloc(3), 0, 3, null);
  const found = [fs.readFileSync(fd, 'utf8'), fs.readFileSync(fd, 'utf8')];
  fs.closeSync(fd);
  return found;
}

function wrongDescriptors(fs: Fs, at: At): unknown[] {
  const dir = fs.openSync(at('/dir'), 'r');
  const found = [
    attempt(() => fs.readSync(dir, Buffer.alloc(4), 0, 4, 0)),
    attempt(() => fs.readFileSync(dir)),
    attempt(() => fs.fstatSync(dir).isDirectory()),
    attempt(() => fs.fsyncSync(dir)),
  ];
  fs.closeSync(dir);
  const closed = 1_000_000;
  const values = [closed, -1, 1.5, '3', undefined, null, {}, 2 ** 31, Number.NaN];
  const names = ['closeSync', 'fstatSync', 'fsyncSync', 'fdatasyncSync', 'readSync'] as const;
  for (const name of names) {
    for (const fd of values) {
      const call = fs[name] as unknown as (...args: unknown[]) => unknown;
      const rest = name === 'readSync' ? [Buffer.alloc(1), 0, 1, 0] : [];
      found.push(attempt(() => call(fd, ...rest)));
    }
  }
  return found;
}

const FLAGS = [
  'r',
  'rs',
  'sr',
  0,
  0o4010000,
  0o400000,
  0o200000,
  null,
  undefined,
  'bad',
  '',
  {},
  1.5,
];

function flags(fs: Fs, at: At): unknown[] {
  const found: unknown[] = [];
  for (const path of ['/file', '/link', '/dir', '/broken', '/loop', '/nowhere']) {
    for (const flag of FLAGS) {
      const outcome = attempt(() => fs.openSync(at(path), flag as never), at(''));
      if ('value' in outcome) fs.closeSync(outcome.value as number);
      found.push([path, flag, 'value' in outcome ? 'opened' : outcome]);
    }
  }
  return found;
}

async function handles(fs: Fs, at: At): Promise<unknown[]> {
  const handle = await fs.promises.open(at('/file'));
  const buffers = [Buffer.alloc(4), Buffer.alloc(4)];
  const found: unknown[] = [
    typeof handle.fd,
    plain(await handle.readv(buffers, 1), ''),
    (await handle.readFile('latin1')).length,
    (await handle.readFile()).length,
    (await handle.stat({ bigint: true })).size,
    await handle.sync(),
    await handle.datasync(),
  ];
  const events: string[] = [];
  (handle as unknown as EventEmitter).on('close', () => events.push('close'));
  const closing = handle.close();
  found.push(handle.fd, await closing, await handle.close(), events);
  const methods = handle as unknown as Record<string, () => Promise<unknown>>;
  for (const name of ['stat', 'read', 'readFile', 'sync', 'readv'])
    found.push(await attemptAsync(() => methods[name]()));
  found.push(attempt(() => handle.readableWebStream()));
  return found;
}

/** Shapes that util.promisify gives. */
async function promisified(fs: Fs, at: At): Promise<unknown[]> {
  const fd = await promisify(fs.open)(at('/file'), 'r');
  const { bytesRead, buffer } = await promisify(fs.read)(fd, Buffer.alloc(4), 0, 4, 1);
  const vector = await promisify(fs.readv)(fd, [Buffer.alloc(4)], 2);
  const found = [
    bytesRead,
    plain(buffer, ''),
    plain(vector, ''),
    await promisify(fs.exists)(at('/file')),
    await promisify(fs.exists)(at('/nowhere')),
    (await promisify(fs.stat)(at('/file'))).size,
    await promisify(fs.readFile)(at('/file'), 'utf8'),
  ];
  await promisify(fs.close)(fd);
  return found;
}

type Scenario = (fs: Fs, at: At) => unknown;
const SYNCHRONOUS: Record<string, Scenario> = {
  'readSync in every shape': syncReads,
  'read with a callback in every shape': callbackReads,
  'reading in pieces from where the file stands': pieces,
  readvSync: vectors,
  'readFileSync of a descriptor': readRest,
  'descriptors that are wrong': wrongDescriptors,
  'open flags': flags,
};
const ANY: Record<string, Scenario> = {
  'FileHandle.read in every shape': handleReads,
  'a FileHandle and its end': handles,
  'promisified calls': promisified,
};

need.describe('descriptors of a mount and of node:fs', [need.tool('mke2fs')], () => {
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
    afterAll(async () => {
      expect(fs.counters().openFiles).toBe(0);
      await fs.unmount();
    });

    for (const [name, scenario] of Object.entries({ ...ANY, ...(kind.sync ? SYNCHRONOUS : {}) })) {
      test(`are the same: ${name}`, async () => {
        const mine = await scenario(fs as unknown as Fs, (path) => path);
        const theirs = await scenario(nodefs, (path) => fixture.tree + path);
        expect(mine).toEqual(theirs);
      });
    }

    if (!kind.sync) {
      test('synchronous calls say that the mount is asynchronous', () => {
        const calls = [
          () => fs.readFileSync('/file'),
          () => fs.statSync('/file'),
          () => fs.existsSync('/file'),
          () => fs.readdirSync('/'),
        ];
        for (const call of calls) expect(call).toThrow(/EOPNOTSUPP.*this mount is asynchronous/);
      });
    }
  });
});
