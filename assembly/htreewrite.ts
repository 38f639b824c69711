// Splitting a full directory leaf: its live entries by hash, and packing some of them one behind the other. A record of
// an entry is a u64: hash, offset, size, from the top; so sorting records sorts by hash, then by place.

import { ABI_RESULT } from './abi';
import { recLen } from './dir';
import { dirHash } from './dirhash';
import { DE_HEADER, DE_NAME, DE_NAME_LEN, DE_REC_LEN } from './format/ext4';

/** Records of the live entries of [ptr, ptr + len), which passed dirCheck, to `out`, in their order. Returns how many,
 *  or -EINVAL for a version that is not known. Ends the last result. */
export function dirHashes(ptr: usize, len: u32, version: u32, seed: usize, out: usize): i32 {
  let to = out;
  let off: u32 = 0;
  while (off < len) {
    const at = ptr + off;
    if (load<u32>(at) !== 0) {
      const nameLen: u32 = load<u8>(at, DE_NAME_LEN);
      const error = dirHash(version, at + DE_NAME, nameLen, seed, ABI_RESULT);
      if (error < 0) return error;
      const size = (DE_HEADER + nameLen + 3) & ~3;
      store<u64>(to, ((<u64>load<u32>(ABI_RESULT)) << 32) | (off << 16) | size);
      to += 8;
    }
    off += recLen(at, len);
  }
  return <i32>((to - out) >>> 3);
}

/** Sorts `count` u64 upwards (Shell 1959, gaps 3h + 1). */
export function sort64(ptr: usize, count: u32): void {
  let gap: u32 = 1;
  while (gap < count) gap = 3 * gap + 1;
  for (; gap > 0; gap = (gap - 1) / 3) {
    const back = gap << 3;
    for (let i: u32 = gap; i < count; i++) {
      const value = load<u64>(ptr + (i << 3));
      let at = ptr + (i << 3);
      while (at >= ptr + back && load<u64>(at - back) > value) {
        store<u64>(at, load<u64>(at - back));
        at -= back;
      }
      store<u64>(at, value);
    }
  }
}

/** Writes the entries of `count` records (at least one), taken from the leaf at `from`, one behind the other to `to`;
 *  the last one reaches to the end, `len` bytes on. */
export function dirPack(to: usize, from: usize, records: usize, count: u32, len: u32): void {
  const end = to + len;
  let at = to;
  let size: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const record = load<u64>(records + (i << 3));
    size = <u32>record & 0xffff;
    memory.copy(at, from + (<u32>(record >>> 16) & 0xffff), size);
    store<u16>(at, <u16>size, DE_REC_LEN);
    at += size;
  }
  const last = <u32>(end - at) + size;
  // A length of 64 KiB does not fit the field: 65535 stands for it. Below, sizes are multiples of four.
  store<u16>(at - size, last === 65536 ? <u16>65535 : <u16>last, DE_REC_LEN);
}
