// `ext4 tar`. Reading an archive is untar.ts; here `tar -c`: a tree as a tar stream: owners as numbers, devices, fifos,
// hard links, xattrs and ACLs, holes. Names are in the order of their bytes and nothing comes from the clock or the
// host: the same tree gives the same archive.

import type { Ext4 } from '../index.ts';
import { aclText, pack, type TarEntry, type TarMember, type TarSegment } from '../tar/index.ts';
import { type Call, type Command, isFatal } from './args.ts';
import { Failure, UsageError } from './errors.ts';
import { deviceNumbers } from './format.ts';
import { encodeName, shown } from './names.ts';
import { Progress } from './progress.ts';
import {
  baseOf,
  bytesOf,
  dataSegments,
  linkOf,
  type Readable,
  readRange,
  type Seekable,
  type Visit,
  walk,
} from './tree.ts';
import { eachFile, type Operand } from './volume.ts';
import { attributesOf } from './xattr.ts';

export const tar: Command = {
  usage: 'tar -c|-x [-v] [OPTION…] ADDR',
  about: `With -c writes a file or a tree to standard output as a tar archive (pax). The members of
a directory are named from ./ on. Sockets have no place in an archive: they are left out, and said
to be. With -x unpacks an archive (ustar, pax, GNU; also gzip) from standard input into a directory
of the image: owners by number, modes, times, devices, hard links, attributes, ACLs, holes. Names
with .. and links that lead out of the directory are refused; a link to a directory stays one.`,
  options: [
    { name: 'create', short: 'c', help: 'make an archive' },
    { name: 'extract', short: 'x', help: 'unpack one' },
    { name: 'verbose', short: 'v', help: 'name the members on standard error' },
    { name: 'no-xattrs', help: 'leave out extended attributes and ACLs' },
    { name: 'no-sparse', help: 'store holes as zeros, for readers that know no sparse files' },
    { name: 'strip-components', value: 'N', help: 'leave out the first N names of each path' },
  ],
  examples: [
    'ext4 tar -c raspios.img:2:/home | tar -tv',
    'docker export box | ext4 tar -x rootfs.img:/',
    "ext4 tar -c disk.img:/ | sudo tar -x --xattrs --xattrs-include='*' --numeric-owner -C rootfs",
  ],
  async run(call) {
    const operands = call.expect(1, 1);
    if (call.has('create') === call.has('extract')) throw new UsageError('say -c or -x');
    if (call.has('extract')) {
      const { extractArchive } = await import('./untar.ts');
      await extractArchive(call, operands);
      return undefined;
    }
    if (call.io.out.isTTY)
      throw new UsageError('an archive is not for a terminal: use a pipe or >');
    await eachFile(call, operands, async (operand) => {
      const archive = new Archive(call, operand);
      for await (const chunk of pack(archive.members())) {
        await call.io.out.bytes(chunk);
        await archive.progress.add(chunk.length);
        await call.io.breathe();
      }
      await archive.progress.end();
    });
    return undefined;
  },
};

const TYPES: Record<string, TarEntry['type']> = {
  '-': 'file',
  d: 'dir',
  l: 'symlink',
  c: 'chardev',
  b: 'blockdev',
  p: 'fifo',
};

/** Segments that a sparse map may list. */
const MAX_SEGMENTS = 1_000_000;

type Handle = Readable & Seekable & { close(): Promise<void> };

class Archive {
  readonly progress: Progress;
  readonly #call: Call;
  readonly #img: Ext4;
  readonly #operand: Operand;
  /** Inode to the first name it was stored under, for files with several. */
  readonly #linked = new Map<number, Uint8Array>();

  constructor(call: Call, operand: Operand) {
    this.#call = call;
    this.#img = operand.img;
    this.#operand = operand;
    this.progress = new Progress(call.io);
  }

  async *members(): AsyncGenerator<TarMember> {
    const { complain, path: root } = this.#operand;
    for await (const visit of walk(this.#img, this.#call.io, root, { complain })) {
      if (visit.leave) continue;
      let member: TarMember | undefined;
      try {
        member = await this.#member(visit);
      } catch (error) {
        await complain(visit.path, error);
      }
      if (!member) continue;
      if (this.#call.has('verbose')) await this.#call.io.err.line(shown(visit.path));
      yield member;
    }
  }

  async #member(visit: Visit): Promise<TarMember | undefined> {
    const { facts } = visit;
    const type = TYPES[visit.type];
    if (!type) throw new Failure('a socket cannot be archived');
    const path = this.#pathOf(visit);
    const { major, minor } = deviceNumbers(facts.rdev);
    const device = type === 'chardev' || type === 'blockdev';
    const entry: TarEntry = {
      type,
      path,
      mode: facts.mode & 0o7777,
      uid: facts.uid,
      gid: facts.gid,
      size: type === 'file' ? facts.size : 0,
      mtime: facts.mtime,
      ...(device && { devmajor: major, devminor: minor }),
    };
    const first = this.#linked.get(facts.ino);
    if (first) return { entry: { ...entry, type: 'link', size: 0, link: first } };
    if (type === 'symlink') entry.link = encodeName(await linkOf(this.#img, visit.path));
    if (!this.#call.has('no-xattrs')) await this.#addAttributes(entry, visit.path);
    const member = type === 'file' ? await this.#fileMember(entry, visit.path) : { entry };
    if (type !== 'dir' && facts.nlink > 1) this.#linked.set(facts.ino, path);
    return member;
  }

  /** `./etc/passwd` below a directory, the bare name of a single file. */
  #pathOf({ path, depth, type }: Visit): Uint8Array {
    if (depth === 0) return encodeName(type === 'd' ? '.' : baseOf(path));
    return encodeName(`./${path.slice(this.#operand.path.length).replace(/^\/+/, '')}`);
  }

  async #addAttributes(entry: TarEntry, path: string): Promise<void> {
    const all = await attributesOf(this.#img, path);
    entry.xattrs = all.map(({ name, value }) => ({ name: encodeName(name), value }));
    entry.records = all.flatMap(({ name, value }) => {
      const text = aclText(value);
      const kind = /^system\.posix_acl_(access|default)$/.exec(name)?.[1];
      return kind && text ? [{ key: `SCHILY.acl.${kind}`, value: encodeName(text) }] : [];
    });
  }

  /** Opens the file first: one that cannot be opened is left out whole, with a complaint. */
  async #fileMember(entry: TarEntry, path: string): Promise<TarMember> {
    if (entry.size === 0) return { entry };
    const handle = (await this.#img.promises.open(bytesOf(path), 'r')) as Handle;
    let segments: TarSegment[] | undefined;
    try {
      segments = this.#call.has('no-sparse') ? undefined : await segmentsOf(handle, entry.size);
    } catch (error) {
      await handle.close();
      throw error;
    }
    const whole = [{ pos: 0, len: entry.size }];
    return { entry: { ...entry, segments }, data: this.#data(handle, segments ?? whole, path) };
  }

  /** The bytes of the segments. What cannot be read becomes zeros, as with GNU tar, and the command fails. */
  async *#data(handle: Handle, segments: TarSegment[], path: string): AsyncGenerator<Uint8Array> {
    try {
      for (const { pos, len } of segments) {
        let done = 0;
        try {
          for await (const chunk of readRange(handle, pos, pos + len)) {
            yield chunk;
            done += chunk.length;
          }
        } catch (error) {
          if (isFatal(error)) throw error;
          await this.#operand.complain(`${path} at byte ${pos + done} (zeros instead)`, error);
        }
        yield* zeros(len - done);
      }
    } finally {
      await handle.close();
    }
  }
}

function* zeros(len: number): Generator<Uint8Array> {
  const block = new Uint8Array(Math.min(len, 1 << 16));
  for (let left = len; left > 0; left -= block.length) {
    yield block.subarray(0, Math.min(left, block.length));
  }
}

/** The data of a file with holes; undefined when it has none. */
async function segmentsOf(handle: Seekable, size: number): Promise<TarSegment[] | undefined> {
  const segments: TarSegment[] = [];
  let held = 0;
  for await (const segment of dataSegments(handle, size)) {
    segments.push(segment);
    held += segment.len;
    if (segments.length > MAX_SEGMENTS) throw new Failure('too many holes for an archive');
  }
  return held === size ? undefined : segments;
}
