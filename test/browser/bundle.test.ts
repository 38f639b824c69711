// Goal: `import 'ext4-wasm'` alone can be bundled for browsers, and costs what it is used for.
// Method: the packed package in a project of its own, bundled by vite; look at what went in and what came out.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Bundled, bundle, installPackage, writeModule } from './bundle.ts';

const ENTRIES = ['', '/blob', '/device', '/http', '/memory', '/opfs', '/raw'];

let project: string;
beforeAll(() => {
  project = mkdtempSync(join(tmpdir(), 'ext4-bundle-'));
  installPackage(project);
}, 300_000);
afterAll(() => rmSync(project, { recursive: true, force: true }));

let count = 0;
async function bundled(text: string): Promise<Bundled & { code: string }> {
  const made = await bundle(project, writeModule(project, `entry${count++}.js`, text), false);
  return { ...made, code: made.chunks.map((chunk) => chunk.code).join('\n') };
}

/** Node's modules, and what a bundler puts in their place. */
function nodeModules({ modules, chunks, code }: Bundled & { code: string }): string[] {
  const asked = chunks.flatMap((chunk) => [...chunk.imports, ...chunk.dynamicImports]);
  const ids = modules.filter((id) => /node:|browser-external|polyfill/.test(id));
  const texts =
    code.match(/(from|import|require)\s*\(?\s*["'](node:)?(fs|path|stream|os)["']/g) ?? [];
  return [...ids, ...asked.filter((id) => !/\.js$/.test(id)), ...texts];
}

describe('bundled for browsers, the package', () => {
  test.each(ENTRIES)(
    'as ext4-wasm%s pulls in no module of Node and warns of nothing',
    async (entry) => {
      const made = await bundled(`export * from 'ext4-wasm${entry}';`);
      expect(made.modules.length).toBeGreaterThan(1);
      expect(nodeModules(made)).toEqual([]);
      expect(made.warnings).toEqual([]);
    },
  );

  test('as ext4-wasm/node is found out to need Node', async () => {
    const made = await bundled(`export * from 'ext4-wasm/node';`);
    expect([...nodeModules(made), ...made.warnings]).not.toEqual([]);
  });

  test('is gone where it is imported and not used', async () => {
    for (const entry of ENTRIES) {
      const { code } = await bundled(`import 'ext4-wasm${entry}';`);
      expect(code.trim(), entry).toBe('');
    }
  });

  test('costs what is used of it', async () => {
    const size = async (text: string) => {
      const { code } = await bundled(text);
      return [code.length, gzipSync(code).length];
    };
    const error = await size(`export { Ext4Error } from 'ext4-wasm';`);
    const table = await size(`export { partitions } from 'ext4-wasm';`);
    const reader = await size(
      `export { mount } from 'ext4-wasm'; export { blobDevice } from 'ext4-wasm/blob';`,
    );
    const rows = { Ext4Error: error, partitions: table, 'mount and blobDevice': reader };
    for (const [name, [raw, zipped]] of Object.entries(rows)) {
      console.log(`bundle of ${name}: ${raw} bytes, ${zipped} gzipped`);
    }
    expect(error[0]).toBeLessThan(6_000);
    expect(table[0]).toBeLessThan(20_000);
    // A mount reads and writes: the journal, fast commits, the allocators and the data paths are in it.
    expect(reader[1]).toBeLessThan(135_000);
  });
});
