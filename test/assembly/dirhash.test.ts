// Goal: names hash as they do in e2fsprogs and the kernel: every version, any seed, names of every length, also with
// bytes above 127. Method: values that debugfs gave, kept here for machines without it; and debugfs itself, asked
// for many names in one run.

import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { ABI_NAME, ABI_RESULT, ABI_SEED, EXT4_HTREE_EOF } from '../../assembly/abi.ts';
import type { Kernels } from '../../ts/wasm.ts';
import { need, which } from '../need.ts';
import { atEnd, eachBuild, Random, SEED } from './builds.ts';

const VERSIONS = [0, 1, 2, 3, 4, 5];
const NO_SEED = new Uint8Array(16);
const KNOWN_SEED = Uint8Array.from('0123456789abcdef0123456789abcdef'.match(/../g)!, (hex) =>
  Number.parseInt(hex, 16),
);

function hash(k: Kernels, version: number, name: Uint8Array, seed: Uint8Array = NO_SEED): number[] {
  k.u8.set(seed, ABI_SEED);
  const ptr = atEnd(k, name);
  expect(k.exports.dirHash(version, ptr, name.length, ABI_SEED, ABI_RESULT)).toBe(0);
  return [k.u32[ABI_RESULT / 4], k.u32[ABI_RESULT / 4 + 1]];
}

eachBuild('directory hash', (k, random) => {
  test('has the values that debugfs gave', () => {
    const foo = new TextEncoder().encode('foo');
    const accents = new TextEncoder().encode('été');
    expect(hash(k, 0, foo)).toEqual([0x9f57ef58, 0]);
    expect(hash(k, 1, foo, KNOWN_SEED)).toEqual([0x0317e9c8, 0x2a534fbc]);
    expect(hash(k, 1, accents)).toEqual([0xa69a4d3a, 0x22bac128]);
    expect(hash(k, 2, foo)).toEqual([0x901b3376, 0x4878f6ae]);
    expect(hash(k, 2, new TextEncoder().encode('a b'))).toEqual([0x1a2dcca0, 0x1845886e]);
    expect(hash(k, 4, foo)).toEqual([0x74c657ac, 0x85a8d812]);
  });

  test('is the same signed and unsigned for ASCII, and not for bytes above 127', () => {
    for (let length = 1; length <= 255; length++) {
      const ascii = random.bytes(length).map((byte) => byte & 127);
      const high = ascii.map((byte) => byte | 128);
      for (const version of [0, 1, 2]) {
        expect(hash(k, version, ascii)).toEqual(hash(k, version + 3, ascii));
        expect(hash(k, version, high)).not.toEqual(hash(k, version + 3, high));
      }
    }
  });

  test('is even and never the mark of the end', () => {
    // Legacy makes 0xfffffffe of this name; the kernel takes the value below instead, debugfs does not.
    expect(hash(k, 0, new TextEncoder().encode('fuhuyjl'))).toEqual([0xfffffffc, 0]);
    for (let i = 0; i < 2000; i++) {
      const [value] = hash(k, random.below(6), random.bytes(1 + random.below(40)));
      expect(value % 2).toBe(0);
      expect(value).toBeLessThan(EXT4_HTREE_EOF);
    }
  });

  test('refuses versions that it does not know', () => {
    for (const version of [6, 7, 255, -1]) {
      expect(k.exports.dirHash(version, ABI_NAME, 3, ABI_SEED, ABI_RESULT)).toBe(-22);
    }
  });
});

interface Question {
  version: number;
  name: Uint8Array;
  seed: Uint8Array;
}

/** Names of every length in bytes that debugfs takes as they are: no quotes, blanks, options or control characters. */
function questions(random: Random): Question[] {
  const letters = Array.from({ length: 256 }, (_, i) => i).filter(
    (i) => i > 0x20 && i !== 0x7f && !`"'\\-`.includes(String.fromCharCode(i)),
  );
  return Array.from({ length: 255 }, (_, i) => i + 1).flatMap((length) =>
    VERSIONS.map((version) => ({
      version,
      name: Uint8Array.from({ length }, () => random.pick(letters)),
      seed: random.below(4) === 0 ? NO_SEED : random.bytes(16),
    })),
  );
}

function ask(list: Question[]): number[][] {
  const lines = list.map(({ version, name, seed }) => {
    const uuid = Buffer.from(seed)
      .toString('hex')
      .replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
    const command = Buffer.from(`dx_hash -h ${version} -s ${uuid} `);
    return Buffer.concat([command, name, Buffer.from('\n')]);
  });
  const { stdout } = spawnSync(which('debugfs'), ['-f', '-'], { input: Buffer.concat(lines) });
  const answers = stdout.toString('latin1').matchAll(/ is (0x[0-9a-f]+) \(minor (0x[0-9a-f]+)\)/g);
  return Array.from(answers, ([, hash, minor]) => [Number(hash), Number(minor)]);
}

need.describe(`debugfs (seed ${SEED})`, [need.tool('debugfs')], () => {
  const list = questions(new Random(SEED));
  const answers = ask(list);

  test('answers every question', () => {
    expect(answers.length).toBe(list.length);
  });

  eachBuild('gives the same hashes', (k) => {
    test('for every version and length', () => {
      list.forEach(({ version, name, seed }, i) => {
        const what = `version ${version}, ${name.length} bytes`;
        expect(hash(k, version, name, seed), what).toEqual(answers[i]);
      });
    });
  });
});
