// A member's header as bytes: a ustar block, before it a pax extended header for what ustar cannot hold (long
// names, fractions of a second, big numbers, xattrs, sparse maps). Raw bytes in, raw bytes out: names and values
// need not be UTF-8. The same entry gives the same bytes always. Layout: POSIX.1-2017 pax; GNU tar manual,
// "Storing Sparse Files" (format PAX 1.0), "SCHILY.xattr".

export const TAR_BLOCK = 512;

export type TarType = 'file' | 'link' | 'symlink' | 'chardev' | 'blockdev' | 'dir' | 'fifo';

export interface TarTime {
  sec: number;
  nsec: number;
}

/** Bytes of a file that are stored; what lies between two of them is zeros. */
export interface TarSegment {
  pos: number;
  len: number;
}

export interface TarEntry {
  type: TarType;
  /** Relative, without a slash at the end; a directory gets one in the archive. */
  path: Uint8Array;
  mode: number;
  uid: number;
  gid: number;
  /** Bytes of the file when read back; 0 for everything but `file`. */
  size: number;
  mtime: TarTime;
  /** Only where an archive that is read has it. */
  atime?: TarTime;
  /** Where a symlink or a hard link points. */
  link?: Uint8Array;
  devmajor?: number;
  devminor?: number;
  xattrs?: { name: Uint8Array; value: Uint8Array }[];
  /** More pax records, as they are (`SCHILY.acl.access`, `comment` …). */
  records?: { key: string; value: Uint8Array }[];
  /** In order, not touching, in whole tar blocks but for the end of the file. Without it the file is stored whole. */
  segments?: TarSegment[];
}

const TYPE_FLAG: Record<TarType, string> = {
  file: '0',
  link: '1',
  symlink: '2',
  chardev: '3',
  blockdev: '4',
  dir: '5',
  fifo: '6',
};

const encoder = new TextEncoder();
const SLASH = 0x2f;

export const ascii = (text: string): Uint8Array => encoder.encode(text);

export function concat(parts: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let off = 0;
  for (const part of parts) {
    all.set(part, off);
    off += part.length;
  }
  return all;
}

/** How many zeros follow `len` bytes to fill the last block. */
export function padding(len: number): number {
  return (TAR_BLOCK - (len % TAR_BLOCK)) % TAR_BLOCK;
}

/** The sparse map of format PAX 1.0: text in front of the data, padded to whole blocks; empty without segments. */
export function sparseMap(entry: TarEntry): Uint8Array {
  if (!entry.segments) return new Uint8Array(0);
  checkSegments(entry.segments, entry.size);
  const list = entry.segments.map(({ pos, len }) => `${pos}\n${len}\n`);
  const last = entry.segments.at(-1);
  if (!last || last.pos + last.len < entry.size) list.push(`${entry.size}\n0\n`);
  const text = ascii(`${list.length}\n${list.join('')}`);
  return concat([text, new Uint8Array(padding(text.length))]);
}

/** GNU tar begins each segment on a block of the archive: only the last one may end inside one. */
function checkSegments(segments: TarSegment[], size: number): void {
  let end = -1;
  for (const { pos, len } of segments) {
    const whole = pos % TAR_BLOCK === 0 && (len % TAR_BLOCK === 0 || pos + len === size);
    if (!whole || pos <= end || len <= 0 || pos + len > size) {
      throw new RangeError(`tar segment ${pos}+${len} of a file of ${size} bytes`);
    }
    end = pos + len;
  }
}

/** Bytes of the member in the archive, the sparse map included, the padding at the end not. */
export function storedSize(entry: TarEntry): number {
  if (entry.type !== 'file') return 0;
  if (!entry.segments) return entry.size;
  return entry.segments.reduce((sum, { len }) => sum + len, sparseMap(entry).length);
}

/** Everything of a member but its data: whole blocks. */
export function encodeHeader(entry: TarEntry): Uint8Array {
  const path = storedPath(entry);
  const size = storedSize(entry);
  const records = paxRecords(entry, path, size);
  const header = ustar(entry, path, size, TYPE_FLAG[entry.type]);
  if (records.length === 0) return header;
  const body = concat(records);
  const about: TarEntry = { ...entry, type: 'file', mode: 0o644, link: undefined };
  const name = paxName(entry.path);
  return concat([
    ustar(about, name, body.length, 'x'),
    body,
    new Uint8Array(padding(body.length)),
    header,
  ]);
}

/** The name in the ustar block: a sparse file hides under one that old readers will not take for the file. */
function storedPath(entry: TarEntry): Uint8Array {
  if (entry.type === 'dir') return concat([entry.path, ascii('/')]);
  if (!entry.segments) return entry.path;
  const { dir, base } = splitLast(entry.path);
  return concat([dir, ascii('GNUSparseFile.0/'), base]);
}

function paxName(path: Uint8Array): Uint8Array {
  const { dir, base } = splitLast(path);
  return concat([dir, ascii('PaxHeaders/'), base]);
}

/** The directory with its slash, and the last name. */
function splitLast(path: Uint8Array): { dir: Uint8Array; base: Uint8Array } {
  const cut = path.lastIndexOf(SLASH) + 1;
  return { dir: path.subarray(0, cut), base: path.subarray(cut) };
}

function paxRecords(entry: TarEntry, path: Uint8Array, size: number): Uint8Array[] {
  const records: Uint8Array[] = [];
  let odd = false;
  const add = (key: string, value: Uint8Array | string) =>
    records.push(paxRecord(ascii(key), typeof value === 'string' ? ascii(value) : value));
  const addName = (key: string, name: Uint8Array) => {
    odd ||= !isUtf8(name);
    add(key, name);
  };
  if (entry.segments) {
    add('GNU.sparse.major', '1');
    add('GNU.sparse.minor', '0');
    addName('GNU.sparse.name', entry.path);
    add('GNU.sparse.realsize', String(entry.size));
  } else if (!splitName(path)) addName('path', path);
  if (entry.link && entry.link.length > 100) addName('linkpath', entry.link);
  if (size > maxOctal(12)) add('size', String(size));
  if (entry.uid > maxOctal(8)) add('uid', String(entry.uid));
  if (entry.gid > maxOctal(8)) add('gid', String(entry.gid));
  const { sec, nsec } = entry.mtime;
  if (nsec !== 0 || sec < 0 || sec > maxOctal(12)) add('mtime', decimalTime(entry.mtime));
  for (const { key, value } of entry.records ?? []) add(key, value);
  for (const { name, value } of entry.xattrs ?? []) {
    records.push(paxRecord(concat([ascii('SCHILY.xattr.'), escapeKey(name)]), value));
  }
  if (odd) records.unshift(paxRecord(ascii('hdrcharset'), ascii('BINARY')));
  return records;
}

/** `length key=value\n`, where length counts itself. */
export function paxRecord(key: Uint8Array, value: Uint8Array): Uint8Array {
  const rest = key.length + value.length + 3;
  let total = rest + String(rest).length;
  if (rest + String(total).length !== total) total = rest + String(total).length;
  return concat([ascii(`${total} `), key, ascii('='), value, ascii('\n')]);
}

/** GNU tar writes `%` and `=` of an attribute's name as `%25` and `%3D`: the first `=` ends the key. */
function escapeKey(name: Uint8Array): Uint8Array {
  const parts = Array.from(name, (byte) =>
    byte === 0x25 ? [0x25, 0x32, 0x35] : byte === 0x3d ? [0x25, 0x33, 0x44] : [byte],
  );
  return Uint8Array.from(parts.flat());
}

/** Seconds with a fraction; before 1970 the fraction counts towards zero, as -1.5 does. */
export function decimalTime({ sec, nsec }: TarTime): string {
  if (nsec === 0) return String(sec);
  const negative = sec < 0;
  const whole = negative ? -sec - 1 : sec;
  const part = negative ? 1e9 - nsec : nsec;
  const digits = String(part).padStart(9, '0').replace(/0+$/, '');
  return `${negative ? '-' : ''}${whole}.${digits}`;
}

function isUtf8(bytes: Uint8Array): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}

const maxOctal = (width: number): number => 8 ** (width - 1) - 1;

/** The prefix and name fields of a path that fits them; undefined when it takes a pax record. */
function splitName(path: Uint8Array): { prefix: Uint8Array; name: Uint8Array } | undefined {
  if (path.length <= 100) return { prefix: path.subarray(0, 0), name: path };
  if (path.length > 256) return undefined;
  // The last slash that leaves a name, of at most 155 bytes before it.
  const cut = path.lastIndexOf(SLASH, Math.min(155, path.length - 2));
  if (cut <= 0 || path.length - cut - 1 > 100) return undefined;
  return { prefix: path.subarray(0, cut), name: path.subarray(cut + 1) };
}

function ustar(entry: TarEntry, path: Uint8Array, size: number, flag: string): Uint8Array {
  const block = new Uint8Array(TAR_BLOCK);
  const octal = (off: number, width: number, value: number) => {
    const fits = value >= 0 && value <= maxOctal(width);
    block.set(ascii((fits ? value : 0).toString(8).padStart(width - 1, '0')), off);
  };
  const { prefix, name } = splitName(path) ?? { prefix: path.subarray(0, 0), name: path };
  block.set(name.subarray(0, 100), 0);
  octal(100, 8, entry.mode % 0o10000);
  octal(108, 8, entry.uid);
  octal(116, 8, entry.gid);
  octal(124, 12, size);
  octal(136, 12, entry.mtime.sec);
  block.set(ascii(flag), 156);
  if (entry.link) block.set(entry.link.subarray(0, 100), 157);
  block.set(ascii('ustar\x0000'), 257);
  octal(329, 8, entry.devmajor ?? 0);
  octal(337, 8, entry.devminor ?? 0);
  block.set(prefix, 345);
  block.fill(0x20, 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.set(ascii(`${sum.toString(8).padStart(6, '0')}\0 `), 148);
  return block;
}
