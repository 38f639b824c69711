// Goal: no journal, however broken, hangs recovery, traps, throws anything but a typed error, or gets a block written
// that is not a home block of the file system. Method: random damage to real logs (bytes, words, blocks moved, zeroed),
// half of the time with superblock, block and commit sums made right again so that the damage is believed.

import { expect, test } from 'vitest';
import { ABI_HEAP } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/jbd2.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import { Ext4Error } from '../../ts/errno.ts';
import type { Flow } from '../../ts/flow.ts';
import { dumpJournal } from '../../ts/jbd2/dump.ts';
import { commitChecksum, tailChecksum } from '../../ts/jbd2/records.ts';
import { finishRecovery, readLog, writeHome } from '../../ts/jbd2/recovery.ts';
import type { LogFormat } from '../../ts/jbd2/super.ts';
import { superChecksum } from '../../ts/jbd2/super.ts';
import { DEEP, need } from '../need.ts';
import { type Image, imageBytes, kernels, openImage, run, sourceOf } from './image.ts';
import { random, seedOf } from './random.ts';

const ROUNDS = DEEP ? 5000 : 250;
const WORDS = [0, 1, 2, 5, 0x7fffffff, 0x80000000, 0xffffffff, F.JBD2_MAGIC_NUMBER, 0x3ff, 0x400];

/** One image on one device, damaged and put right again round after round. */
class Patient {
  readonly image: Image;
  readonly device;
  readonly #dv: DataView;
  readonly #live: number[];
  readonly #rnd: () => number;
  readonly #format: LogFormat;
  #dirty = new Set<number>();

  constructor(name: string, seed: number) {
    this.image = openImage(imageBytes('crash', name));
    this.device = memoryDevice(this.image.bytes);
    this.#rnd = random(seed);
    const { format, head } = run(readLog(sourceOf(this.image, this.device)));
    this.#format = format;
    const fast = Array.from(
      { length: format.fcEnd - format.fcFirst },
      (_, i) => format.fcFirst + i,
    );
    this.#live = [...Array(head + 2).keys(), ...fast.slice(0, 20)];
    this.#dv = new DataView(new ArrayBuffer(this.image.blockSize));
  }

  #below(n: number): number {
    return Math.floor(this.#rnd() * n);
  }

  #pick(): number {
    return this.#rnd() < 0.15 ? 0 : this.#live[this.#below(this.#live.length)];
  }

  get #block(): Uint8Array {
    return new Uint8Array(this.#dv.buffer);
  }

  #pos(jblk: number): number {
    return this.image.journal[jblk] * this.image.blockSize;
  }

  damage(): void {
    const sumAgain = this.#rnd() < 0.5;
    for (let n = 1 + this.#below(4); n > 0; n--) {
      const jblk = this.#pick();
      this.device.readSync(this.#block, this.#pos(jblk));
      this.#change();
      if (sumAgain) this.#sum(jblk);
      this.device.writeSync(this.#block, this.#pos(jblk));
      this.#dirty.add(jblk);
    }
  }

  /** Damages the block at hand: mostly near its start, where the fields are. */
  #change(): void {
    const { blockSize } = this.image;
    const off = this.#rnd() < 0.7 ? this.#below(0x60) : this.#below(blockSize - 4);
    const way = this.#rnd();
    if (way < 0.4) this.#dv.setUint8(off, this.#below(256));
    else if (way < 0.8) this.#dv.setUint32(off & ~3, WORDS[this.#below(WORDS.length)]);
    else if (way < 0.9) this.device.readSync(this.#block, this.#pos(this.#pick()));
    else if (way < 0.95) this.#block.fill(0);
    else for (let i = 0; i < 64; i++) this.#dv.setUint8(this.#below(blockSize), this.#below(256));
  }

  /** Makes the sum of the block at hand right, whatever it says it is. */
  #sum(jblk: number): void {
    const k = kernels();
    k.u8.set(this.#block, ABI_HEAP);
    const type = this.#dv.getUint32(F.H_BLOCKTYPE);
    const last = this.image.blockSize - F.JBD2_TAIL_SIZE;
    if (jblk === 0) this.#dv.setUint32(F.JS_CHECKSUM, superChecksum(k, ABI_HEAP));
    else if (!this.#format.summed) return;
    else if (type === F.JBD2_COMMIT_BLOCK) {
      this.#dv.setUint32(F.H_CHKSUM, commitChecksum(k, ABI_HEAP, this.#format));
    } else if (type === F.JBD2_DESCRIPTOR_BLOCK || type === F.JBD2_REVOKE_BLOCK) {
      this.#dv.setUint32(last, tailChecksum(k, ABI_HEAP, this.#format));
    }
  }

  heal(written: { dpos: number; len: number }[]): void {
    for (const jblk of this.#dirty)
      written.push({ dpos: this.#pos(jblk), len: this.image.blockSize });
    for (const { dpos, len } of written) {
      this.device.writeSync(this.image.bytes.subarray(dpos, dpos + len), dpos);
    }
    this.#dirty.clear();
  }
}

/** Runs a flow that must end, in a typed error at worst, within a number of requests that the log's length bounds. */
function attempt<T>(patient: Patient, flow: Flow<T>, written: { dpos: number; len: number }[]) {
  let left = 8 * patient.image.journal.length;
  try {
    return run(flow, (r) => {
      if (left-- <= 0) throw new Error('too many requests');
      if (r.op === 'write') written.push({ dpos: r.dpos, len: r.from.length });
    });
  } catch (error) {
    if (!(error instanceof Ext4Error)) throw error;
    return error;
  }
}

function round(patient: Patient, journal: Set<number>): 'refused' | 'replayed' {
  const { image, device } = patient;
  const source = sourceOf(image, device);
  const written: { dpos: number; len: number }[] = [];
  attempt(
    patient,
    dumpJournal(source, () => {}),
    written,
  );
  attempt(patient, readLog(source, { damaged: 'skip' }), written);
  expect(written).toEqual([]);
  const recovery = attempt(patient, readLog(source), written);
  if (recovery instanceof Ext4Error) {
    patient.heal(written);
    return 'refused';
  }
  for (const home of recovery.blocks.keys()) {
    if (home >= image.blocks || journal.has(home)) throw new Error(`home block ${home}`);
  }
  const home = attempt(patient, writeHome(source, recovery), written);
  const end = attempt(patient, finishRecovery(source, recovery), written);
  expect(home ?? end).toBe(undefined);
  expect(run(readLog(source)).needed).toBe(false);
  patient.heal(written);
  return 'replayed';
}

need.describe('random damage to journals', [need.oracles()], () => {
  for (const name of [
    'ordered_1k.img',
    'ordered_nocsum.img',
    'ordered_csum1.img',
    'async_csum3.img',
    'revoke_lf.img',
    'revoke_nocsum32.img',
    'fast_commit_1k.img',
    'fast_commit.img',
  ]) {
    test(`${name}: every damaged log is replayed or refused in bounded time`, {
      timeout: 300_000,
    }, () => {
      const seed = seedOf();
      const patient = new Patient(name, seed);
      const journal = new Set(patient.image.journal);
      const outcome = { refused: 0, replayed: 0 };
      for (let i = 0; i < ROUNDS; i++) {
        patient.damage();
        try {
          outcome[round(patient, journal)]++;
        } catch (error) {
          throw new Error(`SEED=${seed} round ${i}: ${(error as Error).message}`, { cause: error });
        }
      }
      expect(outcome.refused).toBeGreaterThan(0);
      expect(outcome.replayed).toBeGreaterThan(0);
    });
  }
});
