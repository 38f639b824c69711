// mount and mountSync: options checked, one mount a device unless all of them are read-only, errors named.

import type { BlockDevice } from '../block/device.ts';
import { type FileSystem, mountVfs, mountVfsSync } from '../vfs/filesystem.ts';
import type { LentOptions, MountOptions } from '../vfs/options.ts';
import { claim } from './claims.ts';
import { Ext4 } from './fs.ts';
import { checkMountOptions } from './options.ts';
import { bulkCopy, processUmask } from './platform.ts';
import { nameError } from './work.ts';

const MOUNT = { syscall: 'mount' };

/** The options, checked, and what Node lends: its way to copy bytes, and its umask unless told otherwise. */
function prepared(options: unknown): LentOptions {
  return { umask: processUmask(), bulkCopy: bulkCopy(), ...checkMountOptions(options) };
}

/** Counts a mount in. EBUSY. */
function claimMount(device: BlockDevice, { ro }: MountOptions): () => void {
  return claim(device, !device.readOnly && ro !== true, MOUNT.syscall);
}

/**
 * Mounts an ext2, ext3 or ext4 file system. EINVAL for bad options or no such file system, EOPNOTSUPP for a
 * feature that cannot be read, EUCLEAN and EBADMSG for a damaged one, EBUSY when the device is mounted already
 * and either is writable. On such a mount the synchronous functions throw.
 */
export async function mount(device: BlockDevice, options?: MountOptions): Promise<Ext4> {
  const checked = prepared(options);
  const release = claimMount(device, checked);
  try {
    return new Ext4(await mountVfs(device, checked), release);
  } catch (error) {
    release();
    throw nameError(error, MOUNT);
  }
}

/** The same inside the call, for a device with synchronous forms: every function of the mount works. */
export function mountSync(device: BlockDevice, options?: MountOptions): Ext4 {
  const checked = prepared(options);
  const release = claimMount(device, checked);
  let vfs: FileSystem;
  try {
    vfs = mountVfsSync(device, checked);
  } catch (error) {
    release();
    throw nameError(error, MOUNT);
  }
  return new Ext4(vfs, release);
}
