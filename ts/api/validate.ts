// Arguments as node:fs checks them: each function throws one of invalid.ts or returns the value in the form the
// operations work with. Positions come back as exact numbers, or null for "where the file stands".

import { aborted, invalidType, invalidValue, outOfRange } from './invalid.ts';

const INT32_MAX = 2147483647;
const UINT32_MAX = 4294967295;
const OCTAL = /^[0-7]+$/;

export function checkInteger(
  value: unknown,
  name: string,
  min = Number.MIN_SAFE_INTEGER,
  max = Number.MAX_SAFE_INTEGER,
): number {
  if (typeof value !== 'number') throw invalidType(name, 'number', value);
  if (!Number.isInteger(value)) throw outOfRange(name, 'an integer', value);
  if (value < min || value > max) throw outOfRange(name, `>= ${min} && <= ${max}`, value);
  return value;
}

export function checkBoolean(value: unknown, name: string): boolean {
  if (typeof value !== 'boolean') throw invalidType(name, 'boolean', value);
  return value;
}

export function checkString(value: unknown, name: string): string {
  if (typeof value !== 'string') throw invalidType(name, 'string', value);
  return value;
}

export function checkFunction(value: unknown, name: string): (...args: unknown[]) => unknown {
  if (typeof value !== 'function') throw invalidType(name, 'Function', value);
  return value as (...args: unknown[]) => unknown;
}

export function checkObject(value: unknown, name: string): void {
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw invalidType(name, 'Object', value);
}

/** A file descriptor. */
export function checkFd(value: unknown): number {
  return checkInteger(value, 'fd', 0, INT32_MAX) + 0; // -0 becomes 0
}

/** Whether a "path or fd" argument is an fd. */
export function isFd(value: unknown): value is number {
  return typeof value === 'number' && value === (value | 0);
}

/** Permission bits: a number or an octal string. */
export function checkMode(value: unknown, name: string, otherwise?: number): number {
  value ??= otherwise;
  if (typeof value === 'string') {
    if (!OCTAL.test(value)) {
      const reason = 'must be a 32-bit unsigned integer or an octal string';
      throw invalidValue(name, value, reason);
    }
    value = Number.parseInt(value, 8);
  }
  return checkInteger(value, name, 0, UINT32_MAX);
}

/** A user or group id; -1 leaves it as it is. */
export function checkId(value: unknown, name: string): number {
  return checkInteger(value, name, -1, UINT32_MAX);
}

/** Seconds since 1970 from a Date, a number or a numeric string, as fs.utimes takes them. */
export function checkTime(value: unknown, name = 'time'): number {
  // biome-ignore lint/suspicious/noDoubleEquals: a string that reads as a number is one, as in Node
  if (typeof value === 'string' && +value == (value as unknown)) return +value;
  if (typeof value === 'number' && Number.isFinite(value))
    return value < 0 ? Date.now() / 1000 : value;
  if (value instanceof Date) return value.getTime() / 1000;
  throw invalidType(name, ['Date', 'Time in seconds'], value);
}

export function checkView(value: unknown, name = 'buffer'): ArrayBufferView {
  if (!ArrayBuffer.isView(value))
    throw invalidType(name, ['Buffer', 'TypedArray', 'DataView'], value);
  return value;
}

export function checkViews(value: unknown): ArrayBufferView[] {
  if (!Array.isArray(value) || !value.every((one) => ArrayBuffer.isView(one)))
    throw invalidType('buffers', 'ArrayBufferView[]', value);
  return value;
}

/** What can be written: bytes, or text in an encoding. */
export function checkData(value: unknown, name: string): void {
  if (ArrayBuffer.isView(value) || typeof value === 'string') return;
  throw invalidType(name, ['string', 'Buffer', 'TypedArray', 'DataView'], value);
}

/** The part of a buffer that a read may fill. */
export function checkReadRange(offset: number, len: number, size: number): void {
  if (offset < 0) throw outOfRange('offset', '>= 0', offset);
  if (len < 0) throw outOfRange('length', '>= 0', len);
  if (offset + len > size) throw outOfRange('length', `<= ${size - offset}`, len);
}

/** The part of a buffer that a write takes. */
export function checkWriteRange(offset: number, len: number, size: number): void {
  if (offset > size) throw outOfRange('offset', `<= ${size}`, offset);
  if (len > size - offset) throw outOfRange('length', `<= ${size - offset}`, len);
  if (len < 0) throw outOfRange('length', '>= 0', len);
}

/** A read position: number, bigint, or null, undefined and -1 for "where the file stands". */
export function readPosition(value: unknown): number | null {
  if (value === null || value === undefined) return null;
  if (typeof value === 'bigint') {
    const limit = 2n ** 63n;
    if (value < -limit || value >= limit)
      throw outOfRange('position', `>= ${-limit} && <= ${limit - 1n}`, value);
    return value < 0n ? null : Number(value);
  }
  if (typeof value !== 'number') throw invalidType('position', ['integer', 'bigint'], value);
  return checkInteger(value, 'position', -1) < 0 ? null : value;
}

/** A write position: a whole number from 0, and anything else for "where the file stands". */
export function writePosition(value: unknown): number | null {
  return Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) + 0 : null;
}

/** A byte position or length of the calls beyond Node: a safe integer from 0, also as bigint. */
export function checkBytes(value: unknown, name: string): number {
  if (typeof value !== 'bigint') return checkInteger(value, name, 0);
  const max = Number.MAX_SAFE_INTEGER;
  if (value < 0n || value > BigInt(max)) throw outOfRange(name, `>= 0 && <= ${max}`, value);
  return Number(value);
}

/** Throws the AbortError of a signal that has fired. */
export function checkAbort(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw aborted(signal);
}
