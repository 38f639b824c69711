// Finds the records of an image for the fuzzer: where each lies, which fields it has, and how to make its checksum
// right again. Reads leniently and stops at anything odd: it only has to find much, never all.

import * as ext4 from '../../assembly/format/ext4.ts';
import * as jbd2 from '../../assembly/format/jbd2.ts';
import { crc16, crc32c, le32 } from './checksum.ts';

export interface Region {
  kind: string;
  pos: number;
  len: number;
  /** Offsets in the region where a field of 1, 2 or 4 bytes begins. */
  fields: [off: number, size: number][];
  bigEndian?: boolean;
  /** Writes the right checksum; absent where there is none. */
  fix?: () => void;
}

const MAX_REGIONS = 4000;

/** Fields of a format module whose names begin with one of the prefixes. */
function fieldsOf(
  module: Record<string, number>,
  prefix: RegExp,
  limit: number,
): [number, number][] {
  const offsets = Object.entries(module)
    .filter(([name, off]) => prefix.test(name) && off < limit)
    .map(([, off]) => off);
  const sorted = [...new Set(offsets)].sort((a, b) => a - b);
  return sorted.map((off, i) => {
    const gap = (sorted[i + 1] ?? off + 4) - off;
    return [off, gap >= 4 ? 4 : gap >= 2 ? 2 : 1];
  });
}

const SUPER = fieldsOf(ext4, /^S_(?!IF)/, 1024);
const GROUP = fieldsOf(ext4, /^BG_/, 64);
const INODE = fieldsOf(ext4, /^I_(?!BLOCK_SIZE)/, 160);
const XATTR_HEADER = fieldsOf(ext4, /^H_(?!SIZE)/, 32);
const JOURNAL_SUPER = fieldsOf(jbd2, /^(H_(MAGIC|BLOCKTYPE|SEQUENCE)|JS_)/, 256);
const ENTRY: [number, number][] = [
  [0, 4],
  [4, 2],
  [6, 1],
  [7, 1],
];

export class Layout {
  readonly regions: Region[] = [];
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #bs: number;
  readonly #seed: number;
  readonly #csum: boolean;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const sb = ext4.SB_OFFSET;
    this.#bs = 1024 * 2 ** Math.min(6, this.#le32(sb + ext4.S_LOG_BLOCK_SIZE));
    this.#csum = this.#has(ext4.S_FEATURE_RO_COMPAT, ext4.RO_COMPAT_METADATA_CSUM);
    const stored = this.#has(ext4.S_FEATURE_INCOMPAT, ext4.INCOMPAT_CSUM_SEED);
    const uuid = bytes.subarray(sb + ext4.S_UUID, sb + ext4.S_UUID + 16);
    this.#seed = stored ? this.#le32(sb + ext4.S_CHECKSUM_SEED) : crc32c(0xffffffff, uuid);
    this.#super();
    this.#groups();
  }

  #le32(pos: number): number {
    return pos >= 0 && pos + 4 <= this.bytes.length ? this.#view.getUint32(pos, true) : 0;
  }

  #le16(pos: number): number {
    return this.#le32(pos) & 0xffff;
  }

  #put32(pos: number, value: number): void {
    if (pos >= 0 && pos + 4 <= this.bytes.length) this.#view.setUint32(pos, value, true);
  }

  #put16(pos: number, value: number): void {
    if (pos >= 0 && pos + 2 <= this.bytes.length) this.#view.setUint16(pos, value, true);
  }

  #has(word: number, bit: number): boolean {
    return (this.#le32(ext4.SB_OFFSET + word) & bit) !== 0;
  }

  #at(pos: number, len: number): Uint8Array {
    return this.bytes.subarray(pos, pos + len);
  }

  #add(region: Region): void {
    if (this.regions.length >= MAX_REGIONS || region.pos < 0) return;
    if (region.pos + region.len <= this.bytes.length) this.regions.push(region);
  }

  #super(): void {
    const pos = ext4.SB_OFFSET;
    const fix = (): void =>
      this.#put32(pos + ext4.S_CHECKSUM, crc32c(0xffffffff, this.#at(pos, ext4.S_CHECKSUM)));
    const fields = SUPER.filter(([off]) => off !== ext4.S_CHECKSUM);
    this.#add({ kind: 'super', pos, len: 1024, fields, fix: this.#csum ? fix : undefined });
  }

  #groups(): void {
    const sb = ext4.SB_OFFSET;
    const perGroup = Math.max(1, this.#le32(sb + ext4.S_BLOCKS_PER_GROUP));
    const first = this.#le32(sb + ext4.S_FIRST_DATA_BLOCK);
    const count = Math.min(
      64,
      Math.ceil((this.#le32(sb + ext4.S_BLOCKS_COUNT_LO) - first) / perGroup),
    );
    const wide = this.#has(ext4.S_FEATURE_INCOMPAT, ext4.INCOMPAT_64BIT);
    const len = wide ? Math.max(32, this.#le16(sb + ext4.S_DESC_SIZE)) : 32;
    const clusterStart = this.#bs === 1024 && first === 0 ? 2 : first + 1;
    for (let group = 0; group < count; group++) {
      const pos = clusterStart * this.#bs + group * len;
      const fields = GROUP.filter(([off]) => off < len && off !== ext4.BG_CHECKSUM);
      this.#add({ kind: 'group', pos, len, fields, fix: this.#groupFix(pos, group, len) });
      this.#inodes(group, this.#le32(pos + ext4.BG_INODE_TABLE_LO));
    }
  }

  #groupFix(pos: number, group: number, len: number): (() => void) | undefined {
    const sum = pos + ext4.BG_CHECKSUM;
    if (this.#csum) {
      return () => {
        this.#put16(sum, 0);
        this.#put16(sum, crc32c(crc32c(this.#seed, le32(group)), this.#at(pos, len)) & 0xffff);
      };
    }
    if (!this.#has(ext4.S_FEATURE_RO_COMPAT, ext4.RO_COMPAT_GDT_CSUM)) return undefined;
    return () => {
      const uuid = crc16(0xffff, this.#at(ext4.SB_OFFSET + ext4.S_UUID, 16));
      const low = crc16(crc16(uuid, le32(group)), this.#at(pos, ext4.BG_CHECKSUM));
      this.#put16(sum, len > 32 ? crc16(low, this.#at(pos + 32, len - 32)) : low);
    };
  }

  #inodes(group: number, table: number): void {
    const perGroup = Math.min(4096, this.#le32(ext4.SB_OFFSET + ext4.S_INODES_PER_GROUP));
    const size = Math.max(128, this.#le16(ext4.SB_OFFSET + ext4.S_INODE_SIZE));
    for (let i = 0; i < perGroup; i++) {
      const pos = table * this.#bs + i * size;
      if (pos + size > this.bytes.length) return;
      if (this.#le16(pos + ext4.I_MODE) === 0) continue;
      this.#inode(group * perGroup + i + 1, pos, size);
    }
  }

  #inode(ino: number, pos: number, size: number): void {
    const generation = this.#le32(pos + ext4.I_GENERATION);
    const iseed = crc32c(crc32c(this.#seed, le32(ino)), le32(generation));
    const fix = (): void => {
      const high = size > 128 && this.#le16(pos + ext4.I_EXTRA_ISIZE) >= 4;
      this.#put16(pos + ext4.I_CHECKSUM_LO, 0);
      if (high) this.#put16(pos + ext4.I_CHECKSUM_HI, 0);
      const sum = crc32c(iseed, this.#at(pos, size));
      this.#put16(pos + ext4.I_CHECKSUM_LO, sum & 0xffff);
      if (high) this.#put16(pos + ext4.I_CHECKSUM_HI, sum >>> 16);
    };
    const node = pos + ext4.I_BLOCK;
    const blocks: [number, number][] = Array.from({ length: 15 }, (_, i) => [
      ext4.I_BLOCK + 4 * i,
      4,
    ]);
    const inBody: [number, number][] = size > 160 ? xattrFields(160 + 4, Math.min(size, 240)) : [];
    const fields = [...INODE.filter(([off]) => off < size), ...blocks, ...inBody];
    this.#add({ kind: 'inode', pos, len: size, fields, fix: this.#csum ? fix : undefined });
    const acl = this.#le32(pos + ext4.I_FILE_ACL_LO);
    if (acl !== 0) this.#xattrBlock(acl);
    const directory = (this.#le16(pos + ext4.I_MODE) & ext4.S_IFMT) === ext4.S_IFDIR;
    const journal = ino === this.#le32(ext4.SB_OFFSET + ext4.S_JOURNAL_INUM);
    if (this.#le32(pos + ext4.I_FLAGS) & ext4.EXT4_INLINE_DATA_FL) return;
    const pblks = this.#mapped(pos, node, iseed, journal ? 2048 : 256);
    if (directory) for (const pblk of pblks) this.#directoryBlock(pblk, iseed);
    if (journal) this.#journal(pblks);
  }

  /** Physical blocks of an inode's data, at most `max`; adds the extent blocks on the way. */
  #mapped(inode: number, node: number, iseed: number, max: number): number[] {
    if ((this.#le32(inode + ext4.I_FLAGS) & ext4.EXT4_EXTENTS_FL) !== 0) {
      return this.#extents(node, iseed, 0, max);
    }
    const direct = Array.from({ length: 12 }, (_, i) => this.#le32(node + 4 * i));
    const indirect = this.#le32(node + 48);
    if (indirect !== 0 && indirect * this.#bs < this.bytes.length) {
      const pos = indirect * this.#bs;
      const fields: [number, number][] = Array.from({ length: 32 }, (_, i) => [4 * i, 4]);
      this.#add({ kind: 'indirect', pos, len: this.#bs, fields });
      for (let i = 0; i < this.#bs / 4; i++) direct.push(this.#le32(pos + 4 * i));
    }
    return direct.filter((pblk) => pblk !== 0).slice(0, max);
  }

  #extents(node: number, iseed: number, level: number, max: number): number[] {
    if (level > 5 || this.#le16(node) !== ext4.EXT4_EXT_MAGIC) return [];
    const depth = this.#le16(node + ext4.EH_DEPTH);
    const entries = Math.min(this.#le16(node + ext4.EH_ENTRIES), 340);
    const out: number[] = [];
    for (let i = 0; i < entries && out.length < max; i++) {
      const at = node + 12 + 12 * i;
      if (depth === 0) {
        const start = this.#le32(at + ext4.EE_START_LO);
        const len = Math.min(this.#le16(at + ext4.EE_LEN) & 0x7fff, max - out.length);
        for (let k = 0; k < len; k++) out.push(start + k);
      } else {
        const pos = this.#le32(at + ext4.EI_LEAF_LO) * this.#bs;
        this.#extentBlock(pos, iseed);
        out.push(...this.#extents(pos, iseed, level + 1, max - out.length));
      }
    }
    return out;
  }

  #extentBlock(pos: number, iseed: number): void {
    const fix = (): void => {
      const tail = 12 + 12 * this.#le16(pos + ext4.EH_MAX);
      if (tail + 4 <= this.#bs) this.#put32(pos + tail, crc32c(iseed, this.#at(pos, tail)));
    };
    const fields: [number, number][] = [
      [0, 2],
      [2, 2],
      [4, 2],
      [6, 2],
    ];
    for (let at = 12; at < 12 + 12 * 6; at += 12)
      fields.push([at, 4], [at + 4, 2], [at + 6, 2], [at + 8, 4]);
    this.#add({ kind: 'extent', pos, len: this.#bs, fields, fix: this.#csum ? fix : undefined });
  }

  #directoryBlock(pblk: number, iseed: number): void {
    const pos = pblk * this.#bs;
    if (pos + this.#bs > this.bytes.length) return;
    const fields: [number, number][] = [];
    for (let off = 0; off + 8 <= this.#bs && fields.length < 200; ) {
      fields.push(...ENTRY.map(([at, size]): [number, number] => [off + at, size]));
      const len = this.#le16(pos + off + ext4.DE_REC_LEN);
      off += len < 8 ? this.#bs : len;
    }
    const root = this.#le16(pos + 12 + ext4.DE_REC_LEN) === this.#bs - 12;
    const node = this.#le32(pos) === 0 && this.#le16(pos + ext4.DE_REC_LEN) === this.#bs;
    const base = root ? ext4.DX_ROOT_ENTRIES : ext4.DX_NODE_ENTRIES;
    if (root || node) {
      const heads: [number, number][] = root
        ? [
            [0x18, 4],
            [0x1c, 1],
            [0x1d, 1],
            [0x1e, 1],
          ]
        : [];
      fields.push(...heads, [base, 2], [base + 2, 2]);
      for (let i = 0; i < 12; i++) fields.push([base + 4 + 4 * i, 4]);
    }
    const fix = (): void =>
      root || node ? this.#dxFix(pos, base, iseed) : this.#leafFix(pos, iseed);
    const kind = root || node ? 'htree' : 'directory';
    this.#add({ kind, pos, len: this.#bs, fields, fix: this.#csum ? fix : undefined });
  }

  #leafFix(pos: number, iseed: number): void {
    this.#put32(pos + this.#bs - 4, crc32c(iseed, this.#at(pos, this.#bs - ext4.DE_TAIL_SIZE)));
  }

  #dxFix(pos: number, base: number, iseed: number): void {
    const tail = base + 8 * this.#le16(pos + base + ext4.DX_LIMIT);
    const used = base + 8 * this.#le16(pos + base + ext4.DX_COUNT);
    if (tail + 8 > this.#bs || used > this.#bs) return;
    const sum = crc32c(crc32c(iseed, this.#at(pos, used)), this.#at(pos + tail, 4));
    this.#put32(pos + tail + 4, crc32c(sum, le32(0)));
  }

  #xattrBlock(pblk: number): void {
    const pos = pblk * this.#bs;
    const fix = (): void => {
      this.#put32(pos + ext4.H_CHECKSUM, 0);
      const sum = crc32c(crc32c(this.#seed, le32(pblk, 0)), this.#at(pos, this.#bs));
      this.#put32(pos + ext4.H_CHECKSUM, sum);
    };
    const fields = [...XATTR_HEADER, ...xattrFields(32, 160)];
    this.#add({ kind: 'xattr', pos, len: this.#bs, fields, fix: this.#csum ? fix : undefined });
  }

  #journal(pblks: number[]): void {
    if (pblks.length === 0) return;
    const sb = pblks[0] * this.#bs;
    const uuid = crc32c(0xffffffff, this.#at(sb + jbd2.JS_UUID, 16));
    const incompat = this.#view.getUint32(sb + jbd2.JS_FEATURE_INCOMPAT, false);
    const summed =
      (incompat & (jbd2.JBD2_FEATURE_INCOMPAT_CSUM_V2 | jbd2.JBD2_FEATURE_INCOMPAT_CSUM_V3)) !== 0;
    const fixSuper = this.#fixBig(sb, 1024, jbd2.JS_CHECKSUM, 0xffffffff);
    this.#add({
      kind: 'journal super',
      pos: sb,
      len: 1024,
      fields: JOURNAL_SUPER,
      bigEndian: true,
      fix: summed ? fixSuper : undefined,
    });
    for (const pblk of pblks.slice(1)) {
      const pos = pblk * this.#bs;
      if (
        pos + this.#bs > this.bytes.length ||
        this.#view.getUint32(pos, false) !== jbd2.JBD2_MAGIC_NUMBER
      )
        continue;
      const commit = this.#view.getUint32(pos + jbd2.H_BLOCKTYPE, false) === jbd2.JBD2_COMMIT_BLOCK;
      const fields: [number, number][] = Array.from({ length: 24 }, (_, i) => [4 * i, 4]);
      const at = commit ? jbd2.H_CHKSUM : this.#bs - 4;
      const fix = this.#fixBig(pos, this.#bs, at, uuid);
      this.#add({
        kind: 'journal',
        pos,
        len: this.#bs,
        fields,
        bigEndian: true,
        fix: summed ? fix : undefined,
      });
    }
  }

  #fixBig(pos: number, len: number, at: number, seed: number): () => void {
    return () => {
      this.#view.setUint32(pos + at, 0, false);
      this.#view.setUint32(pos + at, crc32c(seed, this.#at(pos, len)), false);
    };
  }
}

/** Fields of xattr entries from `off` on; entries are multiples of four bytes, so every word may be one. */
function xattrFields(off: number, end: number): [number, number][] {
  const out: [number, number][] = [];
  for (let at = off; at + 16 <= end; at += 4)
    out.push([at, 1], [at + 1, 1], [at + 2, 2], [at + 4, 4]);
  return out;
}
