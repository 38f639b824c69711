// Errors about arguments, with Node's codes and messages (ERR_INVALID_ARG_TYPE and its kin). They are the caller's
// mistakes: nothing has been touched when one is thrown.

import { builtin } from './platform.ts';

type ErrorKind = new (message: string, options?: ErrorOptions) => Error;

const TYPES = new Set(['string', 'number', 'object', 'boolean', 'bigint', 'symbol', 'function']);
const CLASS = /^[A-Z][a-zA-Z0-9]*$/;
const SHOWN = 128; // characters of a value in a message

/** An error with a code of Node's, shown as `TypeError [CODE]: message`. */
function coded(Kind: ErrorKind, code: string, message: string): Error & { code: string } {
  const error = new Kind(message);
  const plain = { enumerable: false, writable: true, configurable: true };
  const shown = `${error.name} [${code}]: ${message}`;
  Object.defineProperty(error, 'toString', { ...plain, value: () => shown });
  Object.defineProperty(error, 'stack', {
    ...plain,
    value: error.stack?.replace(`${error.name}: ${message}`, () => shown),
  });
  return Object.assign(error, { code });
}

export function invalidType(name: string, expected: string | string[], value: unknown): Error {
  const list = typeof expected === 'string' ? [expected] : expected;
  const wanted = describeExpected(list);
  const message = `The ${nameOf(name)} must be ${wanted}. Received ${describe(value)}`;
  return coded(TypeError, 'ERR_INVALID_ARG_TYPE', message);
}

export function invalidValue(name: string, value: unknown, reason = 'is invalid'): Error {
  let shown = inspect(value);
  if (shown.length > SHOWN) shown = `${shown.slice(0, SHOWN)}...`;
  const kind = name.includes('.') ? 'property' : 'argument';
  const message = `The ${kind} '${name}' ${reason}. Received ${shown}`;
  return coded(TypeError, 'ERR_INVALID_ARG_VALUE', message);
}

export function outOfRange(name: string, range: string, value: unknown): Error {
  const big =
    typeof value === 'bigint' || (Number.isInteger(value) && Math.abs(value as number) > 2 ** 32);
  let shown = big ? String(value) : inspect(value);
  if (big && (Number(value) > 2 ** 32 || Number(value) < -(2 ** 32))) shown = thousands(shown);
  if (typeof value === 'bigint') shown += 'n';
  const message = `The value of "${name}" is out of range. It must be ${range}. Received ${shown}`;
  return coded(RangeError, 'ERR_OUT_OF_RANGE', message);
}

/** A mode of copyFile, which Node words in its own way. */
export function invalidCopyMode(value: unknown): Error {
  if (typeof value !== 'number') {
    const message = 'mode must be int32 or null/undefined';
    return coded(TypeError, 'ERR_INVALID_ARG_TYPE', message);
  }
  const range = Number.isNaN(value) ? '' : ': >= 0 && <= 7';
  return coded(RangeError, 'ERR_OUT_OF_RANGE', `mode is out of range${range}`);
}

export function invalidUrl(code: 'SCHEME' | 'HOST' | 'PATH'): Error {
  if (code === 'SCHEME')
    return coded(TypeError, 'ERR_INVALID_URL_SCHEME', 'The URL must be of scheme file');
  const message =
    code === 'HOST'
      ? 'File URL host must be "localhost" or empty on linux'
      : 'File URL path must not include encoded / characters';
  return coded(TypeError, `ERR_INVALID_FILE_URL_${code}`, message);
}

export function fileTooLarge(size: number): Error {
  const message = `File size (${size}) is greater than 2 GiB`;
  return coded(RangeError, 'ERR_FS_FILE_TOO_LARGE', message);
}

export function invalidState(what: string): Error {
  return coded(Error, 'ERR_INVALID_STATE', `Invalid state: ${what}`);
}

export function notImplemented(method: string, instead: string): Error {
  const message = `The ${method} method is not implemented here: ${instead}`;
  return coded(Error, 'ERR_METHOD_NOT_IMPLEMENTED', message);
}

export function incompatible(one: string, other: string): Error {
  const message = `Option "${one}" cannot be used in combination with option "${other}"`;
  return coded(TypeError, 'ERR_INCOMPATIBLE_OPTION_PAIR', message);
}

export function dirClosed(): Error {
  return coded(Error, 'ERR_DIR_CLOSED', 'Directory handle was closed');
}

export function dirBusy(): Error {
  const message =
    'Cannot do synchronous work on directory handle with concurrent asynchronous operations';
  return coded(Error, 'ERR_DIR_CONCURRENT_OPERATION', message);
}

/** What rm and cp say of a directory without `recursive`; the errno of cpSync is Node's too. */
export function isDirectory(syscall: 'rm' | 'cp', path: string, sync = false): Error {
  const message = syscall === 'rm' ? 'is a directory' : `${path} is a directory (not copied)`;
  const errno = sync && syscall === 'cp' ? 22 : 21;
  return systemError('ERR_FS_EISDIR', 'Path is a directory', {
    code: 'EISDIR',
    message,
    path,
    syscall,
    errno,
  });
}

/** What a SystemError of Node is about. */
export interface SystemInfo {
  code: string;
  message: string;
  path: string;
  syscall: string;
  errno: number;
}

export function systemError(code: string, prefix: string, info: SystemInfo): Error {
  const { errno, message, path, syscall } = info;
  const text = `${prefix}: ${syscall} returned ${info.code} (${message}) ${path}`;
  const error = coded(Error, code, text);
  Object.defineProperty(error, 'name', { value: 'SystemError', configurable: true });
  return Object.assign(error, { info, errno, syscall, path });
}

export function invalidReturn(expected: string, name: string, value: unknown): Error {
  const got = describe(value);
  const message = `Expected ${expected} to be returned from the "${name}" function but got ${got}.`;
  return coded(TypeError, 'ERR_INVALID_RETURN_VALUE', message);
}

/** What an aborted call rejects with; `cause` is the signal's reason. */
export function aborted(signal: AbortSignal): Error {
  const error = new Error('The operation was aborted', { cause: signal.reason });
  error.name = 'AbortError';
  return Object.assign(error, { code: 'ABORT_ERR' });
}

function nameOf(name: string): string {
  return `"${name}" ${name.includes('.') ? 'property' : 'argument'}`;
}

/** "of type string or an instance of Buffer or URL", as Node words it. */
function describeExpected(list: string[]): string {
  let types = list.filter((one) => TYPES.has(one.toLowerCase())).map((one) => one.toLowerCase());
  let classes = list.filter((one) => CLASS.test(one) && !TYPES.has(one.toLowerCase()));
  const others = list.filter((one) => !CLASS.test(one) && !TYPES.has(one.toLowerCase()));
  if (classes.length > 0 && types.includes('object')) {
    types = types.filter((one) => one !== 'object');
    classes = [...classes, 'Object'];
  }
  const parts: string[] = [];
  if (types.length > 0)
    parts.push(`${types.length > 1 ? 'one of type' : 'of type'} ${anyOf(types)}`);
  if (classes.length > 0) parts.push(`an instance of ${anyOf(classes)}`);
  if (others.length > 1) parts.push(`one of ${anyOf(others)}`);
  else if (others.length === 1) {
    const article = others[0].toLowerCase() === others[0] ? '' : 'an ';
    parts.push(article + others[0]);
  }
  return parts.join(' or ');
}

function anyOf(list: string[]): string {
  if (list.length < 3) return list.join(' or ');
  return `${list.slice(0, -1).join(', ')}, or ${list.at(-1)}`;
}

/** A value as Node names it after "Received". */
function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'function') return `function ${value.name}`;
  if (typeof value === 'object') {
    const kind = value.constructor?.name;
    return kind === undefined ? inspect(value) : `an instance of ${kind}`;
  }
  if (typeof value === 'bigint') return `type bigint (${value}n)`;
  if (typeof value === 'string') return `type string (${quote(value)})`;
  return `type ${typeof value} (${Object.is(value, -0) ? '-0' : String(value)})`;
}

function quote(text: string): string {
  const short = text.length > 28 ? `${text.slice(0, 25)}...` : text;
  return short.includes("'") ? JSON.stringify(short) : `'${short}'`;
}

function thousands(digits: string): string {
  return digits.replace(/\B(?=(\d{3})+$)/g, '_');
}

function inspect(value: unknown): string {
  const util = builtin<{ inspect(value: unknown): string }>('util');
  if (util) return util.inspect(value);
  return typeof value === 'string' ? `'${value}'` : String(value);
}
