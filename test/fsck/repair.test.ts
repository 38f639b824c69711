// Goal: what `fsck -y` mends passes e2fsck, and what it cannot mend it says. Method: every image of the oracles that is
// not clean, and those that the kernel was cut off on; a copy is mended and e2fsck looks at it. What stays unmended is
// named here with its reason.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { runFsckSync } from '../../ts/fsck/run.ts';
import { need, which } from '../need.ts';
import { imageBytes, imageNames } from '../oracle/images.ts';

/** Exit code 4, and why. */
const LEFT: Record<string, string> = {
  'cap_j_corrupt_ext_jnl_sb_csum.2': 'its journal lies on a device that is not there',
  f_ext_journal: 'its journal lies on a device that is not there',
  f_bb_in_bb: 'the root inode lies in a block on the list of bad blocks',
  f_cloneblock_alloc_error: 'no free block for the copy of a shared one',
  f_nospc_create_lnf: 'no free inode for lost+found',
  fast_commit: 'fast commits are not written home',
  fast_commit_1k: 'fast commits are not written home',
  fast_commit_write: 'fast commits are not written home',
};

/** Mended by our measure, not by e2fsck's, and why. */
const DISPUTED: Record<string, string> = {
  f_inlinedata_repair:
    'e2fsck does not count a symlink with inline data among those that share a block',
};

const dir = mkdtempSync(join(tmpdir(), 'fsck-repair-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** What is wrong with the repair of an image; '' when nothing is. */
function fault(folder: string, name: string): string {
  const bytes = imageBytes(folder, `${name}.img`);
  const whole = new Uint8Array(Math.ceil(bytes.length / 512) * 512);
  whole.set(bytes);
  const device = memoryDevice(whole, { sparse: true });
  const { exitCode, problems } = runFsckSync(device, { repair: true });
  if (exitCode === 0 || exitCode === 8) return '';
  const last = problems.at(-1)?.message ?? '';
  if (exitCode === 4) return name in LEFT ? '' : `${name}: not mended: ${last}`;
  if (name in LEFT) return `${name}: mended, and listed as not`;
  device.readSync(whole, 0);
  const path = join(dir, 'mended.img');
  writeFileSync(path, whole.subarray(0, bytes.length));
  const options = { timeout: 60_000, killSignal: 'SIGKILL' as const };
  const { status } = spawnSync(which('e2fsck'), ['-fn', path], options);
  return (status === 0) !== name in DISPUTED
    ? ''
    : `${name}: mended, then e2fsck ends with ${status}`;
}

need.describe('fsck -y', [need.oracles(), need.tool('e2fsck')], () => {
  test.each(['images', 'crash'])(
    'mends what e2fsck then finds clean: %s',
    (folder) => {
      const faults = imageNames(folder).map((name) => fault(folder, name));
      expect(faults.filter(Boolean)).toEqual([]);
    },
    400_000,
  );
});
