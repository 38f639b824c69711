// What the kernels replace: the same work in JavaScript over views of the same shared memory, as one would write it
// with care. bench/kernels.mjs calls these "TS".

export function makeLoops(memory) {
  const u8 = new Uint8Array(memory.buffer);
  const u32 = new Uint32Array(memory.buffer);
  const dv = new DataView(memory.buffer);
  return {
    fill: (ptr, len) => void u8.fill(0, ptr, ptr + len),
    set: (dst, src, len) => void u8.set(u8.subarray(src, src + len), dst),
    nextSet: (ptr, from, to) => nextSet(u32, ptr, from, to),
    runs: (ptr, to, out) => runs(u32, ptr, to, out),
    findClear: (ptr, to, want) => findClear(u32, ptr, to, want),
    lookup: (leaf, lblk, out) => lookup(dv, u32, leaf, lblk, out),
    mapOneByOne: (leaf, lblk, count, out) => mapOneByOne(dv, u32, leaf, lblk, count, out),
    find: (ptr, len, name) => find(u8, dv, ptr, len, name),
  };
}

const ctz = (word) => 31 - Math.clz32(word & -word);

function nextSet(u32, ptr, from, to) {
  let i = from >>> 5;
  let word = u32[(ptr >>> 2) + i] & (-1 << (from & 31));
  const end = (to + 31) >>> 5;
  while (word === 0) {
    if (++i >= end) return to;
    word = u32[(ptr >>> 2) + i];
  }
  return Math.min(to, i * 32 + ctz(word));
}

function nextClear(u32, ptr, from, to) {
  let i = from >>> 5;
  let word = ~u32[(ptr >>> 2) + i] & (-1 << (from & 31));
  const end = (to + 31) >>> 5;
  while (word === 0) {
    if (++i >= end) return to;
    word = ~u32[(ptr >>> 2) + i];
  }
  return Math.min(to, i * 32 + ctz(word));
}

function runs(u32, ptr, to, out) {
  let at = out >>> 2;
  let n = 0;
  for (let from = nextSet(u32, ptr, 0, to); from < to; n++) {
    const end = nextClear(u32, ptr, from, to);
    u32[at++] = from;
    u32[at++] = end - from;
    from = end < to ? nextSet(u32, ptr, end, to) : to;
  }
  return n;
}

function findClear(u32, ptr, to, want) {
  for (let from = nextClear(u32, ptr, 0, to); from < to; ) {
    const end = nextSet(u32, ptr, from, to);
    if (end - from >= want) return from;
    from = end < to ? nextClear(u32, ptr, end, to) : to;
  }
  return -1;
}

function lookup(dv, u32, leaf, lblk, out) {
  let low = 0;
  let high = dv.getUint16(leaf + 2, true);
  const count = high;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (u32[(leaf + 12 + 12 * middle) >>> 2] <= lblk) low = middle + 1;
    else high = middle;
  }
  const at = leaf + 12 * low;
  const skip = lblk - u32[at >>> 2];
  const raw = dv.getUint16(at + 4, true);
  const len = raw > 32768 ? raw - 32768 : raw;
  const to = out >>> 2;
  if (low > 0 && skip < len) {
    const start = dv.getUint16(at + 6, true) * 2 ** 32 + u32[(at + 8) >>> 2] + skip;
    u32[to] = start % 2 ** 32;
    u32[to + 1] = start / 2 ** 32;
    u32[to + 2] = len - skip;
    return (u32[to + 3] = raw > 32768 ? 2 : 1);
  }
  u32[to] = 0;
  u32[to + 1] = 0;
  u32[to + 2] = (low < count ? u32[(at + 12) >>> 2] : 0xffffffff) - lblk;
  return (u32[to + 3] = 0);
}

function mapOneByOne(dv, u32, leaf, lblk, count, out) {
  for (let i = 0; i < count; i++) {
    lookup(dv, u32, leaf, lblk, out + 16 * i);
    lblk += u32[(out + 16 * i + 8) >>> 2];
  }
  return count;
}

function find(u8, dv, ptr, len, name) {
  for (let at = ptr; at < ptr + len; at += dv.getUint16(at + 4, true)) {
    if (u8[at + 6] !== name.length || dv.getUint32(at, true) === 0) continue;
    let i = 0;
    while (i < name.length && u8[at + 8 + i] === name[i]) i++;
    if (i === name.length) return at - ptr;
  }
  return -1;
}
