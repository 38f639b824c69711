// Checksums of records that are still plain bytes here: crc32c and crc16 by the kernels, through a memory of their
// own. Values are u32, raw state as ext4 chains it.

import { ABI_HEAP } from '../../assembly/abi.ts';
import { createKernels, createMemory, type Kernels } from '../wasm.ts';

const ROOM = 65536;

export class Sums {
  readonly #kernels: Kernels;
  readonly #four = new Uint8Array(8);
  readonly #view = new DataView(this.#four.buffer);

  constructor() {
    this.#kernels = createKernels(createMemory(ABI_HEAP + ROOM, false));
  }

  crc32c(crc: number, bytes: Uint8Array): number {
    return this.#run(this.#kernels.exports.crc32c, crc, bytes);
  }

  crc16(crc: number, bytes: Uint8Array): number {
    return this.#run(this.#kernels.exports.crc16, crc, bytes) & 0xffff;
  }

  u32(crc: number, value: number): number {
    this.#view.setUint32(0, value, true);
    return this.crc32c(crc, this.#four.subarray(0, 4));
  }

  u64(crc: number, value: number): number {
    this.#view.setUint32(0, value % 2 ** 32, true);
    this.#view.setUint32(4, Math.floor(value / 2 ** 32), true);
    return this.crc32c(crc, this.#four);
  }

  #run(sum: (crc: number, ptr: number, len: number) => number, crc: number, bytes: Uint8Array) {
    for (let off = 0; off < bytes.length; off += ROOM) {
      const part = bytes.subarray(off, off + ROOM);
      this.#kernels.u8.set(part, ABI_HEAP);
      crc = sum(crc, ABI_HEAP, part.length) >>> 0;
    }
    return crc;
  }
}
