// Compiles the kernels for the targets of asconfig.json (SIMD or not, shared memory or plain) and embeds them,
// base64, in build/kernels.js, or in the folder given. Run by `npm run build`.
// Fails when a data segment or an import other than the memory slips in.

import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import asc from 'assemblyscript/asc';

const ROOT = join(import.meta.dirname, '..');
const OUT = resolve(process.argv[2] ?? join(ROOT, 'build'));
const TARGETS = Object.keys(JSON.parse(readFileSync(join(ROOT, 'asconfig.json'), 'utf8')).targets);
const PROBE = [
  'assembly/probe.ts',
  '--runtime',
  'stub',
  '-O3',
  '--noExportMemory',
  '--enable',
  'simd',
];

/** The module that asc makes from these arguments. */
async function compile(name, args) {
  const files = new Map();
  const { error, stderr, stdout } = await asc.main(
    [...args, '--baseDir', ROOT, '--outFile', 'k.wasm', '--textFile', 'k.wat'],
    { writeFile: (file, contents) => void files.set(file, contents) },
  );
  if (error) throw new Error(`${name}: ${error.message}\n${stderr}${stdout}`);
  const text = String(files.get('k.wat'));
  if (/\(data /.test(text))
    throw new Error(`${name} has a data segment: every instance rewrites it`);
  const imports = text.match(/\(import "[^"]*" "[^"]*"/g) ?? [];
  const odd = imports.filter((one) => one !== '(import "env" "memory"');
  if (odd.length > 0) throw new Error(`${name} has imports: ${odd.join(' ')}`);
  return { binary: files.get('k.wasm'), text };
}

/** All modules by name: the targets, and the probe that tells whether an engine has SIMD. */
async function compileAll() {
  const modules = new Map();
  for (const name of TARGETS) {
    modules.set(name, await compile(name, ['--config', 'asconfig.json', '--target', name]));
  }
  modules.set('probe', await compile('probe', PROBE));
  return modules;
}

function embed(modules) {
  const lines = [...modules].map(
    ([name, { binary }]) => `  '${name}': '${Buffer.from(binary).toString('base64')}',\n`,
  );
  return `// Made by assembly/build.mjs.
const b64 = {
${lines.join('')}};
export function bytes(name) {
  return Uint8Array.from(atob(b64[name]), (c) => c.charCodeAt(0));
}
`;
}

if (import.meta.filename === process.argv[1]) {
  const modules = await compileAll();
  mkdirSync(OUT, { recursive: true });
  for (const [name, { binary, text }] of modules) {
    if (name === 'probe') continue;
    writeFileSync(join(OUT, `kernels-${name}.wasm`), binary);
    writeFileSync(join(OUT, `kernels-${name}.wat`), text);
    console.log(`kernels-${name}.wasm ${binary.length} bytes`);
  }
  // Renamed into place: a test that runs meanwhile never loads half a file.
  writeFileSync(join(OUT, 'kernels.js.new'), embed(modules));
  renameSync(join(OUT, 'kernels.js.new'), join(OUT, 'kernels.js'));
  writeFileSync(
    join(OUT, 'kernels.d.ts'),
    'export function bytes(name: string): Uint8Array<ArrayBuffer>;\n',
  );
}
