// Writes files of an image onto the host. A file is made under a temporary name and renamed when it is complete, so
// that a symlink in its place is replaced and never followed. A name that could lead out of the target is refused;
// a directory is entered only when it is one and no link. The image decides the names below the target, no more.

import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  closeSync,
  fchmodSync,
  fchownSync,
  ftruncateSync,
  futimesSync,
  lchownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  renameSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import type { Ext4 } from '../index.ts';
import type { Call } from './args.ts';
import { BAD_IMAGE, Failure } from './errors.ts';
import { deviceNumbers, type Instant } from './format.ts';
import { encodeName, shown } from './names.ts';
import { Progress } from './progress.ts';
import {
  bytesOf,
  dataSegments,
  type Facts,
  linkOf,
  type Readable,
  readRange,
  type Seekable,
  type Visit,
  type WalkOptions,
  walk,
} from './tree.ts';

export interface ExtractOptions {
  /** Modes as they are, times, hard links and (as root) owners. */
  preserve: boolean;
  verbose?: boolean;
  /** Bytes of data after which no further file is begun. */
  limit?: number;
  /** False leaves devices, fifos and sockets out. */
  special?: boolean;
}

const UMASK = process.umask();
const ROOT = process.getuid?.() === 0;
const WINDOWS = process.platform === 'win32';

export class Extractor {
  /** Bytes of data written. */
  bytes = 0;
  files = 0;
  directories = 0;
  /** Symbolic links, and further names of a file. */
  links = 0;
  /** Special files that were left out. */
  skipped = 0;
  /** Files that were not begun because of the limit. */
  left = 0;
  readonly #call: Call;
  readonly #img: Ext4;
  readonly #options: ExtractOptions;
  readonly progress: Progress;
  /** Inode to the place of its first name, for files with several. */
  readonly #linked = new Map<number, Uint8Array>();
  #attributed = 0;

  constructor(call: Call, img: Ext4, options: ExtractOptions) {
    this.#call = call;
    this.#img = img;
    this.#options = options;
    this.progress = new Progress(call.io);
  }

  /** What there is to say once everything is copied. */
  async end(): Promise<void> {
    await this.progress.end();
    if (this.#attributed === 0) return;
    const files = this.#attributed === 1 ? 'file has' : 'files have';
    await this.#call.note(
      `kept no extended attributes (${this.#attributed} ${files} some; ext4 tar carries them)`,
    );
  }

  /** A file, or what a link to it names; `to` is replaced. */
  async file(path: string, to: Uint8Array, facts: Facts): Promise<void> {
    if ((facts.mode & 0o170000) !== 0o100000)
      throw new Failure('is no regular file (-r copies it)');
    await this.#verbose(path, to);
    await this.#regular(path, to, facts);
  }

  /** A tree: `to` becomes what `path` is. What fails is reported and the rest goes on. */
  async tree(path: string, to: Uint8Array, complain: WalkOptions['complain']): Promise<void> {
    const places: Uint8Array[] = [to];
    const made: boolean[] = [];
    for await (const visit of walk(this.#img, this.#call.io, path, { complain })) {
      const { depth } = visit;
      try {
        if (depth > 0 && !visit.leave) places[depth] = place(places[depth - 1], visit.name);
        if (visit.leave) this.#finishDirectory(places[depth], visit.facts, made[depth]);
        else if (visit.type === 'd') {
          made[depth] = makeDirectory(places[depth], depth === 0);
          this.directories++;
        } else await this.#leaf(visit, places[depth]);
        if (!visit.leave) await this.#verbose(visit.path, places[depth]);
      } catch (error) {
        visit.skip = true;
        await complain(visit.path, error);
      }
      if (!visit.leave) await this.#countAttributes(visit);
    }
  }

  async #verbose(path: string, to: Uint8Array): Promise<void> {
    if (!this.#options.verbose) return;
    const host = shown(Buffer.from(to).toString());
    await this.#call.io.out.line(`${shown(path)} -> ${host}`);
  }

  async #countAttributes(visit: Visit): Promise<void> {
    if (!this.#options.preserve) return;
    const names = await this.#img.promises.llistxattr(bytesOf(visit.path)).catch(() => []);
    if (names.length > 0) this.#attributed++;
  }

  async #leaf(visit: Visit, to: Uint8Array): Promise<void> {
    const { facts, path, type } = visit;
    const first = this.#linked.get(facts.ino);
    if (type === 'l' || first) this.links++;
    if (first) return replace(to, (temporary) => linkSync(asBuffer(first), temporary));
    if (!'-l'.includes(type) && this.#options.special === false) {
      this.skipped++;
      return;
    }
    if (type === '-') await this.#regular(path, to, facts);
    else if (type === 'l') await this.#symlink(path, to, facts);
    else await this.#special(visit, to);
    if (this.#options.preserve && facts.nlink > 1) this.#linked.set(facts.ino, to);
  }

  async #symlink(path: string, to: Uint8Array, facts: Facts): Promise<void> {
    const target = asBuffer(encodeName(await linkOf(this.#img, path)));
    replace(to, (temporary) => {
      symlinkSync(target, temporary);
      if (!this.#options.preserve) return;
      if (ROOT) lchownSync(temporary, facts.uid, facts.gid);
      lutimesSync(temporary, seconds(facts.atime), seconds(facts.mtime));
    });
  }

  /** Devices and fifos: Node cannot make them, mknod(1) can. */
  async #special({ facts, type }: Visit, to: Uint8Array): Promise<void> {
    if (type === 's') throw new Failure('a socket is not copied');
    const { execFileSync } = await import('node:child_process');
    const { major, minor } = deviceNumbers(facts.rdev);
    const numbers = type === 'p' ? [] : [String(major), String(minor)];
    replace(to, (temporary) => {
      try {
        execFileSync('mknod', [temporary.toString(), type, ...numbers], { stdio: 'ignore' });
      } catch {
        throw new Failure('mknod(1) cannot make a special file here (ext4 tar carries them)');
      }
      if (ROOT && this.#options.preserve) chownSync(temporary, facts.uid, facts.gid);
      chmodSync(temporary, this.#mode(facts));
      if (this.#options.preserve) {
        utimesSync(temporary, seconds(facts.atime), seconds(facts.mtime));
      }
    });
  }

  async #regular(path: string, to: Uint8Array, facts: Facts): Promise<void> {
    if (this.bytes >= (this.#options.limit ?? Number.POSITIVE_INFINITY)) {
      this.left++;
      return;
    }
    const handle = await this.#img.promises.open(bytesOf(path), 'r');
    const temporary = temporaryName(to);
    let fd: number | undefined;
    try {
      fd = openSync(temporary, 'wx', 0o600);
      await this.#contents(handle as unknown as Readable & Seekable, fd, facts.size, path);
      this.#finishFile(fd, facts);
      closeSync(fd);
      fd = undefined;
      renameSync(temporary, asBuffer(to));
      this.files++;
    } catch (error) {
      remove(temporary);
      throw error;
    } finally {
      if (fd !== undefined) closeSync(fd);
      await handle.close();
    }
  }

  async #contents(
    handle: Readable & Seekable,
    fd: number,
    size: number,
    path: string,
  ): Promise<void> {
    for await (const { pos, len } of dataSegments(handle, size)) {
      let at = pos;
      for await (const chunk of readRange(handle, pos, pos + len)) {
        writeAll(fd, chunk, at);
        at += chunk.length;
        this.bytes += chunk.length;
        await this.progress.add(chunk.length, path);
        await this.#call.io.breathe();
      }
      if (at !== pos + len) throw new Failure('the file ends before its size');
    }
    ftruncateSync(fd, size);
  }

  #finishFile(fd: number, facts: Facts): void {
    if (ROOT && this.#options.preserve) fchownSync(fd, facts.uid, facts.gid);
    fchmodSync(fd, this.#mode(facts));
    if (this.#options.preserve) futimesSync(fd, seconds(facts.atime), seconds(facts.mtime));
  }

  #finishDirectory(to: Uint8Array, facts: Facts, made: boolean): void {
    const path = asBuffer(to);
    const { preserve } = this.#options;
    if (ROOT && preserve) chownSync(path, facts.uid, facts.gid);
    if (made || preserve) chmodSync(path, this.#mode(facts));
    if (preserve) utimesSync(path, seconds(facts.atime), seconds(facts.mtime));
  }

  /** Without -p as for a new file. Set-id bits are kept only together with the owner they are for. */
  #mode({ mode }: Facts): number {
    if (!this.#options.preserve) return mode & 0o777 & ~UMASK;
    return mode & (ROOT ? 0o7777 : 0o1777);
  }
}

/** The place of a name in a directory of the host. Throws Failure for names that no honest image has. */
export function place(dir: Uint8Array, name: string): Uint8Array {
  const odd = WINDOWS ? /[\\/:*?"<>|\0]|[. ]$/ : /[/\0]/;
  if (name === '' || name === '.' || name === '..' || odd.test(name)) {
    throw new Failure('the name cannot be a file here: not copied', BAD_IMAGE);
  }
  return Buffer.concat([dir, Buffer.from('/'), encodeName(name)]);
}

const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** True when the directory is new. Only the one that the user named may be reached through a link. */
function makeDirectory(path: Uint8Array, named: boolean): boolean {
  try {
    mkdirSync(asBuffer(path), 0o700);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    const facts = named ? statSync(asBuffer(path)) : lstatSync(asBuffer(path));
    if (facts.isDirectory()) return false;
    throw new Failure('something that is no directory is in its place');
  }
}

/** A name of our own beside the file, on the same file system. */
function temporaryName(to: Uint8Array): Buffer {
  const cut = to.lastIndexOf(0x2f) + 1;
  const name = `.ext4-${randomBytes(9).toString('hex')}.part`;
  return Buffer.concat([to.subarray(0, cut), Buffer.from(name)]);
}

/** Makes something under a temporary name and puts it in the place of `to`. */
function replace(to: Uint8Array, make: (temporary: Buffer) => void): void {
  const temporary = temporaryName(to);
  try {
    make(temporary);
    renameSync(temporary, asBuffer(to));
  } finally {
    // Still there after an error, and after a rename onto another link to the same file, which does nothing.
    remove(temporary);
  }
}

function remove(path: Buffer): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

function writeAll(fd: number, bytes: Uint8Array, pos: number): void {
  for (let done = 0; done < bytes.length; ) {
    done += writeSync(fd, bytes, done, bytes.length - done, pos + done);
  }
}

/** As text, which Node takes for times before 1970 too. */
const seconds = ({ sec, nsec }: Instant): string => String(sec + nsec / 1e9);
