// The four builds of the kernels on memories of their own, and seeded random numbers. Set SEED to repeat a run:
// every suite has the seed in its name, so a failure prints it.

import { describe } from 'vitest';
import { createKernels, createMemory, type Kernels } from '../../ts/wasm.ts';

export const SEED = Number(process.env.SEED ?? Date.now() % 2 ** 31);
export const MEMORY = 512 * 1024;
/** Test data lie above the kernels' own part, or end with the memory: there a load too far traps. */
export const DATA = 0x10000;

/** Runs `body` once for each build; `random` starts from the seed again. */
export function eachBuild(name: string, body: (k: Kernels, random: Random) => void): void {
  for (const simd of [true, false]) {
    for (const shared of [true, false]) {
      const build = `${simd ? 'simd' : 'scalar'}, ${shared ? 'shared' : 'plain'}`;
      describe(`${name} (${build}, seed ${SEED})`, () => {
        body(createKernels(createMemory(MEMORY, shared), simd), new Random(SEED));
      });
    }
  }
}

/** Marsaglia's xorshift32: small, and the same everywhere. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0 || 1;
  }

  u32(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x >>> 0;
  }

  /** 0 to `limit` - 1. */
  below(limit: number): number {
    return this.u32() % limit;
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.u32() >>> 24);
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)];
  }
}

/** Puts `bytes` where they end `gap` bytes before the end of the memory; returns their address. */
export function atEnd(k: Kernels, bytes: Uint8Array, gap = 0): number {
  const ptr = MEMORY - bytes.length - gap;
  k.u8.set(bytes, ptr);
  return ptr;
}
