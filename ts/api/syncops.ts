// The hot synchronous calls, written without work or closures: openSync, closeSync, readSync, writeSync, statSync,
// lstatSync, existsSync, readFileSync, writeFileSync, viewSync, unlinkSync, mkdirSync. The common call (plain numbers,
// a byte array, a string) goes straight to the core; any other shape takes the way of the operation of that name.
// Tests are inlined by hand: a helper costs more than they do.

import type { FileSystem } from '../vfs/filesystem.ts';
import { LONG_WAY } from '../vfs/quick.ts';
import { constants, openFlags } from './constants.ts';
import { decodeContents, encodeText, isEncoding } from './encoding.ts';
import { MAX_FILE, planRead } from './fileops.ts';
import { mayBeMissing, type StatOptions } from './inspectops.ts';
import { View } from './lease.ts';
import { toPath } from './paths.ts';
import { newBytes } from './platform.ts';
import { statsOf } from './stats.ts';
import { checkFd, checkMode, checkObject, checkView } from './validate.ts';
import { nameError, shaped } from './work.ts';
import { planWrite } from './writeops.ts';

const READ = { syscall: 'read' };
const WRITE = { syscall: 'write' };
const VIEW = { syscall: 'view' };
const CLOSE = { syscall: 'close' };
const DEFAULT_MODE = 0o666;
const { O_CREAT, O_TRUNC, O_WRONLY, S_IFDIR } = constants;
const WRITE_FLAGS = O_WRONLY | O_CREAT | O_TRUNC;

type AnySync = (...args: never[]) => unknown;

/** fs.readSync of one mount: bytes read, 0 at the end of the file. */
export function makeReadSync(vfs: FileSystem): AnySync {
  const readSync = (
    fd: number,
    buffer: unknown,
    offset?: unknown,
    length?: unknown,
    position?: unknown,
  ): number => {
    if (
      buffer instanceof Uint8Array &&
      typeof offset === 'number' &&
      typeof length === 'number' &&
      (typeof position === 'number' || position === null) &&
      isPlain(fd, offset, length, position) &&
      offset + length <= buffer.length
    ) {
      try {
        return vfs.readSync(fd, buffer, offset, length, position);
      } catch (error) {
        throw nameError(error, READ);
      }
    }
    return readSlowly(vfs, fd, buffer, offset, length, position);
  };
  return shaped(readSync, 'readSync', 5);
}

/** fs.writeSync of one mount: bytes written. */
export function makeWriteSync(vfs: FileSystem): AnySync {
  const write = (fd: unknown, buffer: unknown, offset?: unknown, len?: unknown, pos?: unknown) => {
    if (
      buffer instanceof Uint8Array &&
      typeof fd === 'number' &&
      typeof offset === 'number' &&
      typeof len === 'number' &&
      (typeof pos === 'number' || pos === null) &&
      isPlain(fd, offset, len, pos) &&
      offset + len <= buffer.length
    ) {
      try {
        return vfs.writeSync(fd, buffer, offset, len, pos);
      } catch (error) {
        throw nameError(error, WRITE);
      }
    }
    return writeSlowly(vfs, fd, buffer, offset, len, pos);
  };
  return shaped(write, 'writeSync', 5);
}

function writeSlowly(vfs: FileSystem, fd: unknown, buffer: unknown, ...rest: unknown[]): number {
  const file = checkFd(fd);
  const { from, pos } = planWrite(buffer, ...rest);
  try {
    return vfs.writeSync(file, from, 0, from.length, pos);
  } catch (error) {
    throw nameError(error, WRITE);
  }
}

/** Whole numbers in range; NaN and fractions fail one of the comparisons. */
function isPlain(fd: number, offset: number, length: number, position: number | null): boolean {
  return (
    fd === (fd | 0) &&
    fd >= 0 &&
    offset === offset >>> 0 &&
    length === length >>> 0 &&
    length > 0 &&
    (position === null || (position >= 0 && Number.isSafeInteger(position)))
  );
}

function readSlowly(
  vfs: FileSystem,
  fd: unknown,
  buffer: unknown,
  offset: unknown,
  length: unknown,
  position: unknown,
): number {
  const file = checkFd(fd);
  checkView(buffer);
  const bare = length === undefined && position === undefined;
  if (bare && offset !== undefined && offset !== null) checkObject(offset, 'options');
  const { into, pos } = planRead(buffer, offset, length, position);
  if (into === null) return 0;
  try {
    return vfs.readSync(file, into, 0, into.length, pos);
  } catch (error) {
    throw nameError(error, READ);
  }
}

/** fs.openSync of one mount. */
export function makeOpenSync(vfs: FileSystem): AnySync {
  const openSync = (path: unknown, flags?: unknown, mode?: unknown) => {
    const at = toPath(path);
    const bits = openFlags(flags);
    const permissions = checkMode(mode, 'mode', DEFAULT_MODE);
    try {
      return vfs.openSync(at.given, bits, permissions);
    } catch (error) {
      throw nameError(error, { syscall: 'open', path: at.text });
    }
  };
  return shaped(openSync, 'openSync', 3);
}

/** fs.closeSync of one mount. */
export function makeCloseSync(vfs: FileSystem): AnySync {
  const closeSync = (fd: unknown) => {
    const file = checkFd(fd);
    try {
      vfs.closeSync(file);
    } catch (error) {
      throw nameError(error, CLOSE);
    }
  };
  return shaped(closeSync, 'closeSync', 1);
}

/** fs.statSync or fs.lstatSync of one mount. */
export function makeStatSync(vfs: FileSystem, syscall: 'stat' | 'lstat'): AnySync {
  const follow = syscall === 'stat';
  const statSync = (path: unknown, options?: StatOptions) => {
    const at = toPath(path);
    try {
      return statsOf(vfs.statSync(at.given, follow), options?.bigint === true);
    } catch (error) {
      if (mayBeMissing(error, options)) return undefined;
      throw nameError(error, { syscall, path: at.text });
    }
  };
  return shaped(statSync, `${syscall}Sync`, 2);
}

/** fs.existsSync of one mount: whether a stat finds something. Only an asynchronous mount throws. */
export function makeExistsSync(vfs: FileSystem): AnySync {
  const existsSync = (path: unknown): boolean => {
    try {
      vfs.statSync(toPath(path).given, true);
      return true;
    } catch (error) {
      if (vfs.sync) return false;
      throw nameError(error, { syscall: 'access' });
    }
  };
  return shaped(existsSync, 'existsSync', 1);
}

/** fs.unlinkSync of one mount; `otherwise` serves what is not a plain path. */
export function makeUnlinkSync(vfs: FileSystem, otherwise: AnySync): AnySync {
  const unlinkSync = (path: unknown): unknown => {
    if (typeof path === 'string' && !path.includes('\0')) {
      try {
        if (vfs.unlinkNow(path) !== LONG_WAY) return undefined;
      } catch (error) {
        throw nameError(error, { syscall: 'unlink', path });
      }
    }
    return (otherwise as (path: unknown) => unknown)(path);
  };
  return shaped(unlinkSync, 'unlinkSync', 1);
}

/** fs.mkdirSync of one mount; `otherwise` serves what is not (path) or (path, mode). */
export function makeMkdirSync(vfs: FileSystem, otherwise: AnySync): AnySync {
  const mkdirSync = (path: unknown, options?: unknown): unknown => {
    const plain =
      options === undefined || (typeof options === 'number' && options === options >>> 0);
    if (plain && typeof path === 'string' && !path.includes('\0')) {
      try {
        const mode = S_IFDIR + ((options ?? 0o777) & 0o1777);
        if (vfs.makeNow(path, mode) !== LONG_WAY) return undefined;
      } catch (error) {
        throw nameError(error, { syscall: 'mkdir', path });
      }
    }
    return (otherwise as (path: unknown, options?: unknown) => unknown)(path, options);
  };
  return shaped(mkdirSync, 'mkdirSync', 2);
}

/** fs.readFileSync of one mount; `otherwise` serves what is not (path) or (path, encoding), nor a file. */
export function makeReadFileSync(vfs: FileSystem, otherwise: AnySync): AnySync {
  const readFileSync = (path: unknown, options?: unknown): unknown => {
    const plain = options === undefined || options === null || isEncoding(options);
    if (plain && typeof path === 'string' && !path.includes('\0')) {
      const bytes = readWhole(vfs, path);
      if (bytes !== null) return decodeContents(bytes, options as string | null | undefined);
    }
    return (otherwise as (path: unknown, options?: unknown) => unknown)(path, options);
  };
  return shaped(readFileSync, 'readFileSync', 2);
}

/** All bytes of a file that one array can hold, or null. */
function readWhole(vfs: FileSystem, path: string): Uint8Array | null {
  let at: { syscall: string; path?: string } = { syscall: 'open', path };
  let fd = 0;
  try {
    fd = vfs.openSync(path, 0);
    at = READ;
    const { isFile, size } = vfs.file(fd).inode;
    if (!isFile || size > MAX_FILE) return null;
    const bytes = newBytes(size);
    const n = vfs.readSync(fd, bytes, 0, size, 0);
    return n === size ? bytes : bytes.subarray(0, n);
  } catch (error) {
    throw nameError(error, at);
  } finally {
    if (fd !== 0) vfs.closeSync(fd);
  }
}

/** fs.writeFileSync of one mount; `otherwise` serves what is not (path, text or bytes), maybe with an encoding. */
export function makeWriteFileSync(vfs: FileSystem, otherwise: AnySync): AnySync {
  const writeFileSync = (path: unknown, data: unknown, options?: unknown): unknown => {
    const plain = options === undefined || options === null || isEncoding(options);
    if (plain && typeof path === 'string' && !path.includes('\0')) {
      if (typeof data === 'string') {
        return writeWhole(vfs, path, encodeText(data, (options as string | null) ?? 'utf8'));
      }
      if (data instanceof Uint8Array) return writeWhole(vfs, path, data);
    }
    return (otherwise as (...args: unknown[]) => unknown)(path, data, options);
  };
  return shaped(writeFileSync, 'writeFileSync', 3);
}

function writeWhole(vfs: FileSystem, path: string, bytes: Uint8Array): void {
  let at: { syscall: string; path?: string } = { syscall: 'open', path };
  let fd = 0;
  try {
    fd = vfs.openSync(path, WRITE_FLAGS, DEFAULT_MODE);
    at = WRITE;
    for (let done = 0; done < bytes.length; ) {
      done += vfs.writeSync(fd, bytes, done, bytes.length - done, null);
    }
  } catch (error) {
    throw nameError(error, at);
  } finally {
    if (fd !== 0) vfs.closeSync(fd);
  }
}

/** fs.viewSync of one mount; `otherwise` serves what is not (fd, pos, len). */
export function makeViewSync(vfs: FileSystem, otherwise: AnySync): AnySync {
  const viewSync = (file: unknown, pos?: unknown, len?: unknown, options?: unknown): unknown => {
    const plain = typeof file === 'number' && typeof pos === 'number' && typeof len === 'number';
    if (!plain || options !== undefined || !isPlain(file, 0, len, pos))
      return (otherwise as (...args: unknown[]) => unknown)(file, pos, len, options);
    try {
      return new View(vfs.viewSync(file, pos, len, false), vfs);
    } catch (error) {
      throw nameError(error, VIEW);
    }
  };
  return shaped(viewSync, 'viewSync', 4);
}
