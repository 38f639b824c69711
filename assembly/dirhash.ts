// The hashes of indexed directories: legacy, half-MD4 and TEA, each over signed or unsigned bytes (kernel
// documentation, "Hash Tree Directories"; MD4: RFC 1320; TEA: Wheeler and Needham 1994). Checked against debugfs.

import { EXT4_HTREE_EOF } from './abi';
import { HASH_WORDS } from './tables';

const EINVAL: i32 = 22;
const TEA_DELTA: u32 = 0x9e3779b9;
const MD4_K2: u32 = 0x5a827999;
const MD4_K3: u32 = 0x6ed9eba1;
/** MD4's first state: what a seed of zeros stands for. */
const A: u32 = 0x67452301;
const B: u32 = 0xefcdab89;
const C: u32 = 0x98badcfe;
const D: u32 = 0x10325476;

/** Hash and minor hash (u32, u32) of a name to `out`; `seed` is four u32, all zero for the default. 0, or -EINVAL. */
export function dirHash(version: u32, name: usize, nameLen: u32, seed: usize, out: usize): i32 {
  if (version > 5) return -EINVAL;
  const signed = version < 3;
  const kind = signed ? version : version - 3;
  if (kind === 0) legacy(name, nameLen, signed, out);
  else if (kind === 1) halfMd4(name, nameLen, signed, seed, out);
  else tea(name, nameLen, signed, seed, out);
  return 0;
}

/** Bit 0 is not part of a hash, and the largest one means the end of the directory to readdir. */
function put(out: usize, hash: u32, minor: u32): void {
  const even = hash & ~1;
  store<u32>(out, even === EXT4_HTREE_EOF ? EXT4_HTREE_EOF - 2 : even);
  store<u32>(out, minor, 4);
}

function byteAt(at: usize, signed: bool): u32 {
  return signed ? <u32>(<i32>load<i8>(at)) : <u32>load<u8>(at);
}

function legacy(name: usize, len: u32, signed: bool, out: usize): void {
  let last: u32 = 0x12a3fe2d;
  let before: u32 = 0x37abe8f9;
  for (let i: u32 = 0; i < len; i++) {
    let next = before + (last ^ (byteAt(name + i, signed) * 7152373));
    if (<i32>next < 0) next -= 0x7fffffff;
    before = last;
    last = next;
  }
  put(out, last << 1, 0);
}

function isDefault(seed: usize): bool {
  return (load<u64>(seed) | load<u64>(seed, 8)) === 0;
}

/** The next `count` words (4 or 8) of a name with `len` bytes left to HASH_WORDS: four bytes each, summed in base 256,
 *  the first highest; where the name ends, on top of its length repeated in every byte. */
function words(name: usize, len: u32, count: u32, signed: bool): void {
  const pad = len * 0x01010101;
  let at: u32 = 0;
  if (ASC_FEATURE_SIMD) {
    for (; at < count << 2 && at + 16 <= len; at += 16) four(name + at, HASH_WORDS + at, signed);
  }
  for (; at < count << 2 && at + 4 <= len; at += 4) {
    store<u32>(HASH_WORDS + at, lessSigns(bswap<u32>(load<u32>(name + at)), signed));
  }
  for (; at < count << 2; at += 4) {
    let value = pad;
    for (let i = at; i < len && i < at + 4; i++) value = byteAt(name + i, signed) + (value << 8);
    store<u32>(HASH_WORDS + at, value);
  }
}

/** A signed byte with its top bit set is 256 less: that takes one from the place above it. */
function lessSigns(value: u32, signed: bool): u32 {
  return signed ? value - ((value & 0x80808080) << 1) : value;
}

function four(name: usize, to: usize, signed: bool): void {
  const bytes = v128.load(name);
  let value = v128.shuffle<u8>(bytes, bytes, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
  if (signed) {
    const signs = v128.and(value, i32x4.splat(0x80808080));
    value = i32x4.sub(value, i32x4.shl(signs, 1));
  }
  v128.store(to, value);
}

function tea(name: usize, len: u32, signed: bool, seed: usize, out: usize): void {
  let a = isDefault(seed) ? A : load<u32>(seed);
  let b = isDefault(seed) ? B : load<u32>(seed, 4);
  for (;;) {
    words(name, len, 4, signed);
    const k0 = load<u32>(HASH_WORDS);
    const k1 = load<u32>(HASH_WORDS, 4);
    const k2 = load<u32>(HASH_WORDS, 8);
    const k3 = load<u32>(HASH_WORDS, 12);
    let x = a;
    let y = b;
    let sum: u32 = 0;
    for (let i = 0; i < 16; i++) {
      sum += TEA_DELTA;
      x += ((y << 4) + k0) ^ (y + sum) ^ ((y >>> 5) + k1);
      y += ((x << 4) + k2) ^ (x + sum) ^ ((x >>> 5) + k3);
    }
    a += x;
    b += y;
    if (len <= 16) break;
    name += 16;
    len -= 16;
  }
  put(out, a, b);
}

// MD4's three steps. The value that the step before has just made is `x`: it enters as late as it can.

function choose(w: u32, x: u32, y: u32, z: u32, m: u32, bits: u32): u32 {
  return rotl<u32>(w + m + (z ^ (x & (y ^ z))), bits);
}

function majority(w: u32, x: u32, y: u32, z: u32, m: u32, bits: u32): u32 {
  return rotl<u32>(w + (m + MD4_K2) + (y & z) + (x & (y ^ z)), bits);
}

function parity(w: u32, x: u32, y: u32, z: u32, m: u32, bits: u32): u32 {
  return rotl<u32>(w + (m + MD4_K3) + (x ^ (y ^ z)), bits);
}

/** MD4 with half the words and half the steps. */
function halfMd4(name: usize, len: u32, signed: bool, seed: usize, out: usize): void {
  let a = isDefault(seed) ? A : load<u32>(seed);
  let b = isDefault(seed) ? B : load<u32>(seed, 4);
  let c = isDefault(seed) ? C : load<u32>(seed, 8);
  let d = isDefault(seed) ? D : load<u32>(seed, 12);
  for (;;) {
    words(name, len, 8, signed);
    let w = a;
    let x = b;
    let y = c;
    let z = d;
    const m0 = load<u32>(HASH_WORDS, 0);
    const m1 = load<u32>(HASH_WORDS, 4);
    const m2 = load<u32>(HASH_WORDS, 8);
    const m3 = load<u32>(HASH_WORDS, 12);
    const m4 = load<u32>(HASH_WORDS, 16);
    const m5 = load<u32>(HASH_WORDS, 20);
    const m6 = load<u32>(HASH_WORDS, 24);
    const m7 = load<u32>(HASH_WORDS, 28);

    w = choose(w, x, y, z, m0, 3);
    z = choose(z, w, x, y, m1, 7);
    y = choose(y, z, w, x, m2, 11);
    x = choose(x, y, z, w, m3, 19);
    w = choose(w, x, y, z, m4, 3);
    z = choose(z, w, x, y, m5, 7);
    y = choose(y, z, w, x, m6, 11);
    x = choose(x, y, z, w, m7, 19);

    w = majority(w, x, y, z, m1, 3);
    z = majority(z, w, x, y, m3, 5);
    y = majority(y, z, w, x, m5, 9);
    x = majority(x, y, z, w, m7, 13);
    w = majority(w, x, y, z, m0, 3);
    z = majority(z, w, x, y, m2, 5);
    y = majority(y, z, w, x, m4, 9);
    x = majority(x, y, z, w, m6, 13);

    w = parity(w, x, y, z, m3, 3);
    z = parity(z, w, x, y, m7, 9);
    y = parity(y, z, w, x, m2, 11);
    x = parity(x, y, z, w, m6, 15);
    w = parity(w, x, y, z, m1, 3);
    z = parity(z, w, x, y, m5, 9);
    y = parity(y, z, w, x, m0, 11);
    x = parity(x, y, z, w, m4, 15);

    a += w;
    b += x;
    c += y;
    d += z;
    if (len <= 32) break;
    name += 32;
    len -= 32;
  }
  put(out, b, c);
}
