// Checksums of metadata records: crc32c over raw state, seeded by the file system, then by inode and generation.
// Fields that hold a checksum count as zero. All run in the kernels, on bytes in linear memory.

import { ABI_NAME } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/ext4.ts';
import type { Kernels } from '../wasm.ts';
import { hasBit } from './features.ts';
import type { Super } from './super.ts';

export class Checksums {
  readonly kernels: Kernels;
  /** Records carry crc32c checksums. */
  readonly on: boolean;
  /** crc32c of the UUID, or what metadata_csum_seed stores. */
  readonly seed: number;
  readonly #scratch: number = ABI_NAME;

  constructor(kernels: Kernels, sb: Super) {
    this.kernels = kernels;
    this.on = sb.metadataCsum;
    this.seed = hasBit(sb.incompat, F.INCOMPAT_CSUM_SEED)
      ? sb.u32(F.S_CHECKSUM_SEED)
      : this.ofBytes(0xffffffff, sb.uuid);
  }

  /** crc32c of [ptr, ptr + len) from state `crc`; u32. */
  run(crc: number, ptr: number, len: number): number {
    return this.kernels.exports.crc32c(crc, ptr, len) >>> 0;
  }

  /** crc32c of bytes outside linear memory, at most 1,024 of them. */
  ofBytes(crc: number, bytes: Uint8Array): number {
    this.kernels.u8.set(bytes, this.#scratch);
    return this.run(crc, this.#scratch, bytes.length);
  }

  u32(crc: number, value: number): number {
    this.kernels.dv.setUint32(this.#scratch, value, true);
    return this.run(crc, this.#scratch, 4);
  }

  /** A 64-bit block number. */
  u64(crc: number, value: number): number {
    this.kernels.dv.setUint32(this.#scratch, value % 2 ** 32, true);
    this.kernels.dv.setUint32(this.#scratch + 4, Math.floor(value / 2 ** 32), true);
    return this.run(crc, this.#scratch, 8);
  }

  zeros(crc: number, len: number): number {
    this.kernels.exports.zero(this.#scratch, len);
    return this.run(crc, this.#scratch, len);
  }

  /** crc32c of a record at `ptr` whose checksum field [at, at + size) counts as zero. */
  around(crc: number, ptr: number, len: number, at: number, size: number): number {
    const before = this.run(crc, ptr, at);
    const within = this.zeros(before, size);
    return this.run(within, ptr + at + size, len - at - size);
  }

  /** The seed of an inode's records. */
  inodeSeed(ino: number, generation: number): number {
    const { dv } = this.kernels;
    dv.setUint32(this.#scratch, ino, true);
    dv.setUint32(this.#scratch + 4, generation, true);
    return this.run(this.seed, this.#scratch, 8);
  }
}

/** The superblock's own checksum, over its bytes before the field. */
export function superChecksum(sums: Checksums, sb: Super): number {
  return sums.ofBytes(0xffffffff, sb.raw.subarray(0, F.S_CHECKSUM));
}
