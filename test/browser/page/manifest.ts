// What the images must read as, written by images.ts and checked by the page.

export interface Entry {
  /** Absolute path, bytes in hexadecimal. */
  path: string;
  type: 'file' | 'directory' | 'symlink' | 'fifo';
  mode: number;
  uid: number;
  gid: number;
  nlink: number;
  /** Bytes; 0 for directories. */
  size: number;
  /** Seconds since 1970. */
  mtime: number;
  /** Of a file's contents. */
  sha256?: string;
  /** Of a symlink, bytes in hexadecimal. */
  target?: string;
}

export interface Manifest {
  label: string;
  blockSize: number;
  entries: Entry[];
  /** user.note of /README.txt, and the SHA-256 of user.long of /big.bin. */
  xattrs?: { note: string; long: string };
}

export interface Manifests {
  main: Manifest;
  disk: Manifest;
  /** Physical blocks of the root directory and of /state.txt. */
  crash: { blockSize: number; rootBlock: number; stateBlock: number };
}
