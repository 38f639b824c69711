// What a mount that writes does when a record of the image turns out to be broken: the options errors=continue,
// remount-ro and panic, by default what the superblock says. The operation has failed already, and changed nothing.

import * as F from '../../assembly/format/ext4.ts';
import { Ext4Error } from '../errno.ts';
import { noteDamage } from '../ext4/damage.ts';
import type { Ext4Volume } from '../ext4/volume.ts';
import type { MountOptions } from './options.ts';
import type { Driver } from './turn.ts';

type Policy = NonNullable<MountOptions['errors']>;

/** By s_errors. */
const POLICIES: (Policy | undefined)[] = [undefined, 'continue', 'remount-ro', 'panic'];

/** From now on: 'continue' notes the error in the superblock, 'remount-ro' aborts the journal, so that every change is
 *  EROFS, 'panic' stops everything: every call is EIO. */
export function watchDamage(driver: Driver, vol: Ext4Volume, o: MountOptions): void {
  const policy = o.errors ?? POLICIES[vol.sb.u16(F.S_ERRORS)] ?? 'continue';
  let last: unknown = null;
  driver.onError = (error) => {
    if (!isDamage(error) || error === last || vol.journal!.aborted !== null) return;
    last = error;
    vol.trace.emit('damage', { code: error.code, ...error.detail, policy });
    if (policy === 'continue') return driver.runAside(noteDamage, vol, error);
    if (policy === 'panic') vol.down = true;
    if (driver.sync) driver.background.failSync(error);
    else void driver.background.fail(error);
  };
}

function isDamage(error: unknown): error is Ext4Error {
  return error instanceof Ext4Error && (error.code === 'EUCLEAN' || error.code === 'EBADMSG');
}
