// Random numbers for the journal tests: one seed a test, printed, or given with SEED.

/** A new seed, or the one in the environment; printed so that a failure can be run again. */
export function seedOf(): number {
  const seed = process.env.SEED ? Number(process.env.SEED) : Math.floor(Math.random() * 2 ** 32);
  console.log(`SEED=${seed}`);
  return seed;
}

/** Numbers in [0, 1): mulberry32. */
export function random(seed: number): () => number {
  let s = seed >>> 0;
  return () => {
    s = (s + 0x6d2b79f5) >>> 0;
    let t = Math.imul(s ^ (s >>> 15), s | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
