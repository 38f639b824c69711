// `ext4 fsck`: e2fsck's verdict on an image, and its exit codes: 0 clean, 1 mended, 4 errors left, 8 cannot run, 16
// usage. Problems are printed as they are found; --json prints them as objects and the result as the last line.

import type { BlockDevice } from '../block/device.ts';
import type { FsckOptions, FsckResult } from '../fsck/check.ts';
import type { Problem } from '../fsck/report.ts';
import { parseAddress } from './address.ts';
import { type Call, type Command, JSON_LINES } from './args.ts';
import { Failure, UsageError } from './errors.ts';
import { grouped } from './format.ts';
import { mountedOn } from './inuse.ts';
import { shown } from './names.ts';
import { withVolumes } from './volume.ts';

/** The exit code of a check that cannot be made. */
const CANNOT_RUN = 8;

export const fsck: Command = {
  usage: 'fsck [-n | -y | -p] [-f] IMAGE[:PARTITION]',
  about: `Checks an ext2, ext3 or ext4 file system, and mends it when told to. Without -f one that
says that it was left clean is not looked at. Nobody may have the image mounted.`,
  options: [
    { name: 'no', short: 'n', help: 'change nothing (this is the default)' },
    { name: 'yes', short: 'y', help: 'mend everything that can be mended' },
    { name: 'preen', short: 'p', help: 'mend what loses nothing, give up at anything else' },
    { name: 'force', short: 'f', help: 'check even when it is marked clean' },
    JSON_LINES,
  ],
  examples: ['ext4 fsck -fn disk.img', 'ext4 fsck -y disk.img:2'],
  async run(call) {
    const [operand] = call.expect(1, 1);
    const repair = repairOf(call);
    await lookForMount(call, parseAddress(operand).image, repair !== false);
    return withVolumes(
      call,
      async (volumes) => {
        const address = parseAddress(operand);
        if (address.path !== undefined) throw new UsageError(`'${operand}' is no image`);
        const disk = await volumes.device(address.image);
        const { findPart, slice } = await import('./parts.ts');
        const offset = call.number('offset');
        const device = offset === undefined ? await findPart(disk, address) : slice(disk, offset);
        return check(call, device, operand, repair);
      },
      repair !== false,
    );
  },
};

/** What the system has mounted is not mended; looking at it may find what is only not written yet. */
async function lookForMount(call: Call, image: string, repair: boolean): Promise<void> {
  const point = mountedOn(image);
  if (point === '') return;
  const text = `'${image}' is mounted on ${point}`;
  if (repair) throw new Failure(`${text}: unmount it first`, CANNOT_RUN);
  await call.note(`${text}: what is found may not be so on disk`);
}

function repairOf(call: Call): boolean | 'preen' {
  const given = ['no', 'yes', 'preen'].filter((name) => call.has(name));
  if (given.length > 1) throw new UsageError('-n, -y and -p exclude each other');
  return call.has('yes') ? true : call.has('preen') ? 'preen' : false;
}

async function check(
  call: Call,
  device: BlockDevice,
  name: string,
  repair: boolean | 'preen',
): Promise<number> {
  const json = call.has('json');
  const { io } = call;
  const lines: string[] = [];
  const meter = new Meter(call);
  const options: FsckOptions = {
    repair,
    force: call.has('force'),
    onProblem: (problem) => lines.push(json ? JSON.stringify(problem) : textOf(problem)),
    progress: (pass, done, total) => meter.show(pass, done, total),
  };
  const api = await import('../api/fsck.ts');
  const run = device.readSync ? api.fsckSync : api.fsck;
  const result = await run(device, options);
  await meter.end();
  for (const line of lines) await io.out.line(line);
  await io.out.line(json ? JSON.stringify(summary(result)) : verdict(name, result));
  return result.exitCode;
}

function textOf({ pass, message, fixed }: Problem): string {
  return `pass ${pass}: ${shown(message)}${fixed ? ' (mended)' : ''}`;
}

function summary({ problems: _, ...rest }: FsckResult): Record<string, unknown> {
  return rest;
}

function verdict(name: string, result: FsckResult): string {
  const { inodes, blocks } = result;
  if (result.exitCode === 8) return `${shown(name)}: cannot be checked: ${shown(result.reason)}`;
  const counts =
    result.skipped === true
      ? 'was left clean, not checked'
      : `${grouped(inodes.used)} of ${grouped(inodes.total)} inodes, ` +
        `${grouped(blocks.used)} of ${grouped(blocks.total)} blocks`;
  const words = { 0: 'clean', 1: 'mended', 4: 'ERRORS ARE LEFT' }[result.exitCode];
  return `${shown(name)}: ${words}, ${counts}`;
}

/** How far a pass is, on a terminal, rewritten in place ten times a second at most. */
class Meter {
  readonly #call: Call;
  #last = 0;
  #visible = false;
  #written: Promise<void> = Promise.resolve();

  constructor(call: Call) {
    this.#call = call;
    this.#last = performance.now() + 400;
  }

  show(pass: number, done: number, total: number): void {
    const { err } = this.#call.io;
    const now = performance.now();
    if (!err.isTTY || now - this.#last < 100) return;
    this.#last = now;
    this.#visible = true;
    const share = total > 0 ? Math.floor((done / total) * 100) : 100;
    this.#written = this.#written
      .then(() => err.text(`\r\x1b[Kpass ${pass} of 5: ${share} %`))
      .then(() => err.flush());
  }

  async end(): Promise<void> {
    await this.#written;
    if (!this.#visible) return;
    await this.#call.io.err.text('\r\x1b[K');
    await this.#call.io.err.flush();
  }
}
