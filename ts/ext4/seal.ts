// Checksums of blocks as a commit takes them: each kind of record once, however often it was changed. What a block is
// comes from its kind, for whom from its seed.

import * as F from '../../assembly/format/ext4.ts';
import type { Buffer } from '../cache/buffer.ts';
import { KIND_DIR, sealDirBlock } from './dirblock.ts';
import { KIND_EXTENT, sealExtentNode } from './extent.ts';
import { KIND_ORPHANS, sealOrphans } from './orphan.ts';
import type { Ext4Volume } from './volume.ts';
import { KIND_XATTR } from './xattr.ts';

/** Writes the checksum of a directory block, an extent node or an xattr block; others keep theirs elsewhere. */
export function sealBuffer(vol: Ext4Volume, buffer: Buffer): void {
  if (!vol.sums.on) return;
  if (buffer.kind === KIND_DIR) sealDirBlock(vol, buffer);
  else if (buffer.kind === KIND_EXTENT) sealExtentNode(vol, buffer);
  else if (buffer.kind === KIND_XATTR) sealXattrBlock(vol, buffer);
  else if (buffer.kind === KIND_ORPHANS) sealOrphans(vol, buffer);
}

function sealXattrBlock(vol: Ext4Volume, { ptr, pblk }: Buffer): void {
  const { sums, sb, dv } = vol;
  const seed = sums.u64(sums.seed, pblk);
  dv.setUint32(ptr + F.H_CHECKSUM, sums.around(seed, ptr, sb.blockSize, F.H_CHECKSUM, 4), true);
}
