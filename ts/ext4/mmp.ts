// The multi-mount block (feature mmp): who writes to the file system counts up a number in it every few seconds, so
// that nobody else mounts it meanwhile. It is written past the cache and the journal. Times are in seconds where they
// do not say otherwise. Who finds the block in use waits, and sees whether the number goes on.

import * as F from '../../assembly/format/ext4.ts';
import type { BlockDevice } from '../block/device.ts';
import { badChecksum, corrupt, Ext4Error } from '../errno.ts';
import { type Flow, readDevice, writeDevice } from '../flow.ts';
import type { Checksums } from './checksum.ts';
import type { Super } from './super.ts';

/** The least that others wait, and the most that a busy node makes them. */
const MIN_CHECK = 5;
const MAX_CHECK = 300;
const DEFAULT_UPDATE = 5;
const NODE = 'ext4-wasm';
const NODE_SIZE = 64;

export class MultiMount {
  /** Milliseconds between two updates. */
  readonly interval: number;
  /** Called once when the block is given back. */
  onRelease: (() => void) | null = null;
  /** Somebody else has the file system now, or it was given back: nothing is written any more. */
  ended = false;
  readonly #device: BlockDevice;
  readonly #sums: Checksums;
  readonly #pblk: number;
  readonly #bytes: Uint8Array;
  readonly #dv: DataView;
  #seq = 0;
  /** When the block was written last, in milliseconds. */
  #written = 0;

  /** EUCLEAN when the superblock names no valid block. */
  constructor(device: BlockDevice, sb: Super, sums: Checksums) {
    this.#device = device;
    this.#sums = sums;
    this.#pblk = sb.u32(F.S_MMP_BLOCK) + sb.u32(F.S_MMP_BLOCK + 4) * 2 ** 32;
    if (this.#pblk <= sb.firstDataBlock || this.#pblk >= sb.blocks) {
      throw corrupt('superblock', `${this.#pblk}`, { field: 's_mmp_block' });
    }
    this.interval = 1000 * (sb.u16(F.S_MMP_UPDATE_INTERVAL) || DEFAULT_UPDATE);
    this.#bytes = new Uint8Array(sb.blockSize);
    this.#dv = new DataView(this.#bytes.buffer);
  }

  /** Reads the block; milliseconds to wait until another look says whether somebody counts, 0 when nobody does.
   *  `gone`: nobody does, whatever it says. EBUSY when e2fsck has it; EUCLEAN, EBADMSG. */
  *look(gone: boolean): Flow<number> {
    yield* this.#read();
    this.#seq = this.#u32(F.MMP_SEQ);
    if (gone || this.#seq === F.EXT4_MMP_SEQ_CLEAN) return 0;
    if (this.#seq === F.EXT4_MMP_SEQ_FSCK) throw new Ext4Error('EBUSY', 'e2fsck has it');
    const asked = Math.max(MIN_CHECK, this.interval / 1000, this.#check);
    const check = Math.min(asked, MAX_CHECK);
    return 1000 * Math.min(2 * check + 1, check + 60);
  }

  /** Says that it is this mount's from now on. */
  *take(): Flow<void> {
    yield* this.#write(1 + Math.floor(Math.random() * (F.EXT4_MMP_SEQ_FSCK - 2)));
  }

  /** EBUSY when the number is not the one seen or written last. */
  *confirm(): Flow<void> {
    yield* this.#read();
    if (this.#u32(F.MMP_SEQ) === this.#seq) return;
    this.ended = true;
    throw new Ext4Error('EBUSY', `another mount has it: ${this.#whose()}`);
  }

  /** Whether it is time to count up. */
  get due(): boolean {
    return !this.ended && Date.now() - this.#written >= this.interval - 50;
  }

  /** Counts up. After a pause in which others may have given this mount up for dead, EBUSY when one did. */
  *beat(): Flow<void> {
    if (this.ended) return;
    const paused = Math.ceil((Date.now() - this.#written) / 1000);
    if (paused > this.#check) yield* this.confirm();
    yield* this.#write((this.#seq % (F.EXT4_MMP_SEQ_FSCK - 1)) + 1, paused);
  }

  /** Stops counting. */
  stop(): void {
    this.ended = true;
    this.onRelease?.();
    this.onRelease = null;
  }

  /** Says that nobody has it; after stop(), if it was this mount's still. */
  *release(): Flow<void> {
    yield* this.#write(F.EXT4_MMP_SEQ_CLEAN);
  }

  get #check(): number {
    return this.#dv.getUint16(F.MMP_CHECK_INTERVAL, true);
  }

  #u32(field: number): number {
    return this.#dv.getUint32(field, true);
  }

  *#read(): Flow<void> {
    const block = this.#pblk;
    yield* readDevice(this.#device, [{ into: this.#bytes, dpos: block * this.#bytes.length }]);
    if (this.#u32(F.MMP_MAGIC) !== F.EXT4_MMP_MAGIC) throw corrupt('mmp', 'bad magic', { block });
    if (!this.#sums.on || this.#sum() === this.#u32(F.MMP_CHECKSUM)) return;
    throw badChecksum('mmp', { block });
  }

  *#write(seq: number, paused = 0): Flow<void> {
    const dv = this.#dv;
    const now = Math.floor(Date.now() / 1000);
    const check = Math.max(MIN_CHECK, (2 * this.interval) / 1000, 2 * paused);
    this.#seq = seq;
    dv.setUint32(F.MMP_SEQ, seq, true);
    dv.setUint32(F.MMP_TIME, now % 2 ** 32, true);
    dv.setUint32(F.MMP_TIME + 4, Math.floor(now / 2 ** 32), true);
    dv.setUint16(F.MMP_CHECK_INTERVAL, Math.min(check, MAX_CHECK), true);
    this.#bytes.fill(0, F.MMP_NODENAME, F.MMP_CHECK_INTERVAL);
    this.#bytes.set(new TextEncoder().encode(NODE), F.MMP_NODENAME);
    if (this.#sums.on) dv.setUint32(F.MMP_CHECKSUM, this.#sum(), true);
    const dpos = this.#pblk * this.#bytes.length;
    yield* writeDevice(this.#device, this.#bytes, dpos, { fua: true });
    this.#written = Date.now();
  }

  #sum(): number {
    return this.#sums.ofBytes(this.#sums.seed, this.#bytes.subarray(0, F.MMP_CHECKSUM));
  }

  /** Node and time of the last update. */
  #whose(): string {
    const name = this.#bytes.subarray(F.MMP_NODENAME, F.MMP_NODENAME + NODE_SIZE);
    const text = new TextDecoder().decode(name.subarray(0, Math.max(0, name.indexOf(0))));
    const time = new Date(1000 * this.#u32(F.MMP_TIME));
    return `${text} at ${time.toISOString()}`;
  }
}
