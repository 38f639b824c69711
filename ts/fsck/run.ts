// Runs a check on a device: every request of the flow served as it comes.

import { type BlockDevice, isSyncDevice } from '../block/device.ts';
import { Ext4Error } from '../errno.ts';
import { type IoRequest, serve, serveSync } from '../flow.ts';
import { type FsckOptions, type FsckResult, fsckFlow } from './check.ts';

/** Checks, and where asked mends, inside the call. EINVAL for a device without synchronous forms. */
export function runFsckSync(device: BlockDevice, o: FsckOptions = {}): FsckResult {
  if (!isSyncDevice(device)) throw new Ext4Error('EINVAL', 'the device has no synchronous forms');
  const flow = fsckFlow(device, o);
  let r = flow.next();
  while (!r.done) {
    serveSync(r.value as IoRequest);
    r = flow.next();
  }
  return r.value;
}

export async function runFsck(device: BlockDevice, o: FsckOptions = {}): Promise<FsckResult> {
  const flow = fsckFlow(device, o);
  let r = flow.next();
  while (!r.done) {
    await serve(r.value as IoRequest);
    r = flow.next();
  }
  return r.value;
}
