// fsck and fsckSync: a check of a device that nobody has mounted, options checked, errors named.

import type { BlockDevice } from '../block/device.ts';
import { Ext4Error } from '../errno.ts';
import type { FsckOptions, FsckResult } from '../fsck/check.ts';
import { runFsck, runFsckSync } from '../fsck/run.ts';
import { invalidType } from './invalid.ts';
import { checkInteger } from './validate.ts';
import { nameError } from './work.ts';

const FSCK = { syscall: 'fsck' };
const NAMES = new Set(['repair', 'force', 'cacheBytes', 'journalDevice', 'progress', 'onProblem']);

/**
 * Checks an ext2, ext3 or ext4 file system, and with `repair` mends it. What is wrong with the image comes back in the
 * result (exit codes as e2fsck's, 8 when it could not be checked); EINVAL for bad options, EROFS for a repair of a
 * read-only device, and whatever the device throws.
 */
export async function fsck(device: BlockDevice, options?: FsckOptions): Promise<FsckResult> {
  const checked = prepared(device, options);
  try {
    return await runFsck(device, checked);
  } catch (error) {
    throw nameError(error, FSCK);
  }
}

/** The same inside the call, for a device with synchronous forms. */
export function fsckSync(device: BlockDevice, options?: FsckOptions): FsckResult {
  const checked = prepared(device, options);
  try {
    return runFsckSync(device, checked);
  } catch (error) {
    throw nameError(error, FSCK);
  }
}

function prepared(device: BlockDevice, options: FsckOptions = {}): FsckOptions {
  if (typeof options !== 'object' || options === null)
    throw invalidType('options', 'Object', options);
  for (const [name, value] of Object.entries(options)) {
    if (!NAMES.has(name)) throw new Ext4Error('EINVAL', `unknown fsck option '${name}'`);
    if (value === undefined) continue;
    if (name === 'repair' && typeof value !== 'boolean' && value !== 'preen')
      throw invalidType('options.repair', "boolean or 'preen'", value);
    if (name === 'force' && typeof value !== 'boolean')
      throw invalidType('options.force', 'boolean', value);
    if (name === 'cacheBytes')
      checkInteger(value, 'options.cacheBytes', 0, Number.MAX_SAFE_INTEGER);
  }
  if (options.repair && device.readOnly) {
    throw nameError(new Ext4Error('EROFS', 'the device is read-only'), FSCK);
  }
  return options;
}
