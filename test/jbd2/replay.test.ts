// Goal: a replayed journal leaves every home block as the kernel's replay leaves it, and no other block changes.
// Method: images cut by the real kernel in every journal mode; both outputs (blocks written home, and the map that
// leaves the image alone) against the kernel's vectors, block for block; images whose recorded kernel result contains
// more than the log (orphans, fast commits) against debugfs's replay.

import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { ABI_HEAP } from '../../assembly/abi.ts';
import {
  JBD2_FEATURE_INCOMPAT_FAST_COMMIT,
  JS_CHECKSUM,
  JS_FEATURE_INCOMPAT,
} from '../../assembly/format/jbd2.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import { finishRecovery, type Recovery, readLog, writeHome } from '../../ts/jbd2/recovery.ts';
import { superChecksum } from '../../ts/jbd2/super.ts';
import { need } from '../need.ts';
import { debugfsReplay } from './debugfs.ts';
import {
  contents,
  type Image,
  imageBytes,
  kernels,
  openImage,
  run,
  same,
  sourceOf,
  vectors,
} from './image.ts';

/** Here the recorded kernel went on beyond the log, so that the log's share is asked of debugfs. */
const FAST = ['fast_commit.img', 'fast_commit_1k.img', 'fast_commit_write.img'];
const BEYOND_LOG = new Set(['orphan_file.img', ...FAST]);

const sha = (bytes: Uint8Array): string =>
  createHash('sha1').update(bytes).digest('hex').slice(0, 12);

/** Home blocks that differ, with their new sum; the superblock and the journal are left out. */
function changes(image: Image, after: Uint8Array): Record<string, string> {
  const { blockSize, bytes } = image;
  const skip = new Set(image.journal).add(Math.floor(1024 / blockSize));
  const out: Record<string, string> = {};
  for (let b = 0; (b + 1) * blockSize <= bytes.length; b++) {
    const [from, end] = [b * blockSize, (b + 1) * blockSize];
    const kept = same(bytes.subarray(from, end), after.subarray(from, end));
    if (!kept && !skip.has(b)) out[b] = sha(after.subarray(from, end));
  }
  return out;
}

/** The image as the memory replay shows it. */
function overlay(image: Image, recovery: Recovery): Uint8Array {
  const after = image.bytes.slice();
  for (const [home, { dpos, escaped }] of recovery.blocks) {
    const to = home * image.blockSize;
    after.set(image.bytes.subarray(dpos, dpos + image.blockSize), to);
    if (escaped) after.set([0xc0, 0x3b, 0x39, 0x98], to);
  }
  return after;
}

/** debugfs refuses the fast-commit bit: takes it out of the journal's superblock and says so in its checksum. */
function withoutFastCommits(image: Image): Uint8Array {
  const bytes = image.bytes.slice();
  const at = image.journal[0] * image.blockSize;
  bytes[at + JS_FEATURE_INCOMPAT + 3] &= ~JBD2_FEATURE_INCOMPAT_FAST_COMMIT;
  const k = kernels();
  k.u8.set(bytes.subarray(at, at + 1024), ABI_HEAP);
  const sum = superChecksum(k, ABI_HEAP);
  new DataView(bytes.buffer).setUint32(at + JS_CHECKSUM, sum);
  return bytes;
}

function check(image: Image, expected: Record<string, string>, window?: number): void {
  const device = memoryDevice(image.bytes);
  const source = sourceOf(image, device, window);
  const recovery = run(readLog(source));
  expect(same(contents(device), image.bytes)).toBe(true);
  expect(changes(image, overlay(image, recovery))).toEqual(expected);
  run(writeHome(source, recovery));
  run(finishRecovery(source, recovery));
  const after = contents(device);
  expect(changes(image, after)).toEqual(expected);
  expect(run(readLog(source)).needed).toBe(false);
}

need.describe('replay of kernel-cut images', [need.oracles()], () => {
  for (const { name, vec } of vectors('crash')) {
    if (BEYOND_LOG.has(name)) continue;
    test(`${name} has after replay what the kernel made of it`, () => {
      check(openImage(imageBytes('crash', name)), vec);
    });
  }

  test('a window of a single block gives the same result', () => {
    const { name, vec } = vectors('crash').find((v) => v.name === 'revoke_indirect.img')!;
    const image = openImage(imageBytes('crash', name));
    check(image, vec, image.blockSize);
  });

  test('a window of a megabyte gives the same result', () => {
    const { name, vec } = vectors('crash').find((v) => v.name === 'ordered_1k.img')!;
    check(openImage(imageBytes('crash', name)), vec, 1 << 20);
  });
});

need.describe('replay against debugfs', [need.oracles(), need.tool('debugfs')], () => {
  for (const name of BEYOND_LOG) {
    test(`${name} has after its log what debugfs made of it`, () => {
      const image = openImage(imageBytes('crash', name));
      const expected = changes(image, debugfsReplay(withoutFastCommits(image)));
      expect(Object.keys(expected).length).toBeGreaterThan(3);
      check(image, expected);
    });
  }
});

need.describe('replay of found images', [need.oracles()], () => {
  const all = vectors('images');
  for (const { name, k_rc, vec } of all.filter((v) => v.k_rc === 'ok')) {
    test(`${name} has after replay what the kernel made of it (${k_rc})`, () => {
      check(openImage(imageBytes('images', name)), vec);
    });
  }

  test('a damaged copy refuses the log before anything is written', () => {
    const image = openImage(imageBytes('images', 'j_corrupt_journal_block.img'));
    const device = memoryDevice(image.bytes);
    const recover = () => run(readLog(sourceOf(image, device)));
    expect(recover).toThrow(expect.objectContaining({ code: 'EBADMSG' }));
    expect(same(contents(device), image.bytes)).toBe(true);
  });

  test('a damaged copy may be skipped: the rest is what the kernel wrote', () => {
    const image = openImage(imageBytes('images', 'j_corrupt_journal_block.img'));
    const { vec } = all.find((v) => v.name === 'j_corrupt_journal_block.img')!;
    const recovery = run(readLog(sourceOf(image), { damaged: 'skip' }));
    expect(recovery.skipped.length).toBeGreaterThan(0);
    expect(changes(image, overlay(image, recovery))).toEqual(vec);
  });

  test('a journal superblock with a wrong checksum is refused', () => {
    const image = openImage(imageBytes('images', 'j_corrupt_sb_csum.img'));
    const recover = () => run(readLog(sourceOf(image)));
    expect(recover).toThrow(expect.objectContaining({ code: 'EBADMSG' }));
  });

  test('a journal whose map is broken is refused', () => {
    const image = openImage(imageBytes('images', 'f_ext_journal.img'));
    const recover = () => run(readLog(sourceOf(image)));
    expect(recover).toThrow(expect.objectContaining({ code: 'EUCLEAN' }));
  });
});
