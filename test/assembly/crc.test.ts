// Goal: the checksums are right for every length, alignment and state, and touch nothing but their scratch.
// Method: published values (RFC 3720 B.4, the CRC catalogue), and a bit-by-bit loop over seeded bytes; lengths
// around every switch between methods, data that end with the memory.

import { expect, test } from 'vitest';
import { ABI_HEAP, ABI_RESULT, ABI_TABLES } from '../../assembly/abi.ts';
import { atEnd, DATA, eachBuild, MEMORY } from './builds.ts';

function bitwise(poly: number, state: number, bytes: Uint8Array): number {
  for (const byte of bytes) {
    state ^= byte;
    for (let bit = 0; bit < 8; bit++) state = (state >>> 1) ^ (state & 1 ? poly : 0);
  }
  return state >>> 0;
}

const text = new TextEncoder().encode('123456789');
const ascending = Uint8Array.from({ length: 32 }, (_, i) => i);

eachBuild('crc32c', (k, random) => {
  const crc32c = (state: number, ptr: number, len: number) =>
    k.exports.crc32c(state, ptr, len) >>> 0;
  const loop = (state: number, bytes: Uint8Array) => bitwise(0x82f63b78, state, bytes);

  test('has the published values', () => {
    const sum = (bytes: Uint8Array) => ~crc32c(~0, atEnd(k, bytes), bytes.length) >>> 0;
    expect(sum(text)).toBe(0xe3069283);
    expect(sum(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(sum(new Uint8Array(32).fill(255))).toBe(0x62a8ab43);
    expect(sum(ascending)).toBe(0x46dd794e);
    expect(sum(ascending.toReversed())).toBe(0x113fdb5c);
  });

  test('is the loop for every length up to two times the longest switch', () => {
    const bytes = random.bytes(1100);
    const state = random.u32();
    let expected = state;
    for (let len = 0; len <= bytes.length; len++) {
      const ptr = atEnd(k, bytes.subarray(0, len), len % 3);
      if (crc32c(state, ptr, len) !== expected) expect.fail(`length ${len}`);
      expected = loop(expected, bytes.subarray(len, len + 1));
    }
  });

  test('is the loop at every alignment and around the slices of long input', () => {
    const bytes = random.bytes(50_000);
    k.u8.set(bytes, DATA);
    const lengths = [4096, 16384, 65536 / 2].flatMap((n) => [
      n - 1,
      n,
      n + 1,
      n + 304,
      n + 335,
      n + 336,
    ]);
    for (const len of [...lengths, 16384 + 337, 49_152 + 352]) {
      const from = random.below(17);
      const state = random.u32();
      const expected = loop(state, bytes.subarray(from, from + len));
      if (crc32c(state, DATA + from, len) !== expected) expect.fail(`length ${len} from ${from}`);
    }
  });

  test('chains: two parts give what the whole gives', () => {
    const bytes = random.bytes(5000);
    const ptr = atEnd(k, bytes);
    const whole = crc32c(~0, ptr, bytes.length);
    for (let i = 0; i < 200; i++) {
      const cut = random.below(bytes.length + 1);
      const first = crc32c(~0, ptr, cut);
      expect(crc32c(first, ptr + cut, bytes.length - cut)).toBe(whole);
    }
  });

  test('traps on a range that leaves the memory, and is right again afterwards', () => {
    const bytes = random.bytes(40_000);
    const ptr = atEnd(k, bytes);
    const expected = crc32c(~0, ptr, bytes.length);
    expect(() => crc32c(~0, ptr, bytes.length + 1)).toThrow(WebAssembly.RuntimeError);
    expect(crc32c(~0, ptr, bytes.length)).toBe(expected);
    expect(crc32c(~0, ptr, 600)).toBe(loop(~0, bytes.subarray(0, 600)));
  });

  test('leaves every byte outside the tables as it was', () => {
    const bytes = random.bytes(MEMORY - ABI_HEAP);
    k.u8.set(bytes, ABI_HEAP);
    k.u8.set(bytes.subarray(0, ABI_HEAP - ABI_RESULT), ABI_RESULT);
    const outside = () => [k.u8.slice(0, ABI_TABLES), k.u8.slice(ABI_RESULT)];
    const before = outside();
    for (const len of [64, 256, 511, 512, 4096, 20_000, 100_000]) crc32c(~0, DATA, len);
    outside().forEach((part, i) => {
      expect(Buffer.compare(part, before[i])).toBe(0);
    });
  });
});

eachBuild('crc16', (k, random) => {
  test('has the published values', () => {
    const ptr = atEnd(k, text);
    expect(k.exports.crc16(0, ptr, 9)).toBe(0xbb3d); // CRC-16/ARC
    expect(k.exports.crc16(0xffff, ptr, 9)).toBe(0x4b37); // CRC-16/MODBUS
  });

  test('is the loop for every length up to a group descriptor and more', () => {
    const bytes = random.bytes(200);
    for (let len = 0; len <= bytes.length; len++) {
      const state = random.u32() >>> 16;
      const part = bytes.subarray(0, len);
      expect(k.exports.crc16(state, atEnd(k, part), len)).toBe(bitwise(0xa001, state, part));
    }
  });
});
