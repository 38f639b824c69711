// Goal: filling, copying and looking for zeros do exactly their range. Method: the same with a plain array, for every
// length and alignment around the kernels' steps, up to the last byte of the memory.

import { expect, test } from 'vitest';
import { DATA, eachBuild, MEMORY } from './builds.ts';

eachBuild('memory', (k, random) => {
  const { zero, copy, isZero, zeroList } = k.exports;

  test('zero clears its range and no byte beside it', () => {
    for (let len = 0; len <= 300; len++) {
      const model = random.bytes(400);
      const from = random.below(100);
      k.u8.set(model, DATA);
      zero(DATA + from, len);
      model.fill(0, from, from + len);
      expect(k.u8.slice(DATA, DATA + 400)).toEqual(model);
    }
  });

  test('copy moves bytes, also onto themselves', () => {
    for (let len = 0; len <= 300; len++) {
      const model = random.bytes(500);
      const from = random.below(200);
      const to = random.below(200);
      k.u8.set(model, DATA);
      copy(DATA + to, DATA + from, len);
      model.copyWithin(to, from, from + len);
      expect(k.u8.slice(DATA, DATA + 500)).toEqual(model);
    }
  });

  test('zeroList clears each range of its list', () => {
    const model = random.bytes(4096);
    const ranges = Array.from({ length: 20 }, () => [random.below(4000), random.below(96)]);
    k.u8.set(model, DATA);
    ranges.forEach(([from, len], i) => {
      k.dv.setUint32(DATA + 8192 + 8 * i, DATA + from, true);
      k.dv.setUint32(DATA + 8196 + 8 * i, len, true);
      model.fill(0, from, from + len);
    });
    zeroList(DATA + 8192, ranges.length);
    expect(k.u8.slice(DATA, DATA + 4096)).toEqual(model);
    zeroList(DATA + 8192, 0);
    expect(k.u8.slice(DATA, DATA + 4096)).toEqual(model);
  });

  test('isZero sees one bit anywhere in its range, and nothing outside', () => {
    for (let len = 0; len <= 200; len++) {
      const ptr = MEMORY - len - (len % 5);
      k.exports.zero(ptr - 8, MEMORY - ptr + 8);
      k.u8[ptr - 1] = 1;
      if (len % 5) k.u8[ptr + len] = 1;
      expect(isZero(ptr, len)).toBe(1);
      for (let i = 0; i < len; i++) {
        k.u8[ptr + i] = 1 << random.below(8);
        if (isZero(ptr, len) !== 0) expect.fail(`byte ${i} of ${len}`);
        k.u8[ptr + i] = 0;
      }
    }
  });
});
