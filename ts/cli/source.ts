// What is copied into an image, wherever it comes from: a tree of the host, a tree of an image, or standard input.
// Depth first, a directory before and after what is in it, as walk() gives it; names and links are reversible strings.

import {
  closeSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  statSync,
} from 'node:fs';
import type { Ext4 } from '../index.ts';
import { typeLetter } from './format.ts';
import { hostAttributes } from './hostattrs.ts';
import type { Io } from './io.ts';
import { decodeName, join } from './names.ts';
import {
  baseOf,
  bytesOf,
  dataSegments,
  type Facts,
  factsFrom,
  factsOf,
  linkOf,
  type Readable,
  readRange,
  type Seekable,
  type WalkOptions,
  walk,
} from './tree.ts';
import { type Attribute, attributesOf } from './xattr.ts';

/** Some bytes of a file and where they belong; good until the next piece is asked for. */
export interface Piece {
  pos: number;
  bytes: Uint8Array;
}

export interface Item {
  /** Below the start of the copy: '' for the start itself, else 'a/b'. */
  below: string;
  /** For messages. */
  path: string;
  /** As in `ls -l`. */
  type: string;
  facts: Facts;
  leave: boolean;
  /** Set by whoever copies, before going on: nothing of this directory is wanted. */
  skip: boolean;
  /** What a symbolic link holds. */
  link(): Promise<string>;
  /** The bytes of a regular file, holes left out. */
  pieces(): AsyncIterable<Piece>;
  attributes(): Promise<Attribute[]>;
}

export interface Source {
  /** As the user wrote it. */
  text: string;
  /** The name of what is copied; '' when it has none. */
  base: string;
  /** The thing itself, or with `follow` what a symbolic link leads to. */
  facts(follow: boolean): Promise<Facts>;
  /** One file. */
  file(facts: Facts): Item;
  tree(complain: WalkOptions['complain']): AsyncIterable<Item>;
}

const CHUNK = 1 << 20;
const HOLE = 4096;

// ---- an image

export function imageSource(img: Ext4, io: Io, path: string, text: string): Source {
  const item = (at: string, facts: Facts, leave = false): Item => ({
    below: at.slice(path.length).replace(/^\/+/, ''),
    path: at,
    type: typeLetter(facts.mode),
    facts,
    leave,
    skip: false,
    link: () => linkOf(img, at),
    pieces: () => imagePieces(img, at, facts.size),
    attributes: () => attributesOf(img, at),
  });
  return {
    text,
    base: baseOf(path),
    facts: (follow) => factsOf(img, path, follow),
    file: (facts) => item(path, facts),
    async *tree(complain) {
      for await (const visit of walk(img, io, path, { complain })) {
        const one = item(visit.path, visit.facts, visit.leave);
        yield one;
        visit.skip = one.skip;
      }
    },
  };
}

async function* imagePieces(img: Ext4, path: string, size: number): AsyncGenerator<Piece> {
  const handle = (await img.promises.open(bytesOf(path), 'r')) as unknown as Readable &
    Seekable & { close(): Promise<void> };
  try {
    for await (const { pos, len } of dataSegments(handle, size)) {
      let at = pos;
      for await (const bytes of readRange(handle, pos, pos + len)) {
        yield { pos: at, bytes };
        at += bytes.length;
      }
    }
  } finally {
    await handle.close();
  }
}

// ---- the host

export function hostSource(io: Io, path: string): Source {
  return new HostSource(io, path);
}

class HostSource implements Source {
  readonly text: string;
  readonly base: string;
  readonly #io: Io;
  #attributes: ((path: string) => Attribute[]) | undefined;

  constructor(io: Io, path: string) {
    this.text = path;
    this.base = baseOf(path);
    this.#io = io;
  }

  async facts(follow: boolean): Promise<Facts> {
    return hostFacts(this.text, follow);
  }

  file(facts: Facts): Item {
    return this.#item('', facts, false);
  }

  tree(complain: WalkOptions['complain']): AsyncIterable<Item> {
    return this.#visit('', complain);
  }

  async *#visit(below: string, complain: WalkOptions['complain']): AsyncGenerator<Item> {
    await this.#io.breathe();
    const path = below === '' ? this.text : join(this.text, below);
    let item: Item;
    let names: string[] = [];
    try {
      item = this.#item(below, hostFacts(path, false), false);
      if (item.type === 'd') names = namesIn(path);
    } catch (error) {
      return await complain(path, error);
    }
    yield item;
    if (item.type !== 'd') return;
    if (!item.skip)
      for (const name of names)
        yield* this.#visit(below === '' ? name : join(below, name), complain);
    yield { ...item, leave: true };
  }

  #item(below: string, facts: Facts, leave: boolean): Item {
    const path = below === '' ? this.text : join(this.text, below);
    return {
      below,
      path,
      type: typeLetter(facts.mode),
      facts,
      leave,
      skip: false,
      link: async () => decodeName(readlinkSync(bytesOf(path), { encoding: 'buffer' })),
      pieces: () => hostPieces(path, facts),
      attributes: async () => {
        this.#attributes ??= hostAttributes(this.text);
        return this.#attributes(path);
      },
    };
  }
}

function hostFacts(path: string, follow: boolean): Facts {
  return factsFrom((follow ? statSync : lstatSync)(bytesOf(path), { bigint: true }));
}

function namesIn(path: string): string[] {
  const names = readdirSync(bytesOf(path), { encoding: 'buffer' }) as unknown as Uint8Array[];
  return names.map(decodeName).sort();
}

/** A file that takes less space than its size has holes: what is zero in it is left out. */
async function* hostPieces(path: string, { size, blocks }: Facts): AsyncGenerator<Piece> {
  const fd = openSync(bytesOf(path), 'r');
  try {
    const buffer = Buffer.allocUnsafeSlow(CHUNK);
    for (let pos = 0; ; ) {
      const count = readSync(fd, buffer, 0, CHUNK, pos);
      if (count === 0) return;
      const bytes = buffer.subarray(0, count);
      if (blocks * 512 < size) yield* withoutHoles(pos, bytes);
      else yield { pos, bytes };
      pos += count;
    }
  } finally {
    closeSync(fd);
  }
}

/** The parts of a chunk between whole blocks of zeros. */
export function* withoutHoles(pos: number, bytes: Uint8Array): Generator<Piece> {
  let from = -1;
  for (let off = 0; off < bytes.length; off += HOLE) {
    const empty = isZero(bytes, off, Math.min(off + HOLE, bytes.length));
    if (!empty && from < 0) from = off;
    if (empty && from >= 0) {
      yield { pos: pos + from, bytes: bytes.subarray(from, off) };
      from = -1;
    }
  }
  if (from >= 0) yield { pos: pos + from, bytes: bytes.subarray(from) };
}

export function isZero(bytes: Uint8Array, from: number, end: number): boolean {
  for (let off = from; off < end; off++) if (bytes[off] !== 0) return false;
  return true;
}

// ---- standard input

/** The bytes of a stream one behind the other. */
export async function* streamPieces(input: AsyncIterable<Uint8Array>): AsyncGenerator<Piece> {
  let pos = 0;
  for await (const bytes of input) {
    yield { pos, bytes };
    pos += bytes.length;
  }
}
