// No room for data, at every point: each operation on a file of many pieces, on images that have 0, 1, 2 ... free
// blocks left, for everyone or for extent trees only. What was accepted is written: a sync after it never fails. What
// fails says ENOSPC, every byte is the old one or the new one, and the image stays sound.

import { expect, test } from 'vitest';
import { keptClusters } from '../../ts/ext4/reserve.ts';
import { DEEP, need } from '../need.ts';
import { leave } from '../write/faulty.ts';
import { KINDS, type KindName } from './kinds.ts';
import { judge, prepare, WORK } from './pieces.ts';
import { codeOf, Subject, same } from './subject.ts';

const LONG = DEEP ? 3_600_000 : 300_000;
const TOOLS = [need.tool('mke2fs', 'e2fsck')];
const MOST = DEEP ? 16 : 3;
const LEAST = DEEP ? 16 : 1;
/** Every how many-th image is shown to e2fsck. */
const SAMPLE = DEEP ? 1 : 5;

const PATHS: KindName[] = [
  ...(['iomap 1k', 'nodelalloc 1k', 'bufferhead 1k', 'indirect 1k'] as const),
  ...(['journalled 1k', 'dax 1k', 'bigalloc'] as const),
];

/** Images with less and less room. */
function starts(kind: KindName, image: Uint8Array): { image: Uint8Array; free: number }[] {
  const list: number[] = [];
  const found: { image: Uint8Array; free: number }[] = [];
  const s = new Subject(kind, { image, flags: 0 });
  const kept = keptClusters(s.fs.vol);
  s.close();
  for (let n = 0; n < LEAST; n++) list.push(n);
  for (let n = 0; n < MOST; n++) list.push(kept + n);
  for (const n of new Set(list)) found.push({ image: leave(image, () => n), free: n });
  return found;
}

let tried = 0;

/** Every operation at every n; how often there was no room. */
function everywhere(kind: KindName): { failed: number; done: number } {
  const { image, before } = prepare(kind);
  const list = starts(kind, image);
  const counts = { failed: 0, done: 0 };
  for (const [name, { act, never, moves, extents }] of Object.entries(WORK)) {
    if (extents && !KINDS[kind].extents) continue;
    const plain = new Subject(kind, { image, flags: 2 });
    act(plain);
    const after = plain.read();
    for (const start of list) {
      const where = `${kind}, ${name}, ${start.free} clusters free`;
      const s = new Subject(kind, { image: start.image, flags: 2 });
      same(s.read(), before, where);
      const code = codeOf(() => act(s));
      counts[code === '' ? 'done' : 'failed']++;
      expect(never ? [''] : ['', 'ENOSPC'], where).toContain(code);
      if (code === '') same(s.read(), after, where);
      else if (!moves) judge(s.read(), before, after, where);
      expect(
        codeOf(() => s.fsync()),
        `${where}: an fsync of what was accepted`,
      ).toBe('');
      if (tried++ % SAMPLE === 0) s.finish(undefined, where);
      else s.close();
    }
  }
  return counts;
}

need.describe('an image with n free blocks', TOOLS, () => {
  for (const kind of PATHS) {
    test(
      `${kind}: what is accepted is written, what is not leaves each byte old or new`,
      () => {
        const { failed, done } = everywhere(kind);
        expect(failed, 'operations without room').toBeGreaterThan(3);
        expect(done, 'operations with room').toBeGreaterThan(14);
      },
      LONG,
    );
  }
});
