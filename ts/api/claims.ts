// Who uses a device in this process: mounts share one that none of them writes, and nothing shares it with a mount, a
// mkfs or a repair that does.

import type { BlockDevice } from '../block/device.ts';
import { Ext4Error } from '../errno.ts';
import { nameError } from './work.ts';

/** How often each device is mounted; -1 for once and writable. */
const users = new WeakMap<BlockDevice, number>();

/** Counts a user in, and returns what counts it out again, once. EBUSY, with the syscall's name. */
export function claim(device: BlockDevice, writable: boolean, syscall: string): () => void {
  const before = users.get(device) ?? 0;
  if (before !== 0 && (writable || before < 0)) {
    const why = before < 0 ? 'the device is mounted, made or mended' : 'the device is mounted';
    throw nameError(new Ext4Error('EBUSY', why), { syscall });
  }
  users.set(device, writable ? -1 : before + 1);
  let held = true;
  return () => {
    if (held) users.set(device, writable ? 0 : (users.get(device) ?? 1) - 1);
    held = false;
  };
}
