// Directories written anew: all entries that can be read, gathered from the old blocks, in new blocks in a row and
// without an index. The old blocks stay as they are until the inode, last of all, names the new ones.

import * as F from '../../assembly/format/ext4.ts';
import { type Flow, flushDevice } from '../flow.ts';
import { allocBlocks } from './alloc.ts';
import { Leaf, sealLeaf } from './direntry.ts';
import { Index } from './htree.ts';
import { dropInlineData, inlineParts } from './inlinedir.ts';
import { dirBlocksOf } from './locate.ts';
import { buildMap } from './mapwrite.ts';
import type { Record } from './record.ts';
import type { Volume } from './volume.ts';

/** An entry on its way from the old blocks into the new ones. */
export interface Entry {
  ino: number;
  type: number;
  name: Uint8Array;
  /** Bytes behind the name: the stored hash of an encrypted, folded name. */
  extra: Uint8Array;
}

const DOT = Uint8Array.of(0x2e);
const DOTDOT = Uint8Array.of(0x2e, 0x2e);
const NO_BYTES = new Uint8Array(0);

/** Rebuilds every directory that pass 2 gave up on. */
export function* rebuildDirectories(vol: Volume): Flow<void> {
  if (vol.report.mode !== 'all') return;
  if (vol.rebuild.size === 0) return;
  for (const ino of vol.rebuild) yield* rebuildDir(vol, ino, []);
  vol.restart = true;
}

/** Writes a directory anew, with some entries more; a growing one at twice its size. False when there is no room. */
export function* rebuildDir(
  vol: Volume,
  ino: number,
  more: Entry[],
  growing = false,
): Flow<boolean> {
  const record = yield* vol.inode(ino);
  if (record === null) return false;
  const seed = record.seed;
  const hashed = record.has(F.EXT4_ENCRYPT_FL) && record.has(F.EXT4_CASEFOLD_FL);
  const old = yield* gather(vol, record, hashed);
  const place = vol.dirs.search(ino);
  const named = place < 0 ? 0 : vol.parent.get(place) || vol.dotdot.get(place);
  const parent = ino === F.EXT4_ROOT_INO ? ino : named;
  const entries = distinct([...old, ...more]);
  const blocks = pack(
    vol,
    entries,
    ino,
    parent > 0 && parent <= vol.sb.inodes ? parent : F.EXT4_ROOT_INO,
  );
  if (growing) blocks.push(...blocks.map(() => emptyBlock(vol)));
  return yield* install(vol, ino, seed, blocks);
}

function emptyBlock(vol: Volume): Uint8Array {
  const room = vol.sb.blockSize - (vol.sums.on ? F.DE_TAIL_SIZE : 0);
  return encode([{ ino: 0, type: 0, name: NO_BYTES, extra: NO_BYTES }], room, vol.sb.blockSize);
}

/** All entries but "." and "..". What breaks a rule ends its block. */
function* gather(vol: Volume, record: Record, hashed: boolean): Flow<Entry[]> {
  const found: Entry[] = [];
  if (record.has(F.EXT4_INLINE_DATA_FL)) {
    for (const { ptr, len } of inlineParts(vol, record))
      take(new Leaf(vol, ptr, len, len), found, hashed);
    return found;
  }
  const indexed = record.has(F.EXT4_INDEX_FL);
  for (const { lblk, pblk } of yield* dirBlocksOf(vol, record.ino)) {
    const ptr = yield* vol.disk.get(pblk);
    if (indexed && lblk > 0 && Index.offset(vol, ptr, lblk) !== 0) continue;
    take(new Leaf(vol, ptr, vol.sb.blockSize, vol.sb.blockSize), found, hashed);
  }
  return found;
}

function take(leaf: Leaf, into: Entry[], hashed: boolean): void {
  for (let off = 0; leaf.isSound(off); off += leaf.recLen(off)) {
    const ino = leaf.ino(off);
    if (ino === 0 || leaf.isDot(off) || leaf.isDotDot(off) || leaf.nameLen(off) === 0) continue;
    const name = leaf.name(off).slice();
    const at = leaf.ptr + off + F.DE_NAME + Math.ceil(name.length / 4) * 4;
    const extra = hashed ? leaf.vol.disk.u8.slice(at, at + 8) : NO_BYTES;
    into.push({ ino, type: leaf.type(off), name, extra });
  }
}

/** A name that is there already gets a number behind it. */
function distinct(entries: Entry[]): Entry[] {
  const seen = new Set<string>();
  return entries.map((entry) => {
    let { name } = entry;
    for (let n = 0; seen.has(keyOf(name)); n++) {
      const tail = new TextEncoder().encode(`~${n}`);
      const kept = entry.name.subarray(0, F.EXT4_NAME_LEN - tail.length);
      name = Uint8Array.of(...kept, ...tail);
    }
    seen.add(keyOf(name));
    return { ...entry, name };
  });
}

function keyOf(name: Uint8Array): string {
  return String.fromCharCode(...name);
}

/** The entries in blocks, as bytes without their checksums. */
function pack(vol: Volume, entries: Entry[], ino: number, parent: number): Uint8Array[] {
  const typed = vol.incompat(F.INCOMPAT_FILETYPE);
  const room = vol.sb.blockSize - (vol.sums.on ? F.DE_TAIL_SIZE : 0);
  const dir = typed ? F.EXT4_FT_DIR : 0;
  const all = [
    { ino, type: dir, name: DOT, extra: NO_BYTES },
    { ino: parent, type: dir, name: DOTDOT, extra: NO_BYTES },
    ...entries,
  ];
  const blocks: Entry[][] = [[]];
  let used = 0;
  for (const entry of all) {
    const size = sizeOf(entry);
    if (used + size > room) {
      blocks.push([]);
      used = 0;
    }
    blocks[blocks.length - 1].push(entry);
    used += size;
  }
  return blocks.map((list) => encode(list, room, vol.sb.blockSize));
}

function sizeOf({ name, extra }: Entry): number {
  return F.DE_HEADER + Math.ceil(name.length / 4) * 4 + extra.length;
}

/** One block; the last entry takes what is left. */
function encode(list: Entry[], room: number, blockSize: number): Uint8Array {
  const bytes = new Uint8Array(blockSize);
  const dv = new DataView(bytes.buffer);
  let at = 0;
  list.forEach((entry, i) => {
    const len = i + 1 < list.length ? sizeOf(entry) : room - at;
    const raw = len < 65536 ? len : 65535;
    dv.setUint32(at + F.DE_INODE, entry.ino, true);
    dv.setUint16(at + F.DE_REC_LEN, raw, true);
    bytes[at + F.DE_NAME_LEN] = entry.name.length;
    bytes[at + F.DE_FILE_TYPE] = entry.type;
    bytes.set(entry.name, at + F.DE_NAME);
    bytes.set(entry.extra, at + F.DE_NAME + Math.ceil(entry.name.length / 4) * 4);
    at += len;
  });
  return bytes;
}

/** Writes the blocks, then has the inode name them. */
function* install(vol: Volume, ino: number, seed: number, blocks: Uint8Array[]): Flow<boolean> {
  const { disk, sb } = vol;
  const places = allocBlocks(vol, ino, blocks.length);
  const extents = vol.incompat(F.INCOMPAT_EXTENTS);
  const runs = (places ?? []).map((pblk, lblk) => ({ lblk, len: 1, pblk, unwritten: false }));
  const map = places === null ? null : yield* buildMap(vol, ino, seed, runs, extents);
  if (map === null || places === null) {
    vol.report.complain('no-space', { ino }, `no room to write directory ${ino} anew`);
    return false;
  }
  for (let i = 0; i < blocks.length; i++) {
    const ptr = disk.fresh(places[i]);
    disk.u8.set(blocks[i], ptr);
    sealLeaf(vol, ptr, seed);
    yield* disk.write(places[i], ptr);
  }
  yield* flushDevice(disk.device);
  const record = yield* vol.inode(ino);
  if (record === null) return false;
  if (record.has(F.EXT4_INLINE_DATA_FL)) dropInlineData(vol, record);
  disk.u8.set(map.root, record.ptr + F.I_BLOCK);
  record.clearFlag(F.EXT4_INDEX_FL | F.EXT4_INLINE_DATA_FL | F.EXT4_EXTENTS_FL);
  if (extents) record.put32(F.I_FLAGS, (record.flags | F.EXT4_EXTENTS_FL) >>> 0);
  record.setSize(blocks.length * sb.blockSize);
  const clusters = Math.ceil(blocks.length / sb.clusterBlocks) + map.nodes;
  record.setBlocks(clusters * sb.clusterBlocks * (sb.blockSize / 512));
  yield* vol.save(record);
  return true;
}

/** A directory that holds only itself and its parent. Its record must be empty. False when there is no room. */
export function* makeDir(vol: Volume, ino: number, parent: number, mode: number): Flow<boolean> {
  const record = yield* vol.inode(ino);
  if (record === null) return false;
  record.clear();
  const now = Math.floor(Date.now() / 1000) % 2 ** 32;
  record.put16(F.I_MODE, F.S_IFDIR + mode);
  record.put16(F.I_LINKS_COUNT, 2);
  for (const field of [F.I_ATIME, F.I_CTIME, F.I_MTIME]) record.put32(field, now);
  if (vol.sb.inodeSize > F.EXT4_GOOD_OLD_INODE_SIZE) record.put16(F.I_EXTRA_ISIZE, 28);
  const seed = record.seed;
  yield* vol.save(record);
  vol.inUse.add(ino);
  vol.setInodeType(ino, F.EXT4_FT_DIR);
  return yield* install(vol, ino, seed, pack(vol, [], ino, parent));
}

/** The root directory made anew: what it held turns up in lost+found. */
export function* makeRoot(vol: Volume): Flow<void> {
  yield* makeDir(vol, F.EXT4_ROOT_INO, F.EXT4_ROOT_INO, 0o755);
}
