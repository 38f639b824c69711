// Directory blocks: entries (inode, rec_len, name_len, type, name) that follow each other to the end of the block.
// dirFind and dirScan take blocks that passed dirCheck.

import { DIR_BAD_END, DIR_BAD_INODE, DIR_BAD_REC_LEN } from './abi';
import { DE_HEADER, DE_INODE, DE_NAME, DE_NAME_LEN, DE_REC_LEN } from './format/ext4';

const MIN_REC_LEN: u32 = 12;

/** rec_len of the entry at `at`. In a block of 64 KiB, 65535 and 0 mean all of it and the low bits are bits 16, 17. */
function recLen(at: usize, len: u32): u32 {
  const raw: u32 = load<u16>(at, DE_REC_LEN);
  if (len < 65536) return raw;
  return raw === 65535 || raw === 0 ? len : (raw & 65532) | ((raw & 3) << 16);
}

/** Checks every entry of [ptr, ptr + len), deleted ones too: 0, or minus one of DIR_BAD_*. */
export function dirCheck(ptr: usize, len: u32, inodes: u32): i32 {
  let off: u32 = 0;
  while (off < len) {
    const at = ptr + off;
    if (len - off < MIN_REC_LEN) return -DIR_BAD_END;
    const rec = recLen(at, len);
    if (rec < MIN_REC_LEN || (rec & 3) !== 0) return -DIR_BAD_REC_LEN;
    if (rec < DE_HEADER + load<u8>(at, DE_NAME_LEN)) return -DIR_BAD_REC_LEN;
    if (rec > len - off) return -DIR_BAD_END;
    if (load<u32>(at, DE_INODE) > inodes) return -DIR_BAD_INODE;
    off += rec;
  }
  return 0;
}

/** Offset of the entry with this name, or -1. */
export function dirFind(ptr: usize, len: u32, name: usize, nameLen: u32): i32 {
  for (let off: u32 = 0; off < len; off += recLen(ptr + off, len)) {
    const at = ptr + off;
    if (load<u8>(at, DE_NAME_LEN) === nameLen && load<u32>(at, DE_INODE) !== 0) {
      if (memory.compare(at + DE_NAME, name, nameLen) === 0) return off;
    }
  }
  return -1;
}

/** Offsets (u32) of live entries from byte `from` on, at most `max`, to `out`. Returns how many. */
export function dirScan(ptr: usize, len: u32, from: u32, out: usize, max: u32): u32 {
  let n: u32 = 0;
  for (let off: u32 = 0; off < len && n < max; off += recLen(ptr + off, len)) {
    if (off >= from && load<u32>(ptr + off, DE_INODE) !== 0) {
      store<u32>(out + (n << 2), off);
      n++;
    }
  }
  return n;
}
