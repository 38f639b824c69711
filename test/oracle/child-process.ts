// Runs child.ts in processes of its own: bundled once (Node 20 runs no TypeScript), one process an image, killed when
// it does not answer. The limits are those of the project: 5 s of processor time and 256 MiB of resident memory.

import { fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { build } from 'vite';
import type { ErrorDetail } from '../../ts/errno.ts';
import type { DumpOptions, State } from './state.ts';

export interface Job {
  image: string;
  readOnly: boolean;
  face: 'sync' | 'promise';
  options?: Record<string, unknown>;
  dump?: DumpOptions;
}

/** Either a state, or a code that the library gave at mount, or a bug: anything that is not an Ext4Error. */
export interface Outcome {
  state?: State;
  code?: string;
  detail?: ErrorDetail;
  message?: string;
  bug?: string;
  cpuMs: number;
  peakMiB: number;
}

export const LIMIT_CPU_MS = 5_000;
export const LIMIT_MIB = 256;
const LIMIT_WALL_MS = 45_000;
const ROOT = resolve(import.meta.dirname, '../..');

let bundles: Map<string, Promise<string>> | undefined;

/** The path of a bundle of `entry` (relative to the project) that plain Node runs. */
export function bundle(entry: string): Promise<string> {
  bundles ??= new Map();
  let made = bundles.get(entry);
  if (made === undefined) bundles.set(entry, (made = makeBundle(entry)));
  return made;
}

async function makeBundle(entry: string): Promise<string> {
  const outDir = mkdtempSync(join(tmpdir(), 'ext4-child-'));
  process.once('exit', () => rmSync(outDir, { recursive: true, force: true }));
  await build({
    root: ROOT,
    configFile: false,
    logLevel: 'error',
    ssr: { noExternal: true, target: 'node' },
    build: {
      ssr: join(ROOT, entry),
      outDir,
      emptyOutDir: false,
      target: 'node20',
      minify: false,
      rolldownOptions: { output: { entryFileNames: 'child.mjs' } },
    },
  });
  return join(outDir, 'child.mjs');
}

/** Runs one job to its end. A hang or a crash of the process is a bug in the outcome, never a rejection. */
export async function runChild(job: Job): Promise<Outcome> {
  const script = await bundle('test/oracle/child.ts');
  return new Promise((done) => {
    const child = fork(script, { execArgv: [], stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    let stderr = '';
    let outcome: Outcome | undefined;
    const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT_WALL_MS);
    child.stderr!.on('data', (text) => (stderr = (stderr + text).slice(-4000)));
    // The child waits to be ended: a message could otherwise arrive after its exit.
    child.on('message', (message) => {
      outcome = message as Outcome;
      child.kill('SIGKILL');
    });
    child.on('exit', (code, signal) => {
      clearTimeout(timer);
      const bug = `ended with ${signal ?? code}, limit ${LIMIT_WALL_MS} ms\n${stderr}`;
      done(outcome ?? { bug, cpuMs: LIMIT_WALL_MS, peakMiB: 0 });
    });
    child.send(job);
  });
}
