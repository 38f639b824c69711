// What cp says when it cannot copy: Node's ERR_FS_CP_* errors.

import { invalidReturn, systemError } from './invalid.ts';
import { resolveText } from './paths.ts';

type Kind =
  | 'DIR_TO_NON_DIR'
  | 'EEXIST'
  | 'FIFO_PIPE'
  | 'NON_DIR_TO_DIR'
  | 'SOCKET'
  | 'SYMLINK_TO_SUBDIRECTORY'
  | 'UNKNOWN';

interface Kindly {
  prefix: string;
  code: string;
  errno: number;
  say(src: string, dest: string): string;
}

const EINVAL = { code: 'EINVAL', errno: 22 };

const KINDS: Record<Kind, Kindly> = {
  DIR_TO_NON_DIR: {
    prefix: 'Cannot overwrite non-directory with directory',
    code: 'EISDIR',
    errno: 21,
    say: (src, dest) => `cannot overwrite non-directory ${dest} with directory ${src}`,
  },
  NON_DIR_TO_DIR: {
    prefix: 'Cannot overwrite directory with non-directory',
    code: 'ENOTDIR',
    errno: 20,
    say: (src, dest) => `cannot overwrite directory ${dest} with non-directory ${src}`,
  },
  EEXIST: {
    prefix: 'Target already exists',
    code: 'EEXIST',
    errno: 17,
    say: (_, dest) => `${dest} already exists`,
  },
  FIFO_PIPE: {
    prefix: 'Cannot copy a FIFO pipe',
    ...EINVAL,
    say: (_, dest) => `cannot copy a FIFO pipe: ${dest}`,
  },
  SOCKET: {
    prefix: 'Cannot copy a socket file',
    ...EINVAL,
    say: (_, dest) => `cannot copy a socket file: ${dest}`,
  },
  SYMLINK_TO_SUBDIRECTORY: {
    prefix: 'Cannot overwrite symlink in subdirectory of self',
    ...EINVAL,
    say: (src, dest) => `cannot overwrite ${dest} with ${src}`,
  },
  UNKNOWN: {
    prefix: 'Cannot copy an unknown file type',
    ...EINVAL,
    say: (_, dest) => `cannot copy an unknown file type: ${dest}`,
  },
};

export function cannotCopy(kind: Kind, src: string, dest: string, path = dest): Error {
  const { prefix, code, errno, say } = KINDS[kind];
  const info = { code, message: say(src, dest), path, syscall: 'cp', errno };
  return systemError(`ERR_FS_CP_${kind}`, prefix, info);
}

/** ERR_FS_CP_EINVAL. */
export function invalidIn(message: string, path: string): Error {
  const info = { ...EINVAL, message, path, syscall: 'cp' };
  return systemError('ERR_FS_CP_EINVAL', 'Invalid src or dest', info);
}

/** A filter of the synchronous form that answers with a promise. */
export function notBoolean(answer: unknown): Error {
  return invalidReturn('boolean', 'filter', answer);
}

/** Whether `path` is `dir` or lies below it, by its text alone. */
export function isInside(dir: string, path: string): boolean {
  const [a, b] = [dir, path].map((text) => resolveText(text).split('/').filter(Boolean));
  return a.every((name, i) => b[i] === name);
}
