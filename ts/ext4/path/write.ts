// Writing through the path that was chosen for an inode.

import type { Inode } from '../inode.ts';
import { writeCached } from './cached.ts';
import { daxWrite } from './dax.ts';
import { writeJournalled } from './journalled.ts';

/** Bytes of a write. */
export interface Bytes {
  from: Uint8Array;
  at: number;
  len: number;
}

/** One step: writes some of the bytes at `pos`, at least one; returns how many. Inline data is not written here.
 *  Throws Missing; ENOSPC, EIO, EUCLEAN. */
export function writePath(inode: Inode, { from, at, len }: Bytes, pos: number): number {
  if (inode.path === 'dax') return daxWrite(inode, from, at, pos, len);
  if (inode.path === 'journalled') return writeJournalled(inode, from, at, pos, len);
  return writeCached(inode, from, at, pos, len);
}
