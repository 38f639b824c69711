// Reading through the path that was chosen for an inode. The two cached paths read alike: what
// differs is how they write.

import { bufferedRead, type ReadRequest } from '../../iomap/buffered.ts';
import { readInline } from '../inline.ts';
import type { Inode } from '../inode.ts';
import { daxRead } from './dax.ts';
import { readJournalled } from './journalled.ts';

/** Copies a request that lies within the file. Throws Missing; EUCLEAN, EBADMSG, EIO. */
export function readPath(inode: Inode, r: ReadRequest): void {
  if (inode.path === 'inline') readInline(inode, r.into, r.at, r.pos, r.len);
  else if (inode.path === 'dax') daxRead(inode, r);
  else if (inode.path === 'journalled') readJournalled(inode, r);
  else bufferedRead(inode.vol.cache, r);
}
