// Goal: `ext4 mkfs -d TREE IMAGE fit` always has room for the tree, and wastes little. Method: random trees from a
// seed, of one kind each: tiny files, long names, deep directories, sparse files, one huge file, all of it; copied from
// the host or from an archive; e2fsck judges, dumpe2fs says what is left. SEED is the first, DEEP=1 takes fifty.

import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  openSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ext4 } from '../cli/harness.ts';
import { type Random, random } from '../fuzz/random.ts';
import { DEEP, need, which } from '../need.ts';
import { fsck, temporary } from './images.ts';

const FIRST = Number(process.env.SEED ?? 1);
const TREES = DEEP ? 50 : 7;
const KINDS = ['tiny', 'long', 'deep', 'sparse', 'huge', 'mixed', 'plain'] as const;
type Kind = (typeof KINDS)[number];
/** Blocks that may be left whatever the size, and the share of all that may. */
const SPARE = 32;
const SHARE = 0.1;

function makeTree(dir: string, kind: Kind, draw: Random): void {
  mkdirSync(dir);
  const count = kind === 'tiny' ? 1200 : kind === 'long' ? 500 : 60;
  let at = dir;
  for (let i = 0; i < count; i++) {
    const down = kind === 'deep' ? draw.chance(0.8) && at.length < 500 : false;
    if (kind === 'deep' || draw.chance(0.05)) {
      at = join(down ? at : dir, `d${i}`);
      mkdirSync(at);
    }
    const flat = kind === 'tiny' || kind === 'long';
    const name = kind === 'long' ? `f${i}`.padEnd(200 + draw.int(50), 'n') : `f${i}`;
    makeFile(join(flat ? dir : at, name), kind, draw);
    if (draw.chance(0.1)) symlinkSync('x'.repeat(1 + draw.int(200)), join(at, `link${i}`));
  }
  if (kind !== 'huge') return;
  writeFileSync(join(dir, 'huge'), Buffer.alloc((8 + draw.int(24)) << 20, 7));
}

function makeFile(path: string, kind: Kind, draw: Random): void {
  const most = { tiny: 200, long: 200, mixed: 100_000 }[kind as string] ?? 9000;
  writeFileSync(path, Buffer.alloc(draw.int(most), 1 + draw.int(255)));
  if (kind !== 'sparse' && !(kind === 'mixed' && draw.chance(0.1))) return;
  const fd = openSync(path, 'r+');
  for (let i = draw.int(12); i >= 0; i--) writeSync(fd, 'piece', draw.int(50 << 20));
  closeSync(fd);
}

need.describe('ext4 mkfs -d … fit', [need.tool('e2fsck', 'dumpe2fs', 'tar')], () => {
  const dir = temporary();
  const tree = join(dir, 'tree');
  const image = join(dir, 'image');

  function expectFull(what: string): void {
    const facts = execFileSync(which('dumpe2fs'), ['-h', image], { stdio: 'pipe' }).toString();
    const [free, all] = ['Free blocks', 'Block count'].map((name) =>
      Number(new RegExp(`${name}: +(\\d+)`).exec(facts)?.[1]),
    );
    expect(free, `${what}: ${free} of ${all} blocks are left`).toBeLessThan(SPARE + SHARE * all);
  }

  test.each(Array.from({ length: TREES }, (_, i) => FIRST + i))(
    'has room for the tree, and little more: seed %i',
    async (seed) => {
      const draw = random(seed);
      const kind = KINDS[seed % KINDS.length];
      rmSync(tree, { recursive: true, force: true });
      makeTree(tree, kind, draw);
      const archive = join(dir, 'tree.tar');
      const packed = draw.chance(0.3);
      if (packed) execFileSync('tar', ['--sparse', '-cf', archive, '-C', tree, '.']);
      const block = draw.pick(['1024', '4096']);
      const what = `${kind}, ${block}, ${packed ? 'archive' : 'directory'}`;
      rmSync(image, { force: true });
      const from = packed ? archive : tree;
      const { code, err } = await ext4('mkfs', '-q', '-b', block, '-d', from, image, 'fit');
      expect(code, `${what}: ${err}`).toBe(0);
      expect(fsck(image)).toMatchObject({ status: 0 });
      expectFull(what);
    },
    60_000,
  );
});
