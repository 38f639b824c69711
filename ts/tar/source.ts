// Bytes of an archive, as they come: exact reads and pieces of what is left of a member. It holds one chunk of the
// source and what was asked for, no more.

/** What an archive says that cannot be. Nothing of the member was handed out. */
export class TarError extends Error {
  override readonly name = 'TarError';
}

export class TarSource {
  readonly #chunks: AsyncIterator<Uint8Array> | Iterator<Uint8Array>;
  #chunk = new Uint8Array(0);
  /** Bytes taken so far: the position in the archive. */
  pos = 0;

  constructor(source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>) {
    const all = source as AsyncIterable<Uint8Array> & Iterable<Uint8Array>;
    this.#chunks = (all[Symbol.asyncIterator] ?? all[Symbol.iterator]).call(all);
  }

  /** At least one byte and at most `max`, or null at the end. The bytes are good until the next call. */
  async some(max: number): Promise<Uint8Array | null> {
    while (this.#chunk.length === 0) {
      const { done, value } = await this.#chunks.next();
      if (done) return null;
      this.#chunk = value as Uint8Array<ArrayBuffer>;
    }
    const taken = this.#chunk.subarray(0, max);
    this.#chunk = this.#chunk.subarray(taken.length);
    this.pos += taken.length;
    return taken;
  }

  /** Exactly `len` bytes, or null when the archive ends before the first. TarError when it ends among them. */
  async exactly(len: number): Promise<Uint8Array | null> {
    const first = await this.some(len);
    if (first === null || first.length === len) return first;
    const all = new Uint8Array(len);
    all.set(first);
    for (let done = first.length; done < len; ) {
      const next = await this.some(len - done);
      if (next === null) throw new TarError('the archive ends too early');
      all.set(next, done);
      done += next.length;
    }
    return all;
  }

  /** Leaves out `len` bytes. */
  async skip(len: number): Promise<void> {
    for (let left = len; left > 0; ) {
      const next = await this.some(left);
      if (next === null) throw new TarError('the archive ends too early');
      left -= next.length;
    }
  }

  /** Reads to the end, so that whoever writes the archive is not cut off. */
  async drain(): Promise<void> {
    while ((await this.some(1 << 20)) !== null);
  }

  /** Tells the source that no more is wanted. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}
