// `ext4 cat`: the bytes of files, in order, exactly.

import type { Ext4 } from '../index.ts';
import type { Call, Command } from './args.ts';
import { Failure } from './errors.ts';
import { Progress } from './progress.ts';
import { bytesOf, readRange } from './tree.ts';
import { eachFile } from './volume.ts';

export const cat: Command = {
  usage: 'cat ADDR…',
  about: 'Writes files to standard output, one after the other.',
  options: [],
  examples: ['ext4 cat raspios.img:2:/etc/os-release'],
  async run(call) {
    await writeOut(call, call.expect(1));
    return undefined;
  },
};

/** Writes the files that the addresses name to standard output. */
export function writeOut(call: Call, addresses: string[]): Promise<void> {
  return eachFile(call, addresses, ({ img, path }) => writeFile(call, img, path));
}

async function writeFile(call: Call, img: Ext4, path: string): Promise<void> {
  const { io } = call;
  const handle = await img.promises.open(bytesOf(path), 'r');
  try {
    const facts = await handle.stat();
    if (facts.isDirectory()) throw new Failure('is a directory');
    const size = Number(facts.size);
    const progress = new Progress(io, size);
    for await (const chunk of readRange(handle, 0, size)) {
      await io.out.bytes(chunk);
      if (!io.out.isTTY) await progress.add(chunk.length, path);
      await io.breathe();
    }
    await progress.end();
  } finally {
    await handle.close();
  }
}
