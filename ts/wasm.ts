// The kernels: one WebAssembly instance on one linear memory, its raw exports, and the views on that memory.
// Addresses and lengths are u32 (a result that is an address needs >>> 0), results are i32, negative = -errno.
// Nothing is instantiated at import.

import * as embedded from '#kernels';

/** The raw exports of assembly/index.ts. `ptr` arguments are addresses, bit numbers count from `ptr`'s bit 0. */
export interface KernelExports {
  /** Fills the tables; once per memory, before anything else. */
  init(): void;
  /** CRC-32C over raw state: no inversion in or out, as ext4 chains it (start with ~0). */
  crc32c(crc: number, ptr: number, len: number): number;
  /** CRC-16 (ANSI, reflected 0x8005) over raw state, as ext4's group checksum chains it (start with 0xffff). */
  crc16(crc: number, ptr: number, len: number): number;
  zero(ptr: number, len: number): void;
  copy(dst: number, src: number, len: number): void;
  /** 1 when all bytes are zero. */
  isZero(ptr: number, len: number): number;
  /** Zeroes `count` ranges; the list holds (ptr, len) pairs of u32. */
  zeroList(list: number, count: number): void;

  /** Checks an extent node of `bytes` bytes (header and room for entries) that should have `depth`
   *  (-1: any up to 5) and whose entries lie in [first, end) logical blocks. 0, or a negative number
   *  that names the fault. */
  extentCheck(node: number, bytes: number, depth: number, first: number, end: number): number;
  /** Looks `lblk` up in a leaf; writes one mapping record (abi.ts) to `out` and returns its kind.
   *  A hole's length ends at the next extent of this leaf, or at 2^32 - 1 when there is none. */
  extentLookup(leaf: number, lblk: number, out: number): number;
  /** Looks `lblk` up in an index node: child block to MAP_PBLK_*, MAP_LEN = blocks to the next index entry
   *  (or to 2^32 - 1). Returns the entry's number, or -1 when lblk lies before the first (then MAP_LEN
   *  is the gap). */
  indexLookup(node: number, lblk: number, out: number): number;
  /** Up to `max` mapping records covering [lblk, lblk + len) of one leaf, holes included. Returns how many. */
  extentMapBatch(leaf: number, lblk: number, len: number, out: number, max: number): number;

  /** First set bit in [from, to), or `to`. */
  bitmapNextSet(ptr: number, from: number, to: number): number;
  bitmapNextClear(ptr: number, from: number, to: number): number;
  /** (start, len) pairs of u32 for the runs of set bits in [from, to), at most `max`. Returns how many. */
  bitmapRuns(ptr: number, from: number, to: number, out: number, max: number): number;
  bitmapSet(ptr: number, from: number, count: number): void;
  bitmapClear(ptr: number, from: number, count: number): void;
  /** How many bits of [from, to) are set. */
  bitmapCount(ptr: number, from: number, to: number): number;
  /** First run of `want` clear bits in [from, to), or -1. */
  bitmapFindClear(ptr: number, from: number, to: number, want: number): number;

  /** Checks all entries of a directory block's [ptr, ptr + len): 0, or a negative fault. `inodes`
   *  bounds inode numbers. */
  dirCheck(ptr: number, len: number, inodes: number): number;
  /** Offset of the entry with this name (raw bytes), or -1. The block must have passed dirCheck. */
  dirFind(ptr: number, len: number, name: number, nameLen: number): number;
  /** Offsets (u32) of live entries from byte `from` on, at most `max`, to `out`. Returns how many. */
  dirScan(ptr: number, len: number, from: number, out: number, max: number): number;
  /** Hash of a name by version (0–5, abi of DX_HASH_*), seed at `seed` (four u32, all zero = default).
   *  Writes hash and minor hash (u32, u32) to `out`. Returns 0, or -22 for an unknown version. */
  dirHash(version: number, name: number, nameLen: number, seed: number, out: number): number;
  /** Records (u64: hash, offset, size, from the top) of the live entries of [ptr, ptr + len) to `out`, 8 bytes for
   *  each 12 of the block; how many, or -22. The block must have passed dirCheck. */
  dirHashes(ptr: number, len: number, version: number, seed: number, out: number): number;
  /** Sorts `count` u64 upwards. */
  sort64(ptr: number, count: number): void;
  /** Packs the entries of `count` records (at least one) from a leaf at `from` to `to`; the last reaches `len` bytes
   *  behind `to`. The two do not overlap. */
  dirPack(to: number, from: number, records: number, count: number, len: number): void;
}

/** One instance on one memory, with views that are made once: the memory never grows. */
export interface Kernels {
  readonly memory: WebAssembly.Memory;
  readonly exports: KernelExports;
  readonly u8: Uint8Array;
  readonly u32: Uint32Array;
  readonly dv: DataView;
  readonly simd: boolean;
  readonly shared: boolean;
}

const PAGE = 65536;
const MAX_PAGES = 65535; // one short of 4 GiB, so that ptr + len never wraps

let simdSupport: boolean | undefined;
const modules = new Map<string, WebAssembly.Module>();

/** Whether this engine runs the SIMD build. */
export function hasSimd(): boolean {
  simdSupport ??= WebAssembly.validate(embedded.bytes('probe'));
  return simdSupport;
}

/** Whether a shared memory can be used here: a try would lie, shared memories construct everywhere. */
export function canShare(): boolean {
  if (typeof SharedArrayBuffer === 'undefined') return false;
  const isolated = (globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated;
  return isolated ?? true; // Node has no such word and always allows it
}

/** A memory of `bytes`, rounded up to pages; its size is fixed. RangeError when the platform refuses. */
export function createMemory(bytes: number, shared: boolean): WebAssembly.Memory {
  const pages = Math.ceil(bytes / PAGE);
  if (pages > MAX_PAGES) throw new RangeError(`a memory has at most ${MAX_PAGES * PAGE} bytes`);
  return new WebAssembly.Memory({ initial: pages, maximum: pages, shared });
}

/** An instance on `memory`, tables filled. `simd` defaults to what the engine can. */
export function createKernels(memory: WebAssembly.Memory, simd = hasSimd()): Kernels {
  const shared =
    typeof SharedArrayBuffer !== 'undefined' && memory.buffer instanceof SharedArrayBuffer;
  const name = `${simd ? 'simd' : 'scalar'}-${shared ? 'shared' : 'plain'}`;
  let module = modules.get(name);
  if (module === undefined) {
    module = new WebAssembly.Module(embedded.bytes(name));
    modules.set(name, module);
  }
  const instance = new WebAssembly.Instance(module, { env: { memory } });
  const exports = instance.exports as unknown as KernelExports;
  exports.init();
  const buffer = memory.buffer;
  return {
    memory,
    exports,
    u8: new Uint8Array(buffer),
    u32: new Uint32Array(buffer),
    dv: new DataView(buffer),
    simd,
    shared,
  };
}
