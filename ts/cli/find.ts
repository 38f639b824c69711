// `ext4 find`: the tests and actions of find(1) that people use, with its precedence: `!` before and before -o.
// The expression is parsed once, then called for each file.

import type { Ext4 } from '../index.ts';
import { type Call, type Command, JSON_LINES } from './args.ts';
import { UsageError } from './errors.ts';
import { type Deed, parseExpression } from './findexpr.ts';
import { jsonOf } from './json.ts';
import { shown } from './names.ts';
import { linkOf, type Visit, walk } from './tree.ts';
import { eachFile, type Operand } from './volume.ts';

export const find: Command = {
  usage: 'find [OPTION…] ADDR… [EXPRESSION]',
  about: `Searches trees. What is printed are addresses, for other commands to take.

Expression
  -name GLOB  -iname GLOB  -path GLOB  -type f|d|l|c|b|p|s  -perm [-/]MODE  -empty
  -size [+-]N[cwbkMG]  -mtime [+-]DAYS  -mmin [+-]MINUTES  -atime  -ctime  -newermt DATE
  -uid N  -gid N  -inum N  -links [+-]N  -maxdepth N  -mindepth N  -prune
  ! E, -not E   E E, E -a E   E -o E   ( E )   -print  -print0  -quit`,
  ownSyntax: true,
  options: [JSON_LINES],
  examples: [
    "ext4 find disk.img:/etc -name '*.conf' -size +4k",
    'ext4 find disk.img:/home -type f -mtime -7 -print0 | xargs -0 ext4 cat',
  ],
  async run(call) {
    const cut = call.operands.findIndex((word) => /^(-.|!$|\($)/.test(word));
    const roots = cut < 0 ? call.operands : call.operands.slice(0, cut);
    const plan = parseExpression(cut < 0 ? [] : call.operands.slice(cut));
    if (roots.length === 0) throw new UsageError('an address is missing');
    let quit = false;
    await eachFile(call, roots, async (operand) => {
      if (!quit) quit = await search(call, operand, plan);
    });
    return undefined;
  },
};

type Plan = ReturnType<typeof parseExpression>;

/** Searches one tree; true when -quit was met. */
async function search(call: Call, operand: Operand, plan: Plan): Promise<boolean> {
  const { complain, img, path } = operand;
  for await (const visit of walk(img, call.io, path, { maxDepth: plan.maxDepth, complain })) {
    if (visit.leave || visit.depth < plan.minDepth) continue;
    const deeds: Deed[] = [];
    plan.test(visit, deeds);
    for (const deed of deeds) {
      if (deed === 'prune') visit.skip = true;
      else if (deed === 'quit') return true;
      else await print(call, img, operand.addressOf(visit.path), visit, deed);
    }
  }
  return false;
}

async function print(call: Call, img: Ext4, name: string, visit: Visit, deed: Deed): Promise<void> {
  const { out } = call.io;
  if (call.has('json')) {
    const target = visit.type === 'l' ? await linkOf(img, visit.path) : undefined;
    await out.line(JSON.stringify(jsonOf({ ...visit, target })));
    return;
  }
  if (deed === 'print0') await out.text(`${name}\0`);
  else await out.line(out.isTTY ? shown(name) : name);
}
