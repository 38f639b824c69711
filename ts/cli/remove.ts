// `ext4 rm`: names go one after the other, so that an interrupt leaves what was not reached yet.

import type { Ext4 } from '../index.ts';
import type { Call, Command } from './args.ts';
import { Failure } from './errors.ts';
import { shown } from './names.ts';
import { bytesOf, factsOf, type Visit, walk } from './tree.ts';
import { changeEach, type Operand } from './volume.ts';

export const rm: Command = {
  usage: 'rm [-rfdv] ADDR…',
  about: 'Removes files, with -r directories and all that is in them. It never asks.',
  options: [
    { name: 'recursive', short: 'r', help: 'directories with what is in them' },
    { name: 'force', short: 'f', help: 'what is not there is no error' },
    { name: 'dir', short: 'd', help: 'empty directories' },
    { name: 'verbose', short: 'v', help: 'name what is removed' },
  ],
  examples: ['ext4 rm disk.img:/var/log/old.log', 'ext4 rm -rf disk.img:/var/cache/apt'],
  async run(call) {
    await changeEach(call, call.expect(1), (operand) => remove(call, operand));
    return undefined;
  },
};

async function remove(call: Call, operand: Operand): Promise<void> {
  const { img, path } = operand;
  try {
    checkName(path);
    const { mode } = await factsOf(img, path);
    const directory = (mode & 0o170000) === 0o040000;
    if (directory && call.has('recursive')) return await removeTree(call, operand);
    if (directory && !call.has('dir')) throw new Failure('is a directory (rm -r removes it)');
    await removeOne(call, operand, path, directory);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (!call.has('force') || (code !== 'ENOENT' && code !== 'ENOTDIR')) throw error;
  }
}

/** The root stays, and what "." and ".." name is not removed by these names. */
function checkName(path: string): void {
  const last = path.replace(/\/+$/, '').split('/').pop() ?? '';
  if (last === '') throw new Failure('the root directory cannot be removed');
  if (last === '.' || last === '..') throw new Failure(`'${last}' cannot be removed`);
}

/** Directories are removed on the way back. One that something stayed in stays, too, and what stayed has been told. */
async function removeTree(call: Call, operand: Operand): Promise<void> {
  const kept = new Set<string>();
  const keep = async (path: string, error: unknown) => {
    for (let up = path; up.length >= operand.path.length; up = up.slice(0, up.lastIndexOf('/')))
      kept.add(up);
    await operand.complain(path, error);
  };
  for await (const visit of walk(operand.img, call.io, operand.path, { complain: keep })) {
    if (visit.type === 'd' && !visit.leave) continue;
    await removeVisited(call, operand, visit, kept).catch((error) => keep(visit.path, error));
  }
}

async function removeVisited(
  call: Call,
  operand: Operand,
  visit: Visit,
  kept: Set<string>,
): Promise<void> {
  if (!kept.has(visit.path)) await removeOne(call, operand, visit.path, visit.type === 'd');
}

async function removeOne(call: Call, operand: Operand, path: string, dir: boolean): Promise<void> {
  const { promises }: Ext4 = operand.img;
  await (dir ? promises.rmdir : promises.unlink)(bytesOf(path));
  if (call.has('verbose')) await call.io.out.line(`removed '${shown(operand.addressOf(path))}'`);
}
