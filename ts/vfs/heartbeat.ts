// Taking the multi-mount block and keeping it: a mount that writes says so every few seconds, by a timer and before
// each commit. The timer keeps no process alive. Who pauses longer than others wait looks first whether it still has
// the file system; when not, the journal aborts and nothing is written any more.

import { Ext4Error } from '../errno.ts';
import type { MultiMount } from '../ext4/mmp.ts';
import type { Background } from './background.ts';

/** Counts up while the mount lasts. `sync`: nothing else runs while a timer does. */
export function keepBeating(background: Background, mmp: MultiMount, sync: boolean): void {
  const beat = async (): Promise<void> => {
    try {
      if (sync) background.beatSync();
      else await background.beat();
    } catch {
      // the journal has aborted, which every later change says
    }
    if (!mmp.ended) arm();
  };
  let timer: ReturnType<typeof setTimeout> | undefined;
  const arm = (): void => {
    timer = setTimeout(() => void beat(), mmp.interval);
    (timer as unknown as { unref?(): void }).unref?.();
  };
  mmp.onRelease = () => clearTimeout(timer);
  background.mmp = mmp;
  arm();
}

/** Waits inside the call. EOPNOTSUPP where nothing may: on a page's main thread. */
export function waitSync(ms: number): void {
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  } catch {
    const why = 'it may be mounted elsewhere, and only an asynchronous mount can wait and see here';
    throw new Ext4Error('EOPNOTSUPP', why);
  }
}

export function wait(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}
