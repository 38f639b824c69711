// The fuzzer's process: draws cases, runs each whole, and reports what is not an Ext4Error. Before a case begins it
// is written to the file that the parent watches, so that a case that hangs or kills the process is known.

import { readFileSync, writeFileSync, writeSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import type { SyncBlockDevice } from '../../ts/block/device.ts';
import { Ext4Error } from '../../ts/errno.ts';
import { type Ext4, mount, mountSync } from '../../ts/index.ts';
import { codeOf, dumpTree, promiseFace, type State, syncFace } from '../oracle/state.ts';
import { Layout } from './layout.ts';
import { apply, mutate, type Patch } from './mutate.ts';
import { type Random, random } from './random.ts';

export interface Recipe {
  image: string;
  patches: Patch[];
  /** How it was mounted: drawn with the case, kept for its recipe. */
  how?: How;
}

export interface How {
  journal: 'memory' | 'replay' | 'noload';
  promises: boolean;
}

export interface Plan {
  /** Seed images: name and path, gzipped or not. */
  images: { name: string; path: string }[];
  seed: number;
  from: number;
  milliseconds: number;
  /** Where the case under way is written; opened by the parent. */
  watch: number;
  /** Only these, instead of drawn ones. */
  recipes?: Recipe[];
}

export interface Failure extends Recipe {
  n: number;
  reason: string;
}

export interface Report {
  cases: number;
  /** How often a mount, a path or nothing at all was refused. */
  refused: number;
  damaged: number;
  whole: number;
  failures: Failure[];
}

const PER_IMAGE = 25;
const LIMIT_MIB = 256;
const MOUNT = { cacheBytes: 8 << 20 };
const DUMP = { maxFile: 1 << 20, maxRecords: 3000 };

let base: Buffer;
let bytes: Uint8Array;
let layout: Layout;
let watch = 1;

process.on('message', (plan: Plan) => {
  run(plan).then((report) => process.send!(report));
});

async function run(plan: Plan): Promise<Report> {
  const report: Report = { cases: 0, refused: 0, damaged: 0, whole: 0, failures: [] };
  watch = plan.watch;
  if (plan.recipes) {
    for (const [n, recipe] of plan.recipes.entries()) {
      load(plan, recipe.image);
      await one(report, n, recipe);
    }
    return report;
  }
  const end = Date.now() + plan.milliseconds;
  for (let n = plan.from; Date.now() < end && report.failures.length < 5; n++) {
    const draw = random(plan.seed + Math.floor(n / PER_IMAGE));
    if (n === plan.from || n % PER_IMAGE === 0) load(plan, draw.pick(plan.images).name);
    await one(report, n, drawCase(plan, n));
  }
  return report;
}

let loaded = '';

function load(plan: Plan, name: string): void {
  loaded = name;
  const raw = readFileSync(plan.images.find((image) => image.name === name)!.path);
  const image = raw[0] === 0x1f && raw[1] === 0x8b ? gunzipSync(raw) : raw;
  base = Buffer.alloc(Math.ceil(image.length / 512) * 512);
  image.copy(base);
  bytes = new Uint8Array(base);
  layout = new Layout(bytes);
}

function drawCase(plan: Plan, n: number): Recipe {
  const draw = random(Math.imul(plan.seed, 31) + n * 7919);
  const how: How = {
    journal: draw.pick(['memory', 'memory', 'replay', 'noload'] as const),
    promises: draw.chance(0.1),
  };
  const patches = mutate(layout, draw);
  restore(patches);
  return { image: loaded, patches, how };
}

function restore(patches: Patch[]): void {
  for (const [pos, hex] of patches) bytes.set(base.subarray(pos, pos + hex.length / 2), pos);
}

async function one(report: Report, n: number, recipe: Recipe): Promise<void> {
  announce(n, recipe);
  resetPeak();
  apply(bytes, recipe.patches);
  const device = new BufferDevice(bytes, recipe.how?.journal !== 'replay');
  const started = process.cpuUsage();
  const reason = await outcome(
    report,
    device,
    recipe.how ?? { journal: 'memory', promises: false },
    n,
  );
  const { user, system } = process.cpuUsage(started);
  device.revert();
  restore(recipe.patches);
  report.cases++;
  const fault = reason ?? limits((user + system) / 1e6);
  if (fault !== undefined) report.failures.push({ n, reason: fault, ...recipe });
}

function limits(seconds: number): string | undefined {
  if (seconds > 5) return `took ${seconds.toFixed(1)} s`;
  const peak = peakMiB();
  return peak > LIMIT_MIB ? `took ${peak.toFixed(0)} MiB` : undefined;
}

function announce(n: number, recipe: Recipe): void {
  writeSync(watch, `${JSON.stringify({ n, ...recipe })}\n`.padEnd(200), 0);
}

async function outcome(
  report: Report,
  device: BufferDevice,
  how: How,
  n: number,
): Promise<string | undefined> {
  try {
    const state = await walk(device, how, random(n));
    const errors = Object.values(state).some(({ err }) => err !== undefined);
    if (errors) report.damaged++;
    else report.whole++;
  } catch (error) {
    try {
      codeOf(error);
      report.refused++;
    } catch (bug) {
      return bug instanceof Error ? `${bug.stack ?? bug.message}` : String(bug);
    }
  }
  return undefined;
}

async function walk(device: BufferDevice, how: How, draw: Random): Promise<State> {
  const journal = how.journal === 'noload' ? { noload: true } : { journal: how.journal };
  const options = { ro: true, ...MOUNT, ...journal };
  if (how.promises) {
    const fs = await mount(device, { ...options, forceMiss: true });
    const state = await dumpTree(promiseFace(fs), DUMP);
    await fs.unmount();
    return state;
  }
  const fs = mountSync(device, options);
  const state = await dumpTree(syncFace(fs), DUMP);
  poke(fs, state, draw);
  fs.unmountSync();
  return state;
}

/** Calls that a walk does not make: absent names, extents, reads at odd places, and the dumps. */
function poke(fs: Ext4, state: State, draw: Random): void {
  allowed(() => fs.info());
  allowed(() => fs.statfsSync('/'));
  const paths = Object.keys(state).filter((path) => !path.includes('\\'));
  for (const path of paths.slice(0, 60)) {
    const { t } = state[path];
    if (t === 'd') {
      for (let i = 0; i < 3; i++) allowed(() => fs.lstatSync(`${path}/absent${draw.u32()}`));
    }
    if (t === 'f') allowed(() => pokeFile(fs, path, draw));
    if (t === 'l') allowed(() => fs.realpathSync(path));
    allowed(() => fs.lgetxattrSync(path, 'user.absent'));
  }
}

function pokeFile(fs: Ext4, path: string, draw: Random): void {
  const fd = fs.openSync(path, 'r');
  const into = new Uint8Array(1 + draw.int(70_000));
  const size = Math.min(fs.fstatSync(fd).size, Number.MAX_SAFE_INTEGER - 100_000);
  allowed(() => fs.extentsSync(fd));
  for (const pos of [0, Math.max(0, size - into.length), Math.floor(size / 2), draw.u32()]) {
    allowed(() => fs.readSync(fd, into, 0, into.length, pos));
  }
  fs.closeSync(fd);
}

function allowed(call: () => unknown): void {
  try {
    call();
  } catch (error) {
    if (!(error instanceof Ext4Error)) throw error;
  }
}

/** The highest resident size since the last reset, from the kernel; 0 where there is no /proc. */
function peakMiB(): number {
  try {
    return (
      Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? 0) / 1024
    );
  } catch {
    return 0;
  }
}

function resetPeak(): void {
  if (process.memoryUsage.rss() > 160 << 20) globalThis.gc?.();
  try {
    writeFileSync('/proc/self/clear_refs', '5');
  } catch {
    // no such file: peakMiB then gives the peak of the process
  }
}

/** The image's bytes as a device. A request outside of it is a bug above; what is written is undone by `revert`. */
class BufferDevice implements SyncBlockDevice {
  readonly size: number;
  readonly blockSize = 512;
  readonly readOnly: boolean;
  readonly fua = false;
  readonly discardZeroes = false;
  readonly #bytes: Uint8Array;
  readonly #undo: [number, Uint8Array][] = [];

  constructor(image: Uint8Array, readOnly: boolean) {
    this.#bytes = image;
    this.size = image.length;
    this.readOnly = readOnly;
  }

  #check(dpos: number, len: number): void {
    const whole = dpos % 512 === 0 && len % 512 === 0;
    if (!whole || !(dpos >= 0) || !(dpos + len <= this.size)) {
      throw new Error(`device request ${dpos}+${len} of ${this.size}`);
    }
  }

  readSync(into: Uint8Array, dpos: number): void {
    this.#check(dpos, into.length);
    into.set(this.#bytes.subarray(dpos, dpos + into.length));
  }

  writeSync(from: Uint8Array, dpos: number): void {
    this.#check(dpos, from.length);
    if (this.readOnly) throw new Error('a write to a read-only device');
    this.#undo.push([dpos, this.#bytes.slice(dpos, dpos + from.length)]);
    this.#bytes.set(from, dpos);
  }

  flushSync(): void {}

  async read(into: Uint8Array, dpos: number): Promise<void> {
    this.readSync(into, dpos);
  }

  async write(from: Uint8Array, dpos: number): Promise<void> {
    this.writeSync(from, dpos);
  }

  async flush(): Promise<void> {}

  async close(): Promise<void> {}

  revert(): void {
    for (const [dpos, old] of this.#undo.reverse()) this.#bytes.set(old, dpos);
    this.#undo.length = 0;
  }
}
