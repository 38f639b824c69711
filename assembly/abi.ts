// Where the kernels keep their own things in linear memory, and the shape of their results. Literals only.
// [0, 1024) stays empty so that address 0 is never valid; folios and buffers begin at ABI_HEAP.

export const ABI_TABLES: u32 = 1024; // checksum tables and scratch, filled by init()
export const ABI_RESULT: u32 = 0xb000; // result records of the last call, 16 KiB
export const ABI_RESULT_SIZE: u32 = 0x4000;
export const ABI_NAME: u32 = 0xf000; // a name or another small argument, 2 KiB
export const ABI_NAME_SIZE: u32 = 0x800;
export const ABI_SEED: u32 = 0xf800; // hash seed of the file system, four u32
export const ABI_HEAP: u32 = 0x10000;

// A mapping record (extentLookup, indexLookup, mapBatch): 16 bytes.
export const MAP_PBLK_LO: u32 = 0; // u32
export const MAP_PBLK_HI: u32 = 4; // u32
export const MAP_LEN: u32 = 8; // u32, blocks from the asked lblk on
export const MAP_KIND: u32 = 12; // u32, one of the kinds below
export const MAP_SIZE: u32 = 16;
export const MAP_HOLE: u32 = 0;
export const MAP_WRITTEN: u32 = 1;
export const MAP_UNWRITTEN: u32 = 2;

// Negative errno that kernels return.
export const EUCLEAN: u32 = 117;
export const ENOENT: u32 = 2;
