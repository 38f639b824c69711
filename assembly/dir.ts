// Directory blocks: entries (inode, rec_len, name_len, type, name) that follow each other to the end of the block.
// dirFind and dirScan take blocks that passed dirCheck.

import { DIR_BAD_END, DIR_BAD_INODE, DIR_BAD_REC_LEN } from './abi';
import { DE_HEADER, DE_INODE, DE_NAME, DE_NAME_LEN, DE_REC_LEN } from './format/ext4';

const MIN_REC_LEN: u32 = 12;

/** rec_len of the entry at `at`. In a block of 64 KiB, 65535 and 0 mean all of it and the low bits are bits 16, 17. */
export function recLen(at: usize, len: u32): u32 {
  const raw: u32 = load<u16>(at, DE_REC_LEN);
  if (len < 65536) return raw;
  return raw === 65535 || raw === 0 ? len : (raw & 65532) | ((raw & 3) << 16);
}

/** Checks every entry of [ptr, ptr + len), deleted ones too: 0, or minus one of DIR_BAD_*. */
export function dirCheck(ptr: usize, len: u32, inodes: u32): i32 {
  let off: u32 = 0;
  while (off < len) {
    if (len - off < MIN_REC_LEN) return -DIR_BAD_END;
    const at = ptr + off;
    const rec = recLen(at, len);
    const need = max<u32>(DE_HEADER + <u32>load<u8>(at, DE_NAME_LEN), MIN_REC_LEN);
    if (rec < need || (rec & 3) !== 0) return -DIR_BAD_REC_LEN;
    if (rec > len - off) return -DIR_BAD_END;
    if (load<u32>(at, DE_INODE) > inodes) return -DIR_BAD_INODE;
    off += rec;
  }
  return 0;
}

/** Offset of the entry with this name, or -1. */
export function dirFind(ptr: usize, len: u32, name: usize, nameLen: u32): i32 {
  if (nameLen === 0) return -1;
  // Four bytes of the name, where every entry has four: its first, and its last. Most entries differ there.
  const mask: u32 = nameLen < 4 ? ((<u32>1) << (nameLen << 3)) - 1 : 0xffffffff;
  const first = nameLen < 4 ? short(name, nameLen) : load<u32>(name);
  const back = nameLen < 4 ? 0 : nameLen - 4;
  const last = nameLen < 4 ? first : load<u32>(name + back);
  const end = ptr + len;
  let at = ptr;
  while (at < end) {
    // The next entry waits for this load alone.
    const rec: u32 = len < 65536 ? load<u16>(at, DE_REC_LEN) : recLen(at, len);
    if (<u32>load<u8>(at, DE_NAME_LEN) === nameLen) {
      const differs = (load<u32>(at + back, DE_NAME) ^ last) | (load<u32>(at, DE_NAME) ^ first);
      const live = (differs & mask) === 0 && load<u32>(at) !== 0;
      if (live && same(at + DE_NAME, name, nameLen)) return <i32>(at - ptr);
    }
    at += rec;
  }
  return -1;
}

/** One to three bytes as a word. */
function short(name: usize, len: u32): u32 {
  let value: u32 = load<u8>(name);
  if (len > 1) value |= (<u32>load<u8>(name, 1)) << 8;
  if (len > 2) value |= (<u32>load<u8>(name, 2)) << 16;
  return value;
}

/** Whether two names are the same, given that their first and last four bytes are. Loads overlap at the end. */
function same(a: usize, b: usize, len: u32): bool {
  if (len <= 8) return true;
  if (len < 16) {
    const end = len - 8;
    return load<u64>(a) === load<u64>(b) && load<u64>(a + end) === load<u64>(b + end);
  }
  const end = len - 16;
  for (let i: u32 = 0; i < end; i += 16) if (!same16(a + i, b + i)) return false;
  return same16(a + end, b + end);
}

function same16(a: usize, b: usize): bool {
  if (ASC_FEATURE_SIMD) return !v128.any_true(v128.xor(v128.load(a), v128.load(b)));
  return ((load<u64>(a) ^ load<u64>(b)) | (load<u64>(a, 8) ^ load<u64>(b, 8))) === 0;
}

/** Offsets (u32) of live entries from byte `from` on, at most `max`, to `out`. Returns how many. */
export function dirScan(ptr: usize, len: u32, from: u32, out: usize, max: u32): u32 {
  const full = out + (max << 2);
  let to = out;
  let off: u32 = 0;
  while (off < len && to < full) {
    const head = load<u64>(ptr + off);
    if (off >= from && <u32>head !== 0) {
      store<u32>(to, off);
      to += 4;
    }
    off += len < 65536 ? <u32>(head >>> 32) & 0xffff : recLen(ptr + off, len);
  }
  return <u32>(to - out) >>> 2;
}
