// Bytes of a stream socket, taken in exact amounts: what arrives goes straight to where the taker says. One taker at
// a time. A socket that ends or fails rejects the taker, now and later.

/** What is used of a node socket. */
export interface ByteSource {
  on(event: 'data', fn: (chunk: Uint8Array) => void): unknown;
  on(event: 'error', fn: (error: Error) => void): unknown;
  on(event: 'close', fn: () => void): unknown;
  pause(): unknown;
  resume(): unknown;
}

type Sink = (bytes: Uint8Array, at: number) => void;

interface Taker {
  len: number;
  done: number;
  sink: Sink;
  resolve(): void;
  reject(error: Error): void;
}

/** Bytes that may wait for a taker before the socket is paused. */
const HIGH_WATER = 1 << 20;

export class Intake {
  readonly #source: ByteSource;
  #chunks: Uint8Array[] = [];
  #held = 0;
  #taker: Taker | null = null;
  #ended: Error | null = null;

  constructor(source: ByteSource) {
    this.#source = source;
    source.on('data', (chunk) => {
      this.#chunks.push(chunk);
      this.#held += chunk.length;
      this.#serve();
      if (this.#held > HIGH_WATER) source.pause();
    });
    source.on('error', (error) => this.#end(error));
    source.on('close', () => this.#end(new Error('closed by the other side')));
  }

  /** Hands the next `len` bytes to `sink`, piece by piece with their offset. */
  take(len: number, sink: Sink): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#taker = { len, done: 0, sink, resolve, reject };
      this.#serve();
      this.#source.resume();
      if (this.#taker && this.#ended) this.#fail(this.#ended);
    });
  }

  /** The next bytes, as many as `into` has room for. */
  fill(into: Uint8Array): Promise<void> {
    return this.take(into.length, (bytes, at) => into.set(bytes, at));
  }

  async bytes(len: number): Promise<DataView> {
    const into = new Uint8Array(len);
    await this.fill(into);
    return new DataView(into.buffer);
  }

  #serve(): void {
    const taker = this.#taker;
    if (taker === null) return;
    while (taker.done < taker.len && this.#chunks.length > 0) {
      const chunk = this.#chunks[0];
      const part = chunk.subarray(0, taker.len - taker.done);
      taker.sink(part, taker.done);
      taker.done += part.length;
      this.#held -= part.length;
      if (part.length === chunk.length) this.#chunks.shift();
      else this.#chunks[0] = chunk.subarray(part.length);
    }
    if (taker.done < taker.len) return;
    this.#taker = null;
    taker.resolve();
  }

  #end(error: Error): void {
    this.#ended ??= error;
    this.#fail(this.#ended);
  }

  #fail(error: Error): void {
    const taker = this.#taker;
    this.#taker = null;
    taker?.reject(error);
  }
}
