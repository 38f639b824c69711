// Inode records as fast commits have them, made right for the tree: counts, the map and what is the tree's own are not
// taken from them. Each function is a step with a handle of its own. EUCLEAN for what no file system logs.

import { MAP_WRITTEN } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/ext4.ts';
import { corrupt, type Ext4Error } from '../errno.ts';
import { type FastLife, type FastPiece, settle } from './fastmodel.ts';
import { hasBit } from './features.ts';
import { type Group, readGroup, usedInodes } from './group.ts';
import { inodeBitmap } from './groupwrite.ts';
import { emptyMap, NEW_INODE_CREDITS, useInode } from './ialloc.ts';
import { maxIndirectBlocks } from './indirect.ts';
import { dropInline, inlineData, isInlineData } from './inlinedir.ts';
import type { Inode } from './inode.ts';
import { orphanOf } from './orphanwrite.ts';
import { setLargeFile } from './size.ts';
import type { Ext4Volume } from './volume.ts';
import { inodeRoom, type PackedXattr, packedBytes, packInode, unpackInode } from './xattrpack.ts';

/** Flags that speak of blocks. */
const MAPPED = F.EXT4_EXTENTS_FL | F.EXT4_INLINE_DATA_FL | F.EXT4_HUGE_FILE_FL;
/** Flags that users change; others an inode has from its birth, or by changes that are never logged so. */
const USERS =
  F.EXT4_SECRM_FL |
  F.EXT4_UNRM_FL |
  F.EXT4_SYNC_FL |
  F.EXT4_IMMUTABLE_FL |
  F.EXT4_APPEND_FL |
  F.EXT4_NODUMP_FL |
  F.EXT4_NOATIME_FL |
  F.EXT4_NOTAIL_FL |
  F.EXT4_DIRSYNC_FL |
  F.EXT4_TOPDIR_FL |
  F.EXT4_DAX_FL |
  F.EXT4_PROJINHERIT_FL;
/** Flags of a new inode; one that needs more than its record is none of these. */
const BORN = USERS | MAPPED | F.EXT4_JOURNAL_DATA_FL;
const BORN_DIR = BORN | F.EXT4_INDEX_FL | F.EXT4_CASEFOLD_FL;
const LOWEST_EXTRA = 4;
/** Blocks of an inode table that are zeroed for one new inode. */
const MAX_GAP = 32;

function bad(ino: number, field: string): Ext4Error {
  return corrupt('fast commit', 'an inode that nobody logs', { ino, field });
}

/** A record's fields. */
class Raw {
  readonly bytes: Uint8Array;
  readonly #dv: DataView;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#dv = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  u16(field: number): number {
    return this.#dv.getUint16(field, true);
  }

  u32(field: number): number {
    return this.#dv.getUint32(field, true);
  }

  get type(): number {
    return this.u16(F.I_MODE) & F.S_IFMT;
  }

  get flags(): number {
    return this.u32(F.I_FLAGS);
  }

  has(flag: number): boolean {
    return hasBit(this.flags, flag);
  }

  get size(): number {
    return this.u32(F.I_SIZE_LO) + this.u32(F.I_SIZE_HIGH) * 2 ** 32;
  }

  /** Where its fields end. */
  get end(): number {
    if (this.bytes.length < F.I_EXTRA_ISIZE + LOWEST_EXTRA) return F.EXT4_GOOD_OLD_INODE_SIZE;
    const end = F.EXT4_GOOD_OLD_INODE_SIZE + this.u16(F.I_EXTRA_ISIZE);
    return Math.min(this.bytes.length, end);
  }

  /** Where what counts of it ends: inline data goes on behind the fields. */
  get reach(): number {
    return this.has(F.EXT4_INLINE_DATA_FL) ? this.bytes.length : this.end;
  }

  get hasXattrBlock(): boolean {
    return this.u32(F.I_FILE_ACL_LO) !== 0 || this.u16(F.I_FILE_ACL_HIGH) !== 0;
  }
}

const TYPES = [
  F.S_IFREG,
  F.S_IFDIR,
  F.S_IFLNK,
  F.S_IFCHR,
  F.S_IFBLK,
  F.S_IFIFO,
  F.S_IFSOCK,
] as number[];

/** Makes a new inode: its bit, its record; links are counted names, there is no map yet. */
export function makeStep(vol: Ext4Volume, life: FastLife): void {
  const { sb, journal, cache, dv, inodes } = vol;
  const { ino } = life;
  if (life.raw === null) throw bad(ino, 'i_mode');
  const raw = new Raw(life.raw);
  checkNew(vol, life, raw);
  const group = readGroup(vol, Math.floor((ino - 1) / sb.inodesPerGroup));
  const bit = (ino - 1) % sb.inodesPerGroup;
  journal!.start(NEW_INODE_CREDITS + 2 + MAX_GAP);
  zeroGap(vol, group, bit);
  const bitmap = inodeBitmap(vol, group);
  useInode(vol, group, bitmap, bit, life.isDir);
  const inode = inodes.blank(ino);
  const buffer = cache.get(inode.pblk);
  const ptr = journal!.write(buffer, inode.off, sb.inodeSize);
  cache.kernels.exports.zero(ptr, sb.inodeSize);
  vol.u8.set(raw.bytes.subarray(0, life.isDir ? raw.end : raw.reach), ptr);
  dv.setUint16(ptr + F.I_LINKS_COUNT, life.isDir ? 2 : life.links, true);
  dv.setUint32(ptr + F.I_BLOCKS_LO, 0, true);
  dv.setUint16(ptr + F.I_BLOCKS_HIGH, 0, true);
  dv.setUint32(ptr + F.I_DTIME, 0, true);
  dv.setUint32(ptr + F.I_FLAGS, newFlags(vol, life, raw), true);
  if (life.isDir) {
    dv.setUint32(ptr + F.I_SIZE_LO, 0, true);
    dv.setUint32(ptr + F.I_SIZE_HIGH, 0, true);
  }
  if (isMapped(life, raw)) emptyMap(vol, ptr);
  inodes.forget(ino);
  inode.adoptRecord(buffer);
  inodes.adopt(inode);
  journal!.onUndo(unmake, vol, ino);
  if (inode.path === 'inline') tidyInline(inode, []);
  setLargeFile(inode, inode.size);
  journal!.stop();
}

/** Slots before a new inode that were never used, and by now are none that nobody looks at: what lies there goes. */
function zeroGap(vol: Ext4Volume, group: Group, bit: number): void {
  const { sb, cache, journal } = vol;
  const from = usedInodes(vol, group);
  if (from >= bit || hasBit(group.flags, F.EXT4_BG_INODE_ZEROED)) return;
  const first = group.number * sb.inodesPerGroup + 1;
  if ((bit - from) * sb.inodeSize > (MAX_GAP - 1) * sb.blockSize) throw bad(first + bit, 'fc_ino');
  for (let slot = from; slot < bit; slot++) {
    const { pblk, off } = vol.inodes.blank(first + slot);
    const ptr = journal!.write(cache.get(pblk), off, sb.inodeSize);
    cache.kernels.exports.zero(ptr, sb.inodeSize);
  }
}

function unmake(vol: Ext4Volume, ino: number): void {
  vol.inodes.forget(ino);
}

function checkNew(vol: Ext4Volume, { ino, isDir, links, pieces }: FastLife, raw: Raw): void {
  if (!TYPES.includes(raw.type)) throw bad(ino, 'i_mode');
  if (raw.has(~(isDir ? BORN_DIR : BORN))) throw bad(ino, 'i_flags');
  if (raw.hasXattrBlock) throw bad(ino, 'i_file_acl');
  if (isDir && (links !== 1 || pieces.length > 0)) throw bad(ino, 'i_links_count');
  if (raw.u32(F.I_OBSO_FADDR) !== 0) throw bad(ino, 'i_faddr');
  if (!isDir) checkData(vol, ino, raw, pieces.length > 0);
  if (raw.type === F.S_IFLNK && pieces.length > 0) {
    if (raw.size < F.I_BLOCK_SIZE) throw bad(ino, 'i_size');
    checkLong(ino, settle(pieces));
  }
  if (!raw.has(F.EXT4_INLINE_DATA_FL) || isDir) return;
  if (!hasBit(vol.sb.incompat, F.INCOMPAT_INLINE_DATA)) throw bad(ino, 'i_flags');
  if (raw.bytes.length !== vol.sb.inodeSize) throw bad(ino, 'i_flags');
}

/** What is not a directory: its size fits its kind. */
function checkData(vol: Ext4Volume, ino: number, raw: Raw, mapped: boolean): void {
  const { type, size } = raw;
  const { sb } = vol;
  const maps = type === F.S_IFREG || type === F.S_IFLNK;
  if (!maps && (mapped || size !== 0 || raw.has(MAPPED))) throw bad(ino, 'i_flags');
  if (raw.has(F.EXT4_EXTENTS_FL) && !hasBit(sb.incompat, F.INCOMPAT_EXTENTS)) {
    throw bad(ino, 'i_flags');
  }
  const extents = raw.has(F.EXT4_EXTENTS_FL);
  const blocks = extents ? 2 ** 32 - 1 : Math.min(maxIndirectBlocks(sb.blockSize), 2 ** 32 - 1);
  if (type === F.S_IFREG && size > blocks * sb.blockSize) throw bad(ino, 'i_size');
  if (type !== F.S_IFLNK) return;
  if (size === 0 || size >= sb.blockSize) throw bad(ino, 'i_size');
  if (!mapped && !raw.has(MAPPED)) checkShort(ino, raw);
}

/** A symlink in its inode: the target as long as it says, zeros behind it. */
function checkShort(ino: number, { bytes, size }: Raw): void {
  const place = bytes.subarray(F.I_BLOCK, F.I_BLOCK + F.I_BLOCK_SIZE);
  const end = place.indexOf(0);
  if (end !== size) throw bad(ino, 'i_size');
}

/** The target of a symlink that is too long for its inode takes one block. */
function checkLong(ino: number, [first, ...others]: FastPiece[]): void {
  const { lblk, len, kind } = first;
  if (others.length > 0 || lblk !== 0 || len !== 1 || kind !== MAP_WRITTEN)
    throw bad(ino, 'i_block');
}

/** A directory gets its map when it gets its first block. */
function newFlags({ sb }: Ext4Volume, { isDir }: FastLife, raw: Raw): number {
  const flags = raw.flags & ~F.EXT4_HUGE_FILE_FL;
  if (!isDir) return flags >>> 0;
  const extents = hasBit(sb.incompat, F.INCOMPAT_EXTENTS) ? F.EXT4_EXTENTS_FL : 0;
  return ((flags & ~F.EXT4_INDEX_FL & ~F.EXT4_INLINE_DATA_FL) | extents) >>> 0;
}

/** Whether the place of the map holds one, and not a target, a device number or the data. */
function isMapped({ isDir, pieces }: FastLife, raw: Raw): boolean {
  if (isDir) return true;
  if (raw.has(F.EXT4_INLINE_DATA_FL)) return false;
  if (raw.type === F.S_IFREG) return true;
  return raw.type === F.S_IFLNK && (raw.has(F.EXT4_EXTENTS_FL) || pieces.length > 0);
}

/** Brings an inode that stays up to date. Its links are what names make of them. */
export function updateStep(vol: Ext4Volume, life: FastLife): void {
  const inode = orphanOf(vol, life.ino);
  const { raw } = life;
  if (life.pieces.length > 0 && !inode.isFile) throw bad(life.ino, 'i_block');
  if (raw !== null) checkSame(inode, new Raw(raw));
  vol.journal!.start(NEW_INODE_CREDITS);
  if (raw !== null) {
    const before = inode.path === 'inline' && !inode.isDir ? unpackInode(inode) : [];
    overwrite(inode, new Raw(raw));
    if (inode.path === 'inline' && !inode.isDir) tidyInline(inode, before);
  }
  if (!inode.isDir) inode.setLinks(life.links);
  setLargeFile(inode, inode.size);
  vol.journal!.stop();
}

function checkSame(inode: Inode, raw: Raw): void {
  const { ino, vol } = inode;
  if (raw.type !== inode.type) throw bad(ino, 'i_mode');
  if (raw.u32(F.I_OBSO_FADDR) !== inode.u32(F.I_OBSO_FADDR)) throw bad(ino, 'i_faddr');
  if (raw.u32(F.I_GENERATION) !== inode.generation) throw bad(ino, 'i_generation');
  const free = USERS | MAPPED | (inode.isDir ? F.EXT4_INDEX_FL : 0);
  if (hasBit(raw.flags ^ inode.flags, ~free)) throw bad(ino, 'i_flags');
  const acl = [raw.u32(F.I_FILE_ACL_LO), raw.u16(F.I_FILE_ACL_HIGH)];
  if (acl[0] !== inode.u32(F.I_FILE_ACL_LO) || acl[1] !== inode.u16(F.I_FILE_ACL_HIGH)) {
    throw bad(ino, 'i_file_acl');
  }
  const wide = vol.sb.inodeSize > F.EXT4_GOOD_OLD_INODE_SIZE;
  if (wide && raw.end !== F.EXT4_GOOD_OLD_INODE_SIZE + inode.extraSize) {
    throw bad(ino, 'i_extra_isize');
  }
  if (!inode.isDir) checkStays(inode, raw);
}

/** Of a file that stays: data leaves the inode, and never comes into it. */
function checkStays(inode: Inode, raw: Raw): void {
  const { ino, vol } = inode;
  const inline = raw.has(F.EXT4_INLINE_DATA_FL);
  const extents = raw.has(F.EXT4_EXTENTS_FL);
  if (inline && inode.path !== 'inline') throw bad(ino, 'i_flags');
  if (inline && raw.bytes.length !== vol.sb.inodeSize) throw bad(ino, 'i_flags');
  if (inode.path !== 'inline' && extents !== inode.has(F.EXT4_EXTENTS_FL))
    throw bad(ino, 'i_flags');
  if (inode.isLink && raw.size !== inode.size) throw bad(ino, 'i_size');
  checkData(vol, ino, raw, false);
}

/** Of the xattrs in a record with inline data only that data counts: others are as they were before. */
function tidyInline(inode: Inode, before: PackedXattr[]): void {
  const { ino, vol } = inode;
  const data = unpackInode(inode).find(isInlineData);
  if (data === undefined || data.inum !== 0) throw bad(ino, 'i_flags');
  if (inode.size > F.I_BLOCK_SIZE + data.value.length) throw bad(ino, 'i_size');
  const others = before.filter((x) => !isInlineData(x));
  const list = [inlineData(data.value), ...others];
  const room = inodeRoom(inode, inode.at());
  if (room === null || packedBytes(list) > room.end - room.first) throw bad(ino, 'i_extra_isize');
  vol.cache.kernels.exports.zero(room.first - F.IH_SIZE, room.end - room.first + F.IH_SIZE);
  packInode(inode, list);
}

/** Takes the record's fields, but for what is the tree's: links, blocks, the map, the list of orphans. Of a directory
 *  its size and how it is laid out too. */
function overwrite(inode: Inode, raw: Raw): void {
  const { vol } = inode;
  const inline = raw.has(F.EXT4_INLINE_DATA_FL);
  if (inode.path === 'inline' && !inline && !inode.isDir) dropInline(inode);
  const ptr = inode.edit();
  const old = new Raw(vol.u8.slice(ptr, ptr + vol.sb.inodeSize));
  const whole = inline && !inode.isDir;
  const end = whole ? raw.bytes.length : raw.end;
  vol.u8.set(raw.bytes.subarray(0, F.I_BLOCK), ptr);
  const from = whole ? F.I_BLOCK : F.I_GENERATION;
  vol.u8.set(raw.bytes.subarray(from, end), ptr + from);
  const keep = (field: number, size: number) =>
    vol.u8.set(old.bytes.subarray(field, field + size), ptr + field);
  keep(F.I_LINKS_COUNT, 2);
  keep(F.I_BLOCKS_LO, 4);
  keep(F.I_BLOCKS_HIGH, 2);
  if (vol.orphans.has(inode.ino)) keep(F.I_DTIME, 4);
  else vol.dv.setUint32(ptr + F.I_DTIME, 0, true);
  if (inode.isDir) {
    keep(F.I_SIZE_LO, 4);
    keep(F.I_SIZE_HIGH, 4);
  }
  const tree = inode.isDir ? MAPPED | F.EXT4_INDEX_FL : F.EXT4_HUGE_FILE_FL;
  const flags = (raw.flags & ~tree) | (old.flags & tree);
  vol.dv.setUint32(ptr + F.I_FLAGS, flags >>> 0, true);
  inode.adoptRecord(vol.cache.get(inode.pblk));
  inode.memo.len = 0;
}
