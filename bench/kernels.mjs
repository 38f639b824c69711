// The kernels against their targets: native C (gcc -O3 -march=native, a process of its own), JavaScript loops, and
// npm packages that do the same. A line passes when its best slices reach the target; the ratio of the median slices
// stands beside. `--quick`: fewer rounds, no benny report. `--gate`: exits 1 when a line fails. What a slower or busier
// machine changes is the line's truth there, not an error; wrong results are one, and a missing build.

import { closeSync, existsSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import v8 from 'node:v8';
import loader from '@assemblyscript/loader';
import asc from 'assemblyscript/asc';
import { bennySuite, race, ratio } from './harness.mjs';
import { makeLoops } from './native/loops.mjs';
import { startNative } from './native/process.mjs';

// The optimising compiler at once: otherwise a busy machine may be late with it and the rounds begin too early.
v8.setFlagsFromString('--no-liftoff');

const ROOT = join(import.meta.dirname, '..');
const IMAGE = join(ROOT, 'build/bench-memory');
const quick = process.argv.includes('--quick');
const gate = process.argv.includes('--gate');
const rounds = quick ? 61 : 301;

// Where things lie in the memory that both WebAssembly and C work on.
const PICKS = 0x80000; // 65536 block numbers: no branch predictor learns them
const LEAF = 0x14000; // 340 extents
const DIR = 0x15000; // 170 entries
const SPARSE = 0x16000; // 4096 bits, one in eight set
const LATE = 0x16400; // 4096 bits, the last one set
const BUSY = 0x17000; // 32768 bits, nine in ten set
const NAME = 0x18000;
const SEED = 0x18100;
const LAST = 0x18200; // the name of the last entry of DIR
const NOISE = 0x20000; // 64 KiB
const OUT = 0x40000;
const FROM = 0x100000; // 2 MiB
const TO = 0x300000; // 2 MiB
const SIZE = 0x500000;

const memory = new WebAssembly.Memory({ initial: SIZE >> 16, maximum: SIZE >> 16, shared: true });
const u8 = new Uint8Array(memory.buffer);
const u32 = new Uint32Array(memory.buffer);
const dv = new DataView(memory.buffer);

function instance(bytes) {
  return loader.instantiateSync(bytes, { env: { memory } }).instance.exports;
}

function fillMemory() {
  let state = 1;
  const random = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    return (state ^= state << 5) >>> 0;
  };
  for (let i = 0; i < 65536; i++) u8[NOISE + i] = random() >>> 24;
  putLeaf();
  const last = u32[(LEAF + 12 * 340) >> 2] + 100;
  for (let i = 0; i < 65536; i++) u32[(PICKS >> 2) + i] = random() % last;
  putDirectory();
  for (let n = 0; n < 4096; n++) if (random() % 8 === 0) u8[SPARSE + (n >> 3)] |= 1 << (n & 7);
  u8[LATE + 511] = 128;
  for (let n = 0; n < 32768; n++) if (random() % 10 > 0) u8[BUSY + (n >> 3)] |= 1 << (n & 7);
  for (let i = 0; i < 255; i++) u8[NAME + i] = 97 + (random() % 26);
  u8.set([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16], SEED);
}

/** 340 extents without holes, 1 to 100 blocks each. */
function putLeaf() {
  u32[LEAF >> 2] = 0xf30a + 340 * 65536;
  u32[(LEAF >> 2) + 1] = 340;
  for (let i = 0, lblk = 0; i < 340; i++) {
    const at = LEAF + 12 + 12 * i;
    const len = 1 + ((i * 37) % 100);
    dv.setUint32(at, lblk, true);
    dv.setUint16(at + 4, len, true);
    dv.setUint16(at + 6, i % 3, true);
    dv.setUint32(at + 8, 1000 + i * 512, true);
    lblk += len;
  }
}

const entryName = (i) => new TextEncoder().encode(`entry-${String(i).padStart(9, '0')}`);

/** 170 entries of 24 bytes; the last one takes the rest of the block. */
function putDirectory() {
  for (let i = 0; i < 170; i++) {
    const at = DIR + 24 * i;
    dv.setUint32(at, 12 + i, true);
    dv.setUint16(at + 4, i < 169 ? 24 : 4096 - 24 * 169, true);
    u8[at + 6] = 15;
    u8[at + 7] = 1;
    u8.set(entryName(i), at + 8);
  }
}

/** The table method alone, compiled from the same source: what folding is compared with where there is no SIMD. */
async function compileTables() {
  const source =
    "export { slice16 } from './assembly/crc32c'; export { initTables } from './assembly/tables';";
  const files = { 'tables-only.ts': source };
  let binary;
  const options = ['--runtime', 'stub', '-O3', '--noAssert', '--importMemory', '--noExportMemory'];
  const shared = ['--enable', 'threads', '--sharedMemory', '--maximumMemory', '65536'];
  const read = (name, dir) => {
    const path = join(dir, name);
    return files[name] ?? (existsSync(path) ? readFileSync(path, 'utf8') : null);
  };
  const { error, stderr } = await asc.main(
    ['tables-only.ts', '--baseDir', ROOT, '--outFile', 'k.wasm', ...options, ...shared],
    { readFile: read, writeFile: (_, contents) => void (binary = contents) },
  );
  if (error) throw new Error(`${error.message}\n${stderr}`);
  return instance(binary);
}

/** A package that may not be installed. */
async function optional(name) {
  try {
    return await import(name);
  } catch {
    console.log(`not run: ${name} is not installed`);
    return null;
  }
}

/** Where a benchmark stops: without a build there is nothing to measure. */
function embedded(name) {
  const path = join(ROOT, `build/kernels-${name}.wasm`);
  if (existsSync(path)) return readFileSync(path);
  console.error('bench: no build; run npm run build first');
  process.exit(2);
}

fillMemory();
const kernels = instance(embedded('simd-shared'));
const scalar = instance(embedded('scalar-shared'));
const tables = await compileTables();
kernels.init();
writeFileSync(IMAGE, u8);
const native = startNative('kernels', [IMAGE]);
if (native === null) console.log('not run: the comparisons with native C; install gcc');
const loops = makeLoops(memory);
const nodeRs = await optional('@node-rs/crc32');
const hashWasm = await optional('hash-wasm');
const hasher = hashWasm && (await hashWasm.createCRC32(0x82f63b78));

const AS = 'kernel';
const C = 'native C';
const TS = 'TS';
const as = (fn) => ({ name: AS, fn });
const ts = (fn) => ({ name: TS, fn });
const c = (...args) => native?.subject(C, ...args);
const peer = (name, module, fn) => module && { name, fn };

/** A line of the table: subjects, and for each named peer how many times its speed the kernel must have. */
const lines = [...crcLines(), ...memoryLines(), ...bitmapLines(), ...lookupLines(), ...fileLines()];

function crcLines() {
  const view = (len) => u8.subarray(NOISE, NOISE + len);
  const rust = (bytes) => peer('@node-rs/crc32', nodeRs, () => nodeRs.crc32c(bytes, 0));
  const hash = (bytes) =>
    peer('hash-wasm', hasher, () => hasher.init().update(bytes).digest('hex').length);
  const crc = (len) => [as(() => kernels.crc32c(-1, NOISE, len)), c('crc', NOISE, len)];
  return [
    {
      title: 'crc32c 4 KiB',
      subjects: [...crc(4096), rust(view(4096)), hash(view(4096))],
      targets: { [C]: 0.45, '@node-rs/crc32': 2.2, 'hash-wasm': 5 },
    },
    { title: 'crc32c 64 KiB', subjects: crc(65536), targets: { [C]: 0.55 } },
    {
      title: 'crc32c 256 B',
      subjects: [...crc(256), rust(view(256))],
      targets: { '@node-rs/crc32': 2.5 },
      atMost: 65,
    },
    {
      title: 'crc32c 4 KiB, no SIMD',
      subjects: [
        as(() => scalar.crc32c(-1, NOISE, 4096)),
        { name: 'tables', fn: () => tables.slice16(-1, NOISE, 4096) },
      ],
      targets: { tables: 1.4 },
    },
  ];
}

function memoryLines() {
  const zero = (len) => [as(() => void kernels.zero(TO, len)), c('fill', TO, len)];
  return [
    {
      title: 'zero 4 KiB',
      subjects: [...zero(4096), ts(() => loops.fill(TO, 4096))],
      targets: { [C]: 0.8, [TS]: 20 },
    },
    { title: 'zero 64 KiB', subjects: zero(65536), targets: { [C]: 0.93 } },
    { title: 'zero 2 MiB', subjects: zero(2 << 20), targets: { [C]: 0.93 } },
    {
      title: 'copy 4 KiB',
      subjects: [
        as(() => void kernels.copy(TO, FROM, 4096)),
        c('copy', TO, FROM, 4096),
        ts(() => loops.set(TO, FROM, 4096)),
      ],
      targets: { [C]: 0.8 },
    },
  ];
}

function bitmapLines() {
  return [
    {
      title: 'runs, 4096 bits, 1/8 set',
      subjects: [
        as(() => kernels.bitmapRuns(SPARSE, 0, 4096, OUT, 2048)),
        c('runs', SPARSE, 4096, OUT),
        ts(() => loops.runs(SPARSE, 4096, OUT)),
      ],
      targets: { [C]: 0.65, [TS]: 4 },
    },
    {
      title: 'next set, 4096 bits, last one',
      subjects: [
        as(() => kernels.bitmapNextSet(LATE, 0, 4096)),
        c('next', LATE, 0, 4096),
        ts(() => loops.nextSet(LATE, 0, 4096)),
      ],
      targets: { [TS]: 6 },
      atMost: 20,
    },
    {
      title: 'find 8 clear, 90 % of 32768 set',
      subjects: [
        as(() => kernels.bitmapFindClear(BUSY, 0, 32768, 8)),
        ts(() => loops.findClear(BUSY, 32768, 8)),
      ],
      targets: { [TS]: 15 },
    },
  ];
}

function lookupLines() {
  const pick = (i) => u32[(PICKS >> 2) + (i & 65535)];
  const name = entryName(169);
  u8.set(name, LAST);
  return [
    {
      title: 'extent look-up, 340 entries',
      subjects: [
        as((i) => kernels.extentLookup(LEAF, pick(i), OUT + 64)),
        c('lookup', LEAF, PICKS, OUT + 64),
        ts((i) => loops.lookup(LEAF, pick(i), OUT + 64)),
      ],
      targets: { [C]: 0.8, [TS]: 1.8 },
    },
    {
      title: 'map 256 ranges in order',
      subjects: [
        as(() => kernels.extentMapBatch(LEAF, 0, 1 << 30, OUT + 64, 256)),
        ts(() => loops.mapOneByOne(LEAF, 0, 256, OUT + 64)),
      ],
      targets: { [TS]: 5 },
    },
    {
      title: 'find the last of 170 names',
      subjects: [
        as(() => kernels.dirFind(DIR, 4096, LAST, 15)),
        c('dir', DIR, 4096, DIR + 24 * 169 + 8, 15),
        ts(() => loops.find(DIR, 4096, name)),
      ],
      targets: { [C]: 0.65, [TS]: 5 },
    },
    {
      title: 'half-MD4, 255 bytes',
      subjects: [
        as(() => kernels.dirHash(4, NAME, 255, SEED, OUT + 64) + u32[(OUT + 64) >> 2]),
        c('md4', NAME, 255, SEED),
      ],
      targets: { [C]: 0.8 },
    },
  ];
}

/** Reading a hot file into linear memory, where the page cache lies, and into a Buffer. */
function fileLines() {
  const file = openSync(IMAGE, 'r');
  process.once('exit', () => closeSync(file));
  const read = (len) => {
    const folio = u8.subarray(TO, TO + len);
    const buffer = Buffer.allocUnsafeSlow(len);
    return [
      as(() => readSync(file, folio, 0, len, 0)),
      { name: 'Buffer', fn: () => readSync(file, buffer, 0, len, 0) },
    ];
  };
  return [
    { title: 'readSync 4 KiB to memory', subjects: read(4096), targets: { Buffer: 1 / 1.15 } },
    { title: 'readSync 1 MiB to memory', subjects: read(1 << 20), targets: { Buffer: 1.5 } },
  ];
}

const show = (ns) =>
  ns < 9999 ? `${ns.toFixed(ns < 100 ? 1 : 0)} ns` : `${(ns / 1000).toFixed(1)} µs`;
let failed = 0;

function verdict(passed) {
  if (!passed) failed++;
  return passed ? 'PASS' : 'FAIL';
}

function report({ title, targets, atMost }, times) {
  const { min, median } = times.get(AS);
  console.log(`${title}: ${show(min)} (median ${show(median)})`);
  if (atMost) console.log(`  ${verdict(min <= atMost)}  at most ${atMost} ns`);
  for (const [name, target] of Object.entries(targets)) {
    if (!times.has(name)) continue;
    const found = ratio(times, AS, name);
    const figures = `${found.min.toFixed(2)} (median ${found.median.toFixed(2)})`;
    const other = show(times.get(name).min);
    const passed = verdict(found.min >= target);
    console.log(`  ${passed}  ${figures} × ${name} at ${other}, target ${target.toFixed(2)}`);
  }
}

/** The kernel, C and JavaScript must agree before their speeds mean anything. */
async function agree({ title }, subjects) {
  const results = new Map();
  for (const { name, fn, once } of subjects) {
    if ([AS, C, TS].includes(name)) results.set(name, (fn ? fn(0) : await once()) >>> 0);
  }
  if (new Set(results.values()).size > 1) {
    throw new Error(`${title}: ${[...results].map((one) => one.join(' gives ')).join(', ')}`);
  }
}

for (const line of lines) {
  const subjects = line.subjects.filter(Boolean);
  await agree(line, subjects);
  report(line, await race(subjects, { rounds }));
  if (!quick) await bennySuite(line.title, subjects);
}
native?.stop();
console.log(failed === 0 ? 'all targets met' : `${failed} targets missed`);
if (gate && failed > 0) process.exitCode = 1;
