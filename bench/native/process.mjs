// A C program of this folder as a subject of the harness: compiled into build/ when there is a gcc, it runs as a
// process of its own, sleeps while others have their turn, and does `name count arguments…` lines from its input.

import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const BUILD = join(import.meta.dirname, '../../build');

/** Compiles `name`.c and starts it with `args`; null where there is no gcc. */
export function startNative(name, args) {
  mkdirSync(BUILD, { recursive: true });
  const out = join(BUILD, `bench-${name}`);
  const flags = ['-O3', '-march=native', '-Wall', '-Wextra', '-o', out];
  const gcc = spawnSync('gcc', [...flags, join(import.meta.dirname, `${name}.c`)], {
    encoding: 'utf8',
  });
  if (gcc.error) return null;
  if (gcc.status !== 0) throw new Error(`gcc: ${gcc.stderr}`);
  return new Native(spawn(out, args, { stdio: ['pipe', 'pipe', 'inherit'] }));
}

class Native {
  #child;
  #lines;

  constructor(child) {
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  /** The result of one call, as a number. */
  async call(name, ...args) {
    return (await this.#ask(name, 1, args))[1];
  }

  /** A subject that runs the kernel `name` with these arguments. */
  subject(title, name, ...args) {
    const run = async (count) => (await this.#ask(name, count, args))[0];
    return { name: title, run, once: () => this.call(name, ...args) };
  }

  async #ask(name, count, args) {
    this.#child.stdin.write(`${[name, count, ...args].join(' ')}\n`);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`native ${name}: the process has ended`);
    return value.split(' ').map(Number);
  }

  stop() {
    this.#child.stdin.end();
  }
}
