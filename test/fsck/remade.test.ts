// Goal: a journal that must be dropped and a resize inode that is broken are made again, as `e2fsck -y` does, and the
// journal is as large as it was. Method: mke2fs's images, damaged by debugfs or by hand; after the repair dumpe2fs says
// what it said of the undamaged image, e2fsck finds nothing, the kernel mounts and grows it.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import type { FsckResult } from '../../ts/fsck/check.ts';
import { runFsckSync } from '../../ts/fsck/run.ts';
import { need, which } from '../need.ts';

/** Options of mke2fs; each with room for a journal, most with a reserve of descriptors. */
const KINDS: Record<string, string[]> = {
  'ext4, 4 KiB': ['-t', 'ext4', '-b', '4096', '-J', 'size=6'],
  'ext4, 1 KiB': ['-t', 'ext4', '-b', '1024', '-J', 'size=3'],
  ext3: ['-t', 'ext3', '-b', '1024'],
  'without checksums': ['-t', 'ext4', '-b', '2048', '-O', '^metadata_csum'],
  'fast commits': ['-t', 'ext4', '-b', '4096', '-O', 'fast_commit,orphan_file'],
  bigalloc: ['-t', 'ext4', '-b', '1024', '-C', '8192', '-O', 'bigalloc'],
  meta_bg: ['-t', 'ext4', '-b', '1024', '-O', 'meta_bg,^resize_inode'],
};
const BYTES = 40 << 20;
/** What says where and how large journal and reserve are; times, counts of writes and checksums change. */
const LINES = new RegExp(
  '^(Filesystem (features|state)|Journal|Total journal|Fast commit|Reserved GDT' +
    '|(Free|Block|Inode) (blocks|count|inodes))',
);

function mended(image: string, repair: true | 'preen'): { result: FsckResult; bytes: Uint8Array } {
  const bytes = new Uint8Array(readFileSync(image));
  const device = memoryDevice(bytes);
  const result = runFsckSync(device, { repair });
  device.readSync(bytes, 0);
  return { result, bytes };
}

need.describe('what is made again', [need.tool('mke2fs', 'debugfs', 'dumpe2fs', 'e2fsck')], () => {
  let dir: string;
  let image: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'fsck-remade-'));
    image = join(dir, 'image');
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  const run = (tool: string, ...args: string[]) =>
    execFileSync(which(tool), args, { stdio: 'pipe', encoding: 'utf8' });
  const debugfs = (request: string) => run('debugfs', '-w', '-R', request, image);
  const facts = () =>
    run('dumpe2fs', '-h', image)
      .split('\n')
      .filter((line) => LINES.test(line) && !line.startsWith('Journal sequence'));

  function make(args: string[]): void {
    rmSync(image, { force: true });
    writeFileSync(image, '');
    truncateSync(image, BYTES);
    run('mke2fs', '-q', '-F', ...args, image);
    const data = join(dir, 'data');
    writeFileSync(data, new Uint8Array(300_000).fill(5));
    debugfs(`write ${data} file`);
    debugfs('mkdir sub');
  }

  function mend(): FsckResult {
    const { result, bytes } = mended(image, true);
    writeFileSync(image, bytes);
    return result;
  }

  function zeroBlock(number: number): void {
    const bytes = readFileSync(image);
    const size = Number(/Block size: +(\d+)/.exec(run('dumpe2fs', '-h', image))?.[1]);
    bytes.fill(0, number * size, (number + 1) * size);
    writeFileSync(image, bytes);
  }

  function expectMended(before: string[], code: string): void {
    const result = mend();
    expect(result.problems.map((problem) => problem.code)).toContain(code);
    expect([result.exitCode, result.clean]).toEqual([1, true]);
    expect(facts()).toEqual(before);
    const check = spawnSync(which('e2fsck'), ['-fn', image], { encoding: 'utf8' });
    expect(check.status, check.stdout).toBe(0);
    expect(debugfs('cat file').length).toBe(300_000);
  }

  test.each(Object.keys(KINDS))('a journal whose inode is empty: %s', (kind) => {
    make(KINDS[kind]);
    const before = facts();
    debugfs('clri <8>');
    expectMended(before, 'journal-remade');
  });

  test.each(Object.keys(KINDS))('a journal without its superblock, where it was: %s', (kind) => {
    make(KINDS[kind]);
    const before = facts();
    const first = debugfs('bmap <8> 0');
    zeroBlock(Number(first));
    expectMended(before, 'journal-remade');
    // In a single group it was in pieces; one that is whole is better.
    if (Number(first) > 100) expect(debugfs('bmap <8> 0')).toBe(first);
  });

  test('a journal without a whole stretch of free blocks is made of pieces', () => {
    make(['-t', 'ext4', '-b', '1024', '-J', 'size=3', '-m', '0']);
    const before = facts();
    debugfs('clri <8>');
    const data = join(dir, 'data');
    for (let i = 0; i < 14; i++) {
      writeFileSync(data, new Uint8Array(2_600_000).fill(i));
      debugfs(`write ${data} f${i}`);
    }
    const result = mend();
    expect(result.problems.map((problem) => problem.code)).toContain('journal-remade');
    expect(facts()[0]).toBe(before[0]);
    expect(spawnSync(which('e2fsck'), ['-fn', image]).status).toBe(0);
  });

  test('a journal for which there is no room is given up, and that is said', () => {
    make(['-t', 'ext4', '-b', '1024', '-J', 'size=8', '-m', '0']);
    const data = join(dir, 'data');
    writeFileSync(data, new Uint8Array(25 << 20).fill(1));
    debugfs(`write ${data} huge`);
    debugfs('clri <8>');
    // A journal of 8 MiB by the copy in the superblock, of 16 by that number.
    debugfs(`ssv jnl_blocks[16] ${16 << 20}`);
    const result = mend();
    const last = result.problems.find((problem) => problem.code === 'journal-lost');
    expect(last?.message).toMatch('no room for a new journal of 16384 blocks');
    expect(facts()[0]).not.toMatch('has_journal');
    expect(spawnSync(which('e2fsck'), ['-fn', image]).status).toBe(0);
  });

  test('a superblock that names no journal at all gets one of the default size, as from e2fsck', () => {
    make(['-t', 'ext4', '-b', '4096']);
    const before = facts();
    for (let i = 0; i < 17; i++) debugfs(`ssv jnl_blocks[${i}] 0`);
    debugfs('ssv journal_inum 0');
    expectMended(before, 'journal-remade');
  });

  test.each(Object.keys(KINDS).filter((kind) => kind !== 'meta_bg'))(
    'a resize inode that is gone, or names a wrong block: %s',
    (kind) => {
      for (const damage of ['clri <7>', 'sif <7> block[DIND] 99', 'sif <7> links_count 0']) {
        make(KINDS[kind]);
        if (!facts()[0].includes('resize_inode')) expect.unreachable(`${kind} has no resize inode`);
        const before = facts();
        debugfs(damage);
        expectMended(before, 'resize-inode-remade');
      }
    },
  );

  test('a preen leaves both to the full repair', () => {
    make(['-t', 'ext4', '-b', '1024']);
    debugfs('clri <7>');
    const { result } = mended(image, 'preen');
    expect(result.exitCode).toBe(4);
    expect(result.problems.map((problem) => problem.code)).not.toContain('resize-inode-remade');
  });
});

need.describe(
  'what is made again, in the kernel',
  [need.loop(), need.tool('mke2fs', 'debugfs', 'resize2fs')],
  () => {
    test('mounts, and grows while it is mounted', () => {
      const dir = mkdtempSync(join(tmpdir(), 'fsck-grown-'));
      const image = join(dir, 'image');
      const mount = join(dir, 'mount');
      mkdirSync(mount);
      const run = (tool: string, ...args: string[]) =>
        execFileSync(which(tool), args, { stdio: 'pipe', encoding: 'utf8' });
      writeFileSync(image, '');
      truncateSync(image, BYTES);
      run('mke2fs', '-q', '-F', '-t', 'ext4', '-b', '1024', image);
      run('debugfs', '-w', '-R', 'clri <7>', image);
      run('debugfs', '-w', '-R', 'clri <8>', image);
      const { result, bytes } = mended(image, true);
      expect(result.exitCode).toBe(1);
      writeFileSync(image, bytes);
      truncateSync(image, 3 * BYTES);
      const device = run('losetup', '-f', '--show', image).trim();
      try {
        run('mount', device, mount);
        const grown = spawnSync(which('resize2fs'), [device], { encoding: 'utf8' });
        writeFileSync(join(mount, 'file'), 'after');
        run('umount', mount);
        // Growing a mounted one needs a capability that a container may lack.
        if (!grown.stderr.includes('Permission denied')) expect(grown.status, grown.stderr).toBe(0);
        else {
          run('e2fsck', '-fy', device);
          run('resize2fs', device);
        }
      } finally {
        spawnSync('umount', [mount]);
        run('losetup', '-d', device);
      }
      expect(spawnSync(which('e2fsck'), ['-fn', image]).status).toBe(0);
      expect(run('dumpe2fs', '-h', image)).toMatch(
        `Block count:              ${(3 * BYTES) / 1024}`,
      );
      rmSync(dir, { recursive: true, force: true });
    });
  },
);
