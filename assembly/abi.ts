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

// What extentCheck found, negated.
export const EXTENT_BAD_MAGIC: u32 = 1;
export const EXTENT_BAD_DEPTH: u32 = 2;
export const EXTENT_BAD_MAX: u32 = 3; // eh_max is 0 or more than the node has room for
export const EXTENT_BAD_ENTRIES: u32 = 4; // eh_entries is more than eh_max, or 0 in an index node
export const EXTENT_BAD_RANGE: u32 = 5; // an entry reaches out of what the parent gives
export const EXTENT_BAD_ORDER: u32 = 6; // entries do not ascend, or overlap
export const EXTENT_BAD_LEN: u32 = 7; // an extent of no blocks

// What dirCheck found, negated.
export const DIR_BAD_REC_LEN: u32 = 1; // too small, no multiple of 4, or too small for the name
export const DIR_BAD_END: u32 = 2; // the entries do not end with the block
export const DIR_BAD_INODE: u32 = 3; // inode number above the file system's

// Hash values from here on mean the end of a directory.
export const EXT4_HTREE_EOF: u32 = 0xfffffffe;
