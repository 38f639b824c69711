// Second pass: which home blocks were freed after they were logged. The table has an entry only for blocks that the
// log itself wants to write, so it is never longer than the log, whatever the revoke blocks list.

import { corrupt } from '../errno.ts';
import type { Flow } from '../flow.ts';
import { eachRevoked, tidAtLeast } from './records.ts';
import type { Scan } from './scan.ts';
import type { LogWindow } from './source.ts';
import type { LogFormat } from './super.ts';

/** Home block to the youngest transaction that revoked it. */
export class RevokeTable {
  readonly #tids = new Map<number, number>();

  get size(): number {
    return this.#tids.size;
  }

  revoke(home: number, tid: number): void {
    const known = this.#tids.get(home);
    if (known === undefined || tidAtLeast(tid, known)) this.#tids.set(home, tid);
  }

  /** Whether a copy of `home` logged by `tid` stays out: it was revoked by that transaction or a later one. */
  covers(home: number, tid: number): boolean {
    const revoked = this.#tids.get(home);
    return revoked !== undefined && tidAtLeast(revoked, tid);
  }
}

/** Runs the pass. EUCLEAN when a revoke block's length is impossible. */
export function* readRevokes(log: LogWindow, f: LogFormat, scan: Scan): Flow<RevokeTable> {
  const table = new RevokeTable();
  if (scan.revokes.length === 0) return table;
  const logged = new Set<number>();
  for (const d of scan.descriptors) for (const tag of d.tags) logged.add(tag.home);
  for (const { jblk, tid } of scan.revokes) {
    const ptr = yield* log.load(jblk);
    const whole = eachRevoked(log.source.kernels, ptr, f, (home) => {
      if (logged.has(home)) table.revoke(home, tid);
    });
    if (!whole) {
      throw corrupt('journal revoke block', 'longer than its block', {
        field: 'r_count',
        block: jblk,
      });
    }
  }
  return table;
}
