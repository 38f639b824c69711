// Names and paths. A name is bytes on disk; in memory it is a string that stands for exactly those bytes: valid
// UTF-8 is its text, anything else is a NUL followed by one character a byte. NUL never occurs in a name.

import { EXT4_NAME_LEN } from '../../assembly/format/ext4.ts';
import { Ext4Error } from '../errno.ts';

/** A path as callers give it: text, or raw bytes. */
export type Path = string | Uint8Array;

/** Bytes of the longest path. */
export const PATH_MAX = 4096;

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** The key of a name's bytes. */
export function keyOf(bytes: Uint8Array): string {
  const text = decoder.decode(bytes);
  if (text.includes('\ufffd') && !same(encoder.encode(text), bytes)) {
    return `\0${String.fromCharCode(...bytes)}`;
  }
  return text;
}

/** The bytes of a key. ENAMETOOLONG above 255. */
export function bytesOf(key: string): Uint8Array {
  const raw = key.charCodeAt(0) === 0;
  const bytes = raw ? Uint8Array.from(key.slice(1), (c) => c.charCodeAt(0)) : encoder.encode(key);
  if (bytes.length > EXT4_NAME_LEN) throw new Ext4Error('ENAMETOOLONG');
  return bytes;
}

/** The components of a path, "." left out; `dir` says that it must be a directory: it ends in "/", "." or "..". */
export function splitPath(path: Path): { parts: string[]; dir: boolean } {
  if (path.length === 0) throw new Ext4Error('ENOENT');
  if (path.length > PATH_MAX - 1) throw new Ext4Error('ENAMETOOLONG');
  const all = typeof path === 'string' ? path.split('/') : splitBytes(path);
  const last = all[all.length - 1];
  const dir = last === '' || last === '.' || last === '..';
  return { parts: all.filter((part) => part !== '' && part !== '.'), dir };
}

function splitBytes(path: Uint8Array): string[] {
  const parts: string[] = [];
  let from = 0;
  for (let at = 0; at <= path.length; at++) {
    if (at < path.length && path[at] !== 0x2f) continue;
    parts.push(keyOf(path.subarray(from, at)));
    from = at + 1;
  }
  return parts;
}

/** Whether the last name is ".", slashes behind it or not. */
export function endsInDot(path: Path): boolean {
  const at = (i: number) => (typeof path === 'string' ? path.charCodeAt(i) : path[i]);
  let { length } = path;
  while (length > 1 && at(length - 1) === 0x2f) length--;
  return at(length - 1) === 0x2e && (length === 1 || at(length - 2) === 0x2f);
}

/** A path of keys as bytes, from the root. */
export function joinPath(keys: string[]): Uint8Array {
  const parts = keys.map(bytesOf);
  const whole = new Uint8Array(
    Math.max(
      1,
      parts.reduce((sum, p) => sum + p.length + 1, 0),
    ),
  );
  whole[0] = 0x2f;
  let at = 0;
  for (const part of parts) {
    whole[at] = 0x2f;
    whole.set(part, at + 1);
    at += part.length + 1;
  }
  return whole;
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
