// The kernels: what the module exports is exactly KernelExports of ts/wasm.ts. Pure functions on linear memory: no
// I/O, no callbacks, no allocation, no strings. ASC_FEATURE_SIMD picks SIMD or scalar code from one source.

import { crc16 } from './crc16';
import { crc32c } from './crc32c';
import { initTables } from './tables';

export {
  bitmapClear,
  bitmapCount,
  bitmapFindClear,
  bitmapNextClear,
  bitmapNextSet,
  bitmapRuns,
  bitmapSet,
} from './bitmap';
export { dirCheck, dirFind, dirScan } from './dir';
export { dirHash } from './dirhash';
export { extentCheck, extentLookup, extentMapBatch, indexLookup } from './extent';
export { dirHashes, dirPack, sort64 } from './htreewrite';
export { copy, isZero, zero, zeroList } from './memory';
export { crc16, crc32c };

/** Fills the tables in [ABI_TABLES, ABI_RESULT). Doing it again writes the same bytes. */
export function init(): void {
  initTables();
}
