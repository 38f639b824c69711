// Power cuts under a file: what reaches the device from begin() on is recorded, and every cut of it is recovered by
// us. The size must be one between the last fsync and the cut; each byte below it must be one that the file had
// there in that time, or zero where the file did not reach. So what fsync acknowledged is there, and no byte is
// ever foreign.

import { expect } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { overlay } from '../../ts/block/overlay.ts';
import { type ChangeRecord, type Recorder, tear } from '../../ts/block/record.ts';
import { mountVfsSync } from '../../ts/vfs/filesystem.ts';
import { type Random, random } from '../fuzz/random.ts';
import { DEEP } from '../need.ts';
import { contents, fsck, tool } from '../write/images.ts';
import type { KernelLook } from './kernel.ts';
import type { KindName } from './kinds.ts';
import { readF, Subject, type SubjectOptions, sha1 } from './subject.ts';

const SUBSETS = DEEP ? 8 : 1;
/** Of so many cuts one is shown to e2fsck and the kernel. */
const SAMPLE = DEEP ? 7 : 23;

interface State {
  /** Clock when the operation that leads here began. */
  begun: number;
  bytes: Uint8Array;
  /** The operation moved data about: any byte may have been zero on the way. */
  moves: boolean;
}

export interface Survivor {
  bytes: Uint8Array;
  clock: number;
  where: string;
}

export class Crash {
  readonly subject: Subject;
  readonly #seed: number;
  #base: Uint8Array = new Uint8Array(0);
  readonly #states: State[] = [];
  /** Clock of an acknowledgement, and how many states were passed then. */
  readonly #acks: { clock: number; count: number }[] = [];
  constructor(kind: KindName, o: SubjectOptions = {}, seed = 1) {
    this.subject = new Subject(kind, { ...o, record: true });
    this.#seed = seed;
  }

  get #recorder(): Recorder {
    return this.subject.recorder as Recorder;
  }

  /** What is there now is on the disk; from here on it counts. */
  begin(): void {
    this.subject.sync();
    this.#base = this.subject.image();
    this.#recorder.forget();
    this.#states.push({ begun: 0, bytes: this.subject.read(), moves: false });
    this.#acks.push({ clock: 0, count: 0 });
  }

  /** One operation; whether it moved data about, if it says so. */
  op(act: (s: Subject) => unknown): void {
    const begun = this.#recorder.clock;
    const moves = act(this.subject) === true;
    this.#states.push({ begun, bytes: this.subject.read(), moves });
  }

  /** What was done is acknowledged. */
  fsync(dataOnly = false): void {
    this.subject.fsync(dataOnly);
    this.acknowledge();
  }

  acknowledge(): void {
    this.#acks.push({ clock: this.#recorder.clock, count: this.#states.length - 1 });
  }

  /** Recovers from every cut and looks; returns what came out, one for each cut. */
  survive(kernel?: KernelLook): Survivor[] {
    const lower = memoryDevice(this.#base, { sparse: true });
    const r = random(this.#seed);
    const found: Survivor[] = [];
    for (const { clock, kind, chosen } of this.#cuts(r)) {
      const where = `${this.subject.name}, cut at ${clock} of ${this.#recorder.clock}, ${kind}`;
      const cut = overlay(lower, memoryDevice(lower.size, { sparse: true }));
      this.#recorder.replaySync(cut, () => chosen, clock);
      const sampled = found.length % SAMPLE === this.#seed % SAMPLE;
      const before = sampled ? contents(cut as never) : null;
      const fs = mountVfsSync(cut, { cacheBytes: 8 << 20, dax: 'never' });
      const bytes = readF(fs);
      this.#judge(bytes, clock, where);
      fs.runSync(fs.unmount());
      if (before !== null) {
        expect(fsck(contents(cut as never)), where).toBe('');
        checkE2fsck(before, where);
        kernel?.expect(before, where, bytes.length, sha1(bytes));
      }
      found.push({ bytes, clock, where });
    }
    kernel?.done();
    return found;
  }

  /** All different cuts: nothing, all, or some of what is pending; writes may be torn. */
  *#cuts(r: Random): Generator<{ clock: number; kind: string; chosen: ChangeRecord[] }> {
    const seen = new Set<string>();
    for (let clock = 0; clock <= this.#recorder.clock; clock++) {
      const { pending, durable } = this.#recorder.cut(clock);
      const choices: [string, ChangeRecord[]][] = [
        ['none', []],
        ['all', pending],
      ];
      for (let i = 0; i < SUBSETS; i++) choices.push([`some ${i}`, some(pending, r)]);
      choices.push(['the last', pending.slice(-1)], ['all but the first', pending.slice(1)]);
      for (const [kind, chosen] of choices) {
        const acked = this.#acks.filter((a) => a.clock <= clock).length;
        const parts = [...durable, ...chosen].map(
          (c) => `${c.seq}:${c.kind === 'write' ? c.bytes.length : 0}`,
        );
        const key = `${acked} ${parts.sort().join()}`;
        if (seen.has(key)) continue;
        seen.add(key);
        yield { clock, kind, chosen };
      }
    }
  }

  #judge(bytes: Uint8Array, clock: number, where: string): void {
    const ack = this.#acks.filter((a) => a.clock <= clock).at(-1)!;
    const to = this.#states.filter((s) => s.begun <= clock).length;
    const states = this.#states.slice(ack.count, Math.max(to, ack.count + 1));
    const sizes = states.map((s) => s.bytes.length);
    expect(bytes.length, `${where}: size, of ${sizes}`).toBeGreaterThanOrEqual(Math.min(...sizes));
    expect(bytes.length, `${where}: size, of ${sizes}`).toBeLessThanOrEqual(Math.max(...sizes));
    const foreign = bytes.findIndex((byte, at) => !this.#allowed(states, at, byte));
    if (foreign < 0) return;
    const allowed = states.map((s) => s.bytes[foreign] ?? 0);
    expect.fail(
      `${where}: byte ${foreign} of ${bytes.length} is ${bytes[foreign]}, not ${allowed}`,
    );
  }

  #allowed(states: State[], at: number, byte: number): boolean {
    if (byte === 0 && states.slice(1).some((s) => s.moves)) return true;
    return states.some((s) => (s.bytes[at] ?? 0) === byte);
  }
}

/** The superblock is one write, which is whole or not there. */
function holdsSuper({ dpos, bytes }: { dpos: number; bytes: Uint8Array }): boolean {
  return dpos < 2048 && dpos + bytes.length > 1024;
}

function some(pending: ChangeRecord[], r: Random): ChangeRecord[] {
  return pending.flatMap((change) => {
    if (r.chance(0.5)) return [];
    if (change.kind !== 'write' || holdsSuper(change) || r.chance(0.5)) return [change];
    const sectors = change.bytes.length / 512;
    const from = r.int(sectors);
    return [tear(change, from, from + 1 + r.int(sectors - from))];
  });
}

/** What e2fsck may say on its way through a journal, an interrupted truncation included. */
const HARMLESS = [
  /^e2fsck \d/,
  /recovering journal/,
  /Superblock last (mount|write) time/,
  /^Pass \d/,
  /extent tree .* could be (shorter|narrower)/,
  /^Clearing orphaned inode/,
  /^Truncating orphaned inode/,
  /Free (blocks|inodes) count wrong/,
  /^Fix\? yes$/,
  /^$/,
  /FILE SYSTEM WAS MODIFIED/,
  /: \d+\/\d+ files/,
  /Setting free (blocks|inodes) count/,
  /^Feature orphan_present/,
];

function checkE2fsck(at: Uint8Array, where: string): void {
  const { code, text } = tool('e2fsck', ['-fy'], at);
  const complaints = text.split('\n').filter((line) => !HARMLESS.some((h) => h.test(line.trim())));
  expect(complaints, `${where}: e2fsck -fy exits ${code}\n${text}`).toEqual([]);
  expect(code, where).toBeLessThan(2);
}
