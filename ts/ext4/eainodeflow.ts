// What takes more than one step about the inodes of xattrs' values: writing one that is large, removing one. They are
// orphans meanwhile. The caller has the turn of the inode whose xattr it is; nobody else knows the value's.

import { Ext4Error } from '../errno.ts';
import { attempt, type Flow, step } from '../flow.ts';
import { newHolder, putValue } from './eainode.ts';
import { NEW_INODE_CREDITS } from './ialloc.ts';
import type { Inode } from './inode.ts';
import { allocRun, MAP_CREDITS, removeBlocksStep } from './mapwrite.ts';
import { addOrphan, freeOrphanStep, ORPHAN_CREDITS, orphanOf } from './orphanwrite.ts';
import type { Ext4Volume } from './volume.ts';

/** Blocks written in one step. */
const FILL_BLOCKS = 16;

/** Writes a value into an inode of its own, an orphan until useValue(); its number. ENOSPC: nothing is left. */
export function* buildValue(owner: Inode, value: Uint8Array): Flow<number> {
  const { vol } = owner;
  const ino = yield* step(beginStep, owner);
  const blocks = Math.ceil(value.length / vol.sb.blockSize);
  for (let lblk = 0; lblk < blocks; ) {
    const next = yield* attempt(fillStep, yield* step(orphanOf, vol, ino), value, lblk);
    if (next instanceof Ext4Error) {
      yield* removeValue(vol, ino);
      throw next;
    }
    lblk = next;
  }
  return ino;
}

function beginStep(owner: Inode): number {
  const { journal } = owner.vol;
  owner.at();
  journal!.start(NEW_INODE_CREDITS + ORPHAN_CREDITS);
  const holder = newHolder(owner);
  addOrphan(holder);
  journal!.stop();
  return holder.ino;
}

/** Writes some blocks from `lblk` on; the next one to write. */
function fillStep(holder: Inode, value: Uint8Array, lblk: number): number {
  const { journal, sb } = holder.vol;
  holder.at();
  journal!.start(MAP_CREDITS + FILL_BLOCKS);
  const want = Math.min(FILL_BLOCKS, Math.ceil(value.length / sb.blockSize) - lblk);
  const run = allocRun(holder, lblk, want, false);
  putValue(holder, value, lblk, run);
  journal!.stop();
  return lblk + run.count;
}

/** Frees the inode of a value that nothing names. What cannot be freed stays an orphan, which the next mount works
 *  off: no error comes of it. */
export function* removeValue(vol: Ext4Volume, ino: number): Flow<void> {
  const holder = yield* attempt(orphanOf, vol, ino);
  if (holder instanceof Ext4Error) return left(vol, ino, holder);
  for (let more = true; more; ) {
    const r = yield* attempt(removeBlocksStep, holder, 0);
    if (r instanceof Ext4Error) return left(vol, ino, r);
    more = r;
  }
  const failed = yield* attempt(freeOrphanStep, holder);
  if (failed instanceof Ext4Error) left(vol, ino, failed);
}

function left(vol: Ext4Volume, ino: number, { code }: Ext4Error): void {
  vol.trace.emit('orphan.left', { ino, code });
}
