// Checksum tables and scratch in [ABI_TABLES, ABI_RESULT). Filled at run time, not by data segments: those would
// be written again by every instance on the same memory.

import { ABI_TABLES } from './abi';

/** 16 tables of 256 u32: table k steps a byte over k more zero bytes. */
export const CRC32C_TABLES: usize = ABI_TABLES;
/** 256 u16. */
export const CRC16_TABLE: usize = ABI_TABLES + 16384;
/** Eight u32: the words of a name that dirHash is at. */
export const HASH_WORDS: usize = CRC16_TABLE + 512;
/** Scratch of crc32c, 17 KiB; the first CRC32C_KEEP bytes are zero between calls. Half a page off, so that
 *  page-aligned input and scratch do not alias in the L1 cache. */
export const CRC32C_SCRATCH: usize = 0x5800;
export const CRC32C_KEEP: u32 = 304;

const CRC32C_POLY: u32 = 0x82f63b78;
const CRC16_POLY: u32 = 0xa001;

/** A byte's remainder: eight steps of the reflected polynomial. */
function step8(state: u32, poly: u32): u32 {
  for (let bit = 0; bit < 8; bit++) state = (state >>> 1) ^ (poly & (0 - (state & 1)));
  return state;
}

export function initTables(): void {
  memory.fill(CRC32C_SCRATCH, 0, CRC32C_KEEP);
  for (let i: u32 = 0; i < 256; i++) {
    store<u16>(CRC16_TABLE + (i << 1), <u16>step8(i, CRC16_POLY));
    let crc = i;
    for (let table: u32 = 0; table < 16; table++) {
      crc = step8(crc, CRC32C_POLY);
      store<u32>(CRC32C_TABLES + (table << 10) + (i << 2), crc);
    }
  }
}
