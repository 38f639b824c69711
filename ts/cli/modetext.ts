// Modes as chmod takes them: octal, or symbolic (u+rwx,go=rX,a-w,g=u,+t). A mode becomes a function from the bits
// that a
// file has to those that it gets.

import { UsageError } from './errors.ts';

/** The new permission bits of a file that has `mode`. */
export type NewMode = (mode: number, directory: boolean) => number;

const SPECIAL = 0o6000;
const CLAUSE = /^([ugoa]*)((?:[-+=](?:[ugo]|[rwxXst]*))+)$/;
const ACTION = /([-+=])([ugo]|[rwxXst]*)/g;
const WHO: Record<string, number> = { u: 0o4700, g: 0o2070, o: 0o1007, a: 0o7777 };
const BITS: Record<string, number> = { r: 0o444, w: 0o222, x: 0o111, s: 0o6000, t: 0o1000 };

/** Reads a mode; `umask` counts where nobody is named. UsageError. */
export function parseMode(text: string, umask = process.umask()): NewMode {
  if (/^[0-7]{1,5}$/.test(text)) return octal(text);
  const changes = text.split(',').map((clause) => parseClause(clause, umask));
  if (changes.some((change) => change === null)) throw new UsageError(`'${text}' is no mode`);
  const all = changes as NewMode[];
  return (mode, directory) => all.reduce((bits, change) => change(bits, directory), mode);
}

/** Directories keep set-user-ID and set-group-ID unless five digits say otherwise, as with GNU. */
function octal(text: string): NewMode {
  const bits = Number.parseInt(text, 8);
  if (bits > 0o7777) throw new UsageError(`'${text}' is no mode`);
  return (mode, directory) => (directory && text.length < 5 ? bits | (mode & SPECIAL) : bits);
}

function parseClause(clause: string, umask: number): NewMode | null {
  const [, who, actions] = CLAUSE.exec(clause) ?? [];
  if (actions === undefined) return null;
  const named = [...who].reduce((bits, letter) => bits | WHO[letter], 0);
  const scope = who === '' ? 0o7777 : named;
  const mask = who === '' ? 0o7777 & ~umask : named;
  const list = [...actions.matchAll(ACTION)];
  return (mode, directory) =>
    list.reduce((bits, [, sign, what]) => {
      const wanted = bitsOf(what, bits, directory) & mask;
      if (sign === '+') return bits | wanted;
      if (sign === '-') return bits & ~wanted;
      return (bits & ~clearedBy(what, scope, directory)) | wanted;
    }, mode);
}

/** What `=` clears; of a directory set-user-ID and set-group-ID stay unless `s` is said. */
function clearedBy(what: string, scope: number, directory: boolean): number {
  return directory && !what.includes('s') ? scope & ~SPECIAL : scope;
}

/** The bits that letters stand for, for all three kinds of users; or those that one of them has. */
function bitsOf(what: string, mode: number, directory: boolean): number {
  const from = { u: 6, g: 3, o: 0 }[what];
  if (from !== undefined) return ((mode >> from) & 7) * 0o111;
  const executable = directory || (mode & 0o111) !== 0;
  return [...what].reduce(
    (bits, letter) => bits | (letter === 'X' ? (executable ? 0o111 : 0) : BITS[letter]),
    0,
  );
}
