// Goal: the dump of a journal says what debugfs's logdump says. Method: both on every crash image, reduced to the same
// lines: blocks of the log with type and transaction, tags with home block and flags, revoked blocks, fast-commit tags.
// Two of the images have fast commits of an older transaction behind the others, which must not appear.

import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import type { DumpRecord } from '../../ts/jbd2/dump.ts';
import { dumpJournal } from '../../ts/jbd2/dump.ts';
import { need, which } from '../need.ts';
import { onFile } from './debugfs.ts';
import { imageBytes, openImage, run, sourceOf, vectors } from './image.ts';

function logdump(bytes: Uint8Array): string[] {
  let out = '';
  onFile(bytes, (path) => {
    const o = { encoding: 'utf8', stdio: 'pipe' } as const;
    out = execFileSync(which('debugfs'), ['-R', 'logdump -aS', path], o);
  });
  return closed(out.split('\n').flatMap(theirs));
}

// logdump prints signed block numbers, and a stray control character behind names.
const DENTRY = String.raw`parent (\d+), ino (\d+), name "([^\x01-\x1f]*)[\x01-\x1f]?"`;

const PATTERNS: [RegExp, string][] = [
  [/^Found expected sequence (\d+), type (\d) \(.*\) at block (\d+)/, ''],
  [/^ {2}FS block (\d+) logged at journal block (\d+) \(flags 0x([0-9a-f]+)\)/, 'tag'],
  [/^ {2}Revoke FS block (\d+)/, 'revoke'],
  [/^tag INODE, inode (\d+)/, 'inode'],
  [/^tag ADD_RANGE, inode (\d+), lblk (-?\d+), pblk (\d+), len (\d+)/, 'addRange'],
  [/^tag DEL_RANGE, inode (\d+), lblk (-?\d+), len (\d+)/, 'delRange'],
  [new RegExp(`^tag CREAT_DENTRY, ${DENTRY}`), 'create'],
  [new RegExp(`^tag ADD_ENTRY, ${DENTRY}`), 'link'],
  [new RegExp(`^tag DEL_ENTRY, ${DENTRY}`), 'unlink'],
  [/^tag TAIL, tid (\d+)/, 'TAIL'],
];

function theirs(line: string): string[] {
  for (const [pattern, op] of PATTERNS) {
    const m = pattern.exec(line);
    if (m) return [[op, ...m.slice(1)].join(' ').trim()];
  }
  return [];
}

/** logdump checks no fast commit; those count that a TAIL of the transaction after the last commit closes. */
function closed(lines: string[]): string[] {
  const commits = lines.filter((l) => /^\d+ 2 /.test(l));
  const tail = `TAIL ${Number(commits.at(-1)?.split(' ')[0]) + 1}`;
  const stale = lines.findIndex((l) => l.startsWith('TAIL') && l !== tail);
  const valid = stale < 0 ? lines : lines.slice(0, stale);
  const log = lines.findLastIndex((l) => /^\d+ \d /.test(l));
  const end = Math.max(valid.lastIndexOf(tail), log + 1);
  return valid.slice(0, end).filter((l) => l !== tail);
}

function ours(r: DumpRecord): string[] {
  if (r.kind === 'commit') return [`${r.tid} 2 ${r.jblk}`];
  if (r.kind === 'revoke') return [`${r.tid} 5 ${r.jblk}`, ...r.blocks.map((b) => `revoke ${b}`)];
  if (r.kind === 'descriptor') {
    const tags = r.tags.map((t) => `tag ${t.t_blocknr} ${t.jblk} ${t.t_flags.toString(16)}`);
    return [`${r.tid} 1 ${r.jblk}`, ...tags];
  }
  return r.kind === 'fastCommit' ? [fast(r.record)] : [];
}

function fast(r: Extract<DumpRecord, { kind: 'fastCommit' }>['record']): string {
  if (r.op === 'inode') return `inode ${r.ino}`;
  if (r.op === 'delRange') return `delRange ${r.ino} ${r.lblk | 0} ${r.len}`;
  if (r.op === 'addRange') {
    return `addRange ${r.ino} ${r.range.lblk} ${r.range.pblk} ${r.range.len}`;
  }
  return `${r.op} ${r.parent} ${r.ino} ${Buffer.from(r.name)}`;
}

need.describe('dump of a journal', [need.oracles(), need.tool('debugfs')], () => {
  for (const { name } of vectors('crash')) {
    test(`${name} reads as logdump reads it`, () => {
      const bytes = imageBytes('crash', name);
      const lines: string[] = [];
      const kinds = new Set<string>();
      run(
        dumpJournal(sourceOf(openImage(bytes)), (record) => {
          kinds.add(record.kind);
          lines.push(...ours(record));
          if ('sound' in record) expect(record.sound).toBe(true);
        }),
      );
      expect(lines).toEqual(logdump(bytes));
      expect(kinds).toContain('super');
      expect(kinds).toContain('end');
      if (name !== 'ordered_default.img') expect(lines.length).toBeGreaterThan(10);
    });
  }
});
