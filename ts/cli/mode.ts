// `ext4 chmod` and `ext4 chown`, of files and with -R of trees.

import type { Ext4 } from '../index.ts';
import type { Call, Command } from './args.ts';
import { UsageError } from './errors.ts';
import { modeOctal } from './format.ts';
import { parseMode } from './modetext.ts';
import { shown } from './names.ts';
import { bytesOf, type Facts, factsOf, walk } from './tree.ts';
import { changeEach, type Operand } from './volume.ts';

const RECURSIVE = { name: 'recursive', short: 'R', help: 'directories with what is in them' };
const VERBOSE = { name: 'verbose', short: 'v', help: 'name what is changed' };
const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;
const S_IFLNK = 0o120000;

export const chmod: Command = {
  usage: 'chmod [-Rv] MODE ADDR…',
  about: `Changes modes. MODE is octal or symbolic: 644, u+rwx,go=rX, a-w, g=u, +t. One that begins
with a minus sign stands behind --. Symbolic links that -R meets are left alone.`,
  options: [RECURSIVE, VERBOSE],
  examples: ['ext4 chmod 600 disk.img:/etc/shadow', 'ext4 chmod -R go-w disk.img:/srv'],
  async run(call) {
    const [text, ...operands] = call.expect(2);
    const change = parseMode(text);
    await changeEach(call, operands, (operand) =>
      eachBelow(call, operand, true, async (path, { mode }) => {
        const kind = mode & S_IFMT;
        if (kind === S_IFLNK) return;
        const bits = change(mode & 0o7777, kind === S_IFDIR);
        await operand.img.promises.chmod(bytesOf(path), bits);
        if (call.has('verbose')) await say(call, operand, path, modeOctal(bits));
      }),
    );
    return undefined;
  },
};

export const chown: Command = {
  usage: 'chown [-Rhv] OWNER[:GROUP] ADDR…',
  about: 'Changes owners and groups, both numbers: 1000, 1000:1000, :1000.',
  options: [
    RECURSIVE,
    { name: 'no-dereference', short: 'h', help: 'a symbolic link itself' },
    VERBOSE,
  ],
  examples: ['ext4 chown 0:0 disk.img:/etc/passwd', 'ext4 chown -R 1000:1000 disk.img:/home/pi'],
  async run(call) {
    const [text, ...operands] = call.expect(2);
    const { uid, gid } = parseOwner(text);
    const follow = !call.has('no-dereference') && !call.has('recursive');
    await changeEach(call, operands, (operand) =>
      eachBelow(call, operand, follow, async (path) => {
        await owning(operand.img, follow)(bytesOf(path), uid, gid);
        if (call.has('verbose')) await say(call, operand, path, text);
      }),
    );
    return undefined;
  },
};

function owning({ promises }: Ext4, follow: boolean) {
  return follow ? promises.chown : promises.lchown;
}

/** OWNER, OWNER:GROUP or :GROUP; what is not named is -1. UsageError. */
function parseOwner(text: string): { uid: number; gid: number } {
  const [, user, group] = /^(\d*)(?::(\d+))?$/.exec(text) ?? [];
  const [uid, gid] = [user || '-1', group ?? '-1'].map(Number);
  const none = uid < 0 && gid < 0;
  if (user === undefined || none || Math.max(uid, gid) > 4294967294)
    throw new UsageError(`'${text}' is no OWNER:GROUP: both are numbers`);
  return { uid, gid };
}

type Change = (path: string, facts: Facts) => Promise<void>;

/** Calls `change` for a file, with -R for all below it; what fails is reported and the others have their turn. */
async function eachBelow(
  call: Call,
  { img, path, complain }: Operand,
  follow: boolean,
  change: Change,
): Promise<void> {
  if (!call.has('recursive')) return change(path, await factsOf(img, path, follow));
  for await (const visit of walk(img, call.io, path, { complain })) {
    if (visit.leave) continue;
    try {
      await change(visit.path, visit.facts);
    } catch (error) {
      await complain(visit.path, error);
    }
  }
}

async function say(call: Call, operand: Operand, path: string, what: string): Promise<void> {
  await call.io.out.line(`'${shown(operand.addressOf(path))}' is now ${what}`);
}
