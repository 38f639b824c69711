// cp: a file, a link or, with `recursive`, a tree, with Node's options, order of checks and errors. What a user's
// filter says is waited for in the promise and callback forms only, as in Node.

import type { Ext4Error } from '../errno.ts';
import type { StatRecord } from '../ext4/stat.ts';
import type { Flow } from '../flow.ts';
import type { FileSystem } from '../vfs/filesystem.ts';
import { setTimes } from './changeops.ts';
import { constants } from './constants.ts';
import { copyFileWork } from './copyfile.ts';
import { cannotCopy, invalidIn, isInside, notBoolean } from './cperrors.ts';
import { decodeName, utf8 } from './encoding.ts';
import { incompatible, isDirectory } from './invalid.ts';
import { mkdirAll } from './nameops.ts';
import { joinNames, type Path, parentOf, resolveText, toPath } from './paths.ts';
import { checkBoolean, checkFunction, checkInteger, checkObject } from './validate.ts';
import { ask, type Call, type Operation, type Work, wait } from './work.ts';

const { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK } = constants;

const SWITCHES = {
  dereference: false,
  errorOnExist: false,
  force: true,
  preserveTimestamps: false,
  recursive: false,
  verbatimSymlinks: false,
};

type Filter = (src: string, dest: string) => unknown;

interface CpOptions extends Record<keyof typeof SWITCHES, boolean> {
  mode: number;
  filter?: Filter;
}

export const cp: Operation = {
  arity: 3,
  begin({ vfs, form }: Call, src: unknown, dest: unknown, options?: object) {
    if (options !== undefined) checkObject(options, 'options');
    const given: CpOptions = { mode: 0, ...SWITCHES, ...options };
    const names = Object.keys(SWITCHES) as (keyof typeof SWITCHES)[];
    for (const name of names) checkBoolean(given[name], `options.${name}`);
    checkInteger(given.mode ?? 0, 'mode', 0, 7);
    if (given.dereference && given.verbatimSymlinks)
      throw incompatible('dereference', 'verbatimSymlinks');
    if (given.filter !== undefined) checkFunction(given.filter, 'options.filter');
    const from = toPath(src, 'src');
    const to = toPath(dest, 'dest');
    return new Copying(vfs, given, form === 'sync').start(from, to);
  },
};

interface Pair {
  from: Path;
  to: Path;
  source: StatRecord;
  target: StatRecord | null;
}

class Copying {
  readonly #vfs: FileSystem;
  readonly #options: CpOptions;
  readonly #sync: boolean;

  constructor(vfs: FileSystem, options: CpOptions, sync: boolean) {
    this.#vfs = vfs;
    this.#options = options;
    this.#sync = sync;
  }

  *start(from: Path, to: Path): Work<void> {
    const pair = yield* this.#look(from, to);
    if (pair === null) return;
    yield* this.#checkParents(pair, to);
    const up = sibling(to, parentOf(to.given));
    if ((yield* this.#optional(up, true)) === null) yield* mkdirAll(this.#vfs, up, 0o777, true);
    yield* this.#copy(pair);
  }

  /** Both ends, or null when the filter leaves them out. */
  *#look(from: Path, to: Path): Work<Pair | null> {
    if (!(yield* this.#wanted(from, to))) return null;
    const follow = this.#options.dereference;
    const source = yield* this.#stat(from, follow);
    const target = yield* this.#optional(to, follow);
    const [a, b] = [from.text, to.text];
    if (target !== null) {
      if (target.ino === source.ino) throw invalidIn('src and dest cannot be the same', b);
      const [out, into] = [isDir(source), isDir(target)];
      if (out && !into) throw cannotCopy('DIR_TO_NON_DIR', a, b);
      if (!out && into) throw cannotCopy('NON_DIR_TO_DIR', a, b);
    }
    if (isDir(source) && isInside(a, b)) throw intoItself(a, b);
    return { from, to, source, target };
  }

  *#wanted(from: Path, to: Path): Work<boolean> {
    const { filter } = this.#options;
    if (filter === undefined) return true;
    const answer = filter(from.text, to.text);
    if (!this.#sync) return Boolean(yield* wait(answer));
    if (answer instanceof Promise) throw notBoolean(answer);
    return Boolean(answer);
  }

  *#stat(at: Path, follow: boolean): Work<StatRecord> {
    return yield* ask(this.#vfs.stat(at.given, follow), follow ? 'stat' : 'lstat', at.text);
  }

  /** Null for what is not there. */
  *#optional(at: Path, follow: boolean): Work<StatRecord | null> {
    try {
      return yield* this.#stat(at, follow);
    } catch (error) {
      if ((error as Ext4Error).code === 'ENOENT') return null;
      throw error;
    }
  }

  /** No directory on the way to the target may be the source, under whatever name. */
  *#checkParents({ from, source }: Pair, to: Path): Work<void> {
    const end = resolveText(from.text, '..');
    let parent = resolveText(to.text, '..');
    while (parent !== end && parent !== '/') {
      const stat = yield* this.#optional(toPath(parent), true);
      if (stat === null) return;
      if (stat.ino === source.ino) throw intoItself(from.text, to.text);
      parent = resolveText(parent, '..');
    }
  }

  *#copy(pair: Pair): Work<void> {
    const { from, to } = pair;
    const source = yield* this.#stat(from, this.#options.dereference);
    const type = source.mode & S_IFMT;
    const now = { ...pair, source };
    if (type === S_IFDIR && this.#options.recursive) yield* this.#directory(now);
    else if (type === S_IFDIR) throw isDirectory('cp', from.text, this.#sync);
    else if (type === S_IFREG || type === S_IFCHR || type === S_IFBLK) yield* this.#file(now);
    else if (type === S_IFLNK) yield* this.#link(now);
    else if (type === S_IFSOCK) throw cannotCopy('SOCKET', from.text, to.text);
    else if (type === S_IFIFO) throw cannotCopy('FIFO_PIPE', from.text, to.text);
    else throw cannotCopy('UNKNOWN', from.text, to.text);
  }

  *#file({ from, to, source, target }: Pair): Work<void> {
    const { errorOnExist, force, mode, preserveTimestamps } = this.#options;
    if (target !== null && !force) {
      if (errorOnExist) throw cannotCopy('EEXIST', from.text, to.text);
      return;
    }
    if (target !== null) yield* ask(this.#vfs.change.unlink(to.given), 'unlink', to.text);
    yield* copyFileWork(this.#vfs, from, to, mode ?? 0);
    if (preserveTimestamps) yield* this.#keepTimes(from, to);
    yield* this.#chmod(to, source.mode);
  }

  *#keepTimes(from: Path, to: Path): Work<void> {
    const { atime, mtime } = yield* this.#stat(from, true);
    // To the millisecond, as Dates have it.
    const times = { atime: toMillisecond(atime), mtime: toMillisecond(mtime) };
    yield* ask(
      this.#onTarget(to, (ino) => setTimes(this.#vfs, ino, times)),
      'utime',
      to.text,
    );
  }

  *#chmod(to: Path, mode: number): Work<void> {
    const bits = { mode: mode & 0o7777 };
    const flow = this.#onTarget(to, (ino) => this.#vfs.change.setAttributes(ino, bits));
    yield* ask(flow, 'chmod', to.text);
  }

  *#onTarget(to: Path, changing: (ino: number) => Flow<void>): Flow<void> {
    yield* changing(yield* this.#vfs.resolve(to.given, true));
  }

  *#directory({ from, to, source, target }: Pair): Work<void> {
    if (target === null) yield* ask(this.#vfs.change.mkdir(to.given, 0o777), 'mkdir', to.text);
    const cursor = yield* ask(this.#vfs.openDir(from.given), 'opendir', from.text);
    for (;;) {
      const entries = yield* ask(this.#vfs.readDir(cursor), 'scandir', from.text);
      if (entries.length === 0) break;
      for (const { name } of entries) {
        const pair = yield* this.#look(below(from, name), below(to, name));
        if (pair !== null) yield* this.#copy(pair);
      }
    }
    if (target === null) yield* this.#chmod(to, source.mode);
  }

  *#link({ from, to, target }: Pair): Work<void> {
    const leadsTo = yield* this.#readlink(from);
    const { verbatimSymlinks } = this.#options;
    const resolved = verbatimSymlinks ? leadsTo : absolute(from, leadsTo);
    if (target === null) return yield* this.#symlink(resolved, to);
    const isLink = (target.mode & S_IFMT) === S_IFLNK;
    if (isLink) {
      yield* this.#checkReplaced(from, to, resolved.text);
      yield* ask(this.#vfs.change.unlink(to.given), 'unlink', to.text);
    }
    yield* this.#symlink(resolved, to);
  }

  /** Neither link may lead into what the other leads to. */
  *#checkReplaced(from: Path, to: Path, resolved: string): Work<void> {
    const there = absolute(to, yield* this.#readlink(to)).text;
    if (isInside(resolved, there)) throw intoItself(resolved, there, to.text);
    const { mode } = yield* this.#stat(this.#sync ? to : from, true);
    if ((mode & S_IFMT) === S_IFDIR && isInside(there, resolved))
      throw cannotCopy('SYMLINK_TO_SUBDIRECTORY', resolved, there, to.text);
  }

  *#readlink(at: Path): Work<Path> {
    return toPath(nameOf(yield* ask(this.#vfs.readlink(at.given), 'readlink', at.text)));
  }

  *#symlink(leadsTo: Path, to: Path): Work<void> {
    const { given, text } = leadsTo;
    const bytes = typeof given === 'string' ? utf8(given) : given;
    yield* ask(this.#vfs.change.symlink(bytes, to.given), 'symlink', text, to.text);
  }
}

const isDir = (stat: StatRecord): boolean => (stat.mode & S_IFMT) === S_IFDIR;

function intoItself(src: string, dest: string, path = dest): Error {
  return invalidIn(`cannot copy ${src} to a subdirectory of self ${dest}`, path);
}

/** Text where the bytes are UTF-8, else the bytes. */
function nameOf(bytes: Uint8Array): string | Uint8Array {
  const text = decodeName(bytes) as string;
  return text.includes('\ufffd') ? bytes : text;
}

function below(at: Path, name: Uint8Array): Path {
  return toPath(joinNames(at.given, nameOf(name)));
}

const sibling = (at: Path, given: string | Uint8Array): Path =>
  given.length === 0 ? at : toPath(given);

/** Where a link at `at` leads: from the root. */
function absolute(at: Path, leadsTo: Path): Path {
  if (typeof leadsTo.given !== 'string' || leadsTo.text.startsWith('/')) return leadsTo;
  return toPath(resolveText(at.text, '..', leadsTo.text));
}

function toMillisecond({ sec, nsec }: { sec: number; nsec: number }) {
  return { sec, nsec: Math.trunc(nsec / 1e6) * 1e6 };
}
