// debugfs on an image in memory: the bytes go to a temporary file and come back.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { which } from '../need.ts';

/** Calls `fn` with the path of a file that holds `bytes`, and gives what the file holds afterwards. */
export function onFile(bytes: Uint8Array, fn: (path: string, dir: string) => void): Uint8Array {
  const dir = mkdtempSync(join(tmpdir(), 'jbd2-'));
  const path = join(dir, 'image');
  writeFileSync(path, bytes);
  fn(path, dir);
  const after = new Uint8Array(readFileSync(path));
  rmSync(dir, { recursive: true });
  return after;
}

/** The image after debugfs has replayed its journal. */
export function debugfsReplay(bytes: Uint8Array): Uint8Array {
  return onFile(bytes, (path) => {
    execFileSync(which('debugfs'), ['-w', '-R', 'jr', path], { stdio: 'pipe' });
  });
}

export interface LogWrite {
  /** Options of debugfs's journal_open. */
  readonly open: string;
  /** Features of the file system. */
  readonly features: string;
  /** journal_write commands; `{data}` stands for a file that holds `data`. */
  readonly writes: readonly string[];
  readonly data: Uint8Array;
}

/** A file system of 8 MiB, 1 KiB blocks, with a log that debugfs has written. */
export function debugfsLog(o: LogWrite): Uint8Array {
  return onFile(new Uint8Array(8 << 20), (path, dir) => {
    const [data, commands] = [join(dir, 'data'), join(dir, 'commands')];
    writeFileSync(data, o.data);
    const jw = o.writes.map((w) => `jw ${w.replace('{data}', data)}\n`).join('');
    writeFileSync(commands, `jo ${o.open}\n${jw}jc\n`);
    const options = ['-q', '-t', 'ext4', '-b', '1024', '-J', 'size=1', '-O', o.features, path];
    execFileSync(which('mke2fs'), options, { stdio: 'pipe' });
    execFileSync(which('debugfs'), ['-w', '-f', commands, path], { stdio: 'pipe' });
  });
}
