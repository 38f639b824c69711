// One line on standard error that says how far a long copy is: bytes, share, rate, time left. Only on a terminal,
// not before half a second, at most ten times a second; `end` wipes it.

import { binarySize } from './format.ts';
import type { Io } from './io.ts';
import { shown } from './names.ts';

export class Progress {
  readonly #io: Io;
  readonly #total: number | undefined;
  readonly #start = performance.now();
  #last = this.#start + 400;
  #done = 0;
  #visible = false;

  /** `total` in bytes, where it is known. */
  constructor(io: Io, total?: number) {
    this.#io = io;
    this.#total = total;
  }

  async add(bytes: number, label = ''): Promise<void> {
    this.#done += bytes;
    const now = performance.now();
    if (!this.#io.err.isTTY || now - this.#last < 100) return;
    this.#last = now;
    this.#visible = true;
    const text = this.#text((now - this.#start) / 1000, shown(label));
    await this.#io.err.text(`\r\x1b[K${text.slice(0, this.#io.err.columns - 1)}`);
    await this.#io.err.flush();
  }

  #text(seconds: number, label: string): string {
    const rate = this.#done / Math.max(seconds, 0.001);
    const parts = [binarySize(this.#done), `${binarySize(rate)}/s`];
    if (this.#total) {
      const share = Math.min(1, this.#done / this.#total);
      parts[0] += ` of ${binarySize(this.#total)} (${Math.floor(share * 100)} %)`;
      parts.push(`${clock((this.#total - this.#done) / rate)} left`);
    }
    return [...parts, label].filter(Boolean).join('  ');
  }

  async end(): Promise<void> {
    if (!this.#visible) return;
    this.#visible = false;
    await this.#io.err.text('\r\x1b[K');
    await this.#io.err.flush();
  }
}

/** `0:07`, `12:34`, `3:00:00`. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const parts = [Math.floor(whole / 60) % 60, whole % 60].map((part) =>
    String(part).padStart(2, '0'),
  );
  const hours = Math.floor(whole / 3600);
  return hours > 0 ? `${hours}:${parts.join(':')}` : parts.join(':').replace(/^0/, '');
}
