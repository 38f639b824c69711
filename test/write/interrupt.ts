// Stops a step half way: of the journal's calls that a handle makes, the n-th throws, once.

import { missing } from '../../ts/cache/missing.ts';
import { Ext4Error } from '../../ts/errno.ts';
import type { FileSystem } from '../../ts/vfs/filesystem.ts';

/** That a commit must come first, or room in the log; or an error. */
export type Way = 'commit' | 'space' | 'error';
export const WAYS: Way[] = ['commit', 'space', 'error'];

export interface Interrupted {
  /** The call was made, and thrown out of. */
  struck: boolean;
  off(): void;
}

/** From now on counts calls of start(), write(), create() and forget(); the n-th throws. */
export function interrupt(fs: FileSystem, n: number, way: Way): Interrupted {
  const journal = fs.vol.journal!;
  let calls = 0;
  const state: Interrupted = { struck: false, off: () => {} };
  const check = (): void => {
    if (++calls !== n) return;
    state.struck = true;
    throw way === 'error' ? new Ext4Error('EIO', 'injected') : missing.wait(way);
  };
  const { start, write, create, forget } = journal;
  journal.start = (credits) => {
    check();
    start.call(journal, credits);
  };
  journal.write = (buffer, off, len) => {
    check();
    return write.call(journal, buffer, off, len);
  };
  journal.create = (pblk) => {
    check();
    return create.call(journal, pblk);
  };
  journal.forget = (pblk) => {
    check();
    forget.call(journal, pblk);
  };
  state.off = () => {
    Object.assign(journal, { start, write, create, forget });
  };
  return state;
}
