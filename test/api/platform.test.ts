// Goal: the library needs nothing of Node: where there is no Buffer and no process it reads all the same, with plain
// Uint8Arrays. Method: the entry point is bundled as for a browser (nothing of node: may be left in it) and run in a
// context that has only what the web has; its answers against Node's own.

import nodefs from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import vm from 'node:vm';
import { build } from 'vite';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { memoryDevice } from '../../ts/block/memory.ts';
import type { Ext4, mount, mountSync } from '../../ts/index.ts';
import { need } from '../need.ts';
import { type Fixture, makeFixture } from './fixture.ts';

/** What a browser and Node both have, the language itself aside. */
const WEB = {
  AbortController,
  AbortSignal,
  DOMException,
  ReadableStream,
  TextDecoder,
  TextEncoder,
  URL,
  WebAssembly,
  atob,
  btoa,
  queueMicrotask,
  setTimeout,
  clearTimeout,
  performance,
};

interface Bundle {
  mount: typeof mount;
  mountSync: typeof mountSync;
  memoryDevice: typeof memoryDevice;
}

const ROOT = resolve(import.meta.dirname, '../..');

async function bundle(dir: string): Promise<string> {
  const entry = join(dir, 'entry.ts');
  const source = ['index', 'block/memory']
    .map((name) => `export * from ${JSON.stringify(join(ROOT, `ts/${name}.ts`))};`)
    .join('\n');
  nodefs.writeFileSync(entry, source);
  const made = await build({
    root: ROOT,
    configFile: false,
    logLevel: 'error',
    build: { write: false, minify: false, lib: { entry, formats: ['iife'], name: 'ext4' } },
  });
  const [result] = Array.isArray(made) ? made : [made];
  if (!('output' in result)) throw new Error('no bundle');
  return result.output[0].code;
}

need.describe('without Node', [need.tool('mke2fs')], () => {
  let fixture: Fixture;
  let code: string;
  let lib: Bundle;
  let fs: Ext4;
  beforeAll(async () => {
    fixture = makeFixture();
    code = await bundle(dirname(fixture.image));
    const context = vm.createContext({ ...WEB });
    vm.runInContext(`${code}\nglobalThis.ext4 = ext4;`, context);
    lib = (context as unknown as { ext4: Bundle }).ext4;
    const image = new Uint8Array(nodefs.readFileSync(fixture.image));
    fs = lib.mountSync(lib.memoryDevice(image, { shared: false, readOnly: true }), {
      shared: false,
    });
  });
  afterAll(async () => {
    await fs.unmount();
    fixture.remove();
  });

  test('the bundle asks for no module of Node', () => {
    expect(code).not.toMatch(/require\(|import\(|from\s*['"]node:/);
  });

  test('contents are Uint8Arrays, and text in every encoding is Node’s', async () => {
    const bytes = fs.readFileSync('/dir/text.txt');
    expect(Object.prototype.toString.call(bytes)).toBe('[object Uint8Array]');
    expect(bytes.constructor.name).toBe('Uint8Array');
    const real = nodefs.readFileSync(`${fixture.tree}/dir/text.txt`);
    expect(Buffer.from(bytes).equals(real)).toBe(true);
    const encodings = ['utf8', 'utf-8', 'UTF8', 'latin1', 'binary', 'ascii', 'hex', 'base64'];
    for (const encoding of [...encodings, 'base64url', 'utf16le', 'ucs2']) {
      const mine = fs.readFileSync('/dir/text.txt', encoding as BufferEncoding);
      expect([encoding, mine]).toEqual([encoding, real.toString(encoding as BufferEncoding)]);
    }
    expect(() => fs.readFileSync('/file', 'klingon' as BufferEncoding)).toThrow(/invalid encoding/);
  });

  test('text is written in every encoding as Node would', () => {
    const image = new Uint8Array(nodefs.readFileSync(fixture.image));
    const own = lib.mountSync(lib.memoryDevice(image, { shared: false }), { shared: false });
    const texts = ['ünï 日本 😀', '6869f', '68zz69', 'aGk=', 'a-_/+b', 'aGkx!aGk', '\ud800', ''];
    const encodings = ['utf8', 'latin1', 'ascii', 'hex', 'base64', 'base64url', 'utf16le', 'ucs2'];
    for (const encoding of encodings as BufferEncoding[]) {
      for (const text of texts) {
        own.writeFileSync('/written', text, encoding);
        const bytes = Buffer.from(own.readFileSync('/written'));
        expect([encoding, text, bytes]).toEqual([encoding, text, Buffer.from(text, encoding)]);
      }
    }
    own.unmountSync();
  });

  test('names, stats and errors are Node’s', async () => {
    const names = fs.readdirSync('/').filter((name) => !name.startsWith('raw-'));
    expect([...names]).toEqual(
      nodefs.readdirSync(fixture.tree).filter((name) => !name.startsWith('raw-')),
    );
    expect(fs.statSync('/file').mode).toBe(nodefs.statSync(`${fixture.tree}/file`).mode);
    expect(() => fs.readFileSync('/nowhere')).toThrow(
      "ENOENT: no such file or directory, open '/nowhere'",
    );
    expect(() => fs.readFileSync('a\0b')).toThrow(/without null bytes. Received 'a\0b'/);
    const later = await new Promise((done) => fs.readlink('/link', (_, text) => done(text)));
    expect(later).toBe('file');
  });

  test('web streams, lines, views and handles work', async () => {
    const whole = nodefs.readFileSync(`${fixture.tree}/big.bin`);
    const chunks: Uint8Array[] = [];
    for await (const chunk of fs.stream('/big.bin', { highWaterMark: 50_000 })) chunks.push(chunk);
    expect(Buffer.concat(chunks).equals(whole)).toBe(true);
    const lines: string[] = [];
    for (const highWaterMark of [1, 2, 1000]) {
      const handle = await fs.promises.open('/lines');
      for await (const line of handle.readLines({ highWaterMark })) lines.push(line);
      expect(handle.fd).toBe(-1);
    }
    const three = ['one', 'two', '', 'three', 'four äöü', 'last'];
    expect(lines).toEqual([...three, ...three, ...three]);
    const view = fs.viewSync('/big.bin', 100, 1000);
    expect(Buffer.from(view.copy()).equals(whole.subarray(100, 1100))).toBe(true);
    view.release();
    const file = await (await fs.root.getFileHandle('file')).getFile();
    expect(await file.text()).toBe('hello world\n');
    await expect(fs.root.getFileHandle('no')).rejects.toMatchObject({ name: 'NotFoundError' });
  });

  test('a stream of Node’s is refused with the way out', () => {
    expect(() => fs.createReadStream('/file')).toThrow(/not implemented here: use stream\(\)/);
  });

  test('an asynchronous mount reads as well', async () => {
    const image = new Uint8Array(nodefs.readFileSync(fixture.image));
    const device = lib.memoryDevice(image, { shared: false, readOnly: true });
    const other = await lib.mount(device, { shared: false, forceMiss: true });
    expect(await other.promises.readFile('/dir/sub/deep/file', 'utf8')).toBe('deep');
    await other.unmount();
  });
});
