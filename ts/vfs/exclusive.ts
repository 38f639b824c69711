// Operations on the whole mount: a transaction of the user's, which nobody else's operations come between; and
// stopping all writing, as a crash would.

import { Ext4Error } from '../errno.ts';
import { hold, release, rollBack, type Snapshot } from '../ext4/rollback.ts';
import type { Ext4Volume } from '../ext4/volume.ts';
import { writeBackAll } from '../ext4/writeback.ts';
import { commit, type Flow, step, writeBack, writeBackFile } from '../flow.ts';
import type { Session } from './mount.ts';

/** As EXT4_IOC_SHUTDOWN: all is flushed first, or only the log, or nothing. */
export type ShutdownMode = 'default' | 'logflush' | 'nologflush';

/** Runs `fn` with nobody beside it, all of its changes in one commit; a throw takes all of them back. File data
 *  stays in the cache until the end: what does not fit there, or into one transaction, is ENOMEM or ENOSPC. */
export async function exclusively<T>(session: Session, fn: () => Promise<T>): Promise<T> {
  const { driver, vol } = session;
  while (session.gate !== null) await session.gate;
  let open = () => {};
  session.gate = new Promise((done) => {
    open = done;
  });
  try {
    await driver.idle();
    await driver.run(durableAndHome());
    const before = await driver.run(step(hold, vol));
    const result = await orBack(session, before, fn);
    await driver.run(finish(vol));
    return result;
  } finally {
    session.gate = null;
    open();
  }
}

async function orBack<T>(
  { driver, vol }: Session,
  before: Snapshot,
  fn: () => Promise<T>,
): Promise<T> {
  try {
    return await fn();
  } catch (error) {
    await driver.idle();
    await driver.run(step(rollBack, vol, before));
    await driver.run(step(release, vol));
    throw error;
  }
}

function* durableAndHome(): Flow<void> {
  yield* writeBackFile(0);
  yield* writeBack();
  // What the first commit left for the next one: blocks that it moved on from.
  yield* writeBack();
}

/** Data first, its mapping in the same transaction; then the one commit. */
function* finish(vol: Ext4Volume): Flow<void> {
  const error = yield* writeBackAll(vol, 0);
  yield* step(release, vol);
  yield* commit();
  if (error !== undefined) throw error;
}

/** Stops everything: from here on every call is EIO, and nothing is written any more. */
export function* shutDown(vol: Ext4Volume, mode: ShutdownMode): Flow<void> {
  if (vol.journal === null) throw new Ext4Error('EROFS');
  if (mode === 'default') {
    yield* writeBackFile(0);
    yield* writeBack();
  } else if (mode === 'logflush') yield* commit();
  yield* step(stopStep, vol);
}

function stopStep(vol: Ext4Volume): void {
  vol.down = true;
  vol.journal!.abort('EIO');
}
