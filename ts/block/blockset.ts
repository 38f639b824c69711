// A set of block numbers of any device: chunks of 65,536 bits that exist once a block of theirs is in the set; a
// chunk that is full is one word. Costs 8 KiB for each touched 32 MiB of 512-byte blocks.

const CHUNK = 65536;
const BYTES = CHUNK / 8;

export class BlockSet {
  readonly #chunks = new Map<number, Uint8Array | 'full'>();

  /** Adds [from, to). */
  add(from: number, to: number): void {
    for (let at = from; at < to; ) {
      const index = Math.floor(at / CHUNK);
      const base = index * CHUNK;
      const end = Math.min(to, base + CHUNK);
      if (end - at === CHUNK) this.#chunks.set(index, 'full');
      else setBits(this.#chunk(index), at - base, end - base);
      at = end;
    }
  }

  has(block: number): boolean {
    const index = Math.floor(block / CHUNK);
    const chunk = this.#chunks.get(index);
    return chunk !== undefined && hasBit(chunk, block - index * CHUNK);
  }

  /** The end of the run of blocks from `from` on, before `to`, that are all in the set, or all not. */
  runEnd(from: number, to: number): number {
    const inside = this.has(from);
    for (let at = from; at < to; ) {
      const index = Math.floor(at / CHUNK);
      const base = index * CHUNK;
      const end = Math.min(to, base + CHUNK);
      const chunk = this.#chunks.get(index);
      if (chunk === undefined || chunk === 'full') {
        if ((chunk === 'full') !== inside) return at;
      } else {
        const stop = runEnd(chunk, at - base, end - base, inside);
        if (base + stop < end) return base + stop;
      }
      at = end;
    }
    return to;
  }

  /** The runs in the set, in order, as [from, to). */
  *runs(): Generator<[number, number]> {
    let open: [number, number] | null = null;
    for (const index of [...this.#chunks.keys()].sort((a, b) => a - b)) {
      const end = (index + 1) * CHUNK;
      for (let at = index * CHUNK; at < end; ) {
        const stop = this.runEnd(at, end);
        if (this.has(at)) {
          if (open && open[1] === at) open[1] = stop;
          else {
            if (open) yield open;
            open = [at, stop];
          }
        }
        at = stop;
      }
    }
    if (open) yield open;
  }

  clear(): void {
    this.#chunks.clear();
  }

  /** The bits of a chunk that are about to change. */
  #chunk(index: number): Uint8Array {
    const known = this.#chunks.get(index);
    if (known instanceof Uint8Array) return known;
    const made = new Uint8Array(BYTES);
    if (known === 'full') made.fill(0xff);
    this.#chunks.set(index, made);
    return made;
  }
}

function hasBit(chunk: Uint8Array | 'full', bit: number): boolean {
  return chunk === 'full' || (chunk[bit >> 3] & (1 << (bit & 7))) !== 0;
}

function setBits(chunk: Uint8Array, from: number, to: number): void {
  for (let bit = from; bit < to; ) {
    if (bit % 8 === 0 && to - bit >= 8) {
      chunk[bit >> 3] = 0xff;
      bit += 8;
    } else {
      chunk[bit >> 3] |= 1 << (bit & 7);
      bit++;
    }
  }
}

function runEnd(chunk: Uint8Array, from: number, to: number, inside: boolean): number {
  const whole = inside ? 0xff : 0;
  let bit = from;
  while (bit < to) {
    if (bit % 8 === 0 && to - bit >= 8 && chunk[bit >> 3] === whole) bit += 8;
    else if (hasBit(chunk, bit) === inside) bit++;
    else break;
  }
  return bit;
}
