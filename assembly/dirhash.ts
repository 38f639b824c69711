// The hashes of indexed directories: legacy, half-MD4 and TEA, each over signed or unsigned bytes (kernel
// documentation, "Hash Tree Directories"; MD4: RFC 1320; TEA: Wheeler and Needham 1994). Checked against debugfs.

import { EXT4_HTREE_EOF } from './abi';

const EINVAL: i32 = 22;
const TEA_DELTA: u32 = 0x9e3779b9;
const MD4_K2: u32 = 0x5a827999;
const MD4_K3: u32 = 0x6ed9eba1;

// The state of one call. Globals are per instance, so threads do not meet here.
let a: u32 = 0;
let b: u32 = 0;
let c: u32 = 0;
let d: u32 = 0;

/** Hash and minor hash (u32, u32) of a name to `out`; `seed` is four u32, all zero for the default. 0, or -EINVAL. */
export function dirHash(version: u32, name: usize, nameLen: u32, seed: usize, out: usize): i32 {
  if (version > 5) return -EINVAL;
  const signed = version < 3;
  const kind = signed ? version : version - 3;
  let hash: u32 = 0;
  let minor: u32 = 0;
  if (kind === 0) {
    hash = legacy(name, nameLen, signed);
  } else {
    start(seed);
    if (kind === 1) {
      halfMd4(name, nameLen, signed);
      hash = b;
      minor = c;
    } else {
      tea(name, nameLen, signed);
      hash = a;
      minor = b;
    }
  }
  hash &= ~1;
  // The largest hash means the end of the directory to readdir.
  if (hash === EXT4_HTREE_EOF) hash -= 2;
  store<u32>(out, hash);
  store<u32>(out, minor, 4);
  return 0;
}

function start(seed: usize): void {
  a = load<u32>(seed);
  b = load<u32>(seed, 4);
  c = load<u32>(seed, 8);
  d = load<u32>(seed, 12);
  if ((a | b | c | d) !== 0) return;
  a = 0x67452301;
  b = 0xefcdab89;
  c = 0x98badcfe;
  d = 0x10325476;
}

function byteAt(at: usize, signed: bool): u32 {
  return signed ? <u32>(<i32>load<i8>(at)) : <u32>load<u8>(at);
}

function legacy(name: usize, len: u32, signed: bool): u32 {
  let last: u32 = 0x12a3fe2d;
  let before: u32 = 0x37abe8f9;
  for (let i: u32 = 0; i < len; i++) {
    let next = before + (last ^ (byteAt(name + i, signed) * 7152373));
    if (<i32>next < 0) next -= 0x7fffffff;
    before = last;
    last = next;
  }
  return last << 1;
}

/** Word `index` of a chunk: four bytes summed in base 256, the first highest, above the length repeated as padding. */
function word(name: usize, len: u32, index: u32, pad: u32, signed: bool): u32 {
  const first = index << 2;
  if (first + 4 <= len) return whole(name + first, signed);
  let value = pad;
  for (let i = first; i < len; i++) value = byteAt(name + i, signed) + (value << 8);
  return value;
}

/** A signed byte with its top bit set is 256 less: that takes one from the place above it. */
function whole(at: usize, signed: bool): u32 {
  const value = bswap<u32>(load<u32>(at));
  return signed ? value - ((value & 0x80808080) << 1) : value;
}

function padding(len: u32): u32 {
  return len * 0x01010101;
}

function tea(name: usize, nameLen: u32, signed: bool): void {
  let len = nameLen;
  do {
    const pad = padding(len);
    const k0 = word(name, len, 0, pad, signed);
    const k1 = word(name, len, 1, pad, signed);
    const k2 = word(name, len, 2, pad, signed);
    const k3 = word(name, len, 3, pad, signed);
    teaRounds(k0, k1, k2, k3);
    name += 16;
    len -= min<u32>(len, 16);
  } while (len > 0);
}

function teaRounds(k0: u32, k1: u32, k2: u32, k3: u32): void {
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

function halfMd4(name: usize, nameLen: u32, signed: bool): void {
  let len = nameLen;
  do {
    const pad = padding(len);
    md4Rounds(
      word(name, len, 0, pad, signed),
      word(name, len, 1, pad, signed),
      word(name, len, 2, pad, signed),
      word(name, len, 3, pad, signed),
      word(name, len, 4, pad, signed),
      word(name, len, 5, pad, signed),
      word(name, len, 6, pad, signed),
      word(name, len, 7, pad, signed),
    );
    name += 32;
    len -= min<u32>(len, 32);
  } while (len > 0);
}

/** MD4 over half a block: eight words, eight steps a round. */
function md4Rounds(m0: u32, m1: u32, m2: u32, m3: u32, m4: u32, m5: u32, m6: u32, m7: u32): void {
  let w = a;
  let x = b;
  let y = c;
  let z = d;

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
}
