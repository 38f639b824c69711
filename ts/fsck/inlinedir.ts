// Where the entries of an inline directory lie in its record: 56 bytes of i_block behind the parent's number, then the
// value of system.data, which begins with more entries.

import * as F from '../../assembly/format/ext4.ts';
import type { Record } from './record.ts';
import type { Volume } from './volume.ts';

/** Bytes of the parent's number before the first entry. */
export const INLINE_DOTDOT = 4;

export interface Part {
  ptr: number;
  len: number;
}

/** The stretches of entries, in order; the second only where system.data is there and holds any. */
export function inlineParts(vol: Volume, record: Record): Part[] {
  const at = record.ptr + F.I_BLOCK + INLINE_DOTDOT;
  const parts = [{ ptr: at, len: F.I_BLOCK_SIZE - INLINE_DOTDOT }];
  const value = inlineValue(vol, record);
  return value === null || value.len === 0 ? parts : [...parts, value];
}

/** The value of system.data in the record; null when there is none that lies inside. */
export function inlineValue(vol: Volume, record: Record): Part | null {
  const { dv, u8 } = vol.disk;
  const end = record.ptr + vol.sb.inodeSize;
  const start = record.ptr + F.EXT4_GOOD_OLD_INODE_SIZE + record.extraSize;
  if (start + 8 > end || dv.getUint32(start, true) !== F.EXT4_XATTR_MAGIC) return null;
  const first = start + F.IH_SIZE;
  for (let at = first; at + F.E_NAME <= end && dv.getUint32(at, true) !== 0; ) {
    const nameLen = u8[at + F.E_NAME_LEN];
    const name = String.fromCharCode(...u8.slice(at + F.E_NAME, at + F.E_NAME + nameLen));
    if (u8[at + F.E_NAME_INDEX] === F.EXT4_XATTR_INDEX_SYSTEM && name === 'data') {
      const len = dv.getUint32(at + F.E_VALUE_SIZE, true);
      const ptr = first + dv.getUint16(at + F.E_VALUE_OFFS, true);
      return ptr + len <= end ? { ptr, len } : null;
    }
    at += F.E_NAME + Math.ceil(nameLen / 4) * 4;
  }
  return null;
}

/** Takes system.data out of the attributes in the record; others stay where they are. */
export function dropInlineData(vol: Volume, record: Record): void {
  const { dv, u8, kernels } = vol.disk;
  const end = record.ptr + vol.sb.inodeSize;
  const start = record.ptr + F.EXT4_GOOD_OLD_INODE_SIZE + record.extraSize;
  if (start + 8 > end || dv.getUint32(start, true) !== F.EXT4_XATTR_MAGIC) return;
  let found = 0;
  let size = 0;
  let at = start + F.IH_SIZE;
  while (at + F.E_NAME <= end && dv.getUint32(at, true) !== 0) {
    const nameLen = u8[at + F.E_NAME_LEN];
    const own = F.E_NAME + Math.ceil(nameLen / 4) * 4;
    const name = String.fromCharCode(...u8.slice(at + F.E_NAME, at + F.E_NAME + nameLen));
    if (u8[at + F.E_NAME_INDEX] === F.EXT4_XATTR_INDEX_SYSTEM && name === 'data') {
      found = at;
      size = own;
    }
    at += own;
  }
  if (found === 0) return;
  u8.set(u8.slice(found + size, at), found);
  kernels.exports.zero(at - size, size);
  if (at - size === start + F.IH_SIZE) dv.setUint32(start, 0, true);
  record.dirty = true;
}
