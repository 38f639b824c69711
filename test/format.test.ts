// Goal: one on-disk record has one home (assembly/format), and it is right.
// Method: add up the fields in the order of the file by the types in their comments, and read the records of
// images that mke2fs made with nothing but those offsets, against what dumpe2fs and debugfs say.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import * as ext4 from '../assembly/format/ext4.ts';
import * as jbd2 from '../assembly/format/jbd2.ts';
import { need, which } from './need.ts';

const FORMAT = join(import.meta.dirname, '../assembly/format');
const TYPE_SIZE: Record<string, number> = {
  u8: 1,
  le16: 2,
  be16: 2,
  le32: 4,
  be32: 4,
  le64: 8,
  be64: 8,
};

interface Field {
  name: string;
  record: string;
  offset: number;
  /** Bytes; 0 when the comment gives no fixed size. */
  size: number;
}

/** Records that share a prefix are told apart by the comment above them: a blank line begins a new one. */
function fieldsOf(file: string): Field[] {
  const found: Field[] = [];
  let section = 0;
  for (const line of readFileSync(join(FORMAT, file), 'utf8').split('\n')) {
    if (line === '') section++;
    const m = /^export const ([A-Z0-9]+)(_[A-Z0-9_]+): u32 = (\w+); \/\/ (.*)$/.exec(line);
    if (m === null) continue;
    const size = sizeOf(m[4]);
    if (size === undefined) continue;
    found.push({
      name: m[1] + m[2],
      record: `${section} ${recordOf(m[1], m[2])}`,
      offset: Number(m[3]),
      size,
    });
  }
  return found;
}

/** In one section DE_TAIL_* is another record than DE_*, DX_ROOT_* than DX_*, and so for each fast-commit record. */
function recordOf(prefix: string, rest: string): string {
  const kind = /^_(TAIL|ROOT|NODE|HEAD|TL|INO|ADD_RANGE|DEL_RANGE|DENTRY)(?=_|$)/.exec(rest);
  return kind ? prefix + kind[0] : prefix;
}

function sizeOf(comment: string): number | undefined {
  const array = /^([bl]e\d\d|u8)(?:\[(\d+)\])?(?!\w)/.exec(comment);
  if (array) return TYPE_SIZE[array[1]] * Number(array[2] ?? 1);
  const bytes = /^(\d+) bytes( each)?/.exec(comment);
  if (bytes) return bytes[2] ? 0 : Number(bytes[1]);
  return undefined;
}

/** Bytes between two fields that no field describes: reserved or padding in the kernel's structures. */
const RESERVED: Record<string, [after: string, bytes: number]> = {
  S_KBYTES_WRITTEN: ['S_ENCRYPTION_LEVEL', 1],
  S_CHECKSUM: ['S_ORPHAN_FILE_INUM', 0x3fc - 0x284],
  I_EXTRA_ISIZE: ['I_CHECKSUM_LO', 2],
  DX_HASH: ['DX_COUNT', -4], // a union: limit and count lie in place of the first entry's hash
  MMP_CHECKSUM: ['MMP_CHECK_INTERVAL', 0x3fc - 0x72],
  JS_NUM_FC_BLKS: ['JS_CHECKSUM_TYPE', 3],
  JS_CHECKSUM: ['JS_NUM_FC_BLKS', 0xfc - 0x58],
  H_CHKSUM: ['H_CHKSUM_SIZE', 2],
};

describe.each(['ext4.ts', 'jbd2.ts'])('the fields of %s', (file) => {
  const fields = fieldsOf(file);

  test('are many, and each name stands once', () => {
    expect(fields.length).toBeGreaterThan(30);
    expect(new Set(fields.map(({ name }) => name)).size).toBe(fields.length);
  });

  test('follow one another without an overlap, and with no gap but the reserved ones', () => {
    const faults: string[] = [];
    const ends = new Map<string, Field>();
    for (const field of fields) {
      const before = ends.get(field.record);
      ends.set(field.record, field);
      if (before === undefined || before.size === 0) continue;
      const gap = field.offset - before.offset - before.size;
      const reserved = RESERVED[field.name]?.[0] === before.name ? RESERVED[field.name][1] : 0;
      if (gap !== reserved) faults.push(`${field.name}: ${gap} bytes after ${before.name}`);
    }
    expect(faults).toEqual([]);
  });
});

const IMAGES: Record<string, string> = {
  'ext2, 128-byte inodes': '-t ext2 -b 1024 -I 128 -L old',
  'ext3, 4 KiB': '-t ext3 -b 4096 -O ^resize_inode',
  'ext4, 64bit and metadata_csum':
    '-t ext4 -b 1024 -O 64bit,metadata_csum,metadata_csum_seed -L new',
  'ext4, gdt_csum': '-t ext4 -b 2048 -O ^metadata_csum,uninit_bg,^64bit -I 512',
  'ext4, bigalloc, quota, project, mmp':
    '-t ext4 -b 4096 -C 16384 -O bigalloc,quota,project,mmp -I 1024',
  'ext4, orphan_file, stride': '-t ext4 -b 4096 -O orphan_file -E stride=4,stripe_width=12',
};

/** dumpe2fs's line -> what the offsets give. */
const SUPER: Record<string, (at: Reader) => string | number> = {
  'Filesystem volume name': (at) => at.text(ext4.S_VOLUME_NAME, 16) || '<none>',
  'Filesystem UUID': (at) => at.uuid(ext4.S_UUID),
  'Filesystem magic number': (at) => `0x${at.le16(ext4.S_MAGIC).toString(16).toUpperCase()}`,
  'Inode count': (at) => at.le32(ext4.S_INODES_COUNT),
  'Block count': (at) =>
    at.le32(ext4.S_BLOCKS_COUNT_LO) + at.le32(ext4.S_BLOCKS_COUNT_HI) * 2 ** 32,
  'Reserved block count': (at) => at.le32(ext4.S_R_BLOCKS_COUNT_LO),
  'Free blocks': (at) => at.le32(ext4.S_FREE_BLOCKS_COUNT_LO),
  'Free inodes': (at) => at.le32(ext4.S_FREE_INODES_COUNT),
  'First block': (at) => at.le32(ext4.S_FIRST_DATA_BLOCK),
  'Block size': (at) => 1024 * 2 ** at.le32(ext4.S_LOG_BLOCK_SIZE),
  'Cluster size': (at) => 1024 * 2 ** at.le32(ext4.S_LOG_CLUSTER_SIZE),
  'Group descriptor size': (at) => at.le16(ext4.S_DESC_SIZE),
  'Reserved GDT blocks': (at) => at.le16(ext4.S_RESERVED_GDT_BLOCKS),
  'Blocks per group': (at) => at.le32(ext4.S_BLOCKS_PER_GROUP),
  'Clusters per group': (at) => at.le32(ext4.S_CLUSTERS_PER_GROUP),
  'Inodes per group': (at) => at.le32(ext4.S_INODES_PER_GROUP),
  'Flex block group size': (at) => 2 ** at.u8(ext4.S_LOG_GROUPS_PER_FLEX),
  'RAID stride': (at) => at.le16(ext4.S_RAID_STRIDE),
  'RAID stripe width': (at) => at.le32(ext4.S_RAID_STRIPE_WIDTH),
  'First inode': (at) => at.le32(ext4.S_FIRST_INO),
  'Inode size': (at) => at.le16(ext4.S_INODE_SIZE),
  'Required extra isize': (at) => at.le16(ext4.S_MIN_EXTRA_ISIZE),
  'Desired extra isize': (at) => at.le16(ext4.S_WANT_EXTRA_ISIZE),
  'Journal inode': (at) => at.le32(ext4.S_JOURNAL_INUM),
  'Directory Hash Seed': (at) => at.uuid(ext4.S_HASH_SEED),
  'User quota inode': (at) => at.le32(ext4.S_USR_QUOTA_INUM),
  'Group quota inode': (at) => at.le32(ext4.S_GRP_QUOTA_INUM),
  'Project quota inode': (at) => at.le32(ext4.S_PRJ_QUOTA_INUM),
  'Overhead clusters': (at) => at.le32(ext4.S_OVERHEAD_CLUSTERS),
  'MMP block number': (at) => at.le32(ext4.S_MMP_BLOCK),
  'MMP update interval': (at) => at.le16(ext4.S_MMP_UPDATE_INTERVAL),
  'Orphan file inode': (at) => at.le32(ext4.S_ORPHAN_FILE_INUM),
  'Checksum seed': (at) => `0x${at.le32(ext4.S_CHECKSUM_SEED).toString(16).padStart(8, '0')}`,
  Checksum: (at) => `0x${at.le32(ext4.S_CHECKSUM).toString(16).padStart(8, '0')}`,
  'Maximum mount count': (at) => (at.le16(ext4.S_MAX_MNT_COUNT) << 16) >> 16,
  'Filesystem revision #': (at) => at.le32(ext4.S_REV_LEVEL),
};

class Reader {
  readonly bytes: DataView;
  constructor(bytes: Uint8Array) {
    this.bytes = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  u8 = (at: number): number => this.bytes.getUint8(at);
  le16 = (at: number): number => this.bytes.getUint16(at, true);
  le32 = (at: number): number => this.bytes.getUint32(at, true);
  be32 = (at: number): number => this.bytes.getUint32(at, false);
  sub = (at: number, len: number): Reader =>
    new Reader(new Uint8Array(this.bytes.buffer, this.bytes.byteOffset + at, len));
  hex = (at: number, len: number): string =>
    Array.from({ length: len }, (_, i) =>
      this.u8(at + i)
        .toString(16)
        .padStart(2, '0'),
    ).join('');
  uuid = (at: number): string =>
    [
      [0, 4],
      [4, 2],
      [6, 2],
      [8, 2],
      [10, 6],
    ]
      .map(([from, len]) => this.hex(at + from, len))
      .join('-');
  text = (at: number, len: number): string => {
    const chars = Array.from({ length: len }, (_, i) => String.fromCharCode(this.u8(at + i))).join(
      '',
    );
    return chars.split('\0')[0];
  };
}

function run(tool: string, ...args: string[]): string {
  return execFileSync(which(tool), args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
}

need.describe('records of images that mke2fs made', [need.tool('mke2fs', 'debugfs')], () => {
  const dir = mkdtempSync(join(tmpdir(), 'format-'));
  afterAll(() => rmSync(dir, { recursive: true }));

  describe.each(Object.entries(IMAGES))('%s', (name, options) => {
    const path = join(dir, `${name.replace(/\W+/g, '_')}.img`);
    let image: Reader;
    let sb: Reader;
    let dump: string;

    beforeAll(() => {
      run('mke2fs', '-q', '-F', '-E', 'lazy_itable_init=0', ...options.split(' '), path, '24M');
      image = new Reader(readFileSync(path));
      sb = image.sub(ext4.SB_OFFSET, ext4.SB_SIZE);
      dump = run('dumpe2fs', path);
    });

    test('the superblock reads as dumpe2fs reads it', () => {
      const lines = dump.split('\n\n')[0].matchAll(/^([A-Z][^:]*):\s+([^(\n]*[^(\s])/gm);
      const said = new Map(Array.from(lines, (m) => [m[1], m[2]]));
      const checked = Object.entries(SUPER).filter(([key]) => said.has(key));
      const ours = checked.map(([key, get]) => [key, String(get(sb))]);
      expect(ours).toEqual(checked.map(([key]) => [key, said.get(key)]));
      expect(checked.length).toBeGreaterThan(18);
    });

    test('the feature words name what dumpe2fs names', () => {
      const said = /^Filesystem features:\s+(.*)$/m.exec(dump)?.[1].split(' ').sort();
      expect(features(sb).sort()).toEqual(said);
    });

    test('the group descriptors lead to the bitmaps and tables that dumpe2fs names', () => {
      expect(groups(image, sb)).toEqual(dumpedGroups(dump));
    });

    test.each([2, 7, 8, 11])('inode %i reads as debugfs reads it', (ino) => {
      const text = run('debugfs', '-R', `stat <${ino}>`, path);
      const grab = (re: RegExp, base = 10): number =>
        Number.parseInt(re.exec(text)?.[1] ?? '', base);
      const inode = inodeAt(image, sb, ino);
      expect(inode.le16(ext4.I_MODE) & 0o7777).toBe(grab(/Mode:\s+(\d+)/, 8));
      expect(inode.le32(ext4.I_FLAGS)).toBe(grab(/Flags: 0x([0-9a-f]+)/, 16));
      expect(inode.le16(ext4.I_LINKS_COUNT)).toBe(grab(/Links: (\d+)/));
      expect(inode.le32(ext4.I_BLOCKS_LO)).toBe(grab(/Blockcount: (\d+)/));
      expect(inode.le32(ext4.I_SIZE_LO) + inode.le32(ext4.I_SIZE_HIGH) * 2 ** 32).toBe(size(text));
      for (const [field, at, extra] of TIMES) {
        const m = new RegExp(`${field}: 0x([0-9a-f]+)(?::([0-9a-f]+))?`).exec(text);
        if (m) expect(inode.le32(at).toString(16).padStart(8, '0')).toBe(m[1]);
        if (m?.[2]) expect(inode.le32(extra).toString(16).padStart(8, '0')).toBe(m[2]);
      }
      const isize = /Size of extra inode fields: (\d+)/.exec(text);
      if (isize) expect(inode.le16(ext4.I_EXTRA_ISIZE)).toBe(Number(isize[1]));
      const sum = /Inode checksum: 0x([0-9a-f]+)/.exec(text);
      if (sum) expect(inodeChecksum(inode, sb)).toBe(sum[1]);
      const extent = /EXTENTS:\n\(0(?:-(\d+))?\):(\d+)/.exec(text);
      if (extent)
        expect(firstExtent(inode)).toEqual([Number(extent[1] ?? 0) + 1, Number(extent[2])]);
    });

    test('the journal superblock reads as dumpe2fs reads it', () => {
      const js = journalSuper(image, sb);
      const blocks = /^Total journal blocks:\s+(\d+)$/m.exec(dump);
      expect(js === undefined).toBe(blocks === null);
      if (js === undefined || blocks === null) return;
      expect(js.be32(jbd2.H_MAGIC)).toBe(jbd2.JBD2_MAGIC_NUMBER);
      expect(js.be32(jbd2.H_BLOCKTYPE)).toBe(jbd2.JBD2_SUPERBLOCK_V2);
      expect(js.be32(jbd2.JS_MAXLEN)).toBe(Number(blocks[1]));
      expect(js.be32(jbd2.JS_BLOCKSIZE)).toBe(1024 * 2 ** sb.le32(ext4.S_LOG_BLOCK_SIZE));
      const sequence = /^Journal sequence:\s+(\w+)$/m.exec(dump)?.[1];
      expect(js.be32(jbd2.JS_SEQUENCE)).toBe(Number(sequence));
      expect(js.be32(jbd2.JS_START)).toBe(0);
    });
  });
});

const TIMES: [string, number, number][] = [
  ['ctime', ext4.I_CTIME, ext4.I_CTIME_EXTRA],
  ['atime', ext4.I_ATIME, ext4.I_ATIME_EXTRA],
  ['mtime', ext4.I_MTIME, ext4.I_MTIME_EXTRA],
  ['crtime', ext4.I_CRTIME, ext4.I_CRTIME_EXTRA],
];

/** debugfs prints one size, of the kind the file is. */
function size(text: string): number {
  return Number(/ Size: (\d+)\n/.exec(text)?.[1]);
}

/** e2fsprogs's word for a bit where it is not the kernel's in lower case. */
const WORD: Record<string, string> = {
  extents: 'extent',
  largedir: 'large_dir',
  csum_seed: 'metadata_csum_seed',
  gdt_csum: 'uninit_bg',
  recover: 'needs_recovery',
  orphan_present: 'orphan_file',
};

function features(sb: Reader): string[] {
  const words = {
    COMPAT: ext4.S_FEATURE_COMPAT,
    INCOMPAT: ext4.S_FEATURE_INCOMPAT,
    RO_COMPAT: ext4.S_FEATURE_RO_COMPAT,
  };
  return Object.entries(ext4).flatMap(([name, bit]) => {
    const m = /^(COMPAT|INCOMPAT|RO_COMPAT)_(\w+)$/.exec(name);
    if (m === null) return [];
    const set = (sb.le32(words[m[1] as keyof typeof words]) & bit) !== 0;
    const word = m[2].toLowerCase();
    return set ? [WORD[word] ?? word] : [];
  });
}

function descriptor(image: Reader, sb: Reader, group: number): Reader {
  const blockSize = 1024 * 2 ** sb.le32(ext4.S_LOG_BLOCK_SIZE);
  const wide = (sb.le32(ext4.S_FEATURE_INCOMPAT) & ext4.INCOMPAT_64BIT) !== 0;
  const bytes = wide ? sb.le16(ext4.S_DESC_SIZE) : ext4.EXT4_MIN_DESC_SIZE;
  const table = (sb.le32(ext4.S_FIRST_DATA_BLOCK) + 1) * blockSize;
  return image.sub(table + group * bytes, bytes);
}

function groups(image: Reader, sb: Reader): number[][] {
  const count = Math.ceil(
    (sb.le32(ext4.S_BLOCKS_COUNT_LO) - sb.le32(ext4.S_FIRST_DATA_BLOCK)) /
      sb.le32(ext4.S_BLOCKS_PER_GROUP),
  );
  return Array.from({ length: count }, (_, group) => {
    const at = descriptor(image, sb, group);
    return [
      at.le32(ext4.BG_BLOCK_BITMAP_LO),
      at.le32(ext4.BG_INODE_BITMAP_LO),
      at.le32(ext4.BG_INODE_TABLE_LO),
      at.le16(ext4.BG_FREE_BLOCKS_COUNT_LO),
      at.le16(ext4.BG_FREE_INODES_COUNT_LO),
      at.le16(ext4.BG_USED_DIRS_COUNT_LO),
      at.le16(ext4.BG_ITABLE_UNUSED_LO),
    ];
  });
}

function dumpedGroups(dump: string): number[][] {
  return dump
    .split(/^Group \d+: /m)
    .slice(1)
    .map((text) => {
      const n = (re: RegExp): number => Number(re.exec(text)?.[1] ?? 0);
      return [
        n(/Block bitmap at (\d+)/),
        n(/Inode bitmap at (\d+)/),
        n(/Inode table at (\d+)/),
        n(/(\d+) free (?:blocks|clusters)/),
        n(/(\d+) free inodes/),
        n(/(\d+) directories/),
        n(/(\d+) unused inodes/),
      ];
    });
}

function inodeAt(image: Reader, sb: Reader, ino: number): Reader {
  const perGroup = sb.le32(ext4.S_INODES_PER_GROUP);
  const bytes = sb.le16(ext4.S_INODE_SIZE);
  const group = Math.floor((ino - 1) / perGroup);
  const table = descriptor(image, sb, group).le32(ext4.BG_INODE_TABLE_LO);
  const blockSize = 1024 * 2 ** sb.le32(ext4.S_LOG_BLOCK_SIZE);
  return image.sub(table * blockSize + ((ino - 1) % perGroup) * bytes, bytes);
}

function inodeChecksum(inode: Reader, sb: Reader): string {
  const lo = inode.le16(ext4.I_CHECKSUM_LO);
  const wide = sb.le16(ext4.S_INODE_SIZE) > 128;
  const hi = wide ? inode.le16(ext4.I_CHECKSUM_HI) : 0;
  return (hi * 65536 + lo).toString(16).padStart(8, '0');
}

/** Blocks and start of the first extent. */
function firstExtent(inode: Reader): [number, number] {
  const node = inode.sub(ext4.I_BLOCK, ext4.I_BLOCK_SIZE);
  expect(node.le16(ext4.EH_MAGIC)).toBe(ext4.EXT4_EXT_MAGIC);
  expect(node.le16(ext4.EH_DEPTH)).toBe(0);
  const extent = node.sub(ext4.EH_SIZE, ext4.EXT4_EXT_ENTRY_SIZE);
  return [extent.le16(ext4.EE_LEN), extent.le32(ext4.EE_START_LO)];
}

function journalSuper(image: Reader, sb: Reader): Reader | undefined {
  if ((sb.le32(ext4.S_FEATURE_COMPAT) & ext4.COMPAT_HAS_JOURNAL) === 0) return undefined;
  const inode = inodeAt(image, sb, sb.le32(ext4.S_JOURNAL_INUM));
  const mapped = (inode.le32(ext4.I_FLAGS) & ext4.EXT4_EXTENTS_FL) !== 0;
  const block = mapped ? firstExtent(inode)[1] : inode.le32(ext4.I_BLOCK);
  return image.sub(block * 1024 * 2 ** sb.le32(ext4.S_LOG_BLOCK_SIZE), jbd2.JBD2_SB_SIZE);
}
