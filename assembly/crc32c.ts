// CRC-32C over raw state, as ext4 and jbd2 chain it.

import { CRC32C_TABLES } from './tables';

/** The state after `len` bytes at `ptr`; no inversion in or out. */
export function crc32c(crc: u32, ptr: usize, len: u32): u32 {
  const end = ptr + len;
  while (ptr < end) {
    crc = (crc >>> 8) ^ load<u32>(CRC32C_TABLES + (((crc ^ load<u8>(ptr)) & 255) << 2));
    ptr++;
  }
  return crc;
}
