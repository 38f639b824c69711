// Which blocks of a device are in use: ascending, disjoint, never adjacent runs [start, end) of block numbers. Few
// runs stand for many blocks; marking is cheapest behind the last one. Whole clusters are marked, `unit` blocks each.

import { assert } from '../assert.ts';

export class Runs {
  readonly starts: number[] = [];
  readonly ends: number[] = [];
  readonly #unit: number;

  constructor(unit = 1) {
    this.#unit = unit;
  }

  /** Marks [start, start + count), widened to whole clusters. What is in use already stays so. */
  mark(start: number, count: number): void {
    assert(count > 0, 'a run has blocks');
    let from = start - (start % this.#unit);
    let end = Math.ceil((start + count) / this.#unit) * this.#unit;
    const first = this.#after(from - 1);
    let last = first;
    while (last < this.starts.length && this.starts[last] <= end) {
      from = Math.min(from, this.starts[last]);
      end = Math.max(end, this.ends[last]);
      last++;
    }
    if (first === this.starts.length) {
      this.starts.push(from);
      this.ends.push(end);
    } else {
      this.starts.splice(first, last - first, from);
      this.ends.splice(first, last - first, end);
    }
  }

  /** The same with runs of whole clusters. */
  rounded(unit: number): Runs {
    if (unit === 1) return this;
    const whole = new Runs(unit);
    for (let i = 0; i < this.starts.length; i++) {
      whole.mark(this.starts[i], this.ends[i] - this.starts[i]);
    }
    return whole;
  }

  has(block: number): boolean {
    const i = this.#after(block);
    return i < this.starts.length && this.starts[i] <= block;
  }

  /** The first free block at or behind `goal`, and how many free ones follow it before `limit`. */
  free(goal: number, limit: number): { start: number; count: number } {
    let i = this.#after(goal);
    let start = goal;
    if (i < this.starts.length && this.starts[i] <= goal) start = this.ends[i++];
    const end = Math.min(i < this.starts.length ? this.starts[i] : limit, limit);
    return { start, count: Math.max(0, end - start) };
  }

  /** The first place at or behind `goal` with `count` free blocks in a row before `limit`, or -1. */
  place(goal: number, count: number, limit: number): number {
    for (let at = goal; at < limit; ) {
      const found = this.free(at, limit);
      if (found.count >= count) return found.start;
      at = found.start + Math.max(1, found.count);
    }
    return -1;
  }

  /** Calls back with each run of blocks in use within [from, end). */
  each(from: number, end: number, see: (start: number, count: number) => void): void {
    for (let i = this.#after(from); i < this.starts.length && this.starts[i] < end; i++) {
      const start = Math.max(from, this.starts[i]);
      see(start, Math.min(end, this.ends[i]) - start);
    }
  }

  /** Blocks in use within [from, end). */
  count(from: number, end: number): number {
    let sum = 0;
    this.each(from, end, (_, count) => {
      sum += count;
    });
    return sum;
  }

  /** Index of the first run that ends behind `block`. */
  #after(block: number): number {
    let low = 0;
    let high = this.ends.length;
    if (high > 0 && this.ends[high - 1] <= block) return high;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (this.ends[middle] <= block) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
