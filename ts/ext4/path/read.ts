// Reading through the path that was chosen for an inode. The two cached paths read alike: what
// differs is how they write.

import { MAP_WRITTEN } from '../../../assembly/abi.ts';
import { bufferedRead, type ReadRequest } from '../../iomap/buffered.ts';
import { directLength } from '../../iomap/direct.ts';
import { readInline } from '../inline.ts';
import type { Inode } from '../inode.ts';
import { daxRead } from './dax.ts';
import { readJournalled } from './journalled.ts';

/** Where [pos, pos + len) of a cached path's file lies on the device, when it is to be read past the cache and the last
 *  mapping covers it; else -1. What bufferedRead() does then, in few instructions: after a large read the processor
 *  has forgotten all of them. */
export function directPosition(inode: Inode, pos: number, len: number): number {
  const { memo, vol } = inode;
  const { blockSize } = vol.sb;
  const lblk = pos / blockSize;
  const off = lblk - memo.lblk;
  if (off < 0 || off + len / blockSize > memo.len || memo.kind !== MAP_WRITTEN) return -1;
  if (pos % blockSize !== 0 || len % blockSize !== 0) return -1;
  const past = inode.folios.empty && directLength(vol.cache, inode, pos, pos + len) === len;
  return past ? (memo.pblk + off) * blockSize : -1;
}

/** Copies a request that lies within the file. Throws Missing; EUCLEAN, EBADMSG, EIO. */
export function readPath(inode: Inode, r: ReadRequest): void {
  if (inode.path === 'inline') readInline(inode, r.into, r.at, r.pos, r.len);
  else if (inode.path === 'dax') daxRead(inode, r);
  else if (inode.path === 'journalled') readJournalled(inode, r);
  else bufferedRead(inode.vol.cache, r);
}
