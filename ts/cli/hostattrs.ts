// Extended attributes of files on the host. Node has no call for them: getfattr(1) reads them, once for a whole tree.
// Where there is none, or on a system without them, files have none, and `missing` says so.

import { spawnSync } from 'node:child_process';
import { bytesOf } from './tree.ts';
import type { Attribute } from './xattr.ts';

/** What getfattr may say of one tree. */
const MOST = 256 << 20;

/** Whether the host has a program that reads attributes. */
export function readsAttributes(): boolean {
  return spawnSync('getfattr', ['--version'], { stdio: 'ignore' }).status === 0;
}

/** The attributes below a path, by path as it was written. */
export function hostAttributes(path: string): (path: string) => Attribute[] {
  const args = ['-R', '-P', '-h', '-d', '-m', '-', '-e', 'hex', '--absolute-names', '--'];
  // The path as bytes: latin1 keeps them as they are.
  const command = [...args, path];
  const { stdout, error } = spawnSync('getfattr', command, { maxBuffer: MOST });
  const found = error ? new Map<string, Attribute[]>() : parseDump(stdout.toString('latin1'));
  return (at) => found.get(keyOf(at)) ?? [];
}

const keyOf = (path: string): string => bytesOf(path).toString('latin1').replace(/\/+/g, '/');

/** What `getfattr -d -e hex` prints: `# file: NAME`, then `name=0x…` lines, then an empty one. */
export function parseDump(text: string): Map<string, Attribute[]> {
  const found = new Map<string, Attribute[]>();
  for (const part of text.split('\n\n')) {
    const [head, ...lines] = part.replace(/^\n+/, '').split('\n');
    if (!head.startsWith('# file: ')) continue;
    const name = unescaped(head.slice(8)).replace(/\/+/g, '/');
    found.set(name, lines.flatMap(attributeIn));
  }
  return found;
}

function attributeIn(line: string): Attribute[] {
  const match = /^(.+?)(?:=0x([0-9a-f]*))?$/i.exec(line);
  if (!match) return [];
  return [{ name: unescaped(match[1]), value: Buffer.from(match[2] ?? '', 'hex') }];
}

/** getfattr writes odd bytes of names as backslash and three octal digits. */
function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}
