// On-disk records of the journal (jbd2). All fields are BIG-endian, except the fast-commit area, which is
// little-endian. Offsets are bytes from the start of the record. Literals only. Source: kernel documentation,
// "Journal (jbd2)" of the ext4 pages.

export const JBD2_MAGIC_NUMBER: u32 = 0xc03b3998;
// Block header.
export const H_MAGIC: u32 = 0x0; // be32
export const H_BLOCKTYPE: u32 = 0x4; // be32
export const H_SEQUENCE: u32 = 0x8; // be32
export const JBD2_HEADER_SIZE: u32 = 12;
export const JBD2_DESCRIPTOR_BLOCK: u32 = 1;
export const JBD2_COMMIT_BLOCK: u32 = 2;
export const JBD2_SUPERBLOCK_V1: u32 = 3;
export const JBD2_SUPERBLOCK_V2: u32 = 4;
export const JBD2_REVOKE_BLOCK: u32 = 5;

// Superblock, 1024 bytes.
export const JBD2_SB_SIZE: u32 = 1024;
export const JS_BLOCKSIZE: u32 = 0x0c; // be32
export const JS_MAXLEN: u32 = 0x10; // be32
export const JS_FIRST: u32 = 0x14; // be32
export const JS_SEQUENCE: u32 = 0x18; // be32
export const JS_START: u32 = 0x1c; // be32, 0 = empty
export const JS_ERRNO: u32 = 0x20; // be32
export const JS_FEATURE_COMPAT: u32 = 0x24; // be32
export const JS_FEATURE_INCOMPAT: u32 = 0x28; // be32
export const JS_FEATURE_RO_COMPAT: u32 = 0x2c; // be32
export const JS_UUID: u32 = 0x30; // 16 bytes
export const JS_NR_USERS: u32 = 0x40; // be32
export const JS_DYNSUPER: u32 = 0x44; // be32
export const JS_MAX_TRANSACTION: u32 = 0x48; // be32
export const JS_MAX_TRANS_DATA: u32 = 0x4c; // be32
export const JS_CHECKSUM_TYPE: u32 = 0x50; // u8
export const JS_NUM_FC_BLKS: u32 = 0x54; // be32
export const JS_HEAD: u32 = 0x58; // be32
export const JS_CHECKSUM: u32 = 0xfc; // be32
export const JS_USERS: u32 = 0x100; // 16 bytes each, at most 48
export const JBD2_CRC32C_CHKSUM: u32 = 4;
export const JBD2_MIN_JOURNAL_BLOCKS: u32 = 1024;
export const JBD2_MAX_JOURNAL_BLOCKS: u32 = 10240000; // what mke2fs allows
export const JBD2_DEFAULT_FAST_COMMIT_BLOCKS: u32 = 256;
export const JBD2_FEATURE_COMPAT_CHECKSUM: u32 = 0x1;
export const JBD2_FEATURE_INCOMPAT_REVOKE: u32 = 0x1;
export const JBD2_FEATURE_INCOMPAT_64BIT: u32 = 0x2;
export const JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT: u32 = 0x4;
export const JBD2_FEATURE_INCOMPAT_CSUM_V2: u32 = 0x8;
export const JBD2_FEATURE_INCOMPAT_CSUM_V3: u32 = 0x10;
export const JBD2_FEATURE_INCOMPAT_FAST_COMMIT: u32 = 0x20;

// Descriptor tags. v3: 16 bytes; else 8, or 12 with 64BIT (v2 pads by 2).
export const T3_BLOCKNR: u32 = 0x0; // be32
export const T3_FLAGS: u32 = 0x4; // be32
export const T3_BLOCKNR_HIGH: u32 = 0x8; // be32
export const T3_CHECKSUM: u32 = 0xc; // be32
export const T_BLOCKNR: u32 = 0x0; // be32
export const T_CHECKSUM: u32 = 0x4; // be16
export const T_FLAGS: u32 = 0x6; // be16
export const T_BLOCKNR_HIGH: u32 = 0x8; // be32
export const JBD2_FLAG_ESCAPE: u32 = 1;
export const JBD2_FLAG_SAME_UUID: u32 = 2;
export const JBD2_FLAG_DELETED: u32 = 4;
export const JBD2_FLAG_LAST_TAG: u32 = 8;
export const JBD2_TAG3_SIZE: u32 = 16;
export const JBD2_TAG_SIZE32: u32 = 8;
export const JBD2_TAG_SIZE64: u32 = 12;
export const JBD2_TAG_PAD_V2: u32 = 2;
export const JBD2_UUID_SIZE: u32 = 16; // follows a tag without SAME_UUID
export const JBD2_TAIL_SIZE: u32 = 4; // checksum at the end of descriptor and revoke blocks

// Revoke block: header, bytes used (header included), then be32 or be64 block numbers.
export const R_COUNT: u32 = 0x0c; // be32
export const R_RECORDS: u32 = 0x10;

// Commit block.
export const H_CHKSUM_TYPE: u32 = 0x0c; // u8
export const H_CHKSUM_SIZE: u32 = 0x0d; // u8
export const H_CHKSUM: u32 = 0x10; // be32[8]
export const H_COMMIT_SEC: u32 = 0x30; // be64
export const H_COMMIT_NSEC: u32 = 0x38; // be32
export const JBD2_COMMIT_HEADER_SIZE: u32 = 0x3c;
export const JBD2_CRC32_CHKSUM: u32 = 1; // v1: CRC-32, top bit first, over the transaction's blocks
export const JBD2_CRC32_CHKSUM_SIZE: u32 = 4;

// Fast-commit records: le16 tag, le16 length, value. The area is the last JS_NUM_FC_BLKS journal blocks less the
// first of them, which stays unused.
export const FC_TL_TAG: u32 = 0x0; // le16
export const FC_TL_LEN: u32 = 0x2; // le16
export const FC_TL_SIZE: u32 = 4;
export const EXT4_FC_TAG_ADD_RANGE: u32 = 1;
export const EXT4_FC_TAG_DEL_RANGE: u32 = 2;
export const EXT4_FC_TAG_CREAT: u32 = 3;
export const EXT4_FC_TAG_LINK: u32 = 4;
export const EXT4_FC_TAG_UNLINK: u32 = 5;
export const EXT4_FC_TAG_INODE: u32 = 6;
export const EXT4_FC_TAG_PAD: u32 = 7;
export const EXT4_FC_TAG_TAIL: u32 = 8;
export const EXT4_FC_TAG_HEAD: u32 = 9;
// Values. ADD_RANGE and DEL_RANGE begin with the inode number.
export const FC_INO: u32 = 0x0; // le32
export const FC_ADD_RANGE_LBLK: u32 = 0x4; // le32, an extent as in the tree
export const FC_ADD_RANGE_LEN: u32 = 0x8; // le16, above 32768 unwritten
export const FC_ADD_RANGE_START_HI: u32 = 0xa; // le16
export const FC_ADD_RANGE_START_LO: u32 = 0xc; // le32
export const FC_ADD_RANGE_SIZE: u32 = 16;
export const FC_DEL_RANGE_LBLK: u32 = 0x4; // le32
export const FC_DEL_RANGE_LEN: u32 = 0x8; // le32
export const FC_DEL_RANGE_SIZE: u32 = 12;
export const FC_DENTRY_PARENT: u32 = 0x0; // le32
export const FC_DENTRY_INO: u32 = 0x4; // le32
export const FC_DENTRY_NAME: u32 = 0x8; // to the end of the value
export const FC_INODE_RAW: u32 = 0x4; // to the end of the value
export const FC_INODE_MIN: u32 = 128;
export const FC_HEAD_SIZE: u32 = 8;
export const FC_TAIL_SIZE: u32 = 8;
export const FC_HEAD_FEATURES: u32 = 0x0; // le32
export const FC_HEAD_TID: u32 = 0x4; // le32
export const FC_TAIL_TID: u32 = 0x0; // le32
export const FC_TAIL_CRC: u32 = 0x4; // le32
