// From an address to a mounted file system: opens the image read-only, finds the partition, mounts with the journal
// replayed in memory. Commands whose job is to write open it for writing: the journal is replayed into it first, and
// it is unmounted cleanly whatever happens. Files and disks are mounted synchronously, URLs asynchronously; commands
// use the promise forms, which serve both. One mount per image and partition, however many operands name it.

import type { BlockDevice } from '../block/device.ts';
import type { Ext4, MountOptions } from '../index.ts';
import { type Address, childAddress, isUrl, parseAddress } from './address.ts';
import { type Call, isFatal } from './args.ts';
import { BAD_IMAGE, Failure, UsageError } from './errors.ts';

/** The cache of a command; a library user's default is larger. */
const CACHE_BYTES = 32 << 20;

export interface Volume {
  img: Ext4;
  /** Where the file system lies: the partition, not the disk. */
  device: BlockDevice;
  /** How the volume was written, without the path. */
  name: string;
}

/** Every image a command has open, by name. */
export class Volumes {
  readonly #call: Call;
  readonly #write: boolean;
  readonly #open = new Map<string, Volume>();
  readonly #devices = new Map<string, BlockDevice>();

  /** `write`: the images are opened and mounted for writing. */
  constructor(call: Call, write = false) {
    this.#call = call;
    this.#write = write;
  }

  /** The file system that an address lies in. Throws Failure when it is none, with exit code 3. */
  async volume(address: Address): Promise<Volume> {
    const name = nameOf(address);
    const known = this.#open.get(name);
    if (known) return known;
    const volume = await this.mounted(address, {});
    this.#open.set(name, volume);
    return volume;
  }

  /** The same file system mounted afresh, with an empty cache. */
  async again(address: Address): Promise<Volume> {
    return this.mounted(address, {});
  }

  /** The file system of an address mounted apart from others, with options of one's own. */
  async mounted(address: Address, options: MountOptions): Promise<Volume> {
    const device = await this.#part(await this.device(address.image), address);
    const volume = { img: await this.#mount(device, options), device, name: nameOf(address) };
    this.#open.set(`${volume.name} ${this.#open.size}`, volume);
    return volume;
  }

  /** The whole image. */
  async device(image: string): Promise<BlockDevice> {
    const known = this.#devices.get(image);
    if (known) return known;
    const device = await openDevice(image, this.#call.io.signal, this.#write);
    this.#devices.set(image, device);
    return device;
  }

  async close(): Promise<void> {
    for (const { img } of this.#open.values()) await img.unmount();
    for (const device of this.#devices.values()) await device.close();
    this.#open.clear();
    this.#devices.clear();
  }

  async #part(disk: BlockDevice, address: Address): Promise<BlockDevice> {
    const offset = this.#call.number('offset');
    const { findPart, slice } = await import('./parts.ts');
    if (offset === undefined) return findPart(disk, address);
    if (address.partition) throw new UsageError('--offset and a partition exclude each other');
    return slice(disk, offset);
  }

  async #mount(device: BlockDevice, own: MountOptions): Promise<Ext4> {
    const options = { ...(await this.#options()), ...own };
    // Not all of the library: a module takes a millisecond to load.
    const { mount, mountSync } = await import('../api/mount.ts');
    try {
      const img = device.readSync ? mountSync(device, options) : await mount(device, options);
      return this.#write ? await writable(img) : img;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error;
      throw new Failure(`not an ext2, ext3 or ext4 file system (${tail(error)})`, BAD_IMAGE);
    }
  }

  async #options(): Promise<MountOptions> {
    const text = this.#call.value('options');
    const given = text === undefined ? {} : await parseOptions(text);
    if (!this.#write) return { journal: 'memory', cacheBytes: CACHE_BYTES, ...given, ro: true };
    if (given.ro || given.noload || given.journal === 'memory')
      throw new UsageError(`-o ${text}: '${this.#call.name}' writes`);
    return { journal: 'replay', cacheBytes: CACHE_BYTES, ...given };
  }
}

/** An image and its partition, as they were written. */
function nameOf({ image, partition }: Address): string {
  return partition ? `${image}:${partition}` : image;
}

async function parseOptions(text: string): Promise<MountOptions> {
  const { parseMountOptions } = await import('../api/options.ts');
  try {
    return parseMountOptions(text);
  } catch (error) {
    throw new UsageError(`-o ${text}: ${tail(error)}`);
  }
}

/** The part of an error's message in brackets, or all of it without the code. */
function tail(error: unknown): string {
  const text = (error as Error).message.replace(/^E[A-Z]+: /, '').replace(/, \w+$/, '');
  return /\((.*)\)/.exec(text)?.[1] ?? text;
}

/** The mount, which must be one that writes; else why it is not. */
async function writable(img: Ext4): Promise<Ext4> {
  const { readOnly, reason } = img.info();
  if (!readOnly) return img;
  await img.unmount();
  throw new Failure(`the file system cannot be written (${reason || 'read-only'})`, BAD_IMAGE);
}

async function openDevice(
  image: string,
  signal: AbortSignal,
  write: boolean,
): Promise<BlockDevice> {
  if (isUrl(image)) {
    if (write) throw new Failure('an image on a web server cannot be written');
    const { httpDevice } = await import('../block/http.ts');
    return httpDevice(image, { signal });
  }
  const { openFile } = await import('../block/node.ts');
  return openFile(image, { readOnly: !write });
}

/** What an operand names, with the means to speak of what lies below it. */
export class Operand {
  readonly img: Ext4;
  readonly path: string;
  /** As it was written. */
  readonly text: string;
  readonly #call: Call;

  constructor(call: Call, img: Ext4, { path, text }: Address) {
    this.#call = call;
    this.img = img;
    this.path = path ?? '/';
    this.text = text;
  }

  /** The address of a path in the image, written as the operand was. */
  addressOf(path: string): string {
    return path === this.path ? this.text : childAddress(this.text, this.path, path);
  }

  /** Says that a path could not be read; for walks. */
  readonly complain = (path: string, error: unknown): Promise<void> =>
    this.#call.complain(this.addressOf(path), error);
}

/** Calls `fn` for the file that each operand names; what fails is reported and the others still have their turn. */
export function eachFile(
  call: Call,
  operands: string[],
  fn: (operand: Operand) => Promise<void>,
): Promise<void> {
  return forEach(call, operands, fn, false);
}

/** The same on images that are opened for writing. */
export function changeEach(
  call: Call,
  operands: string[],
  fn: (operand: Operand) => Promise<void>,
): Promise<void> {
  return forEach(call, operands, fn, true);
}

async function forEach(
  call: Call,
  operands: string[],
  fn: (operand: Operand) => Promise<void>,
  write: boolean,
): Promise<void> {
  const each = async (volumes: Volumes) => {
    for (const operand of operands) {
      await call.io.breathe();
      try {
        const address = parseAddress(operand);
        if (write && address.path === undefined)
          throw new UsageError(`'${operand}' is no address IMAGE:/path`);
        const { img } = await volumes.volume(address);
        await fn(new Operand(call, img, address));
      } catch (error) {
        await call.complain(operand, error);
      }
    }
  };
  await withVolumes(call, each, write);
}

/** Calls `fn` with a set of volumes and closes them whatever happens. */
export async function withVolumes<T>(
  call: Call,
  fn: (volumes: Volumes) => Promise<T>,
  write = false,
): Promise<T> {
  const volumes = new Volumes(call, write);
  let failed = true;
  try {
    const result = await fn(volumes);
    failed = false;
    return result;
  } finally {
    // A clean-up that fails says something only when nothing else did.
    await volumes.close().catch((error) => {
      if (!failed && !isFatal(error)) throw error;
    });
  }
}
