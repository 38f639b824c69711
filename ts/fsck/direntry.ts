// One block of directory entries, or the entries of an inline directory: walked by hand, because a block that breaks a
// rule is to be mended, not refused. A Leaf is a window on bytes in linear memory.

import * as F from '../../assembly/format/ext4.ts';
import type { Volume } from './volume.ts';

const LEAST = 12;

export class Leaf {
  readonly vol: Volume;
  readonly ptr: number;
  /** Bytes that entries fill: the block without its tail. */
  readonly len: number;
  /** Bytes of the whole block; decides how lengths are written. */
  readonly whole: number;

  constructor(vol: Volume, ptr: number, len: number, whole: number) {
    this.vol = vol;
    this.ptr = ptr;
    this.len = len;
    this.whole = whole;
  }

  ino(off: number): number {
    return this.vol.disk.dv.getUint32(this.ptr + off + F.DE_INODE, true);
  }

  setIno(off: number, ino: number): void {
    this.vol.disk.dv.setUint32(this.ptr + off + F.DE_INODE, ino, true);
  }

  recLen(off: number): number {
    const raw = this.vol.disk.dv.getUint16(this.ptr + off + F.DE_REC_LEN, true);
    if (this.whole < 65536) return raw;
    if (raw === 65535 || raw === 0) return this.whole;
    return (raw & 65532) + (raw & 3) * 65536;
  }

  setRecLen(off: number, len: number): void {
    const raw = len < 65536 ? len : len === 65536 ? 65535 : (len & 65532) | (len >>> 16);
    this.vol.disk.dv.setUint16(this.ptr + off + F.DE_REC_LEN, raw, true);
  }

  nameLen(off: number): number {
    return this.vol.disk.u8[this.ptr + off + F.DE_NAME_LEN];
  }

  type(off: number): number {
    return this.vol.disk.u8[this.ptr + off + F.DE_FILE_TYPE];
  }

  setType(off: number, type: number): void {
    this.vol.disk.u8[this.ptr + off + F.DE_FILE_TYPE] = type;
  }

  name(off: number): Uint8Array {
    const at = this.ptr + off + F.DE_NAME;
    return this.vol.disk.u8.subarray(at, at + this.nameLen(off));
  }

  /** Whether an entry is whole: inside the block, its name inside it. */
  isSound(off: number): boolean {
    if (this.len - off < LEAST) return false;
    const rec = this.recLen(off);
    if (rec < LEAST || rec % 4 !== 0 || rec > this.len - off) return false;
    return this.ino(off) === 0 ? rec >= LEAST : F.DE_HEADER + this.nameLen(off) <= rec;
  }

  isDot(off: number): boolean {
    return this.nameLen(off) === 1 && this.vol.disk.u8[this.ptr + off + F.DE_NAME] === 0x2e;
  }

  isDotDot(off: number): boolean {
    const at = this.ptr + off + F.DE_NAME;
    const { u8 } = this.vol.disk;
    return this.nameLen(off) === 2 && u8[at] === 0x2e && u8[at + 1] === 0x2e;
  }

  /** Text of a name for a message. */
  text(off: number): string {
    return JSON.stringify(new TextDecoder().decode(this.name(off).slice()));
  }

  /** Writes an entry that takes `len` bytes. */
  put(off: number, ino: number, len: number, name: Uint8Array, type: number): void {
    const { u8 } = this.vol.disk;
    this.setIno(off, ino);
    this.setRecLen(off, len);
    u8[this.ptr + off + F.DE_NAME_LEN] = name.length;
    this.setType(off, type);
    u8.set(name, this.ptr + off + F.DE_NAME);
  }
}

/** Whether the block at `ptr` ends with the entry that holds a checksum. */
export function hasTail(vol: Volume, ptr: number): boolean {
  const { dv } = vol.disk;
  const tail = ptr + vol.sb.blockSize - F.DE_TAIL_SIZE;
  return (
    dv.getUint32(tail, true) === 0 &&
    dv.getUint16(tail + F.DE_REC_LEN, true) === F.DE_TAIL_SIZE &&
    dv.getUint16(tail + F.DE_NAME_LEN, true) === F.EXT4_FT_DIR_CSUM * 256
  );
}

/** Gives a block of entries its tail and checksum. */
export function sealLeaf(vol: Volume, ptr: number, seed: number): void {
  if (!vol.sums.on) return;
  const { dv } = vol.disk;
  const len = vol.sb.blockSize - F.DE_TAIL_SIZE;
  const tail = ptr + len;
  dv.setUint32(tail, 0, true);
  dv.setUint16(tail + F.DE_REC_LEN, F.DE_TAIL_SIZE, true);
  dv.setUint16(tail + F.DE_NAME_LEN, F.EXT4_FT_DIR_CSUM * 256, true);
  dv.setUint32(tail + F.DE_TAIL_CHECKSUM, vol.sums.run(seed, ptr, len), true);
}

export function leafSummed(vol: Volume, ptr: number, seed: number): boolean {
  const len = vol.sb.blockSize - F.DE_TAIL_SIZE;
  const stored = vol.disk.dv.getUint32(ptr + len + F.DE_TAIL_CHECKSUM, true);
  return vol.sums.run(seed, ptr, len) === stored;
}
