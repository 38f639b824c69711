// The turns of inodes: first come, first served. An operation that frees or moves blocks also freezes its inode, so
// that writeback leaves it alone. Synchronous mounts need neither.

export class Locks {
  readonly #tails = new Map<number, Promise<void>>();
  readonly #frozen: Set<number>;
  readonly #turns: Set<number>;

  /** `frozen`: the inodes that writeback leaves alone; `turns`: those whose turn somebody has. Kept up to date here. */
  constructor(frozen: Set<number>, turns: Set<number>) {
    this.#frozen = frozen;
    this.#turns = turns;
  }

  /** Waits for the turns of `inos`, lowest first, and adds what gives them back to `release`. */
  async take(inos: number[], release: (() => void)[]): Promise<void> {
    for (const ino of [...new Set(inos)].sort((a, b) => a - b)) {
      const before = this.#tails.get(ino);
      let free = () => {};
      const mine = new Promise<void>((done) => {
        free = done;
      });
      this.#tails.set(ino, mine);
      release.push(() => {
        this.#turns.delete(ino);
        if (this.#tails.get(ino) === mine) this.#tails.delete(ino);
        free();
      });
      await before;
      this.#turns.add(ino);
    }
  }

  /** Its turn is the caller's, so nobody else freezes it. */
  freeze(ino: number, release: (() => void)[]): void {
    this.#frozen.add(ino);
    release.unshift(() => this.#frozen.delete(ino));
  }
}
