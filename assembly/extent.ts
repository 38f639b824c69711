// Extent nodes, searched as they lie on disk: a 12-byte header and 12-byte records. The searches take nodes that
// passed extentCheck: at least one entry in an index node, none of no length, ascending.

import {
  EXTENT_BAD_DEPTH,
  EXTENT_BAD_ENTRIES,
  EXTENT_BAD_LEN,
  EXTENT_BAD_MAGIC,
  EXTENT_BAD_MAX,
  EXTENT_BAD_ORDER,
  EXTENT_BAD_RANGE,
  MAP_HOLE,
  MAP_KIND,
  MAP_LEN,
  MAP_PBLK_LO,
  MAP_SIZE,
  MAP_UNWRITTEN,
  MAP_WRITTEN,
} from './abi';
import {
  EE_BLOCK,
  EE_LEN,
  EE_START_HI,
  EE_START_LO,
  EH_DEPTH,
  EH_ENTRIES,
  EH_MAGIC,
  EH_MAX,
  EH_SIZE,
  EI_BLOCK,
  EI_LEAF_HI,
  EI_LEAF_LO,
  EXT_INIT_MAX_LEN,
  EXT4_EXT_ENTRY_SIZE,
  EXT4_EXT_MAGIC,
  EXT4_EXT_MAX_DEPTH,
} from './format/ext4';

const MAX_LBLK: u32 = 0xffffffff;

/** 0, or minus one of EXTENT_BAD_*. `depth` -1 allows any; entries must lie in [first, end) logical blocks. */
export function extentCheck(node: usize, bytes: u32, depth: i32, first: u32, end: f64): i32 {
  if (load<u16>(node, EH_MAGIC) !== EXT4_EXT_MAGIC) return -EXTENT_BAD_MAGIC;
  const found: u32 = load<u16>(node, EH_DEPTH);
  if (found > EXT4_EXT_MAX_DEPTH) return -EXTENT_BAD_DEPTH;
  if (depth >= 0 && <u32>depth !== found) return -EXTENT_BAD_DEPTH;
  const max: u32 = load<u16>(node, EH_MAX);
  if (max === 0 || EH_SIZE + max * EXT4_EXT_ENTRY_SIZE > bytes) return -EXTENT_BAD_MAX;
  const entries: u32 = load<u16>(node, EH_ENTRIES);
  if (entries > max || (entries === 0 && found > 0)) return -EXTENT_BAD_ENTRIES;
  const from = node + EH_SIZE;
  const to = from + entries * EXT4_EXT_ENTRY_SIZE;
  return found === 0 ? checkLeaf(from, to, first, <u64>end) : checkIndex(from, to, first, <u64>end);
}

function checkLeaf(from: usize, to: usize, first: u64, end: u64): i32 {
  let next = first;
  for (let at = from; at < to; at += EXT4_EXT_ENTRY_SIZE) {
    const block: u64 = load<u32>(at, EE_BLOCK);
    const len = length(load<u16>(at, EE_LEN));
    if (len === 0) return -EXTENT_BAD_LEN;
    if (block < next) return at === from ? -EXTENT_BAD_RANGE : -EXTENT_BAD_ORDER;
    next = block + len;
    if (next > end) return -EXTENT_BAD_RANGE;
  }
  return 0;
}

function checkIndex(from: usize, to: usize, first: u64, end: u64): i32 {
  let next = first;
  for (let at = from; at < to; at += EXT4_EXT_ENTRY_SIZE) {
    const block: u64 = load<u32>(at, EI_BLOCK);
    if (block < next) return at === from ? -EXTENT_BAD_RANGE : -EXTENT_BAD_ORDER;
    if (block >= end) return -EXTENT_BAD_RANGE;
    next = block + 1;
  }
  return 0;
}

/** Blocks of an extent whose length field is `raw`: above EXT_INIT_MAX_LEN it is unwritten. */
function length(raw: u32): u32 {
  return raw > EXT_INIT_MAX_LEN ? raw - EXT_INIT_MAX_LEN : raw;
}

/** The last record whose first block is at most `lblk`, or the header when there is none. No branches to guess; four
 *  parts a step, because three loads at once take hardly longer than one. */
function search(node: usize, lblk: u32): usize {
  let count: u32 = load<u16>(node, EH_ENTRIES);
  let at = node + EH_SIZE - EXT4_EXT_ENTRY_SIZE;
  while (count > 2) {
    const quarter = (count + 1) >>> 2;
    const step = quarter * EXT4_EXT_ENTRY_SIZE;
    const one = at + step;
    const two = at + 2 * step;
    const three = at + 3 * step;
    const low = select<usize>(one, at, load<u32>(one) <= lblk);
    const high = select<usize>(three, two, load<u32>(three) <= lblk);
    at = select<usize>(high, low, load<u32>(two) <= lblk);
    // In the first three parts fewer are left, but what follows them is above `lblk` and does no harm.
    count -= 3 * quarter;
  }
  while (count > 0) {
    const next = at + EXT4_EXT_ENTRY_SIZE;
    at = select<usize>(next, at, load<u32>(next) <= lblk);
    count--;
  }
  return at;
}

function gap(next: usize, end: usize, lblk: u32): u32 {
  return (next < end ? load<u32>(next) : MAX_LBLK) - lblk;
}

function put(out: usize, pblk: u64, len: u32, kind: u32): void {
  store<u64>(out, pblk, MAP_PBLK_LO); // MAP_PBLK_HI follows
  store<u32>(out, len, MAP_LEN);
  store<u32>(out, kind, MAP_KIND);
}

/** The physical block of the extent at `at`. */
function start(at: usize): u64 {
  return ((<u64>load<u16>(at, EE_START_HI)) << 32) | load<u32>(at, EE_START_LO);
}

function kindOf(raw: u32): u32 {
  return raw > EXT_INIT_MAX_LEN ? MAP_UNWRITTEN : MAP_WRITTEN;
}

function endOf(node: usize): usize {
  return node + EH_SIZE + <u32>load<u16>(node, EH_ENTRIES) * EXT4_EXT_ENTRY_SIZE;
}

/** Writes the mapping at `lblk` and returns its kind. A hole ends at the next extent, or at 2^32 - 1. */
export function extentLookup(leaf: usize, lblk: u32, out: usize): u32 {
  const at = search(leaf, lblk);
  const skip = lblk - load<u32>(at, EE_BLOCK);
  const raw: u32 = load<u16>(at, EE_LEN);
  const len = length(raw);
  if (at !== leaf && skip < len) {
    const kind = kindOf(raw);
    put(out, start(at) + skip, len - skip, kind);
    return kind;
  }
  put(out, 0, gap(at + EXT4_EXT_ENTRY_SIZE, endOf(leaf), lblk), MAP_HOLE);
  return MAP_HOLE;
}

/** The number of the index entry that covers `lblk`, its block and how far it reaches to `out`; -1 before the first. */
export function indexLookup(node: usize, lblk: u32, out: usize): i32 {
  const at = search(node, lblk);
  const len = gap(at + EXT4_EXT_ENTRY_SIZE, endOf(node), lblk);
  if (at === node) {
    put(out, 0, len, MAP_HOLE);
    return -1;
  }
  const high: u64 = load<u16>(at, EI_LEAF_HI);
  put(out, (high << 32) | load<u32>(at, EI_LEAF_LO), len, MAP_WRITTEN);
  return <i32>((at - node) / EXT4_EXT_ENTRY_SIZE) - 1;
}

/** Up to `max` mapping records that cover [lblk, lblk + len) of one leaf. Returns how many. */
export function extentMapBatch(leaf: usize, lblk: u32, len: u32, out: usize, max: u32): u32 {
  const end = endOf(leaf);
  // The first extent that ends behind `lblk`.
  let at = search(leaf, lblk);
  if (at === leaf || lblk - load<u32>(at, EE_BLOCK) >= length(load<u16>(at, EE_LEN))) {
    at += EXT4_EXT_ENTRY_SIZE;
  }
  let left = min<u32>(len, MAX_LBLK - lblk);
  let n: u32 = 0;
  while (left > 0 && n < max) {
    const first = at < end ? load<u32>(at, EE_BLOCK) : MAX_LBLK;
    let done: u32;
    if (first > lblk) {
      done = min<u32>(first - lblk, left);
      put(out, 0, done, MAP_HOLE);
    } else {
      const raw: u32 = load<u16>(at, EE_LEN);
      const skip = lblk - first;
      done = min<u32>(length(raw) - skip, left);
      put(out, start(at) + skip, done, kindOf(raw));
      // Only the end of the range cuts an extent short.
      at += EXT4_EXT_ENTRY_SIZE;
    }
    lblk += done;
    left -= done;
    out += MAP_SIZE;
    n++;
  }
  return n;
}
