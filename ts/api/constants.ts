// The constants of node:fs with Linux's numbers: an image is a Linux one whatever the platform. Also open's flag
// strings, and the numbers of directory entry types.

import {
  EXT4_FT_BLKDEV,
  EXT4_FT_CHRDEV,
  EXT4_FT_DIR,
  EXT4_FT_FIFO,
  EXT4_FT_REG_FILE,
  EXT4_FT_SOCK,
  EXT4_FT_SYMLINK,
} from '../../assembly/format/ext4.ts';
import { invalidValue } from './invalid.ts';
import { checkInteger } from './validate.ts';

export const constants = Object.freeze({
  UV_FS_SYMLINK_DIR: 1,
  UV_FS_SYMLINK_JUNCTION: 2,
  O_RDONLY: 0,
  O_WRONLY: 1,
  O_RDWR: 2,
  UV_DIRENT_UNKNOWN: 0,
  UV_DIRENT_FILE: 1,
  UV_DIRENT_DIR: 2,
  UV_DIRENT_LINK: 3,
  UV_DIRENT_FIFO: 4,
  UV_DIRENT_SOCKET: 5,
  UV_DIRENT_CHAR: 6,
  UV_DIRENT_BLOCK: 7,
  S_IFMT: 0o170000,
  S_IFREG: 0o100000,
  S_IFDIR: 0o040000,
  S_IFCHR: 0o020000,
  S_IFBLK: 0o060000,
  S_IFIFO: 0o010000,
  S_IFLNK: 0o120000,
  S_IFSOCK: 0o140000,
  O_CREAT: 0o100,
  O_EXCL: 0o200,
  UV_FS_O_FILEMAP: 0,
  O_NOCTTY: 0o400,
  O_TRUNC: 0o1000,
  O_APPEND: 0o2000,
  O_DIRECTORY: 0o200000,
  O_NOATIME: 0o1000000,
  O_NOFOLLOW: 0o400000,
  O_SYNC: 0o4010000,
  O_DSYNC: 0o10000,
  O_DIRECT: 0o40000,
  O_NONBLOCK: 0o4000,
  S_IRWXU: 0o700,
  S_IRUSR: 0o400,
  S_IWUSR: 0o200,
  S_IXUSR: 0o100,
  S_IRWXG: 0o070,
  S_IRGRP: 0o040,
  S_IWGRP: 0o020,
  S_IXGRP: 0o010,
  S_IRWXO: 0o007,
  S_IROTH: 0o004,
  S_IWOTH: 0o002,
  S_IXOTH: 0o001,
  F_OK: 0,
  R_OK: 4,
  W_OK: 2,
  X_OK: 1,
  UV_FS_COPYFILE_EXCL: 1,
  COPYFILE_EXCL: 1,
  UV_FS_COPYFILE_FICLONE: 2,
  COPYFILE_FICLONE: 2,
  UV_FS_COPYFILE_FICLONE_FORCE: 4,
  COPYFILE_FICLONE_FORCE: 4,
});

const { O_APPEND, O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_SYNC, O_TRUNC, O_WRONLY } = constants;

const WRITE = O_TRUNC | O_CREAT | O_WRONLY;
const WRITE_READ = O_TRUNC | O_CREAT | O_RDWR;
const APPEND = O_APPEND | O_CREAT | O_WRONLY;
const APPEND_READ = O_APPEND | O_CREAT | O_RDWR;

const FLAGS = new Map<string, number>([
  ['r', O_RDONLY],
  ['rs', O_RDONLY | O_SYNC],
  ['sr', O_RDONLY | O_SYNC],
  ['r+', O_RDWR],
  ['rs+', O_RDWR | O_SYNC],
  ['sr+', O_RDWR | O_SYNC],
  ['w', WRITE],
  ['wx', WRITE | O_EXCL],
  ['xw', WRITE | O_EXCL],
  ['w+', WRITE_READ],
  ['wx+', WRITE_READ | O_EXCL],
  ['xw+', WRITE_READ | O_EXCL],
  ['a', APPEND],
  ['ax', APPEND | O_EXCL],
  ['xa', APPEND | O_EXCL],
  ['as', APPEND | O_SYNC],
  ['sa', APPEND | O_SYNC],
  ['a+', APPEND_READ],
  ['ax+', APPEND_READ | O_EXCL],
  ['xa+', APPEND_READ | O_EXCL],
  ['as+', APPEND_READ | O_SYNC],
  ['sa+', APPEND_READ | O_SYNC],
]);

/** O_* bits of an open flag as Node takes it: a number, a string such as 'r+', or nothing for 'r'. */
export function openFlags(flags: unknown, name = 'flags'): number {
  if (flags === null || flags === undefined) return O_RDONLY;
  if (typeof flags === 'number') return checkInteger(flags, name, -2147483648, 2147483647);
  const bits = typeof flags === 'string' ? FLAGS.get(flags) : undefined;
  if (bits === undefined) throw invalidValue('flags', flags);
  return bits;
}

const DIRENT_OF = new Map<number, number>([
  [EXT4_FT_REG_FILE, constants.UV_DIRENT_FILE],
  [EXT4_FT_DIR, constants.UV_DIRENT_DIR],
  [EXT4_FT_SYMLINK, constants.UV_DIRENT_LINK],
  [EXT4_FT_FIFO, constants.UV_DIRENT_FIFO],
  [EXT4_FT_SOCK, constants.UV_DIRENT_SOCKET],
  [EXT4_FT_CHRDEV, constants.UV_DIRENT_CHAR],
  [EXT4_FT_BLKDEV, constants.UV_DIRENT_BLOCK],
]);

const DIRENT_OF_MODE = new Map<number, number>([
  [constants.S_IFREG, constants.UV_DIRENT_FILE],
  [constants.S_IFDIR, constants.UV_DIRENT_DIR],
  [constants.S_IFLNK, constants.UV_DIRENT_LINK],
  [constants.S_IFIFO, constants.UV_DIRENT_FIFO],
  [constants.S_IFSOCK, constants.UV_DIRENT_SOCKET],
  [constants.S_IFCHR, constants.UV_DIRENT_CHAR],
  [constants.S_IFBLK, constants.UV_DIRENT_BLOCK],
]);

/** UV_DIRENT_* of the type byte in a directory entry; UNKNOWN where the image keeps none. */
export function direntOfEntry(type: number): number {
  return DIRENT_OF.get(type) ?? constants.UV_DIRENT_UNKNOWN;
}

/** UV_DIRENT_* of an inode's mode. */
export function direntOfMode(mode: number): number {
  return DIRENT_OF_MODE.get(mode & constants.S_IFMT) ?? constants.UV_DIRENT_UNKNOWN;
}
