// Fills a new file system with files that are in memory, through a mount: directories are made as paths need them,
// the order is that of the paths' code units, so that the same tree takes the same inodes and blocks.

import { Ext4Error } from '../errno.ts';
import type { Tree, TreeEntry } from '../mkfs/options.ts';
import type { Ext4 } from './fs.ts';

/** One call on the mount: the name of a method of fs and its arguments. */
type Step = [
  method: 'mkdir' | 'writeFile' | 'symlink' | 'lchown' | 'chmod' | 'lutimes',
  ...unknown[],
];

/** Makes everything in `tree` with the synchronous functions. */
export function populateSync(img: Ext4, tree: Tree): void {
  const fs = img as unknown as Record<string, (...args: unknown[]) => unknown>;
  for (const [method, ...args] of stepsOf(tree)) fs[`${method}Sync`](...args);
}

/** The same on any mount. */
export async function populate(img: Ext4, tree: Tree): Promise<void> {
  const fs = img.promises as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
  for (const [method, ...args] of stepsOf(tree)) await fs[method](...args);
}

/** Checks the tree whole, then gives the calls. EINVAL for a path or an entry that cannot be. */
export function stepsOf(tree: Tree): Step[] {
  const entries = Object.entries(tree)
    .map(([path, entry]): [string, TreeEntry] => [absolute(path), normal(entry, path)])
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const made = new Set(['/']);
  const steps: Step[] = [];
  const late: Step[][] = [];
  for (const [path, entry] of entries) {
    for (const above of parents(path)) if (!made.has(above)) steps.push(makeDirectory(made, above));
    if (entry.directory) {
      if (!made.has(path)) steps.push(makeDirectory(made, path));
      late.unshift(attributes(entry, path));
      continue;
    }
    if (entry.target !== undefined) steps.push(['symlink', entry.target, path]);
    else steps.push(['writeFile', path, entry.data ?? '', { mode: 0o644 }]);
    steps.push(...attributes(entry, path));
  }
  // A directory gets its attributes when nothing more comes into it: the deepest first.
  return [...steps, ...late.flat()];
}

function absolute(path: string): string {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..') || path.includes('\0'))
    throw new Ext4Error('EINVAL', `the path '${path}'`);
  return `/${parts.join('/')}`;
}

function normal(entry: Tree[string], path: string): TreeEntry {
  if (typeof entry === 'string' || entry instanceof Uint8Array) return { data: entry };
  const kinds = [entry.data, entry.target, entry.directory].filter((one) => one !== undefined);
  if (kinds.length > 1) throw new Ext4Error('EINVAL', `'${path}' is several things`);
  return entry;
}

function parents(path: string): string[] {
  const parts = path.split('/').slice(1, -1);
  return parts.map((_, i) => `/${parts.slice(0, i + 1).join('/')}`);
}

function makeDirectory(made: Set<string>, path: string): Step {
  made.add(path);
  return ['mkdir', path, { mode: 0o755 }];
}

/** In the order that lasts: a change of owner takes set-uid bits, every change takes the times. */
function attributes(entry: TreeEntry, path: string): Step[] {
  const { uid, gid, mode, mtime } = entry;
  const steps: Step[] = [];
  if (uid !== undefined || gid !== undefined) steps.push(['lchown', path, uid ?? 0, gid ?? 0]);
  if (mode !== undefined && entry.target === undefined) steps.push(['chmod', path, mode]);
  if (mtime !== undefined) steps.push(['lutimes', path, mtime, mtime]);
  return steps;
}
