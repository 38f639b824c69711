// Paths as users give them (string, Uint8Array, file: URL) and as the core takes them (bytes without NUL). An image
// is POSIX whatever the platform: '/' separates, and a relative path starts at the root.

import { decode, unshared, utf8 } from './encoding.ts';
import { invalidType, invalidUrl, invalidValue } from './invalid.ts';

/** A path, checked: as given (the core takes text and bytes), and as errors show it. */
export interface Path {
  readonly given: string | Uint8Array;
  readonly text: string;
}

const SLASH = 0x2f;

/** Checks a path argument as Node does, by its name there. */
export function toPath(value: unknown, name = 'path'): Path {
  if (isUrl(value)) value = fromFileUrl(value);
  if (typeof value === 'string') {
    if (value.includes('\0')) throw nulByte(name, value);
    return { given: value, text: value };
  }
  if (!(value instanceof Uint8Array)) throw invalidType(name, ['string', 'Buffer', 'URL'], value);
  const given = unshared(value);
  if (given.includes(0)) throw nulByte(name, value);
  return { given, text: decode(given, 'utf8') };
}

function nulByte(name: string, value: unknown): Error {
  return invalidValue(name, value, 'must be a string, Uint8Array, or URL without null bytes');
}

function isUrl(value: unknown): value is URL {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return false;
  const url = value as URL;
  return Boolean(url.href && url.protocol) && !('auth' in url) && !('path' in url);
}

function fromFileUrl(url: URL): string {
  if (url.protocol !== 'file:') throw invalidUrl('SCHEME');
  if (url.hostname !== '') throw invalidUrl('HOST');
  if (/%2f/i.test(url.pathname)) throw invalidUrl('PATH');
  return decodeURIComponent(url.pathname);
}

/** The same path with one more name, joined as path.join does: '.' and '..' are taken out of text. */
export function joinNames(parent: string | Uint8Array, name: string | Uint8Array) {
  if (typeof parent === 'string' && typeof name === 'string') return normalize(`${parent}/${name}`);
  return joinBytes(parent, name);
}

/** parent '/' name, in bytes; an empty parent adds nothing. */
export function joinBytes(parent: string | Uint8Array, name: string | Uint8Array): Uint8Array {
  const head = typeof parent === 'string' ? utf8(parent) : parent;
  const tail = typeof name === 'string' ? utf8(name) : name;
  if (head.length === 0) return tail;
  const out = new Uint8Array(head.length + 1 + tail.length);
  out.set(head);
  out[head.length] = SLASH;
  out.set(tail, head.length + 1);
  return out;
}

/** The path of the directory that holds the last name: up to its slash; '/' for a bare name. */
export function parentOf(path: string | Uint8Array): string | Uint8Array {
  if (typeof path === 'string') return path.slice(0, path.search(/[^/]*\/*$/)) || '/';
  let end = path.length;
  while (end > 0 && path[end - 1] === SLASH) end--;
  while (end > 0 && path[end - 1] !== SLASH) end--;
  return end === 0 ? Uint8Array.of(SLASH) : path.subarray(0, end);
}

/** path.posix.normalize. */
export function normalize(path: string): string {
  const absolute = path.startsWith('/');
  const names: string[] = [];
  for (const name of path.split('/')) {
    if (name === '' || name === '.') continue;
    if (name !== '..') names.push(name);
    else if (names.length > 0 && names.at(-1) !== '..') names.pop();
    else if (!absolute) names.push(name);
  }
  const slash = path.endsWith('/') ? '/' : '';
  if (names.length === 0) return absolute ? '/' : `.${slash}`;
  return (absolute ? '/' : '') + names.join('/') + slash;
}

/** path.posix.resolve with '/' as the working directory: absolute, no '.' or '..', no slash at the end. */
export function resolveText(...parts: string[]): string {
  let path = '';
  for (const part of parts) path = part.startsWith('/') ? part : `${path}/${part}`;
  const clean = normalize(`/${path}`);
  return clean.length > 1 && clean.endsWith('/') ? clean.slice(0, -1) : clean;
}
