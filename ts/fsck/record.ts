// An inode's record as it lies in linear memory, fields read and changed in place. `dirty` says that it must be sealed
// and written. Sizes and counts of blocks are put together from their halves as the file type says.

import * as F from '../../assembly/format/ext4.ts';
import { hasBit } from '../ext4/features.ts';
import type { Volume } from './volume.ts';

export class Record {
  readonly vol: Volume;
  ino: number;
  ptr: number;
  dirty = false;
  readonly #dv: DataView;

  constructor(vol: Volume, ino: number, ptr: number) {
    this.vol = vol;
    this.ino = ino;
    this.ptr = ptr;
    this.#dv = vol.disk.dv;
  }

  u8(field: number): number {
    return this.#dv.getUint8(this.ptr + field);
  }

  u16(field: number): number {
    return this.#dv.getUint16(this.ptr + field, true);
  }

  u32(field: number): number {
    return this.#dv.getUint32(this.ptr + field, true);
  }

  put16(field: number, value: number): void {
    this.#dv.setUint16(this.ptr + field, value, true);
    this.dirty = true;
  }

  put32(field: number, value: number): void {
    this.#dv.setUint32(this.ptr + field, value, true);
    this.dirty = true;
  }

  get mode(): number {
    return this.u16(F.I_MODE);
  }

  get type(): number {
    return this.u16(F.I_MODE) & F.S_IFMT;
  }

  get flags(): number {
    return this.u32(F.I_FLAGS);
  }

  has(flag: number): boolean {
    return hasBit(this.u32(F.I_FLAGS), flag);
  }

  clearFlag(flag: number): void {
    this.put32(F.I_FLAGS, (this.flags & ~flag) >>> 0);
  }

  get size(): number {
    return this.u32(F.I_SIZE_HIGH) * 2 ** 32 + this.u32(F.I_SIZE_LO);
  }

  setSize(size: number): void {
    this.put32(F.I_SIZE_LO, size % 2 ** 32);
    this.put32(F.I_SIZE_HIGH, Math.floor(size / 2 ** 32));
  }

  /** i_blocks as it is written, in its own unit. */
  get blocks(): number {
    const high = this.vol.roCompat(F.RO_COMPAT_HUGE_FILE) ? this.u16(F.I_BLOCKS_HIGH) : 0;
    return high * 2 ** 32 + this.u32(F.I_BLOCKS_LO);
  }

  setBlocks(blocks: number): void {
    this.put32(F.I_BLOCKS_LO, blocks % 2 ** 32);
    if (this.vol.roCompat(F.RO_COMPAT_HUGE_FILE))
      this.put16(F.I_BLOCKS_HIGH, Math.floor(blocks / 2 ** 32));
  }

  get fileAcl(): number {
    const high = this.vol.has64 ? this.u16(F.I_FILE_ACL_HIGH) : 0;
    return high * 2 ** 32 + this.u32(F.I_FILE_ACL_LO);
  }

  setFileAcl(pblk: number): void {
    this.put32(F.I_FILE_ACL_LO, pblk % 2 ** 32);
    if (this.vol.has64) this.put16(F.I_FILE_ACL_HIGH, Math.floor(pblk / 2 ** 32));
  }

  get links(): number {
    return this.u16(F.I_LINKS_COUNT);
  }

  get extraSize(): number {
    const { inodeSize } = this.vol.sb;
    return inodeSize > F.EXT4_GOOD_OLD_INODE_SIZE ? this.u16(F.I_EXTRA_ISIZE) : 0;
  }

  /** Checksum state from which all records of this inode are summed. */
  get seed(): number {
    return this.vol.sums.inodeSeed(this.ino, this.u32(F.I_GENERATION));
  }

  /** Whether the upper half of the checksum has its place. */
  get #highSum(): boolean {
    const { inodeSize } = this.vol.sb;
    return inodeSize > F.EXT4_GOOD_OLD_INODE_SIZE && this.u16(F.I_EXTRA_ISIZE) >= 4;
  }

  /** The checksum that the record should carry; where there is no upper half, the lower one only. */
  checksum(): number {
    const dv = this.#dv;
    const { ptr, vol } = this;
    const high = this.#highSum;
    const low = dv.getUint16(ptr + F.I_CHECKSUM_LO, true);
    const up = high ? dv.getUint16(ptr + F.I_CHECKSUM_HI, true) : 0;
    dv.setUint16(ptr + F.I_CHECKSUM_LO, 0, true);
    if (high) dv.setUint16(ptr + F.I_CHECKSUM_HI, 0, true);
    const sum = vol.sums.run(this.seed, ptr, vol.sb.inodeSize);
    dv.setUint16(ptr + F.I_CHECKSUM_LO, low, true);
    if (high) dv.setUint16(ptr + F.I_CHECKSUM_HI, up, true);
    return high ? sum : sum % 65536;
  }

  /** True when the record's checksum is right, or it has none. */
  isSummed(): boolean {
    if (!this.vol.sums.on) return true;
    const up = this.#highSum ? this.u16(F.I_CHECKSUM_HI) * 65536 : 0;
    return up + this.u16(F.I_CHECKSUM_LO) === this.checksum();
  }

  seal(): void {
    if (!this.vol.sums.on) return;
    const sum = this.checksum();
    this.#dv.setUint16(this.ptr + F.I_CHECKSUM_LO, sum % 65536, true);
    if (this.#highSum)
      this.#dv.setUint16(this.ptr + F.I_CHECKSUM_HI, Math.floor(sum / 65536), true);
  }

  /** Makes the record that of an inode not in use. */
  clear(): void {
    this.vol.disk.kernels.exports.zero(this.ptr, this.vol.sb.inodeSize);
    this.dirty = true;
  }
}
