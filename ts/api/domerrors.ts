// The errors of the web's file system handles: DOMExceptions by the names of the standard, each with the error of the
// file system as its cause.

const MESSAGES = {
  NotFoundError: 'A requested file or directory could not be found.',
  TypeMismatchError: 'The path supplied exists, but was not an entry of the requested type.',
  NoModificationAllowedError: 'The file system is mounted read-only, or the file is locked.',
  InvalidModificationError: 'The object can not be modified in this way.',
  InvalidStateError: 'The access handle is closed.',
  NotSupportedError: 'The file system does not support this.',
  QuotaExceededError: 'The file system is full.',
  NotAllowedError: 'The request is not allowed.',
  NotReadableError: 'The requested file could not be read.',
  SyntaxError: 'The command lacks a member.',
} as const;

const NAMES: Record<string, keyof typeof MESSAGES> = {
  ENOENT: 'NotFoundError',
  ENOTDIR: 'NotFoundError',
  EISDIR: 'TypeMismatchError',
  ENOTEMPTY: 'InvalidModificationError',
  ENOSPC: 'QuotaExceededError',
  EFBIG: 'QuotaExceededError',
  EDQUOT: 'QuotaExceededError',
  EOPNOTSUPP: 'NotSupportedError',
  EROFS: 'NoModificationAllowedError',
  EACCES: 'NotAllowedError',
  EPERM: 'NotAllowedError',
};

export function domError(name: keyof typeof MESSAGES, cause?: unknown): DOMException {
  const error = new DOMException(MESSAGES[name], name);
  if (cause !== undefined) Object.defineProperty(error, 'cause', { value: cause });
  return error;
}

/** The web's name for an error of the file system; anything else as it is. */
export function toDomError(error: unknown): unknown {
  const { code } = error as { code?: unknown };
  if (typeof code !== 'string') return error; // a DOMException's is a number
  return domError(NAMES[code] ?? 'NotReadableError', error);
}

export function rethrow(error: unknown): never {
  throw toDomError(error);
}
