// Compiles the kernels four ways (SIMD or not, shared memory or plain) and embeds them, base64, in
// build/kernels.js. Run by `npm run build`. Fails when a data segment or the managed runtime slips in.

import { mkdirSync, writeFileSync } from 'node:fs';
import asc from 'assemblyscript/asc';

const BASE = ['assembly/index.ts', '--runtime', 'stub', '-O3', '--noAssert', '--importMemory',
  '--noExportMemory', '--initialMemory', '1', '--maximumMemory', '65536', '--memoryBase', '1024'];
const SHARED = ['--enable', 'threads', '--sharedMemory'];
const SIMD = ['--enable', 'simd'];
const PROBE = ['assembly/probe.ts', '--runtime', 'stub', '-O3', '--noExportMemory', ...SIMD];

async function compile(name, args) {
  const { error, stderr, stdout, binary, text } = await run(args);
  if (error) throw new Error(`${name}: ${error.message}\n${stderr}${stdout}`);
  if (/\(data /.test(text)) throw new Error(`${name} has a data segment: it would be written twice`);
  return binary;
}

async function run(args) {
  const files = new Map();
  const { error, stderr, stdout } = await asc.main([...args, '--outFile', 'k.wasm', '--textFile', 'k.wat'], {
    writeFile: (file, contents) => void files.set(file, contents),
  });
  return { error, stderr: String(stderr), stdout: String(stdout), binary: files.get('k.wasm'), text: files.get('k.wat') };
}

const targets = {
  'simd-shared': [...BASE, ...SIMD, ...SHARED],
  'simd-plain': [...BASE, ...SIMD],
  'scalar-shared': [...BASE, ...SHARED, '--use', 'SCALAR=1'],
  'scalar-plain': [...BASE, '--use', 'SCALAR=1'],
  probe: PROBE,
};

let js = '// Made by assembly/build.mjs.\nconst b64 = {\n';
mkdirSync('build', { recursive: true });
for (const [name, args] of Object.entries(targets)) {
  const binary = await compile(name, args);
  js += `  '${name}': '${Buffer.from(binary).toString('base64')}',\n`;
  if (name !== 'probe') writeFileSync(`build/kernels-${name}.wasm`, binary);
}
js += `};\nexport function bytes(name) {\n  const text = atob(b64[name]);\n  return Uint8Array.from(text, (c) => c.charCodeAt(0));\n}\n`;
writeFileSync('build/kernels.js', js);
writeFileSync('build/kernels.d.ts', 'export function bytes(name: string): Uint8Array;\n');
