// lost+found: where inodes without a name get one, `#` and their number. It is made when it is not there.

import * as F from '../../assembly/format/ext4.ts';
import type { Flow } from '../flow.ts';
import { allocInode } from './alloc.ts';
import { Leaf, sealLeaf } from './direntry.ts';
import { dirBlocksOf } from './locate.ts';
import { type Entry, makeDir, rebuildDir } from './makedir.ts';
import { setDotDot } from './pass3.ts';
import type { Volume } from './volume.ts';

const NAME = 'lost+found';
const NO_BYTES = new Uint8Array(0);

/** Gives an inode a name in lost+found. The number of that directory, or 0 when there is no room. */
export function* attach(vol: Volume, ino: number, type: number): Flow<number> {
  const home = yield* lostFound(vol);
  const name = new TextEncoder().encode(`#${ino}`);
  if (home === 0 || home === ino || !(yield* addEntry(vol, home, name, ino, type))) {
    vol.report.complain('no-lost-found', { ino }, `inode ${ino} cannot be put into lost+found`);
    return 0;
  }
  vol.found.increment(ino);
  if (vol.valueInodes.has(ino)) yield* noLongerValue(vol, ino);
  if (type === F.EXT4_FT_DIR) {
    yield* setDotDot(vol, ino, home);
    vol.found.increment(home);
  }
  return home;
}

/** What nobody has as a value is a file like others. */
function* noLongerValue(vol: Volume, ino: number): Flow<void> {
  const record = yield* vol.inode(ino);
  record?.clearFlag(F.EXT4_EA_INODE_FL);
  if (record) yield* vol.save(record);
}

/** The directory, made when there is none; 0 when it cannot be. */
function* lostFound(vol: Volume): Flow<number> {
  if (vol.lostFound >= 0) return vol.lostFound;
  vol.lostFound = yield* find(vol);
  if (vol.lostFound === 0) vol.lostFound = yield* make(vol);
  return vol.lostFound;
}

function* find(vol: Volume): Flow<number> {
  for (const { pblk } of yield* dirBlocksOf(vol, F.EXT4_ROOT_INO)) {
    const ptr = yield* vol.disk.get(pblk);
    const leaf = new Leaf(vol, ptr, vol.sb.blockSize, vol.sb.blockSize);
    for (let off = 0; leaf.isSound(off); off += leaf.recLen(off)) {
      const ino = leaf.ino(off);
      if (ino === 0 || new TextDecoder().decode(leaf.name(off).slice()) !== NAME) continue;
      return vol.inodeType(ino) === F.EXT4_FT_DIR && !(yield* isEncrypted(vol, ino)) ? ino : 0;
    }
  }
  return 0;
}

function* isEncrypted(vol: Volume, ino: number): Flow<boolean> {
  const record = yield* vol.inode(ino);
  return record?.has(F.EXT4_ENCRYPT_FL) ?? true;
}

function* make(vol: Volume): Flow<number> {
  if (yield* isEncrypted(vol, F.EXT4_ROOT_INO)) return 0;
  const record = yield* allocInode(vol);
  if (record === null) return 0;
  const { ino } = record;
  if (!(yield* makeDir(vol, ino, F.EXT4_ROOT_INO, 0o700))) return 0;
  const name = new TextEncoder().encode(NAME);
  return (yield* addEntry(vol, F.EXT4_ROOT_INO, name, ino, F.EXT4_FT_DIR)) ? ino : 0;
}

/** Puts an entry into a directory: where an entry has room to spare, else the directory is written anew. */
function* addEntry(
  vol: Volume,
  dir: number,
  name: Uint8Array,
  ino: number,
  type: number,
): Flow<boolean> {
  const record = yield* vol.inode(dir);
  if (record === null) return false;
  const stored = vol.incompat(F.INCOMPAT_FILETYPE) ? type : 0;
  const entry: Entry = { ino, type: stored, name, extra: NO_BYTES };
  const plain = !record.has(F.EXT4_INDEX_FL) && !record.has(F.EXT4_INLINE_DATA_FL);
  if (plain) {
    const seed = vol.sums.on ? record.seed : 0;
    // From the end: that is where there is room.
    for (const { pblk } of (yield* dirBlocksOf(vol, dir)).reverse()) {
      const ptr = yield* vol.disk.get(pblk);
      if (!insert(vol, ptr, entry)) continue;
      sealLeaf(vol, ptr, seed);
      yield* vol.disk.write(pblk, ptr);
      return true;
    }
  }
  return yield* rebuildDir(vol, dir, [entry], true);
}

/** True when the block had room. */
function insert(vol: Volume, ptr: number, entry: Entry): boolean {
  const room = vol.sb.blockSize - (vol.sums.on ? F.DE_TAIL_SIZE : 0);
  const leaf = new Leaf(vol, ptr, room, vol.sb.blockSize);
  const need = F.DE_HEADER + Math.ceil(entry.name.length / 4) * 4;
  for (let off = 0; leaf.isSound(off); off += leaf.recLen(off)) {
    const len = leaf.recLen(off);
    const own = leaf.ino(off) === 0 ? 0 : F.DE_HEADER + Math.ceil(leaf.nameLen(off) / 4) * 4;
    if (len - own < need) continue;
    if (own > 0) leaf.setRecLen(off, own);
    leaf.put(off + own, entry.ino, len - own, entry.name, entry.type);
    return true;
  }
  return false;
}
