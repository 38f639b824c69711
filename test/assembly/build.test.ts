// Goal: the modules are what the other tests and the package take them for. Method: reads their sections as the
// WebAssembly specification gives them, compares exports with the interface in ts/wasm.ts, and builds once more.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import ts from 'typescript';
import { afterAll, describe, expect, test } from 'vitest';
import { ABI_RESULT, ABI_TABLES } from '../../assembly/abi.ts';
import { createKernels, createMemory } from '../../ts/wasm.ts';
import { MEMORY } from './builds.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const BUILDS = ['simd-shared', 'simd-plain', 'scalar-shared', 'scalar-plain'];
const MAX_SIZE = 24 * 1024;
const SECTION = { start: 8, data: 11 };

function bytesOf(build: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(readFileSync(join(ROOT, `build/kernels-${build}.wasm`)));
}

/** The ids of a module's sections: after eight bytes, each is an id, a LEB128 length and that many bytes. */
function sections(bytes: Uint8Array): number[] {
  const ids: number[] = [];
  for (let at = 8; at < bytes.length; ) {
    ids.push(bytes[at++]);
    let length = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      length += (byte & 127) * scale;
      if (byte < 128) break;
    }
    at += length;
  }
  return ids;
}

function interfaceNames(): string[] {
  const file = join(ROOT, 'ts/wasm.ts');
  const source = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest);
  const found = source.statements.find(
    (node) => ts.isInterfaceDeclaration(node) && node.name.text === 'KernelExports',
  ) as ts.InterfaceDeclaration;
  return found.members.map((member) => (member.name as ts.Identifier).text);
}

describe.each(BUILDS)('%s', (build) => {
  const bytes = bytesOf(build);
  const module = new WebAssembly.Module(bytes);

  test('exports the interface and nothing else', () => {
    const names = WebAssembly.Module.exports(module).map(({ name }) => name);
    expect(names.sort()).toEqual(interfaceNames().sort());
  });

  test('imports one memory, shared or not as its name says', () => {
    expect(WebAssembly.Module.imports(module)).toEqual([
      { module: 'env', name: 'memory', kind: 'memory' },
    ]);
    const memory = createMemory(MEMORY, build.endsWith('plain'));
    expect(() => new WebAssembly.Instance(module, { env: { memory } })).toThrow(
      WebAssembly.LinkError,
    );
  });

  test('has no data segment and no start function', () => {
    const ids = sections(bytes);
    expect(ids).toContain(10); // code: the sections were read right
    expect(ids).not.toContain(SECTION.data);
    expect(ids).not.toContain(SECTION.start);
  });

  test(`has at most ${MAX_SIZE} bytes`, () => {
    expect(bytes.length).toBeLessThanOrEqual(MAX_SIZE);
  });
});

describe('init', () => {
  test('writes tables only, and the same ones in every build and every time', () => {
    const images = [true, false].flatMap((simd) =>
      [true, false].map((shared) => {
        const k = createKernels(createMemory(MEMORY, shared), simd);
        const first = k.u8.slice();
        k.exports.init();
        expect(Buffer.compare(k.u8.slice(), first)).toBe(0);
        return first;
      }),
    );
    for (const image of images) expect(Buffer.compare(image, images[0])).toBe(0);
    expect(images[0].findIndex(Boolean)).toBeGreaterThanOrEqual(ABI_TABLES);
    expect(images[0].findLastIndex(Boolean)).toBeLessThan(ABI_RESULT);
  });
});

describe('a build', () => {
  const out = mkdtempSync(join(tmpdir(), 'kernels-'));
  afterAll(() => rmSync(out, { recursive: true }));

  test('gives the same files again: they are those of the sources', { timeout: 120_000 }, () => {
    const { status, stderr } = spawnSync(process.execPath, ['assembly/build.mjs', out], {
      cwd: ROOT,
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
    expect(status).toBe(0);
    const files = readdirSync(out);
    expect(files).toContain('kernels.js');
    for (const file of files) {
      const [a, b] = [out, join(ROOT, 'build')].map((dir) => readFileSync(join(dir, file)));
      expect(Buffer.compare(a, b), `${file}: run npm run build`).toBe(0);
    }
  });
});
