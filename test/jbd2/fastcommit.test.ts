// Goal: of the fast-commit area exactly the sound commits of the right transaction count, whole or not at all, and
// reach ext4's table in order. Method: areas written by the kernel, torn at every block, with other ids, and with
// records that lie although their sum is right; a walk of the area in the obvious way says what to expect.

import { expect, test } from 'vitest';
import * as F from '../../assembly/format/jbd2.ts';
import type { Flow } from '../../ts/flow.ts';
import type { FastCommitOps, FastCommits } from '../../ts/jbd2/fastcommit.ts';
import { finishRecovery, readLog, replayFastCommits } from '../../ts/jbd2/recovery.ts';
import { need } from '../need.ts';
import { commits, records, sumAnew, viewOf } from './fastimage.ts';
import { type Image, imageBytes, openImage, run, sourceOf } from './image.ts';

/** Each image, and how many records of transaction 3 are left over behind those that count. */
const BEYOND: Record<string, number> = {
  'fast_commit.img': 22,
  'fast_commit_1k.img': 0,
  'fast_commit_write.img': 15,
};
const NAMES = Object.keys(BEYOND);

const load = (name: string): Image => openImage(imageBytes('crash', name));
const fastOf = (image: Image): FastCommits | null => run(readLog(sourceOf(image))).fastCommits;

/** A table that writes down what it is told. */
function listener(): { ops: FastCommitOps; heard: string[] } {
  const heard: string[] = [];
  function* say(...words: (string | number)[]): Flow<void> {
    heard.push(words.join(' '));
  }
  const text = (name: Uint8Array) => Buffer.from(name).toString();
  const ops: FastCommitOps = {
    claim: (pblk, len) => void heard.push(`claim ${pblk} ${len}`),
    addRange: (ino, r) => say('addRange', ino, r.lblk, r.len, r.pblk, r.unwritten ? 'u' : 'w'),
    delRange: (ino, lblk, len) => say('delRange', ino, lblk, len),
    create: (parent, ino, name) => say('create', parent, ino, text(name)),
    link: (parent, ino, name) => say('link', parent, ino, text(name)),
    unlink: (parent, ino, name) => say('unlink', parent, ino, text(name)),
    inode: (ino, raw) => say('inode', ino, raw.length),
  };
  return { ops, heard };
}

need.describe('fast commits', [need.oracles()], () => {
  for (const name of NAMES) {
    test(`${name}: all closed commits of the transaction count, older ones do not`, () => {
      const image = load(name);
      const fast = fastOf(image)!;
      const expected = commits(image, fast.tid);
      expect(fast.commits).toBe(expected.length);
      expect(fast.records).toBe(expected.flat().length);
      expect(fast.commits).toBeGreaterThan(3);
      const beyond = records(image).length - fast.records;
      expect(beyond).toBe(BEYOND[name]);
    });

    test(`${name}: claims come first, then the records in their order`, () => {
      const image = load(name);
      const recovery = run(readLog(sourceOf(image)));
      const { ops, heard } = listener();
      run(replayFastCommits(sourceOf(image), recovery, ops));
      const kinds = heard.map((line) => line.split(' ')[0]);
      const added = kinds.filter((kind) => kind === 'addRange').length;
      expect(kinds.slice(0, added).every((kind) => kind === 'claim')).toBe(true);
      expect(kinds.slice(added)).not.toContain('claim');
      const silent = [F.EXT4_FC_TAG_HEAD, F.EXT4_FC_TAG_TAIL, F.EXT4_FC_TAG_PAD];
      const told = commits(image, recovery.fastCommits!.tid).flat();
      const loud = told.filter((r) => !silent.includes(r.tag));
      expect(kinds.slice(added)).toEqual(loud.map((r) => OPS[r.tag]));
    });

    test(`${name}: an area torn at any of its blocks keeps the commits before`, () => {
      const image = load(name);
      const fast = fastOf(image)!;
      const all = commits(image, fast.tid);
      for (const jblk of new Set(all.flat().map((r) => r.jblk))) {
        const first = all.flat().find((r) => r.jblk === jblk)!;
        image.bytes[first.at + 9] ^= 0x10;
        const whole = all.filter((c) => c.every((r) => r.jblk < jblk));
        expect(fastOf(image)?.commits ?? 0).toBe(whole.length);
        image.bytes[first.at + 9] ^= 0x10;
      }
    });
  }

  test('the image of a creation names parent, inode and name', () => {
    const image = load('fast_commit_1k.img');
    const { ops, heard } = listener();
    run(replayFastCommits(sourceOf(image), run(readLog(sourceOf(image))), ops));
    expect(heard).toContain('create 2 13 c1');
    expect(heard).toContain('addRange 13 0 10 8710 w');
    expect(heard).toContain('inode 13 160');
    expect(heard).toContain('unlink 2 13 c1');
    expect(heard).toContain('delRange 18 4 8');
  });

  test('an area of another transaction is ignored', () => {
    const image = load('fast_commit_1k.img');
    const [head] = records(image);
    expect(head.tag).toBe(F.EXT4_FC_TAG_HEAD);
    viewOf(image).setUint32(head.at + 8, 7, true);
    sumAnew(image, commits(image, fastOf(load('fast_commit_1k.img'))!.tid)[0]);
    expect(fastOf(image)).toBe(null);
  });

  test('a TAIL of another transaction ends the list, its sum notwithstanding', () => {
    const image = load('fast_commit_1k.img');
    const all = commits(image, fastOf(image)!.tid);
    viewOf(image).setUint32(all[2].at(-1)!.at + 4, 99, true);
    sumAnew(image, all[2]);
    expect(fastOf(image)!.commits).toBe(2);
  });

  test('unknown features of a sound commit are refused by name, of a torn one ignored', () => {
    const image = load('fast_commit_1k.img');
    const all = commits(image, fastOf(image)!.tid);
    viewOf(image).setUint32(all[0][0].at + 4, 0x8, true);
    expect(fastOf(image)).toBe(null);
    sumAnew(image, all[0]);
    expect(() => fastOf(image)).toThrow(expect.objectContaining({ code: 'EOPNOTSUPP' }));
  });

  const LIES: [string, number, (dv: DataView, value: number) => void][] = [
    ['inode 0', F.EXT4_FC_TAG_INODE, (dv, v) => dv.setUint32(v, 0, true)],
    ['a directory 0', F.EXT4_FC_TAG_CREAT, (dv, v) => dv.setUint32(v, 0, true)],
    [
      'blocks beyond the file system',
      F.EXT4_FC_TAG_ADD_RANGE,
      (dv, v) => dv.setUint32(v + 12, 0xfffffff0, true),
    ],
    ['blocks above 2^32', F.EXT4_FC_TAG_ADD_RANGE, (dv, v) => dv.setUint16(v + 10, 1, true)],
    ['no blocks', F.EXT4_FC_TAG_ADD_RANGE, (dv, v) => dv.setUint16(v + 8, 0, true)],
    [
      'a range beyond the file',
      F.EXT4_FC_TAG_ADD_RANGE,
      (dv, v) => dv.setUint32(v + 4, 0xffffffff, true),
    ],
    [
      'a hole beyond the file',
      F.EXT4_FC_TAG_DEL_RANGE,
      (dv, v) => dv.setUint32(v + 4, 0xffffffff, true),
    ],
  ];
  for (const [what, tag, lie] of LIES) {
    test(`a sound commit that speaks of ${what} is refused`, () => {
      const image = load('fast_commit_1k.img');
      const fast = fastOf(image)!;
      const commit = commits(image, fast.tid).find((c) => c.some((r) => r.tag === tag))!;
      lie(viewOf(image), commit.find((r) => r.tag === tag)!.at + 4);
      expect(fastOf(image)?.commits ?? 0).toBeLessThan(fast.commits);
      sumAnew(image, commit);
      expect(() => fastOf(image)).toThrow(expect.objectContaining({ code: 'EUCLEAN' }));
    });
  }

  test('a record whose length is wrong ends the list', () => {
    const image = load('fast_commit_1k.img');
    const all = commits(image, fastOf(image)!.tid);
    const range = all[1].find((r) => r.tag === F.EXT4_FC_TAG_ADD_RANGE)!;
    viewOf(image).setUint16(range.at + 2, 15, true);
    expect(fastOf(image)!.commits).toBe(1);
  });

  test('a finished recovery leaves the superblock that the kernel leaves', () => {
    const image = load('fast_commit_write.img');
    const source = sourceOf(image);
    run(finishRecovery(source, run(readLog(source))));
    const { sb } = run(readLog(source));
    // recorded of the kernel: the feature goes, the size of the area stays
    expect(sb).toMatchObject({ s_sequence: 5, s_start: 0, s_head: 16 });
    expect(sb).toMatchObject({ s_feature_incompat: 0x12, s_num_fc_blks: 16 });
  });

  test('after an empty log nothing in the area counts', () => {
    const image = load('fast_commit_1k.img');
    const at = image.journal[0] * image.blockSize;
    viewOf(image).setUint32(at + F.JS_SEQUENCE, fastOf(image)!.tid);
    viewOf(image).setUint32(at + F.JS_START, 0);
    image.bytes[at + F.JS_FEATURE_INCOMPAT + 3] &= ~F.JBD2_FEATURE_INCOMPAT_CSUM_V3;
    const recovery = run(readLog(sourceOf(image)));
    expect(recovery).toMatchObject({ needed: false, fastCommits: null });
  });
});

const OPS: Record<number, string> = {
  [F.EXT4_FC_TAG_ADD_RANGE]: 'addRange',
  [F.EXT4_FC_TAG_DEL_RANGE]: 'delRange',
  [F.EXT4_FC_TAG_CREAT]: 'create',
  [F.EXT4_FC_TAG_LINK]: 'link',
  [F.EXT4_FC_TAG_UNLINK]: 'unlink',
  [F.EXT4_FC_TAG_INODE]: 'inode',
};
