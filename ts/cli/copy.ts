// `ext4 cp`: out of an image onto the host or to standard output; into an image by insert.ts.

import { statSync } from 'node:fs';
import type { Ext4 } from '../index.ts';
import { isAddress, parseAddress } from './address.ts';
import type { Call, Command } from './args.ts';
import { writeOut } from './cat.ts';
import { Failure, UsageError } from './errors.ts';
import { Extractor } from './extract.ts';
import { copyInto } from './insert.ts';
import { encodeName } from './names.ts';
import { baseOf, factsOf } from './tree.ts';
import { Operand, withVolumes } from './volume.ts';

export const cp: Command = {
  usage: 'cp [-rpav] SOURCE… DESTINATION',
  about: `Copies files out of an image, into one, or from one to another; - is standard input or
output. Each file appears whole or not at all, holes stay holes. Into an image, -p keeps modes,
times, owners, hard links and extended attributes (the host's as getfattr(1) reads them); without
it a file that is replaced keeps its owner, mode and attributes. Out of an image, -p keeps modes,
times (to the microsecond), hard links and, as root, owners: 'ext4 tar' carries the attributes.`,
  options: [
    { name: 'recursive', short: 'r', help: 'directories with what is in them; links as links' },
    { name: 'preserve', short: 'p', help: 'keep modes, times, hard links, owners' },
    { name: 'archive', short: 'a', help: 'as -rp' },
    { name: 'verbose', short: 'v', help: 'name what is copied' },
  ],
  examples: [
    'ext4 cp raspios.img:2:/etc/hostname .',
    'ext4 cp -rp disk.img:/home ./home',
    'ext4 cp disk.img:/var/log/syslog - | less',
    'echo node7 | ext4 cp - raspios.img:2:/etc/hostname',
    'ext4 cp -a ./overlay/. disk.img:/',
  ],
  async run(call) {
    const operands = call.expect(2);
    const sources = operands.slice(0, -1);
    const target = operands[operands.length - 1];
    if (isAddress(target)) {
      await copyInto(call, sources, target);
      return undefined;
    }
    const odd = sources.find((source) => !isAddress(source));
    if (odd !== undefined) throw new UsageError(`neither '${odd}' nor '${target}' is in an image`);
    if (target === '-') {
      await writeOut(call, sources);
      return undefined;
    }
    await withVolumes(call, async (volumes) => {
      const extractors = new Map<Ext4, Extractor>();
      for (const source of sources) {
        try {
          const address = parseAddress(source);
          const { img } = await volumes.volume(address);
          const extractor = extractors.get(img) ?? newExtractor(call, img);
          extractors.set(img, extractor);
          const operand = new Operand(call, img, address);
          await copy(call, extractor, operand, target, sources.length > 1);
        } catch (error) {
          await call.complain(source, error);
        }
      }
      for (const extractor of extractors.values()) await extractor.end();
    });
    return undefined;
  },
};

function newExtractor(call: Call, img: Ext4): Extractor {
  return new Extractor(call, img, {
    preserve: call.has('preserve') || call.has('archive'),
    verbose: call.has('verbose'),
  });
}

async function copy(
  call: Call,
  extractor: Extractor,
  { complain, img, path }: Operand,
  target: string,
  many: boolean,
): Promise<void> {
  const recursive = call.has('recursive') || call.has('archive');
  const facts = await factsOf(img, path, !recursive);
  const directory = (facts.mode & 0o170000) === 0o040000;
  if (directory && !recursive) throw new Failure('is a directory (-r copies it)');
  const into = isDirectory(target);
  if (many && !into) throw new UsageError(`'${target}' must be a directory`);
  if (!into && target.endsWith('/') && !directory) throw new Failure(`'${target}' is no directory`);
  const base = baseOf(path);
  const inside = into && base !== '/' && base !== '.' && base !== '..';
  const to = encodeName(inside ? `${target.replace(/\/+$/, '')}/${base}` : target);
  if (recursive) await extractor.tree(path, to, complain);
  else await extractor.file(path, to, facts);
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}
