// From pieces to the device: neighbours become one large write, ranges that must be zero are discarded where that
// zeroes, else looked at and written only where they are not zero yet. The superblock goes last, behind a flush, so
// that a device whose making was cut off holds no file system.

import * as F from '../../assembly/format/ext4.ts';
import type { BlockDevice } from '../block/device.ts';
import type { Making } from './drive.ts';
import type { Piece } from './image.ts';
import type { MkfsResult } from './options.ts';

/** Bytes of one write, and of one look. */
const BATCH = 2 ** 20;
/** Where other file systems, RAIDs and partition tables leave their marks: in front and at the end. */
const FRONT = 68 * 1024;
const END = 64 * 1024;

export interface Target {
  device: BlockDevice;
  /** Where the file system begins on the device. */
  offset: number;
  /** Bytes of the file system. */
  size: number;
  /** The device reads as zeroes everywhere. */
  zeroed: boolean;
}

export interface Written {
  bytes: number;
  calls: number;
}

/** Writes all pieces, in the order of the device. */
export function* writePieces(to: Target, pieces: Piece[], done: Written): Making<void> {
  pieces.sort((a, b) => a.dpos - b.dpos);
  for (let i = 0; i < pieces.length; ) {
    const { dpos } = pieces[i];
    const parts: Uint8Array[] = [];
    let len = 0;
    while (i < pieces.length && pieces[i].dpos === dpos + len && (len === 0 || len < BATCH)) {
      parts.push(pieces[i].bytes);
      len += pieces[i].bytes.length;
      i++;
    }
    const { device, offset } = to;
    if (parts.length === 1) yield { op: 'write', device, from: parts[0], dpos: offset + dpos };
    else yield { op: 'writev', device, parts, dpos: offset + dpos };
    done.bytes += len;
    done.calls++;
  }
}

/** Makes a range read as zeroes. Nothing is written where it does already. */
export function* zeroRange(to: Target, dpos: number, len: number, done: Written): Making<void> {
  if (to.zeroed || len <= 0) return;
  const { device } = to;
  if (device.discardZeroes && device.discard && !device.direct) {
    yield { op: 'discard', device, dpos: to.offset + dpos, len };
    return;
  }
  const look = new Uint8Array(Math.min(len, BATCH));
  let zeroes: Uint8Array | null = null;
  for (let off = 0; off < len; off += BATCH) {
    const part = look.subarray(0, Math.min(BATCH, len - off));
    const at = to.offset + dpos + off;
    yield { op: 'read', device, ranges: [{ into: part, dpos: at }] };
    if (isZero(part)) continue;
    zeroes ??= new Uint8Array(look.length);
    yield { op: 'write', device, from: zeroes.subarray(0, part.length), dpos: at };
    done.bytes += part.length;
    done.calls++;
  }
}

/** Zeroes what an empty log still holds: blocks with times and numbers that are no longer anybody's. */
export function* zeroLog(
  to: Target,
  made: Pick<MkfsResult, 'journalRuns' | 'blockSize'>,
): Making<void> {
  const done = { bytes: 0, calls: 0 };
  for (const [i, { block, count }] of made.journalRuns.entries()) {
    // The first block is the journal's superblock.
    const first = i === 0 ? 1 : 0;
    const at = (block + first) * made.blockSize;
    yield* zeroRange(to, at, (count - first) * made.blockSize, done);
  }
}

function isZero(bytes: Uint8Array): boolean {
  const words = new Float64Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 3);
  for (let i = 0; i < words.length; i++) if (!Object.is(words[i], 0)) return false;
  return true;
}

/** Removes what other systems would take the device for, and an old ext superblock with it. */
export function* wipeMarks(to: Target, done: Written): Making<void> {
  const front = Math.min(FRONT, to.size);
  yield* zeroRange(to, 0, front, done);
  const end = Math.min(END, to.size - front);
  yield* zeroRange(to, to.size - end, end, done);
  // The old superblock goes before anything that it describes.
  if (!to.zeroed) yield { op: 'flush', device: to.device };
}

/** The superblock, behind everything else. */
export function* writeSuper(to: Target, raw: Uint8Array, done: Written): Making<void> {
  const { device } = to;
  yield { op: 'flush', device };
  yield { op: 'write', device, from: raw, dpos: to.offset + F.SB_OFFSET };
  yield { op: 'flush', device };
  done.bytes += raw.length;
  done.calls++;
}
