// Filling and copying linear memory, and looking for zeros. memory.fill and memory.copy reach native speed, which
// typed arrays on a shared buffer do not (22–30 times slower, bench/kernels.mjs).

export function zero(ptr: usize, len: u32): void {
  memory.fill(ptr, 0, len);
}

/** Ranges may overlap. */
export function copy(dst: usize, src: usize, len: u32): void {
  memory.copy(dst, src, len);
}

/** Zeroes `count` ranges; `list` holds (ptr, len) pairs of u32. */
export function zeroList(list: usize, count: u32): void {
  for (let i: u32 = 0; i < count; i++) {
    const pair = list + (i << 3);
    memory.fill(load<u32>(pair), 0, load<u32>(pair, 4));
  }
}

/** 1 when all `len` bytes are zero. */
export function isZero(ptr: usize, len: u32): i32 {
  const end = ptr + len;
  while (ptr < end) if (load<u8>(ptr++) !== 0) return 0;
  return 1;
}
