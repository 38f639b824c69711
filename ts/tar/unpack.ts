// Reads a tar stream member by member: ustar, pax, GNU's long names and sparse files (old, 0.0, 0.1, 1.0), what star,
// bsdtar and old tars write. Everything is checked and bounded before it is used; names and values are bytes as
// they are, and not yet looked at: whether a name leads out of a target is for whoever makes files of it.

import { hasGoodSum, nameField, numberField } from './fields.ts';
import {
  concat,
  padding,
  TAR_BLOCK,
  type TarEntry,
  type TarSegment,
  type TarType,
} from './header.ts';
import { addRecords, type Extended, extend, noExtended } from './pax.ts';
import { TarError, TarSource } from './source.ts';
import { checkedSegments, readMap, readOldMap } from './sparse.ts';

/** Bytes of extended headers, names and sparse maps in them, that one member may have. */
const MAX_EXTENDED = 16 << 20;
/** A data chunk is at most so long. */
const MAX_CHUNK = 1 << 20;

/** Some bytes of a file and where they belong. They are good until the next piece is asked for. */
export interface TarPiece {
  pos: number;
  bytes: Uint8Array;
}

export interface TarItem {
  entry: TarEntry;
  /** The bytes of a file, holes left out. To be read, if at all, before the next member is asked for. */
  data: AsyncIterable<TarPiece>;
}

/** The members of an archive, in order. TarError when it is none, or is damaged. */
export async function* unpack(
  from: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): AsyncGenerator<TarItem, void, undefined> {
  const source = new TarSource(from);
  try {
    const reader = new Reader(source);
    for (;;) {
      const item = await reader.next();
      if (item === null) break;
      yield item;
      await reader.finish();
    }
    await source.drain();
  } finally {
    await source.close();
  }
}

const TYPES: Record<string, TarType> = {
  '0': 'file',
  '\0': 'file',
  '7': 'file',
  S: 'file',
  '1': 'link',
  '2': 'symlink',
  '3': 'chardev',
  '4': 'blockdev',
  '5': 'dir',
  D: 'dir',
  '6': 'fifo',
};
/** Members that are none: a volume's label, what another volume goes on with, ACLs of Solaris. */
const NO_MEMBERS = 'VMNA';

interface Header {
  block: Uint8Array;
  flag: string;
  /** Bytes in the archive. */
  stored: number;
}

class Reader {
  readonly #source: TarSource;
  #global = noExtended();
  /** Where in the archive the member under way ends, its padding included. */
  #end = 0;

  constructor(source: TarSource) {
    this.#source = source;
  }

  async next(): Promise<TarItem | null> {
    let own = extend(this.#global);
    let extended = 0;
    for (;;) {
      const header = await this.#header();
      if (header === null) return null;
      const { flag, stored } = header;
      if ('xXgLK'.includes(flag)) {
        extended += stored;
        if (extended > MAX_EXTENDED) throw new TarError('an extended header is too long');
        this.#apply(flag, own, await this.#body(stored));
      } else if (NO_MEMBERS.includes(flag)) {
        await this.#source.skip(stored + padding(stored));
        own = extend(this.#global);
      } else return this.#member(header, own);
    }
  }

  /** Leaves out what was not read of the last member. */
  async finish(): Promise<void> {
    await this.#source.skip(this.#end - this.#source.pos);
  }

  /** The next header block; null at the end: two blocks of zeros, or no more bytes. */
  async #header(): Promise<Header | null> {
    const block = await this.#source.exactly(TAR_BLOCK);
    if (block === null) {
      if (this.#source.pos === 0) throw new TarError('this is no tar archive: it is empty');
      return null;
    }
    if (block.every((byte) => byte === 0)) return null;
    if (!hasGoodSum(block)) {
      const first = this.#source.pos === TAR_BLOCK;
      throw new TarError(first ? 'this is no tar archive' : 'a header is damaged');
    }
    const stored = numberField(block, 124, 12);
    if (stored < 0) throw new TarError('a size is negative');
    return { block: block.slice(), flag: String.fromCharCode(block[156]), stored };
  }

  async #body(len: number): Promise<Uint8Array> {
    const body = len === 0 ? new Uint8Array(0) : await this.#source.exactly(len);
    if (body === null) throw new TarError('the archive ends too early');
    const copy = body.slice();
    await this.#source.skip(padding(len));
    return copy;
  }

  #apply(flag: string, own: Extended, body: Uint8Array): void {
    if (flag === 'L') own.path = nameField(body, 0, body.length);
    else if (flag === 'K') own.link = nameField(body, 0, body.length);
    else if (flag === 'g') {
      addRecords(this.#global, body);
      addRecords(own, body);
    } else addRecords(own, body);
  }

  async #member({ block, flag, stored: field }: Header, own: Extended): Promise<TarItem> {
    const entry = entryOf(block, flag, own);
    // A hard link has no data, whatever its size says.
    const stored = entry.type === 'link' ? 0 : (own.size ?? field);
    const begin = this.#source.pos;
    const old = flag === 'S' ? await readOldMap(block, this.#source) : undefined;
    const blocks = this.#source.pos - begin;
    this.#end = begin + blocks + stored + padding(stored);
    if (!Number.isSafeInteger(this.#end)) throw new TarError('a size is too large');
    const segments = await this.#segments(own, old, stored);
    if (entry.type !== 'file') return { entry, data: nothing() };
    entry.size = old === undefined ? (own.sparse.size ?? stored) : numberField(block, 483, 12);
    if (segments === null) return { entry, data: this.#pieces([{ pos: 0, len: stored }]) };
    const left = stored - (this.#source.pos - begin - blocks);
    entry.segments = checkedSegments(segments, entry.size, left);
    return { entry, data: this.#pieces(entry.segments) };
  }

  /** The sparse map, or null for a file that is stored whole. */
  async #segments(
    { sparse }: Extended,
    old: TarSegment[] | undefined,
    stored: number,
  ): Promise<TarSegment[] | null> {
    if (old !== undefined) return old;
    if (sparse.major !== undefined) {
      if (sparse.major !== 1 || sparse.size === undefined)
        throw new TarError(`sparse format ${sparse.major} is not known`);
      return (await readMap(this.#source, stored)).segments;
    }
    return sparse.segments ?? null;
  }

  async *#pieces(segments: TarSegment[]): AsyncGenerator<TarPiece, void, undefined> {
    for (const { pos, len } of segments) {
      for (let done = 0; done < len; ) {
        const bytes = await this.#source.some(Math.min(MAX_CHUNK, len - done));
        if (bytes === null) throw new TarError('the archive ends too early');
        yield { pos: pos + done, bytes };
        done += bytes.length;
      }
    }
  }
}

async function* nothing(): AsyncGenerator<TarPiece, void, undefined> {}

/** What the block says, with what the extended headers say instead. */
function entryOf(block: Uint8Array, flag: string, own: Extended): TarEntry {
  const ustar = String.fromCharCode(...block.subarray(257, 263));
  const posix = ustar === 'ustar\0';
  const full = own.sparse.name ?? own.path ?? blockPath(block, posix);
  const slash = full.at(-1) === SLASH;
  // Tars before ustar had no directories but names with a slash behind them.
  const type = slash && 'S07\0'.includes(flag) ? 'dir' : (TYPES[flag] ?? 'file');
  const entry: TarEntry = {
    type,
    path: trimmed(full),
    mode: numberField(block, 100, 8) & 0o7777,
    uid: own.uid ?? numberField(block, 108, 8),
    gid: own.gid ?? numberField(block, 116, 8),
    size: 0,
    mtime: own.mtime ?? { sec: numberField(block, 136, 12), nsec: 0 },
    xattrs: [...own.xattrs.values()].map(({ name, value }) => ({ name, value })),
  };
  if (own.atime) entry.atime = own.atime;
  if (type === 'link' || type === 'symlink') entry.link = own.link ?? nameField(block, 157, 100);
  if (type === 'chardev' || type === 'blockdev') {
    entry.devmajor = numberField(block, 329, 8);
    entry.devminor = numberField(block, 337, 8);
  }
  if (entry.path.includes(0)) throw new TarError('a name holds a NUL');
  return entry;
}

const SLASH = 0x2f;

/** Name and, in ustar only, the prefix before it; GNU tar keeps other things there. */
function blockPath(block: Uint8Array, posix: boolean): Uint8Array {
  const name = nameField(block, 0, 100);
  const prefix = posix ? nameField(block, 345, 155) : new Uint8Array(0);
  return prefix.length === 0 ? name : concat([prefix, Uint8Array.of(SLASH), name]);
}

/** Without slashes at its end. */
function trimmed(path: Uint8Array): Uint8Array {
  let end = path.length;
  while (end > 1 && path[end - 1] === SLASH) end--;
  return path.subarray(0, end);
}
