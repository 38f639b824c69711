// Fields of a header block and records of a pax header as values: octal and base-256 numbers, names that a NUL ends,
// decimal times. Each either is what POSIX.1-2017 pax or GNU tar's manual says, or a TarError.

import { TAR_BLOCK, type TarTime } from './header.ts';
import { TarError } from './source.ts';

const decoder = new TextDecoder();

export const textOf = (bytes: Uint8Array): string => decoder.decode(bytes);

/** The bytes of a field up to its NUL. */
export function nameField(block: Uint8Array, off: number, width: number): Uint8Array {
  const field = block.subarray(off, off + width);
  const end = field.indexOf(0);
  return (end < 0 ? field : field.subarray(0, end)).slice();
}

/** A number: octal text, or base 256 when the first bit is set (negative with the second). */
export function numberField(block: Uint8Array, off: number, width: number): number {
  const field = block.subarray(off, off + width);
  if ((field[0] & 0x80) !== 0) return base256(field);
  const text = textOf(field).split('\0')[0].trim();
  if (text === '') return 0;
  if (!/^[0-7]+$/.test(text)) throw new TarError(`'${text}' is no octal number`);
  return safe(Number.parseInt(text, 8), text);
}

function base256(field: Uint8Array): number {
  let value = (field[0] & 0x40) !== 0 ? -1 : field[0] & 0x3f;
  for (const byte of field.subarray(1)) value = safe(value * 256 + byte, 'base 256');
  return value;
}

function safe(value: number, shown: string): number {
  if (Number.isSafeInteger(value)) return value;
  throw new TarError(`the number ${shown} is too large`);
}

/** Whether the sum in the block is that of its bytes; old tars added them as signed. */
export function hasGoodSum(block: Uint8Array): boolean {
  const text = textOf(block.subarray(148, 156)).replace(/\0/g, ' ').trim();
  if (!/^[0-7]+$/.test(text)) return false;
  let [unsigned, signed] = [0, 0];
  for (let off = 0; off < TAR_BLOCK; off++) {
    const byte = off >= 148 && off < 156 ? 0x20 : block[off];
    unsigned += byte;
    signed += byte < 0x80 ? byte : byte - 256;
  }
  const stored = Number.parseInt(text, 8);
  return stored === unsigned || stored === signed;
}

/** A whole number in decimal, from 0. */
export function decimal(value: Uint8Array, what: string): number {
  const text = textOf(value);
  if (!/^[0-9]{1,16}$/.test(text)) throw new TarError(`${what} is '${text.slice(0, 40)}'`);
  return safe(Number(text), text);
}

/** Seconds with a fraction, down to the nanosecond; -1.25 is three quarters after -2. */
export function timeOf(value: Uint8Array, what: string): TarTime {
  const match = /^(-?)([0-9]{1,16})(?:\.([0-9]*))?$/.exec(textOf(value));
  if (!match) throw new TarError(`${what} is no time`);
  const [, minus, whole, fraction = ''] = match;
  const sec = safe(Number(whole), whole);
  const nsec = Number(fraction.slice(0, 9).padEnd(9, '0'));
  if (minus === '') return { sec, nsec };
  return nsec === 0 ? { sec: 0 - sec, nsec: 0 } : { sec: -sec - 1, nsec: 1e9 - nsec };
}

export interface PaxRecord {
  key: Uint8Array;
  value: Uint8Array;
}

/** The records `length key=value\n` of a pax header. */
export function* paxRecords(body: Uint8Array): Generator<PaxRecord> {
  for (let pos = 0; pos < body.length && body[pos] !== 0; ) {
    const space = body.indexOf(0x20, pos);
    const digits = space < 0 || space > pos + 10 ? '' : textOf(body.subarray(pos, space));
    const len = /^[1-9][0-9]*$/.test(digits) ? Number(digits) : 0;
    const equals = body.indexOf(0x3d, space);
    const end = pos + len;
    if (
      len === 0 ||
      end > body.length ||
      body[end - 1] !== 0x0a ||
      !(equals > space && equals < end)
    )
      throw new TarError('a pax record is malformed');
    yield { key: body.subarray(space + 1, equals), value: body.subarray(equals + 1, end - 1) };
    pos = end;
  }
}
