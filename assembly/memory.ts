// Filling and copying linear memory, and looking for zeros. memory.fill and memory.copy reach native speed, which
// typed arrays on a shared buffer do not: bench/kernels.mjs.

export function zero(ptr: usize, len: u32): void {
  memory.fill(ptr, 0, len);
}

/** Ranges may overlap. */
export function copy(dst: usize, src: usize, len: u32): void {
  memory.copy(dst, src, len);
}

/** Zeroes `count` ranges; `list` holds (ptr, len) pairs of u32. */
export function zeroList(list: usize, count: u32): void {
  const end = list + (count << 3);
  for (let pair = list; pair < end; pair += 8) {
    memory.fill(load<u32>(pair), 0, load<u32>(pair, 4));
  }
}

/** 1 when all `len` bytes are zero. */
export function isZero(ptr: usize, len: u32): i32 {
  const end = ptr + len;
  while (end - ptr >= 64) {
    if (anySet64(ptr)) return 0;
    ptr += 64;
  }
  while (end - ptr >= 8) {
    if (load<u64>(ptr) !== 0) return 0;
    ptr += 8;
  }
  while (ptr < end) {
    if (load<u8>(ptr) !== 0) return 0;
    ptr++;
  }
  return 1;
}

/** Whether any of the 64 bytes at `ptr` is not zero. */
function anySet64(ptr: usize): bool {
  if (ASC_FEATURE_SIMD) {
    const low = v128.or(v128.load(ptr), v128.load(ptr, 16));
    return v128.any_true(v128.or(low, v128.or(v128.load(ptr, 32), v128.load(ptr, 48))));
  }
  const low = load<u64>(ptr) | load<u64>(ptr, 8) | load<u64>(ptr, 16) | load<u64>(ptr, 24);
  const high = load<u64>(ptr, 32) | load<u64>(ptr, 40) | load<u64>(ptr, 48) | load<u64>(ptr, 56);
  return (low | high) !== 0;
}
