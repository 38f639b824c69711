// `ext4 start`, which `npm start` runs: a tour of what the library does, on the embedded image or the user's: mount,
// look, extract everything, verify, measure. The image is opened read-only; what is extracted is removed at the end.

import { createHash } from 'node:crypto';
import {
  createReadStream,
  existsSync,
  mkdtempSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { coreOf } from '../api/fs.ts';
import type { Ext4 } from '../index.ts';
import { type Address, parseAddress } from './address.ts';
import type { Call, Command } from './args.ts';
import { Drawing } from './draw.ts';
import { explain } from './errors.ts';
import { Extractor } from './extract.ts';
import { binarySize, grouped, paint } from './format.ts';
import { volumeRows } from './info.ts';
import { measure, type Speeds } from './measure.ts';
import { encodeName, shown } from './names.ts';
import { bytesOf, walk } from './tree.ts';
import { compareWith, hashOf } from './verify.ts';
import { type Volumes, withVolumes } from './volume.ts';

export const start: Command = {
  usage: 'start [--keep] [IMAGE[:PARTITION]]',
  about: `Takes a tour of an image: mounts it, shows it, extracts it to a temporary directory,
verifies what was read, measures the speed. Without an image: of a small one that is part
of the program, whose every file is compared with what the Linux kernel read. No image is
written to.`,
  options: [{ name: 'keep', help: 'leave the extracted files where they are' }],
  examples: ['ext4 start', 'ext4 start raspios.img:2'],
  async run(call) {
    const [image] = call.expect(0, 1);
    const work = mkdtempSync(join(tmpdir(), 'ext4-tour-'));
    try {
      await withVolumes(call, (volumes) => new Tour(call, volumes, work).take(image));
    } finally {
      if (!call.has('keep')) rmSync(work, { recursive: true, force: true });
    }
    return undefined;
  },
};

/** A user's image is extracted up to here. */
const LIMIT = 1 << 30;

interface Largest {
  path: string;
  size: number;
}

class Tour {
  readonly #call: Call;
  readonly #volumes: Volumes;
  readonly #work: string;
  #step = 0;

  constructor(call: Call, volumes: Volumes, work: string) {
    this.#call = call;
    this.#volumes = volumes;
    this.#work = work;
  }

  async take(image: string | undefined): Promise<void> {
    if (image === undefined) await this.#journey();
    const address = image === undefined ? await this.#embedded() : parseAddress(image);
    await import('../index.ts'); // loading is not mounting
    const began = performance.now();
    const { img, device, name } = await this.#volumes.volume(address);
    const took = performance.now() - began;
    const manner = coreOf(img).sync ? 'synchronously' : 'asynchronously';
    await this.#heading(`Mounted in ${took.toFixed(1)} ms`, `${manner}, read-only`);
    await this.#facts(img, image === undefined ? 'the embedded image' : name, device.size);
    await this.#tree(img);
    const largest = await this.#largest(img);
    await this.#extract(img, image !== undefined);
    if (image === undefined) await this.#compare(img);
    else await this.#readBack(img);
    await this.#metadata(img);
    await img.unmount();
    await this.#speeds(address, largest);
    if (this.#call.has('keep')) await this.#line(`The files are in ${this.#work}`);
  }

  async #journey(): Promise<void> {
    const { journey } = await import('./journey.ts');
    await journey({
      heading: (title, remark) => this.#heading(title, remark),
      line: (text) => this.#line(text),
      check: (good, text) => this.#check(good, text),
    });
  }

  /** The embedded image as a file: what follows is the same for both. */
  async #embedded(): Promise<Address> {
    const { embeddedImage } = await import('./image.ts');
    const path = join(this.#work, 'small-world.img');
    writeFileSync(path, embeddedImage());
    return { text: path, image: path };
  }

  async #heading(title: string, remark = ''): Promise<void> {
    const { colour, out } = this.#call.io;
    this.#step++;
    const number = paint(colour, '1;34', `${this.#step}.`);
    const gap = this.#step === 1 ? '' : '\n';
    const after = remark ? `  ${paint(colour, '2', remark)}` : '';
    await out.line(`${gap}${number} ${paint(colour, '1', title)}${after}`);
    await out.flush();
  }

  async #line(text: string): Promise<void> {
    await this.#call.io.out.line(`   ${text}`);
    await this.#call.io.out.flush();
  }

  async #check(good: boolean, text: string): Promise<void> {
    const { colour } = this.#call.io;
    const mark = good ? paint(colour, '32', '✓') : paint(colour, '31', '✗');
    if (!good) this.#call.exit = Math.max(this.#call.exit, 1);
    await this.#line(`${mark} ${text}`);
  }

  async #facts(img: Ext4, name: string, size: number): Promise<void> {
    const { colour } = this.#call.io;
    const rows: [string, string][] = [['Image', `${shown(name)}, ${binarySize(size)}`]];
    const wanted = ['File system', 'Label', 'Size', 'Inodes', 'Journal', 'Features', ''];
    rows.push(...volumeRows(img).filter(([label]) => wanted.includes(label)));
    for (const [label, value] of rows) {
      await this.#line(`${paint(colour, '2', label.padEnd(12))} ${value}`);
    }
  }

  async #tree(img: Ext4): Promise<void> {
    await this.#heading('The tree', 'ext4 tree IMAGE:/');
    await new Drawing(this.#call, img, {
      depth: 3,
      names: [20, 8, 4],
      indent: '   ',
      complain: (path, error) => this.#call.complain(path, error),
    }).draw('/', '/');
  }

  async #largest(img: Ext4): Promise<Largest> {
    let largest: Largest = { path: '', size: 0 };
    const complain = (path: string, error: unknown) => this.#call.complain(path, error);
    for await (const { facts, leave, path, type } of walk(img, this.#call.io, '/', { complain })) {
      const size = Math.min(facts.size, facts.blocks * 512);
      if (!leave && type === '-' && size > largest.size) largest = { path, size };
    }
    return largest;
  }

  async #extract(img: Ext4, limited: boolean): Promise<void> {
    const { bavail, bsize } = statfsSync(this.#work);
    const limit = limited ? Math.min(LIMIT, Math.floor((bavail * bsize) / 2)) : undefined;
    const before = performance.now();
    const extractor = new Extractor(this.#call, img, { preserve: true, limit, special: false });
    const complain = (path: string, error: unknown) => this.#call.complain(path, error);
    await extractor.tree('/', encodeName(this.#extracted()), complain);
    const seconds = (performance.now() - before) / 1000;
    await extractor.progress.end();
    await this.#heading('Extracted', `ext4 cp -rp IMAGE:/ ${shown(this.#extracted())}`);
    const { bytes, directories, files, left, links, skipped } = extractor;
    const each = grouped(Math.round(files / seconds));
    const rate = `${binarySize(bytes / seconds)}/s, ${each} files/s`;
    const others = `${grouped(directories)} directories, ${grouped(links)} links`;
    const counts = `${grouped(files)} files, ${others}`;
    await this.#line(`${counts}: ${binarySize(bytes)} in ${seconds.toFixed(2)} s (${rate})`);
    if (skipped > 0) {
      await this.#line(
        `${grouped(skipped)} devices, fifos and sockets left out (ext4 tar has them)`,
      );
    }
    if (left > 0) {
      await this.#line(
        `${grouped(left)} files not extracted: the tour stops at ${binarySize(limit ?? 0)}`,
      );
    }
  }

  #extracted(): string {
    return join(this.#work, 'files');
  }

  /** Where a file of the image lies now, in bytes as its name is. */
  #hostPath(path: string): Buffer {
    return bytesOf(this.#extracted() + path);
  }

  /** Every file of the embedded image against the kernel's list, and what was extracted against it too. */
  async #compare(img: Ext4): Promise<void> {
    await this.#heading('Verified', 'against what the Linux kernel read');
    const { embeddedManifest } = await import('./image.ts');
    const manifest = embeddedManifest();
    const { bytes, differences, files } = await compareWith(this.#call, img, manifest);
    const what = 'names, types, modes, owners, links, sizes, times, xattrs';
    const sums = `sha256 of ${binarySize(bytes)}`;
    await this.#check(differences.length === 0, `${grouped(files)} files: ${what}; ${sums}`);
    for (const line of differences.slice(0, 5)) await this.#line(`  ${shown(line)}`);
    const wrong = await this.#wrongOnHost(hashesIn(manifest));
    await this.#check(wrong.length === 0, 'the extracted files have the same sha256');
    for (const path of wrong.slice(0, 5)) await this.#line(`  ${shown(path)} differs`);
  }

  async #wrongOnHost(hashes: Map<string, string>): Promise<string[]> {
    const wrong: string[] = [];
    for (const [path, hash] of hashes) {
      await this.#call.io.breathe();
      const found = await hostHash(this.#hostPath(path)).catch(() => '');
      if (found !== hash) wrong.push(path);
    }
    return wrong;
  }

  /** A user's image: each extracted file on the host against a second reading of the image. */
  async #readBack(img: Ext4): Promise<void> {
    await this.#heading('Verified', 'extracted files against a second reading');
    const hashes = new Map<string, string>();
    const complain = (path: string, error: unknown) => this.#call.complain(path, error);
    for await (const { facts, leave, path, type } of walk(img, this.#call.io, '/', { complain })) {
      if (leave || type !== '-' || !existsSync(this.#hostPath(path))) continue;
      try {
        hashes.set(path, await hashOf(img, path, facts.size));
      } catch (error) {
        await complain(path, error);
      }
    }
    const wrong = await this.#wrongOnHost(hashes);
    await this.#check(wrong.length === 0, `${grouped(hashes.size)} files have the same sha256`);
    for (const path of wrong.slice(0, 5)) await this.#line(`  ${shown(path)} differs`);
  }

  /** All group descriptors; inodes, directories and extents were read, and so checked, on the way. */
  async #metadata(img: Ext4): Promise<void> {
    const all = img.info();
    const core = coreOf(img);
    let error: unknown;
    try {
      for (let group = 0; group < all.groups; group++) {
        await this.#call.io.breathe();
        await core.run(core.dumpGroup(group));
      }
    } catch (thrown) {
      error = thrown;
    }
    const summed = all.features.roCompat.includes('metadata_csum');
    const what = summed
      ? 'checksums of the metadata'
      : 'metadata bounds (this image has no checksums)';
    const why = error === undefined ? '' : `: ${explain(error).why}`;
    const scope = `${plural(all.groups, 'group descriptor')} and all that led to the files`;
    await this.#check(error === undefined, `${what}: ${scope}${why}`);
  }

  async #speeds(address: Address, { path, size }: Largest): Promise<void> {
    await this.#heading('Speed', `${shown(path)}, ${binarySize(size)}`);
    const fresh = async () => (await this.#volumes.again(address)).img;
    const first = await fresh();
    if (!coreOf(first).sync) return this.#line('not measured: the network would be');
    if (size < 1 << 16) return this.#line('not measured: no file is large enough');
    const host = this.#hostPath(path);
    for (const line of speedLines(
      await measure(fresh, path, size, existsSync(host) ? host : undefined),
    )) {
      await this.#line(line);
    }
  }
}

function speedLines(speeds: Speeds): string[] {
  const beside = (value: number | undefined, text: (value: number) => string) =>
    value === undefined ? '' : `(node:fs on the extracted file: ${text(value)})`;
  const rate = (value: number) => `${binarySize(value)}/s`;
  const time = (value: number) => `${(value / 1000).toFixed(2)} µs`;
  const line = (label: string, value: string, other: string) =>
    `${label.padEnd(25)} ${value.padEnd(12)} ${other}`.trimEnd();
  const cold = beside(speeds.hostSequential, rate);
  const lines = [line('sequential, cache empty', rate(speeds.cold), cold)];
  if (speeds.cached === undefined || speeds.view === undefined) return lines;
  const cached = beside(speeds.hostRandom, time);
  lines.push(line('4 KiB at random, cached', time(speeds.cached), cached));
  lines.push(line('4 KiB zero-copy view', time(speeds.view), ''));
  return lines;
}

const plural = (count: number, word: string): string =>
  `${grouped(count)} ${word}${count === 1 ? '' : 's'}`;

function hashesIn(manifest: string): Map<string, string> {
  const rows = manifest.split('\n').map((line) => line.split('\t'));
  const regular = rows.filter(([, mode]) => mode?.startsWith('100'));
  return new Map(regular.map((row) => [row[0], row[6]]));
}

async function hostHash(path: Buffer): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest('hex');
}
