// CRC-32C over raw state, as ext4 and jbd2 chain it. Short input goes through tables, 16 bytes a step. Longer input
// is folded: G = x^290 + x^136 + x^113 + x^107 + x^32 + 1 is a multiple of the polynomial, so a bit may be moved to
// five later places, 154 to 290 bits on, without changing the remainder; and as G(x)^8 = G(x^8), a byte may be moved
// by as many bytes. Bytes are folded to the last 304, these by bits to the last 48, these go through the tables.
// One call at a time uses the scratch of tables.ts. Measured: bench/kernels.mjs.

import { CRC32C_SCRATCH, CRC32C_TABLES } from './tables';

/** Below this the tables win, from FOLD_BYTES on folding bytes before bits. */
const FOLD_BITS: u32 = 96;
const FOLD_BYTES: u32 = 512;
/** What the byte fold leaves: at least the largest delay, in whole vectors. */
const KEEP: u32 = 304;
/** Bytes folded before the scratch is used again from its start: it stays in the L1 cache. */
const SLICE: u32 = 16384;
const STREAM: usize = CRC32C_SCRATCH + KEEP;
/** The unfolded end of a byte fold, and of a bit fold. */
const TAIL: usize = STREAM + SLICE + KEEP + 16;
const LAST: usize = TAIL + KEEP + 16;

/** The state after `len` bytes at `ptr`; no inversion in or out. */
export function crc32c(crc: u32, ptr: usize, len: u32): u32 {
  if (len < FOLD_BITS) return slice16(crc, ptr, len);
  if (len < FOLD_BYTES)
    return ASC_FEATURE_SIMD ? foldBits(crc, ptr, len) : foldWords(crc, ptr, len);
  return foldBytes(crc, ptr, len);
}

/** Tables only: what short input and the ends of folds take, and what bench/kernels.mjs compares folding with. */
export function slice16(crc: u32, ptr: usize, len: u32): u32 {
  while (len >= 16) {
    const first = load<u64>(ptr) ^ crc;
    const second = load<u64>(ptr, 8);
    const a = <u32>first;
    const b = <u32>(first >>> 32);
    const c = <u32>second;
    const d = <u32>(second >>> 32);
    // The shifts leave each byte times four: the offset of its u32.
    crc =
      load<u32>((a << 2) & 1020, CRC32C_TABLES + 15360) ^
      load<u32>((a >>> 6) & 1020, CRC32C_TABLES + 14336) ^
      load<u32>((a >>> 14) & 1020, CRC32C_TABLES + 13312) ^
      load<u32>((a >>> 22) & 1020, CRC32C_TABLES + 12288) ^
      load<u32>((b << 2) & 1020, CRC32C_TABLES + 11264) ^
      load<u32>((b >>> 6) & 1020, CRC32C_TABLES + 10240) ^
      load<u32>((b >>> 14) & 1020, CRC32C_TABLES + 9216) ^
      load<u32>((b >>> 22) & 1020, CRC32C_TABLES + 8192) ^
      load<u32>((c << 2) & 1020, CRC32C_TABLES + 7168) ^
      load<u32>((c >>> 6) & 1020, CRC32C_TABLES + 6144) ^
      load<u32>((c >>> 14) & 1020, CRC32C_TABLES + 5120) ^
      load<u32>((c >>> 22) & 1020, CRC32C_TABLES + 4096) ^
      load<u32>((d << 2) & 1020, CRC32C_TABLES + 3072) ^
      load<u32>((d >>> 6) & 1020, CRC32C_TABLES + 2048) ^
      load<u32>((d >>> 14) & 1020, CRC32C_TABLES + 1024) ^
      load<u32>((d >>> 22) & 1020, CRC32C_TABLES);
    ptr += 16;
    len -= 16;
  }
  while (len >= 4) {
    const a = crc ^ load<u32>(ptr);
    crc =
      load<u32>((a << 2) & 1020, CRC32C_TABLES + 3072) ^
      load<u32>((a >>> 6) & 1020, CRC32C_TABLES + 2048) ^
      load<u32>((a >>> 14) & 1020, CRC32C_TABLES + 1024) ^
      load<u32>((a >>> 22) & 1020, CRC32C_TABLES);
    ptr += 4;
    len -= 4;
  }
  while (len > 0) {
    crc = (crc >>> 8) ^ load<u32>(((crc ^ load<u8>(ptr)) & 255) << 2, CRC32C_TABLES);
    ptr++;
    len--;
  }
  return crc;
}

// Delays in bits as words: 154 = 2·64 + 26, 177 = 2·64 + 49, 183 = 2·64 + 55, 258 = 4·64 + 2, 290 = 4·64 + 34. So a
// word gets the words two (near) and four (far) before it shifted left, and what they lose from the words three
// (nearLow) and five (farLow) before it, shifted right. A vector holds two words.

function near(v: v128): v128 {
  return v128.xor(v128.xor(i64x2.shl(v, 26), i64x2.shl(v, 49)), i64x2.shl(v, 55));
}

function nearLow(v: v128): v128 {
  return v128.xor(v128.xor(i64x2.shr_u(v, 38), i64x2.shr_u(v, 15)), i64x2.shr_u(v, 9));
}

function far(v: v128): v128 {
  return v128.xor(i64x2.shl(v, 2), i64x2.shl(v, 34));
}

function farLow(v: v128): v128 {
  return v128.xor(i64x2.shr_u(v, 62), i64x2.shr_u(v, 30));
}

/** The second word of one vector and the first of the next. */
function seam(before: v128, after: v128): v128 {
  return v128.shuffle<u64>(before, after, 1, 2);
}

/** Folds by bits, a vector a step; at least 64 bytes. */
function foldBits(crc: u32, ptr: usize, len: u32): u32 {
  const none = i64x2.splat(0);
  const end = ptr + (len & ~15);
  let v1 = v128.xor(v128.load(ptr), i32x4.replace_lane(none, 0, crc));
  let v2 = none;
  let seam2 = none;
  let at = ptr + 16;
  while (at < end - 48) {
    // What the newest vector adds comes last: the next step waits for it.
    const old = v128.xor(v128.xor(v128.load(at), far(v2)), farLow(seam2));
    seam2 = seam(v2, v1);
    v2 = v1;
    v1 = v128.xor(old, v128.xor(nearLow(seam2), near(v1)));
    at += 16;
  }
  const seam1 = seam(v2, v1);
  const rest = seam(v1, none);
  const old = v128.xor(v128.xor(v128.load(at), far(v2)), farLow(seam2));
  v128.store(LAST, v128.xor(old, v128.xor(nearLow(seam1), near(v1))));
  const middle = v128.xor(v128.xor(v128.load(at, 16), far(v1)), farLow(seam1));
  v128.store(LAST, v128.xor(middle, nearLow(rest)), 16);
  v128.store(LAST, v128.xor(v128.load(at, 32), farLow(rest)), 32);
  return slice16(slice16(0, LAST, 48), end, len & 15);
}

/** The same without SIMD, a word a step. */
function foldWords(crc: u32, ptr: usize, len: u32): u32 {
  const end = ptr + (len & ~7);
  let w1: u64 = 0;
  let w2: u64 = 0;
  let w3: u64 = 0;
  let w4: u64 = 0;
  let w5: u64 = 0;
  let first: u64 = crc;
  for (let at = ptr; at < end - 40; at += 8) {
    const next = load<u64>(at) ^ first ^ wordTerms(w2, w3, w4, w5);
    first = 0;
    w5 = w4;
    w4 = w3;
    w3 = w2;
    w2 = w1;
    w1 = next;
  }
  store<u64>(LAST, load<u64>(end - 40) ^ wordTerms(w2, w3, w4, w5));
  store<u64>(LAST, load<u64>(end - 32) ^ wordTerms(w1, w2, w3, w4), 8);
  store<u64>(LAST, load<u64>(end - 24) ^ wordTerms(0, w1, w2, w3), 16);
  store<u64>(LAST, load<u64>(end - 16) ^ wordTerms(0, 0, w1, w2), 24);
  store<u64>(LAST, load<u64>(end - 8) ^ wordTerms(0, 0, 0, w1), 32);
  return slice16(slice16(0, LAST, 40), end, len & 7);
}

function wordTerms(w2: u64, w3: u64, w4: u64, w5: u64): u64 {
  const right = (w3 >>> 38) ^ (w3 >>> 15) ^ (w3 >>> 9) ^ (w5 >>> 62) ^ (w5 >>> 30);
  return (w4 << 2) ^ (w4 << 34) ^ right ^ ((w2 << 26) ^ (w2 << 49) ^ (w2 << 55));
}

/** Folds by bytes all but the last 304 to 319, a slice of the input at a time; at least 512 bytes. */
function foldBytes(crc: u32, ptr: usize, len: u32): u32 {
  memory.fill(CRC32C_SCRATCH, 0, KEEP);
  // Where only the delay of 290 bytes reaches it, and for the first four bytes.
  store<u32>(STREAM - 290, crc);
  let left = (len - KEEP) & ~31;
  const rest = len - left;
  while (left > SLICE) {
    foldRun(ptr, SLICE);
    memory.copy(CRC32C_SCRATCH, CRC32C_SCRATCH + SLICE, KEEP);
    ptr += SLICE;
    left -= SLICE;
  }
  // What is not folded adds nothing. Cleared before the run: a load soon after its store would wait for it.
  memory.fill(STREAM + left, 0, KEEP + 16);
  foldRun(ptr, left);
  const tail = rest & ~15;
  for (let at: u32 = 0; at < tail; at += 16) spread(ptr + left + at, STREAM + left + at, TAIL + at);
  crc = ASC_FEATURE_SIMD ? foldBits(0, TAIL, tail) : foldWords(0, TAIL, tail);
  return slice16(crc, ptr + left + tail, rest & 15);
}

/** 16 bytes of input and the five delays of the stream at `at` to `out`. */
function spread(ptr: usize, at: usize, out: usize): void {
  if (ASC_FEATURE_SIMD) {
    v128.store(out, v128.xor(delayed(ptr, at), v128.load(at - 290)));
  } else {
    store<u64>(out, delayedWord(ptr, at) ^ load<u64>(at - 290));
    store<u64>(out, delayedWord(ptr + 8, at + 8) ^ load<u64>(at - 282), 8);
  }
}

/** Input and all delays but the longest. */
function delayed(ptr: usize, at: usize): v128 {
  const near = v128.xor(v128.load(at - 177), v128.load(at - 183));
  const far = v128.xor(v128.load(ptr), v128.load(at - 258));
  return v128.xor(v128.xor(far, near), v128.load(at - 154));
}

function delayedWord(ptr: usize, at: usize): u64 {
  const near = load<u64>(at - 177) ^ load<u64>(at - 183);
  return load<u64>(ptr) ^ load<u64>(at - 258) ^ near ^ load<u64>(at - 154);
}

/** Extends the stream by `len` bytes of input, a multiple of 32. */
function foldRun(ptr: usize, len: u32): void {
  if (ASC_FEATURE_SIMD) runVectors(ptr, ptr + len);
  else runWords(ptr, ptr + len);
}

/** A step is 32 bytes because 290 = 258 + 32: what one step loads for the delay of 258 serves the next for 290. */
function runVectors(ptr: usize, end: usize): void {
  // Loads take their delay as an unsigned constant offset, from a base 290 before.
  let base: usize = STREAM - 290;
  let old0 = v128.load(base);
  let old1 = v128.load(base, 16);
  while (ptr < end) {
    const far0 = v128.load(base, 32);
    const far1 = v128.load(base, 48);
    const near0 = v128.xor(v128.load(base, 113), v128.load(base, 107));
    const near1 = v128.xor(v128.load(base, 129), v128.load(base, 123));
    const in0 = v128.xor(v128.xor(v128.load(ptr), old0), far0);
    const in1 = v128.xor(v128.xor(v128.load(ptr, 16), old1), far1);
    v128.store(base, v128.xor(v128.xor(in0, near0), v128.load(base, 136)), 290);
    v128.store(base, v128.xor(v128.xor(in1, near1), v128.load(base, 152)), 306);
    old0 = far0;
    old1 = far1;
    base += 32;
    ptr += 32;
  }
}

function runWords(ptr: usize, end: usize): void {
  let base: usize = STREAM - 290;
  while (ptr < end) {
    for (let i: usize = 0; i < 32; i += 8) {
      const near = load<u64>(base + i, 113) ^ load<u64>(base + i, 107);
      const far = load<u64>(base + i) ^ load<u64>(base + i, 32);
      const next = load<u64>(ptr + i) ^ far ^ near ^ load<u64>(base + i, 136);
      store<u64>(base + i, next, 290);
    }
    base += 32;
    ptr += 32;
  }
}
