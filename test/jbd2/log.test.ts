// Goal: every layout of the log is read: tag sizes, 64-bit numbers, v2 and v3 sums, escapes, revokes, a log that wraps
// round its end, ids that wrap at 2^32. Method: logs that debugfs wrote, replayed by it and by us; and images cut by
// the kernel whose log is moved, or its ids raised, which must replay to the same blocks as before.

import { expect, test } from 'vitest';
import { ABI_HEAP } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/jbd2.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import { finishRecovery, readLog, writeHome } from '../../ts/jbd2/recovery.ts';
import { logAt } from '../../ts/jbd2/scan.ts';
import { superChecksum } from '../../ts/jbd2/super.ts';
import { DEEP, need } from '../need.ts';
import { debugfsLog, debugfsReplay } from './debugfs.ts';
import {
  contents,
  type Image,
  imageBytes,
  kernels,
  openImage,
  run,
  same,
  sourceOf,
} from './image.ts';

function replay(image: Image): Uint8Array {
  const device = memoryDevice(image.bytes);
  const source = sourceOf(image, device);
  const recovery = run(readLog(source));
  run(writeHome(source, recovery));
  run(finishRecovery(source, recovery));
  return contents(device);
}

/** Blocks that differ, without the superblock and the journal. */
function differing(image: Image, a: Uint8Array, b: Uint8Array): number[] {
  const skip = new Set(image.journal).add(Math.floor(1024 / image.blockSize));
  const list: number[] = [];
  for (let blk = 0; blk < image.blocks; blk++) {
    const [from, end] = [blk * image.blockSize, (blk + 1) * image.blockSize];
    if (!same(a.subarray(from, end), b.subarray(from, end)) && !skip.has(blk)) list.push(blk);
  }
  return list;
}

const MAGIC = [0xc0, 0x3b, 0x39, 0x98];

/** Three blocks: the first and the last begin as a log block does, and so must be escaped. */
function logged(): Uint8Array {
  const data = new Uint8Array(3072).fill(0x41).fill(0x42, 1024, 2048);
  data.set(MAGIC, 0);
  data.set(MAGIC, 2048);
  return data;
}

const LAYOUTS = {
  'no sums, 32 bits': { open: '', features: '^64bit,^metadata_csum' },
  'no sums, 64 bits': { open: '', features: '64bit,^metadata_csum' },
  'v2 sums, 32 bits': { open: '-c -v 2', features: '^64bit,metadata_csum' },
  'v2 sums, 64 bits': { open: '-c -v 2', features: '64bit,metadata_csum' },
  'v3 sums, 32 bits': { open: '-c -v 3', features: '^64bit,metadata_csum' },
  'v3 sums, 64 bits': { open: '-c -v 3', features: '64bit,metadata_csum' },
};

need.describe('logs written by debugfs', [need.tool('debugfs', 'mke2fs')], () => {
  for (const [name, layout] of Object.entries(LAYOUTS)) {
    test(`${name}: escapes are undone, revoked copies stay out, later ones count`, () => {
      const writes = [
        '-b 3000,3001,3002 {data}',
        '-r 3001',
        '-b 3005,3006 {data}',
        '-r 3005',
        '-b 3005 {data}',
      ];
      const image = openImage(debugfsLog({ ...layout, writes, data: logged() }));
      const recovery = run(readLog(sourceOf(image)));
      expect(recovery.transactions).toBe(5);
      expect([...recovery.blocks.keys()].sort()).toEqual([3000, 3002, 3005, 3006]);
      expect(
        [...recovery.blocks]
          .filter(([, e]) => e.escaped)
          .map(([b]) => b)
          .sort(),
      ).toEqual([3000, 3002, 3005]);
      expect(recovery.revokeHits).toBe(2);
      // As in the kernel, one id is skipped.
      expect(recovery).toMatchObject({ head: 17, nextTid: 7 });
      const after = replay(image);
      expect([...after.subarray(3000 * 1024, 3000 * 1024 + 5)]).toEqual([...MAGIC, 0x41]);
      expect(differing(image, after, debugfsReplay(image.bytes))).toEqual([]);
    });
  }

  test('a revoke list may fill its block and not a byte more', () => {
    const writes = ['-r 3001', '-b 3000 {data}'];
    const layout = LAYOUTS['no sums, 32 bits'];
    const image = openImage(debugfsLog({ ...layout, writes, data: logged() }));
    const count = image.journal[1] * 1024 + F.R_COUNT;
    const dv = new DataView(image.bytes.buffer);
    for (const bytes of [0, 15, 1024]) {
      dv.setUint32(count, bytes);
      expect(run(readLog(sourceOf(image))).blocks.size).toBe(1);
    }
    for (const bytes of [1025, 0xffffffff]) {
      dv.setUint32(count, bytes);
      const recover = () => run(readLog(sourceOf(image)));
      expect(recover).toThrow(expect.objectContaining({ code: 'EUCLEAN' }));
    }
  });

  test('a log that is one transaction without end is read once round', () => {
    const writes = ['-b 3000 {data}', '-r 3001'];
    const layout = LAYOUTS['no sums, 32 bits'];
    const image = openImage(debugfsLog({ ...layout, writes, data: logged() }));
    const revoke = image.journal[4] * 1024; // after descriptor, block, commit
    expect(new DataView(image.bytes.buffer).getUint32(revoke + F.H_BLOCKTYPE)).toBe(5);
    for (const pblk of image.journal.slice(1)) {
      image.bytes.copyWithin(pblk * 1024, revoke, revoke + 1024);
    }
    editSuper(image, (dv, at) => {
      dv.setUint32(at + F.JS_SEQUENCE, dv.getUint32(revoke + F.H_SEQUENCE));
    });
    let reads = 0;
    const recovery = run(readLog(sourceOf(image)), () => reads++);
    expect(recovery).toMatchObject({ transactions: 0, needed: true });
    expect(reads).toBeLessThan(image.journal.length);
  });

  test('a home block beyond the file system, or in the journal, refuses the log', () => {
    const layout = LAYOUTS['no sums, 32 bits'];
    const image = openImage(debugfsLog({ ...layout, writes: ['-b 3000 {data}'], data: logged() }));
    const tag = image.journal[1] * 1024 + F.JBD2_HEADER_SIZE;
    const dv = new DataView(image.bytes.buffer);
    for (const home of [image.blocks, 0xffffffff, image.journal[0], image.journal[700]]) {
      dv.setUint32(tag, home);
      const recover = () => run(readLog(sourceOf(image)));
      expect(recover).toThrow(expect.objectContaining({ code: 'EUCLEAN' }));
    }
    dv.setUint32(tag, image.blocks - 1);
    expect(run(readLog(sourceOf(image))).blocks.size).toBe(1);
  });
});

/** Edits the journal's superblock and sums it anew. */
function editSuper(image: Image, edit: (dv: DataView, at: number) => void): void {
  const at = image.journal[0] * image.blockSize;
  const dv = new DataView(image.bytes.buffer, image.bytes.byteOffset);
  edit(dv, at);
  const k = kernels();
  k.u8.set(image.bytes.subarray(at, at + F.JBD2_SB_SIZE), ABI_HEAP);
  const summed = F.JBD2_FEATURE_INCOMPAT_CSUM_V2 | F.JBD2_FEATURE_INCOMPAT_CSUM_V3;
  if (dv.getUint32(at + F.JS_FEATURE_INCOMPAT) & summed) {
    dv.setUint32(at + F.JS_CHECKSUM, superChecksum(k, ABI_HEAP));
  }
}

/** Moves the whole log on by `by` blocks, round its end; where it lies is in no checksum. */
function rotate(image: Image, by: number): Image {
  const bytes = image.bytes.slice();
  const { format, sb } = run(readLog(sourceOf(image)));
  const { blockSize, journal } = image;
  for (let jblk = format.first; jblk < format.last; jblk++) {
    const from = journal[jblk] * blockSize;
    const to = journal[logAt(format, jblk, by)] * blockSize;
    bytes.set(image.bytes.subarray(from, from + blockSize), to);
  }
  const moved = { ...image, bytes };
  editSuper(moved, (dv, at) => dv.setUint32(at + F.JS_START, logAt(format, sb.s_start, by)));
  return moved;
}

/** Gives the log's first transaction the id `tid`, the others the following; for logs without sums. */
function renumber(image: Image, tid: number): Image {
  const bytes = image.bytes.slice();
  const { sb } = run(readLog(sourceOf(image)));
  const dv = new DataView(bytes.buffer);
  for (const pblk of image.journal.slice(1)) {
    const at = pblk * image.blockSize;
    const isRecord = dv.getUint32(at) === F.JBD2_MAGIC_NUMBER;
    const old = dv.getUint32(at + F.H_SEQUENCE) - sb.s_sequence;
    if (isRecord) dv.setUint32(at + F.H_SEQUENCE, (tid + old) >>> 0);
  }
  const moved = { ...image, bytes };
  editSuper(moved, (view, at) => view.setUint32(at + F.JS_SEQUENCE, tid));
  return moved;
}

need.describe('logs moved and renumbered', [need.oracles(), need.tool('debugfs')], () => {
  for (const name of ['ordered_csum3', 'ordered_csum1', 'revoke_nocsum32', 'fast_commit_write']) {
    test(`${name}: a log that wraps, wherever it does, replays as before`, () => {
      const image = openImage(imageBytes('crash', `${name}.img`));
      const { format, head, fastCommits } = run(readLog(sourceOf(image)));
      const straight = replay(image);
      const step = DEEP ? 1 : Math.ceil(head / 8); // log blocks between two trials
      for (let by = format.last - head - 1; by < format.last - 1; by += step) {
        const moved = rotate(image, by);
        const recovery = run(readLog(sourceOf(moved)));
        expect(recovery.head).toBe(logAt(format, head, by));
        expect(recovery.fastCommits).toEqual(fastCommits);
        if (by % 3 === 0) expect(differing(image, replay(moved), straight)).toEqual([]);
      }
    });
  }

  test('debugfs replays the wrapped log the same way', () => {
    const image = openImage(imageBytes('crash', 'revoke_lf.img'));
    const moved = rotate(image, 900);
    expect(differing(image, replay(moved), debugfsReplay(moved.bytes))).toEqual([]);
  });

  for (const tid of [0xfffffffe, 0xffffffff, 0x7ffffffc, 0]) {
    test(`transaction ids that start at ${tid} replay as before, revokes included`, () => {
      const image = openImage(imageBytes('crash', 'revoke_nocsum32.img'));
      const straight = run(readLog(sourceOf(image)));
      const moved = renumber(image, tid);
      const recovery = run(readLog(sourceOf(moved)));
      expect(recovery.blocks).toEqual(straight.blocks);
      expect(recovery.revokeHits).toBe(straight.revokeHits);
      expect(recovery.revokeHits).toBeGreaterThan(0);
      expect(recovery.nextTid).toBe((tid + straight.transactions + 1) >>> 0);
      expect(differing(image, replay(moved), debugfsReplay(moved.bytes))).toEqual([]);
    });
  }
});

need.describe('journal superblocks', [need.oracles()], () => {
  const refused = (name: string, edit: (dv: DataView, at: number) => void) => {
    const image = openImage(imageBytes('crash', name));
    editSuper(image, edit);
    try {
      run(readLog(sourceOf(image)));
    } catch (error) {
      return error as { code: string; detail: { field?: string; features?: string[] } };
    }
    throw new Error('not refused');
  };

  test('unknown features are refused and named', () => {
    const set = (off: number, bit: number) => (dv: DataView, at: number) =>
      dv.setUint32(at + off, (dv.getUint32(at + off) | bit) >>> 0);
    const incompat = refused('ordered_csum3.img', set(F.JS_FEATURE_INCOMPAT, 0x80000040));
    expect(incompat).toMatchObject({ code: 'EOPNOTSUPP' });
    expect(incompat.detail.features).toEqual(['FEATURE_I6', 'FEATURE_I31']);
    const ro = refused('ordered_csum3.img', set(F.JS_FEATURE_RO_COMPAT, 1));
    expect(ro.detail.features).toEqual(['FEATURE_R0']);
    const image = openImage(imageBytes('crash', 'ordered_csum3.img'));
    editSuper(image, set(F.JS_FEATURE_COMPAT, 0x10));
    expect(run(readLog(sourceOf(image))).transactions).toBe(8);
  });

  const FIELDS: [string, number, number, string?][] = [
    ['h_magic', F.H_MAGIC, 0],
    ['h_blocktype', F.H_BLOCKTYPE, F.JBD2_DESCRIPTOR_BLOCK],
    ['s_blocksize', F.JS_BLOCKSIZE, 1024],
    ['s_blocksize', F.JS_BLOCKSIZE, 0],
    ['s_maxlen', F.JS_MAXLEN, 1025],
    ['s_maxlen', F.JS_MAXLEN, 0xffffffff],
    ['s_maxlen', F.JS_MAXLEN, 1023],
    ['s_first', F.JS_FIRST, 0],
    ['s_first', F.JS_FIRST, 1024],
    ['s_first', F.JS_FIRST, 0xffffffff],
    ['s_start', F.JS_START, 1024],
    ['s_start', F.JS_START, 0xffffffff],
    ['s_checksum_type', F.JS_CHECKSUM_TYPE, 0x01000000],
    ['s_feature_incompat', F.JS_FEATURE_INCOMPAT, 0x18],
  ];
  for (const [field, off, value] of FIELDS) {
    test(`${field} ${value} is refused by name`, () => {
      const error = refused('ordered_csum3.img', (dv, at) => dv.setUint32(at + off, value));
      expect(error.code).toBe('EUCLEAN');
      expect(error.detail.field).toBe(field);
    });
  }

  test('more fast-commit blocks than the journal has are refused', () => {
    const error = refused('fast_commit_1k.img', (dv, at) => {
      dv.setUint32(at + F.JS_NUM_FC_BLKS, 4000);
    });
    expect(error.detail.field).toBe('s_maxlen');
  });

  test('the errno of the last mount is told and survives recovery', () => {
    const image = openImage(imageBytes('crash', 'ordered_csum3.img'));
    editSuper(image, (dv, at) => dv.setInt32(at + F.JS_ERRNO, -5));
    expect(run(readLog(sourceOf(image))).errno).toBe(-5);
    const after = { ...image, bytes: replay(image) };
    const again = run(readLog(sourceOf(after)));
    expect(again).toMatchObject({ errno: -5, needed: false, transactions: 0 });
  });

  test('a hole in the map under the log is refused', () => {
    const image = openImage(imageBytes('crash', 'ordered_csum3.img'));
    const journal = image.journal.with(20, -1);
    const recover = () => run(readLog(sourceOf({ ...image, journal })));
    expect(recover).toThrow(expect.objectContaining({ code: 'EUCLEAN' }));
  });
});
