// Errors as Node gives them: code, errno, syscall, path, dest, and the message form
// "ENOENT: no such file or directory, open '/x'". The core throws with a code (and detail for a bad image);
// the api floor adds syscall and path with `at`. Lies under every floor.

/** Linux errno numbers and libuv's texts, for every code the library throws. */
const ERRORS = {
  EPERM: [1, 'operation not permitted'],
  ENOENT: [2, 'no such file or directory'],
  EIO: [5, 'i/o error'],
  ENXIO: [6, 'no such device or address'],
  E2BIG: [7, 'argument list too long'],
  EBADF: [9, 'bad file descriptor'],
  EAGAIN: [11, 'resource temporarily unavailable'],
  ENOMEM: [12, 'not enough memory'],
  EACCES: [13, 'permission denied'],
  EBUSY: [16, 'resource busy or locked'],
  EEXIST: [17, 'file already exists'],
  EXDEV: [18, 'cross-device link not permitted'],
  ENODEV: [19, 'no such device'],
  ENOTDIR: [20, 'not a directory'],
  EISDIR: [21, 'illegal operation on a directory'],
  EINVAL: [22, 'invalid argument'],
  EMFILE: [24, 'too many open files'],
  EFBIG: [27, 'file too large'],
  ENOSPC: [28, 'no space left on device'],
  EROFS: [30, 'read-only file system'],
  EMLINK: [31, 'too many links'],
  ERANGE: [34, 'result too large'],
  ENAMETOOLONG: [36, 'name too long'],
  ENOSYS: [38, 'function not implemented'],
  ENOTEMPTY: [39, 'directory not empty'],
  ELOOP: [40, 'too many symbolic links encountered'],
  ENODATA: [61, 'no data available'],
  EBADMSG: [74, 'bad message'],
  EOVERFLOW: [75, 'value too large for defined data type'],
  EOPNOTSUPP: [95, 'operation not supported on socket'],
  ENOTSUP: [95, 'operation not supported on socket'],
  ESTALE: [116, 'stale file handle'],
  EUCLEAN: [117, 'structure needs cleaning'],
  EDQUOT: [122, 'disk quota exceeded'],
  ENOKEY: [126, 'required key not available'],
  ECANCELED: [125, 'operation canceled'],
} as const satisfies Record<string, readonly [number, string]>;

export type ErrorCode = keyof typeof ERRORS;

/** What is wrong with an image: the record, its field, and where it lies. */
export interface ErrorDetail {
  record: string;
  field?: string;
  block?: number;
  ino?: number;
  reason?: string;
  features?: string[];
}

/** Every error the library throws. `errno` is negative, as Node's is. */
export class Ext4Error extends Error {
  override readonly name = 'Error';
  readonly code: ErrorCode;
  readonly errno: number;
  readonly detail?: ErrorDetail;
  syscall?: string;
  path?: string;
  dest?: string;
  readonly #reason: string;

  constructor(code: ErrorCode, detail?: ErrorDetail | string) {
    const reason = typeof detail === 'string' ? detail : detail ? describe(detail) : '';
    super(text(code, reason));
    this.code = code;
    this.errno = -ERRORS[code][0];
    this.#reason = reason;
    if (typeof detail === 'object') this.detail = detail;
  }

  /** Names the call and its paths, as Node does. Returns this; the first caller wins. */
  at(syscall: string, path?: string, dest?: string): this {
    if (this.syscall !== undefined) return this;
    this.syscall = syscall;
    if (path !== undefined) this.path = path;
    if (dest !== undefined) this.dest = dest;
    const where =
      path === undefined ? '' : dest === undefined ? ` '${path}'` : ` '${path}' -> '${dest}'`;
    this.message = `${text(this.code, this.#reason)}, ${syscall}${where}`;
    return this;
  }
}

/** The number Node has for a code, negative. */
export function errnoOf(code: ErrorCode): number {
  return -ERRORS[code][0];
}

function text(code: ErrorCode, reason: string): string {
  return `${code}: ${ERRORS[code][1]}${reason ? ` (${reason})` : ''}`;
}

function describe(d: ErrorDetail): string {
  const parts = [d.field ? `${d.record}.${d.field}` : d.record];
  if (d.ino !== undefined) parts.push(`inode ${d.ino}`);
  if (d.block !== undefined) parts.push(`block ${d.block}`);
  return parts.join(', ') + (d.reason ? `: ${d.reason}` : '');
}

/** A record of the image that breaks its rules. */
export function corrupt(record: string, reason: string, where?: Partial<ErrorDetail>): Ext4Error {
  return new Ext4Error('EUCLEAN', { record, reason, ...where });
}

/** A record of the image whose checksum is wrong. */
export function badChecksum(record: string, where?: Partial<ErrorDetail>): Ext4Error {
  return new Ext4Error('EBADMSG', { record, reason: 'bad checksum', ...where });
}
