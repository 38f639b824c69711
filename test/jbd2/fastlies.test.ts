// Goal: records that are sound and do not fit the tree harm nothing: then nothing is written, the mount is read-only
// and says why; and what is accepted leaves a file system that e2fsck finds nothing in. Method: the kernel's fast
// commits with lies in them, summed anew; some chosen, many by seed (FUZZ_FAST says how many).

import { describe, expect, test } from 'vitest';
import { MAP_HOLE, MAP_WRITTEN } from '../../assembly/abi.ts';
import * as X from '../../assembly/format/ext4.ts';
import * as F from '../../assembly/format/jbd2.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import { Ext4Error } from '../../ts/errno.ts';
import { type FastPiece, settle } from '../../ts/ext4/fastmodel.ts';
import { readLog } from '../../ts/jbd2/recovery.ts';
import { type Random, random } from '../fuzz/random.ts';
import { DEEP, need } from '../need.ts';
import { commits, fsck, type RawRecord, replay, sumAnew, viewOf } from './fastimage.ts';
import { contents, type Image, imageBytes, openImage, run, same, sourceOf } from './image.ts';
import { seedOf } from './random.ts';

const NAMES = ['fast_commit.img', 'fast_commit_1k.img', 'fast_commit_write.img'];
const COUNT = Number(process.env.FUZZ_FAST ?? (DEEP ? 2000 : 24));
const SPEAKING: number[] = [
  F.EXT4_FC_TAG_ADD_RANGE,
  F.EXT4_FC_TAG_DEL_RANGE,
  F.EXT4_FC_TAG_CREAT,
  F.EXT4_FC_TAG_LINK,
  F.EXT4_FC_TAG_UNLINK,
  F.EXT4_FC_TAG_INODE,
];

/** The last record of a kind, and its commit. */
function lastOf(image: Image, tag: number): { r: RawRecord; commit: RawRecord[] } {
  const { tid } = run(readLog(sourceOf(image))).fastCommits!;
  const commit = commits(image, tid).findLast((c) => c.some((r) => r.tag === tag))!;
  return { r: commit.findLast((r) => r.tag === tag)!, commit };
}

type Lie = (dv: DataView, value: number, len: number) => void;

/** What is said, in which record, and what the mount says of it. */
const LIES: [what: string, tag: number, lie: Lie, says: RegExp][] = [
  [
    'blocks of the journal',
    F.EXT4_FC_TAG_ADD_RANGE,
    (dv, v) => dv.setUint32(v + 12, 2100, true),
    /belongs to the file system|block in use/,
  ],
  [
    'blocks of an inode table',
    F.EXT4_FC_TAG_ADD_RANGE,
    (dv, v) => dv.setUint32(v + 12, 700, true),
    /belongs to the file system/,
  ],
  [
    'a file that came from nowhere',
    F.EXT4_FC_TAG_CREAT,
    (dv, v) => dv.setUint32(v + 4, 900, true),
    /nobody logs: |nobody logs/,
  ],
  [
    'a name in a file',
    F.EXT4_FC_TAG_CREAT,
    (dv, v) => dv.setUint32(v, 12, true),
    /no directory|not in use/,
  ],
  ['a slash', F.EXT4_FC_TAG_CREAT, (dv, v) => dv.setUint8(v + 8, 0x2f), /no valid name/],
  ['the journal itself', F.EXT4_FC_TAG_INODE, (dv, v) => dv.setUint32(v, 8, true), /not a file/],
  [
    'an inode of no kind',
    F.EXT4_FC_TAG_INODE,
    (dv, v) => dv.setUint16(v + 4 + X.I_MODE, 0o7777, true),
    /i_mode/,
  ],
  [
    'xattrs elsewhere',
    F.EXT4_FC_TAG_INODE,
    (dv, v) => dv.setUint32(v + 4 + X.I_FILE_ACL_LO, 5000, true),
    /i_file_acl/,
  ],
  [
    'an encrypted file',
    F.EXT4_FC_TAG_INODE,
    (dv, v) => dv.setUint32(v + 4 + X.I_FLAGS, 0x80800, true),
    /i_flags/,
  ],
  [
    'another size of the record',
    F.EXT4_FC_TAG_INODE,
    (dv, v) => dv.setUint16(v + 4 + X.I_EXTRA_ISIZE, 400, true),
    /i_extra_isize/,
  ],
];

need.describe('sound fast commits that lie', [need.oracles(), need.tool('e2fsck')], () => {
  for (const [what, tag, lie, says] of LIES) {
    test(`speaking of ${what} they are shown or refused, and nothing is written`, () => {
      const image = openImage(imageBytes('crash', 'fast_commit_1k.img'));
      const { r, commit } = lastOf(image, tag);
      lie(viewOf(image), r.at + 4, r.len);
      sumAnew(image, commit);
      const device = memoryDevice(image.bytes, { sparse: true });
      const info = replay(device);
      expect(info.readOnly).toBe(true);
      expect(info.reason).toMatch(/^fast commits cannot be written home: /);
      expect(info.reason).toMatch(says);
      expect(same(contents(device), image.bytes)).toBe(true);
    });
  }

  test(`${COUNT} changes by seed: accepted ones pass e2fsck, others change nothing`, {
    timeout: 3_600_000,
  }, () => {
    const seed = seedOf();
    const images = NAMES.map((name) => {
      const image = openImage(imageBytes('crash', name));
      const { tid } = run(readLog(sourceOf(image))).fastCommits!;
      return { bytes: image.bytes, all: commits(image, tid) };
    });
    const tally = { accepted: 0, shown: 0, refused: 0 };
    for (let n = 0; n < COUNT; n++) {
      const r = random(seed + n);
      const { bytes, all } = r.pick(images);
      const image = openImage(bytes.slice());
      for (let changes = 1 + r.int(2); changes > 0; changes--) mutate(image, all, r);
      tally[outcome(image, `SEED=${seed + n}`)]++;
    }
    console.log(tally);
    expect(tally.accepted).toBeGreaterThan(0);
    expect(tally.shown).toBeGreaterThan(0);
  });
});

function outcome(image: Image, where: string): 'accepted' | 'shown' | 'refused' {
  const device = memoryDevice(image.bytes, { sparse: true });
  try {
    if (!replay(device).readOnly) {
      expect(fsck(contents(device)), where).toBe('');
      return 'accepted';
    }
  } catch (error) {
    if (!(error instanceof Ext4Error)) throw new Error(where, { cause: error });
    expect(same(contents(device), image.bytes), where).toBe(true);
    return 'refused';
  }
  expect(same(contents(device), image.bytes), where).toBe(true);
  return 'shown';
}

/** Changes one record: some of its bits, its inode, its kind, or all of it for that of another. */
function mutate(image: Image, all: RawRecord[][], r: Random): void {
  const commit = r.pick(all);
  const speaking = (list: RawRecord[]) => list.filter(({ tag }) => SPEAKING.includes(tag));
  const own = speaking(commit);
  if (own.length === 0) return;
  const { at, len, tag } = r.pick(own);
  const dv = viewOf(image);
  const off = r.chance(0.5) ? r.int(Math.min(len, 16)) : r.int(len);
  const kind = r.int(6);
  if (kind < 2) image.bytes[at + 4 + off] ^= 1 << r.int(8);
  else if (kind === 2) image.bytes[at + 4 + off] = r.int(256);
  else if (kind === 3) {
    const like = speaking(all.flat()).filter((other) => other.tag === tag && other.len === len);
    const from = r.pick(like).at + 4;
    image.bytes.copyWithin(at + 4, from, from + len);
  } else if (kind === 4 && tag >= F.EXT4_FC_TAG_CREAT && tag <= F.EXT4_FC_TAG_UNLINK) {
    dv.setUint16(at, F.EXT4_FC_TAG_CREAT + r.int(3), true);
  } else dv.setUint32(at + 4, dv.getUint32(r.pick(speaking(all.flat())).at + 4, true), true);
  sumAnew(image, commit);
}

describe('the pieces that count in the end', () => {
  test('are what writing them down block by block leaves', () => {
    const r = random(seedOf());
    for (let round = 0; round < 200; round++) {
      const pieces: FastPiece[] = Array.from({ length: 1 + r.int(12) }, () => {
        const kind = r.chance(0.3) ? MAP_HOLE : MAP_WRITTEN;
        const pblk = kind === MAP_HOLE ? 0 : 100 + r.int(40);
        return { lblk: r.int(30), len: 1 + r.int(12), pblk, kind };
      });
      const want = new Map<number, string>();
      for (const p of pieces) {
        for (let i = 0; i < p.len; i++) want.set(p.lblk + i, blockText(p, i));
      }
      const got = new Map<number, string>();
      let end = 0;
      for (const p of settle(pieces)) {
        expect(p.lblk).toBeGreaterThanOrEqual(end);
        end = p.lblk + p.len;
        for (let i = 0; i < p.len; i++) got.set(p.lblk + i, blockText(p, i));
      }
      expect([...got].sort()).toEqual([...want].sort());
    }
  });
});

function blockText({ pblk, kind }: FastPiece, i: number): string {
  return kind === MAP_HOLE ? 'hole' : String(pblk + i);
}
