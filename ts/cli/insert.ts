// `ext4 cp` into an image: from the host, from an image, from standard input.

import { existsSync, realpathSync } from 'node:fs';
import type { Ext4 } from '../index.ts';
import { type Address, isAddress, isUrl, parseAddress } from './address.ts';
import type { Call } from './args.ts';
import { Failure, UsageError } from './errors.ts';
import { readsAttributes } from './hostattrs.ts';
import { decodeName, join, shown } from './names.ts';
import { hostSource, type Item, imageSource, type Source, streamPieces } from './source.ts';
import { ImageTarget, isDirectory, type Wanted } from './target.ts';
import { bytesOf, type Facts, optionalFacts } from './tree.ts';
import { type Volumes, withVolumes } from './volume.ts';
import { attributesOf } from './xattr.ts';

const UMASK = process.umask();

/** Copies each source into the image that `target` names; what fails is reported and the others have their turn. */
export async function copyInto(call: Call, sources: string[], target: string): Promise<void> {
  const address = parseAddress(target);
  await withVolumes(call, (readers) =>
    withVolumes(
      call,
      async (writers) => {
        const { img } = await writers.volume(address);
        const inserter = new Inserter(call, img, address);
        await inserter.look(sources.length > 1);
        for (const text of sources) {
          try {
            const source = await sourceOf(call, text, address, { readers, writers });
            if (source === null) await inserter.stream();
            else await inserter.copy(source);
          } catch (error) {
            await call.complain(text, error);
          }
        }
        await inserter.end();
      },
      true,
    ),
  );
}

/** Null for standard input. An image that is written is read through the same mount. */
async function sourceOf(
  call: Call,
  text: string,
  target: Address,
  { readers, writers }: { readers: Volumes; writers: Volumes },
): Promise<Source | null> {
  if (text === '-') return null;
  if (!isAddress(text)) return hostSource(call.io, text);
  const address = parseAddress(text);
  const same = imageKey(address.image) === imageKey(target.image);
  const { img } = await (same ? writers : readers).volume({
    ...address,
    image: same ? target.image : address.image,
  });
  return imageSource(img, call.io, address.path ?? '/', text);
}

const imageKey = (image: string): string =>
  !isUrl(image) && existsSync(image) ? realpathSync(image) : image;

class Inserter {
  readonly #call: Call;
  readonly #img: Ext4;
  readonly #address: Address;
  readonly #path: string;
  readonly #target: ImageTarget;
  readonly #preserve: boolean;
  readonly #recursive: boolean;
  #into = false;
  #fromHost = false;

  constructor(call: Call, img: Ext4, address: Address) {
    this.#call = call;
    this.#img = img;
    this.#address = address;
    this.#path = address.path ?? '/';
    this.#target = new ImageTarget(call, img);
    this.#preserve = call.has('preserve') || call.has('archive');
    this.#recursive = call.has('recursive') || call.has('archive');
  }

  /** Whether the destination is a directory that things are put into. */
  async look(many: boolean): Promise<void> {
    const facts = await optionalFacts(this.#img, this.#path, true);
    this.#into = facts !== null && isDirectory(facts);
    if (this.#into) return;
    if (many) throw new UsageError(`'${this.#address.text}' must be a directory`);
  }

  async end(): Promise<void> {
    await this.#target.progress.end();
    if (this.#fromHost && this.#preserve && !readsAttributes())
      await this.#call.note('read no extended attributes on this host: getfattr(1) is missing');
  }

  async stream(): Promise<void> {
    if (this.#into) throw new Failure(`standard input has no name: say ${this.#address.text}/NAME`);
    await this.#single(streamPieces(this.#call.io.input), undefined, {}, '-');
  }

  async copy(source: Source): Promise<void> {
    const facts = await source.facts(!this.#recursive);
    this.#fromHost ||= !isAddress(source.text);
    if (isDirectory(facts) && !this.#recursive) throw new Failure('is a directory (-r copies it)');
    if (this.#recursive) return this.#tree(source, facts);
    const item = source.file(facts);
    if (item.type !== '-') throw new Failure('is no regular file (-r copies it)');
    const wanted = this.#preserve ? await this.#wanted(item) : { mode: newMode(facts) };
    await this.#single(item.pieces(), facts.size, wanted, source.text, source.base);
  }

  /** One file. What is there keeps its owner, mode and attributes unless those of the source are wanted. */
  async #single(
    pieces: ReturnType<Item['pieces']>,
    size: number | undefined,
    wanted: Wanted,
    text: string,
    base = '',
  ): Promise<void> {
    const named = this.#into ? join(this.#path, base) : this.#path;
    if (named.endsWith('/')) throw new Failure(`'${shown(named)}' is no directory`);
    const path = await this.#linkEnd(named);
    const there = await optionalFacts(this.#img, path);
    if (there === null || this.#preserve) {
      const mode = there === null ? { mode: 0o666 & ~UMASK, ...wanted } : wanted;
      await this.#target.file(path, pieces, size, mode);
    } else if (isDirectory(there)) throw new Failure('a directory is in its place');
    else if (there.nlink > 1) await this.#target.overwrite(path, pieces, size);
    else {
      const { mode, uid, gid } = there;
      const xattrs = await attributesOf(this.#img, path);
      await this.#target.file(path, pieces, size, { mode: mode & 0o7777, uid, gid, xattrs });
    }
    await this.#verbose(text, path);
  }

  /** Where a symbolic link in the destination's place leads, which must be there. */
  async #linkEnd(path: string): Promise<string> {
    const facts = await optionalFacts(this.#img, path);
    if (facts === null || (facts.mode & 0o170000) !== 0o120000) return path;
    if ((await optionalFacts(this.#img, path, true)) === null)
      throw new Failure(`'${shown(path)}' is a symbolic link to nowhere`);
    const real = await this.#img.promises.realpath(bytesOf(path), { encoding: 'buffer' });
    return decodeName(real as unknown as Uint8Array);
  }

  async #tree(source: Source, facts: Facts): Promise<void> {
    const base = source.base;
    const inside = this.#into && !['/', '.', '..'].includes(base);
    const root = inside ? join(this.#path, base) : this.#path;
    await this.#checkOutside(source, facts, root);
    const linked = new Map<string, string>();
    const made = new Set<string>();
    for await (const item of source.tree((path, error) => this.#call.complain(path, error))) {
      const to = item.below === '' ? root : join(root, item.below);
      try {
        await this.#item(item, to, made, linked);
      } catch (error) {
        item.skip = true;
        await this.#call.complain(item.path, error);
        if (isFull(error)) return;
      }
    }
  }

  /** A directory is not copied into itself. */
  async #checkOutside(source: Source, facts: Facts, root: string): Promise<void> {
    if (!isDirectory(facts) || !isAddress(source.text)) return;
    const { image, partition } = parseAddress(source.text);
    const { image: ours, partition: part } = this.#address;
    if (imageKey(image) !== imageKey(ours) || partition !== part) return;
    for (let at = root; ; at = at.slice(0, at.lastIndexOf('/')) || '/') {
      const there = await optionalFacts(this.#img, at, true);
      if (there?.ino === facts.ino) throw new Failure('a directory is not copied into itself');
      if (at === '/') return;
    }
  }

  async #item(
    item: Item,
    to: string,
    made: Set<string>,
    linked: Map<string, string>,
  ): Promise<void> {
    const { facts, type } = item;
    if (type === 'd' && item.leave) return this.#finishDirectory(item, to, made.has(to));
    if (type === 'd') {
      if (await this.#target.directory(to, item.below === '')) made.add(to);
      return this.#verbose(item.path, to);
    }
    const key = `${facts.dev}:${facts.ino}`;
    const first = linked.get(key);
    if (first !== undefined) await this.#target.link(to, first);
    else await this.#leaf(item, to);
    if (this.#preserve && facts.nlink > 1) linked.set(key, first ?? to);
    await this.#verbose(item.path, to);
  }

  async #leaf(item: Item, to: string): Promise<void> {
    const { facts, type } = item;
    const wanted = await this.#wanted(item);
    if (type === '-') await this.#target.file(to, item.pieces(), facts.size, wanted);
    else if (type === 'l') await this.#target.symlink(to, await item.link(), wanted);
    else await this.#target.special(to, facts.mode, facts.rdev, wanted);
  }

  async #finishDirectory(item: Item, to: string, made: boolean): Promise<void> {
    if (made || this.#preserve) await this.#target.attributes(to, await this.#wanted(item));
  }

  async #wanted(item: Item): Promise<Wanted> {
    const { facts } = item;
    if (!this.#preserve) return { mode: newMode(facts) };
    const { uid, gid, atime, mtime } = facts;
    return { mode: facts.mode & 0o7777, uid, gid, atime, mtime, xattrs: await item.attributes() };
  }

  async #verbose(from: string, to: string): Promise<void> {
    if (this.#call.has('verbose')) await this.#call.io.out.line(`${shown(from)} -> ${shown(to)}`);
  }
}

const newMode = ({ mode }: Facts): number => mode & 0o777 & ~UMASK;

/** What would be said of every file that follows. */
export function isFull(error: unknown): boolean {
  return ['ENOSPC', 'EROFS', 'EIO'].includes((error as NodeJS.ErrnoException).code ?? '');
}
