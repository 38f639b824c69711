// Block maps of ext2 and ext3: twelve blocks in the inode, then trees of one, two and three levels of blocks of block
// numbers. Numbers that cannot be are taken out; the rest is told to a sink in runs. Holes are skipped whole.

import * as F from '../../assembly/format/ext4.ts';
import type { Flow } from '../flow.ts';
import type { Sink } from './claim.ts';
import type { Record } from './record.ts';
import type { Volume } from './volume.ts';

/** Numbers out of range of one inode that are told one by one. */
const TOLD = 12;

export class BlockMapWalk {
  readonly #vol: Volume;
  readonly #record: Record;
  readonly #sink: Sink;
  readonly #judge: boolean;
  readonly #seen = new Set<number>();
  #illegal = 0;
  #first = 0;
  #start = 0;
  #len = 0;

  constructor(vol: Volume, record: Record, sink: Sink, judge = true) {
    this.#vol = vol;
    this.#record = record;
    this.#sink = sink;
    this.#judge = judge;
  }

  *run(): Flow<void> {
    const record = this.#record;
    const perBlock = this.#vol.sb.blockSize / 4;
    // All at once: a record that is not in the scan window may move while the trees are walked.
    const slots = Array.from({ length: F.EXT4_N_BLOCKS }, (_, i) => record.u32(F.I_BLOCK + 4 * i));
    let lblk = 0;
    for (; lblk < F.EXT4_NDIR_BLOCKS; lblk++) {
      const pblk = slots[lblk];
      if (pblk !== 0 && !this.#data(lblk, pblk)) record.put32(F.I_BLOCK + 4 * lblk, 0);
    }
    let span = 1;
    for (let level = 1; level <= 3; level++) {
      span *= perBlock;
      const field = F.I_BLOCK + 4 * (F.EXT4_NDIR_BLOCKS + level - 1);
      const pblk = slots[F.EXT4_NDIR_BLOCKS + level - 1];
      if (pblk !== 0 && !(yield* this.#tree(lblk, pblk, level, span))) record.put32(field, 0);
      lblk += span;
    }
    this.#flush();
  }

  /** Walks a tree of `level` levels. False when its block number is to be taken out. */
  *#tree(lblk: number, pblk: number, level: number, span: number): Flow<boolean> {
    const { disk, sb } = this.#vol;
    this.#flush();
    if (!this.#legal(pblk, 'indirect ', lblk) || this.#twice(pblk)) return !this.#mends();
    if (lblk >= 2 ** 32 || !this.#vol.mayVisit(this.#record.ino)) return true;
    this.#sink.node(pblk);
    const ptr = yield* disk.get(pblk);
    const numbers = new Uint32Array(disk.u8.slice(ptr, ptr + sb.blockSize).buffer);
    const step = span / numbers.length;
    let changed = false;
    for (let i = 0; i < numbers.length; i++) {
      const number = numbers[i];
      if (number === 0) continue;
      const at = lblk + i * step;
      const keep =
        level === 1 ? this.#data(at, number) : yield* this.#tree(at, number, level - 1, step);
      if (keep) continue;
      numbers[i] = 0;
      changed = true;
    }
    if (changed) {
      const again = yield* disk.get(pblk);
      disk.u8.set(new Uint8Array(numbers.buffer), again);
      yield* disk.write(pblk, again);
    }
    return true;
  }

  /** A block that is met twice as part of the map would be walked without end. */
  #twice(pblk: number): boolean {
    const twice = this.#seen.has(pblk);
    this.#seen.add(pblk);
    if (twice && this.#judge) {
      const { ino } = this.#record;
      const text = `inode ${ino}: block ${pblk} is in the block map twice`;
      this.#vol.report.report('block-map-loop', { ino, block: pblk }, text);
    }
    return twice;
  }

  #mends(): boolean {
    return this.#judge && this.#vol.report.mode === 'all';
  }

  #legal(pblk: number, what: string, lblk: number): boolean {
    if (this.#vol.inFs(pblk)) return true;
    const { ino } = this.#record;
    this.#illegal++;
    if (!this.#judge) return false;
    if (this.#illegal <= TOLD || this.#mends()) {
      const text = `inode ${ino}: ${what}block ${pblk} at ${lblk} is out of range`;
      this.#vol.report.report('block-range', { ino, block: pblk }, text);
    }
    return false;
  }

  /** Takes a data block in. False when its number is to be taken out. */
  #data(lblk: number, pblk: number): boolean {
    if (!this.#legal(pblk, '', lblk)) return !this.#mends();
    if (this.#len > 0 && lblk === this.#first + this.#len && pblk === this.#start + this.#len) {
      this.#len++;
      return true;
    }
    this.#flush();
    this.#first = lblk;
    this.#start = pblk;
    this.#len = 1;
    return true;
  }

  #flush(): void {
    if (this.#len > 0) this.#sink.data(this.#first, this.#len, this.#start, false);
    this.#len = 0;
  }
}
