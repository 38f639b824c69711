// What pax headers say of a member, gathered: of the archive's (g) and the member's own (x), and GNU's long names (L,
// K). A record overrides the block's field; an empty one takes an override back. Values are bytes as they are.

import { aclValue } from './acl.ts';
import { decimal, paxRecords, textOf, timeOf } from './fields.ts';
import type { TarSegment, TarTime } from './header.ts';
import { TarError } from './source.ts';
import { MAX_SEGMENTS } from './sparse.ts';

export interface Extended {
  path?: Uint8Array;
  link?: Uint8Array;
  size?: number;
  uid?: number;
  gid?: number;
  mtime?: TarTime;
  atime?: TarTime;
  xattrs: Map<string, Attribute>;
  sparse: SparseFacts;
}

interface Attribute {
  name: Uint8Array;
  value: Uint8Array;
  /** A record of another kind gives way to SCHILY.xattr, which has the bytes themselves. */
  weak: boolean;
}

/** GNU.sparse.* of the formats 0.0, 0.1 and 1.0. */
export interface SparseFacts {
  name?: Uint8Array;
  size?: number;
  major?: number;
  segments?: TarSegment[];
  /** Of format 0.0: the last position, until its length comes. */
  at?: number;
}

export function noExtended(): Extended {
  return { xattrs: new Map(), sparse: {} };
}

/** A copy to which a member's own records are added. */
export function extend(base: Extended): Extended {
  return { ...base, xattrs: new Map(base.xattrs), sparse: {} };
}

export function addRecords(to: Extended, body: Uint8Array): void {
  for (const { key, value } of paxRecords(body)) addRecord(to, key, value.slice());
}

type Setter = (to: Extended, value: Uint8Array) => void;

const SETTERS = new Map<string, Setter>([
  ['path', (to, value) => (to.path = value)],
  ['linkpath', (to, value) => (to.link = value)],
  ['size', (to, value) => (to.size = decimal(value, 'size'))],
  ['uid', (to, value) => (to.uid = decimal(value, 'uid'))],
  ['gid', (to, value) => (to.gid = decimal(value, 'gid'))],
  ['mtime', (to, value) => (to.mtime = timeOf(value, 'mtime'))],
  ['atime', (to, value) => (to.atime = timeOf(value, 'atime'))],
  ['SCHILY.acl.access', (to, value) => addAcl(to, 'access', value)],
  ['SCHILY.acl.default', (to, value) => addAcl(to, 'default', value)],
  ['RHT.security.selinux', (to, value) => addXattr(to, 'security.selinux', value, true)],
  ['GNU.sparse.name', ({ sparse }, value) => (sparse.name = value)],
  ['GNU.sparse.major', ({ sparse }, value) => (sparse.major = decimal(value, 'GNU.sparse.major'))],
  ['GNU.sparse.size', ({ sparse }, value) => (sparse.size = decimal(value, 'GNU.sparse.size'))],
  ['GNU.sparse.realsize', ({ sparse }, value) => (sparse.size = decimal(value, 'realsize'))],
  ['GNU.sparse.map', ({ sparse }, value) => (sparse.segments = mapOf(value))],
  ['GNU.sparse.offset', ({ sparse }, value) => (sparse.at = decimal(value, 'GNU.sparse.offset'))],
  ['GNU.sparse.numbytes', ({ sparse }, value) => addSegment(sparse, value)],
]);

const BACK: Record<string, keyof Extended> = {
  path: 'path',
  linkpath: 'link',
  size: 'size',
  uid: 'uid',
  gid: 'gid',
  mtime: 'mtime',
  atime: 'atime',
};

const XATTR = 'SCHILY.xattr.';
const LIBARCHIVE = 'LIBARCHIVE.xattr.';

function addRecord(to: Extended, key: Uint8Array, value: Uint8Array): void {
  const name = textOf(key);
  if (name.startsWith(XATTR))
    return setXattr(to, plainName(key.subarray(XATTR.length)), value, false);
  if (name.startsWith(LIBARCHIVE)) {
    const coded = decodeURIComponentOr(name.slice(LIBARCHIVE.length));
    return addXattr(to, coded, fromBase64(textOf(value)), true);
  }
  const set = SETTERS.get(name);
  if (set === undefined) return;
  if (value.length > 0) set(to, value);
  else if (BACK[name]) delete to[BACK[name]];
}

function addXattr(to: Extended, name: string, value: Uint8Array, weak: boolean): void {
  setXattr(to, new TextEncoder().encode(name), value, weak);
}

function setXattr(to: Extended, name: Uint8Array, value: Uint8Array, weak: boolean): void {
  const key = textOf(name);
  if (weak && to.xattrs.get(key)?.weak === false) return;
  to.xattrs.set(key, { name, value, weak });
}

/** Names of users that the text has are nobody's here: such an ACL comes only with its xattr, if there is one. */
function addAcl(to: Extended, kind: 'access' | 'default', text: Uint8Array): void {
  const value = aclValue(textOf(text));
  if (value !== undefined) addXattr(to, `system.posix_acl_${kind}`, value, true);
}

/** GNU tar writes `%` and `=` of an attribute's name as `%25` and `%3D`. */
function plainName(name: Uint8Array): Uint8Array {
  const bytes: number[] = [];
  for (let i = 0; i < name.length; i++) {
    const code = textOf(name.subarray(i, i + 3));
    const special = code === '%25' ? 0x25 : code === '%3D' ? 0x3d : 0;
    bytes.push(special || name[i]);
    if (special) i += 2;
  }
  return Uint8Array.from(bytes);
}

function decodeURIComponentOr(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function fromBase64(text: string): Uint8Array {
  const clean = text.replace(/=+$/, '');
  if (!/^[A-Za-z0-9+/]*$/.test(clean) || clean.length % 4 === 1)
    throw new TarError('an attribute is not in base64');
  return Uint8Array.from(atob(clean), (char) => char.charCodeAt(0));
}

/** Format 0.1: `pos,len,pos,len…`. */
function mapOf(value: Uint8Array): TarSegment[] {
  const numbers = textOf(value).split(',');
  if (numbers.length % 2 === 1 || numbers.length / 2 > MAX_SEGMENTS)
    throw new TarError('GNU.sparse.map is malformed');
  const segments: TarSegment[] = [];
  for (let i = 0; i < numbers.length; i += 2) {
    const [pos, len] = numbers.slice(i, i + 2).map(Number);
    segments.push({ pos, len });
  }
  return segments;
}

/** Format 0.0: a position and a length take turns. */
function addSegment(sparse: SparseFacts, value: Uint8Array): void {
  if (sparse.at === undefined) throw new TarError('GNU.sparse.numbytes without an offset');
  sparse.segments ??= [];
  if (sparse.segments.length >= MAX_SEGMENTS) throw new TarError('too many holes');
  sparse.segments.push({ pos: sparse.at, len: decimal(value, 'GNU.sparse.numbytes') });
  sparse.at = undefined;
}
