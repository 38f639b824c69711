// Inodes. The object in memory holds what has no place on disk, and the place of the bytes; every field is read
// from linear memory through at(), which finds the bytes for this step and checks them again after each load.

import * as F from '../../assembly/format/ext4.ts';
import { assert } from '../assert.ts';
import type { Buffer } from '../cache/buffer.ts';
import { FileFolios } from '../cache/folio.ts';
import { badChecksum, corrupt, Ext4Error } from '../errno.ts';
import type { Journal } from '../jbd2/journal.ts';
import { choosePath, type DataPath } from './datapath.ts';
import type { Delayed } from './delayed.ts';
import { hasBit } from './features.ts';
import { readGroup } from './group.ts';
import { inodeChecksumHolds } from './inodesum.ts';
import type { NameHashes } from './namehashes.ts';
import type { Ext4Volume } from './volume.ts';

/** A buffer that holds a piece of an inode table. */
export const KIND_INODES = 2;
/** Inode numbers' low bits by which one in memory is found without asking the map. */
const NEAR = 63;
/** Inodes kept in memory. */
const MAX_INODES = 16384;

/** The last mapping looked up in a file: sequential access asks for it again. */
export interface MapMemo {
  lblk: number;
  len: number;
  pblk: number;
  kind: number;
}

export class Inode {
  readonly vol: Ext4Volume;
  readonly ino: number;
  /** Block of the inode table, and the byte in it. */
  readonly pblk: number;
  readonly off: number;
  /** Names looked up in this directory, with their inode numbers; 0 = not there. */
  names: Map<string, number> | null = null;
  /** What `names` does not have is not in this directory; or what the hashes do not, when names are too many. */
  allNames = false;
  hashes: NameHashes | null = null;
  /** One more than the group where the last file of this directory went; 0 = none yet. */
  hint = 0;
  /** The first block of this directory, when it is a list, that may have room. */
  room = 0;
  /** Open files and leases: the inode stays in memory. */
  users = 0;
  /** Size in memory, and the one the disk has or will with the running transaction. */
  size = 0;
  diskSize = 0;
  /** Delayed blocks, when there are some. */
  delayed: Delayed | null = null;
  /** The zeroed end of the block where the size on disk lies is not on disk yet: that size must not grow. */
  growPending = false;
  /** What writeback could not write: told once to each open file. */
  writeError: Ext4Error | null = null;
  writeErrors = 0;
  /** A new file, which may hold its first bytes inline. */
  mayInline = false;
  /** Where writing in order would go on, how much was so written, and how much of it lies in the cache. */
  streamNext = 0;
  streamed = 0;
  streamDirty = 0;
  /** Views of a DAX file that may be written: its blocks stay. */
  daxLeases = 0;
  /** Where the next held blocks are looked for; 0 = behind what is mapped. */
  holdGoal = 0;
  /** The newest transaction that changed more than times. */
  dataTid = 0;
  /** When its times were last set by a write, milliseconds. */
  touched = 0;
  mode = 0;
  flags = 0;
  generation = 0;
  seed = 0;
  path: DataPath = 'bufferhead';
  /** Its flags name another path than it has: it leaves memory at its last close. */
  reopen = false;
  #chosen = false;
  #buffer: Buffer | null = null;
  #folios: FileFolios | null = null;
  #memo: MapMemo | null = null;
  /** Address of bytes that a fast commit laid over those on disk; 0 when there are none. */
  #fixed = 0;
  /** The step that edits it, so that a step saves and seals it once. */
  #edits = 0;
  /** The round in which it is on the running transaction's list of records to seal. */
  #unsealed = 0;

  constructor(vol: Ext4Volume, ino: number, pblk: number, off: number) {
    this.vol = vol;
    this.ino = ino;
    this.pblk = pblk;
    this.off = off;
  }

  /** Its pages in the cache; made when first asked for: most inodes are only looked at. */
  get folios(): FileFolios {
    this.#folios ??= new FileFolios(this.vol.cache, this.ino);
    return this.#folios;
  }

  get memo(): MapMemo {
    this.#memo ??= { lblk: 0, len: 0, pblk: 0, kind: 0 };
    return this.#memo;
  }

  /** A name was added: not all of this directory's are known any more, unless the caller knows that one. */
  nameCame(): void {
    this.allNames = false;
    this.hashes = null;
  }

  /** Drops its pages, if it has any. */
  dropFolios(): void {
    this.#folios?.dropAll();
  }

  /** Address of the record's bytes, valid until the step ends. Throws Missing; EBADMSG, EUCLEAN. */
  at(): number {
    if (this.#fixed !== 0) return this.#fixed;
    const { cache } = this.vol;
    const held = this.#buffer;
    // What this turn holds stays where it is, and a buffer that was dropped is not up to date.
    if (held?.turn === cache.turn && held.uptodate && held.kind === KIND_INODES) {
      return held.ptr + this.off;
    }
    const buffer = cache.get(this.pblk);
    if (buffer !== this.#buffer || buffer.kind !== KIND_INODES) {
      buffer.kind = KIND_INODES;
      this.#load(buffer.ptr + this.off, this.vol.sums.on);
      this.#buffer = buffer;
    }
    return buffer.ptr + this.off;
  }

  /** Takes the bytes at `ptr`, which stay, for those on disk; their checksum says nothing. */
  fix(ptr: number): void {
    this.#load(ptr, false);
    this.#fixed = ptr;
  }

  u16(field: number): number {
    return this.vol.dv.getUint16(this.at() + field, true);
  }

  u32(field: number): number {
    return this.vol.dv.getUint32(this.at() + field, true);
  }

  get type(): number {
    return this.mode & F.S_IFMT;
  }

  get isDir(): boolean {
    return this.type === F.S_IFDIR;
  }

  get isFile(): boolean {
    return this.type === F.S_IFREG;
  }

  get isLink(): boolean {
    return this.type === F.S_IFLNK;
  }

  has(flag: number): boolean {
    return hasBit(this.flags, flag);
  }

  // ---- changing it, within a handle

  /** Address of the record for changes, until the step ends. The checksum follows when the transaction commits. */
  edit(): number {
    const ptr = this.at();
    const { journal } = this.vol;
    const buffer = this.#buffer as Buffer;
    assert(journal !== null && this.#fixed === 0, 'an inode is changed on a mount that writes');
    if (this.#edits === journal.step && buffer.tx !== null) return buffer.ptr + this.off;
    this.#edits = journal.step;
    journal.onUndo(reload, this, journal);
    journal.after(sealLater, this, journal);
    assert(ptr !== 0, 'an inode has bytes');
    return journal.write(buffer, this.off, this.vol.sb.inodeSize);
  }

  put16(field: number, value: number): void {
    this.vol.dv.setUint16(this.edit() + field, value, true);
  }

  put32(field: number, value: number): void {
    this.vol.dv.setUint32(this.edit() + field, value, true);
  }

  setMode(mode: number): void {
    this.put16(F.I_MODE, mode);
    this.mode = mode;
  }

  setFlags(flags: number): void {
    this.put32(F.I_FLAGS, flags >>> 0);
    this.flags = flags >>> 0;
  }

  /** The size on disk and in memory, bytes. */
  setSize(size: number): void {
    this.vol.journal!.onUndo(restoreSize, this, this.size);
    this.setDiskSize(size);
    this.size = size;
  }

  /** The size on disk alone. */
  setDiskSize(size: number): void {
    this.put32(F.I_SIZE_LO, size % 2 ** 32);
    if (this.isFile || this.isLargeDir(this.vol.sb.incompat)) {
      this.put32(F.I_SIZE_HIGH, Math.floor(size / 2 ** 32));
    }
    this.diskSize = size;
    this.dataTid = this.vol.journal!.tid;
  }

  get links(): number {
    return this.u16(F.I_LINKS_COUNT);
  }

  setLinks(links: number): void {
    this.put16(F.I_LINKS_COUNT, links);
  }

  /** Takes the record that was just made at its place, within a handle: its checksum follows when the
   *  transaction commits. */
  adoptRecord(buffer: Buffer): void {
    this.#chosen = false;
    this.#load(buffer.ptr + this.off, false);
    this.#buffer = buffer;
    buffer.kind = KIND_INODES;
    this.#edits = this.vol.journal!.step;
    this.dataTid = this.vol.journal!.tid;
    this.mayInline = this.isFile && hasBit(this.vol.sb.incompat, F.INCOMPAT_INLINE_DATA);
    this.vol.journal!.after(sealLater, this, this.vol.journal!);
  }

  /** Reads the fields in memory afresh from the record at its place: after it was made anew there. */
  reload(): void {
    this.#buffer = null;
    if (this.#memo !== null) this.#memo.len = 0;
  }

  /** Bytes of the extra fields behind the first 128; 0 in small inodes. */
  get extraSize(): number {
    return this.vol.sb.inodeSize > F.EXT4_GOOD_OLD_INODE_SIZE ? this.u16(F.I_EXTRA_ISIZE) : 0;
  }

  /** True when the extra field at `field`, `bytes` long, is there. */
  hasExtra(field: number, bytes: number): boolean {
    return F.EXT4_GOOD_OLD_INODE_SIZE + this.extraSize >= field + bytes;
  }

  #load(ptr: number, verify: boolean): void {
    const { dv, sb } = this.vol;
    this.mode = dv.getUint16(ptr + F.I_MODE, true);
    this.flags = dv.getUint32(ptr + F.I_FLAGS, true);
    this.generation = dv.getUint32(ptr + F.I_GENERATION, true);
    this.#checkExtra(ptr);
    this.seed = this.vol.sums.inodeSeed(this.ino, this.generation);
    if (verify) this.#verify(ptr);
    const low = dv.getUint32(ptr + F.I_SIZE_LO, true);
    const wide = this.isFile || this.isLargeDir(sb.incompat);
    const high = wide ? dv.getUint32(ptr + F.I_SIZE_HIGH, true) : 0;
    if (high >= 2 ** 21) throw corrupt('inode', `${high} * 2^32`, this.#where('i_size'));
    this.diskSize = high * 2 ** 32 + low;
    if (!this.vol.dirtyInodes.has(this)) this.size = this.diskSize;
    // Chosen once: a change of flags counts when the inode enters memory anew. Inline data comes and goes.
    const inline = this.has(F.EXT4_INLINE_DATA_FL);
    if (!this.#chosen || inline !== (this.path === 'inline')) this.path = choosePath(this);
    this.#chosen = true;
  }

  /** What the running transaction changed has no checksum yet. */
  #verify(ptr: number): void {
    if (inodeChecksumHolds(this.vol, ptr, this.seed)) return;
    const { journal } = this.vol;
    journal?.running?.sealRecords(journal.hooks.sealRecord);
    if (!inodeChecksumHolds(this.vol, ptr, this.seed)) throw badChecksum('inode', this.#where());
  }

  /** Its checksum is written when the transaction commits. */
  sealLater(journal: Journal): void {
    const tx = journal.running;
    if (tx === null || this.#unsealed === tx.round || !this.vol.sums.on) return;
    this.#unsealed = tx.round;
    tx.sealLater(this.pblk, this.off, this.ino);
  }

  isLargeDir(incompat: number): boolean {
    return this.isDir && hasBit(incompat, F.INCOMPAT_LARGEDIR);
  }

  #checkExtra(ptr: number): void {
    const { dv, sb } = this.vol;
    if (sb.inodeSize === F.EXT4_GOOD_OLD_INODE_SIZE) return;
    const extra = dv.getUint16(ptr + F.I_EXTRA_ISIZE, true);
    const fits = F.EXT4_GOOD_OLD_INODE_SIZE + extra <= sb.inodeSize && extra % 4 === 0;
    if (!fits) throw corrupt('inode', `${extra}`, this.#where('i_extra_isize'));
  }

  #where(field?: string): { ino: number; block: number; field?: string } {
    return { ino: this.ino, block: this.pblk, field };
  }
}

/** Undo of an edit: the fields in memory come from the bytes again. */
function reload(inode: Inode, journal: Journal): void {
  inode.reload();
  inode.names = null;
  inode.nameCame();
  // It may have been sealed since the bytes that come back were saved.
  inode.sealLater(journal);
}

function restoreSize(inode: Inode, size: number): void {
  inode.size = size;
}

function sealLater(inode: Inode, journal: Journal): void {
  inode.sealLater(journal);
}

/** The inodes in memory, by number. */
export class Inodes {
  readonly vol: Ext4Volume;
  readonly #map = new Map<number, Inode>();
  /** The last one asked for of each number's low bits. */
  readonly #near: (Inode | undefined)[] = new Array(NEAR + 1).fill(undefined);
  /** First block of each group's inode table, once read. */
  readonly #tables = new Map<number, number>();

  constructor(vol: Ext4Volume) {
    this.vol = vol;
  }

  /** The inode of a number, its bytes checked. Throws Missing; EUCLEAN for a number out of range, an inode that
   *  is not in use or breaks a rule; EBADMSG. */
  get(ino: number): Inode {
    const near = this.#near[ino & NEAR];
    if (near?.ino === ino) return near;
    const known = this.#map.get(ino);
    if (known !== undefined) {
      this.#near[ino & NEAR] = known;
      return known;
    }
    const inode = this.raw(ino);
    checkInUse(inode);
    this.adopt(inode);
    return inode;
  }

  /** As get(), but without asking whether the inode is in use, and not kept. For dumps and the checker. */
  raw(ino: number): Inode {
    const inode = this.#place(ino);
    const fixed = this.vol.fast?.placeOf(ino) ?? 0;
    if (fixed === 0) inode.at();
    else inode.fix(fixed);
    return inode;
  }

  /** Address of an inode's bytes on disk, unchecked, or 0 for a number out of range. Throws Missing. */
  bytesOf(ino: number): number {
    if (ino < 1 || ino > this.vol.sb.inodes) return 0;
    const { pblk, off } = this.#place(ino);
    return this.vol.cache.get(pblk).ptr + off;
  }

  #place(ino: number): Inode {
    const { sb } = this.vol;
    if (ino < 1 || ino > sb.inodes)
      throw corrupt('inode number', `${ino} of ${sb.inodes}`, { ino });
    const group = Math.floor((ino - 1) / sb.inodesPerGroup);
    const byte = ((ino - 1) % sb.inodesPerGroup) * sb.inodeSize;
    const pblk = this.#table(group) + Math.floor(byte / sb.blockSize);
    return new Inode(this.vol, ino, pblk, byte % sb.blockSize);
  }

  /** The inode in memory, without looking at the disk. */
  known(ino: number): Inode | undefined {
    return this.#map.get(ino);
  }

  /** Takes a new inode, just made on disk, into memory. */
  adopt(inode: Inode): void {
    if (this.#map.size >= MAX_INODES) this.#evict();
    this.#map.set(inode.ino, inode);
    this.#near[inode.ino & NEAR] = inode;
  }

  #remove(ino: number): void {
    this.#map.delete(ino);
    if (this.#near[ino & NEAR]?.ino === ino) this.#near[ino & NEAR] = undefined;
  }

  /** Forgets an inode: it was freed, or its creation undone. */
  forget(ino: number): void {
    const known = this.#map.get(ino);
    if (known === undefined) return;
    known.dropFolios();
    this.#remove(ino);
  }

  /** An inode object at its place on disk, whatever is there: for one that is about to be made. Throws Missing. */
  blank(ino: number): Inode {
    return this.#place(ino);
  }

  /** The open ones are read again: what they said is not so any more. */
  reloadAll(): void {
    for (const inode of this.#map.values()) {
      inode.reload();
      inode.names = null;
      inode.nameCame();
      inode.hint = 0;
      inode.room = 0;
      inode.mayInline = false;
      inode.holdGoal = 0;
    }
  }

  /** Forgets every inode that is not open. */
  dropAll(): void {
    for (const [ino, inode] of this.#map) {
      inode.dropFolios();
      this.vol.dirtyInodes.delete(inode);
      if (inode.users === 0) this.#remove(ino);
    }
    this.#tables.clear();
  }

  #table(group: number): number {
    let table = this.#tables.get(group);
    if (table === undefined) {
      table = readGroup(this.vol, group).inodeTable;
      this.#tables.set(group, table);
    }
    return table;
  }

  /** Drops an eighth of the inodes, oldest first, that are not open: directories, which know names, if there is nothing
   *  else. */
  #evict(): void {
    const left = this.#evictSome(MAX_INODES / 8, false);
    if (left > 0) this.#evictSome(left, true);
  }

  #evictSome(wanted: number, dirs: boolean): number {
    let left = wanted;
    for (const [ino, inode] of this.#map) {
      if (inode.users > 0 || ino === F.EXT4_ROOT_INO || this.vol.dirtyInodes.has(inode)) continue;
      if (inode.isDir !== dirs) continue;
      inode.dropFolios();
      this.#remove(ino);
      if (--left === 0) break;
    }
    return left;
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

function checkInUse(inode: Inode): void {
  const where = { ino: inode.ino, block: inode.pblk };
  if (inode.u16(F.I_LINKS_COUNT) === 0 || inode.mode === 0) {
    throw corrupt('inode', 'not in use', { ...where, field: 'i_links_count' });
  }
  if (!TYPES.includes(inode.type)) {
    throw corrupt('inode', `0${inode.mode.toString(8)}`, { ...where, field: 'i_mode' });
  }
  if (inode.has(F.EXT4_INLINE_DATA_FL) && !hasBit(inode.vol.sb.incompat, F.INCOMPAT_INLINE_DATA)) {
    throw corrupt('inode', 'inline data without the feature', { ...where, field: 'i_flags' });
  }
}

/** ENOKEY for what only the holder of the key can read: refused one by one, never per mount. */
export function refuseEncrypted(inode: Inode): void {
  if (!inode.has(F.EXT4_ENCRYPT_FL)) return;
  throw new Ext4Error('ENOKEY', { record: 'inode', ino: inode.ino, reason: 'encrypted' });
}
