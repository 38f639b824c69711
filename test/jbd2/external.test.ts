// Goal: a journal on a device of its own is read by the same code: block numbers count from the device's start, its
// superblock follows the file system's. Method: the log of an image cut by the kernel is moved to a second device and
// must replay as before, its old place on the first device being a block like any other; and a found journal device.

import { expect, test } from 'vitest';
import { ABI_HEAP } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/jbd2.ts';
import type { BlockDevice } from '../../ts/block/device.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import { finishRecovery, readLog, writeHome } from '../../ts/jbd2/recovery.ts';
import type { JournalSource } from '../../ts/jbd2/source.ts';
import { superChecksum } from '../../ts/jbd2/super.ts';
import { need } from '../need.ts';
import { contents, imageBytes, kernels, openImage, run, same, sourceOf } from './image.ts';

const AT = 2; // the superblock's place with blocks of 1 KiB

/** The image's journal behind two more blocks, its superblock saying so. */
function moveOut(bytes: Uint8Array): Uint8Array {
  const { journal, blockSize } = openImage(bytes);
  const out = new Uint8Array((journal.length + AT) * blockSize);
  journal.forEach((pblk, i) => {
    out.set(bytes.subarray(pblk * blockSize, (pblk + 1) * blockSize), (i + AT) * blockSize);
  });
  const k = kernels();
  const at = AT * blockSize;
  const dv = new DataView(out.buffer, at);
  for (const field of [F.JS_FIRST, F.JS_START, F.JS_MAXLEN]) {
    dv.setUint32(field, dv.getUint32(field) + AT);
  }
  k.u8.set(out.subarray(at, at + F.JBD2_SB_SIZE), ABI_HEAP);
  dv.setUint32(F.JS_CHECKSUM, superChecksum(k, ABI_HEAP));
  return out;
}

function sourceOn(device: BlockDevice, home: BlockDevice): JournalSource {
  return {
    device,
    blockSize: 1024,
    length: device.size / 1024,
    superBlock: AT,
    locate: (jblk) => jblk * 1024,
    home: { device: home, blocks: home.size / 1024 },
    kernels: kernels(),
    window: { ptr: ABI_HEAP, bytes: 65536 },
  };
}

need.describe('a journal on its own device', [need.oracles()], () => {
  test('replays as it does inside, and only the devices that should be are written', () => {
    const image = openImage(imageBytes('crash', 'ordered_1k.img'));
    const home = memoryDevice(image.bytes);
    const before = moveOut(image.bytes);
    const device = memoryDevice(before);
    const source = sourceOn(device, home);
    const recovery = run(readLog(source));
    run(writeHome(source, recovery));
    expect(same(contents(device), before)).toBe(true);
    run(finishRecovery(source, recovery));

    const inside = memoryDevice(image.bytes);
    run(writeHome(sourceOf(image, inside), run(readLog(sourceOf(image, inside)))));
    expect(same(contents(home), contents(inside))).toBe(true);
    const after = contents(device);
    const at = AT * 1024;
    expect(same(after.subarray(0, at), before.subarray(0, at))).toBe(true);
    expect(same(after.subarray(at + 1024), before.subarray(at + 1024))).toBe(true);
    expect(run(readLog(source)).needed).toBe(false);
  });

  test('block numbers of its own are blocks of the file system like any other', () => {
    const bytes = imageBytes('crash', 'ordered_1k.img');
    const home = memoryDevice(bytes);
    const { blocks } = run(readLog(sourceOn(memoryDevice(moveOut(bytes)), home)));
    const low = [...blocks.keys()].filter((b) => b < openImage(bytes).journal.length);
    expect(low.length).toBeGreaterThan(0);
  });

  test('a found journal device is read where its own superblock says', () => {
    const bytes = imageBytes('images', 'j_corrupt_ext_jnl_sb_csum.jnlimg.dump.img');
    const source = sourceOn(memoryDevice(bytes), memoryDevice(2 << 20));
    const { sb, blocks, transactions } = run(readLog(source));
    expect(sb).toMatchObject({ s_first: 3, s_maxlen: 2048, s_start: 3, s_sequence: 1 });
    expect({ transactions, home: [...blocks.keys()] }).toEqual({ transactions: 1, home: [18, 34] });
  });
});
