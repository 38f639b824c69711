// Changes do not wait for the next call: a transaction is committed when its time has come, and file data that stays
// dirty is written back after half a minute, as the kernel does. The timer runs only while something waits and keeps no
// process alive: who exits without fsync or unmount loses what was not committed. Errors are told by the next call.

import type { Cache } from '../cache/cache.ts';
import type { Journal } from '../jbd2/journal.ts';
import type { Background } from './background.ts';

/** Milliseconds that data may stay dirty. */
export const DATA_EXPIRES = 30_000;

export class Flusher {
  readonly #background: Background;
  readonly #cache: Cache;
  readonly #journal: Journal;
  readonly #sync: boolean;
  #waiting = false;
  /** Milliseconds since the first tick that saw dirty data. */
  #dirtyFor = 0;

  /** Watches `journal` from now on. `sync`: nothing else runs while a tick does. */
  constructor(background: Background, cache: Cache, journal: Journal, sync: boolean) {
    this.#background = background;
    this.#cache = cache;
    this.#journal = journal;
    this.#sync = sync;
    journal.onBegin = () => this.#arm();
  }

  #arm(): void {
    if (this.#waiting) return;
    this.#waiting = true;
    const timer = setTimeout(() => this.#tick(), this.#journal.interval) as unknown;
    (timer as { unref?(): void }).unref?.();
  }

  async #tick(): Promise<void> {
    const journal = this.#journal;
    try {
      if (journal.aborted === null) await this.#flush();
    } catch {
      // a failed commit has aborted the journal, which every later change says
    }
    this.#waiting = false;
    const more = journal.running !== null || this.#cache.dirtyBlocks > 0;
    if (more && journal.aborted === null) this.#arm();
  }

  /** Of writeback only the files learn that it failed. */
  async #flush(): Promise<void> {
    const background = this.#background;
    this.#dirtyFor = this.#cache.dirtyBlocks > 0 ? this.#dirtyFor + this.#journal.interval : 0;
    const expired = this.#dirtyFor > DATA_EXPIRES;
    if (expired) {
      this.#dirtyFor = 0;
      if (this.#sync) background.writeBackSync(0);
      else await background.writeBack(0);
    }
    if (this.#journal.running === null) return;
    if (this.#sync) background.logSync('commit');
    else await background.log('commit');
  }
}
