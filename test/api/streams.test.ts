// Goal: streams over a mount are Node's: ranges, sizes, encodings, events and their order, errors, early ends; web
// streams give the same bytes; an aborted readFile stops. Method: each stream is made on a tree with node:fs and
// on its image with a mount, on every kind of mount, and all that it did is compared. Nothing is left open.

import type { EventEmitter } from 'node:events';
import nodefs from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Ext4 } from '../../ts/index.ts';
import { need } from '../need.ts';
import { type Fixture, KINDS, makeFixture, pattern } from './fixture.ts';
import { attempt, failure, type Outcome, plain } from './outcome.ts';

type Fs = typeof nodefs;
type Stream = nodefs.ReadStream & { closed: boolean };

const EVENTS = ['open', 'ready', 'end', 'error', 'close'] as const;

/** Everything a stream did: its events in order, its chunks' sizes, its bytes, its counters. */
async function watch(stream: Stream, root: string): Promise<unknown> {
  const events: string[] = [];
  const errors: Outcome[] = [];
  for (const name of EVENTS) (stream as EventEmitter).on(name, () => events.push(name));
  stream.on('error', (error) => errors.push(failure(error, root)));
  const chunks: (Buffer | string)[] = [];
  stream.on('data', (chunk) => chunks.push(chunk));
  await new Promise<void>((resolve) => stream.once('close', resolve));
  const { bytesRead, path, pending, readableEncoding } = stream;
  const data = chunks.map((chunk) => plain(chunk, root));
  return { events, errors, data, bytesRead, path: plain(path, root), pending, readableEncoding };
}

type Range = Parameters<Fs['createReadStream']>[1];

const RANGES: [path: string, options?: Range][] = [
  ['/file'],
  ['/empty'],
  ['/big.bin'],
  ['/big.bin', { highWaterMark: 1000 }],
  ['/big.bin', { start: 100_000 }],
  ['/big.bin', { end: 100 }],
  ['/big.bin', { start: 65_535, end: 65_536 }],
  ['/big.bin', { start: 5, end: 5, highWaterMark: 1 }],
  ['/big.bin', { start: 300_000, end: 400_000 }],
  ['/big.bin', { start: 400_000 }],
  ['/file', { start: 0, end: 0 }],
  ['/file', 'utf8'],
  ['/dir/text.txt', { encoding: 'utf8', highWaterMark: 3 }],
  ['/file', { encoding: 'hex', start: 2 }],
  ['/file', { emitClose: true, autoClose: true, flags: 'r' }],
  ['/nowhere'],
  ['/dir'],
  ['/file/below', { start: 1 }],
  ['/loop'],
];

const BAD: [path: unknown, options?: unknown][] = [
  ['/file', { start: 5, end: 2 }],
  ['/file', { start: -1 }],
  ['/file', { start: 'x' }],
  ['/file', { end: 1.5 }],
  ['/file', { encoding: 'klingon' }],
  ['/file', { fd: 'x' }],
  ['/file', 5],
  [undefined],
  ['a\0b'],
];

need.describe('streams', [need.tool('mke2fs')], () => {
  let fixture: Fixture;
  beforeAll(() => {
    fixture = makeFixture();
  });
  afterAll(() => fixture.remove());

  describe.each(KINDS)('of a mount: $name', (kind) => {
    let fs: Ext4;
    let ours: Fs;
    beforeAll(async () => {
      fs = await kind.open(fixture.image);
      ours = fs as unknown as Fs;
    });
    afterAll(async () => {
      expect(fs.counters().openFiles).toBe(0);
      expect(fs.counters().pins).toBe(0);
      await fs.unmount();
    });

    test.each(RANGES)('read as Node’s do: %s %j', async (path, options) => {
      const mine = await watch(ours.createReadStream(path, options) as Stream, '');
      const real = nodefs.createReadStream(fixture.tree + path, options) as Stream;
      expect(mine).toEqual(await watch(real, fixture.tree));
    });

    test('refuse wrong arguments at once', () => {
      const make = (from: Fs) =>
        BAD.map(([path, options]) =>
          attempt(() => from.createReadStream(path as string, options as Range)),
        );
      expect(make(ours)).toEqual(make(nodefs));
    });

    test('read a FileHandle and close it', async () => {
      const made = async (from: Fs, root: string) => {
        const handle = await from.promises.open(`${root}/big.bin`);
        const range = { start: 10, end: 99_999, highWaterMark: 30_000 };
        const seen = await watch(handle.createReadStream(range) as Stream, root);
        return [seen, handle.fd];
      };
      expect(await made(ours, '')).toEqual(await made(nodefs, fixture.tree));
    });

    test('read a descriptor from where it stands', async () => {
      const made = async (from: Fs, root: string) => {
        const handle = await from.promises.open(`${root}/file`);
        await handle.read(Buffer.alloc(6), 0, 6, null);
        const stream = from.createReadStream('', { fd: handle.fd, autoClose: false });
        const chunks: unknown[] = [];
        for await (const chunk of stream) chunks.push(plain(chunk, root));
        await handle.close();
        return chunks;
      };
      expect(await made(ours, '')).toEqual(await made(nodefs, fixture.tree));
    });

    test('let go of the file when they are destroyed half way', async () => {
      const stream = ours.createReadStream('/big.bin', { highWaterMark: 1000 });
      for await (const chunk of stream) {
        expect(chunk.length).toBe(1000);
        break;
      }
      if (!stream.closed) await new Promise<void>((resolve) => stream.once('close', resolve));
      expect(fs.counters().openFiles).toBe(0);
      const handle = await fs.promises.open('/big.bin');
      const other = handle.createReadStream({ highWaterMark: 10 });
      await handle.close();
      await new Promise<void>((resolve) => other.once('close', resolve));
      expect(fs.counters().openFiles).toBe(0);
    });

    test('can be aborted', async () => {
      const made = async (from: Fs, root: string) => {
        const control = new AbortController();
        const options = { signal: control.signal, highWaterMark: 10 };
        const stream = from.createReadStream(`${root}/big.bin`, options as Range);
        stream.once('data', () => control.abort());
        const { errors } = (await watch(stream as Stream, root)) as { errors: unknown };
        return errors;
      };
      expect(await made(ours, '')).toEqual(await made(nodefs, fixture.tree));
    });

    test('go through a pipeline', async () => {
      const chunks: Buffer[] = [];
      await pipeline(ours.createReadStream('/big.bin'), async (source) => {
        for await (const chunk of source) chunks.push(chunk as Buffer);
      });
      expect(Buffer.concat(chunks).equals(pattern(300_001))).toBe(true);
    });

    test('that would write end with EROFS', async () => {
      const stream = ours.createWriteStream('/file');
      stream.write('data');
      const error = await new Promise<Error>((resolve) => stream.once('error', resolve));
      expect(error).toMatchObject({ code: 'EROFS', syscall: 'open', path: '/file' });
    });

    test('of the web give the same bytes, whole and in part', async () => {
      const all = async (stream: ReadableStream<Uint8Array>) =>
        Buffer.from(await new Response(stream).arrayBuffer());
      const whole = pattern(300_001);
      expect((await all(fs.stream('/big.bin'))).equals(whole)).toBe(true);
      const range = { start: 1000, end: 99_999, highWaterMark: 777 };
      expect((await all(fs.stream('/big.bin', range))).equals(whole.subarray(1000, 100_000))).toBe(
        true,
      );
      expect((await all(fs.stream('/empty'))).length).toBe(0);
      await expect(all(fs.stream('/nowhere'))).rejects.toMatchObject({ code: 'ENOENT' });
      await expect(all(fs.stream('/dir'))).rejects.toMatchObject({ code: 'EISDIR' });
      expect(() => fs.stream('/file', { start: 5, end: 2 })).toThrow(/out of range/);
      expect(() => fs.stream(5 as never)).toThrow(/"path" argument/);
      const reader = fs.stream('/big.bin').getReader();
      expect((await reader.read()).value?.length).toBe(65_536);
      await reader.cancel();
      await fs.stream('/big.bin').cancel();
    });

    test('of the web over a FileHandle lock it and close it', async () => {
      const handle = await fs.promises.open('/big.bin');
      await handle.read(Buffer.alloc(1), 0, 1, null);
      const stream = handle.readableWebStream();
      expect(() => handle.readableWebStream()).toThrow('Invalid state: The FileHandle is locked');
      const bytes = Buffer.from(await new Response(stream).arrayBuffer());
      expect(bytes.equals(pattern(300_001).subarray(1))).toBe(true);
      expect(handle.fd).toBe(-1);
    });

    test('of lines end them as Node’s readLines', async () => {
      const made = async (from: Fs, root: string) => {
        const lines: string[] = [];
        const handle = await from.promises.open(`${root}/lines`);
        for await (const line of handle.readLines()) lines.push(line);
        return lines;
      };
      expect(await made(ours, '')).toEqual(await made(nodefs, fixture.tree));
      expect(await made(ours, '')).toEqual(['one', 'two', '', 'three', 'four äöü', 'last']);
    });
  });
});

need.describe('readFile with a signal', [need.tool('mke2fs')], () => {
  let fixture: Fixture;
  beforeAll(() => {
    fixture = makeFixture();
  });
  afterAll(() => fixture.remove());

  test.each(KINDS)('stops: $name', async (kind) => {
    const fs = await kind.open(fixture.image);
    const gone = AbortSignal.abort(new Error('gone'));
    const reason = { name: 'AbortError', code: 'ABORT_ERR', cause: new Error('gone') };
    await expect(fs.promises.readFile('/file', { signal: gone })).rejects.toMatchObject(reason);
    const viaCallback = await new Promise((resolve) =>
      fs.readFile('/file', { signal: gone }, (error) => resolve(error)),
    );
    expect(viaCallback).toMatchObject(reason);
    const control = new AbortController();
    const reading = fs.promises.readFile('/big.bin', { signal: control.signal });
    control.abort();
    if (kind.sync) expect((await reading).length).toBe(300_001);
    else await expect(reading).rejects.toMatchObject({ name: 'AbortError' });
    const fine = new AbortController();
    const bytes = await fs.promises.readFile('/big.bin', { signal: fine.signal });
    expect(bytes.equals(pattern(300_001))).toBe(true);
    expect(fs.counters().openFiles).toBe(0);
    await fs.unmount();
  });
});
