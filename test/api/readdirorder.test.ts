// Goal: readdirSync gives names in byte order, as text and as bytes, whatever they have in common and however many
// there are. Method: seeded names (long common beginnings, names that begin others, any bytes) beside Buffer.compare.

import { expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { mkfsSync, mountSync } from '../../ts/index.ts';
import { Random, SEED } from '../assembly/builds.ts';

const random = new Random(SEED);

function check(names: Iterable<Buffer>, count: number): void {
  const device = memoryDevice(96 << 20);
  mkfsSync(device, { inodes: 100_000 });
  const img = mountSync(device, { dax: 'never' });
  img.mkdirSync('/dir');
  const all = new Map<string, Buffer>();
  for (const name of names) all.set(name.toString('latin1'), name);
  expect(all.size).toBe(count);
  for (const name of all.values())
    img.mknodSync(Buffer.concat([Buffer.from('/dir/'), name]), 0o100644);
  const expected = [...all.values()].sort(Buffer.compare);
  const bytes = img.readdirSync('/dir', 'buffer') as unknown as Buffer[];
  expect(bytes.map((name) => name.toString('latin1'))).toEqual(
    expected.map((name) => name.toString('latin1')),
  );
  expect(img.readdirSync('/dir')).toEqual(expected.map((name) => name.toString('utf8')));
  img.unmountSync();
}

function distinct(count: number, make: () => Buffer): Buffer[] {
  const found = new Map<string, Buffer>();
  while (found.size < count) {
    const name = make();
    if (!/^\.?\.?$/.test(name.toString('latin1'))) found.set(name.toString('latin1'), name);
  }
  return [...found.values()];
}

const anyBytes = (limit: number) =>
  Buffer.from(random.bytes(1 + random.below(limit)).map((b) => (b === 0 || b === 0x2f ? 7 : b)));

test(`names that have much in common, and names that begin others (seed ${SEED})`, () => {
  const words = ['a', 'aa', 'file-', 'picture-of-a-', 'z', '1', '10'];
  const some = () => Array.from({ length: 1 + random.below(6) }, () => random.pick(words)).join('');
  check(
    distinct(3000, () => Buffer.from(some())),
    3000,
  );
});

test(`names of any bytes (seed ${SEED})`, () => {
  check(
    distinct(1500, () => anyBytes(40)),
    1500,
  );
  check([Buffer.from('one')], 1);
  check([], 0);
});

test('more names than sixteen bits count', () => {
  check(
    Array.from({ length: 70_000 }, (_, i) => Buffer.from(`file-${(i * 7919) % 70_000}`)),
    70_000,
  );
}, 60_000);
