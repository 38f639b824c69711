// Every path of an image that can be read, with what is read: for comparisons before and after a repair.

import { createHash } from 'node:crypto';
import { memoryDevice } from '../../ts/block/memory.ts';
import { type Ext4, mountSync } from '../../ts/index.ts';

const LIMIT = 2000;

/** Path to type and hash; empty when the image cannot be mounted. lost+found is left out. */
export function readable(bytes: Uint8Array): Map<string, string> {
  const found = new Map<string, string>();
  const device = memoryDevice(bytes.slice(), { sparse: true, readOnly: true });
  let img: Ext4;
  try {
    img = mountSync(device, { ro: true, noload: true });
  } catch {
    return found;
  }
  const seen = new Set<number>();
  const visit = (path: string): void => {
    if (found.size > LIMIT) return;
    try {
      const stat = img.lstatSync(path);
      if (stat.isDirectory()) {
        if (seen.has(Number(stat.ino))) return;
        seen.add(Number(stat.ino));
        const names = img.readdirSync(path) as string[];
        found.set(path, 'directory');
        for (const name of names)
          if (name !== 'lost+found') visit(path === '/' ? `/${name}` : `${path}/${name}`);
      } else if (stat.isSymbolicLink()) found.set(path, `link ${img.readlinkSync(path)}`);
      else if (stat.isFile() && stat.size < 4 << 20) {
        const content = img.readFileSync(path) as Uint8Array;
        found.set(path, createHash('sha1').update(content).digest('hex'));
      }
    } catch {
      // what cannot be read is not in the list
    }
  };
  visit('/');
  img.unmountSync();
  return found;
}
