// Bitmaps: bit n is bit n % 8 of byte n / 8. Ranges are half-open bit numbers from the bitmap's address, which may
// be any; bit numbers stay below 2^32 - 64. Readers load whole aligned words, so they never leave the memory, and
// writers only bytes that hold a bit of the range.

const ALL: u64 = u64.MAX_VALUE;

/** First set bit in [from, to), or `to`. */
export function bitmapNextSet(ptr: usize, from: u32, to: u32): u32 {
  return next(ptr, from, to, 0);
}

/** First clear bit in [from, to), or `to`. */
export function bitmapNextClear(ptr: usize, from: u32, to: u32): u32 {
  return next(ptr, from, to, ALL);
}

/** First bit in [from, to) that differs from `flip`, which is 0 or ALL; or `to`. */
function next(ptr: usize, from: u32, to: u32, flip: u64): u32 {
  if (from >= to) return to;
  const base = ptr & ~7;
  const shift = (<u32>ptr & 7) << 3;
  const first = from + shift;
  const end = base + (((to + shift + 63) >>> 6) << 3);
  let at = base + ((first >>> 6) << 3);
  let word = (load<u64>(at) ^ flip) & (ALL << (first & 63));
  if (word === 0) {
    at = skip(at + 8, end, flip);
    // At most seven words more: the stretch is not all `flip`, or the bitmap ends.
    for (; at < end; at += 8) {
      word = load<u64>(at) ^ flip;
      if (word !== 0) break;
    }
    if (at >= end) return to;
  }
  return min<u32>(((<u32>(at - base)) << 3) + <u32>ctz<u64>(word) - shift, to);
}

/** Steps over stretches of 64 bytes that are all `flip`; what follows is a word that may not be. */
function skip(at: usize, end: usize, flip: u64): usize {
  if (ASC_FEATURE_SIMD) {
    if (flip === 0) while (at + 64 <= end && !anySet(at)) at += 64;
    else while (at + 64 <= end && !anyClear(at)) at += 64;
  } else {
    while (at + 32 <= end && !differs(at, flip)) at += 32;
  }
  return at;
}

function anySet(at: usize): bool {
  const low = v128.or(v128.load(at), v128.load(at, 16));
  return v128.any_true(v128.or(low, v128.or(v128.load(at, 32), v128.load(at, 48))));
}

function anyClear(at: usize): bool {
  const low = v128.and(v128.load(at), v128.load(at, 16));
  return v128.any_true(v128.not(v128.and(low, v128.and(v128.load(at, 32), v128.load(at, 48)))));
}

function differs(at: usize, same: u64): bool {
  const low = (load<u64>(at) ^ same) | (load<u64>(at, 8) ^ same);
  return (low | (load<u64>(at, 16) ^ same) | (load<u64>(at, 24) ^ same)) !== 0;
}

/** (start, len) pairs of u32 for the runs of set bits in [from, to), at most `max`. Returns how many. */
export function bitmapRuns(ptr: usize, from: u32, to: u32, out: usize, max: u32): u32 {
  if (from >= to || max === 0) return 0;
  const base = ptr & ~7;
  const shift = (<u32>ptr & 7) << 3;
  const first = from + shift;
  const last = to + shift;
  const end = base + (((last + 63) >>> 6) << 3);
  const full = out + (max << 3);
  let at = base + ((first >>> 6) << 3);
  let mask = ALL << (first & 63);
  let edge = out;
  // All ones while a run is open. An edge is a bit unlike the one before it; starts and ends alternate.
  let open: u64 = 0;
  while (at < end) {
    if (at === end - 8) mask &= ALL >>> ((0 - last) & 63);
    const word = load<u64>(at) & mask;
    mask = ALL;
    const edges = word ^ ((word << 1) | (open & 1));
    if (edges === 0) {
      // What skip passes over lies in the open run, or in the gap: bits from `to` on do not matter.
      at = skip(at + 8, end, open);
      continue;
    }
    open = <u64>(<i64>word >> 63);
    edge = putEdges(edge, full, edges, ((<u32>(at - base)) << 3) - shift);
    if (edge === full) return lengths(out, full);
    at += 8;
  }
  if (open !== 0) {
    store<u32>(edge, to);
    edge += 4;
  }
  return lengths(out, edge);
}

/** Writes the places of `edges`, counted from `n`, as far as they fit; where there is room four at a time, the last
 *  ones in vain: how many there are is harder to guess than to overrun. */
function putEdges(edge: usize, full: usize, edges: u64, n: u32): usize {
  const to = edge + ((<usize>popcnt<u64>(edges)) << 2);
  if (to + 12 <= full) {
    for (; edge < to; edge += 16) {
      store<u32>(edge, n + <u32>ctz<u64>(edges));
      edges &= edges - 1;
      store<u32>(edge, n + <u32>ctz<u64>(edges), 4);
      edges &= edges - 1;
      store<u32>(edge, n + <u32>ctz<u64>(edges), 8);
      edges &= edges - 1;
      store<u32>(edge, n + <u32>ctz<u64>(edges), 12);
      edges &= edges - 1;
    }
    return to;
  }
  const last = min<usize>(to, full);
  for (; edge < last; edge += 4) {
    store<u32>(edge, n + <u32>ctz<u64>(edges));
    edges &= edges - 1;
  }
  return edge;
}

/** Turns (start, end) pairs in [out, to) into (start, length). Returns how many pairs. */
function lengths(out: usize, to: usize): u32 {
  let at = out;
  if (ASC_FEATURE_SIMD) {
    while (to - at >= 16) {
      const pairs = v128.load(at);
      v128.store(at, i32x4.sub(pairs, i64x2.shl(pairs, 32)));
      at += 16;
    }
  }
  while (at < to) {
    store<u32>(at, load<u32>(at, 4) - load<u32>(at), 4);
    at += 8;
  }
  return <u32>(to - out) >>> 3;
}

export function bitmapSet(ptr: usize, from: u32, count: u32): void {
  if (count === 0) return;
  const last = from + count - 1;
  const a = ptr + (from >>> 3);
  const b = ptr + (last >>> 3);
  const head: u32 = 0xff << (from & 7);
  const tail: u32 = 0xff >>> (7 - (last & 7));
  if (a === b) {
    store<u8>(a, load<u8>(a) | (head & tail));
    return;
  }
  store<u8>(a, load<u8>(a) | head);
  if (b - a > 1) memory.fill(a + 1, 0xff, b - a - 1);
  store<u8>(b, load<u8>(b) | tail);
}

export function bitmapClear(ptr: usize, from: u32, count: u32): void {
  if (count === 0) return;
  const last = from + count - 1;
  const a = ptr + (from >>> 3);
  const b = ptr + (last >>> 3);
  const head: u32 = 0xff << (from & 7);
  const tail: u32 = 0xff >>> (7 - (last & 7));
  if (a === b) {
    store<u8>(a, load<u8>(a) & ~(head & tail));
    return;
  }
  store<u8>(a, load<u8>(a) & ~head);
  if (b - a > 1) memory.fill(a + 1, 0, b - a - 1);
  store<u8>(b, load<u8>(b) & ~tail);
}

/** How many bits of [from, to) are set. */
export function bitmapCount(ptr: usize, from: u32, to: u32): u32 {
  if (from >= to) return 0;
  const base = ptr & ~7;
  const shift = (<u32>ptr & 7) << 3;
  const first = from + shift;
  const last = to + shift;
  let at = base + ((first >>> 6) << 3);
  const end = base + (((last - 1) >>> 6) << 3);
  const head = ALL << (first & 63);
  const tail = ALL >>> ((0 - last) & 63);
  if (at === end) return <u32>popcnt<u64>(load<u64>(at) & head & tail);
  let count = popcnt<u64>(load<u64>(at) & head) + popcnt<u64>(load<u64>(end) & tail);
  at += 8;
  while (end - at >= 32) {
    const low = popcnt<u64>(load<u64>(at)) + popcnt<u64>(load<u64>(at, 8));
    count += low + (popcnt<u64>(load<u64>(at, 16)) + popcnt<u64>(load<u64>(at, 24)));
    at += 32;
  }
  while (at < end) {
    count += popcnt<u64>(load<u64>(at));
    at += 8;
  }
  return <u32>count;
}

/** First bit of the first run of `want` (at least 1) clear bits in [from, to), or -1. */
export function bitmapFindClear(ptr: usize, from: u32, to: u32, want: u32): i32 {
  if (from >= to || want > to - from) return -1;
  const base = ptr & ~7;
  const shift = (<u32>ptr & 7) << 3;
  const first = from + shift;
  const last = to + shift;
  const end = base + (((last + 63) >>> 6) << 3);
  let at = base + ((first >>> 6) << 3);
  let mask = ALL << (first & 63);
  let run: u32 = 0; // clear bits right before this word
  while (at < end) {
    if (at === end - 8) mask &= ALL >>> ((0 - last) & 63);
    const clear = ~load<u64>(at) & mask;
    mask = ALL;
    if (clear === 0) {
      run = 0;
      at = skip(at + 8, end, ALL);
      continue;
    }
    const n = ((<u32>(at - base)) << 3) - shift;
    if (run + <u32>ctz<u64>(~clear) >= want) return n - run;
    if (want < 64) {
      const inside = starts(clear, want);
      if (inside !== 0) return n + <u32>ctz<u64>(inside);
    }
    run = clear === ALL ? run + 64 : <u32>clz<u64>(~clear);
    at += 8;
  }
  return -1;
}

/** The bits at which `want` ones begin: each step doubles the length of the runs that are known to be all ones. */
function starts(ones: u64, want: u32): u64 {
  for (let known: u32 = 1; known < want && ones !== 0; ) {
    const step = min<u32>(known, want - known);
    ones &= ones >>> step;
    known += step;
  }
  return ones;
}
