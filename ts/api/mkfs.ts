// mkfs and mkfsSync: a new file system on a device. Errors carry the syscall's name; SOURCE_DATE_EPOCH gives the time
// where the platform has an environment and the caller gave none.

import type { BlockDevice } from '../block/device.ts';
import { isSyncDevice } from '../block/device.ts';
import { Ext4Error } from '../errno.ts';
import { run, runSync } from '../mkfs/drive.ts';
import { mkfsFlow, planMkfs } from '../mkfs/mkfs.ts';
import type { MkfsOptions, MkfsResult, Tree } from '../mkfs/options.ts';
import { type Target, zeroLog } from '../mkfs/write.ts';
import type { MountOptions } from '../vfs/options.ts';
import { claim } from './claims.ts';
import { mount, mountSync } from './mount.ts';
import { populate, populateSync, stepsOf } from './populate.ts';
import { nameError } from './work.ts';

const MKFS = { syscall: 'mkfs' };

/**
 * Makes a file system on a device: what was there is lost. EINVAL, with one line that says why, for what cannot be
 * made: then nothing has been written. EROFS for a read-only device.
 */
export async function mkfs(device: BlockDevice, options: MkfsOptions = {}): Promise<MkfsResult> {
  try {
    const { tree, ...rest } = options;
    const given = timed(rest);
    if (tree) refuseOffset(given, stepsOf(tree));
    const flow = mkfsFlow(writable(device), given);
    const release = claim(device, true, MKFS.syscall);
    const made = await run(flow).finally(release);
    if (tree === undefined) return made;
    const img = await mount(device, filling(given));
    await populate(img, tree).finally(() => img.unmount());
    if (given.now !== undefined) await run(zeroLog(whole(device), made));
    return made;
  } catch (error) {
    throw nameError(error, MKFS);
  }
}

/** The same inside the call, for a device with synchronous forms. */
export function mkfsSync(device: BlockDevice, options: MkfsOptions = {}): MkfsResult {
  try {
    if (!isSyncDevice(device)) throw new Ext4Error('EINVAL', 'the device is asynchronous');
    const { tree, ...rest } = options;
    const given = timed(rest);
    if (tree) refuseOffset(given, stepsOf(tree));
    const made = makeSync(device, given);
    if (tree === undefined) return made;
    fillSync(device, tree, filling(given));
    if (given.now !== undefined) runSync(zeroLog(whole(device), made));
    return made;
  } catch (error) {
    throw nameError(error, MKFS);
  }
}

/** The flow inside the call, the device its own meanwhile. EBUSY. */
function makeSync(device: BlockDevice, options: MkfsOptions): MkfsResult {
  const release = claim(device, true, MKFS.syscall);
  try {
    return runSync(mkfsFlow(writable(device), options));
  } finally {
    release();
  }
}

/** What would be made on a device of `size` bytes; nothing is written. EINVAL as from mkfs. */
export function checkMkfs(size: number, options: MkfsOptions = {}): MkfsResult {
  try {
    return planMkfs(size, timed(options));
  } catch (error) {
    throw nameError(error, MKFS);
  }
}

/** What is made there is root's, with the modes that were asked for; of the time that was asked for. */
function filling({ now }: MkfsOptions): MountOptions {
  const root = { umask: 0, uid: 0, gid: 0 };
  return now === undefined ? root : { ...root, now: secondsOf(now) };
}

function secondsOf(now: number | Date): number {
  return Math.floor(typeof now === 'number' ? now : now.getTime() / 1000);
}

function whole(device: BlockDevice): Target {
  return { device, offset: 0, size: device.size, zeroed: false };
}

function fillSync(device: BlockDevice, tree: Tree, options: MountOptions): void {
  const img = mountSync(device, options);
  try {
    populateSync(img, tree);
  } finally {
    img.unmountSync();
  }
}

/** The tree is checked by now; a mount begins where the device begins. */
function refuseOffset(options: MkfsOptions, steps: unknown[]): void {
  if (steps.length === 0 || !options.offset) return;
  throw new Ext4Error('EINVAL', 'a tree is put in at offset 0 only: give a part of the device');
}

function writable(device: BlockDevice): BlockDevice {
  if (device.readOnly) throw new Ext4Error('EROFS', 'the device is read-only');
  return device;
}

function timed(options: MkfsOptions): MkfsOptions {
  if (options.now !== undefined) return options;
  const host = globalThis as { process?: { env?: Record<string, string | undefined> } };
  const text = host.process?.env?.SOURCE_DATE_EPOCH;
  if (text === undefined || text === '') return options;
  if (!/^\d+$/.test(text)) throw new Ext4Error('EINVAL', `SOURCE_DATE_EPOCH '${text}' is no time`);
  return { ...options, now: Number(text) };
}
