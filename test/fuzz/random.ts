// A small seeded generator (mulberry32): the same seed gives the same sequence everywhere.

export interface Random {
  /** An integer in [0, below). */
  int(below: number): number;
  /** 32 random bits. */
  u32(): number;
  pick<T>(list: readonly T[]): T;
  chance(p: number): boolean;
}

export function random(seed: number): Random {
  let a = seed >>> 0;
  const u32 = (): number => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = a;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
  const int = (below: number): number => Math.floor((u32() / 2 ** 32) * below);
  return { u32, int, pick: (list) => list[int(list.length)], chance: (p) => u32() / 2 ** 32 < p };
}
