// The command line in this process: `ext4('ls', '-l', address)` gives what a user would see, and the exit code. The
// targets are memory; a test says whether they are terminals. Images are made once a file, in a temporary directory.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { embeddedImage } from '../../ts/cli/image.ts';
import { Io, type Target } from '../../ts/cli/io.ts';
import { run } from '../../ts/cli/run.ts';
import { which } from '../need.ts';

export interface Result {
  code: number;
  out: string;
  err: string;
  bytes: Buffer;
}

export interface Terminal {
  tty?: boolean;
  columns?: number;
  env?: Record<string, string>;
  signal?: AbortSignal;
  /** Standard input. */
  input?: Uint8Array[] | AsyncIterable<Uint8Array>;
}

class MemoryTarget implements Target {
  readonly parts: Buffer[] = [];
  readonly isTTY: boolean;
  readonly columns: number;

  constructor(isTTY: boolean, columns: number) {
    this.isTTY = isTTY;
    this.columns = columns;
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.parts.push(Buffer.from(bytes));
  }

  get all(): Buffer {
    return Buffer.concat(this.parts);
  }
}

/** Runs `ext4 ARGV…` with standard output and error in memory, by default no terminals. */
export function ext4(...argv: string[]): Promise<Result> {
  return ext4On({}, ...argv);
}

export async function ext4On(terminal: Terminal, ...argv: string[]): Promise<Result> {
  const { tty = false, columns = 80, env = {}, signal, input = [] } = terminal;
  const out = new MemoryTarget(tty, columns);
  const err = new MemoryTarget(tty, columns);
  const chunks = Array.isArray(input) ? each(input) : input;
  const io = new Io(out, err, env, signal ?? new AbortController().signal, chunks);
  const code = await run(argv, io);
  return { code, out: out.all.toString(), err: err.all.toString(), bytes: out.all };
}

async function* each(chunks: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

/** A temporary directory that is removed after the file's tests. */
export function temporary(): string {
  const dir = mkdtempSync(join(tmpdir(), 'ext4-cli-'));
  afterAll(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** The embedded image as a file in `dir`: it has something of everything, and a file only in its journal. */
export function smallWorld(dir: string): string {
  const path = join(dir, 'world.img');
  writeFileSync(path, embeddedImage());
  return path;
}

/** Runs a tool and gives its standard output; the locale and the time zone are fixed. */
export function tool(command: string, ...args: string[]): string {
  const env = { ...process.env, LC_ALL: 'C.UTF-8', TZ: process.env.TZ ?? 'UTC' };
  return execFileSync(which(command) || command, args, {
    env,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
}

/** Mounts an image by the kernel, calls `fn` with the mount point, unmounts. Needs root and loop devices. */
export function onKernel<T>(dir: string, image: string, fn: (mountPoint: string) => T): T {
  const mountPoint = mkdtempSync(join(dir, 'mnt-'));
  tool('mount', '-o', 'loop,noatime,errors=continue', image, mountPoint);
  try {
    return fn(mountPoint);
  } finally {
    tool('umount', mountPoint);
  }
}
