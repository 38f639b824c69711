// Pass 2: every block of every directory, in the order of the directories, read ahead in batches. Counts the links that
// entries make, learns who the parent of each directory is, and judges entries, checksums and indexes.

import * as F from '../../assembly/format/ext4.ts';
import type { Flow } from '../flow.ts';
import { hasTail, Leaf, leafSummed, sealLeaf } from './direntry.ts';
import { type Dir, EntryCheck } from './entries.ts';
import { Index, indexSummed, sealIndex, setHashSeed } from './htree.ts';
import { inlineParts } from './inlinedir.ts';
import type { Volume } from './volume.ts';

/** Checks all directories. */
export function* checkDirectories(vol: Volume): Flow<void> {
  const { dirBlocks, disk } = vol;
  setHashSeed(vol);
  const total = dirBlocks.ino.length;
  const batch = disk.room >>> 1;
  let dir: Dir | null = null;
  for (let from = 0; from < total; from += batch) {
    vol.hooks.progress?.(2, from, total);
    const end = Math.min(from + batch, total);
    yield* readAhead(vol, from, end);
    for (let i = from; i < end; i++) {
      const ino = dirBlocks.ino.get(i);
      if (dir === null || dir.ino !== ino) {
        if (dir !== null) endDir(vol, dir);
        dir = yield* beginDir(vol, ino);
        if (dir === null) continue;
      }
      yield* checkBlock(vol, dir, dirBlocks.lblk.get(i), dirBlocks.pblk.get(i));
    }
  }
  if (dir !== null) endDir(vol, dir);
  yield* emptyDirs(vol);
}

/** Brings the blocks of a batch into memory, and the records of their directories. */
function* readAhead(vol: Volume, from: number, end: number): Flow<void> {
  const { dirBlocks } = vol;
  const pblks: number[] = [];
  let last = 0;
  for (let i = from; i < end; i++) {
    const ino = dirBlocks.ino.get(i);
    if (dirBlocks.pblk.get(i) > 0) pblks.push(dirBlocks.pblk.get(i));
    if (ino === last) continue;
    last = ino;
    const place = vol.inodePlace(ino);
    if (place !== null) pblks.push(place.pblk);
  }
  yield* vol.disk.prefetch(pblks);
}

function* beginDir(vol: Volume, ino: number): Flow<Dir | null> {
  const record = yield* vol.inode(ino);
  if (record === null) return null;
  const indexed = record.has(F.EXT4_INDEX_FL) && vol.compat(F.COMPAT_DIR_INDEX);
  return {
    ino,
    place: vol.dirs.search(ino),
    seed: vol.sums.on ? record.seed : 0,
    encrypted: record.has(F.EXT4_ENCRYPT_FL) && vol.incompat(F.INCOMPAT_ENCRYPT),
    casefold: record.has(F.EXT4_CASEFOLD_FL) && vol.incompat(F.INCOMPAT_CASEFOLD),
    index: indexed ? new Index(vol) : null,
    blocks: 0,
    dot: false,
    dotdot: false,
  };
}

function endDir(vol: Volume, dir: Dir): void {
  const { ino } = dir;
  if (!dir.dot || !dir.dotdot) {
    const text = `directory ${ino} has no ${dir.dot ? '".."' : '"."'}`;
    if (vol.report.report('dir-dot-missing', { ino }, text)) vol.rebuild.add(ino);
  }
  if (dir.index === null) return;
  const wrong = dir.index.judge(dir.blocks);
  if (wrong === '') return;
  const text = `directory ${ino}: the index is bad: ${wrong}`;
  if (vol.report.report('htree', { ino }, text)) vol.rebuild.add(ino);
}

/** Directories without any block have neither "." nor "..". */
function* emptyDirs(vol: Volume): Flow<void> {
  const { dirs, dirBlocks } = vol;
  let at = 0;
  for (let i = 0; i < dirs.length; i++) {
    const ino = dirs.get(i);
    while (at < dirBlocks.ino.length && dirBlocks.ino.get(at) < ino) at++;
    if (at < dirBlocks.ino.length && dirBlocks.ino.get(at) === ino) continue;
    const text = `directory ${ino} has no blocks`;
    if (vol.report.report('dir-empty', { ino }, text)) vol.rebuild.add(ino);
  }
}

function* checkBlock(vol: Volume, dir: Dir, lblk: number, pblk: number): Flow<void> {
  dir.blocks = Math.max(dir.blocks, lblk + 1);
  if (pblk < 0) return yield* checkInlineDir(vol, dir);
  const ptr = yield* vol.disk.get(pblk);
  const off = dir.index === null ? 0 : Index.offset(vol, ptr, lblk);
  const changed =
    off === 0 ? checkLeaf(vol, dir, lblk, pblk, ptr) : checkIndex(vol, dir, lblk, pblk, ptr, off);
  if (!changed) return;
  if (off === 0) sealLeaf(vol, ptr, dir.seed);
  else sealIndex(vol, ptr, off, dir.seed);
  yield* vol.disk.write(pblk, ptr);
}

/** A block of entries. True when it was changed and is to be sealed and written. */
function checkLeaf(vol: Volume, dir: Dir, lblk: number, pblk: number, ptr: number): boolean {
  const { sums, report, sb } = vol;
  const { ino } = dir;
  const where = { ino, block: pblk };
  const tailed = sums.on && hasTail(vol, ptr);
  const len = sb.blockSize - (tailed ? F.DE_TAIL_SIZE : 0);
  const summed = !sums.on || (tailed && leafSummed(vol, ptr, dir.seed));
  let changed = new EntryCheck(vol, dir, new Leaf(vol, ptr, len, sb.blockSize), lblk, pblk).run();
  if (sums.on && !tailed) {
    const text = `directory ${ino}: block ${lblk} has no checksum`;
    if (report.report('dir-no-checksum', where, text)) vol.rebuild.add(ino);
    return false;
  }
  if (!summed) {
    const text = `directory ${ino}: the checksum of block ${lblk} is wrong`;
    if (report.report('dir-checksum', where, text)) changed = true;
  }
  return changed;
}

function checkIndex(
  vol: Volume,
  dir: Dir,
  lblk: number,
  pblk: number,
  ptr: number,
  off: number,
): boolean {
  const { ino } = dir;
  const where = { ino, block: pblk };
  let changed = false;
  if (lblk === 0) {
    // The two entries of the root; what follows belongs to ".." and is the index.
    const leaf = new Leaf(vol, ptr, vol.sb.blockSize, vol.sb.blockSize);
    changed = new EntryCheck(vol, dir, leaf, 0, pblk).run();
    dir.index?.root(ptr);
  } else dir.index?.node(lblk, ptr, off);
  if (!vol.sums.on || indexSummed(vol, ptr, off, dir.seed)) return changed;
  const text = `directory ${ino}: the checksum of index block ${lblk} is wrong`;
  if (vol.report.report('htree-checksum', where, text)) vol.rebuild.add(ino);
  return changed;
}

/** The entries that lie in the inode: behind the parent's number, and on in system.data. */
function* checkInlineDir(vol: Volume, dir: Dir): Flow<void> {
  const record = yield* vol.inode(dir.ino);
  if (record === null) return;
  dir.index = null;
  dir.dot = true;
  dir.dotdot = true;
  vol.found.increment(dir.ino);
  const parent = record.u32(F.I_BLOCK);
  vol.dotdot.set(dir.place, parent);
  if (parent >= 1 && parent <= vol.sb.inodes) vol.found.increment(parent);
  let changed = false;
  for (const { ptr, len } of inlineParts(vol, record)) {
    const leaf = new Leaf(vol, ptr, len, len);
    if (new EntryCheck(vol, dir, leaf, -1, -1).run()) changed = true;
  }
  if (!changed) return;
  record.dirty = true;
  yield* vol.save(record);
}
