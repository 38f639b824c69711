// fsck and fsckSync: a check of a device that nobody has mounted, options checked, errors named.

import type { BlockDevice } from '../block/device.ts';
import { Ext4Error } from '../errno.ts';
import type { FsckOptions, FsckResult } from '../fsck/check.ts';
import type { Problem } from '../fsck/report.ts';
import { runFsck, runFsckSync } from '../fsck/run.ts';
import { type FileSystem, mountVfs, mountVfsSync } from '../vfs/filesystem.ts';
import { claim } from './claims.ts';
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
  const release = hold(device, checked);
  try {
    const written = checked.repair ? await writeFast(device, checked) : 0;
    return withWritten(await runFsck(device, checked), written, checked);
  } catch (error) {
    throw nameError(error, FSCK);
  } finally {
    release();
  }
}

/** The same inside the call, for a device with synchronous forms. */
export function fsckSync(device: BlockDevice, options?: FsckOptions): FsckResult {
  const checked = prepared(device, options);
  const release = hold(device, checked);
  try {
    const written = checked.repair ? writeFastSync(device, checked) : 0;
    return withWritten(runFsckSync(device, checked), written, checked);
  } catch (error) {
    throw nameError(error, FSCK);
  } finally {
    release();
  }
}

/** A repair has the device alone. EBUSY while it is mounted. What only looks does not mind. */
function hold(device: BlockDevice, { repair }: FsckOptions): () => void {
  return repair ? claim(device, true, FSCK.syscall) : () => undefined;
}

// Fast commits change structures, which a check does not know how to do in a tree that it has not looked at: where they
// fit the tree, a mount writes them home first; where not, the check says so.

/** How many fast commits a mount wrote home. */
async function writeFast(device: BlockDevice, { journalDevice }: FsckOptions): Promise<number> {
  for (const journal of ['memory', 'replay'] as const) {
    try {
      const fs = await mountVfs(device, { ro: true, journal, journalDevice });
      const found = lookAt(fs);
      await fs.run(fs.unmount());
      if (found.pending === 0) return found.written;
    } catch (error) {
      passDamage(error);
      return 0;
    }
  }
  return 0;
}

function writeFastSync(device: BlockDevice, { journalDevice }: FsckOptions): number {
  for (const journal of ['memory', 'replay'] as const) {
    try {
      const fs = mountVfsSync(device, { ro: true, journal, journalDevice });
      const found = lookAt(fs);
      fs.runSync(fs.unmount());
      if (found.pending === 0) return found.written;
    } catch (error) {
      passDamage(error);
      return 0;
    }
  }
  return 0;
}

/** Fast commits that a mount found: still in the journal, or written home. */
function lookAt(fs: FileSystem): { pending: number; written: number } {
  const { state, fastCommits } = fs.info().journal;
  const isHome = state === 'replayed';
  return { pending: isHome ? 0 : fastCommits, written: isHome ? fastCommits : 0 };
}

/** What is wrong with the image is for the check to say. */
function passDamage(error: unknown): void {
  if (!(error instanceof Ext4Error) || error.code === 'EIO') throw error;
}

/** The result, with what was done before the check. */
function withWritten(result: FsckResult, count: number, o: FsckOptions): FsckResult {
  if (count === 0) return result;
  const message = `the journal was not replayed: ${count} fast commits`;
  const problem: Problem = { code: 'fast-commits', pass: 0, message, fixed: true };
  o.onProblem?.(problem);
  result.problems.unshift(problem);
  result.problemCount++;
  if (result.exitCode === 0) result.exitCode = 1;
  return result;
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
