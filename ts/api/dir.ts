// Dir: an opened directory, with the methods of fs.Dir. Operations on it run one after another; a synchronous one
// refuses to overtake. Nothing is held in the core: closing only ends the Dir.

import type { DirCursor } from '../ext4/dir.ts';
import type { FileSystem } from '../vfs/filesystem.ts';
import { nextEntries, openBelow } from './dirops.ts';
import { decodeName } from './encoding.ts';
import { dirBusy, dirClosed } from './invalid.ts';
import { joinBytes, joinNames } from './paths.ts';
import { callLater } from './platform.ts';
import { Dirent } from './stats.ts';
import { checkFunction } from './validate.ts';
import { type OpenDir, run, runSync, type Work } from './work.ts';

/** A directory being read; a recursive Dir has several, the newest is read first. */
interface Level {
  cursor: DirCursor;
  /** Where it lies, which what is shown may not say: names shown in hex, or not UTF-8. */
  at: string | Uint8Array;
  shown: string | Uint8Array;
}

type ReadCallback = (error: unknown, entry?: Dirent | null) => void;

export class Dir {
  readonly path: string | Uint8Array;
  readonly #vfs: FileSystem;
  readonly #opened: OpenDir;
  readonly #levels: Level[];
  /** Where the entries of a recursive Dir lie, whatever encoding their names are shown in. */
  readonly #places = new WeakMap<Dirent, Uint8Array>();
  #ready: Dirent[] = [];
  #closed = false;
  #waiting = 0;
  #last: Promise<unknown> = Promise.resolve();

  constructor(vfs: FileSystem, opened: OpenDir) {
    const { cursor, path } = opened;
    this.#vfs = vfs;
    this.#opened = opened;
    this.#levels = [{ cursor, at: path.given, shown: path.given }];
    this.path = path.given;
  }

  /** The next entry, null at the end. */
  read(): Promise<Dirent | null>;
  read(callback: ReadCallback): void;
  read(callback?: ReadCallback): Promise<Dirent | null> | undefined {
    if (this.#closed) throw dirClosed();
    if (callback !== undefined) checkFunction(callback, 'callback');
    const entry = this.#inTurn(() => run(this.#vfs, this.#next()));
    if (callback === undefined) return entry;
    entry.then(
      (value) => callLater(callback, null, value),
      (error) => callLater(callback, error),
    );
    return undefined;
  }

  readSync(): Dirent | null {
    this.#checkIdle();
    return runSync(this.#vfs, this.#next());
  }

  close(): Promise<void>;
  close(callback: (error: unknown) => void): void;
  close(callback?: (error: unknown) => void): Promise<void> | undefined {
    if (callback !== undefined) checkFunction(callback, 'callback');
    if (this.#closed) {
      if (callback === undefined) return Promise.reject(dirClosed());
      callLater(callback, dirClosed());
      return undefined;
    }
    this.#closed = true;
    const done = this.#last.then(() => this.#forget());
    if (callback === undefined) return done;
    done.then(() => callLater(callback, null));
    return undefined;
  }

  closeSync(): void {
    this.#checkIdle();
    this.#closed = true;
    this.#forget();
  }

  async *entries(): AsyncGenerator<Dirent, void, undefined> {
    try {
      for (;;) {
        const entry = await this.read();
        if (entry === null) break;
        yield entry;
      }
    } finally {
      await this.close();
    }
  }

  [Symbol.asyncIterator](): AsyncGenerator<Dirent, void, undefined> {
    return this.entries();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#closed) await this.close();
  }

  [Symbol.dispose](): void {
    if (!this.#closed) this.closeSync();
  }

  #checkIdle(): void {
    if (this.#closed) throw dirClosed();
    if (this.#waiting > 0) throw dirBusy();
  }

  #forget(): void {
    this.#levels.length = 0;
    this.#ready = [];
  }

  /** Runs `fn` after what was asked before, whether that failed or not. */
  #inTurn<T>(fn: () => Promise<T>): Promise<T> {
    this.#waiting++;
    const mine = this.#last.then(fn);
    this.#last = mine.then(
      () => this.#waiting--,
      () => this.#waiting--,
    );
    return mine;
  }

  *#next(): Work<Dirent | null> {
    while (this.#ready.length === 0) {
      const level = this.#levels.at(-1);
      if (level === undefined) return null;
      yield* this.#refill(level);
    }
    const entry = this.#ready.shift()!;
    if (this.#opened.recursive && entry.isDirectory()) yield* this.#descend(entry);
    return entry;
  }

  *#refill(level: Level): Work<void> {
    const { at, shown } = level;
    const path = { given: at, text: textOf(shown) };
    const batch = yield* nextEntries(this.#vfs, level.cursor, path);
    if (batch.length === 0) this.#levels.splice(this.#levels.indexOf(level), 1);
    const { encoding } = this.#opened;
    this.#ready = batch.map(({ name, type }) => {
      const entry = new Dirent(decodeName(name, encoding), type, shown);
      if (this.#opened.recursive) this.#places.set(entry, joinBytes(at, name));
      return entry;
    });
  }

  *#descend(entry: Dirent): Work<void> {
    const at = this.#places.get(entry)!;
    const shown = joinNames(entry.parentPath, entry.name);
    const cursor = yield* openBelow(this.#vfs, { given: at, text: textOf(shown) });
    this.#levels.push({ cursor, at, shown });
  }
}

function textOf(path: string | Uint8Array): string {
  return typeof path === 'string' ? path : (decodeName(path) as string);
}
