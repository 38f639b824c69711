// HTTP devices. Goal: the contract over a real server; few requests, each counted; every way in which servers
// disappoint gives its own clear error. Method: node:http on 127.0.0.1, made to behave badly one way at a time.

import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { httpDevice } from '../../ts/block/http.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import { overlay } from '../../ts/block/overlay.ts';
import { deviceContract, expectCode, pattern } from '../contract/device.ts';
import { behaviours, type RangeServer, serveRanges } from './server.ts';

const KIB = 1024;
const SIZE = 4096 * KIB;
let server: RangeServer;
beforeEach(async () => void (server = await serveRanges(pattern(SIZE))));
afterEach(() => server.close());

for (const o of [{}, { unit: 4096, gap: 0 }, { unit: 1 << 20 }, { cacheBytes: 0 }]) {
  deviceContract(`http with ${JSON.stringify(o)}`, {
    make: async (contents) => {
      server.bytes = contents;
      return httpDevice(server.url, o);
    },
    sync: false,
    writable: 'never',
  });
}

deviceContract('memory over http', {
  make: async (contents) => {
    server.bytes = contents;
    const far = await httpDevice(server.url);
    return overlay(far, memoryDevice(contents.length, { sparse: true }));
  },
  sync: false,
  writable: 'always',
});

const at = (dpos: number, len = 4096) => ({ into: new Uint8Array(len), dpos });

describe('http requests', () => {
  test('the first is a range request for one unit; its bytes are not asked for again', async () => {
    const device = await httpDevice(server.url);
    expect(device.size).toBe(SIZE);
    await device.read(new Uint8Array(64 * KIB), 0);
    await device.read(new Uint8Array(512), 1024);
    expect(server.asked).toEqual([{ from: 0, to: 64 * KIB }]);
    expect(device.counts).toEqual({ requests: 1, bytes: 64 * KIB });
  });

  test('a size that is no whole block is rounded down, and the end can be read', async () => {
    server.bytes = pattern(100_000);
    const device = await httpDevice(server.url);
    expect(device.size).toBe(99_840);
    const into = new Uint8Array(512);
    await device.read(into, 99_328);
    expect(into).toEqual(pattern(100_000).subarray(99_328, 99_840));
  });

  test('near ranges of one readv share a request, far ones go out together', async () => {
    server.behave = () => new Promise((resolve) => setTimeout(() => resolve(false), 20));
    const device = await httpDevice(server.url);
    await device.readv([at(1024 * KIB), at(1100 * KIB), at(3000 * KIB), at(2000 * KIB)]);
    const sorted = server.asked.slice(1).sort((a, b) => a.from - b.from);
    expect(sorted).toEqual([
      { from: 1024 * KIB, to: 1152 * KIB },
      { from: 1984 * KIB, to: 2048 * KIB },
      { from: 2944 * KIB, to: 3008 * KIB },
    ]);
    expect(server.depth).toBeGreaterThan(1);
  });

  test('the gap decides what is near', async () => {
    const counts = [];
    for (const gap of [0, 64 * KIB, 1024 * KIB]) {
      server.asked.length = 0;
      const device = await httpDevice(server.url, { gap });
      await device.readv([at(1024 * KIB), at(1152 * KIB), at(2048 * KIB)]);
      counts.push(server.asked.length - 1);
    }
    expect(counts).toEqual([3, 2, 1]);
  });

  test('concurrent reads of one unit share one fetch', async () => {
    const device = await httpDevice(server.url);
    const reads = Array.from({ length: 16 }, (_, i) => at(2048 * KIB + i * 4096));
    await Promise.all(reads.map((r) => device.read(r.into, r.dpos)));
    expect(server.asked.length).toBe(2);
    for (const { into, dpos } of reads) {
      expect(Buffer.compare(into, server.bytes.subarray(dpos, dpos + 4096))).toBe(0);
    }
  });

  test('at most six requests are under way, and long ones are cut', async () => {
    server.behave = () => new Promise((resolve) => setTimeout(() => resolve(false), 5));
    const device = await httpDevice(server.url, { maxRequest: 128 * KIB });
    const into = new Uint8Array(SIZE - 64 * KIB);
    await device.read(into, 64 * KIB);
    expect(Buffer.compare(into, server.bytes.subarray(64 * KIB))).toBe(0);
    expect(server.depth).toBe(6);
    expect(Math.max(...server.asked.map(({ from, to }) => to - from))).toBe(128 * KIB);
  });

  test('reading on from where the last request ended fetches ever more at once', async () => {
    const device = await httpDevice(server.url);
    const into = new Uint8Array(16 * KIB);
    for (let dpos = 0; dpos < SIZE; dpos += into.length) {
      await device.read(into, dpos);
      expect(Buffer.compare(into, server.bytes.subarray(dpos, dpos + into.length))).toBe(0);
    }
    expect(server.asked.length).toBeLessThan(12); // 64 units
  });

  test('the cache keeps what was read last within its bytes', async () => {
    const device = await httpDevice(server.url, { cacheBytes: 256 * KIB });
    for (const dpos of [1024, 1536, 2048]) await device.read(new Uint8Array(512), dpos * KIB);
    await device.read(new Uint8Array(512), 0); // makes unit 0 the newest
    await device.read(new Uint8Array(512), 3072 * KIB); // drops the unit at 1024 KiB
    const before = server.asked.length;
    await device.read(new Uint8Array(512), 0);
    await device.read(new Uint8Array(512), 1536 * KIB);
    expect(server.asked.length).toBe(before);
    await device.read(new Uint8Array(512), 1024 * KIB);
    expect(server.asked.length).toBe(before + 1);
  });

  test('the eight places of a cold look-up cost eight requests and 512 KiB', async () => {
    const size = 4 * 1024 * 1024 * KIB;
    const zeroes = (from: number, to: number) => new Uint8Array(to - from);
    server.bytes = { length: size, subarray: zeroes } as unknown as Uint8Array;
    const device = await httpDevice(server.url);
    // Superblock, descriptors, root inode, root directory, the directory's inode, index, leaf, inode, data: as a
    // mount asks for them to read one file out of 10,000 in a directory that Linux made.
    const blocks = [0, 1, 545, 8737, 524320, 532512, 532571, 524401, 560865];
    for (const block of blocks) await device.read(new Uint8Array(4096), block * 4096);
    expect(device.counts).toEqual({ requests: 8, bytes: 512 * KIB });
  });

  test('headers and fetch are the caller’s', async () => {
    let seen = '';
    const device = await httpDevice(server.url, {
      headers: { Authorization: 'Bearer x' },
      fetch: (url, init) => {
        seen += `${new Headers(init?.headers).get('authorization')} `;
        return fetch(url, init);
      },
    });
    await device.read(new Uint8Array(512), 2048 * KIB);
    expect(seen).toBe('Bearer x Bearer x ');
  });
});

describe('http errors', () => {
  const failure = (o = {}) =>
    httpDevice(server.url, { retries: 0, ...o }).then(
      () => ({ code: 'none', message: '' }),
      (error) => error,
    );

  test.each([
    [404, 'ENOENT', /HTTP 404 Not Found/],
    [410, 'ENOENT', /HTTP 410/],
    [401, 'EACCES', /HTTP 401/],
    [403, 'EACCES', /HTTP 403/],
    [416, 'EINVAL', /empty/],
    [500, 'EIO', /HTTP 500/],
    [418, 'EIO', /HTTP 418/],
  ])('HTTP %i is %s at opening, with the address', async (status, code, text) => {
    server.behave = behaviours.status(status);
    const error = await failure();
    expect(error).toMatchObject({ code, syscall: 'open', path: server.url });
    expect(error.message).toMatch(text);
  });

  test('a server without ranges is told from one that compresses', async () => {
    server.behave = behaviours.whole(server);
    expect(await failure()).toMatchObject({
      code: 'ENOTSUP',
      message: expect.stringContaining('does not serve ranges'),
    });
    server.behave = behaviours.gzip(server);
    expect(await failure()).toMatchObject({
      code: 'ENOTSUP',
      message: expect.stringContaining('compresses it (gzip)'),
    });
  });

  test('a hidden or starred size is ENOTSUP and says what to do', async () => {
    server.behave = behaviours.raw({}, 65536);
    expect((await failure()).message).toMatch(/ENOTSUP.*CORS/);
    server.behave = behaviours.raw({ 'Content-Range': 'bytes 0-65535/*' }, 65536);
    expect((await failure()).message).toMatch(/ENOTSUP.*does not tell the size/);
  });

  test('a body too short, too long or cut off, and another range than asked, are EIO', async () => {
    const range = { 'Content-Range': `bytes 0-65535/${SIZE}` };
    server.behave = behaviours.raw(range, 65000);
    expect((await failure()).message).toMatch(/EIO.*ended after 65000 of 65536/);
    server.behave = behaviours.raw(range, 70000);
    expect((await failure()).message).toMatch(/EIO.*more than 65536/);
    server.behave = behaviours.cut(server);
    expect(await failure()).toMatchObject({ code: 'EIO' });
    server.behave = behaviours.raw({ 'Content-Range': `bytes 512-66047/${SIZE}` }, 65536);
    expect((await failure()).message).toMatch(/EIO.*asked for bytes 0-65535, got 'bytes 512-/);
  });

  test('a server that says nothing, or is not there, is EIO in time', async () => {
    server.behave = behaviours.silence();
    const begun = Date.now();
    expect((await failure({ timeout: 60 })).message).toMatch(/EIO.*no answer in time/);
    expect(Date.now() - begun).toBeLessThan(5000);
    await server.close();
    expect(await failure()).toMatchObject({ code: 'EIO' });
  });

  test('what may be gone the next time is tried again, what will not is not', async () => {
    let left = 2;
    server.behave = (request, response, asked) =>
      left-- > 0 && behaviours.status(503)(request, response, asked);
    const device = await httpDevice(server.url);
    expect(server.asked.length).toBe(3);
    server.asked.length = 0;
    server.behave = behaviours.status(404);
    await expectCode(device.read(new Uint8Array(512), 1024 * KIB), 'ENOENT');
    expect(server.asked.length).toBe(1);
  });

  test('a file that changes on the server makes reads fail with ESTALE', async () => {
    const device = await httpDevice(server.url, { retries: 0 });
    const read = (dpos: number) => device.read(new Uint8Array(512), dpos);
    server.etag = '"two"';
    await expectCode(read(1024 * KIB), 'ESTALE');
    server.behave = behaviours.whole(server); // as after If-Range, or behind some proxies
    await expectCode(read(1024 * KIB), 'ESTALE');
    server.behave = null;
    server.etag = '"one"';
    server.bytes = pattern(SIZE + 512);
    await expectCode(read(1024 * KIB), 'ESTALE');
    server.bytes = pattern(2048 * KIB);
    await expectCode(read(3072 * KIB), 'ESTALE');
    server.bytes = pattern(SIZE);
    await read(1024 * KIB); // the right file again
  });

  test('Last-Modified is the pin where there is no ETag', async () => {
    server.headers = { 'Last-Modified': 'Sun, 22 Nov 2026 10:00:00 GMT' };
    const device = await httpDevice(server.url, { retries: 0, fetch: withoutEtag });
    server.headers['Last-Modified'] = 'Sun, 22 Nov 2026 11:00:00 GMT';
    await expectCode(device.read(new Uint8Array(512), 1024 * KIB), 'ESTALE');
  });

  test('a failed read is not remembered: the next one asks again', async () => {
    const device = await httpDevice(server.url, { retries: 0 });
    server.behave = behaviours.status(500);
    await expectCode(device.read(new Uint8Array(512), 1024 * KIB), 'EIO');
    server.behave = null;
    const into = new Uint8Array(512);
    await device.read(into, 1024 * KIB);
    expect(into).toEqual(server.bytes.subarray(1024 * KIB, 1024 * KIB + 512));
  });

  test('secrets in the address are in no message', async () => {
    server.behave = behaviours.status(403);
    const error = await httpDevice(`${server.url}?signature=secret`).catch((e) => e);
    expect(error.message).toMatch(/EACCES/);
    expect(error.message).not.toMatch(/secret/);
    await expect(httpDevice('not a url')).rejects.toMatchObject({
      code: 'EINVAL',
      path: 'not a url',
    });
  });

  test.each([{ unit: 1000 }, { unit: 256 }, { gap: -1 }, { cacheBytes: Number.NaN }])(
    'the options %j are EINVAL',
    async (o) => {
      expect(await failure(o)).toMatchObject({ code: 'EINVAL' });
      expect(server.asked.length).toBe(0);
    },
  );
});

const withoutEtag: typeof fetch = async (url, init) => {
  const response = await fetch(url, init);
  const headers = new Headers(response.headers);
  headers.delete('etag');
  return new Response(response.body, { status: response.status, headers });
};

describe('http aborts', () => {
  test('one reader’s abort leaves the other readers of the unit alone', async () => {
    const device = await httpDevice(server.url);
    server.behave = () => new Promise((resolve) => setTimeout(() => resolve(false), 30));
    const abort = new AbortController();
    const [mine, theirs] = [new Uint8Array(512), new Uint8Array(512)];
    const leaving = device.read(mine, 1024 * KIB, { signal: abort.signal });
    const staying = device.read(theirs, 1024 * KIB + 512);
    abort.abort(new Error('enough'));
    await expect(leaving).rejects.toThrow('enough');
    await staying;
    expect(theirs).toEqual(server.bytes.subarray(1024 * KIB + 512, 1024 * KIB + 1024));
    expect(mine.every((byte) => byte === 0)).toBe(true);
    expect(server.asked.length).toBe(2);
  });

  test('with the last reader gone the request is broken off, a later read asks anew', async () => {
    const device = await httpDevice(server.url);
    let closed = false;
    server.behave = (_, response) => {
      response.on('close', () => void (closed = true));
      return true;
    };
    const abort = new AbortController();
    const leaving = device.read(new Uint8Array(512), 1024 * KIB, { signal: abort.signal });
    await new Promise((resolve) => setTimeout(resolve, 30));
    abort.abort(new Error('enough'));
    await expect(leaving).rejects.toThrow('enough');
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(closed).toBe(true);
    server.behave = null;
    await device.read(new Uint8Array(512), 1024 * KIB);
  });

  test('the device’s own signal ends opening and reading', async () => {
    server.behave = behaviours.silence();
    const abort = new AbortController();
    const opening = httpDevice(server.url, { signal: abort.signal });
    setTimeout(() => abort.abort(new Error('stop')), 20);
    await expect(opening).rejects.toThrow('stop');
    server.behave = null;
    const later = new AbortController();
    const device = await httpDevice(server.url, { signal: later.signal });
    server.behave = behaviours.silence();
    const reading = device.read(new Uint8Array(512), 1024 * KIB);
    setTimeout(() => later.abort(new Error('stop')), 20);
    await expect(reading).rejects.toThrow('stop');
  });
});
