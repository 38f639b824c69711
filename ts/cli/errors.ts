// Errors as one line each, and the exit codes: 0 done, 1 failed, 2 usage, 3 unsupported or corrupt image, 130
// interrupted. Whatever is thrown comes through `explain`; nothing prints a stack unless EXT4_DEBUG asks for it.

import { shown } from './names.ts';

export const FAILED = 1;
export const USAGE = 2;
export const BAD_IMAGE = 3;
export const INTERRUPTED = 130;

/** The command line itself is wrong. */
export class UsageError extends Error {}

/** SIGINT came: clean up and go. */
export class Interrupted extends Error {}

/** A failure with a text of our own and, where it is not 1, its exit code. */
export class Failure extends Error {
  readonly exit: number;

  constructor(message: string, exit = FAILED) {
    super(message);
    this.exit = exit;
  }
}

/** The image is not what we can read: the errors that a mount or a read gives for it. */
const IMAGE_CODES = new Set(['EUCLEAN', 'EBADMSG', 'EOPNOTSUPP', 'ENOTSUP', 'ENOKEY']);

export interface Explained {
  why: string;
  exit: number;
}

/** Why something failed, on one line, and the exit code that says so. */
export function explain(error: unknown): Explained {
  if (error instanceof Failure) return { why: shown(error.message), exit: error.exit };
  if (error instanceof UsageError) return { why: shown(error.message), exit: USAGE };
  if (error instanceof Interrupted) return { why: 'interrupted', exit: INTERRUPTED };
  if (!(error instanceof Error)) return { why: shown(String(error)), exit: FAILED };
  const code = (error as NodeJS.ErrnoException).code;
  if (typeof code === 'string' && /^(E[A-Z0-9]+)$/.test(code)) {
    return { why: shown(reasonOf(error, code)), exit: IMAGE_CODES.has(code) ? BAD_IMAGE : FAILED };
  }
  const what = shown(error.message.split('\n')[0] || error.name);
  return { why: `internal error: ${what} (this is a bug, please report it)`, exit: FAILED };
}

/** `ENOENT: no such file or directory, open '/x'` without the code and the call: the line names them itself. */
function reasonOf(error: Error, code: string): string {
  const syscall = (error as NodeJS.ErrnoException).syscall;
  let text = error.message.startsWith(`${code}: `)
    ? error.message.slice(code.length + 2)
    : error.message;
  if (syscall !== undefined) {
    const cut = text.lastIndexOf(`, ${syscall}`);
    if (cut > 0) text = text.slice(0, cut);
  }
  const reason = /^[^(]*\((.*)\)$/s.exec(text)?.[1];
  if (reason === undefined)
    return text.replace(/^operation not supported on socket$/, 'not supported');
  if (code === 'EUCLEAN' || code === 'EBADMSG') return `the image is damaged: ${reason}`;
  if (code === 'EOPNOTSUPP' || code === 'ENOTSUP') return `not supported: ${reason}`;
  return text;
}
