// Goal: a power cut at any write of the recovery that a mount does leaves an image that the next mount recovers to
// the same bytes and the same tree. Method: the whole library mounts the oracles' crash images on a recorder; after
// each cut, what had to be there and any part of the rest, torn into sectors, is mounted again.

import { expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { type ChangeRecord, record, tear, type WriteRecord } from '../../ts/block/record.ts';
import { mountSync } from '../../ts/index.ts';
import { type Random, random } from '../fuzz/random.ts';
import { DEEP, need } from '../need.ts';
import { imageBytes } from '../oracle/images.ts';
import { differences, dumpTree, type State, syncFace } from '../oracle/state.ts';

const SEED = Number(process.env.CRASH_SEED ?? Date.now() % 1_000_000_000);
const CUTS = DEEP ? 60 : 12;
const IMAGES = [
  'ordered_1k',
  'ordered_csum1',
  'async_csum1',
  'journal_falloc',
  'revoke_indirect',
  'orphan_file',
];

type Device = ReturnType<typeof memoryDevice>;

function bytesOf(device: Device): Buffer {
  const bytes = Buffer.alloc(device.size);
  device.readSync!(bytes, 0);
  return bytes;
}

/** Mounts with replay, unmounts, and gives the tree that was there. */
async function recover(device: Parameters<typeof mountSync>[0]): Promise<State> {
  const fs = mountSync(device, { ro: true, journal: 'replay', cacheBytes: 16 << 20 });
  const state = await dumpTree(syncFace(fs));
  fs.unmountSync();
  return state;
}

/** The superblock's checksum spans two sectors: like the kernel, a mount refuses half a superblock, and only fsck
 *  looks for a backup. Its write is taken to be one. */
function holdsSuper({ dpos, bytes }: WriteRecord): boolean {
  return dpos <= 1024 && dpos + bytes.length >= 2048;
}

/** A random part of the pending writes, some of them torn. */
function some(draw: Random): (pending: ChangeRecord[]) => ChangeRecord[] {
  const part = draw.pick([0, 0.3, 0.7, 1]);
  return (pending) =>
    pending.flatMap((change) => {
      if (!draw.chance(part)) return [];
      if (change.kind !== 'write' || holdsSuper(change) || draw.chance(0.6)) return [change];
      const sectors = change.bytes.length / 512;
      const from = draw.int(sectors);
      return [tear(change, from, from + 1 + draw.int(sectors - from))];
    });
}

need.describe('power cuts while a mount replays the journal', [need.oracles()], () => {
  test.each(IMAGES)(
    `%s recovers to the same bytes and tree, seed ${SEED}`,
    { timeout: 240_000 },
    async (name) => {
      const base = imageBytes('crash', `${name}.img`);
      const whole = memoryDevice(base);
      const recorder = record(whole);
      const tree = await recover(recorder);
      const final = bytesOf(whole);
      expect(final.equals(base)).toBe(false);
      expect(recorder.log.filter(({ kind }) => kind === 'write').length).toBeGreaterThan(2);

      const draw = random(SEED);
      const faults: string[] = [];
      for (let i = 0; i <= CUTS; i++) {
        const clock = Math.round((recorder.clock * i) / CUTS);
        const device = memoryDevice(base);
        recorder.replaySync(device, some(draw), clock);
        const again = await recover(device);
        if (!bytesOf(device).equals(final)) faults.push(`cut at ${clock}: other bytes`);
        faults.push(...differences(again, tree).map((text) => `cut at ${clock}: ${text}`));
      }
      expect(faults).toEqual([]);
    },
  );
});
