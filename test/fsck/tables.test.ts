// Goal: a group descriptor that is lost with all its copies, or names places that cannot be, costs no file that can be
// found. Method: images of mke2fs with files in all groups; a field of a descriptor is changed in the primary table
// and in the copies, or in some of them, with its checksum wrong or right; after the repair e2fsck finds nothing and
// every file reads as before. Where e2fsck would give files up, that is said.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import * as F from '../../assembly/format/ext4.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import type { FsckResult } from '../../ts/fsck/check.ts';
import { runFsckSync } from '../../ts/fsck/run.ts';
import { mkfsSync, mountSync } from '../../ts/index.ts';
import { DEEP, need, which } from '../need.ts';
import { readable } from './readable.ts';

const KINDS: Record<string, string[]> = {
  ext4: ['-t', 'ext4', '-b', '1024', '-N', '400'],
  'no flex_bg': ['-t', 'ext4', '-b', '1024', '-N', '400', '-O', '^flex_bg'],
  uninit_bg: ['-t', 'ext4', '-b', '1024', '-N', '400', '-O', 'uninit_bg,^metadata_csum'],
  ext2: ['-t', 'ext2', '-b', '1024', '-N', '400'],
  meta_bg: ['-t', 'ext4', '-b', '1024', '-N', '400', '-O', 'meta_bg,^resize_inode'],
};
/** Made by this library's mkfs. */
const OWN = 'own mkfs';
const BYTES = 26 << 20;
/** What becomes of descriptor 1 (or 0): a field and its value, or all of it zero. */
const DAMAGES: Record<string, { group: number; field: number; value: number } | { group: number }> =
  {
    'a table outside': { group: 1, field: F.BG_INODE_TABLE_LO, value: 0xffffff },
    'a table on the superblock': { group: 1, field: F.BG_INODE_TABLE_LO, value: 1 },
    'a table some blocks further': { group: 1, field: F.BG_INODE_TABLE_LO, value: 0 },
    'the first table outside': { group: 0, field: F.BG_INODE_TABLE_LO, value: 0xffffff },
    'a block bitmap outside': { group: 1, field: F.BG_BLOCK_BITMAP_LO, value: 0xffffff },
    'a block bitmap on the descriptors': { group: 1, field: F.BG_BLOCK_BITMAP_LO, value: 2 },
    'an inode bitmap on the superblock': { group: 1, field: F.BG_INODE_BITMAP_LO, value: 1 },
    'a descriptor of zeroes': { group: 1 },
    'the first descriptor of zeroes': { group: 0 },
  };

interface Shape {
  blockSize: number;
  descSize: number;
  blocksPerGroup: number;
  groups: number;
  first: number;
}

need.describe('descriptors that are lost', [need.tool('mke2fs', 'e2fsck')], () => {
  let dir: string;
  let image: string;
  const made = new Map<string, Uint8Array>();
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'fsck-tables-'));
    image = join(dir, 'image');
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  /** An image with directories and files in every group. */
  function good(kind: string): Uint8Array {
    const before = made.get(kind);
    if (before) return before.slice();
    rmSync(image, { force: true });
    writeFileSync(image, '');
    truncateSync(image, BYTES);
    if (kind !== OWN)
      execFileSync(which('mke2fs'), ['-q', '-F', ...KINDS[kind], image], { stdio: 'pipe' });
    const bytes = new Uint8Array(readFileSync(image));
    const device = memoryDevice(bytes);
    if (kind === OWN) mkfsSync(device, { blockSize: 1024, inodes: 400 });
    const img = mountSync(device);
    for (let i = 0; i < 20; i++) {
      img.mkdirSync(`/d${i}`);
      for (let k = 0; k < 5; k++) img.writeFileSync(`/d${i}/f${k}`, `file ${i} ${k} `.repeat(300));
    }
    img.unmountSync();
    device.readSync(bytes, 0);
    made.set(kind, bytes);
    return bytes.slice();
  }

  function shapeOf(bytes: Uint8Array): Shape {
    const sb = new DataView(bytes.buffer, bytes.byteOffset + F.SB_OFFSET);
    const blockSize = 1024 << sb.getUint32(F.S_LOG_BLOCK_SIZE, true);
    const blocksPerGroup = sb.getUint32(F.S_BLOCKS_PER_GROUP, true);
    const first = sb.getUint32(F.S_FIRST_DATA_BLOCK, true);
    const groups = Math.ceil((sb.getUint32(F.S_BLOCKS_COUNT_LO, true) - first) / blocksPerGroup);
    const wide = (sb.getUint32(F.S_FEATURE_INCOMPAT, true) & F.INCOMPAT_64BIT) !== 0;
    const descSize = wide ? sb.getUint16(F.S_DESC_SIZE, true) : 32;
    return { blockSize, descSize, blocksPerGroup, groups, first };
  }

  /** Damages a descriptor in the primary table; with `copies` in all of them. */
  function damage(bytes: Uint8Array, kind: string, name: string, copies: boolean): void {
    const { blockSize, descSize, blocksPerGroup, first } = shapeOf(bytes);
    const what = DAMAGES[name];
    const meta = kind === 'meta_bg';
    const groups = copies ? (meta ? [0, 1] : [0, 1, 3]) : [0];
    for (const group of groups) {
      const start = first + group * blocksPerGroup;
      const at = (start + 1) * blockSize + what.group * descSize;
      if (!('field' in what)) bytes.fill(0, at, at + descSize);
      else {
        const view = new DataView(bytes.buffer, bytes.byteOffset + at);
        const old = view.getUint32(what.field, true);
        view.setUint32(what.field, what.value || old + 5, true);
      }
    }
  }

  function mend(bytes: Uint8Array): { result: FsckResult; after: Uint8Array } {
    const device = memoryDevice(bytes);
    const result = runFsckSync(device, { repair: true });
    const after = new Uint8Array(bytes.length);
    device.readSync(after, 0);
    return { result, after };
  }

  /** Mends and holds everything that was readable at first against what is. */
  function expectAll(before: Uint8Array, bad: Uint8Array): FsckResult {
    const { result, after } = mend(bad);
    const said = result.problems.map((problem) => problem.message).join('\n');
    expect(result.exitCode, `${result.reason}\n${said}`).toBe(1);
    expect(readable(after), said).toEqual(readable(before));
    writeFileSync(image, after);
    const check = spawnSync(which('e2fsck'), ['-fn', image], { encoding: 'utf8' });
    expect(check.status, check.stdout).toBe(0);
    return result;
  }

  const names = Object.keys(DAMAGES);
  const few = names.filter((name) => /outside|zeroes/.test(name));
  const cases = Object.keys(KINDS).flatMap((kind) =>
    (kind === 'ext4' || DEEP ? names : few.slice(0, 4)).map((name) => [name, kind] as const),
  );

  test.each(cases)('%s in the descriptor and its copies costs no file: %s', (name, kind) => {
    const before = good(kind);
    const bad = before.slice();
    damage(bad, kind, name, true);
    expectAll(before, bad);
  });

  test.each(cases.filter(([, kind]) => DEEP || kind === 'meta_bg'))(
    '%s in the descriptor alone is taken from a copy: %s',
    (name, kind) => {
      const before = good(kind);
      const bad = before.slice();
      damage(bad, kind, name, false);
      expectAll(before, bad);
    },
  );

  test.each([...Object.keys(KINDS), OWN])(
    'a lost superblock and its old copies cost no file: %s',
    (kind) => {
      const before = good(kind);
      const bad = before.slice();
      bad.fill(0, F.SB_OFFSET, F.SB_OFFSET + F.SB_SIZE);
      expectAll(before, bad);
    },
  );

  test('a table that is nowhere is made anew, empty, and that is said', () => {
    const before = good('ext4');
    const bad = before.slice();
    damage(bad, 'ext4', 'a table outside', true);
    const { blockSize, descSize } = shapeOf(bad);
    const at = 2 * blockSize + descSize + F.BG_INODE_TABLE_LO;
    const table = new DataView(before.buffer, before.byteOffset + at).getUint32(0, true);
    for (let i = 0; i < 20 * blockSize; i++) bad[table * blockSize + i] = (i * 7919) % 251;
    const { result, after } = mend(bad);
    expect(result.problems.map((problem) => problem.code)).toContain('inode-table-lost');
    expect([result.exitCode, result.clean]).toEqual([1, true]);
    const now = readable(after);
    const kept = [...readable(before)].filter(([path, hash]) => now.get(path) === hash);
    expect(kept.length).toBeGreaterThan(10);
    writeFileSync(image, after);
    expect(spawnSync(which('e2fsck'), ['-fn', image]).status).toBe(0);
  });
});
