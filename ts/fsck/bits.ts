// Sets of block and inode numbers of any range: pages of 32,768 bits that exist only where a bit is set. Numbers may
// exceed 2^32; shifts are on offsets inside a page only. Counts of an inode's links: a bit for "one", a map for more.

const PAGE_BITS = 32768;
const PAGE_WORDS = 1024;

export class Bits {
  readonly #pages: (Uint32Array | undefined)[] = [];

  has(n: number): boolean {
    const index = Math.floor(n / PAGE_BITS);
    const page = this.#pages[index];
    if (page === undefined) return false;
    const bit = n - index * PAGE_BITS;
    return (page[bit >>> 5] & (1 << (bit & 31))) !== 0;
  }

  /** Puts `n` in. True when it was in already. */
  add(n: number): boolean {
    const index = Math.floor(n / PAGE_BITS);
    const page = this.#page(index);
    const bit = n - index * PAGE_BITS;
    const mask = 1 << (bit & 31);
    const was = (page[bit >>> 5] & mask) !== 0;
    page[bit >>> 5] |= mask;
    return was;
  }

  delete(n: number): void {
    const index = Math.floor(n / PAGE_BITS);
    const page = this.#pages[index];
    const bit = n - index * PAGE_BITS;
    if (page !== undefined) page[bit >>> 5] &= ~(1 << (bit & 31));
  }

  /** Puts [from, from + count) in. True when any of them was in already. */
  addRange(from: number, count: number): boolean {
    let was = false;
    let at = from;
    const end = from + count;
    while (at < end) {
      const index = Math.floor(at / PAGE_BITS);
      const base = index * PAGE_BITS;
      const stop = Math.min(end, base + PAGE_BITS);
      if (addBits(this.#page(index), at - base, stop - base)) was = true;
      at = stop;
    }
    return was;
  }

  /** True when any of [from, from + count) is in. */
  any(from: number, count: number): boolean {
    const end = from + count;
    for (let at = from; at < end; ) {
      const index = Math.floor(at / PAGE_BITS);
      const base = index * PAGE_BITS;
      const page = this.#pages[index];
      const stop = Math.min(end, base + PAGE_BITS);
      if (page !== undefined && anyBits(page, at - base, stop - base)) return true;
      at = stop;
    }
    return false;
  }

  /** How many numbers are in the set. */
  size(): number {
    let count = 0;
    for (const page of this.#pages) {
      if (page === undefined) continue;
      for (const word of page) for (let bits = word; bits !== 0; bits &= bits - 1) count++;
    }
    return count;
  }

  /** The first number in [from, to) that is not in the set, or `to`. */
  nextClear(from: number, to: number): number {
    let at = from;
    while (at < to && this.has(at)) at++;
    return Math.min(at, to);
  }

  /** All numbers in the set, ascending. */
  *values(): Generator<number> {
    for (let index = 0; index < this.#pages.length; index++) {
      const page = this.#pages[index];
      if (page === undefined) continue;
      const base = index * PAGE_BITS;
      for (let word = 0; word < PAGE_WORDS; word++) {
        for (let bits = page[word]; bits !== 0; bits &= bits - 1) {
          yield base + word * 32 + 31 - Math.clz32(bits & -bits);
        }
      }
    }
  }

  /** Copies `count` bits from bit `from` on into `into`, bit 0 first; bits behind them are left. */
  copyTo(into: Uint8Array, from: number, count: number): void {
    const index = Math.floor(from / PAGE_BITS);
    if (from === index * PAGE_BITS && count <= PAGE_BITS && count % 8 === 0) {
      const page = this.#pages[index];
      if (page === undefined) into.fill(0, 0, count / 8);
      else into.set(new Uint8Array(page.buffer, 0, count / 8));
      return;
    }
    into.fill(0, 0, count >>> 3);
    for (let i = 0; i < count; i++) {
      const mask = 1 << (i & 7);
      if (this.has(from + i)) into[i >>> 3] |= mask;
      else into[i >>> 3] &= ~mask;
    }
  }

  #page(index: number): Uint32Array {
    let page = this.#pages[index];
    if (page === undefined) {
      page = new Uint32Array(PAGE_WORDS);
      this.#pages[index] = page;
    }
    return page;
  }
}

function anyBits(page: Uint32Array, from: number, to: number): boolean {
  for (let at = from; at < to; ) {
    const word = at >>> 5;
    const low = at & 31;
    const count = Math.min(32 - low, to - at);
    const mask = count === 32 ? -1 : ((1 << count) - 1) << low;
    if ((page[word] & mask) !== 0) return true;
    at += count;
  }
  return false;
}

function addBits(page: Uint32Array, from: number, to: number): boolean {
  let was = 0;
  let at = from;
  while (at < to) {
    const word = at >>> 5;
    const low = at & 31;
    const count = Math.min(32 - low, to - at);
    const mask = count === 32 ? -1 : ((1 << count) - 1) << low;
    was |= page[word] & mask;
    page[word] |= mask;
    at += count;
  }
  return was !== 0;
}

/** How often each inode was counted. Most are counted once. */
export class Counts {
  readonly #one = new Bits();
  readonly #many = new Map<number, number>();

  get(ino: number): number {
    if (!this.#one.has(ino)) return 0;
    return this.#many.get(ino) ?? 1;
  }

  increment(ino: number, by = 1): void {
    this.set(ino, this.get(ino) + by);
  }

  set(ino: number, count: number): void {
    if (count <= 0) {
      this.#one.delete(ino);
      this.#many.delete(ino);
      return;
    }
    this.#one.add(ino);
    if (count > 1) this.#many.set(ino, count);
    else this.#many.delete(ino);
  }
}

/** A list of numbers below 2^53 that grows without a copy of each entry in an object. */
export class NumberList {
  #items = new Float64Array(1024);
  length = 0;

  push(value: number): void {
    if (this.length === this.#items.length) {
      const more = new Float64Array(this.length * 2);
      more.set(this.#items);
      this.#items = more;
    }
    this.#items[this.length++] = value;
  }

  get(i: number): number {
    return this.#items[i];
  }

  set(i: number, value: number): void {
    this.#items[i] = value;
  }

  /** The index of `value` in a list that ascends, or -1. */
  search(value: number): number {
    let [low, high] = [0, this.length];
    while (low < high) {
      const mid = (low + high) >>> 1;
      if (this.#items[mid] < value) low = mid + 1;
      else high = mid;
    }
    return low < this.length && this.#items[low] === value ? low : -1;
  }
}
