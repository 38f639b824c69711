// CRC-32C over raw state, as ext4 and jbd2 chain it. Short input goes through tables, 16 bytes a step. Longer input
// is folded: G = x^290 + x^136 + x^113 + x^107 + x^32 + 1 is a multiple of the polynomial, so a bit may be moved to
// five later places, 154 to 290 bits on, without changing the remainder; and as G(x)^8 = G(x^8), a byte may be moved
// by as many bytes. Bytes are folded to the last 304, these by bits to the last 48, these go through the tables.
// One call at a time uses the scratch of tables.ts. Measured: bench/kernels.mjs.

import { CRC32C_KEEP, CRC32C_SCRATCH, CRC32C_TABLES } from './tables';

/** Below this the tables win, from FOLD_BYTES on folding bytes before bits. */
const FOLD_BITS: u32 = 96;
const FOLD_BYTES: u32 = 512;
/** Bytes folded before the scratch is used again from its start: it stays in the L1 cache. */
const SLICE: u32 = 16384;
/** What a byte fold leaves, at least the largest delay in whole vectors; and as many zeros before the stream. */
const KEEP: u32 = CRC32C_KEEP;
const STREAM: usize = CRC32C_SCRATCH + KEEP;
/** The unfolded end of a byte fold, and of a bit fold. */
const TAIL: usize = STREAM + SLICE + 16;
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
    const first = load<u64>(ptr);
    const second = load<u64>(ptr, 8);
    const a = <u32>first ^ crc;
    const b = <u32>(first >>> 32);
    const c = <u32>second;
    const d = <u32>(second >>> 32);
    // The shifts leave each byte times four: the offset of its u32. What needs the state comes last and short.
    const rest =
      load<u32>((d << 2) & 1020, CRC32C_TABLES + 3072) ^
      load<u32>((d >>> 6) & 1020, CRC32C_TABLES + 2048) ^
      load<u32>((d >>> 14) & 1020, CRC32C_TABLES + 1024) ^
      load<u32>((d >>> 22) & 1020, CRC32C_TABLES) ^
      load<u32>((c << 2) & 1020, CRC32C_TABLES + 7168) ^
      load<u32>((c >>> 6) & 1020, CRC32C_TABLES + 6144) ^
      load<u32>((c >>> 14) & 1020, CRC32C_TABLES + 5120) ^
      load<u32>((c >>> 22) & 1020, CRC32C_TABLES + 4096) ^
      load<u32>((b << 2) & 1020, CRC32C_TABLES + 11264) ^
      load<u32>((b >>> 6) & 1020, CRC32C_TABLES + 10240) ^
      load<u32>((b >>> 14) & 1020, CRC32C_TABLES + 9216) ^
      load<u32>((b >>> 22) & 1020, CRC32C_TABLES + 8192);
    const low =
      load<u32>((a << 2) & 1020, CRC32C_TABLES + 15360) ^
      load<u32>((a >>> 6) & 1020, CRC32C_TABLES + 14336);
    crc =
      rest ^
      low ^
      (load<u32>((a >>> 14) & 1020, CRC32C_TABLES + 13312) ^
        load<u32>((a >>> 22) & 1020, CRC32C_TABLES + 12288));
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
  const state = slice16(0, LAST, 48);
  return (len & 15) === 0 ? state : slice16(state, end, len & 15);
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
  const state = slice16(0, LAST, 40);
  return (len & 7) === 0 ? state : slice16(state, end, len & 7);
}

function wordTerms(w2: u64, w3: u64, w4: u64, w5: u64): u64 {
  const right = (w3 >>> 38) ^ (w3 >>> 15) ^ (w3 >>> 9) ^ (w5 >>> 62) ^ (w5 >>> 30);
  return (w4 << 2) ^ (w4 << 34) ^ right ^ ((w2 << 26) ^ (w2 << 49) ^ (w2 << 55));
}

/** Folds by bytes all but the last 304 to 335, a slice of the input at a time; at least 512 bytes. */
function foldBytes(crc: u32, ptr: usize, len: u32): u32 {
  let left = (len - KEEP) & ~31;
  const rest = len - left;
  const long = left > SLICE;
  // The last byte now: a bad range traps here, and not later with something else than zeros before the stream.
  if (long) load<u8>(ptr + len - 1);
  while (left > SLICE) {
    foldRun(crc, ptr, SLICE);
    crc = 0;
    memory.copy(CRC32C_SCRATCH, CRC32C_SCRATCH + SLICE, KEEP);
    ptr += SLICE;
    left -= SLICE;
  }
  foldRun(crc, ptr, left);
  const tail = rest & ~15;
  if (ASC_FEATURE_SIMD) {
    endVectors(ptr + left, STREAM + left - 290, tail);
    crc = foldBits(0, TAIL, tail);
  } else {
    endWords(ptr + left, STREAM + left - 290, tail);
    crc = foldWords(0, TAIL, tail);
  }
  if (long) memory.fill(CRC32C_SCRATCH, 0, KEEP);
  return slice16(crc, ptr + left + tail, rest & 15);
}

/** Extends the stream by `len` bytes of input, a multiple of 32, the first four of them with `crc`. */
function foldRun(crc: u32, ptr: usize, len: u32): void {
  // Loads at the end of the stream reach up to 16 bytes behind it.
  store<u64>(STREAM + len, 0);
  store<u64>(STREAM + len, 0, 8);
  if (ASC_FEATURE_SIMD) runVectors(crc, ptr, ptr + len);
  else runWords(crc, ptr, ptr + len);
}

// Delays from a base 290 bytes before, because constant offsets are unsigned: 258 is 32, 183 is 107, 177 is 113 and
// 154 is 136. A step is 32 bytes because what it loads for the delay of 258 serves the next step for 290.

function runVectors(crc: u32, ptr: usize, end: usize): void {
  let base: usize = STREAM - 290;
  let old0 = v128.xor(v128.load(base), i32x4.replace_lane(i64x2.splat(0), 0, crc));
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

function runWords(crc: u32, ptr: usize, end: usize): void {
  let base: usize = STREAM - 290;
  let first: u64 = crc;
  while (ptr < end) {
    for (let i: usize = 0; i < 32; i += 8) {
      const near = load<u64>(base + i, 113) ^ load<u64>(base + i, 107) ^ first;
      const far = load<u64>(base + i) ^ load<u64>(base + i, 32);
      const next = load<u64>(ptr + i) ^ far ^ near ^ load<u64>(base + i, 136);
      store<u64>(base + i, next, 290);
      first = 0;
    }
    base += 32;
    ptr += 32;
  }
}

/** The last `len` bytes of input with what the stream adds to them, to TAIL: from each delay on there is no more. */
function endVectors(ptr: usize, base: usize, len: u32): void {
  let i: usize = 0;
  for (; i < 160; i += 16) {
    const near = v128.xor(midVector(base + i), v128.load(base + i, 136));
    v128.store(TAIL + i, v128.xor(farVector(ptr + i, base + i), near));
  }
  for (; i < 192; i += 16) {
    v128.store(TAIL + i, v128.xor(farVector(ptr + i, base + i), midVector(base + i)));
  }
  for (; i < 272; i += 16) v128.store(TAIL + i, farVector(ptr + i, base + i));
  for (; i < 304; i += 16) v128.store(TAIL + i, v128.xor(v128.load(ptr + i), v128.load(base + i)));
  for (; i < len; i += 16) v128.store(TAIL + i, v128.load(ptr + i));
}

function farVector(ptr: usize, base: usize): v128 {
  return v128.xor(v128.load(ptr), v128.xor(v128.load(base), v128.load(base, 32)));
}

function midVector(base: usize): v128 {
  return v128.xor(v128.load(base, 113), v128.load(base, 107));
}

function endWords(ptr: usize, base: usize, len: u32): void {
  let i: usize = 0;
  for (; i < 160; i += 8) {
    const near = midWord(base + i) ^ load<u64>(base + i, 136);
    store<u64>(TAIL + i, farWord(ptr + i, base + i) ^ near);
  }
  for (; i < 192; i += 8) store<u64>(TAIL + i, farWord(ptr + i, base + i) ^ midWord(base + i));
  for (; i < 272; i += 8) store<u64>(TAIL + i, farWord(ptr + i, base + i));
  for (; i < 304; i += 8) store<u64>(TAIL + i, load<u64>(ptr + i) ^ load<u64>(base + i));
  for (; i < len; i += 8) store<u64>(TAIL + i, load<u64>(ptr + i));
}

function farWord(ptr: usize, base: usize): u64 {
  return load<u64>(ptr) ^ load<u64>(base) ^ load<u64>(base, 32);
}

function midWord(base: usize): u64 {
  return load<u64>(base, 113) ^ load<u64>(base, 107);
}
