// Who runs the generators of mkfs: they yield device I/O and get control back when it is done. No journal, no cache
// and no step is involved, so the driver is a loop. Read, write and flush are as in flow.ts; discard is added.

import type { BlockDevice } from '../block/device.ts';
import { type IoRequest, serve, serveSync } from '../flow.ts';

export interface DiscardRequest {
  readonly op: 'discard';
  readonly device: BlockDevice;
  readonly dpos: number;
  readonly len: number;
}

/** Device I/O as a generator, of which T comes out. */
export type Making<T> = Generator<IoRequest | DiscardRequest, T, void>;

/** Runs to the end on a synchronous device. */
export function runSync<T>(making: Making<T>): T {
  for (let next = making.next(); ; next = making.next()) {
    if (next.done) return next.value;
    const r = next.value;
    if (r.op === 'discard') r.device.discardSync!(r.dpos, r.len);
    else serveSync(r);
  }
}

/** Runs to the end on any device. */
export async function run<T>(making: Making<T>): Promise<T> {
  for (let next = making.next(); ; next = making.next()) {
    if (next.done) return next.value;
    const r = next.value;
    if (r.op === 'discard') await r.device.discard!(r.dpos, r.len);
    else await serve(r);
  }
}
