// The package as users get it: packed by npm, unpacked into node_modules of a project of its own, bundled by vite
// through its exports map. Where ts/ is newer than build/, it is compiled into that copy: build/ itself may be in use.

import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { build, type Rolldown } from 'vite';

const ROOT = resolve(import.meta.dirname, '../..');

/** Installs the packed package into `project`/node_modules. */
export function installPackage(project: string): string {
  const modules = join(project, 'node_modules');
  mkdirSync(modules, { recursive: true });
  if (newest('assembly') > newest('build/kernels.js')) {
    console.warn('browser: build/kernels.js is older than assembly/: npm run build');
  }
  const pack = ['pack', '--json', '--ignore-scripts', '--pack-destination', modules];
  const [{ filename }] = JSON.parse(run('npm', pack));
  run('tar', ['-xzf', join(modules, filename), '-C', modules]);
  rmSync(join(modules, filename));
  const home = join(modules, 'ext4-wasm');
  cpSync(join(modules, 'package'), home, { recursive: true });
  rmSync(join(modules, 'package'), { recursive: true });
  if (newest('ts') > statSync(join(ROOT, 'build/ts/index.js')).mtimeMs)
    compile(join(home, 'build'));
  return home;
}

/** Type errors do not stop it: `npm test` has a step of its own for them. */
function compile(out: string): void {
  console.warn('browser: build/ is older than ts/; testing a fresh compilation');
  try {
    run('node', ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json', '--outDir', out]);
  } catch (error) {
    console.warn(String((error as { stdout: string }).stdout));
  }
}

function run(command: string, args: string[]): string {
  const stdio = ['ignore', 'pipe', 'pipe'] as ('ignore' | 'pipe')[];
  return execFileSync(command, args, { cwd: ROOT, encoding: 'utf8', stdio, timeout: 120_000 });
}

/** When a file, or the youngest source below a folder, was changed. */
function newest(path: string): number {
  const full = join(ROOT, path);
  if (!statSync(full).isDirectory()) return statSync(full).mtimeMs;
  const below = readdirSync(full, { recursive: true, encoding: 'utf8' });
  return Math.max(...below.map((name) => statSync(join(full, name)).mtimeMs));
}

export interface Bundled {
  chunks: Rolldown.OutputChunk[];
  /** Source files that went in. */
  modules: string[];
  warnings: string[];
}

/** Bundles `input` (a page or a module) of `project` for browsers, into `project`/dist unless only to look. */
export async function bundle(project: string, input: string, write: boolean): Promise<Bundled> {
  const warnings: string[] = [];
  const logger = {
    info: () => {},
    warn: (text: string) => void warnings.push(text),
    warnOnce: (text: string) => void warnings.push(text),
    error: (text: string) => void warnings.push(text),
    clearScreen: () => {},
    hasErrorLogged: () => false,
    hasWarned: false,
  };
  const modules: string[] = [];
  const seen = {
    name: 'seen',
    transform(_: string, id: string) {
      modules.push(id);
      return null;
    },
  };
  const output = await build({
    root: project,
    configFile: false,
    customLogger: logger,
    plugins: [seen],
    worker: { format: 'es', plugins: () => [seen] },
    build: {
      target: 'esnext',
      outDir: join(project, 'dist'),
      emptyOutDir: false,
      write,
      reportCompressedSize: false,
      rollupOptions: { input: join(project, input), preserveEntrySignatures: 'strict' },
    },
  });
  const all = (Array.isArray(output) ? output : [output as Rolldown.RolldownOutput]).flatMap(
    (one) => one.output,
  );
  return {
    chunks: all.filter((one): one is Rolldown.OutputChunk => one.type === 'chunk'),
    modules,
    warnings,
  };
}

/** Writes a module of the project. */
export function writeModule(project: string, name: string, text: string): string {
  writeFileSync(join(project, name), text);
  return name;
}
