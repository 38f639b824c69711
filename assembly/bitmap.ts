// Bitmaps: bit n is bit n % 8 of byte n / 8. Ranges are half-open bit numbers from the bitmap's address.

function bit(ptr: usize, n: u32): u32 {
  return (<u32>load<u8>(ptr + (n >>> 3)) >>> (n & 7)) & 1;
}

/** First set bit in [from, to), or `to`. */
export function bitmapNextSet(ptr: usize, from: u32, to: u32): u32 {
  while (from < to && bit(ptr, from) === 0) from++;
  return from < to ? from : to;
}

/** First clear bit in [from, to), or `to`. */
export function bitmapNextClear(ptr: usize, from: u32, to: u32): u32 {
  while (from < to && bit(ptr, from) !== 0) from++;
  return from < to ? from : to;
}

/** (start, len) pairs of u32 for the runs of set bits in [from, to), at most `max`. Returns how many. */
export function bitmapRuns(ptr: usize, from: u32, to: u32, out: usize, max: u32): u32 {
  let n: u32 = 0;
  while (n < max) {
    const start = bitmapNextSet(ptr, from, to);
    if (start >= to) break;
    from = bitmapNextClear(ptr, start, to);
    store<u32>(out + (n << 3), start);
    store<u32>(out + (n << 3), from - start, 4);
    n++;
  }
  return n;
}

export function bitmapSet(ptr: usize, from: u32, count: u32): void {
  for (let n = from; n < from + count; n++) {
    const at = ptr + (n >>> 3);
    store<u8>(at, load<u8>(at) | <u8>((<u32>1) << (n & 7)));
  }
}

export function bitmapClear(ptr: usize, from: u32, count: u32): void {
  for (let n = from; n < from + count; n++) {
    const at = ptr + (n >>> 3);
    store<u8>(at, load<u8>(at) & ~(<u8>((<u32>1) << (n & 7))));
  }
}

/** How many bits of [from, to) are set. */
export function bitmapCount(ptr: usize, from: u32, to: u32): u32 {
  let count: u32 = 0;
  for (let n = from; n < to; n++) count += bit(ptr, n);
  return count;
}

/** First bit of the first run of `want` clear bits in [from, to), or -1. */
export function bitmapFindClear(ptr: usize, from: u32, to: u32, want: u32): i32 {
  while (from < to) {
    const start = bitmapNextClear(ptr, from, to);
    if (start >= to) return -1;
    from = bitmapNextSet(ptr, start, to);
    if (from - start >= want) return start;
  }
  return -1;
}
