// The first half of the tour without an image: a file system of our own, in memory. Format, store, zero part of a
// block, fsync, cut the power, recover, check; every figure printed is measured or compared here.

import { deflateSync } from 'node:zlib';
import { coreOf } from '../api/fs.ts';
import { record } from '../block/index.ts';
import { memoryDevice } from '../block/memory.ts';
import { fsckSync, mkfsSync, mountSync } from '../index.ts';
import { binarySize } from './format.ts';
import { picture } from './picture.ts';

/** How the tour speaks. */
export interface Voice {
  heading(title: string, remark?: string): Promise<void>;
  line(text: string): Promise<void>;
  check(good: boolean, text: string): Promise<void>;
}

const SIZE = 256 << 20;
const NOTES = 200;
/** Bytes of a file that is being written when the power goes. */
const LOST = 48 << 20;
/** The same bytes each time: so the disk before the first write can be made again. */
const OPTIONS = {
  label: 'journey',
  uuid: '6a6f7572-6e65-7921-8000-000000000001',
  hashSeed: '6a6f7572-6e65-7921-8000-000000000002',
  now: 1_767_225_600,
};

function timed<T>(work: () => T): { result: T; ms: string } {
  const start = performance.now();
  const result = work();
  return { result, ms: `${(performance.now() - start).toFixed(1)} ms` };
}

/** Takes the journey; nothing is left behind. */
export async function journey(say: Voice): Promise<void> {
  const disk = memoryDevice(SIZE, { sparse: true });
  const formatted = timed(() => mkfsSync(disk, OPTIONS));
  await say.heading('A file system of our own', `ext4 mkfs, ${binarySize(SIZE)} in memory`);
  await say.line(`formatted in ${formatted.ms}`);
  const recorder = record(disk);
  const img = mountSync(recorder);
  const pictures = [0, 1, 2].map((n) => picture(640, 480, n, deflateSync));
  const stored = timed(() => {
    img.mkdirSync('/pictures');
    img.mkdirSync('/notes');
    for (const [n, bytes] of pictures.entries()) img.writeFileSync(`/pictures/${n}.png`, bytes);
    for (let n = 0; n < NOTES; n++) img.writeFileSync(`/notes/${n}.txt`, `note ${n}\n`.repeat(20));
  });
  const synced = timed(() => coreOf(img).runSync(coreOf(img).syncAll()));
  const bytes = pictures.reduce((sum, one) => sum + one.length, 0);
  await say.line(
    `3 pictures of ${binarySize(bytes)} and ${NOTES} notes stored in ${stored.ms}, ` +
      `durable in ${synced.ms}`,
  );
  const fd = img.openSync('/pictures/2.png', 'r+');
  const zeroed = timed(() => {
    img.zeroRangeSync(fd, 1000, 500);
    img.fsyncSync(fd);
  });
  const path = img.dataPathSync(fd);
  await say.line(`500 bytes of a picture zeroed in place (${path} path), fsync: ${zeroed.ms}`);
  img.closeSync(fd);
  pictures[2].fill(0, 1000, 1500);
  img.writeFileSync('/never-synced', new Uint8Array(LOST).fill(7));
  await cut(say, recorder, pictures);
  img.unmountSync();
}

type Recorder = ReturnType<typeof record>;

async function cut(say: Voice, recorder: Recorder, pictures: Uint8Array[]): Promise<void> {
  await say.heading('The power goes', 'half of the writes that no flush covers are lost');
  const { durable, pending } = recorder.cut();
  await say.line(`${durable.length} writes were durable, ${pending.length} were on their way`);
  const after = memoryDevice(SIZE, { sparse: true });
  mkfsSync(after, OPTIONS);
  recorder.replaySync(after, (some) => some.filter((_, i) => i % 2 === 0));
  const recovered = timed(() => mountSync(after));
  const img = recovered.result;
  const { transactions } = img.info().journal;
  await say.line(`mounted again in ${recovered.ms}: ${transactions} transactions replayed`);
  const same = pictures.every(
    (bytes, n) => Buffer.compare(img.readFileSync(`/pictures/${n}.png`), bytes) === 0,
  );
  await say.check(same, 'every byte of the pictures is there, and the zeroes');
  const notes = img.readdirSync('/notes');
  await say.check(notes.length === NOTES, `all ${NOTES} notes are there`);
  img.unmountSync();
  const checked = timed(() => fsckSync(after, { force: true }));
  const { clean, problems } = checked.result;
  await say.check(clean, `ext4 fsck: ${problems.length} problems, in ${checked.ms}`);
}
