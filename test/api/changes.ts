// Random changes of a tree for two file systems at once, and what is compared afterwards. The names are few, so that
// calls meet what others made: files below files, links to nowhere, directories that are not empty, names of open
// files.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import type nodefs from 'node:fs';
import { type Random, random } from '../fuzz/random.ts';
import { attempt, attemptAsync, attemptCallback, type Outcome, plain } from './outcome.ts';

export type AnyFs = Record<string, (...args: unknown[]) => unknown> & {
  promises: Record<string, (...args: unknown[]) => Promise<unknown>>;
};
/** A call; an argument `{ fd: n }` stands for the nth open descriptor, `{ room: n }` for a buffer of n bytes to read
 *  into, a path starts with '/'. */
export type Call = [name: string, ...args: unknown[]];

const NAMES = ['a', 'b', 'c', 'd', 'ünï', `${'n'.repeat(255)}`];
const TAILS = ['', '', '', '', '', '', '/', '/.', '/..'];
export const FLAGS = ['r', 'r+', 'w', 'wx', 'w+', 'a', 'ax', 'a+'];
const TARGETS = ['a', 'b', 'a/../b', 'a/c', 'nowhere', './a', 'x'.repeat(200), ''];

/** Calls at random, none of which leaves the root by '..'. Times are such that a double holds them to
 *  the nanosecond. */
export function* calls(seed: number, count: number): Generator<Call> {
  const r = random(seed);
  const makers = Object.values(MAKERS);
  for (let i = 0; i < count; i++) yield r.pick(makers)(r);
}

export function path(r: Random): string {
  const names = Array.from({ length: 1 + r.int(3) }, () => r.pick(NAMES));
  const long = r.chance(0.01) ? 'y' : '';
  return `/${names.join('/')}${long}${r.pick(TAILS)}`;
}

const mode = (r: Random): number => r.int(0o10000);
const id = (r: Random): number => r.pick([0, 1, 1000, 65536, 70000]);
const time = (r: Random): unknown =>
  r.pick([0, 1.5, 1_700_000_000.25, '5.125', new Date(1_600_000_000_000), 4_294_967_296, '-2.5']);
export const fd = (r: Random) => ({ fd: r.int(6) });

const MAKERS: Record<string, (r: Random) => Call> = {
  mkdir: (r) => ['mkdir', path(r), ...(r.chance(0.3) ? [mode(r)] : [])],
  mkdirAgain: (r) => ['mkdir', path(r)],
  mkdirAll: (r) => ['mkdir', path(r), { recursive: true, mode: 0o755 }],
  create: (r) => [
    'writeFile',
    path(r),
    '',
    { mode: mode(r), flag: r.pick(['w', 'wx', 'a', 'r+']) },
  ],
  createAgain: (r) => ['writeFile', path(r), ''],
  append: (r) => ['appendFile', path(r), ''],
  open: (r) => ['open', path(r), r.pick(FLAGS), mode(r)],
  close: (r) => ['close', fd(r)],
  rename: (r) => ['rename', path(r), path(r)],
  renameAgain: (r) => ['rename', path(r), path(r)],
  link: (r) => ['link', path(r), path(r)],
  symlink: (r) => ['symlink', r.pick(TARGETS), path(r)],
  unlink: (r) => ['unlink', path(r)],
  rmdir: (r) => ['rmdir', path(r)],
  // Through ".." a tree would lose the way to itself, and how much goes first is nobody's promise.
  rm: (r) => [
    'rm',
    path(r).replace(/\/\.\.$/, ''),
    { force: r.chance(0.5), recursive: r.chance(0.1) },
  ],
  chmod: (r) => ['chmod', path(r), mode(r)],
  chown: (r) => [r.pick(['chown', 'lchown']), path(r), id(r), id(r)],
  keep: (r) => [r.pick(['chown', 'lchown']), path(r), -1, r.pick([-1, 5])],
  utimes: (r) => [r.pick(['utimes', 'lutimes']), path(r), time(r), time(r)],
  truncate: (r) => ['truncate', path(r), 0],
  fchmod: (r) => ['fchmod', fd(r), mode(r)],
  fchown: (r) => ['fchown', fd(r), id(r), id(r)],
  futimes: (r) => ['futimes', fd(r), time(r), time(r)],
  ftruncate: (r) => ['ftruncate', fd(r)],
  fsync: (r) => [r.pick(['fsync', 'fdatasync']), fd(r)],
  empty: (r) => ['write', fd(r), new Uint8Array(0)],
};

/** One file system that calls are made on, in one form; it keeps the descriptors that its calls open. */
export class Player {
  readonly #fs: AnyFs;
  readonly #root: string;
  readonly #form: 'sync' | 'promise' | 'callback';
  readonly #fds: number[] = [];

  constructor(fs: unknown, root: string, form: 'sync' | 'promise' | 'callback') {
    this.#fs = fs as AnyFs;
    this.#root = root;
    this.#form = form;
  }

  async play([name, ...given]: Call): Promise<Outcome> {
    const index = (given[0] as { fd?: number })?.fd;
    if (index !== undefined && index >= this.#fds.length) return { value: 'no such file open' };
    const args = given.map((arg) => this.#real(arg));
    const outcome = await this.#call(name, args);
    const room = (given[1] as { room?: number })?.room;
    // The synchronous form gives no buffer back.
    if (room !== undefined && 'value' in outcome)
      return { value: plain([outcome.value, args[1]], '') };
    if (name === 'open' && 'value' in outcome) {
      this.#fds.push([outcome.value].flat().at(-1) as number);
      return { value: 'opened' };
    }
    if (name === 'close') this.#fds.splice(index!, 1);
    return outcome;
  }

  async closeAll(): Promise<void> {
    while (this.#fds.length > 0) await this.play(['close', { fd: 0 }]);
  }

  #real(arg: unknown): unknown {
    if (typeof arg === 'string' && arg.startsWith('/')) return this.#root + arg;
    const { fd: index, room } = (arg ?? {}) as { fd?: number; room?: number };
    if (room !== undefined) return Buffer.alloc(room, 0x2e);
    return index === undefined ? arg : this.#fds[index];
  }

  /** Promises have no forms on descriptors: the callback's are as asynchronous. */
  #call(name: string, args: unknown[]): Promise<Outcome> {
    const fs = this.#fs;
    if (this.#form === 'sync')
      return Promise.resolve(attempt(() => fs[`${name}Sync`](...args), this.#root));
    const bare = name === 'open' || typeof args[0] === 'number' || this.#form === 'callback';
    if (bare) return attemptCallback((done) => fs[name](...args, done), this.#root);
    return attemptAsync(() => fs.promises[name](...args), this.#root);
  }
}

/** Everything below `root` but lost+found, one line each: what both sides must agree on. */
export function lines(fs: typeof nodefs, root: string, below = ''): string[] {
  const names = fs.readdirSync(`${root}${below}/`).filter((name) => name !== 'lost+found');
  return names.flatMap((name) => {
    const at = `${below}/${name}`;
    const s = fs.lstatSync(root + at, { bigint: true });
    const size = s.isDirectory() ? '' : s.size;
    const target = s.isSymbolicLink() ? ` -> ${fs.readlinkSync(root + at)}` : '';
    const line = `${at} ${s.mode.toString(8)} ${s.uid}:${s.gid} ${s.nlink} ${size}${target}`;
    return [line, ...(s.isDirectory() ? lines(fs, root, at) : [])];
  });
}

/** A hash of what each regular file holds. */
export function contents(fs: typeof nodefs, root: string, paths: string[]): string[] {
  const files = paths.filter((path) => fs.lstatSync(root + path).isFile());
  return files.map((path) => {
    const hash = createHash('sha256')
      .update(fs.readFileSync(root + path))
      .digest('hex');
    return `${path} ${hash}`;
  });
}

/** The times that calls set: those far from now. */
export function setTimes(fs: typeof nodefs, root: string, paths: string[]): string[] {
  const recent = BigInt(Date.now() - 3_600_000) * 1_000_000n;
  return paths.map((path) => {
    const { mtimeNs } = fs.lstatSync(root + path, { bigint: true });
    return `${path} ${mtimeNs > recent && mtimeNs < recent * 2n ? 'now' : mtimeNs}`;
  });
}

/** The paths of lines(). */
export function pathsOf(all: string[]): string[] {
  return all.map((line) => line.slice(0, line.indexOf(' ')));
}

/** Mounts an image by the kernel, calls `fn` and unmounts. */
export function onKernel<T>(image: string, dir: string, fn: () => T): T {
  execFileSync('mount', ['-o', 'loop,noatime', image, dir]);
  try {
    return fn();
  } finally {
    execFileSync('umount', [dir]);
  }
}
