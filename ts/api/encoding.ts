// Bytes to text in the encodings of node:fs, and the options argument that names one. In Node the Buffer does it;
// elsewhere the few lines below. Names that are not UTF-8 come out with U+FFFD, as in Node: ask for 'buffer'.

import { invalidType, invalidValue } from './invalid.ts';
import { asBytes, newBytes, textBytes } from './platform.ts';

export interface EncodingOptions {
  encoding?: string | null;
  signal?: AbortSignal;
}

interface TextBytes {
  toString(encoding: string): string;
}

const NAMES = new Set(
  'utf8 utf-8 ucs2 ucs-2 utf16le utf-16le latin1 binary ascii hex base64 base64url'.split(' '),
);
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
const encoder = new TextEncoder();

/** Bytes of a text in UTF-8. */
export function utf8(text: string): Uint8Array {
  return encoder.encode(text);
}

export function isEncoding(name: unknown): boolean {
  return typeof name === 'string' && NAMES.has(name.toLowerCase());
}

/**
 * The options of a call as Node reads them: nothing, an encoding, or an object, whose encoding and signal are checked.
 * A callback in their place counts as nothing.
 */
export function readOptions<T extends EncodingOptions>(options: unknown, defaults: T): T {
  if (options === null || options === undefined || typeof options === 'function') return defaults;
  const given =
    typeof options === 'string' ? { ...defaults, encoding: options } : (options as T & object);
  if (typeof given !== 'object') throw invalidType('options', ['string', 'Object'], options);
  const { encoding, signal } = given;
  if (encoding && encoding !== 'buffer' && !isEncoding(encoding))
    throw invalidValue('encoding', encoding, 'is invalid encoding');
  if (signal !== undefined && !isSignal(signal))
    throw invalidType('options.signal', 'AbortSignal', signal);
  return given;
}

function isSignal(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'aborted' in value;
}

/** Text of a name, a link or a path: UTF-8 unless told, bytes for 'buffer'. */
export function decodeName(bytes: Uint8Array, encoding?: string | null): string | Uint8Array {
  if (encoding === 'buffer') return asBytes(bytes);
  return decode(bytes, encoding || 'utf8');
}

/** As decodeName() of each; many of plain characters are decoded at once. */
export function decodeNames(
  entries: { readonly name: Uint8Array }[],
  encoding?: string | null,
): (string | Uint8Array)[] {
  const text = !encoding || encoding === 'utf8' ? asciiText(entries) : null;
  if (text === null) return entries.map(({ name }) => decodeName(name, encoding));
  let at = 0;
  return entries.map(({ name }) => text.slice(at, (at += name.length)));
}

/** All names one behind the other, or null where one is not plain. */
function asciiText(entries: { readonly name: Uint8Array }[]): string | null {
  const bytes = newBytes(entries.reduce((sum, { name }) => sum + name.length, 0));
  let at = 0;
  let bits = 0;
  for (const { name } of entries) {
    for (let i = 0; i < name.length; i++) {
      bits |= name[i];
      bytes[at++] = name[i];
    }
  }
  return bits < 0x80 ? decode(bytes, 'latin1') : null;
}

/** Contents of a file: bytes unless an encoding is given. */
export function decodeContents(bytes: Uint8Array, encoding?: string | null): string | Uint8Array {
  if (!encoding || encoding === 'buffer') return asBytes(bytes);
  return decode(bytes, encoding);
}

/** Text of bytes; `encoding` must be one that isEncoding knows. */
export function decode(bytes: Uint8Array, encoding: string): string {
  const own = asBytes(bytes);
  if (own !== bytes || isBuffer(own)) return (own as TextBytes).toString(encoding);
  switch (encoding.toLowerCase()) {
    case 'utf8':
    case 'utf-8':
      return decoder.decode(unshared(bytes));
    case 'hex':
      return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
    case 'base64':
      return btoa(characters(bytes, 0xff));
    case 'base64url':
      return btoa(characters(bytes, 0xff)).replace(
        /[+/=]/g,
        (c) => ({ '+': '-', '/': '_' })[c] ?? '',
      );
    case 'ascii':
      return characters(bytes, 0x7f);
    case 'latin1':
    case 'binary':
      return characters(bytes, 0xff);
    default:
      return new TextDecoder('utf-16le', { ignoreBOM: true }).decode(
        unshared(bytes.subarray(0, bytes.length - (bytes.length % 2))),
      );
  }
}

/** Bytes of a text in an encoding that isEncoding knows, as Buffer.from() gives them. */
export function encodeText(text: string, encoding: string): Uint8Array {
  return textBytes(text, encoding) ?? encodeHere(text, encoding.toLowerCase());
}

/** Without a Buffer. What is no hex or base64 digit ends the one and is left out of the other, as in Node. */
function encodeHere(text: string, encoding: string): Uint8Array {
  if (encoding === 'utf8' || encoding === 'utf-8') return utf8(text);
  if (encoding === 'hex') {
    const pairs = /^(?:[0-9a-f]{2})*/i.exec(text)?.[0].match(/../g) ?? [];
    return Uint8Array.from(pairs, (pair) => Number.parseInt(pair, 16));
  }
  if (encoding.startsWith('base64')) {
    const digits = text.split('=')[0].replaceAll('-', '+').replaceAll('_', '/');
    const clean = digits.replace(/[^A-Za-z0-9+/]/g, '');
    const whole = clean.length % 4 === 1 ? clean.slice(0, -1) : clean;
    return units(atob(whole), 1);
  }
  return units(
    text,
    encoding === 'latin1' || encoding === 'binary' || encoding === 'ascii' ? 1 : 2,
  );
}

/** The low bytes of the characters, the lowest first. */
function units(text: string, width: 1 | 2): Uint8Array {
  const bytes = new Uint8Array(text.length * width);
  for (let i = 0; i < bytes.length; i++) {
    const code = text.charCodeAt(width === 1 ? i : i >> 1);
    bytes[i] = width === 2 && i % 2 === 1 ? code >> 8 : code & 255;
  }
  return bytes;
}

function isBuffer(bytes: Uint8Array): boolean {
  return bytes.constructor !== Uint8Array;
}

/** The same bytes, copied where they are shared: browsers decode no shared memory, and it may change under a call. */
export function unshared(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes.buffer instanceof ArrayBuffer
    ? (bytes as Uint8Array<ArrayBuffer>)
    : new Uint8Array(bytes);
}

function characters(bytes: Uint8Array, mask: number): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte & mask);
  return text;
}
