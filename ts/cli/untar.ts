// `ext4 tar -x`: a tar stream from standard input into a directory of an image, as root would unpack it: owners by
// number, modes, times, devices, hard links, attributes, ACLs, holes. A member's path may lead through symbolic links,
// but never out of that directory. Whatever an archive says, no more of it is held than a list of its directories.

import type { Ext4 } from '../index.ts';
import { type TarEntry, TarError, type TarItem, unpack } from '../tar/index.ts';
import type { Call } from './args.ts';
import { Failure } from './errors.ts';
import { isFull } from './insert.ts';
import { decodeName, join, shown } from './names.ts';
import { ImageTarget, isDirectory, type Wanted } from './target.ts';
import { bytesOf, optionalFacts } from './tree.ts';
import { changeEach, type Operand } from './volume.ts';

export async function extractArchive(call: Call, operands: string[]): Promise<void> {
  await changeEach(call, operands, async ({ img, path }: Operand) => {
    const real = await realpath(img, path);
    const facts = await optionalFacts(img, real);
    if (facts === null || !isDirectory(facts)) throw new Failure('is no directory');
    const unpacker = new Unpacker(call, img, real);
    try {
      for await (const item of unpack(await plainTar(call))) await unpacker.add(item);
    } catch (error) {
      if (!(error instanceof TarError)) throw error;
      await unpacker.end();
      throw new Failure(`the archive: ${error.message}`);
    }
    await unpacker.end();
  });
}

/** Standard input, unpacked when it is gzip. */
async function plainTar(call: Call): Promise<AsyncIterable<Uint8Array>> {
  const input = call.io.input[Symbol.asyncIterator]();
  const first = await input.next();
  const rest = async function* () {
    for (let next = first; !next.done; next = await input.next()) yield next.value;
  };
  const [a, b] = first.done ? [] : first.value;
  if (a !== 0x1f || b !== 0x8b) return rest();
  const { createGunzip } = await import('node:zlib');
  const { pipeline } = await import('node:stream');
  const gunzip = createGunzip();
  pipeline(rest, gunzip, () => undefined); // an error comes out of the iteration
  return gunzip;
}

async function realpath(img: Ext4, path: string): Promise<string> {
  const real = await img.promises.realpath(bytesOf(path), { encoding: 'buffer' });
  return decodeName(real as unknown as Uint8Array);
}

interface Made {
  path: string;
  wanted: Wanted;
}

class Unpacker {
  readonly #call: Call;
  readonly #img: Ext4;
  readonly #root: string;
  readonly #target: ImageTarget;
  readonly #strip: number;
  /** Directories get what they are to have when nothing more comes into them. */
  readonly #directories: Made[] = [];
  /** Real paths of directories by the path that led to them. */
  readonly #known = new Map<string, string>();
  #absolute = false;

  constructor(call: Call, img: Ext4, root: string) {
    this.#call = call;
    this.#img = img;
    this.#root = root;
    this.#target = new ImageTarget(call, img);
    this.#strip = call.number('strip-components') ?? 0;
  }

  /** One member. What is wrong with it alone is reported, and the rest goes on. */
  async add(item: TarItem): Promise<void> {
    const name = decodeName(item.entry.path);
    await this.#call.io.breathe();
    try {
      const parts = this.#partsOf(name);
      if (parts === null) return;
      if (this.#call.has('verbose')) await this.#call.io.err.line(shown(name));
      await this.#make(item, parts);
    } catch (error) {
      if (error instanceof TarError || isFull(error)) throw error;
      await this.#call.complain(name, error);
    }
  }

  async end(): Promise<void> {
    for (const { path, wanted } of this.#directories.reverse()) {
      try {
        await this.#target.attributes(path, wanted);
      } catch (error) {
        await this.#call.complain(path, error);
      }
    }
    await this.#target.progress.end();
    if (this.#absolute) await this.#call.note('took the leading / off the names of members');
  }

  /** The names on the way to a member; null for one that --strip-components leaves nothing of. */
  #partsOf(name: string): string[] | null {
    if (name.startsWith('/')) this.#absolute = true;
    const parts = namesIn(name).slice(this.#strip);
    return this.#strip > 0 && parts.length === 0 ? null : parts;
  }

  async #make({ entry, data }: TarItem, parts: string[]): Promise<void> {
    const { type } = entry;
    const wanted = this.#wanted(entry);
    if (type === 'dir') {
      this.#directories.push({ path: await this.#enter(parts), wanted });
      return;
    }
    const last = parts.at(-1);
    if (last === undefined) throw new Failure('the name leads to no file');
    const path = join(await this.#enter(parts.slice(0, -1)), last);
    if (type === 'file') await this.#target.file(path, data, entry.size, wanted);
    else if (type === 'link') await this.#target.link(path, await this.#linked(entry));
    else if (type === 'symlink') await this.#symlink(path, entry, wanted);
    else await this.#target.special(path, TYPE_BITS[type] + entry.mode, rdevOf(entry), wanted);
  }

  async #symlink(path: string, { link = new Uint8Array(0) }: TarEntry, wanted: Wanted) {
    this.#known.clear();
    await this.#target.symlink(path, decodeName(link), wanted);
  }

  /** What a hard link names: a member, by its path in the archive. */
  async #linked({ link = new Uint8Array(0) }: TarEntry): Promise<string> {
    const parts = namesIn(decodeName(link)).slice(this.#strip);
    const last = parts.at(-1);
    if (last === undefined) throw new Failure('the link leads to no file');
    return join(await this.#enter(parts.slice(0, -1)), last);
  }

  /** The real path of a directory below the root. What is missing on the way is made. */
  async #enter(parts: string[]): Promise<string> {
    const key = parts.join('/');
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const up = parts.length === 0 ? this.#root : await this.#enter(parts.slice(0, -1));
    const path = parts.length === 0 ? up : await this.#step(join(up, parts[parts.length - 1]));
    if (this.#known.size >= MOST_KNOWN) this.#known.clear();
    this.#known.set(key, path);
    return path;
  }

  async #step(path: string): Promise<string> {
    const facts = await optionalFacts(this.#img, path);
    if (facts === null) {
      await this.#img.promises.mkdir(bytesOf(path), 0o755);
      return path;
    }
    if (isDirectory(facts)) return path;
    if ((facts.mode & 0o170000) !== 0o120000) throw new Failure(`${shown(path)} is no directory`);
    return this.#followed(path);
  }

  /** A symbolic link on the way may lead anywhere inside. */
  async #followed(path: string): Promise<string> {
    const real = await realpath(this.#img, path).catch(() => '');
    const facts = real === '' ? null : await optionalFacts(this.#img, real);
    if (facts === null || !isDirectory(facts)) throw new Failure(`${shown(path)} is no directory`);
    const root = this.#root === '/' ? '/' : `${this.#root}/`;
    if (real !== this.#root && !real.startsWith(root))
      throw new Failure(`${shown(path)} leads out of the directory: not extracted`);
    return real;
  }

  #wanted({ mode, uid, gid, mtime, atime, xattrs }: TarEntry): Wanted {
    const wanted: Wanted = { mode, uid, gid, mtime };
    if (atime) wanted.atime = atime;
    if (this.#call.has('no-xattrs') || xattrs === undefined) return wanted;
    const list = xattrs.map(({ name, value }) => ({ name: decodeName(name), value }));
    return { ...wanted, xattrs: list };
  }
}

/** Directories whose place is remembered. */
const MOST_KNOWN = 100_000;

const TYPE_BITS: Record<string, number> = { chardev: 0o20000, blockdev: 0o60000, fifo: 0o10000 };

/** The names of a path, without "." and empty ones. A name ".." is nobody's. */
function namesIn(path: string): string[] {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) throw new Failure("a path with '..' is not extracted");
  return parts;
}

/** st_rdev of a device's numbers, as Linux packs them into 32 bits. */
function rdevOf({ devmajor = 0, devminor = 0 }: TarEntry): number {
  if (devmajor >= 1 << 12 || devminor >= 1 << 20 || devmajor < 0 || devminor < 0)
    throw new Failure(`device ${devmajor}, ${devminor} has numbers that are too large`);
  return (devminor % 256) + devmajor * 256 + Math.floor(devminor / 256) * 2 ** 20;
}
