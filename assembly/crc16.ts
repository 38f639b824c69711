// CRC-16 (ANSI, polynomial 0x8005 reflected) over raw state: the group descriptors' checksum of uninit_bg.

import { CRC16_TABLE } from './tables';

/** The state after `len` bytes at `ptr`. Inputs are tens of bytes: a byte at a time is enough. */
export function crc16(crc: u32, ptr: usize, len: u32): u32 {
  const end = ptr + len;
  let state = crc & 0xffff;
  while (ptr < end) {
    state = (state >>> 8) ^ load<u16>(CRC16_TABLE + (((state ^ load<u8>(ptr)) & 255) << 1));
    ptr++;
  }
  return state;
}
