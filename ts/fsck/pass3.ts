// Pass 3: every directory hangs on the root through entries, and its ".." says by which directory. What hangs in the
// air or in a circle goes to lost+found.

import * as F from '../../assembly/format/ext4.ts';
import type { Flow } from '../flow.ts';
import { Bits } from './bits.ts';
import { Leaf, sealLeaf } from './direntry.ts';
import { sealIndex } from './htree.ts';
import { INLINE_DOTDOT } from './inlinedir.ts';
import { firstDirBlock } from './locate.ts';
import { attach } from './lostfound.ts';
import { makeRoot } from './makedir.ts';
import type { Volume } from './volume.ts';

/** Checks how directories hang together. */
export function* checkTree(vol: Volume): Flow<void> {
  const root = vol.dirs.search(F.EXT4_ROOT_INO);
  if (root < 0) {
    if (!vol.rootLost)
      vol.report.report('root', { ino: F.EXT4_ROOT_INO }, 'there is no root directory');
    if (vol.report.mode === 'all') yield* makeRoot(vol);
    return;
  }
  vol.parent.set(root, F.EXT4_ROOT_INO);
  const connected = new Bits();
  connected.add(F.EXT4_ROOT_INO);
  for (let i = 0; i < vol.dirs.length; i++) {
    const ino = vol.dirs.get(i);
    if (!isConnected(vol, ino, connected)) yield* unconnected(vol, i, connected);
    yield* checkDotDot(vol, i);
  }
}

/** Climbs to what is known to hang on the root; all on the way does so then. */
function isConnected(vol: Volume, ino: number, connected: Bits): boolean {
  const way: number[] = [];
  const seen = new Set<number>();
  for (let at = ino; !connected.has(at); ) {
    if (seen.has(at)) return false;
    seen.add(at);
    way.push(at);
    const place = vol.dirs.search(at);
    at = place < 0 ? 0 : vol.parent.get(place);
    if (at === 0) return false;
  }
  for (const one of way) connected.add(one);
  return true;
}

function* unconnected(vol: Volume, place: number, connected: Bits): Flow<void> {
  const ino = vol.dirs.get(place);
  const loop = vol.parent.get(place) !== 0;
  const text = `directory ${ino} ${loop ? 'is in a circle' : 'has no name'}`;
  if (!vol.report.report('dir-unconnected', { ino }, text)) {
    connected.add(ino);
    return;
  }
  connected.add(ino);
  const home = yield* attach(vol, ino, F.EXT4_FT_DIR);
  if (home !== 0) vol.parent.set(place, home);
}

function* checkDotDot(vol: Volume, place: number): Flow<void> {
  const ino = vol.dirs.get(place);
  const parent = vol.parent.get(place);
  const stored = vol.dotdot.get(place);
  if (stored === parent || stored === 0 || parent === 0) return;
  const text = `directory ${ino}: ".." is ${stored}, not ${parent}`;
  if (vol.report.report('dir-dotdot', { ino }, text)) yield* setDotDot(vol, ino, parent);
}

/** Writes the parent of a directory into it. */
export function* setDotDot(vol: Volume, ino: number, parent: number): Flow<void> {
  const record = yield* vol.inode(ino);
  if (record === null) return;
  if (record.has(F.EXT4_INLINE_DATA_FL)) {
    record.put32(F.I_BLOCK + INLINE_DOTDOT - 4, parent);
    yield* vol.save(record);
    return;
  }
  const seed = vol.sums.on ? record.seed : 0;
  const indexed = record.has(F.EXT4_INDEX_FL);
  const pblk = yield* firstDirBlock(vol, ino);
  if (pblk === 0) return;
  const ptr = yield* vol.disk.get(pblk);
  const leaf = new Leaf(vol, ptr, vol.sb.blockSize, vol.sb.blockSize);
  const off = leaf.recLen(0);
  if (off + 12 > vol.sb.blockSize || !leaf.isDotDot(off)) return;
  leaf.setIno(off, parent);
  if (indexed) sealIndex(vol, ptr, F.DX_ROOT_ENTRIES, seed);
  else sealLeaf(vol, ptr, seed);
  yield* vol.disk.write(pblk, ptr);
}
